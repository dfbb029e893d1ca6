//! Limits that are reached: open files of the master and of a worker, processes of the pool's user. Serving goes on with
//! what is there, and everything is as before when there is room again.

use std::fs;
use std::process::Command;

use cornac_tests::processes::Process;
use cornac_tests::traffic::served;
use cornac_tests::{Manner, Server, Setup, Side, Signal, Traffic, skip_unless_root, wait};

use super::say;

/// The soft limit of a running process, set by its own user: root need not have the right.
fn limit(process: i32, what: &str, value: &str) {
    let id = |line: &str| {
        let ids = Process::of(process).and_then(|one| one.status_line(line)).expect("own process");
        ids.split_whitespace().next().expect("a number").to_owned()
    };
    let (user, group) = (id("Uid"), id("Gid"));
    let (process, limit) = (format!("--pid={process}"), format!("--{what}={value}:"));
    let words = ["--reuid", &user, "--regid", &group, "--keep-groups", "prlimit", &process, &limit];
    let done = Command::new("setpriv").args(words).output().expect("setpriv is installed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The hard limit of its processes.
fn most_processes(process: i32) -> String {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).expect("own process");
    let line = limits.lines().find(|line| line.starts_with("Max processes")).expect("a limit");
    line.split_whitespace().nth(3).expect("the hard one").to_owned()
}

fn kill_one(server: &Server) {
    let worker = server.workers("www")[0];
    worker.signal(Signal::SIGKILL);
    wait::until(|| (!worker.lives()).then_some(())).expect("killed");
}

fn settles(server: &Server, workers: usize) {
    let whole = wait::until(|| (server.workers("www").len() == workers).then_some(()));
    assert!(whole.is_some(), "{} workers\n{}", server.workers("www").len(), server.log());
}

/// It can neither make pipes for workers nor know them by a descriptor.
#[test]
fn the_master_has_no_descriptors_left() {
    if skip_unless_root("limits of running processes", 4) {
        return;
    }
    let setup = served(Setup::new()).www("pm.max_children = 3\ncatch_workers_output = yes");
    let server = Server::start(Side::Subject, &setup);
    let traffic = Traffic::begin(&server, Manner { clients: 2, ..Manner::default() });
    limit(server.master(), "nofile", "5");
    traffic.go_on(&server, 100);
    kill_one(&server);
    server.wait_log("[pool www] fork() failed: Too many open files (24), next attempt in 250 ms");
    server.wait_log("next attempt in 500 ms");
    traffic.go_on(&server, 100);
    limit(server.master(), "nofile", "1024");
    server.wait_log("[pool www] fork() works again");
    settles(&server, 3);
    traffic.go_on(&server, 100);
    let tally = traffic.end();
    say("master without descriptors", server.side, &tally);
    assert!(tally.lost() <= 2 && tally.sent >= 300, "{tally}\n{}", server.log());
    server.stop();
}

/// Workers that were born while no descriptor was left are signalled like the others, later.
#[test]
fn workers_that_could_not_be_known_are_ended() {
    if skip_unless_root("limits of running processes", 4) {
        return;
    }
    let server = Server::start(Side::Subject, &served(Setup::new()).www("pm.max_children = 3"));
    limit(server.master(), "nofile", "5");
    for _ in 0..3 {
        kill_one(&server);
        settles(&server, 3);
    }
    limit(server.master(), "nofile", "1024");
    let traffic = Traffic::begin(&server, Manner { clients: 2, ..Manner::default() });
    traffic.go_on(&server, 100);
    traffic.end().expect_none_lost(&server, 100);
    server.stop_with(Signal::SIGQUIT);
    assert_eq!(server.log().matches("SIGKILL").count(), 3, "{}", server.log());
}

/// The fork server is lost, and no new one can be started: it is tried again.
#[test]
fn no_descriptors_for_a_new_fork_server() {
    if skip_unless_root("limits of running processes", 4) {
        return;
    }
    let server = Server::start(Side::Subject, &served(Setup::new()).www("pm.max_children = 3"));
    let traffic = Traffic::begin(&server, Manner { clients: 2, ..Manner::default() });
    limit(server.master(), "nofile", "5");
    server.fork_server("www").signal(Signal::SIGKILL);
    server.wait_log("Too many open files (24)");
    traffic.go_on(&server, 200);
    limit(server.master(), "nofile", "1024");
    server.fork_server("www");
    settles(&server, 3);
    traffic.go_on(&server, 100);
    let tally = traffic.end();
    say("no descriptors for a fork server", server.side, &tally);
    tally.expect_none_lost(&server, 300);
    server.stop();
}

/// Scripts that open what they can, and one after which its worker can open nothing, connections included.
#[test]
fn a_worker_has_no_descriptors_left() {
    let open = "<?php $f = []; while ($x = @fopen('/dev/null', 'r')) $f[] = $x; echo count($f) > 5 ? 'many' : 'few';";
    let narrow = "<?php $c = FFI::cdef('struct limit { unsigned long soft, hard; }; int setrlimit(int, struct limit *);'); \
                  $l = $c->new('struct limit'); $l->soft = 3; $l->hard = 64; echo $c->setrlimit(7, FFI::addr($l));";
    for side in [Side::Reference, Side::Subject] {
        let setup = served(Setup::new()).script("narrow.php", narrow).script("open.php", open);
        let setup = setup.www("pm.max_children = 2\nrlimit_files = 64\nphp_admin_value[ffi.enable] = 1");
        let server = Server::start(side, &setup);
        let traffic = Traffic::begin(&server, Manner { clients: 1, ..Manner::default() });
        for round in 1..=10 {
            traffic.go_on(&server, 5);
            assert_eq!(server.get("/open.php").body(), "many", "{side:?}: closed at the request's end");
            assert_eq!(server.get("/narrow.php").body(), "0", "{side:?}");
            // It cannot accept, so it makes way for another one.
            server.wait_log_times("exited with code 0", round);
        }
        traffic.go_on(&server, 20);
        let tally = traffic.end();
        say("workers without descriptors", side, &tally);
        tally.expect_none_lost(&server, 70);
        server.stop();
    }
}

#[test]
fn the_user_may_have_no_more_processes() {
    if skip_unless_root("limits of running processes", 4) {
        return;
    }
    let server = Server::start(Side::Subject, &served(Setup::new()).www("pm.max_children = 3"));
    let traffic = Traffic::begin(&server, Manner { clients: 2, ..Manner::default() });
    traffic.go_on(&server, 50);
    let parent = server.fork_server("www").pid;
    let most = most_processes(parent);
    limit(parent, "nproc", "0");
    kill_one(&server);
    server
        .wait_log("[pool www] fork() failed: Resource temporarily unavailable (11), next attempt in 250 ms");
    server.wait_log("next attempt in 1000 ms");
    traffic.go_on(&server, 200);
    limit(parent, "nproc", &most);
    server.wait_log("[pool www] fork() works again");
    settles(&server, 3);
    traffic.go_on(&server, 50);
    let tally = traffic.end();
    say("no more processes", server.side, &tally);
    assert!(tally.lost() <= 1 && tally.sent >= 300, "{tally}\n{}", server.log());
    assert!(server.log().matches("fork() failed").count() < 6, "{}", server.log());
    server.stop();
}
