//! Idle exit.

use super::*;

const EMPTY: Survey = Survey { requests: 0, occupied: 0, queued: false };

/// One static worker, 100, and `idle_exit` of ten seconds.
fn resting() -> Stage {
    let mut s = Stage::running(1, 0);
    s.plan.settings.idle_exit = Duration::from_secs(10);
    s.at(0, Event::DeadlineReached);
    s
}

fn seen(survey: Survey) -> Event {
    Event::Surveyed(survey)
}

/// Looks every second from `from` on as long as nobody comes; what it says when it has looked at `to`.
fn wait(s: &mut Stage, from: u64, to: u64, survey: Survey) -> Vec<String> {
    let mut said = Vec::new();
    for second in from..=to {
        assert_eq!(said, [""; 0], "at {second} s");
        s.check(second * 1000, Event::DeadlineReached, &["Survey"]);
        said = s.at(second * 1000, seen(survey));
    }
    said
}

const LEAVES: [&str; 4] = [
    "NOTICE nobody has used this service for 10 s, it ends until the next connection",
    "DEBUG [pool a] sending signal 3 SIGQUIT to child 100",
    "signal 0.0 3",
    "DEBUG 1 child(ren) still alive",
];

fn gone() -> Event {
    Event::WorkerExited { pool: 0, slot: 0, exit: CLEAN, served: true }
}

#[test]
fn it_ends_when_nobody_has_come() {
    let mut s = resting();
    assert_eq!(wait(&mut s, 1, 10, EMPTY), LEAVES);
    let exited = "DEBUG [pool a] child 100 exited with code 0 after 10.005000 seconds from start";
    s.check(10_005, gone(), &[exited, "Survey"]);
    s.check(10_005, seen(EMPTY), &["DEBUG switching to 'finishing' state", "close 0"]);
    s.check(10_010, died(CLEAN), &["NOTICE exiting, bye-bye!", "Exit"]);
}

#[test]
fn any_use_begins_the_time_anew() {
    for used in [
        Survey { requests: 1, ..EMPTY },
        Survey { occupied: 1, requests: 1, ..EMPTY },
        Survey { queued: true, requests: 1, ..EMPTY },
    ] {
        let mut s = resting();
        assert_eq!(wait(&mut s, 1, 9, EMPTY), [""; 0]);
        assert_eq!(wait(&mut s, 10, 10, used), [""; 0]);
        let after = Survey { requests: 1, ..EMPTY };
        assert_eq!(wait(&mut s, 11, 19, after), [""; 0]);
        assert_eq!(wait(&mut s, 20, 20, after), LEAVES);
    }
    let mut s = resting();
    let busy = Survey { occupied: 1, ..EMPTY };
    assert_eq!(wait(&mut s, 1, 60, busy), [""; 0]);
}

#[test]
fn somebody_who_comes_at_the_last_moment_is_served() {
    let mut s = resting();
    wait(&mut s, 1, 10, EMPTY);
    let queued = Survey { queued: true, ..EMPTY };
    // The worker has not gone yet.
    s.check(10_020, Event::DeadlineReached, &["Survey"]);
    s.check(10_020, seen(EMPTY), &[]);
    s.check(10_040, Event::DeadlineReached, &["Survey"]);
    let on = "NOTICE somebody has come meanwhile, everything goes on";
    s.check(10_040, seen(queued), &[on]);
    let replaced = s.at(10_050, gone());
    assert_eq!(replaced[1..], ["fork 0.0"]);
    // It has.
    let mut s = resting();
    wait(&mut s, 1, 10, EMPTY);
    s.at(10_005, gone());
    s.check(10_005, seen(queued), &[on, "fork 0.0"]);
    s.check(10_006, Event::Forked { pool: 0, slot: 0, pid: 101 }, &["DEBUG [pool a] child 101 started"]);
    assert_eq!(wait(&mut s, 12, 20, EMPTY), [""; 0]);
    // Not by a new connection: the last worker has left a kept one behind.
    let mut s = resting();
    wait(&mut s, 1, 10, EMPTY);
    s.at(10_005, gone());
    s.check(10_005, seen(Survey { occupied: 1, ..EMPTY }), &[on, "fork 0.0"]);
}

#[test]
fn requests_to_the_master_go_before_it() {
    let mut s = resting();
    wait(&mut s, 1, 10, EMPTY);
    let reload = s.at(10_001, RELOAD);
    assert_eq!(reload[0], "NOTICE somebody has come meanwhile, everything goes on");
    assert_eq!(reload.last().map(String::as_str), Some("CheckReload"));
    // While a reload is under way nobody looks.
    assert_eq!(s.plan.rest_deadline(), None);
    let mut s = resting();
    wait(&mut s, 1, 10, EMPTY);
    let stop = s.at(10_001, Event::Asked(Request::Terminate(15)));
    assert!(stop.contains(&"signal 0.0 15".to_owned()), "{stop:?}");
    assert!(!s.at(10_002, seen(EMPTY)).iter().any(|text| text.contains("close")));
}

#[test]
fn without_the_directive_nobody_looks() {
    let mut s = Stage::running(1, 0);
    s.at(0, Event::DeadlineReached);
    assert_eq!(s.plan.rest_deadline(), None);
    s.check(0, seen(EMPTY), &[]);
}

#[test]
fn what_is_under_way_is_waited_for() {
    let mut s = resting();
    assert!(s.plan.rest_deadline().is_some());
    s.at(1, died(SEGV));
    s.at(300, Event::DeadlineReached);
    assert_eq!(s.plan.rest_deadline(), None);
    s.at(400, Event::ServerStarted(0));
    s.at(401, Event::Forked { pool: 0, slot: 1, pid: 101 });
    assert!(s.plan.rest_deadline().is_some());
}
