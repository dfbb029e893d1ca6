//! Tables of situations and what the plan makes of them.

mod drain;
mod generations;
mod idle;
mod managers;

use super::*;

const SEGV: Exit = Exit::Signal { number: 11, core: false };
const TERM: Exit = Exit::Signal { number: 15, core: false };
const QUIT: Exit = Exit::Signal { number: 3, core: false };
const CLEAN: Exit = Exit::Code(0);

/// A plan on its own clock; actions come back as short texts, but for the regular looks at the pools and what those are
/// told who supervise us.
struct Stage {
    plan: Plan,
    start: Instant,
    /// How many wait on the socket of a generation that retires and is alone with it.
    left_queued: u32,
}

impl Stage {
    fn new(workers: &[u32], process_max: u32, timeout_ms: u64) -> Stage {
        let managers: Vec<_> =
            workers.iter().map(|workers| ProcessManager::Static { workers: *workers }).collect();
        Stage::with(&managers, process_max, timeout_ms)
    }

    fn with(managers: &[ProcessManager], process_max: u32, timeout_ms: u64) -> Stage {
        let pools = ["a", "b", "c"].iter().zip(managers).map(|(name, manager)| PoolSettings {
            name: name.to_string(),
            manager: *manager,
            is_status: false,
        });
        let plan = Plan::new(Settings {
            pools: pools.collect(),
            process_max,
            process_control_timeout: Duration::from_millis(timeout_ms),
            drain_timeout: Duration::ZERO,
            idle_exit: Duration::ZERO,
            sigterm_is_graceful: false,
            shutdown_delay: Duration::ZERO,
            emergency: None,
            reloaded: false,
        });
        Stage { plan, start: Instant::now(), left_queued: 0 }
    }

    /// As `new`, up to `Normal`, with pool `a`'s workers alive as 100, 101, ….
    fn running(workers: u32, timeout_ms: u64) -> Stage {
        let mut stage = Stage::new(&[workers], 0, timeout_ms);
        for event in [Event::Begin, Event::ServerStarted(0), Event::Announced] {
            stage.at(0, event);
        }
        for slot in 0..workers {
            stage.at(0, Event::Forked { pool: 0, slot, pid: 100 + slot });
        }
        stage
    }

    fn at(&mut self, ms: u64, event: Event) -> Vec<String> {
        let now = self.start + Duration::from_millis(ms);
        let mut actions = self.plan.on_event(event, now);
        let retires: Vec<PoolId> = actions.iter().filter_map(retired).collect();
        for pool in retires {
            actions.extend(self.plan.on_event(Event::Queued { pool, waiting: self.left_queued }, now));
        }
        let quiet = |action: &Action| matches!(action, Action::Look { .. } | Action::TellStopping(_));
        actions.into_iter().filter(|action| !quiet(action)).map(show).collect()
    }

    fn check(&mut self, ms: u64, event: Event, expected: &[&str]) {
        let shown = format!("{event:?} at {ms} ms");
        assert_eq!(self.at(ms, event), expected, "{shown}");
    }

    fn deadline_ms(&self) -> Option<u64> {
        self.plan.limit().map(|at| at.duration_since(self.start).as_millis() as u64)
    }
}

fn retired(action: &Action) -> Option<PoolId> {
    match action {
        Action::Retire(pool) => Some(*pool),
        _ => None,
    }
}

fn show(action: Action) -> String {
    match action {
        Action::Log(level, text) => format!("{} {text}", level.word()),
        Action::ForkWorker { pool, slot } => format!("fork {pool}.{slot}"),
        Action::SignalWorker { pool, slot, signal } => format!("signal {pool}.{slot} {signal}"),
        Action::StartServer(pool) => format!("start {pool}"),
        Action::CloseServer(pool) => format!("close {pool}"),
        Action::KillServer(pool) => format!("kill {pool}"),
        Action::Arm { pool, occupied } => format!("arm {pool} {occupied}"),
        Action::WatchQueue(pool) => format!("watch {pool}"),
        Action::CountSaturation(pool) => format!("count {pool}"),
        other => format!("{other:?}"),
    }
}

fn exited(slot: u32, exit: Exit) -> Event {
    Event::WorkerExited { pool: 0, slot, exit, served: false }
}

fn queued(waiting: u32) -> Event {
    Event::Queued { pool: 0, waiting }
}

fn died(exit: Exit) -> Event {
    Event::ServerDied { pool: 0, pid: 50, exit }
}

#[test]
fn workers_that_hold_old_logs_finish() {
    let mut s = Stage::running(2, 0);
    s.at(10, Event::WorkerExited { pool: 0, slot: 1, exit: Exit::Code(0), served: true });
    let expected = [
        "DEBUG [pool a] sending signal 3 SIGQUIT to child 100",
        "signal 0.0 3",
        "DEBUG 2 child(ren) still alive",
    ];
    s.check(20, Event::AccessLogsReopened, &expected);
    // Ordered before, so it holds what its fork server held then.
    let expected = [
        "NOTICE [pool a] child 102 started",
        "DEBUG [pool a] sending signal 3 SIGQUIT to child 102",
        "signal 0.1 3",
    ];
    s.check(30, Event::Forked { pool: 0, slot: 1, pid: 102 }, &expected);
    s.at(40, Event::WorkerExited { pool: 0, slot: 1, exit: Exit::Code(0), served: false });
    s.check(50, Event::Forked { pool: 0, slot: 1, pid: 103 }, &["NOTICE [pool a] child 103 started"]);
}

#[test]
fn all_fork_servers_come_up_before_any_worker() {
    let mut s = Stage::new(&[2, 1], 0, 0);
    s.check(0, Event::Begin, &["start 0", "start 1"]);
    assert_eq!(s.deadline_ms(), Some(60_000));
    s.check(10, Event::ServerStarted(1), &[]);
    s.check(20, Event::ServerStarted(0), &["Announce"]);
    s.check(21, Event::Announced, &["fork 0.0", "fork 0.1", "fork 1.0"]);
    s.check(22, Event::Forked { pool: 0, slot: 1, pid: 7 }, &["DEBUG [pool a] child 7 started"]);
    assert_eq!(s.plan.worker_by_pid(7), Some((0, 1)));
    assert!(s.plan.awaits(0, 0) && !s.plan.awaits(0, 1));
    assert_eq!(s.deadline_ms(), Some(30_021));
    s.check(23, Event::Forked { pool: 1, slot: 0, pid: 8 }, &["DEBUG [pool b] child 8 started"]);
    let last = ["DEBUG [pool a] child 9 started", "NOTICE ready to handle connections", "TellReady"];
    s.check(24, Event::Forked { pool: 0, slot: 0, pid: 9 }, &last);
}

#[test]
fn a_start_that_fails_says_whose_fault_it_is() {
    let refused = |configuration| Event::ServerRefused { pool: 0, reason: "no".into(), configuration };
    let fail = |configuration| format!("Fail {{ configuration: {configuration} }}");
    for (event, ms, line, configuration) in [
        (refused(true), 1, "ERROR [pool a] no", true),
        (refused(false), 1, "ERROR [pool a] no", false),
        (Event::ServerNotStarted { pool: 0, reason: "no".into() }, 1, "ERROR [pool a] no", true),
        (
            died(SEGV),
            1,
            "ERROR [pool a] PHP's start-up failed: process 50 exited on signal 11 (SIGSEGV)",
            false,
        ),
    ] {
        let mut s = Stage::new(&[1], 0, 0);
        s.at(0, Event::Begin);
        s.check(ms, event, &[line, &fail(configuration)]);
    }
    let mut s = Stage::new(&[1], 0, 0);
    s.at(0, Event::Begin);
    s.check(59_999, Event::DeadlineReached, &[]);
    let line = "ERROR [pool a] PHP did not start within 60 seconds";
    s.check(60_000, Event::DeadlineReached, &["kill 0", line, &fail(false)]);
}

#[test]
fn after_a_reload_a_pool_that_cannot_start_is_tried_again_beside_the_others() {
    let mut s = Stage::new(&[1, 1], 0, 0);
    s.plan.settings.reloaded = true;
    s.check(0, Event::Begin, &["start 0", "start 1"]);
    let reason = || "bad ini".to_owned();
    s.check(
        10,
        Event::ServerRefused { pool: 0, reason: reason(), configuration: true },
        &["ERROR [pool a] bad ini"],
    );
    let told = "WARNING [pool a] 0 worker(s) go on serving, a new fork server starts in 250 ms";
    s.check(11, died(Exit::Code(78)), &[told]);
    s.check(20, Event::ServerStarted(1), &["Announce"]);
    let begun = s.at(21, Event::Announced);
    assert!(begun.contains(&"fork 1.0".to_owned()), "{begun:?}");
    assert_eq!(s.deadline_ms(), Some(261));
    assert_eq!(s.at(261, Event::DeadlineReached), ["start 0"]);
}

#[test]
fn a_worker_that_ends_is_replaced_and_announced() {
    for (exit, line) in [
        (CLEAN, "NOTICE [pool a] child 100 exited with code 0 after 5.000000 seconds from start"),
        (Exit::Code(70), "WARNING [pool a] child 100 exited with code 70 after 5.000000 seconds from start"),
        (SEGV, "WARNING [pool a] child 100 exited on signal 11 (SIGSEGV) after 5.000000 seconds from start"),
        (QUIT, "NOTICE [pool a] child 100 exited on signal 3 (SIGQUIT) after 5.000000 seconds from start"),
    ] {
        let mut s = Stage::running(2, 0);
        s.check(5000, exited(0, exit), &[line, "fork 0.0"]);
        s.check(5001, Event::Forked { pool: 0, slot: 0, pid: 9 }, &["NOTICE [pool a] child 9 started"]);
    }
}

#[test]
fn crashes_at_birth_are_slowed_down() {
    let mut s = Stage::running(1, 0);
    let line = "WARNING [pool a] child 100 exited on signal 11 (SIGSEGV) after 0.000000 seconds from start";
    let ended = |pid: u32| line.replace("100", &pid.to_string());
    let mut crash = |ms: u64, pid: u32, after: &[&str]| {
        s.at(ms, Event::Forked { pool: 0, slot: 0, pid });
        let mut expected = vec![ended(pid)];
        expected.extend(after.iter().map(|text| text.to_string()));
        assert_eq!(s.at(ms, exited(0, SEGV)), expected);
    };
    crash(0, 100, &["fork 0.0"]);
    crash(1, 101, &["fork 0.0"]);
    let wait = |row: u32, ms: u32| {
        format!(
            "WARNING [pool a] {row} children in a row ended within a second of their start, waiting {ms} ms before the next is started"
        )
    };
    crash(2, 102, &[&wait(3, 250)]);
    assert_eq!(s.deadline_ms(), Some(252));
    s.check(251, Event::DeadlineReached, &[]);
    s.check(252, Event::DeadlineReached, &["fork 0.0"]);
    assert_eq!(s.deadline_ms(), Some(30_252));
    s.at(253, Event::Forked { pool: 0, slot: 0, pid: 103 });
    let last = s.at(254, exited(0, SEGV));
    assert_eq!(last.last().unwrap(), &wait(4, 500));
}

#[test]
fn a_worker_that_lived_ends_the_row_of_crashes() {
    let mut s = Stage::running(1, 0);
    for ms in [0, 1] {
        assert!(s.at(ms, exited(0, SEGV)).contains(&"fork 0.0".into()));
        s.at(ms, Event::Forked { pool: 0, slot: 0, pid: 7 });
    }
    s.at(2000, exited(0, SEGV));
    s.at(2000, Event::Forked { pool: 0, slot: 0, pid: 8 });
    assert!(s.at(2001, exited(0, SEGV)).contains(&"fork 0.0".into()));
}

#[test]
fn fork_failures_are_told_once_per_delay() {
    let mut s = Stage::running(1, 0);
    s.at(5000, exited(0, CLEAN));
    let failed = Event::ForkFailed { pool: 0, slot: 0, cause: "Cannot allocate memory (12)".into() };
    let told = "ERROR [pool a] fork() failed: Cannot allocate memory (12), next attempt in";
    s.check(5001, failed.clone(), &[&format!("{told} 250 ms")]);
    s.check(5251, Event::DeadlineReached, &["fork 0.0"]);
    s.check(5252, failed, &[&format!("{told} 500 ms")]);
    s.check(5752, Event::DeadlineReached, &["fork 0.0"]);
    let over = ["NOTICE [pool a] child 7 started", "NOTICE [pool a] fork() works again"];
    s.check(5753, Event::Forked { pool: 0, slot: 0, pid: 7 }, &over);
}

#[test]
fn a_stopped_fork_server_is_replaced() {
    let paused = |signal| Event::ServerPaused { pool: 0, pid: 50, signal };
    let mut s = Stage::running(2, 0);
    let what = "WARNING [pool a] fork server 50 is stopped (SIGSTOP) and starts no workers";
    s.check(0, paused(Some(19)), &[&format!("{what}; unless it goes on within 10 seconds, it is replaced")]);
    assert_eq!(s.deadline_ms(), Some(10_000));
    s.check(4000, paused(None), &["NOTICE [pool a] fork server 50 goes on"]);
    assert_eq!(s.deadline_ms(), None);
    s.at(20_000, paused(Some(19)));
    s.check(29_999, Event::DeadlineReached, &[]);
    let why = "ERROR [pool a] the fork server has been stopped for 10 seconds and is replaced";
    s.check(30_000, Event::DeadlineReached, &[&format!("{why}; 2 worker(s) go on serving"), "kill 0"]);
    s.check(30_001, died(Exit::Signal { number: 9, core: false }), &["start 0"]);
    assert_eq!(s.deadline_ms(), Some(90_001));
}

#[test]
fn a_stop_does_not_wait_for_a_stopped_fork_server() {
    let paused = Event::ServerPaused { pool: 0, pid: 50, signal: Some(19) };
    for paused_before in [true, false] {
        let mut s = Stage::running(1, 0);
        let mut actions = Vec::new();
        if paused_before {
            s.at(0, paused.clone());
        }
        actions.extend(s.at(1, Event::Asked(Request::Finish)));
        if !paused_before {
            actions.extend(s.at(2, paused.clone()));
        }
        assert_eq!(actions.iter().filter(|action| *action == "kill 0").count(), 1, "{actions:?}");
        let after = s.at(3, died(Exit::Signal { number: 9, core: false }));
        assert!(!after.iter().any(|action| action.starts_with("start")), "{after:?}");
    }
}

#[test]
fn a_fork_server_that_does_not_answer_is_replaced() {
    let mut s = Stage::running(2, 0);
    s.at(5000, Event::WorkerExited { pool: 0, slot: 1, exit: CLEAN, served: true });
    assert_eq!(s.deadline_ms(), Some(35_000));
    let why = "ERROR [pool a] the fork server has not answered for 30 seconds and is replaced";
    s.check(35_000, Event::DeadlineReached, &[&format!("{why}; 1 worker(s) go on serving"), "kill 0"]);
}

#[test]
fn a_stopped_worker_is_told_once() {
    let paused = |signal| Event::WorkerPaused { pool: 0, slot: 1, signal };
    let mut s = Stage::running(2, 0);
    let told = "WARNING [pool a] child 101 is stopped (SIGSTOP) and serves nobody until it is continued";
    s.check(0, paused(Some(19)), &[told]);
    s.check(1, paused(Some(19)), &[]);
    s.check(2, paused(None), &["NOTICE [pool a] child 101 goes on"]);
    s.check(3, paused(None), &[]);
}

#[test]
fn workers_of_lost_fork_servers_make_room() {
    let mut s = Stage::running(1, 0);
    for (ms, pid) in [(1000, 102), (2000, 103)] {
        s.at(ms, died(SEGV));
        s.at(ms + 300, Event::DeadlineReached);
        s.at(ms + 400, Event::ServerStarted(0));
        if pid == 102 {
            s.at(ms + 500, Event::Forked { pool: 0, slot: 1, pid });
        }
    }
    s.at(3000, Event::DeadlineReached);
    let lines = s.at(3001, Event::ServerStarted(0));
    let all = "WARNING [pool a] all 2 places are taken by workers of lost fork servers; unless one of them ends within \
               10 seconds, the oldest is terminated";
    assert!(lines.contains(&all.to_owned()) && lines.contains(&"signal 0.1 3".to_owned()), "{lines:?}");
    assert!(s.at(13_000, Event::DeadlineReached).is_empty());
    let term = [
        "WARNING [pool a] child 100 is terminated to make room",
        "DEBUG [pool a] sending signal 15 SIGTERM to child 100",
        "signal 0.0 15",
    ];
    s.check(13_001, Event::DeadlineReached, &term);
    let kill = ["DEBUG [pool a] sending signal 9 SIGKILL to child 100", "signal 0.0 9"];
    s.check(14_001, Event::DeadlineReached, &kill);
    let next = s.at(14_002, exited(0, Exit::Signal { number: 9, core: false }));
    assert_eq!(next.last().map(String::as_str), Some("fork 0.0"));
    s.at(14_003, Event::Forked { pool: 0, slot: 0, pid: 104 });
    assert_eq!(s.deadline_ms(), None);
}

#[test]
fn process_max_holds_over_all_pools() {
    let told = "WARNING The maximum number of processes has been reached. Please review your configuration and consider raising 'process.max'";
    let mut s = Stage::new(&[2, 2], 3, 0);
    s.at(0, Event::Begin);
    s.at(0, Event::ServerStarted(0));
    s.at(0, Event::ServerStarted(1));
    s.check(0, Event::Announced, &["fork 0.0", "fork 0.1", "fork 1.0", told]);
    s.check(0, Event::DeadlineReached, &[]);
    s.at(1, Event::Forked { pool: 0, slot: 0, pid: 7 });
    let after = s.at(2000, exited(0, CLEAN));
    assert_eq!(after[1..], ["fork 0.0"]);
}

#[test]
fn orders_wait_for_answers() {
    let mut s = Stage::new(&[40], 0, 0);
    s.at(0, Event::Begin);
    s.at(0, Event::ServerStarted(0));
    assert_eq!(s.at(0, Event::Announced).len(), 32);
    let next = s.at(1, Event::Forked { pool: 0, slot: 0, pid: 7 });
    assert_eq!(next, ["DEBUG [pool a] child 7 started", "fork 0.32"]);
}

#[test]
fn workers_of_a_lost_fork_server_serve_on_until_the_next_is_up() {
    let mut s = Stage::running(2, 0);
    s.at(20_000, exited(1, CLEAN));
    let text = "WARNING [pool a] fork server 50 exited on signal 11 (SIGSEGV); 1 worker(s) go on serving, a new fork server starts in 250 ms";
    s.check(20_001, died(SEGV), &[text]);
    assert_eq!(s.deadline_ms(), Some(20_251));
    s.check(20_251, Event::DeadlineReached, &["start 0"]);
    s.check(20_300, Event::ServerStarted(0), &["fork 0.1", "fork 0.2"]);
    let released = [
        "NOTICE [pool a] child 201 started",
        "DEBUG [pool a] sending signal 3 SIGQUIT to child 100",
        "signal 0.0 3",
    ];
    s.check(20_301, Event::Forked { pool: 0, slot: 1, pid: 201 }, &released);
    s.check(
        20_302,
        exited(0, CLEAN),
        &["NOTICE [pool a] child 100 exited with code 0 after 20.302000 seconds from start"],
    );
    s.check(20_303, Event::WorkerLost { pool: 0, slot: 1 }, &["fork 0.0"]);
}

#[test]
fn a_fork_server_that_cannot_return_is_tried_again_ever_more_slowly() {
    let mut s = Stage::running(1, 0);
    s.at(0, died(SEGV));
    s.check(250, Event::DeadlineReached, &["start 0"]);
    let refused = Event::ServerRefused { pool: 0, reason: "bad ini".into(), configuration: true };
    s.check(260, refused, &["ERROR [pool a] bad ini"]);
    let text = "WARNING [pool a] 1 worker(s) go on serving, a new fork server starts in 500 ms";
    s.check(261, died(Exit::Code(78)), &[text]);
    assert_eq!(s.deadline_ms(), Some(761));
}

#[test]
fn finishing_goes_from_quit_to_term_to_kill() {
    let mut s = Stage::running(1, 2000);
    s.check(
        10_000,
        Event::Asked(Request::Finish),
        &[
            "DEBUG received SIGQUIT",
            "NOTICE Finishing ...",
            "DEBUG switching to 'finishing' state",
            "Drain(0)",
            "DEBUG [pool a] sending signal 3 SIGQUIT to child 100",
            "signal 0.0 3",
            "DEBUG 1 child(ren) still alive",
        ],
    );
    let step = |signal: u32, name: &str| {
        [
            format!("DEBUG [pool a] sending signal {signal} {name} to child 100"),
            format!("signal 0.0 {signal}"),
            "DEBUG 1 child(ren) still alive".into(),
        ]
    };
    assert_eq!(s.deadline_ms(), Some(12_000));
    assert_eq!(s.at(12_000, Event::DeadlineReached), step(15, "SIGTERM"));
    assert_eq!(s.at(13_000, Event::DeadlineReached), step(9, "SIGKILL"));
    // Its fork server has not told its end: it may have been stopped.
    let again = s.at(14_000, Event::DeadlineReached);
    assert_eq!((&again[..3], &again[3..]), (&step(9, "SIGKILL")[..], &["kill 0".to_owned()][..]));
    s.check(
        14_100,
        exited(0, TERM),
        &[
            "DEBUG [pool a] child 100 exited on signal 15 (SIGTERM) after 14.100000 seconds from start",
            "close 0",
        ],
    );
    s.check(14_200, died(CLEAN), &["NOTICE exiting, bye-bye!", "Exit"]);
}

#[test]
fn who_supervises_us_hears_of_each_kind_of_stop_once() {
    let told = |s: &mut Stage, request| {
        let actions = s.plan.on_event(Event::Asked(request), s.start);
        actions.into_iter().find_map(|action| match action {
            Action::TellStopping(how) => Some(how),
            _ => None,
        })
    };
    let mut s = Stage::running(1, 0);
    assert_eq!(told(&mut s, Request::Finish), Some("Finishing ..."));
    assert_eq!(told(&mut s, Request::Finish), None);
    assert_eq!(told(&mut s, Request::Terminate(15)), Some("Terminating ..."));
    assert_eq!(told(&mut s, Request::Finish), None);
    assert_eq!(told(&mut Stage::running(1, 0), Request::Reload(Some(12))), None);
}

#[test]
fn terminating_kills_at_once_without_a_timeout() {
    let mut s = Stage::running(1, 0);
    let first = s.at(0, Event::Asked(Request::Terminate(2)));
    assert_eq!(first[..2], ["DEBUG received SIGINT", "NOTICE Terminating ..."]);
    assert_eq!(first[4], "signal 0.0 15");
    assert_eq!(s.deadline_ms(), Some(0));
    assert_eq!(s.at(0, Event::DeadlineReached)[1], "signal 0.0 9");
    let late = s.at(1, Event::Asked(Request::Finish));
    assert_eq!(late[2], "DEBUG not switching to 'finishing' state, because already in 'terminating' state");
    let again = s.at(1, Event::Asked(Request::Terminate(15)));
    assert_eq!(again, ["DEBUG received SIGTERM", "NOTICE Terminating ..."]);
}

#[test]
fn a_worker_born_during_the_stop_is_signalled_too() {
    let mut s = Stage::running(1, 1000);
    s.at(5000, exited(0, CLEAN));
    s.at(5001, Event::Asked(Request::Finish));
    let born = s.at(5002, Event::Forked { pool: 0, slot: 0, pid: 9 });
    assert_eq!(born[2], "signal 0.0 3");
}

#[test]
fn a_fork_server_that_does_not_end_is_killed() {
    let mut s = Stage::running(1, 0);
    s.at(0, Event::Asked(Request::Terminate(15)));
    s.at(1, exited(0, TERM));
    assert_eq!(s.deadline_ms(), Some(2001));
    s.check(2001, Event::DeadlineReached, &["kill 0"]);
    s.check(2002, died(SEGV), &["NOTICE exiting, bye-bye!", "Exit"]);
}

#[test]
fn logs_are_opened_again_and_nothing_else_changes() {
    let mut s = Stage::running(1, 0);
    s.check(0, Event::Asked(Request::Reopen), &["DEBUG received SIGUSR1", "ReopenLogs"]);
}

const RELOAD: Event = Event::Asked(Request::Reload(Some(12)));

#[test]
fn another_program_comes_when_all_is_stopped() {
    let mut s = Stage::running(1, 2000);
    let asked = ["DEBUG received SIGUSR2", "NOTICE Reloading in progress ..."];
    s.check(
        6,
        Event::ReplaceProgram,
        &[
            "DEBUG switching to 'reloading' state",
            "DEBUG [pool a] sending signal 3 SIGQUIT to child 100",
            "signal 0.0 3",
            "DEBUG 1 child(ren) still alive",
        ],
    );
    s.check(7, RELOAD, &asked);
    let ended = s.at(10, exited(0, CLEAN));
    assert_eq!(ended[1..], ["close 0"]);
    s.check(11, RELOAD, &asked);
    s.check(12, died(CLEAN), &["Execute"]);
}

#[test]
fn a_stop_overrides_another_program_and_not_the_other_way_round() {
    let mut s = Stage::running(1, 2000);
    s.at(0, Event::ReplaceProgram);
    let stop = s.at(1, Event::Asked(Request::Finish));
    assert_eq!(stop[2], "DEBUG switching to 'finishing' state");
    let late = "DEBUG not switching to 'reloading' state, because already in 'finishing' state";
    assert_eq!(s.at(2, RELOAD)[2], late);
    s.at(3, exited(0, CLEAN));
    s.at(3, queued(0));
    s.check(4, died(CLEAN), &["CountQueue(0)"]);
    s.check(4, queued(0), &["NOTICE exiting, bye-bye!", "Exit"]);
}

#[test]
fn a_reload_asked_for_during_the_start_follows_it() {
    let mut s = Stage::new(&[1], 0, 0);
    s.at(0, Event::Begin);
    s.check(0, RELOAD, &[]);
    s.at(0, Event::ServerStarted(0));
    s.check(0, RELOAD, &[]);
    s.at(0, Event::Announced);
    let born = s.at(0, Event::Forked { pool: 0, slot: 0, pid: 100 });
    let asked = ["TellReady", "DEBUG received SIGUSR2", "NOTICE Reloading in progress ...", "CheckReload"];
    assert_eq!(born[2..], asked);
}

#[test]
fn a_script_that_crashes_its_workers_delays_nobody() {
    let mut s = Stage::running(1, 0);
    for pid in 100..110 {
        let ended = Event::WorkerExited { pool: 0, slot: 0, exit: SEGV, served: true };
        assert_eq!(s.at(10, ended)[1..], ["fork 0.0"]);
        s.at(10, Event::Forked { pool: 0, slot: 0, pid: pid + 1 });
    }
}
