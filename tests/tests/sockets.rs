//! Listening sockets: every form of address, names, failures and their order; sockets handed in through FPM_SOCKETS;
//! and that programs a script starts hold none of them.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::run::until_exit;
use cornac_tests::scene::traces;
use cornac_tests::{Client, Pair, Request, Runs, Server, Setup, Side, compare_runs, skip_unless_root};
use nix::sys::signal::Signal;

const POOL: &str = "<?php echo fpm_get_status()['pool'];";

fn plain() -> Setup {
    Setup::new().script("x.php", POOL)
}

fn over_tcp(server: &Server, address: impl Into<SocketAddr>) -> String {
    match Client::tcp(address.into()) {
        Ok(mut client) => client.send(&Request::get(server, "/x.php")).body(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Starts, stops, and shows everything that was written.
fn start_and_stop(side: Side, setup: &Setup) -> String {
    let server = Server::start(side, setup);
    server.stop();
    traces(&server)
}

#[test]
fn forms_of_addresses() {
    let mut runs = Runs::default();
    for listen in [
        "{port}",
        "127.0.0.1:{port}",
        "0.0.0.0:{port}",
        "localhost:{port}",
        "[::1]:{port}",
        "::1:{port}",
        "[::]:{port}",
        ":::{port}",
        "*:{port}",
        ":{port}",
        "[::ffff:127.0.0.1]:{port}",
        "[127.0.0.1]:{port}",
        "ip6-localhost:{port}",
        "0:{port}",
        "127.1:{port}",
        "2130706433:{port}",
        "0x7f.1:{port}",
        "0{port}",
        "127.0.0.1:0{port}",
        "127.0.0.1: {port}",
        "127.0.0.1:+{port}",
    ] {
        runs.compare(listen, None, |side| {
            let server = Server::launch(
                side,
                &plain().www(&format!("listen = {listen}")).global("log_level = notice"),
            );
            let started = cornac_tests::wait::until(|| {
                let ready = server.log().contains("ready to handle");
                (ready || server.exit_status().is_some()).then_some(ready)
            });
            let mut text = format!("{started:?}\n");
            if started == Some(true) {
                text += &over_tcp(&server, ([127, 0, 0, 1], server.port(0)));
                text += &over_tcp(&server, (Ipv6Addr::LOCALHOST, server.port(0)));
                server.stop();
            }
            format!("{text}{}\n{}", server.wait_exit(), traces(&server))
        });
    }
    runs.finish();
}

#[test]
fn bad_addresses() {
    let mut runs = Runs::default();
    for listen in [
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:99999999999",
        "127.0.0.1:-1",
        "127.0.0.1:",
        "127.0.0.1:http",
        "127.0.0.1:9000x",
        "0",
        "65536",
        "99999999999999999999",
        "[::1]",
        "::1",
        "no-such-host.invalid:9000",
        "256.1.1.1:9000",
        "[nonsense]:9000",
        "192.0.2.1:9000",
        "[2001:db8::1]:9000",
        "unix:/tmp/x.sock",
        "/no/such/folder/x.sock",
        "{dir}/www",
        "{dir}/www/",
        "{dir}/error.log/x.sock",
    ] {
        runs.compare(listen, None, |side| until_exit(side, &plain().www(&format!("listen = {listen}"))));
    }
    runs.finish();
}

#[test]
fn addresses_that_are_taken() {
    let mut runs = Runs::default();
    runs.compare("TCP", None, |side| {
        let taken = TcpListener::bind("127.0.0.1:0").expect("free port");
        let address = taken.local_addr().expect("own socket").to_string();
        until_exit(side, &plain().www(&format!("listen = {address}"))).replace(&address, "ADDRESS")
    });
    runs.compare("a port alone, taken for IPv6", None, |side| {
        let taken = TcpListener::bind("[::]:0").expect("free port");
        let port = taken.local_addr().expect("own socket").port().to_string();
        until_exit(side, &plain().www(&format!("listen = {port}"))).replace(&port, "PORT")
    });
    runs.compare("the second pool's", Some("cornac removes the first pool's socket again"), |side| {
        let taken = TcpListener::bind("127.0.0.1:0").expect("free port");
        let address = taken.local_addr().expect("own socket").to_string();
        let server = Server::launch(side, &plain().pool("b", &format!("listen = {address}")));
        let exit = server.wait_exit();
        format!("{exit} {} {}", server.socket("www").exists(), traces(&server).replace(&address, "ADDRESS"))
    });
    runs.finish();
}

/// A setup that sees its own table of hosts.
fn with_hosts(lines: &str) -> Setup {
    let bind = "mount --bind \"$CORNAC_TEST_DIR/hosts\" /etc/hosts && exec \"$0\" \"$@\"";
    plain().file("hosts", lines).wrapped(&["unshare", "-m", "/bin/sh", "-c", bind])
}

#[test]
fn names_with_several_addresses() {
    if skip_unless_root("names of hosts", 5) {
        return;
    }
    let mut runs = Runs::default();
    for (name, hosts) in [
        ("two", "127.0.0.1 many.test\n127.0.0.2 many.test\n"),
        ("both families", "127.0.0.1 many.test\n::1 many.test\n"),
        ("three", "127.0.0.3 many.test\n::1 many.test\n127.0.0.2 many.test\n"),
        ("the first is not ours", "198.51.100.1 many.test\n127.0.0.2 many.test\n127.0.0.3 many.test\n"),
        ("the last one is not ours", "127.0.0.2 many.test\n198.51.100.1 many.test\n"),
    ] {
        runs.compare(name, None, |side| {
            let setup = with_hosts(hosts).www("listen = many.test:{port}").global("log_level = debug");
            let server = Server::start(side, &setup);
            server.stop();
            let lines = server
                .log()
                .lines()
                .filter(|line| line.contains("many.test") || line.contains("bind"))
                .map(|line| {
                    let text = line.split_once(": ").map_or(line, |parts| parts.1);
                    text.rsplit_once("line ")
                        .map_or(text, |parts| parts.1.split_once(": ").map_or("", |p| p.1))
                        .to_owned()
                        + "\n"
                })
                .collect::<String>();
            cornac_tests::compare::mask(&server, &lines, &[])
        });
    }
    runs.compare("none is ours", None, |side| {
        until_exit(
            side,
            &with_hosts("198.51.100.1 many.test\n198.51.100.2 many.test\n").www("listen = many.test:{port}"),
        )
    });
    runs.finish();
}

#[test]
fn what_lies_at_the_path() {
    let mut runs = Runs::default();
    runs.compare("a stale socket", None, |side| {
        let setup = plain().www("listen = {dir}/tmp/s.sock").handed_in("{dir}/tmp/other.sock");
        // The socket handed in is nobody's concern here, its file another stale one.
        start_and_stop(side, &setup)
    });
    runs.compare("a file", None, |side| {
        let server = Server::start(side, &plain().file("www.sock", "content"));
        let kind = std::fs::metadata(server.socket("www")).expect("there").mode() & 0o170000;
        server.stop();
        format!("{kind:o} {}", server.socket("www").exists())
    });
    runs.compare("another server", None, |side| {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("s");
        let _other = UnixListener::bind(&path).expect("own path");
        let text = until_exit(side, &plain().www(&format!("listen = {}", path.display())));
        format!("{}\n{}", path.exists(), text.replace(&*path.to_string_lossy(), "PATH"))
    });
    runs.compare("a socket of datagrams", None, |side| {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("s");
        let _other = std::os::unix::net::UnixDatagram::bind(&path).expect("own path");
        start_and_stop(side, &plain().www(&format!("listen = {}", path.display())))
    });
    runs.compare("a link to a file", None, |side| {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("s");
        std::fs::write(folder.path().join("target"), "content").expect("own folder");
        std::os::unix::fs::symlink("target", &path).expect("own folder");
        let text = start_and_stop(side, &plain().www(&format!("listen = {}", path.display())));
        format!("{} {}\n{text}", path.exists(), folder.path().join("target").exists())
    });
    runs.finish();
}

#[test]
fn the_longest_path() {
    let named = |length: usize| {
        let folder = tempfile::Builder::new().prefix("l").rand_bytes(4).tempdir_in("/tmp").expect("folder");
        let room = length - folder.path().as_os_str().len() - 1;
        let path = folder.path().join("s".repeat(room));
        (folder, path)
    };
    compare_runs("107 bytes", None, |side| {
        let (_folder, path) = named(107);
        let text = start_and_stop(side, &plain().www(&format!("listen = {}", path.display())));
        text.replace(&*path.to_string_lossy(), "PATH")
    });
    compare_runs("108 bytes", Some("php-fpm cuts the path"), |side| {
        let (folder, path) = named(108);
        let setup = plain().www(&format!("listen = {}", path.display()));
        let server = Server::launch(side, &setup);
        if side == Side::Reference && !same_on_both_sides() {
            server.wait_log("ready to handle");
            server.stop();
            return "serves elsewhere".into();
        }
        assert_eq!(server.wait_exit(), 78);
        let text = format!(
            "ERROR: [pool www] cannot bind to UNIX socket '{}' as path is too long (found length: 108, maximal length: 107)",
            path.display()
        );
        assert!(server.log().contains(&text), "{}", server.log());
        assert_eq!(std::fs::read_dir(folder.path()).expect("own folder").count(), 0);
        "refuses".into()
    });
}

#[test]
fn owners_that_do_not_exist() {
    let mut runs = Runs::default();
    for lines in [
        "listen.owner = no-such-user",
        "listen.group = no-such-group",
        "listen.owner = no-such-user\nlisten.group = no-such-group",
        "listen.acl_users = www-data,no-such-user",
        "listen.acl_groups = no-such-group",
        "listen.acl_users = no-such-user\nlisten.owner = no-such-either",
        "listen.acl_users = 33",
        "listen.acl_users = www-data,,nobody",
        "listen.acl_groups = daemon,",
        "listen.acl_groups = 33",
        "listen.acl_users = www-data, nobody",
        "listen.mode = 9",
        "listen.mode = rw",
    ] {
        runs.compare(lines, None, |side| {
            let server = Server::launch(side, &plain().www(lines));
            let ended = cornac_tests::wait::until(|| {
                let ready = server.log().contains("ready to handle");
                (ready || server.exit_status().is_some()).then_some(!ready)
            });
            let mode = std::fs::metadata(server.socket("www")).map(|facts| format!("{:o}", facts.mode()));
            if ended == Some(false) {
                server.stop();
            }
            let mode = mode.ok().filter(|_| ended == Some(false));
            format!("{ended:?} {mode:?} {}\n{}", server.wait_exit(), traces(&server))
        });
    }
    runs.finish();
}

#[test]
fn somebody_named_twice() {
    compare_runs("listen.acl_users", Some("no reason to refuse"), |side| {
        let server = Server::launch(side, &plain().www("listen.acl_users = nobody,nobody"));
        if side == Side::Reference && !same_on_both_sides() {
            return server.wait_exit().to_string();
        }
        server.wait_ready_times(1);
        server.stop();
        "serves".into()
    });
}

#[test]
fn numeric_owners_and_lists() {
    if skip_unless_root("socket owners", 4) {
        return;
    }
    for lines in [
        "listen.owner = 33\nlisten.group = 0",
        "listen.owner = 4000000000\nlisten.group = 3999999999",
        "listen.acl_users = www-data,root\nlisten.acl_groups = daemon,www-data",
        "listen.acl_users =\nlisten.acl_groups = daemon\nlisten.group = www-data",
        "listen.acl_users = www-data,nobody\nlisten.mode = 0600",
        "listen.acl_users = www-data\nlisten.mode = 0000",
    ] {
        let mut pair = Pair::start(&plain().www(lines));
        pair.same(lines, |server| {
            let facts = std::fs::metadata(server.socket("www")).expect("socket");
            let list = std::process::Command::new("getfacl").arg("-pn").arg(server.socket("www")).output();
            let list = list.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            format!("{:o} {} {}\n{}", facts.mode(), facts.uid(), facts.gid(), list.unwrap_or_default())
        });
        pair.finish();
    }
}

#[test]
fn as_an_ordinary_user() {
    if skip_unless_root("another user than root", 6) {
        return;
    }
    let mut runs = Runs::default();
    for lines in [
        "",
        "listen.mode = 0600",
        "listen.owner = www-data\nlisten.group = www-data",
        "listen.acl_users = nobody",
        "chroot = {dir}\nprocess.priority = 5",
        "listen = 127.0.0.1:{port}",
    ] {
        runs.compare(lines, None, |side| {
            let server = Server::start(side, &plain().www(lines).unprivileged());
            let body = match lines.contains("127.0.0.1") {
                true => over_tcp(&server, ([127, 0, 0, 1], server.port(0))),
                false => server.get("/x.php").body(),
            };
            server.stop();
            format!("{body}\n{}", traces(&server))
        });
    }
    for lines in
        ["listen.owner = root", "listen.group = daemon", "listen = 127.0.0.1:1", "listen = /etc/x.sock"]
    {
        runs.compare(lines, None, |side| until_exit(side, &plain().www(lines).unprivileged()));
    }
    runs.finish();
}

#[test]
fn the_backlog() {
    for backlog in
        ["", "listen.backlog = -1", "listen.backlog = 3", "listen.backlog = 0", "listen.backlog = 100000"]
    {
        let mut pair = Pair::start(&plain().www(&format!("listen = 127.0.0.1:{{port}}\n{backlog}")));
        pair.same(backlog, |server| {
            let output = std::process::Command::new("ss")
                .args(["-Hltn", &format!("sport = :{}", server.port(0))])
                .output();
            let output = output.expect("ss is installed (iproute2)");
            // State, waiting, backlog.
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.split_whitespace().nth(2).expect("the socket is listed").to_owned()
        });
        pair.finish();
    }
}

// --- FPM_SOCKETS -----------------------------------------------------------------------------------------

#[test]
fn handed_in_sockets_are_used_as_they_are() {
    let setup =
        plain().handed_in("{dir}/www.sock").env("FPM_SOCKETS", "{dir}/www.sock=3").www("listen.mode = 0600");
    let mut pair = Pair::start(&setup);
    pair.same("unix", |server| {
        let facts = std::fs::metadata(server.socket("www")).expect("socket");
        format!("{:o} {}", facts.mode(), server.get("/x.php").body())
    });
    pair.finish();
}

#[test]
fn handed_in_over_tcp() {
    for (listen, at, key) in [
        ("127.0.0.1:{port}", "127.0.0.1:{port}", "127.0.0.1:{port}=3"),
        ("[::1]:{port}", "[::1]:{port}", "::1:{port}=3"),
        ("{port}", "[::]:{port}", ":::{port}=3"),
        ("localhost:{port}", "127.0.0.1:{port}", "127.0.0.1:{port}=3"),
    ] {
        let setup = plain().www(&format!("listen = {listen}")).handed_in(at).env("FPM_SOCKETS", key);
        let mut pair = Pair::start(&setup);
        pair.same(listen, |server| {
            let v4 = over_tcp(server, ([127, 0, 0, 1], server.port(0)));
            let v6 = over_tcp(server, (Ipv6Addr::LOCALHOST, server.port(0)));
            format!("{v4} {v6}")
        });
        pair.finish();
    }
}

#[test]
fn two_variables() {
    let setup = plain()
        .pool("b", "")
        .handed_in("{dir}/www.sock")
        .handed_in("{dir}/b.sock")
        .env("FPM_SOCKETS", "{dir}/www.sock=3")
        .env("FPM_SOCKETS_1", "{dir}/b.sock=4")
        .env("FPM_SOCKETS_3", "/never/read=5");
    let mut pair = Pair::start(&setup);
    pair.same("both", |server| {
        let ask = |pool| Client::unix(&server.socket(pool)).send(&Request::get(server, "/x.php")).body();
        format!("{} {}", ask("www"), ask("b"))
    });
    pair.finish();
}

/// php-fpm unlinks the path, and whoever holds the socket holds one that nobody can reach.
#[test]
fn handed_in_sockets_outlive_the_server() {
    for signal in [Signal::SIGTERM, Signal::SIGQUIT] {
        let reason = "socket activation works more than once";
        compare_runs(signal.as_str(), Some(reason), |side| {
            let setup = plain().handed_in("{dir}/www.sock").env("FPM_SOCKETS", "{dir}/www.sock=3");
            let server = Server::start(side, &setup);
            // Also after a reload it is not ours.
            server.signal(Signal::SIGUSR2);
            server.wait_ready_times(2);
            let body = server.get("/x.php").body();
            server.stop_with(signal);
            let reachable = UnixStream::connect(server.socket("www")).is_ok();
            format!("{body} {} {reachable}", server.held().len())
        });
    }
}

#[test]
fn a_server_may_be_started_on_its_socket_again() {
    if same_on_both_sides() {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("activated.sock");
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("own folder");
    let listen = format!("listen = {}", path.display());
    let setup = plain().www(&listen).handed_in(&path.to_string_lossy());
    let setup = setup.env("FPM_SOCKETS", &format!("{}=3", path.display()));
    let first = Server::start(Side::Subject, &setup);
    let again = plain().www(&listen).env("FPM_SOCKETS", &format!("{}=3", path.display()));
    let again = first.hand_on(again);
    for _ in 0..2 {
        let server = Server::start(Side::Subject, &again);
        let reply = Client::unix(&path).send(&Request::get(&server, "/x.php"));
        // Either server may have taken it while both ran.
        assert!(!reply.silent);
        server.stop();
    }
    first.stop();
    assert!(path.exists());
}

#[test]
fn handed_in_and_not_wanted() {
    let reason = "somebody else's file is not removed";
    compare_runs("another path", Some(reason), |side| {
        let setup = plain().handed_in("{dir}/other.sock").env("FPM_SOCKETS", "{dir}/other.sock=3");
        let server = Server::start(side, &setup);
        let there = server.dir().join("other.sock").exists();
        let open = std::fs::read_link(format!("/proc/{}/fd/3", server.master())).is_ok_and(|link| {
            link.to_string_lossy().starts_with("socket:")
                && std::fs::metadata(format!("/proc/{}/fd/3", server.master())).is_ok()
        });
        let _ = open;
        server.stop();
        format!("{there}\n{}", traces(&server))
    });
    compare_runs("TCP", None, |side| {
        let setup = plain().global("; {port}").handed_in("127.0.0.1:{port}");
        let setup = setup.env("FPM_SOCKETS", "127.0.0.1:{port}=3");
        start_and_stop(side, &setup)
    });
}

#[test]
fn another_spelling_of_the_path() {
    let reason = "php-fpm connects to the socket it was given and takes itself for another server";
    compare_runs("two slashes", Some(reason), |side| {
        let setup = plain().handed_in("{dir}/www.sock").env("FPM_SOCKETS", "{dir}//www.sock=3");
        let server = Server::launch(side, &setup);
        if side == Side::Reference && !same_on_both_sides() {
            return server.wait_exit().to_string();
        }
        server.wait_log("ready to handle");
        let body = server.get("/x.php").body();
        server.stop();
        body
    });
}

/// php-fpm goes on with such a number, and its workers die at once, for ever.
#[test]
fn hostile_variables() {
    if same_on_both_sides() {
        return;
    }
    for value in [
        "",
        ",",
        "=",
        "{dir}/www.sock",
        "{dir}/www.sock=",
        "{dir}/www.sock=-1",
        "{dir}/www.sock=0",
        "{dir}/www.sock=1",
        "{dir}/www.sock=2",
        "{dir}/www.sock=5",
        "{dir}/www.sock=77",
        "{dir}/www.sock=1000000",
        "{dir}/www.sock=99999999999999999999",
        "{dir}/www.sock=3x",
        "{dir}/www.sock=3=3",
        "\x1b[31m{dir}/www.sock=\n",
        "=3",
        ",,{dir}/none.sock=3,,{dir}/www.sock=3,{dir}/www.sock=3",
    ] {
        let setup = plain().handed_in("127.0.0.1:{port2}").env("FPM_SOCKETS", value);
        let setup = setup.wrapped(&["/bin/sh", "-c", "exec 5</dev/null; exec \"$0\" \"$@\""]);
        let server = Server::start(Side::Subject, &setup);
        assert_eq!(server.get("/x.php").body(), "www", "{value:?}");
        let complaints = server.log().matches("WARNING: FPM_SOCKETS: ").count();
        let entries = server.fill(value).split(',').filter(|text| !text.is_empty()).count();
        let used = server.log().matches("using inherited socket").count();
        assert_eq!(complaints + used, entries, "{value:?}\n{}", server.log());
        assert!(server.log().lines().all(|line| line.starts_with('[')), "{}", server.log());
        server.stop();
        assert!(!server.socket("www").exists());
    }
}

#[test]
fn a_variable_of_many_entries() {
    if same_on_both_sides() {
        return;
    }
    let many: Vec<String> = (100..3000).map(|number| format!("/nowhere/{number}={number}")).collect();
    let server = Server::start(Side::Subject, &plain().env("FPM_SOCKETS", &many.join(",")));
    assert_eq!(server.get("/x.php").body(), "www");
    server.stop();
}

// --- what programs inherit -------------------------------------------------------------------------------

#[test]
fn programs_of_scripts_hold_no_socket() {
    let code =
        "<?php echo shell_exec('ls -l /proc/self/fd | grep -c socket:'), shell_exec('echo $FPM_SOCKETS');";
    for listen in ["", "listen = 127.0.0.1:{port}"] {
        compare_runs(listen, Some("close-on-exec, as php-fpm 8.3"), |side| {
            let server = Server::start(side, &Setup::new().www(listen).script("x.php", code));
            let body = match listen {
                "" => server.get("/x.php").body(),
                _ => over_tcp(&server, ([127, 0, 0, 1], server.port(0))),
            };
            server.stop();
            body
        });
    }
}

#[test]
fn a_program_left_behind_does_not_hold_the_address() {
    if same_on_both_sides() {
        return;
    }
    let code = "<?php $p = popen('sleep 30 & echo $!', 'r'); echo (int) fgets($p);";
    let server =
        Server::start(Side::Subject, &Setup::new().www("listen = 127.0.0.1:{port}").script("x.php", code));
    let pid: i32 = over_tcp(&server, ([127, 0, 0, 1], server.port(0))).parse().expect("a process id");
    let sleeper = cornac_tests::processes::Process::of(pid).expect("it sleeps");
    server.signal(Signal::SIGTERM);
    server.wait_exit();
    assert!(sleeper.lives());
    assert!(TcpListener::bind(("127.0.0.1", server.port(0))).is_ok());
    sleeper.signal(Signal::SIGKILL);
    server.expect_gone();
}
