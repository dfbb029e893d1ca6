//! Workers with companions live and end as others do. php-fpm runs beside them, with the same rights.

use std::collections::BTreeSet;

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::processes::Process;
use cornac_tests::{Case, Pair, Request, Server, Setup, Side, skip_unless_root, wait};
use nix::sys::signal::Signal;

use super::{LOG, WITHOUT_PTRACE};

fn setup() -> Setup {
    Setup::new().www(LOG).wrapped(&WITHOUT_PTRACE)
}

fn skipped() -> bool {
    same_on_both_sides() || skip_unless_root("workers with companions", 1)
}

#[test]
fn ends_of_workers() {
    if skipped() {
        return;
    }
    let mut pair = Pair::start(
        &setup().www("pm.max_requests = 3\nrequest_slowlog_timeout = 10").script("x.php", "<?php echo 'x';"),
    );
    for (name, code) in [
        ("SIGSEGV", "posix_kill(posix_getpid(), 11); sleep(1);"),
        ("SIGABRT", "posix_kill(posix_getpid(), 6); sleep(1);"),
        ("SIGKILL", "posix_kill(posix_getpid(), 9); sleep(1);"),
        ("SIGTERM", "posix_kill(posix_getpid(), 15); sleep(1);"),
        ("SIGQUIT", "posix_kill(posix_getpid(), 3); echo 'x';"),
        ("no memory left", "ini_set('memory_limit', '4M'); echo 'x'; str_repeat('x', 8 << 20);"),
        ("no stack left", "function f() { f(...[f()]); } set_error_handler('f'); echo 'x'; exit(3);"),
        ("no time left", "set_time_limit(1); echo 'x'; while (true);"),
    ] {
        let case = Case::php(name, &format!("<?php {code}"));
        let answered =
            "a request whose worker crashes before it has sent anything is answered with error 500";
        pair.case(&if matches!(name, "SIGSEGV" | "SIGABRT") { case.differs(answered) } else { case });
    }
    for _ in 0..3 {
        pair.case(&Case::get("the last requests", "/x.php"));
    }
    pair.same("one worker", |server| {
        let one = || (server.workers("www").len() == 1).then_some(());
        wait::until(one).map_or_else(|| "none or many".to_owned(), |()| server.get("/x.php").body())
    });
    pair.finish();
}

#[test]
fn programs_and_processes() {
    if skipped() {
        return;
    }
    let mut pair = Pair::start(&setup());
    pair.cases([
        Case::php("a program", "<?php echo shell_exec('echo from the shell; exit 3');"),
        Case::php("popen", "<?php $p = popen('cat', 'w'); fwrite($p, 'x'); echo pclose($p);"),
        Case::php(
            "proc_open",
            "<?php $p = proc_open(['sh', '-c', 'read x; echo $x; exit 5'], [['pipe', 'r'], ['pipe', 'w']], $pipes);
            fwrite($pipes[0], \"line\\n\"); fclose($pipes[0]); echo stream_get_contents($pipes[1]), proc_close($p);",
        ),
        Case::php("mail", "<?php ini_set('sendmail_path', 'cat >/dev/null; exit 0 #'); var_dump(mail('a', 'b', 'c'));"),
        Case::php("signals blocked", "<?php echo preg_match('/^SigBlk:\\t(\\w+)/m', file_get_contents('/proc/self/status'), $m), $m[1];"),
        Case::php(
            "descriptors of a program",
            "<?php echo shell_exec('for f in /proc/self/fd/*; do readlink $f; done | grep -c socket');",
        )
        .differs("php-fpm's have its listening socket and the connection"),
    ]);
    pair.finish();
}

/// A program that a script starts has neither the companion nor its socket, and keeps nothing of the worker alive.
#[test]
fn nothing_of_a_companion_is_left() {
    if skipped() {
        return;
    }
    let setup = setup().www("pm.max_children = 3").script("x.php", "<?php echo 'x';");
    let server = Server::start(Side::Subject, &setup);
    let with_companion = |worker: &Process| worker.status_line("Threads").as_deref() == Some("2");
    let sockets = |worker: &Process| {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", worker.pid));
        let links =
            entries.into_iter().flatten().flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    };
    for signal in [Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGTERM, Signal::SIGQUIT] {
        // The listening socket, the one that takes its place at the end, and the mailbox.
        let is_complete = |worker: &Process| with_companion(worker) && sockets(worker) == 3;
        let complete = || {
            let workers: BTreeSet<Process> = server.workers("www").into_iter().collect();
            (workers.len() == 3 && workers.iter().all(is_complete)).then_some(workers)
        };
        let before = wait::until(complete).unwrap_or_else(|| panic!("{:?}", server.workers("www")));
        before.iter().for_each(|worker| worker.signal(signal));
        let renewed = || {
            let now: BTreeSet<Process> = server.workers("www").into_iter().collect();
            (now.len() == 3 && now.is_disjoint(&before)).then_some(())
        };
        wait::until(renewed).unwrap_or_else(|| panic!("{signal}: {:?}", server.workers("www")));
        wait::until(|| (server.get("/x.php").body() == "x").then_some(())).expect("still serving");
    }
    let fork_server = server.processes().into_iter().find(|process| process.title().contains("fork server"));
    // The channel to the master, the listening socket, both ends of the mailbox, and a socket for each companion that lives.
    wait::until(|| (sockets(&fork_server?) == 7).then_some(())).expect("closed with their workers");
    server.stop();
}

const NAP: &str = "<?php touch(dirname(__DIR__) . '/tmp/begun'); usleep(2400000); echo 'slept';";

/// A companion stops with its worker. What it answers later is not taken for an answer to the next question.
#[test]
fn a_worker_that_was_stopped_is_read_again() {
    if skipped() {
        return;
    }
    let server = Server::start(Side::Subject, &setup().script("nap.php", NAP));
    let mut client = server.connect();
    client.write(&Request::get(&server, "/nap.php").encode()).expect("sent");
    wait::until(|| server.dir().join("tmp/begun").exists().then_some(())).expect("the script begins");
    let worker = server.workers("www")[0];
    worker.signal(Signal::SIGSTOP);
    server.wait_log("failed to read the memory of child");
    assert!(server.log().contains("Connection timed out (110)"), "{}", server.log());
    worker.signal(Signal::SIGCONT);
    assert_eq!(client.read_reply().body(), "slept");
    assert_eq!(server.get("/nap.php").body(), "slept");
    server.wait_log_times("finished trace of", 2);
    assert!(server.read("slow.log").contains("usleep() "), "{}", server.log());
    assert_eq!(server.workers("www"), [worker]);
    server.stop();
}

/// Its workers are where its addresses were, not where those of its successor are.
#[test]
fn workers_outlive_their_fork_server() {
    if same_on_both_sides() {
        return;
    }
    // The signal that asks a worker to finish would end a single nap.
    let naps =
        "<?php $end = microtime(true) + 2; while (microtime(true) < $end) usleep(300000); echo 'slept';";
    let server = Server::start(Side::Subject, &Setup::new().www(LOG).script("naps.php", naps));
    let mut client = server.connect();
    client.write(&Request::get(&server, "/naps.php").encode()).expect("sent");
    let is_fork_server = |process: &Process| process.title().contains("fork server");
    let fork_server = server.processes().into_iter().find(is_fork_server).expect("a fork server");
    fork_server.signal(Signal::SIGKILL);
    server.wait_log("finished trace of");
    assert!(server.read("slow.log").contains("usleep() "), "{}\n{}", server.log(), server.read("slow.log"));
    assert_eq!(client.read_reply().body(), "slept");
    server.stop();
}

/// Workers come before their companions.
#[test]
fn few_descriptors_are_no_obstacle() {
    if skipped() {
        return;
    }
    let lines = "rlimit_files = 48\npm.max_children = 20\ncatch_workers_output = yes";
    let code = "<?php fwrite(fopen('php://stderr', 'w'), 'said'); echo 'x';";
    let server = Server::start(Side::Subject, &setup().www(lines).script("x.php", code));
    let tasks = |tasks: &str| {
        let has = |worker: &&Process| worker.status_line("Threads").as_deref() == Some(tasks);
        server.workers("www").iter().filter(has).count()
    };
    wait::until(|| (tasks("1") > 0 && tasks("2") > 0 && tasks("1") + tasks("2") == 20).then_some(()))
        .unwrap_or_else(|| panic!("{} without, {} with a companion", tasks("1"), tasks("2")));
    for times in 1..=20 {
        assert_eq!(server.get("/x.php").body(), "x");
        server.wait_log_times("said into stderr: \"said\"", times);
    }
    server.stop();
}
