//! Reloads under load: the next generation beside the one that serves, and not a request lost; what cannot start changes
//! nothing; pools, addresses and socket files that come, go and change.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use cornac_tests::client::Client;
use cornac_tests::traffic::{Address, served};
use cornac_tests::{Manner, Request, Server, Setup, Side, Traffic, skip_unless_root, wait};
use nix::sys::signal::Signal;

const GIVEN_UP: &str = "reload is given up; everything goes on with the configuration it has";

fn reload(server: &Server, times: usize) {
    server.signal(Signal::SIGUSR2);
    server.wait_ready_times(times);
}

fn manner(sleeps: u64) -> Manner {
    Manner { sleeps: Duration::from_millis(sleeps), ..Manner::default() }
}

/// Everybody of the first generations has gone.
fn settled(server: &Server) {
    let one = || {
        let titles: Vec<String> = server.processes().iter().map(|process| process.title()).collect();
        let servers = titles.iter().filter(|title| title.starts_with("php-fpm: fork server")).count();
        (servers <= 2).then_some(())
    };
    assert!(wait::until(one).is_some(), "{:?}\n{}", server.processes(), server.log());
}

#[test]
fn nothing_is_lost() {
    let managers = [
        "pm = static\npm.max_children = 4",
        "pm = dynamic\npm.max_children = 6\npm.start_servers = 2\npm.min_spare_servers = 1\npm.max_spare_servers = 3",
        "pm = ondemand\npm.max_children = 6",
    ];
    for manager in managers {
        let setup =
            served(Setup::new()).www(manager).pool("tcp", &format!("listen = 127.0.0.1:{{port}}\n{manager}"));
        let server = Server::start(Side::Subject, &setup);
        let tcp = Address::Tcp(format!("127.0.0.1:{}", server.port(0)).parse().expect("address"));
        let all = [
            Traffic::begin(&server, manner(0)),
            Traffic::begin(&server, manner(20)),
            Traffic::at(&server, tcp.clone(), manner(0)),
            Traffic::at(&server, tcp, manner(20)),
        ];
        for times in 2..10 {
            all.iter().for_each(|traffic| traffic.go_on(&server, 5));
            reload(&server, times);
        }
        for traffic in all {
            traffic.go_on(&server, 5);
            traffic.end().expect_none_lost(&server, 40);
        }
        settled(&server);
        server.stop();
    }
}

#[test]
fn a_request_may_take_as_long_as_it_takes() {
    let setup = Setup::new().script("slow.php", "<?php echo 'begun'; flush(); sleep(2); echo getmypid();");
    let setup = setup
        .script("pid.php", "<?php echo getmypid();")
        .www("pm.max_children = 1\nphp_flag[output_buffering] = off");
    let server = Server::start(Side::Subject, &setup);
    let old = server.get("/pid.php").body();
    let mut slow = server.connect();
    slow.write(&Request::get(&server, "/slow.php").encode()).expect("worker");
    slow.read_record().expect("its begin");
    for times in 2..5 {
        reload(&server, times);
        assert_ne!(server.get("/pid.php").body(), old);
    }
    let reply = slow.read_reply();
    assert!(reply.to_text().contains(&old) && reply.end == Some((0, 0)), "{}", reply.to_text());
    settled(&server);
    server.stop();
}

#[test]
fn what_cannot_start_changes_nothing() {
    let good = served(Setup::new()).arg("-c").arg("{dir}/php.ini").www("pm.max_children = 2");
    let good = good.file("php.ini", "").file("broken.php", "<?php function (");
    let server = Server::start(Side::Subject, &good);
    let preload = |script: &str| {
        server.fill(&format!(
            "opcache.enable = 1\nopcache.preload_user = {{user}}\nopcache.preload = {{dir}}/{script}\n"
        ))
    };
    let with = |lines: &str| (good.clone().www(lines), String::new());
    let other = |lines: &str| (good.clone().pool("other", lines), String::new());
    let ini = |text: &str| (good.clone(), text.to_owned());
    let bad = [
        ("no such directive", with("pm.max_childrne = 3")),
        ("no PHP", with("php.binary = /bin/true")),
        ("pool beside it", other("chdir = /no/such/folder")),
        ("address in use", other("listen = {dir}/taken.sock")),
        ("no folder for the socket", other("listen = {dir}/nowhere/x.sock")),
        ("missing preload", ini(&preload("missing.php"))),
        ("broken preload", ini(&preload("broken.php"))),
        ("missing extension", ini("extension = no_such_thing.so\n")),
        ("missing zend_extension", ini("zend_extension = no_such_thing.so\n")),
    ];
    let _taken = UnixListener::bind(server.dir().join("taken.sock")).expect("own folder");
    let traffic = Traffic::begin(&server, manner(1));
    let workers = server.workers("www");
    for ((name, (setup, ini)), times) in bad.iter().zip(1..) {
        traffic.go_on(&server, 5);
        server.configure(setup);
        server.write("php.ini", ini);
        server.signal(Signal::SIGUSR2);
        server.wait_log_times(GIVEN_UP, times);
        traffic.go_on(&server, 5);
        assert_eq!(server.workers("www"), workers, "{name}\n{}", server.log());
        assert!(!server.socket("other").exists(), "{name}");
    }
    server.configure(&good);
    server.write("php.ini", "");
    reload(&server, 2);
    traffic.go_on(&server, 5);
    traffic.end().expect_none_lost(&server, 40);
    let said = server.log();
    for line in [
        "PHP has started, but: PHP Startup: Unable to load dynamic library 'no_such_thing.so'",
        "Another FPM instance seems",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    settled(&server);
    server.stop();
}

#[test]
fn an_extension_that_was_missing_before_is_no_obstacle() {
    let setup = served(Setup::new()).arg("-c").arg("{dir}/php.ini");
    let setup = setup.file("php.ini", "extension = no_such_thing.so\n");
    let server = Server::start(Side::Subject, &setup);
    reload(&server, 2);
    server.stop();
}

#[test]
fn pools_come_and_go_beside_traffic() {
    let base = || served(Setup::new()).www("pm.max_children = 2");
    let server = Server::start(Side::Subject, &base().pool("a", ""));
    let traffic = Traffic::begin(&server, manner(1));
    let steps = [
        (base().pool("b", "listen = {dir}/a.sock"), vec!["a"], vec!["b"]),
        (base().pool("b", "").pool("c", ""), vec!["b", "c"], vec!["a"]),
        (base(), vec![], vec!["a", "b", "c"]),
        (base().pool("a", "listen = {dir}/b.sock"), vec!["b"], vec!["a"]),
        (base().pool("a", ""), vec!["a"], vec!["b"]),
    ];
    for ((setup, there, gone), times) in steps.into_iter().zip(2..) {
        server.configure(&setup);
        reload(&server, times);
        for pool in there {
            let reply = Client::unix(&server.socket(pool)).send(&Request::get(&server, "/traffic.php"));
            assert_eq!(reply.status(), 200, "{pool}");
        }
        for pool in gone {
            assert!(!server.socket(pool).exists(), "{pool} at {times}");
        }
        traffic.go_on(&server, 5);
    }
    traffic.end().expect_none_lost(&server, 25);
    server.stop();
}

/// What may happen to a socket file, and its name.
type Spoil = (&'static str, fn(&Path));

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("socket").permissions().mode() & 0o777
}

#[test]
fn socket_files_are_put_right() {
    let setup = |mode: &str| held(&format!("listen.mode = {mode}"));
    let server = Server::start(Side::Subject, &setup("0600"));
    let path = server.socket("www");
    let spoil: [Spoil; 4] = [
        ("mode", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("own file")),
        ("removed", |path| fs::remove_file(path).expect("own file")),
        ("a file in its place", |path| {
            fs::remove_file(path).expect("own file");
            fs::write(path, "").expect("own folder");
        }),
        ("a dead socket in its place", |path| {
            fs::remove_file(path).expect("own file");
            drop(UnixListener::bind(path).expect("own folder"));
        }),
    ];
    for ((name, spoil), times) in spoil.into_iter().zip(2..) {
        // Others wait in the queue of the socket that is about to be unreachable.
        let waiting = hold(&server, times, || server.connect());
        spoil(&path);
        reload(&server, times);
        assert_eq!(mode(&path), 0o600, "{name}");
        if name != "mode" {
            assert_eq!(server.get("/held.php?0").body(), "held", "{name}");
        }
        release(&server, times, waiting, name);
    }
    server.configure(&setup("0666"));
    reload(&server, 6);
    assert_eq!(mode(&path), 0o666);
    settled(&server);
    server.stop();
    assert!(!path.exists());
}

/// What `getfacl` and `ss` say of a socket.
fn told(program: &str, words: &[&str], path: &Path) -> String {
    let output = std::process::Command::new(program).args(words).arg(path).output();
    String::from_utf8(output.expect("it is installed").stdout).expect("text")
}

#[test]
fn owner_access_list_and_backlog_are_put_right() {
    if skip_unless_root("sockets of another owner", 1) {
        return;
    }
    let setup = |more: &str| held(&format!("listen.owner = www-data\nlisten.mode = 0600\n{more}"));
    let server = Server::start(Side::Subject, &setup("listen.backlog = 7"));
    let path = server.socket("www");
    let list = || told("getfacl", &["-cpn"], &path);
    let backlog = || {
        let line = told("ss", &["-Hlx", "src"], &path);
        line.split_whitespace().nth(3).expect("the socket is listed").to_owned()
    };
    let owner = || fs::metadata(&path).expect("the socket").uid();
    let (before, at_start) = (list(), owner());
    assert_eq!(backlog(), "7");
    std::os::unix::fs::chown(&path, Some(0), Some(0)).expect("root may");
    assert_ne!(owner(), at_start);
    reload(&server, 2);
    assert_eq!((owner(), list()), (at_start, before));
    server.configure(&setup("listen.backlog = 9\nlisten.acl_users = nobody"));
    reload(&server, 3);
    assert_eq!(backlog(), "9");
    let with = list();
    assert!(with.contains("user:65534:rw-"), "{with}");
    told("setfacl", &["-b"], &path);
    assert_ne!(list(), with);
    reload(&server, 4);
    assert_eq!(list(), with);
    settled(&server);
    server.stop();
}

/// One worker whose script waits for a file of the number it is given, unless that is 0.
fn held(lines: &str) -> Setup {
    let script = "<?php $n = $_SERVER['QUERY_STRING']; while ($n && !file_exists(dirname(__DIR__) . '/release' . $n)) usleep(5000); echo 'held';";
    Setup::new().script("held.php", script).www(&format!("pm = static\npm.max_children = 1\n{lines}"))
}

/// The first occupies the worker, the others wait in the queue.
fn hold(server: &Server, number: usize, connect: impl Fn() -> Client) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..4).map(|_| connect()).collect();
    let request = Request::get(server, &format!("/held.php?{number}")).encode();
    clients.iter_mut().for_each(|client| client.write(&request).expect("queued"));
    clients
}

fn release(server: &Server, number: usize, clients: Vec<Client>, what: &str) {
    server.write(&format!("release{number}"), "");
    for mut client in clients {
        let reply = client.read_reply();
        assert_eq!(reply.body(), "held", "{what}: {}\n{}", reply.to_text(), server.log());
    }
}

#[test]
fn who_waits_at_a_pool_that_goes_is_served() {
    let one_each = "pm.max_requests = 1";
    let tcp = "listen = 127.0.0.1:{port}";
    for listen in ["", tcp, one_each, &format!("{tcp}\n{one_each}")] {
        let server = Server::start(Side::Subject, &held("").pool("gone", listen));
        let connect = || match listen.starts_with(tcp) {
            false => Client::unix(&server.socket("gone")),
            true => {
                Client::tcp(format!("127.0.0.1:{}", server.port(0)).parse().expect("address")).expect("pool")
            }
        };
        let waiting = hold(&server, 1, connect);
        server.configure(&held(""));
        reload(&server, 2);
        assert!(!server.socket("gone").exists());
        release(&server, 1, waiting, listen);
        settled(&server);
        server.stop();
    }
}
