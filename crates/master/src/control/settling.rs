//! When an upgrade is done for those who asked: as a reload is (`reload::parting`), not before every old worker that waits
//! for a request has heard that it is to finish.

use std::time::Instant;

use super::Ticket;
use crate::reload::Outcome;
use crate::reload::parting::{PATIENCE, STEP};
use crate::supervisor::Supervisor;

/// An outcome that is still to be told.
#[derive(Debug)]
pub(super) struct Settling {
    tickets: Vec<Ticket>,
    outcome: Outcome,
    until: Instant,
}

/// When to look again.
pub(super) fn deadline(waiting: &[Settling], now: Instant) -> Option<Instant> {
    waiting.iter().map(|one| one.until.min(now + STEP)).min()
}

impl Supervisor {
    /// As `answer`, when no worker that has been asked to finish can take a request any more.
    pub(crate) fn answer_when_settled(&mut self, tickets: &[Ticket], outcome: &Outcome) {
        if tickets.is_empty() {
            return;
        }
        let until = Instant::now() + PATIENCE;
        let one = Settling { tickets: tickets.to_vec(), outcome: outcome.clone(), until };
        self.control.settling.push(one);
        self.tell_settled(Instant::now());
    }

    pub(super) fn tell_settled(&mut self, now: Instant) {
        if self.control.settling.is_empty() {
            return;
        }
        let settled = !self.old_workers_wait();
        let waiting = std::mem::take(&mut self.control.settling);
        let (due, waiting): (Vec<_>, _) = waiting.into_iter().partition(|one| settled || now >= one.until);
        self.control.settling = waiting;
        due.into_iter().for_each(|one| self.answer(&one.tickets, &one.outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_at_often_and_not_for_ever() {
        let now = Instant::now();
        assert_eq!(deadline(&[], now), None);
        let one = |until| Settling { tickets: vec![1], outcome: Outcome::Done(Vec::new()), until };
        assert_eq!(deadline(&[one(now + PATIENCE)], now), Some(now + STEP));
        assert_eq!(deadline(&[one(now + PATIENCE), one(now)], now), Some(now));
    }
}
