//! Reloads: the next generation beside the one that serves.

use super::*;

/// Pool `a` goes on as number 1, with so many workers.
fn next(workers: u32, timeout: Duration) -> Next {
    next_of(ProcessManager::Static { workers }, timeout)
}

fn next_of(manager: ProcessManager, timeout: Duration) -> Next {
    let pool = PoolSettings { name: "a".into(), manager, is_status: false };
    let settings = Settings { pools: vec![pool], drain_timeout: timeout, ..Settings::default() };
    Next { settings, arrivals: vec![(1, Some(0))], removed: vec![] }
}

/// A reload is asked for and the configuration can be used.
fn reloading(workers: u32, next: Next) -> Stage {
    let mut s = Stage::running(workers, 0);
    s.check(0, RELOAD, &["DEBUG received SIGUSR2", "NOTICE Reloading in progress ...", "CheckReload"]);
    s.check(0, Event::ReloadPrepared(next), &["start 1"]);
    s
}

#[test]
fn an_upgrade_waits_for_a_reload_and_for_every_order() {
    let mut s = Stage::running(1, 0);
    let upgrade = Event::Asked(Request::Upgrade);
    s.check(0, upgrade.clone(), &["NOTICE Upgrade in progress ...", "TryProgram"]);
    // A second one is one more, a reload comes before it.
    s.check(1, upgrade.clone(), &[]);
    s.check(1, RELOAD, &["DEBUG received SIGUSR2"]);
    s.check(2, Event::TrialFailed, &["NOTICE Reloading in progress ...", "CheckReload"]);
    s.check(3, Event::ReloadRefused, &["NOTICE Upgrade in progress ...", "TryProgram"]);
    let text = "NOTICE [pool a] child 100 exited with code 0 after 0.004000 seconds from start";
    s.check(4, ended(0, 0), &[text, "fork 0.0"]);
    s.check(5, Event::TrialPassed, &[]);
    s.check(6, forked(0, 0, 101), &["NOTICE [pool a] child 101 started", "HandOver"]);
    // That has failed: everything goes on.
    s.check(7, Event::TrialFailed, &[]);
    s.check(8, upgrade, &["NOTICE Upgrade in progress ...", "TryProgram"]);
    s.check(
        9,
        Event::Asked(Request::Terminate(15)),
        &[
            "DEBUG received SIGTERM",
            "NOTICE Terminating ...",
            "DEBUG switching to 'terminating' state",
            "DEBUG [pool a] sending signal 15 SIGTERM to child 101",
            "signal 0.0 15",
            "DEBUG 1 child(ren) still alive",
        ],
    );
    let killed = ["DEBUG [pool a] sending signal 9 SIGKILL to child 101", "signal 0.0 9"];
    s.check(9, Event::TrialPassed, &[killed[0], killed[1], "DEBUG 1 child(ren) still alive"]);
}

const ASKED: [&str; 2] = ["DEBUG [pool a] sending signal 3 SIGQUIT to child 100", "signal 0.0 3"];

fn forked(pool: PoolId, slot: u32, pid: u32) -> Event {
    Event::Forked { pool, slot, pid }
}

fn ended(pool: PoolId, slot: u32) -> Event {
    Event::WorkerExited { pool, slot, exit: CLEAN, served: true }
}

#[test]
fn the_old_generation_serves_until_the_new_ones_workers_are_there() {
    let mut s = reloading(1, next(2, Duration::from_secs(5)));
    s.check(10, Event::ServerStarted(1), &["CommitReload", "Unwatch(0)", "fork 1.0", "fork 1.1"]);
    s.check(11, forked(1, 0, 200), &["DEBUG [pool a] child 200 started"]);
    let expected = ["DEBUG [pool a] child 201 started", "Retire(0)", ASKED[0], ASKED[1], "AwaitParting"];
    s.check(12, forked(1, 1, 201), &expected);
    s.check(13, Event::Parted, &["NOTICE ready to handle connections", "TellReady"]);
    assert_eq!(s.deadline_ms(), Some(5012));
    let text = "DEBUG [pool a] child 100 exited with code 0 after 0.030000 seconds from start";
    s.check(30, ended(0, 0), &[text, "close 0"]);
    s.check(31, Event::ServerDied { pool: 0, pid: 50, exit: CLEAN }, &["Forget(0)"]);
    assert_eq!(s.deadline_ms(), None);
}

#[test]
fn a_pool_that_cannot_start_changes_nothing() {
    let mut s = reloading(1, next(1, Duration::ZERO));
    s.at(1, Event::ServerRefused { pool: 1, reason: "no".into(), configuration: true });
    s.check(2, Event::ServerDied { pool: 1, pid: 9, exit: Exit::Code(78) }, &["AbandonReload", "Forget(1)"]);
    // A worker that ends now is replaced by one of the same generation, and the next reload begins anew.
    assert_eq!(s.at(2000, ended(0, 0)).last().unwrap(), "fork 0.0");
    assert_eq!(s.at(2001, RELOAD).last().unwrap(), "CheckReload");
}

#[test]
fn all_arrivals_go_when_one_fails() {
    let mut s = Stage::running(1, 0);
    s.at(0, RELOAD);
    let mut next = next(1, Duration::ZERO);
    next.settings.pools.push(PoolSettings { name: "b".into(), ..next.settings.pools[0].clone() });
    next.arrivals.push((2, None));
    s.check(0, Event::ReloadPrepared(next), &["start 1", "start 2"]);
    s.check(5, Event::ServerStarted(2), &[]);
    let expected = [
        "ERROR [pool a] PHP's start-up failed: process 9 exited on signal 11 (SIGSEGV)",
        "kill 2",
        "AbandonReload",
        "Forget(1)",
    ];
    s.check(6, Event::ServerDied { pool: 1, pid: 9, exit: SEGV }, &expected);
    s.check(
        7,
        Event::ServerDied { pool: 2, pid: 10, exit: Exit::Signal { number: 9, core: false } },
        &["Forget(2)"],
    );
}

#[test]
fn a_start_that_hangs_is_given_up() {
    let mut s = reloading(1, next(1, Duration::ZERO));
    let expected = ["kill 1", "ERROR [pool a] PHP did not start within 60 seconds", "AbandonReload"];
    let given_up = s.at(60_000, Event::DeadlineReached);
    assert_eq!(given_up[..2], expected[..2]);
    assert_eq!(given_up.last().unwrap(), expected[2]);
}

#[test]
fn who_takes_too_long_is_pressed() {
    let mut s = reloading(1, next(1, Duration::from_secs(5)));
    s.at(0, Event::ServerStarted(1));
    s.at(0, forked(1, 0, 200));
    s.check(4999, Event::DeadlineReached, &[]);
    let expected = [
        "WARNING [pool a] 1 child(ren) of the generation before did not finish in time, terminating them",
        "DEBUG [pool a] sending signal 15 SIGTERM to child 100",
        "signal 0.0 15",
    ];
    s.check(5000, Event::DeadlineReached, &expected);
    let killed = ["DEBUG [pool a] sending signal 9 SIGKILL to child 100", "signal 0.0 9"];
    s.check(6000, Event::DeadlineReached, &killed);
    s.check(7000, Event::DeadlineReached, &[killed[0], killed[1], "kill 0"]);
}

#[test]
fn process_control_timeout_goes_before_drain_timeout() {
    let mut next = next(1, Duration::from_secs(3600));
    next.settings.process_control_timeout = Duration::from_secs(2);
    let mut s = reloading(1, next);
    s.at(0, Event::ServerStarted(1));
    s.at(0, forked(1, 0, 200));
    assert_eq!(s.deadline_ms(), Some(2000));
}

#[test]
fn several_that_are_asked_for_meanwhile_are_one() {
    let mut s = reloading(1, next(1, Duration::ZERO));
    s.check(1, RELOAD, &["DEBUG received SIGUSR2"]);
    s.check(2, RELOAD, &["DEBUG received SIGUSR2"]);
    s.at(3, Event::ServerStarted(1));
    s.at(4, forked(1, 0, 200));
    let served = s.at(4, Event::Parted);
    assert_eq!(served[served.len() - 2..], ["NOTICE Reloading in progress ...", "CheckReload"]);
    s.check(5, Event::ReloadRefused, &[]);
}

#[test]
fn a_dynamic_pool_comes_as_strong_as_it_is() {
    let dynamic = |max_children| ProcessManager::Dynamic {
        max_children,
        start: 1,
        min_spare: 1,
        max_spare: 3,
        max_spawn_rate: 8,
    };
    let mut s = Stage::with(&[dynamic(6)], 0, 0);
    for event in [Event::Begin, Event::ServerStarted(0), Event::Announced, forked(0, 0, 100)] {
        s.at(0, event);
    }
    let look = |occupied| Look { idle: vec![], occupied };
    s.at(10, Event::Looked { pool: 0, why: Why::Shortage, look: look(1) });
    s.at(30, Event::Looked { pool: 0, why: Why::Shortage, look: look(1) });
    s.at(31, forked(0, 1, 101));
    s.at(40, RELOAD);
    s.at(40, Event::ReloadPrepared(next_of(dynamic(6), Duration::ZERO)));
    let committed = s.at(41, Event::ServerStarted(1));
    assert_eq!(committed, ["CommitReload", "Unwatch(0)", "fork 1.0", "fork 1.1"]);
}

#[test]
fn an_idle_ondemand_pool_changes_hands_without_a_process() {
    let ondemand = ProcessManager::Ondemand { max_children: 3, idle_timeout: Duration::from_secs(10) };
    let mut s = Stage::with(&[ondemand], 0, 0);
    s.at(0, Event::Begin);
    s.at(0, Event::Announced);
    s.at(1, RELOAD);
    let expected = ["CommitReload", "Unwatch(0)", "Retire(0)", "watch 1", "AwaitParting", "Forget(0)"];
    s.check(1, Event::ReloadPrepared(next_of(ondemand, Duration::ZERO)), &expected);
    s.check(2, Event::Parted, &["NOTICE ready to handle connections", "TellReady"]);
}

#[test]
fn pools_come_and_go() {
    let mut s = Stage::running(1, 0);
    s.at(0, RELOAD);
    let mut next = next(1, Duration::ZERO);
    (next.arrivals, next.removed) = (vec![(1, None)], vec![0]);
    s.at(0, Event::ReloadPrepared(next));
    let expected = ["CommitReload", "Unwatch(0)", "Retire(0)", ASKED[0], ASKED[1], "fork 1.0"];
    s.check(1, Event::ServerStarted(1), &expected);
}

#[test]
fn with_process_max_the_old_make_room() {
    let mut next = next(1, Duration::ZERO);
    next.settings.process_max = 1;
    let mut s = reloading(1, next);
    let committed = s.at(1, Event::ServerStarted(1));
    assert_eq!(committed[3..6], ["Retire(0)", ASKED[0], ASKED[1]]);
    assert!(s.at(2, ended(0, 0)).contains(&"fork 1.0".to_owned()));
}

#[test]
fn a_fork_server_lost_after_the_commit_leaves_the_old_ones_serving() {
    let mut s = reloading(1, next(1, Duration::ZERO));
    s.at(1, Event::ServerStarted(1));
    let lost = s.at(2, Event::ServerDied { pool: 1, pid: 60, exit: SEGV });
    assert!(lost[0].starts_with("WARNING [pool a] fork server 60 exited on signal 11"), "{lost:?}");
    assert_eq!(s.at(300, Event::DeadlineReached), ["start 1"]);
    s.at(310, Event::ServerStarted(1));
    assert!(s.at(311, forked(1, 0, 200)).contains(&"Retire(0)".to_owned()));
}

#[test]
fn a_stop_ends_all_generations() {
    let mut s = reloading(1, next(1, Duration::ZERO));
    let stopped = s.at(1, Event::Asked(Request::Finish));
    assert!(stopped.contains(&ASKED[1].to_owned()), "{stopped:?}");
    s.at(2, ended(0, 0));
    let closed = s.at(2, queued(0));
    assert_eq!(closed[closed.len() - 2..], ["close 0", "close 1"]);
    s.check(3, Event::ServerDied { pool: 1, pid: 60, exit: CLEAN }, &[]);
    s.check(4, Event::ServerDied { pool: 0, pid: 50, exit: CLEAN }, &["CountQueue(0)"]);
    s.check(4, queued(0), &["NOTICE exiting, bye-bye!", "Exit"]);
}

/// A reload has taken pool `a` away while so many wait on its socket; its one worker has been asked to finish.
fn removed(waiting: u32, timeout: Duration) -> Stage {
    let mut s = Stage::running(1, 0);
    s.at(0, RELOAD);
    s.left_queued = waiting;
    let settings = Settings { drain_timeout: timeout, ..Settings::default() };
    s.at(0, Event::ReloadPrepared(Next { settings, arrivals: vec![], removed: vec![0] }));
    s
}

#[test]
fn who_is_queued_where_nobody_serves_any_more_gets_workers() {
    let mut s = removed(6, Duration::ZERO);
    let exited = "DEBUG [pool a] child 100 exited with code 0 after 0.010000 seconds from start";
    s.check(10, ended(0, 0), &["CountQueue(0)", exited]);
    s.check(11, Event::Queued { pool: 0, waiting: 6 }, &["fork 0.0"]);
    let asked = "DEBUG [pool a] sending signal 3 SIGQUIT to child 101";
    s.check(12, forked(0, 0, 101), &["DEBUG [pool a] child 101 started", asked, "signal 0.0 3"]);
    assert_eq!(s.at(13, ended(0, 0))[0], "CountQueue(0)");
    s.check(14, Event::Queued { pool: 0, waiting: 0 }, &["close 0"]);
    s.check(15, Event::ServerDied { pool: 0, pid: 50, exit: CLEAN }, &["Forget(0)"]);
}

#[test]
fn a_queue_without_anybody_who_can_serve_it_is_given_up() {
    let mut s = removed(6, Duration::ZERO);
    s.at(10, Event::ServerDied { pool: 0, pid: 50, exit: SEGV });
    s.at(11, Event::Queued { pool: 0, waiting: 6 });
    s.at(12, ended(0, 0));
    let started = s.at(5000, Event::Queued { pool: 0, waiting: 5 });
    assert_eq!(started, ["start 0"]);
    let given_up = s.at(5001, Event::ServerDied { pool: 0, pid: 51, exit: SEGV });
    let text = "ERROR [pool a] 5 connection(s) wait, and PHP cannot be started to serve them";
    assert_eq!(given_up, [text, "Forget(0)"]);
}

#[test]
fn a_queue_is_not_served_for_longer_than_workers_may_take() {
    let mut s = removed(6, Duration::from_secs(5));
    s.at(10, ended(0, 0));
    s.at(11, Event::Queued { pool: 0, waiting: 6 });
    s.at(12, forked(0, 0, 101));
    let text =
        "ERROR [pool a] 6 connection(s) wait, and the generation that could serve them has had its time";
    assert_eq!(s.at(5000, Event::DeadlineReached)[0], text);
    assert_eq!(s.at(5001, ended(0, 0)).last().unwrap(), "close 0");
}
