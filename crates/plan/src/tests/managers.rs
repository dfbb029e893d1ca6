//! dynamic, ondemand, emergency restart.

use super::*;

const TEN: Duration = Duration::from_secs(10);

fn dynamic(max_children: u32, start: u32, min_spare: u32, max_spare: u32) -> ProcessManager {
    ProcessManager::Dynamic { max_children, start, min_spare, max_spare, max_spawn_rate: 32 }
}

fn ondemand(max_children: u32) -> ProcessManager {
    ProcessManager::Ondemand { max_children, idle_timeout: TEN }
}

/// Pool 0 up and announced, its first workers alive as 100, 101, ….
fn running(manager: ProcessManager) -> Stage {
    let mut stage = Stage::with(&[manager], 0, 0);
    stage.at(0, Event::Begin);
    stage.at(0, Event::ServerStarted(0));
    stage.at(0, Event::Announced);
    (0..manager.at_start()).for_each(|slot| stage.born(0, slot));
    stage
}

impl Stage {
    fn born(&mut self, ms: u64, slot: u32) {
        self.at(ms, Event::Forked { pool: 0, slot, pid: 100 + slot });
    }

    /// What a look at idle workers, unused for so many seconds, and `occupied` others leads to, without DEBUG.
    fn look(&mut self, ms: u64, why: Why, idle: &[(u32, u64)], occupied: u32) -> Vec<String> {
        let idle = idle.iter().map(|(slot, seconds)| {
            let unused_for = Some(Duration::from_secs(*seconds));
            Idle { slot: *slot, unused_for }
        });
        let look = Look { idle: idle.collect(), occupied };
        let lines = self.at(ms, Event::Looked { pool: 0, why, look });
        lines.into_iter().filter(|line| !line.starts_with("DEBUG")).collect()
    }
}

impl Stage {
    /// A shortage that lasts.
    fn shortage(&mut self, ms: u64, occupied: u32) -> Vec<String> {
        let first = self.look(ms, Why::Shortage, &[], occupied);
        assert_eq!(first, ["watch 0"]);
        self.look(ms + 20, Why::Shortage, &[], occupied)
    }
}

#[test]
fn dynamic_arms_for_the_moment_when_too_few_are_idle() {
    let mut s = Stage::with(&[dynamic(8, 3, 2, 4)], 0, 0);
    s.at(0, Event::Begin);
    s.at(0, Event::ServerStarted(0));
    s.check(0, Event::Announced, &["fork 0.0", "fork 0.1", "fork 0.2"]);
    s.born(0, 0);
    s.born(0, 1);
    let last = s.at(0, Event::Forked { pool: 0, slot: 2, pid: 102 });
    // Three alive, two shall be idle: the second that is occupied is one too many.
    assert_eq!(last[1..], ["arm 0 2", "NOTICE ready to handle connections", "TellReady"]);
}

#[test]
fn dynamic_grows_at_once_and_says_when_it_goes_on_growing() {
    let mut s = running(dynamic(40, 1, 1, 30));
    let busy = |rate: u32, total: u32| {
        format!(
            "WARNING [pool a] seems busy (you may need to increase pm.start_servers, or pm.min/max_spare_servers), spawning {rate} children, there are 1 idle, and {total} total children"
        )
    };
    let mut warnings = Vec::new();
    for second in 1..=6_u32 {
        let ms = u64::from(second) * 1000;
        assert_eq!(s.shortage(ms, second), [format!("fork 0.{second}")]);
        // While it is on its way nobody else is called.
        assert!(s.look(ms + 21, Why::Shortage, &[], second).is_empty());
        s.born(ms + 22, second);
        warnings.extend(s.look(ms + 50, Why::Tick, &[(second, 0)], second));
    }
    assert_eq!(warnings, [busy(8, 5), busy(16, 6), busy(32, 7)]);
    // A second without growth ends the row.
    s.look(7050, Why::Tick, &[(1, 0)], 6);
    s.shortage(8000, 7);
    s.born(8021, 7);
    assert!(s.look(8050, Why::Tick, &[(7, 0)], 7).is_empty());
}

#[test]
fn dynamic_ticks_spawn_at_a_doubling_rate_what_nobody_asked_for() {
    let mut s = running(dynamic(40, 20, 20, 30));
    let mut alive = 20;
    for count in [1, 2, 4] {
        let forks: Vec<_> = (alive..alive + count).map(|slot| format!("fork 0.{slot}")).collect();
        assert_eq!(s.look(1000, Why::Tick, &[], alive), forks);
        (alive..alive + count).for_each(|slot| s.born(1000, slot));
        alive += count;
    }
    // One that wakes us gets all that is missing, within pm.max_spawn_rate and pm.max_children.
    assert_eq!(s.shortage(2000, alive).len(), 13);
}

#[test]
fn dynamic_tells_of_its_limit_once_an_episode() {
    let mut s = running(dynamic(2, 1, 1, 2));
    assert_eq!(s.look(1000, Why::Shortage, &[], 1), ["watch 0"]);
    assert_eq!(s.look(1001, Why::Queue, &[], 1), ["fork 0.1"]);
    s.born(1002, 1);
    let told = "WARNING [pool a] server reached pm.max_children setting (2), consider raising it";
    assert_eq!(s.look(2000, Why::Tick, &[], 2), ["count 0", told]);
    assert!(s.look(3000, Why::Tick, &[], 2).is_empty());
    // A crashed worker is replaced, which ends no episode; one that was spawned does.
    s.at(4000, exited(1, SEGV));
    s.born(4000, 1);
    assert!(s.look(5000, Why::Tick, &[], 2).is_empty());
}

#[test]
fn dynamic_ends_one_spare_worker_a_second() {
    let mut s = running(dynamic(5, 4, 1, 2));
    let idle = [(0, 1), (1, 1), (2, 1), (3, 1)];
    assert_eq!(s.look(1000, Why::Tick, &idle, 0)[0], "signal 0.0 3");
    // It does not listen: by force, and then it is replaced.
    assert_eq!(s.look(2000, Why::Tick, &idle, 0)[0], "signal 0.0 9");
    let killed = s.at(2001, exited(0, Exit::Signal { number: 9, core: false }));
    assert!(killed[0].starts_with("WARNING [pool a] child 100 exited on signal 9 (SIGKILL)"), "{killed:?}");
    assert_eq!(killed[1], "fork 0.0");
    s.born(2001, 0);
    assert_eq!(s.look(3000, Why::Tick, &idle, 0)[0], "signal 0.1 3");
    let text = "DEBUG [pool a] child 101 has been killed by the process management after 3.001000 seconds from start";
    let ended = s.at(3001, exited(1, CLEAN));
    assert_eq!(ended[0], text);
    assert!(!ended.iter().any(|line| line.starts_with("fork")), "{ended:?}");
    assert!(s.look(4000, Why::Tick, &idle[2..], 0).is_empty());
}

#[test]
fn dynamic_does_not_fork_for_a_request_that_is_soon_over() {
    let mut s = running(dynamic(5, 2, 2, 3));
    assert_eq!(s.look(100, Why::Shortage, &[(1, 0)], 1), ["arm 0 2"]);
    assert!(s.look(120, Why::Shortage, &[(0, 0), (1, 0)], 0).is_empty());
    assert_eq!(s.at(130, Event::DeadlineReached), ["arm 0 1"]);
}

#[test]
fn dynamic_forks_at_once_for_one_that_waits() {
    let mut s = running(dynamic(5, 2, 2, 3));
    assert_eq!(s.look(100, Why::Shortage, &[(1, 0)], 1), ["arm 0 2"]);
    assert_eq!(s.look(101, Why::Shortage, &[], 2), ["watch 0"]);
    assert_eq!(s.look(102, Why::Queue, &[], 2), ["fork 0.2", "fork 0.3"]);
}

#[test]
fn whoever_calls_for_nothing_is_not_asked_again_soon() {
    let mut s = running(dynamic(5, 2, 2, 3));
    assert_eq!(s.look(100, Why::Shortage, &[(1, 0)], 1), ["arm 0 2"]);
    assert!(s.look(101, Why::Shortage, &[(1, 0)], 1).is_empty());
    assert_eq!(s.look(120, Why::Shortage, &[(1, 0)], 1), ["fork 0.2"]);
}

#[test]
fn a_look_that_changes_nothing_holds_the_next_back() {
    let mut s = running(dynamic(5, 2, 1, 3));
    assert!(s.look(100, Why::Shortage, &[(0, 0), (1, 0)], 0).is_empty());
    assert_eq!(s.at(110, Event::DeadlineReached), ["arm 0 2"]);
}

#[test]
fn an_idle_ondemand_pool_has_no_process() {
    let mut s = Stage::with(&[ondemand(2)], 0, 0);
    s.check(0, Event::Begin, &["Announce"]);
    s.check(0, Event::Announced, &["watch 0", "NOTICE ready to handle connections", "TellReady"]);
    assert_eq!(s.plan.next_deadline(), None);
    assert_eq!(s.look(5, Why::Queue, &[], 0), ["start 0"]);
    s.check(50, Event::ServerStarted(0), &["fork 0.0"]);
    let born = s.at(51, Event::Forked { pool: 0, slot: 0, pid: 100 });
    assert_eq!(born, ["DEBUG [pool a] child 100 started", "arm 0 1"]);
    // It took the connection: from now on the queue is watched.
    assert_eq!(s.look(52, Why::Shortage, &[], 1), ["watch 0"]);
    assert_eq!(s.look(53, Why::Queue, &[], 1), ["fork 0.1"]);
    s.born(54, 1);
    assert_eq!(s.look(55, Why::Shortage, &[], 2), ["watch 0"]);
    let told = "WARNING [pool a] server reached max_children setting (2), consider raising it";
    assert_eq!(s.look(56, Why::Queue, &[], 2), ["count 0", told]);
    assert!(s.look(1000, Why::Tick, &[], 2).is_empty());
    // Idle for longer than the timeout, both go, then the fork server.
    assert!(s.look(12_000, Why::Tick, &[(0, 10), (1, 10)], 0).is_empty());
    let dismissed = s.look(12_500, Why::Tick, &[(0, 11), (1, 11)], 0);
    assert_eq!(dismissed[..2], ["signal 0.0 3", "signal 0.1 3"]);
    s.at(12_600, exited(0, CLEAN));
    s.at(12_600, exited(1, QUIT));
    assert!(s.look(13_000, Why::Tick, &[], 0).is_empty());
    assert_eq!(s.look(23_000, Why::Tick, &[], 0), ["close 0"]);
    s.check(23_010, died(CLEAN), &[]);
    assert_eq!(s.plan.next_deadline(), None);
    assert_eq!(s.look(30_000, Why::Queue, &[], 0), ["start 0"]);
}

#[test]
fn a_connection_for_a_closing_fork_server_waits_for_the_next() {
    let mut s = running(ondemand(2));
    s.look(0, Why::Queue, &[], 0);
    s.at(1, Event::ServerStarted(0));
    s.born(1, 0);
    s.look(900, Why::Tick, &[(0, 99)], 0);
    s.at(11_000, Event::DeadlineReached);
    s.look(11_500, Why::Tick, &[(0, 99)], 0);
    s.at(11_501, exited(0, CLEAN));
    s.look(12_000, Why::Tick, &[], 0);
    assert_eq!(s.look(22_000, Why::Tick, &[], 0), ["close 0"]);
    assert!(s.look(22_001, Why::Queue, &[], 0).is_empty());
    assert_eq!(s.at(22_002, died(CLEAN)), ["start 0"]);
}

#[test]
fn a_fork_server_that_does_not_end_keeps_no_connection_waiting() {
    let mut s = running(ondemand(1));
    s.look(0, Why::Queue, &[], 0);
    s.at(1, Event::ServerStarted(0));
    s.at(2, Event::ForkFailed { pool: 0, slot: 0, cause: "no memory".into() });
    s.plan.pools[0].wanted = 0;
    s.look(1000, Why::Tick, &[], 0);
    assert_eq!(s.look(11_000, Why::Tick, &[], 0), ["close 0"]);
    assert!(s.look(11_001, Why::Queue, &[], 0).is_empty());
    assert_eq!(s.at(13_000, Event::DeadlineReached), ["kill 0"]);
    assert_eq!(s.at(13_001, died(Exit::Signal { number: 9, core: false })), ["start 0"]);
}

#[test]
fn an_ondemand_pool_that_only_says_that_somebody_is_idle_keeps_nobody_busy() {
    let mut s = running(ondemand(2));
    s.look(0, Why::Queue, &[], 0);
    s.at(1, Event::ServerStarted(0));
    s.born(2, 0);
    assert_eq!(s.look(100, Why::Shortage, &[], 1), ["watch 0"]);
    assert!(s.look(100, Why::Queue, &[(0, 0)], 0).is_empty());
    assert_eq!(s.at(110, Event::DeadlineReached), ["arm 0 1"]);
}

#[test]
fn an_ondemand_pool_that_cannot_start_tries_again_only_for_a_connection() {
    let mut s = Stage::with(&[ondemand(2)], 0, 0);
    s.at(0, Event::Begin);
    s.at(0, Event::Announced);
    s.look(5, Why::Queue, &[], 0);
    s.at(6, Event::ServerRefused { pool: 0, reason: "bad ini".into(), configuration: true });
    s.at(7, died(Exit::Code(78)));
    assert_eq!(s.deadline_ms(), Some(257));
    assert_eq!(s.at(257, Event::DeadlineReached), ["watch 0"]);
    assert_eq!(s.look(300, Why::Queue, &[], 0), ["start 0"]);
}

#[test]
fn too_many_faults_replace_the_fork_server() {
    let mut s = running(ProcessManager::Static { workers: 1 });
    s.plan.settings.emergency = Some(Emergency { threshold: 2, interval: TEN });
    s.at(0, exited(0, SEGV));
    s.born(0, 0);
    s.at(11_000, exited(0, SEGV));
    s.born(11_000, 0);
    let told = "WARNING [pool a] failed processes threshold (2 in 10 sec) is reached, initiating reload";
    let bus = Exit::Signal { number: 7, core: false };
    assert_eq!(s.at(12_500, exited(0, bus))[1..], [told, "kill 0"]);
    assert_eq!(s.at(12_501, died(Exit::Signal { number: 9, core: false })), ["start 0"]);
    assert_eq!(s.at(12_550, Event::ServerStarted(0)), ["fork 0.0"]);
}
