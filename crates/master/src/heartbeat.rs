//! The heartbeat: looks in the scoreboards which requests run since when, and has `plan::timeouts` say what to do about
//! them. A slot is what its worker wrote: copied, never believed further than for that worker's own sake.

use std::time::{Duration, Instant};

use board::scoreboard::{SlotView, Stage};
use config::Seconds;
use plan::PoolId;
use plan::timeouts::{Limits, Ongoing, Progress};
use sys::clock::monotonic_us;

use crate::supervisor::Supervisor;

/// The limits of a pool.
pub(crate) fn limits(pool: &config::Pool) -> Limits {
    let seconds = |limit: Seconds| u64::try_from(limit.0).unwrap_or(0);
    Limits {
        slow: seconds(pool.request_slowlog_timeout),
        terminate: seconds(pool.request_terminate_timeout),
        track_finished: pool.request_terminate_timeout_track_finished,
    }
}

impl Supervisor {
    /// The pool's requests are looked at from the next beginning of the heartbeat on.
    pub(crate) fn limit_requests(&mut self, pool: PoolId) {
        let target = &self.pools[pool];
        self.timeouts.insert(pool, target.name.clone(), limits(&target.config));
    }

    /// Looks at the requests if it is time.
    pub(crate) fn beat(&mut self, now: Instant) {
        for pool in self.timeouts.due(now) {
            if self.limit_remnant(pool) {
                continue;
            }
            let ongoing = self.ongoing(pool);
            for action in self.timeouts.check(pool, &ongoing) {
                self.apply(action);
            }
        }
    }

    fn ongoing(&self, pool: PoolId) -> Vec<Ongoing> {
        let now = Duration::from_micros(monotonic_us());
        let pool = &self.pools[pool];
        let workers = pool.workers.iter().filter(|(_, worker)| worker.pid != 0);
        let busy = workers.filter_map(|(slot, worker)| {
            let place = pool.board.slots().get(*slot as usize)?;
            progress(place.stage())?;
            describe(*slot, worker.pid, place.view(), now)
        });
        busy.collect()
    }
}

/// The request of a worker, if it has one.
pub(crate) fn request_of(slot: u32, pid: u32, view: SlotView) -> Option<Ongoing> {
    describe(slot, pid, view, Duration::from_micros(monotonic_us()))
}

fn progress(stage: Stage) -> Option<Progress> {
    match stage {
        Stage::Empty | Stage::Accepting | Stage::Accepted | Stage::KeptIdle => None,
        Stage::ReadingHeaders | Stage::GettingInformation => Some(Progress::Beginning),
        Stage::Running => Some(Progress::Running),
        Stage::Finishing => Some(Progress::Finished),
    }
}

fn describe(slot: u32, pid: u32, view: SlotView, now: Duration) -> Option<Ongoing> {
    Some(Ongoing {
        slot,
        pid,
        request: view.request_started,
        progress: progress(view.stage)?,
        elapsed: now.saturating_sub(Duration::from_micros(view.request_started)),
        method: view.method,
        uri: view.uri,
        query: view.query,
        script: view.script,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use board::scoreboard::Board;

    fn seen(stage: Stage, started_us: u64, now_ms: u64) -> Option<(Progress, u64)> {
        let (_fd, board) = Board::create(b"www", 0, 1, 0).unwrap();
        let slot = &board.slots()[0];
        board.occupy(slot, 5, 0);
        board.begin_request(slot, started_us);
        board.enter(slot, stage);
        let ongoing = describe(0, 5, slot.view(), Duration::from_millis(now_ms))?;
        Some((ongoing.progress, ongoing.elapsed.as_millis() as u64))
    }

    #[test]
    fn only_requests_that_have_begun_are_seen() {
        assert_eq!(seen(Stage::Running, 1_000_000, 3500), Some((Progress::Running, 2500)));
        assert_eq!(seen(Stage::ReadingHeaders, 1_000_000, 1000), Some((Progress::Beginning, 0)));
        assert_eq!(seen(Stage::Finishing, 1_000_000, 1001), Some((Progress::Finished, 1)));
        for idle in [Stage::Empty, Stage::Accepting, Stage::Accepted, Stage::KeptIdle] {
            assert_eq!(seen(idle, 1_000_000, 9000), None);
        }
    }

    #[test]
    fn a_start_that_cannot_be_true_is_harmless() {
        assert_eq!(seen(Stage::Running, u64::MAX, 3500), Some((Progress::Running, 0)));
    }
}
