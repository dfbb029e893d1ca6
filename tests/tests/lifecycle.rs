//! Start, signals and stop of the master, workers that crash or are killed, pid file and background mode: exit codes,
//! log lines, and that nothing is left behind.

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::compare::mask;
use cornac_tests::scene::{begun, slow, traces};
use cornac_tests::{Case, Pair, Server, Setup, Side, compare_runs, wait};
use nix::sys::signal::Signal;

#[test]
fn stop_signals() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        compare_runs(signal.as_str(), None, |side| {
            let server = Server::start(side, &Setup::new().script("x.php", "<?php echo 1;"));
            server.get("/x.php");
            server.stop_with(signal);
            let left = [server.socket("www").exists(), server.dir().join("php-fpm.pid").exists()];
            format!("exit {}\nleft: {left:?}\n{}", server.wait_exit(), traces(&server))
        });
    }
}

#[test]
fn systemd_interval() {
    compare_runs("systemd interval", None, |side| {
        let server = Server::start(side, &Setup::new());
        server.stop();
        server
            .log()
            .lines()
            .filter_map(|line| line.split_once(']'))
            .filter(|(_, text)| text.contains("systemd"))
            .map(|(_, text)| text.to_owned())
            .collect()
    });
}

#[test]
fn quit_lets_requests_finish() {
    compare_runs("SIGQUIT during a request", None, |side| {
        let server = Server::start(side, &slow().global("process_control_timeout = 10"));
        let mut client = begun(&server);
        server.signal(Signal::SIGQUIT);
        server.wait_log("Finishing ...");
        server.write("tmp/go", "");
        let reply = client.read_reply().to_text();
        // php-fpm's worker waits for the client to close.
        drop(client);
        server.expect_gone();
        format!("{reply}\n{}", traces(&server))
    });
}

#[test]
fn quit_waits_no_longer_than_the_timeout() {
    compare_runs("SIGQUIT and a request without end", None, |side| {
        let server = Server::start(side, &slow().global("process_control_timeout = 1"));
        let mut client = begun(&server);
        server.signal(Signal::SIGQUIT);
        server.expect_gone();
        format!("{}\n{}", client.read_reply().to_text(), traces(&server))
    });
}

#[test]
fn term_ends_requests() {
    compare_runs("SIGTERM during a request", None, |side| {
        let server = Server::start(side, &slow());
        let mut client = begun(&server);
        server.stop_with(Signal::SIGTERM);
        format!("{}\n{}", client.read_reply().to_text(), traces(&server))
    });
}

#[test]
fn a_new_server_after_a_killed_one() {
    compare_runs("SIGKILL to the master", None, |side| {
        let reason = "socket file";
        let server = Server::start(side, &Setup::new());
        server.signal(Signal::SIGKILL);
        let code = server.wait_exit();
        format!("{code} {reason} {}", server.socket("www").exists())
    });
}

#[test]
fn crashed_workers_are_replaced() {
    let mut pair = Pair::start(
        &Setup::new().script("pid.php", "<?php echo getmypid();").www("catch_workers_output = yes"),
    );
    use Signal::{SIGABRT, SIGBUS, SIGILL, SIGKILL, SIGSEGV, SIGTERM};
    let answered = "a request whose worker crashes before it has sent anything is answered with error 500";
    for signal in [SIGKILL, SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGTERM] {
        let crash = |server: &Server| {
            let before = server.get("/pid.php").body();
            let (name, number) = (signal.as_str(), signal as i32);
            let code =
                format!("<?php echo 'lost'; posix_kill(getmypid(), {number}); usleep(100000); echo 'alive';");
            server.write(&format!("www/{name}.php"), code);
            let reply = server.get(&format!("/{name}.php"));
            let after = server.get("/pid.php").body();
            assert_ne!(before, after, "{:?}: the worker of {signal} is replaced", server.side);
            reply.to_text()
        };
        match signal {
            SIGKILL | SIGTERM => pair.same(signal.as_str(), crash),
            _ => pair.differs(signal.as_str(), answered, crash),
        };
    }
    pair.case(&Case::php("still serving", "<?php echo 'here';"));
    pair.finish();
}

#[test]
fn workers_killed_from_outside() {
    let mut pair = Pair::start(&Setup::new().script("pid.php", "<?php echo getmypid();"));
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGSEGV] {
        pair.same(signal.as_str(), |server| {
            server.get("/pid.php");
            let before = server.workers("www");
            before.iter().for_each(|worker| worker.signal(signal));
            wait::until(|| (!before.iter().any(|worker| worker.lives())).then_some(()))
                .expect("the worker ends");
            let after = server.get("/pid.php").body();
            format!("{} {}", before.len(), before.iter().any(|worker| worker.pid.to_string() == after))
        });
    }
    pair.finish();
}

#[test]
fn crashes_during_the_answer() {
    let mut pair = Pair::start(&Setup::new());
    pair.cases([
        Case::php("crash with output sent", "<?php echo 'x'; flush(); posix_kill(getmypid(), 11); sleep(1);"),
        Case::php(
            "crash with headers sent",
            "<?php header('X-A: 1'); flush(); posix_kill(getmypid(), 9); sleep(1);",
        ),
        Case::php(
            "crash in a shutdown function",
            "<?php register_shutdown_function(fn () => posix_kill(getmypid(), 9)); echo 'x';",
        ),
        Case::php(
            "crash after the answer",
            "<?php echo 'x'; fastcgi_finish_request(); posix_kill(getmypid(), 9);",
        ),
        Case::php("afterwards", "<?php echo 'here';").times(4),
    ]);
    pair.finish();
}

#[test]
fn terminate_timeout() {
    let setup = Setup::new()
        .www("request_terminate_timeout = 1")
        .script("long.php", "<?php echo 'x'; flush(); sleep(20);");
    let mut pair = Pair::start(&setup);
    pair.case(&Case::get("too long", "/long.php").query("a=b"));
    pair.case(&Case::php("afterwards", "<?php echo 'here';"));
    pair.finish();
}

#[test]
fn slow_log() {
    let setup = Setup::new()
        .www("request_slowlog_timeout = 1\nslowlog = {dir}/slow.log\nrequest_slowlog_trace_depth = 3")
        .script("slow.php", "<?php\nclass C { static function m() { outer(); } }\nfunction inner() {\n  $end = microtime(true) + 2.2; while (microtime(true) < $end) usleep(50000); }\nfunction outer() {\n inner(); }\nC::m(); echo 'done';");
    let mut pair = Pair::start(&setup);
    pair.case(&Case::get("slow", "/slow.php"));
    pair.same("file", |server| {
        wait::until(|| server.read("slow.log").contains("outer()").then_some(()));
        let text = server.read("slow.log");
        text.lines()
            .map(|line| {
                line.split_once("] ").filter(|_| line.starts_with("[0x")).map_or(line, |(_, rest)| rest)
            })
            .collect::<Vec<_>>()
            .join("\n")
    });
    pair.ignore_log();
    pair.finish();
}

#[test]
fn reopened_logs() {
    let mut pair = Pair::start(
        &Setup::new()
            .www("access.log = {dir}/access.log\naccess.format = \"%m %r %s\"")
            .script("x.php", "<?php echo 1;"),
    );
    pair.same("SIGUSR1", |server| {
        server.get("/x.php");
        for name in ["access.log", "error.log"] {
            std::fs::rename(server.dir().join(name), server.dir().join(format!("{name}.1")))
                .expect("own file");
        }
        server.signal(Signal::SIGUSR1);
        server.wait_log("access log file re-opened");
        // The workers take the new file over one after the other.
        wait::until(|| {
            server.get("/x.php");
            (!server.read("access.log").is_empty()).then_some(())
        });
        format!(
            "{}\n{}",
            server.read("access.log.1").lines().next().unwrap_or_default(),
            server.read("access.log").lines().next().unwrap_or_default()
        )
    });
    pair.ignore_log();
    pair.finish();
}

#[test]
fn background() {
    compare_runs("daemonize", None, |side| {
        let server = Server::start(
            side,
            &Setup::new().daemon().script(
                "x.php",
                "<?php echo posix_getsid(0) !== posix_getsid(posix_getppid()) ? 'other' : 'same', getcwd();",
            ),
        );
        let launcher = server.wait_exit();
        let parents =
            nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(server.master()))).expect("session").as_raw();
        let own_session = parents == server.master();
        let reply = mask(&server, &server.get("/x.php").to_text(), &[]);
        let pid_file = server.read("php-fpm.pid").ends_with(char::is_numeric);
        server.stop();
        wait::until(|| (!server.dir().join("php-fpm.pid").exists()).then_some(()))
            .expect("pid file is removed");
        format!(
            "launcher {launcher}, own session {own_session}, pid file {pid_file}\n{reply}\n{}",
            traces(&server)
        )
    });
}

#[test]
fn pid_file() {
    compare_runs("pid file", None, |side: Side| {
        let server = Server::start(side, &Setup::new().file("php-fpm.pid", "left over"));
        let equal = server.read("php-fpm.pid") == server.master().to_string();
        let mode = std::os::unix::fs::MetadataExt::mode(
            &std::fs::metadata(server.dir().join("php-fpm.pid")).expect("pid file"),
        );
        server.stop();
        format!("{equal} {mode:o} {}", server.dir().join("php-fpm.pid").exists())
    });
}

/// php-fpm has no fork server: one line of a script must not be able to hold up the stop.
#[test]
fn a_stopped_fork_server_does_not_hold_up_the_stop() {
    if same_on_both_sides() {
        return;
    }
    let setup = Setup::new()
        .script("stop.php", "<?php echo posix_kill(posix_getppid(), SIGSTOP) ? 'stopped' : 'no';");
    let setup = setup
        .file("www/signals.php", "<?php const SIGSTOP = 19;")
        .arg("-d")
        .arg("auto_prepend_file={dir}/www/signals.php");
    let server = Server::start(Side::Subject, &setup);
    assert_eq!(server.get("/stop.php").body(), "stopped");
    server.stop();
}
