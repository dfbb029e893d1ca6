//! The end of a reload: not before every worker that was asked to finish, where it waits for a request, has heard so. It is
//! woken by a signal, and until that arrives it would take the next request: whoever deploys sends just that one.

use std::time::{Duration, Instant};

use board::scoreboard::Slot;
use plan::Event;

use crate::supervisor::Supervisor;

/// How long that is waited for: a worker may be stopped, or its machine overloaded.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked at.
pub(crate) const STEP: Duration = Duration::from_millis(1);

impl Supervisor {
    /// The old workers have just been asked.
    pub(crate) fn await_parting(&mut self, now: Instant) {
        self.parting_until = Some(now + PATIENCE);
        self.look_at_parting(now);
    }

    /// When to look again.
    pub(crate) fn parting_deadline(&self, now: Instant) -> Option<Instant> {
        self.parting_until.map(|until| until.min(now + STEP))
    }

    pub(crate) fn look_at_parting(&mut self, now: Instant) {
        if self.parting_until.is_some_and(|until| now >= until || !self.old_workers_wait()) {
            self.parting_until = None;
            self.events.push_back(Event::Parted);
        }
    }

    /// It may have been woken already and be about to look; before it looks it takes nothing either, or is beyond it.
    pub(crate) fn old_workers_wait(&self) -> bool {
        let takes_more = |slot: &Slot| slot.is_asked() && slot.stage().is_waiting();
        self.remains.take_requests()
            || self.pools.values().any(|pool| pool.board.slots().iter().any(takes_more))
    }
}
