//! The master killed: nobody survives, and the next start succeeds at once. Pid files that tell a lie, and socket files
//! that somebody has taken away.

use std::fs;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use cornac_tests::traffic::{Address, served};
use cornac_tests::{Manner, Request, Server, Setup, Side, Signal, Traffic, skip_unless_root, wait};

use super::say;

fn pools() -> Setup {
    served(Setup::new())
        .www("pm.max_children = 4")
        .pool("tcp", "listen = 127.0.0.1:{port}\npm.max_children = 2")
        .pool("idle", "pm = ondemand")
}

/// Again and again in one folder, at one socket and one port, with clients that go on connecting. Those find nobody
/// between the master's end and the next start; but who was answered was answered right.
#[test]
fn nobody_survives_the_master() {
    for round in 0..5 {
        let server = Server::start(Side::Subject, &pools());
        let unix = Traffic::begin(&server, Manner::default());
        let tcp = Address::Tcp(([127, 0, 0, 1], server.port(0)).into());
        let tcp = Traffic::at(
            &server,
            tcp,
            Manner { clients: 2, sleeps: Duration::from_millis(5), ..Manner::default() },
        );
        unix.go_on(&server, 50);
        tcp.go_on(&server, 20);
        let all = server.processes();
        // A stopped fork server is not the way to survive.
        if round % 2 == 1 {
            all.iter()
                .filter(|one| one.title().contains("fork server www"))
                .for_each(|one| one.signal(Signal::SIGSTOP));
        }
        server.signal(Signal::SIGKILL);
        let killed = Instant::now();
        server.expect_gone();
        assert!(all.iter().all(|process| !process.lives()));
        let gone = killed.elapsed();
        assert!(server.socket("www").exists() && !server.read("php-fpm.pid").is_empty());
        let again = Instant::now();
        server.start_again();
        let start = again.elapsed();
        unix.go_on(&server, 50);
        tcp.go_on(&server, 20);
        for (name, traffic) in [("unix", unix), ("tcp", tcp)] {
            let tally = traffic.end();
            let (gone, start) = (gone.as_millis(), start.as_millis());
            say(
                &format!("master killed, all gone after {gone} ms, next start {start} ms, {name}"),
                server.side,
                &tally,
            );
            let honest =
                |reason: &String| reason.starts_with("connect: ") || reason.starts_with("connection ended");
            assert!(tally.failed.keys().all(honest), "{tally}");
        }
        server.stop();
    }
}

/// Who has a request when the master is killed finishes it, if that takes no longer than a second; and is in nobody's way.
#[test]
fn a_request_survives_the_master_for_a_second() {
    let setup = served(Setup::new().www("pm.max_children = 4"))
        .script("short.php", "<?php touch($_GET['f']); $end = microtime(true) + 0.3; while (microtime(true) < $end); echo 'done';")
        .script("long.php", "<?php touch($_GET['f']); while (true) usleep(1000);")
        .script("begun.php", "<?php echo 'begun'; flush(); touch($_GET['f']); while (true) usleep(1000);");
    let server = Server::start(Side::Subject, &setup);
    let begin = |name: &str| {
        let file = server.fill(&format!("{{dir}}/tmp/{name}"));
        let mut client = server.connect();
        client.write(&Request::get(&server, &format!("/{name}?f={file}")).encode()).expect("sent");
        let begun = wait::until(|| fs::exists(&file).expect("own folder").then_some(()));
        assert!(begun.is_some(), "{name} has not begun\n{}", server.log());
        client
    };
    let [mut begun, mut long, mut short] = ["begun.php", "long.php", "short.php"].map(begin);
    let killed = Instant::now();
    server.signal(Signal::SIGKILL);
    server.wait_exit();
    // While they finish.
    server.start_again();
    assert_eq!(short.read_reply().body(), "done");
    let long = long.read_reply();
    assert_eq!((long.status(), long.stderr.as_slice()), (500, &b"The server of this request was killed"[..]));
    assert_eq!(begun.read_reply().end, None);
    assert!(killed.elapsed() < Duration::from_secs(15), "{:?}", killed.elapsed());
    assert_eq!(server.get("/traffic.php?n=1&us=0").status(), 200);
    server.stop();
}

/// php-fpm's workers go on without a master, and the next start is refused.
#[test]
fn php_fpm_leaves_workers_behind() {
    let setup = served(Setup::new()).www("pm.max_children = 2");
    let server = Server::start(Side::Reference, &setup);
    let workers = server.workers("www");
    server.signal(Signal::SIGKILL);
    server.wait_exit();
    assert!(workers.iter().all(|worker| worker.lives()), "php-fpm has learnt to end its workers");
    let next = Server::launch(Side::Reference, &Setup::bare(&server.fill(&setup.config())));
    assert_eq!(next.wait_exit(), 78);
    assert!(next.stderr().contains("Another FPM instance seems to already listen on"), "{}", next.stderr());
}

/// Whatever lies there when it starts: only what cannot be replaced stops it, with php-fpm's words.
#[test]
fn stale_pid_files() {
    let living = std::process::id().to_string();
    for (what, content) in [
        ("of a dead process", "4194303"),
        ("of another living one", living.as_str()),
        ("nonsense", "x\0y"),
        ("empty", ""),
    ] {
        for side in [Side::Reference, Side::Subject] {
            let server = Server::start(side, &served(Setup::new()).file("php-fpm.pid", content));
            assert_eq!(server.read("php-fpm.pid"), server.master().to_string(), "{side:?}: {what}");
            server.stop();
            assert!(!server.dir().join("php-fpm.pid").exists(), "{side:?}: {what}");
        }
    }
    for side in [Side::Reference, Side::Subject] {
        let server = Server::launch(side, &Setup::new().file("php-fpm.pid/inside", ""));
        assert_eq!(server.wait_exit(), 78, "{side:?}");
        let text = format!(
            "Unable to create the PID file ({}).: Is a directory (21)",
            server.fill("{dir}/php-fpm.pid")
        );
        assert!(server.stderr().contains(&text), "{side:?}: {}", server.stderr());
        assert!(!server.socket("www").exists() || side == Side::Reference);
    }
}

/// Two masters by mistake with one pid file: the first one's end does not take the second one's file away.
#[test]
fn a_pid_file_of_somebody_else_is_left_alone() {
    let server = Server::start(Side::Subject, &served(Setup::new()));
    server.write("php-fpm.pid", "1");
    server.stop();
    assert_eq!(server.read("php-fpm.pid"), "1");
}

#[test]
fn an_unreadable_pid_file_is_replaced() {
    if skip_unless_root("an unreadable pid file", 1) {
        return;
    }
    let setup = served(Setup::new()).file("php-fpm.pid", "1").unprivileged();
    let server = Server::start(
        Side::Subject,
        &setup.wrapped(&["sh", "-c", "chmod 0 {dir}/php-fpm.pid; exec \"$0\" \"$@\""]),
    );
    assert_eq!(server.read("php-fpm.pid"), server.master().to_string());
    server.stop();
}

/// Clients cannot connect any more, and those who have are answered; one line says so, and a reload puts it right.
#[test]
fn a_socket_file_taken_away_is_told_and_made_anew() {
    type Take = fn(&std::path::Path) -> Option<UnixListener>;
    let ways: [(&str, &str, Take); 4] = [
        ("removed", "has been removed", |path| {
            fs::remove_file(path).expect("own socket");
            None
        }),
        ("a file", "has been replaced by a file", |path| {
            fs::remove_file(path).expect("own socket");
            fs::write(path, "").expect("own folder");
            None
        }),
        ("a folder", "has been replaced by a folder", |path| {
            fs::remove_file(path).expect("own socket");
            fs::create_dir(path).expect("own folder");
            None
        }),
        ("another listener", "has been replaced by another one", |path| {
            fs::remove_file(path).expect("own socket");
            Some(UnixListener::bind(path).expect("own folder"))
        }),
    ];
    for (name, line, take) in ways {
        let server = Server::start(Side::Subject, &served(Setup::new()).www("pm.max_children = 2"));
        let mut queued = server.connect();
        let another = take(&server.socket("www"));
        server.wait_log(&format!(
            "WARNING: [pool www] the socket {} {line}: clients cannot",
            server.socket("www").display()
        ));
        let request = Request::get(&server, "/traffic.php?n=1&us=0");
        assert_eq!(queued.send(&request).status(), 200, "{name}");
        drop(another);
        if name == "a folder" {
            fs::remove_dir(server.socket("www")).expect("own folder");
        }
        server.signal(Signal::SIGUSR2);
        server.wait_ready_times(2);
        let traffic = Traffic::begin(&server, Manner::default());
        traffic.go_on(&server, 100);
        traffic.end().expect_none_lost(&server, 100);
        assert_eq!(server.log().matches("clients cannot connect").count(), 1, "{name}: {}", server.log());
        server.stop();
    }
}

/// Put back by whoever took it away: nothing needs a reload.
#[test]
fn a_socket_file_that_comes_back_is_told() {
    let server = Server::start(Side::Subject, &served(Setup::new()));
    let (path, aside) = (server.socket("www"), server.socket("aside"));
    fs::rename(&path, &aside).expect("own socket");
    server.wait_log("has been removed");
    fs::rename(&aside, &path).expect("own socket");
    server.wait_log(&format!("NOTICE: [pool www] the socket {} is there again", path.display()));
    assert_eq!(server.get("/traffic.php?n=1&us=0").status(), 200);
    server.stop();
    assert!(!path.exists());
}
