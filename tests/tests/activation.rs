//! Sockets that systemd hands in (LISTEN_FDS): found by address or name, used as they are, never removed; and what may
//! be wrong with them. php-fpm does not know them: it connects to its own address, finds somebody listening, and ends.

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use cornac_tests::binary::{is_root, same_on_both_sides};
use cornac_tests::installed::has_program;
use cornac_tests::processes::MARK;
use cornac_tests::scene::traces;
use cornac_tests::{Client, Request, Server, Setup, Side, Signal, compare_runs, wait};

const POOL: &str = "<?php echo fpm_get_status()['pool'];";

fn plain() -> Setup {
    Setup::new().script("x.php", POOL)
}

fn subject(setup: &Setup) -> Server {
    Server::start(Side::Subject, setup)
}

fn over_tcp(server: &Server, address: impl Into<SocketAddr>) -> String {
    Client::tcp(address.into()).expect("somebody listens").send(&Request::get(server, "/x.php")).body()
}

fn at(server: &Server, path: &Path) -> String {
    Client::unix(path).send(&Request::get(server, "/x.php")).body()
}

/// Lines of the log that contain this.
fn lines(server: &Server, part: &str) -> Vec<String> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| line.split_once("] ")).map(|(_, text)| text.to_owned());
    lines.filter(|line| line.contains(part)).collect()
}

#[test]
fn by_its_address() {
    let reason = "socket activation as systemd does it; php-fpm takes itself for another server";
    compare_runs("unix", Some(reason), |side| {
        let setup = plain().handed_in("{dir}/www.sock").activated("1", "").www("listen.mode = 0600");
        let server = Server::launch(side, &setup);
        if side == Side::Reference && !same_on_both_sides() {
            return server.wait_exit().to_string();
        }
        server.wait_log("ready to handle");
        let mode = std::fs::metadata(server.socket("www")).expect("socket").mode();
        let body = server.get("/x.php").body();
        server.stop();
        format!("{body} {mode:o} {}\n{}", server.socket("www").exists(), traces(&server))
    });
}

#[test]
fn every_form_of_an_address() {
    if same_on_both_sides() {
        return;
    }
    for (listen, handed) in [
        ("{dir}//./www.sock", "{dir}/www.sock"),
        ("127.0.0.1:{port}", "127.0.0.1:{port}"),
        ("{port}", "0.0.0.0:{port}"),
        ("{port}", "[::]:{port}"),
        ("localhost:{port}", "127.0.0.1:{port}"),
        ("0x7f.1:{port}", "127.0.0.1:{port}"),
    ] {
        let setup = plain().www(&format!("listen = {listen}")).handed_in(handed).activated("1", "php.socket");
        let server = subject(&setup);
        let body = match handed.starts_with('{') {
            true => server.get("/x.php").body(),
            false => over_tcp(&server, ([127, 0, 0, 1], server.port(0))),
        };
        assert_eq!(body, "www", "{listen}");
        let address = server.fill(handed).replace(['[', ']'], "");
        assert_eq!(
            lines(&server, "using inherited"),
            [format!("NOTICE: using inherited socket fd=3, \"{address}\"")]
        );
        assert_eq!(lines(&server, "retrying"), [""; 0]);
        server.stop();
    }
}

/// The path of two names on systems where one is a link to the other.
#[test]
fn var_run_is_run() {
    if same_on_both_sides() || !is_root() || !Path::new("/var/run").is_symlink() {
        return;
    }
    let folder = tempfile::Builder::new().prefix("cornac-").tempdir_in("/run").expect("folder");
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("own folder");
    let path = folder.path().join("www.sock");
    let setup = plain().www(&format!("listen = /var{}", path.display()));
    let server = subject(&setup.handed_in(&path.to_string_lossy()).activated("1", ""));
    assert_eq!(at(&server, &path), "www");
    server.stop();
    assert!(path.exists());
}

#[test]
fn by_its_name() {
    if same_on_both_sides() {
        return;
    }
    // The address counts before the name: the first socket is b's, whatever it is called.
    let setup = plain()
        .pool("b", "")
        .handed_in("{dir}/b.sock")
        .handed_in("{dir}/other.sock")
        .activated("2", "www:www");
    let server = subject(&setup);
    assert_eq!(at(&server, &server.dir().join("other.sock")), "www");
    assert_eq!(at(&server, &server.socket("b")), "b");
    assert!(!server.socket("www").exists());
    let told = lines(&server, "handed in under its name");
    assert_eq!(told.len(), 1, "{}", server.log());
    // Also after a reload, in which it is handed on.
    server.signal(Signal::SIGUSR2);
    server.wait_ready_times(2);
    assert_eq!(at(&server, &server.dir().join("other.sock")), "www");
    server.stop_with(Signal::SIGQUIT);
    assert!(server.dir().join("other.sock").exists() && server.socket("b").exists());
}

#[test]
fn beside_sockets_of_our_own_and_fpm_sockets() {
    if same_on_both_sides() {
        return;
    }
    let setup = plain()
        .pool("b", "listen = 127.0.0.1:{port}")
        .pool("c", "")
        .handed_in("{dir}/www.sock")
        .handed_in("127.0.0.1:{port}")
        // systemd announces both, the unit's environment names one of them as well.
        .activated("2", "php.socket:php.socket")
        .env("FPM_SOCKETS", "127.0.0.1:{port}=4");
    let server = subject(&setup);
    for _ in 0..2 {
        assert_eq!(server.get("/x.php").body(), "www");
        assert_eq!(over_tcp(&server, ([127, 0, 0, 1], server.port(0))), "b");
        assert_eq!(at(&server, &server.socket("c")), "c");
        server.signal(Signal::SIGUSR2);
        server.wait_ready_times(2);
    }
    assert_eq!(lines(&server, "WARNING"), [""; 0]);
    server.stop();
    assert!(server.socket("www").exists() && !server.socket("c").exists());
    assert!(UnixStream::connect(server.socket("www")).is_ok());
    assert!(TcpStream::connect(("127.0.0.1", server.port(0))).is_ok());
}

#[test]
fn rights_and_queue() {
    if same_on_both_sides() {
        return;
    }
    let status = "pm.status_path = /status\n";
    let room = |server: &Server| {
        let page = server.get("/status").body();
        page.lines()
            .find_map(|line| line.strip_prefix("listen queue len:"))
            .map(|rest| rest.trim().to_owned())
    };
    let given =
        plain().www(&format!("{status}listen.backlog = 7\nlisten.owner = nobody\nlisten.group = nobody"));
    let server = subject(&given.handed_in("{dir}/www.sock").activated("1", ""));
    assert_eq!(room(&server).as_deref(), Some("7"));
    let notice = "NOTICE: [pool www] listen.owner, listen.group, listen.mode without effect on a socket handed in: \
                  SocketUser=, SocketGroup= and SocketMode= of the socket unit count";
    assert_eq!(lines(&server, "without effect"), [notice]);
    server.stop();
    let listener = UnixListener::bind(server.dir().join("other.sock")).expect("own folder");
    let before = {
        let twin = plain().www(status).passed(listener.try_clone().expect("own socket"));
        let server = subject(&twin.activated("1", "www"));
        let path = listener.local_addr().expect("own socket").as_pathname().map(PathBuf::from).expect("path");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).expect("own socket");
        let page = Client::unix(&path).send(&Request::get(&server, "/status")).body();
        server.stop();
        page.lines()
            .find_map(|line| line.strip_prefix("listen queue len:"))
            .map(|rest| rest.trim().to_owned())
    };
    // What Rust listens with: the unit's own number stays where the pool has none.
    assert_ne!(before.as_deref(), Some("511"));
}

#[test]
fn what_is_of_no_use_is_named_and_everything_else_goes_on() {
    if same_on_both_sides() {
        return;
    }
    let check = |name: &str, setup: Setup, expected: &[&str]| {
        let server = subject(&setup);
        assert_eq!(server.get("/x.php").body(), "www", "{name}");
        let told = lines(&server, "LISTEN_FD");
        let expected: Vec<String> = expected.iter().map(|line| server.fill(line)).collect();
        assert_eq!(told, expected, "{name}\n{}", server.log());
        for path in [server.dir().join("b.sock"), server.dir().join("other.sock")] {
            // Closed here, and nothing more: whoever handed it in still listens.
            assert!(!path.exists() || UnixStream::connect(&path).is_ok(), "{name}");
        }
        // None of them is still open in the master.
        let fds = std::fs::read_dir(format!("/proc/{}/fd", server.master())).expect("own process");
        let links = fds.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        assert!(!links.into_iter().any(|link| link == Path::new("/proc/version")), "{name}");
        server.stop();
    };
    let given = || plain().handed_in("{dir}/www.sock");
    let sh = |script: &str| format!("{script}; exec \"$0\" \"$@\"");
    let closed = "WARNING: LISTEN_FDS: fd=4 (b) is no listening socket, ignored: Bad file descriptor (9)";
    check("closed", given().activated("2", "a:b"), &[closed]);
    let file =
        "WARNING: LISTEN_FDS: fd=4 is no listening socket, ignored: Socket operation on non-socket (88)";
    let setup = given().activated("2", "").wrapped(&["/bin/sh", "-c", &sh("exec 4</proc/version")]);
    check("a file", setup, &[file]);
    let udp = UdpSocket::bind("127.0.0.1:0").expect("free port");
    let datagrams = "WARNING: LISTEN_FDS: fd=3 is no listening socket, ignored: it is a datagram socket";
    check("datagrams", given().passed(udp).activated("2", ""), &[datagrams]);
    let (one, _other) = UnixStream::pair().expect("pair");
    let connection = "WARNING: LISTEN_FDS: fd=3 is no listening socket, ignored: it does not listen";
    check("a connection", given().passed(one).activated("2", ""), &[connection]);
    let end = "it is closed here, its owner keeps it";
    let unknown = format!(
        "WARNING: LISTEN_FDS: fd=4 (web), \"{{dir}}/other.sock\" is bound to no pool's address, and its name is no \
         pool's; {end}"
    );
    check("unknown", given().handed_in("{dir}/other.sock").activated("2", "web:web"), &[&unknown]);
    let twice = format!(
        "WARNING: LISTEN_FDS: fd=4 (www), \"{{dir}}/www.sock\" is bound to the address of one that is used already; {end}"
    );
    let setup = given().activated("2", "www:www").wrapped(&["/bin/sh", "-c", &sh("exec 4<&0")]);
    check("doubled", setup, &[&twice]);
    let names = "WARNING: LISTEN_FDNAMES has 3 name(s) for 1 descriptor(s), ignored";
    check("names", given().activated("1", "a:b:c"), &[names]);
    // Not for us: then it is as if nothing was handed in. The pool has a socket of its own.
    let own = || plain().handed_in("{dir}/other.sock");
    let number = "is not a whole number up to 4096, ignored";
    for count in ["x", "-1", "1000000", "99999999999999999999"] {
        check(count, own().activated(count, ""), &[&format!("WARNING: LISTEN_FDS: '{count}' {number}")]);
    }
    let wrapped = |script: &str| own().wrapped(&["/bin/sh", "-c", &sh(script)]);
    let nobody = "WARNING: LISTEN_FDS without LISTEN_PID is meant for nobody, ignored";
    check("no pid", wrapped("export LISTEN_FDS=1"), &[nobody]);
    let setup = wrapped("export LISTEN_FDS=1 LISTEN_PID=1");
    let server = subject(&setup);
    let pid = server.master();
    let other = format!(
        "WARNING: LISTEN_FDS is meant for process '1' and this is {pid}, ignored; a script that starts php-fpm has to \
         do so with exec"
    );
    assert_eq!(lines(&server, "LISTEN_FDS"), [other]);
    server.stop();
}

/// The number that Linux 6.9 and later have for each process besides its process id.
#[test]
fn the_process_is_told_by_more_than_its_number() {
    if same_on_both_sides() {
        return;
    }
    let setup = plain().handed_in("{dir}/other.sock").activated("1", "www").env("LISTEN_PIDFDID", "1");
    let server = subject(&setup);
    let checked = lines(&server, "LISTEN_PIDFDID").len() == 1;
    // A kernel without them cannot be asked; then the process id counts.
    let path = if checked { server.socket("www") } else { server.dir().join("other.sock") };
    assert_eq!(at(&server, &path), "www");
    server.stop();
}

#[test]
fn in_the_background_too() {
    if same_on_both_sides() {
        return;
    }
    let server = subject(&plain().handed_in("{dir}/www.sock").activated("1", "").daemon());
    assert_eq!(server.get("/x.php").body(), "www");
    server.stop();
    assert!(server.socket("www").exists());
}

#[test]
fn scripts_see_nothing_of_it() {
    let code = "<?php $ours = ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID', 'FDSTORE', 'NOTIFY_SOCKET'];
        foreach ($ours as $name) { if (getenv($name) !== false || isset($_SERVER[$name])) { echo \"$name \"; } }
        echo getenv('LISTEN_PORT');";
    let server = subject(
        &Setup::new()
            .script("x.php", code)
            .www("clear_env = no")
            .handed_in("{dir}/www.sock")
            .activated("1", "www")
            .env("FDSTORE", "8")
            .env("NOTIFY_SOCKET", "/no/such/socket")
            .env("LISTEN_PORT", "80"),
    );
    assert_eq!(server.get("/x.php").body(), "80");
    server.stop();
}

/// By systemd's own tool for such tests, which waits for the first connection.
#[test]
fn systemd_socket_activate() {
    let tool = "systemd-socket-activate";
    if same_on_both_sides() || !has_program(tool) {
        return;
    }
    let sockets = ["-l", "{dir}/www.sock", "-l", "127.0.0.1:{port}", "--fdname=php.socket:api"];
    let words = [&[tool, "-E", MARK][..], &sockets].concat();
    let server = Server::launch(Side::Subject, &plain().pool("api", "").global("; {port}").wrapped(&words));
    // Nothing runs yet but the tool.
    let path = server.socket("www");
    let mut first = wait::until(|| UnixStream::connect(&path).ok()).expect("the tool listens");
    first.write_all(&Request::get(&server, "/x.php").encode()).expect("sent");
    server.wait_log("ready to handle");
    assert_eq!(over_tcp(&server, ([127, 0, 0, 1], server.port(0))), "api");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).expect("own socket");
    assert_eq!(at(&server, &path), "www");
    drop(first);
    server.stop();
    assert!(path.exists());
}
