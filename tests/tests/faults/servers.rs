//! Fork servers that are killed, once and again, or stopped: their workers go on serving, nobody's request is lost.

use std::time::Duration;

use cornac_tests::processes::Process;
use cornac_tests::scene::{begun, slow};
use cornac_tests::traffic::served;
use cornac_tests::{Manner, Request, Server, Setup, Side, Signal, Traffic, wait};

use super::say;

/// Kills it, waits for its successor and for workers of that.
fn lose(server: &Server, signal: Signal) {
    let lost = server.fork_server("www");
    lost.signal(signal);
    let next = wait::until_within(Duration::from_secs(60), || {
        Some(server.fork_server("www")).filter(|found| *found != lost)
    });
    assert!(next.is_some(), "no successor\n{}", server.log());
}

fn parent(process: &Process) -> Option<i32> {
    process.status_line("PPid")?.parse().ok()
}

#[test]
fn a_lost_fork_server_costs_nothing() {
    let managers =
        ["", "pm = dynamic\npm.start_servers = 2\npm.min_spare_servers = 1\npm.max_spare_servers = 3"];
    for manager in managers {
        let setup = served(Setup::new()).www("pm.max_children = 4").www(manager);
        let server = Server::start(Side::Subject, &setup);
        let traffic = Traffic::begin(&server, Manner { clients: 6, ..Manner::default() });
        for signal in [Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGKILL] {
            traffic.go_on(&server, 100);
            lose(&server, signal);
        }
        traffic.go_on(&server, 100);
        // In the end all workers are the last one's.
        let last = server.fork_server("www").pid;
        let settled = wait::until(|| {
            let workers = server.workers("www");
            let own = workers.iter().filter(|worker| parent(worker) == Some(last)).count();
            (own >= 2 && own == workers.len()).then_some(())
        });
        assert!(settled.is_some(), "{}", server.log());
        let tally = traffic.end();
        say("fork server killed three times", server.side, &tally);
        tally.expect_none_lost(&server, 400);
        assert!(server.log().contains("worker(s) go on serving, a new fork server starts in 250 ms"));
        server.stop();
    }
}

/// Killed again as soon as there is a new one: what is logged is one line each, and what is lost is nothing.
#[test]
fn a_fork_server_that_dies_in_a_row_is_started_ever_more_slowly() {
    let server = Server::start(Side::Subject, &served(Setup::new()).www("pm.max_children = 3"));
    let traffic = Traffic::begin(&server, Manner { sleeps: Duration::from_millis(20), ..Manner::default() });
    (0..4).for_each(|_| lose(&server, Signal::SIGKILL));
    for delay in [250, 500, 1000, 2000] {
        server.wait_log(&format!("a new fork server starts in {delay} ms"));
    }
    traffic.go_on(&server, 50);
    let tally = traffic.end();
    say("fork server killed four times in a row", server.side, &tally);
    tally.expect_none_lost(&server, 100);
    server.stop();
}

/// A stopped one is told of at once, and replaced when it stays so; one that goes on is left alone.
#[test]
fn a_stopped_fork_server_is_replaced() {
    let server = Server::start(Side::Subject, &served(Setup::new()).www("pm.max_children = 3"));
    let traffic = Traffic::begin(&server, Manner { clients: 2, ..Manner::default() });
    let first = server.fork_server("www");
    first.signal(Signal::SIGSTOP);
    server.wait_log(&format!("fork server {} is stopped (SIGSTOP) and starts no workers", first.pid));
    first.signal(Signal::SIGCONT);
    server.wait_log(&format!("fork server {} goes on", first.pid));
    first.signal(Signal::SIGSTOP);
    // What ends now is not replaced, because nobody hears of it.
    server.workers("www")[0].signal(Signal::SIGKILL);
    traffic.go_on(&server, 100);
    server.wait_log("the fork server has been stopped for 10 seconds and is replaced");
    let whole = wait::until(|| (server.workers("www").len() == 3).then_some(()));
    assert!(whole.is_some(), "{}", server.log());
    traffic.go_on(&server, 100);
    let tally = traffic.end();
    say("fork server stopped", server.side, &tally);
    // The killed worker may have had a request.
    assert!(tally.lost() <= 1 && tally.sent >= 300, "{tally}\n{}", server.log());
    server.stop();
}

/// What is in flight is finished, and the end is not held up.
#[test]
fn a_stopped_fork_server_does_not_hold_up_a_stop() {
    for (signal, before) in [(Signal::SIGQUIT, true), (Signal::SIGQUIT, false), (Signal::SIGTERM, true)] {
        let server = Server::start(Side::Subject, &served(Setup::new()).www("pm.max_children = 3"));
        let first = server.fork_server("www");
        let mut client = server.connect();
        client.write(&Request::get(&server, "/traffic.php?n=7&us=300000").encode()).expect("sent");
        let busy =
            wait::until(|| server.processes().into_iter().find(|one| one.title().contains("pool www")));
        assert!(busy.is_some());
        if before {
            first.signal(Signal::SIGSTOP);
            server.wait_log("is stopped (SIGSTOP)");
        }
        server.signal(signal);
        if !before {
            first.signal(Signal::SIGSTOP);
        }
        server.expect_gone();
        let reply = client.read_reply();
        assert!(signal == Signal::SIGTERM || reply.body().starts_with("7,7,"), "{}", server.log());
    }
}

/// Two fork servers are lost while their workers are busy for ever: the pool has as many places twice, and all are taken.
#[test]
fn endless_scripts_of_lost_fork_servers_make_room() {
    let server =
        Server::start(Side::Subject, &slow().www("pm.max_children = 1").script("x.php", "<?php echo 'x';"));
    let held = begun(&server);
    lose(&server, Signal::SIGKILL);
    let (first, second) = (held, begun(&server));
    lose(&server, Signal::SIGKILL);
    server.wait_log("all 2 places are taken by workers of lost fork servers");
    assert_eq!(server.get("/x.php").body(), "x", "{}", server.log());
    server.wait_log("is terminated to make room");
    // The older one has made room, the other may finish.
    server.write("tmp/go", "");
    let ends = [first, second].map(|mut client| client.read_reply().end.is_some());
    assert_eq!(ends, [false, true], "{}", server.log());
    server.stop();
}
