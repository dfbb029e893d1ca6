//! A graceful stop: until nobody waits.

use super::*;

const FINISH: Event = Event::Asked(Request::Finish);
const ENDED: [&str; 2] = ["NOTICE exiting, bye-bye!", "Exit"];

fn ondemand() -> Stage {
    let manager = ProcessManager::Ondemand { max_children: 2, idle_timeout: Duration::from_secs(10) };
    let mut s = Stage::with(&[manager], 0, 0);
    s.at(0, Event::Begin);
    s.at(0, Event::Announced);
    s
}

fn forked(slot: u32, pid: u32) -> Event {
    Event::Forked { pool: 0, slot, pid }
}

#[test]
fn an_idle_pool_ends_when_its_workers_have() {
    let mut s = Stage::running(2, 0);
    s.at(0, FINISH);
    s.check(0, queued(0), &[]);
    s.at(1, exited(0, CLEAN));
    s.check(1, queued(0), &[]);
    let last = s.at(2, exited(1, CLEAN));
    assert_eq!(last[0], "CountQueue(0)");
    s.check(2, queued(0), &["close 0"]);
    s.check(3, died(CLEAN), &["CountQueue(0)"]);
    s.check(3, queued(0), &ENDED);
}

#[test]
fn who_waits_where_nobody_serves_gets_a_worker() {
    let mut s = ondemand();
    let begun = s.at(1, FINISH);
    assert_eq!(begun[3], "Drain(0)");
    s.check(1, queued(5), &["start 0"]);
    s.check(30, Event::ServerStarted(0), &["fork 0.0", "fork 0.1"]);
    let born = s.at(31, forked(0, 100));
    assert_eq!(born[2], "signal 0.0 3");
    s.at(31, forked(1, 101));
    s.at(40, exited(0, CLEAN));
    s.check(40, queued(0), &[]);
    s.at(41, exited(1, CLEAN));
    s.check(41, queued(0), &["close 0"]);
    // Somebody has connected in the last moment.
    s.check(42, died(CLEAN), &["CountQueue(0)"]);
    s.check(42, queued(1), &["start 0"]);
    s.check(70, Event::ServerStarted(0), &["fork 0.0"]);
    s.at(71, forked(0, 102));
    s.at(72, exited(0, CLEAN));
    s.check(72, queued(0), &["close 0"]);
    s.at(73, died(CLEAN));
    s.check(73, queued(0), &ENDED);
}

#[test]
fn a_worker_that_crashes_is_replaced_while_somebody_waits() {
    let mut s = Stage::running(1, 0);
    s.at(0, FINISH);
    s.check(0, queued(3), &[]);
    s.at(5, Event::WorkerExited { pool: 0, slot: 0, exit: SEGV, served: true });
    s.check(5, queued(2), &["fork 0.0"]);
    let born = s.at(6, forked(0, 101));
    assert_eq!(born[2], "signal 0.0 3");
    s.at(7, Event::WorkerLost { pool: 0, slot: 0 });
    s.check(7, queued(1), &["fork 0.0"]);
}

#[test]
fn crashes_at_birth_are_slowed_down_here_too() {
    let mut s = Stage::running(1, 0);
    s.at(0, FINISH);
    for pid in 101..103 {
        s.at(0, exited(0, SEGV));
        s.check(0, queued(1), &["fork 0.0"]);
        s.at(0, forked(0, pid));
    }
    s.at(0, exited(0, SEGV));
    s.check(0, queued(1), &[]);
    assert_eq!(s.deadline_ms(), Some(250));
    s.check(250, Event::DeadlineReached, &["fork 0.0"]);
}

#[test]
fn a_fork_server_lost_on_the_way_is_replaced_if_somebody_waits() {
    let mut s = Stage::running(1, 0);
    s.at(0, FINISH);
    s.at(0, queued(1));
    s.check(1, died(SEGV), &["CountQueue(0)"]);
    // The worker that it leaves behind serves.
    s.check(1, queued(1), &[]);
    assert_eq!(s.deadline_ms(), Some(251));
    s.check(251, Event::DeadlineReached, &["start 0"]);
}

#[test]
fn where_php_cannot_start_nobody_is_waited_for() {
    let mut s = ondemand();
    s.at(0, FINISH);
    s.check(0, queued(2), &["start 0"]);
    s.at(1, Event::ServerRefused { pool: 0, reason: "bad ini".into(), configuration: true });
    let lost = "ERROR [pool a] 2 connection(s) wait, and PHP cannot be started to serve them";
    s.check(2, died(Exit::Code(78)), &[lost, ENDED[0], ENDED[1]]);
}

#[test]
fn after_the_limit_the_queue_is_given_up() {
    let mut s = Stage::running(1, 1000);
    s.at(0, FINISH);
    s.at(0, queued(4));
    assert_eq!(s.deadline_ms(), Some(1000));
    assert_eq!(s.at(1000, Event::DeadlineReached)[1], "signal 0.0 15");
    assert_eq!(s.at(1001, exited(0, TERM)).last().unwrap(), "close 0");
    s.check(1002, died(CLEAN), &ENDED);
}

#[test]
fn without_process_control_timeout_drain_timeout_is_the_limit() {
    for (seconds, limit) in [(60, Some(60_000)), (0, None)] {
        let mut s = Stage::running(1, 0);
        s.plan.settings.drain_timeout = Duration::from_secs(seconds);
        s.at(0, FINISH);
        assert_eq!(s.deadline_ms(), limit);
    }
}

#[test]
fn sigterm_cuts_a_drain_short() {
    let mut s = Stage::running(1, 5000);
    s.at(0, FINISH);
    s.at(0, queued(4));
    let terminated = s.at(1, Event::Asked(Request::Terminate(15)));
    assert!(terminated.contains(&"signal 0.0 15".to_owned()), "{terminated:?}");
    assert_eq!(s.at(2, exited(0, TERM)).last().unwrap(), "close 0");
    s.check(3, queued(4), &[]);
    s.check(3, died(CLEAN), &ENDED);
}

#[test]
fn sigterm_is_graceful_if_it_is_to_be_and_sigint_never_is() {
    let mut s = Stage::running(1, 5000);
    s.plan.settings.sigterm_is_graceful = true;
    let asked = s.at(0, Event::Asked(Request::Terminate(15)));
    assert_eq!(asked[..2], ["DEBUG received SIGTERM", "NOTICE Finishing ..."]);
    s.check(1, Event::Asked(Request::Terminate(15)), &["DEBUG received SIGTERM", "NOTICE Finishing ..."]);
    assert_eq!(s.at(2, Event::Asked(Request::Terminate(2)))[1], "NOTICE Terminating ...");
}

#[test]
fn a_delayed_stop_serves_on_until_its_time_or_a_second_signal() {
    let delayed = || {
        let mut s = Stage::running(1, 5000);
        s.plan.settings.shutdown_delay = Duration::from_secs(3);
        s.check(0, FINISH, &["DEBUG received SIGQUIT", "NOTICE Finishing in 3 s ..."]);
        assert_eq!(s.deadline_ms(), Some(3000));
        s
    };
    let begins = ["NOTICE Finishing ...", "DEBUG switching to 'finishing' state", "Drain(0)"];
    let mut s = delayed();
    let replaced = s.at(10, exited(0, CLEAN));
    assert_eq!(replaced.last().unwrap(), "fork 0.0");
    s.check(2999, Event::DeadlineReached, &[]);
    assert_eq!(s.at(3000, Event::DeadlineReached)[..3], begins);
    assert_eq!(s.deadline_ms(), Some(8000));
    assert_eq!(delayed().at(10, FINISH)[1..4], begins);
    assert_eq!(delayed().at(10, Event::Asked(Request::Terminate(15)))[1], "NOTICE Terminating ...");
    // A reload meanwhile takes place.
    let reload = delayed().at(10, Event::Asked(Request::Reload(Some(12))));
    assert_eq!(reload.last().unwrap(), "CheckReload");
}
