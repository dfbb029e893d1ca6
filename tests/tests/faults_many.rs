//! A thousand workers, in one pool and in a hundred: start, load, reload, stop, and what it costs. A theme of its own, so
//! that nothing else has to be in time beside it.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use cornac_tests::processes::Process;
use cornac_tests::traffic::{Address, say, served};
use cornac_tests::{Manner, Server, Setup, Side, Signal, Traffic, wait};

const WORKERS: usize = 1000;

/// Long, for a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(120);

fn await_it(server: &Server, what: &str, holds: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    let found = wait::until_within(PATIENCE, || holds().then_some(()));
    assert!(found.is_some(), "{:?}: not {what}\n{}", server.side, server.log());
    begun.elapsed()
}

fn is_ready(server: &Server, times: usize) -> bool {
    server.log().matches("ready to handle connections").count() == times
}

/// Workers: descendants of the master that have no children. Cheaper than to ask all processes of the machine.
fn workers(server: &Server) -> Vec<i32> {
    let children = |pid: i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()
    };
    let first = children(server.master());
    match server.side {
        Side::Reference => first,
        Side::Subject => first.into_iter().flat_map(children).collect(),
    }
}

/// In MB, shared memory counted once.
fn memory(server: &Server) -> u64 {
    let of = |pid: &i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().to_owned();
        line.split(' ').next()?.parse::<u64>().ok()
    };
    workers(server).iter().filter_map(of).sum::<u64>() / 1024
}

fn signal(server: &Server, signal: Signal) {
    Process::of(server.master()).expect("the master").signal(signal);
}

fn live(side: Side, what: &str, setup: &Setup, pools: &[&str]) {
    let server = Server::launch(side, setup);
    let start = await_it(&server, "ready", || is_ready(&server, 1));
    await_it(&server, "complete", || workers(&server).len() == WORKERS);
    let memory = memory(&server);
    let begin = |pool: &&str| {
        let manner = Manner { clients: 8 / pools.len(), ..Manner::default() };
        Traffic::at(&server, Address::Unix(server.socket(pool)), manner)
    };
    let traffic: Vec<Traffic> = pools.iter().map(begin).collect();
    traffic.iter().for_each(|traffic| traffic.go_on(&server, 50));
    let mut reload = Duration::ZERO;
    // php-fpm's would lose requests, and is not the matter here.
    if side == Side::Subject {
        signal(&server, Signal::SIGUSR2);
        reload = await_it(&server, "ready again", || is_ready(&server, 2));
        await_it(&server, "rid of the old workers", || workers(&server).len() == WORKERS);
    }
    traffic.iter().for_each(|traffic| traffic.go_on(&server, 50));
    for (pool, traffic) in pools.iter().zip(traffic) {
        let tally = traffic.end();
        say(&format!("{what}, {pool}"), side, &tally);
        tally.expect_none_lost(&server, 100);
    }
    signal(&server, Signal::SIGQUIT);
    let stop = await_it(&server, "gone", || server.exit_status().is_some_and(|status| status.success()));
    server.expect_gone();
    let [start, reload, stop] = [start, reload, stop].map(|time| time.as_millis());
    let line = format!(
        "faults: {what}: {side:?}: start {start} ms, workers {memory} MB, reload {reload} ms, stop {stop} ms\n"
    );
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[test]
fn a_thousand_workers() {
    let one = served(Setup::new()).www(&format!("pm.max_children = {WORKERS}"));
    for side in [Side::Reference, Side::Subject] {
        live(side, "one pool of 1000", &one, &["www"]);
    }
    let many = (1..100).fold(served(Setup::new()).www("pm.max_children = 10"), |setup, number| {
        setup.pool(&format!("p{number}"), "pm.max_children = 10")
    });
    for side in [Side::Reference, Side::Subject] {
        live(side, "100 pools of 10", &many, &["www", "p1", "p50", "p99"]);
    }
}
