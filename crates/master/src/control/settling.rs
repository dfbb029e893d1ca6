//! When a reload is done for those who asked: not before every worker of the generation before, where it waits for a
//! request, has heard that it is to finish. It is woken by a signal, and until that arrives it would take the next request: whoever
//! deploys sends just that one.

use std::time::{Duration, Instant};

use super::Ticket;
use crate::reload::Outcome;
use crate::supervisor::Supervisor;

/// How long that is waited for: a worker may be stopped, or its machine overloaded.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked at.
const STEP: Duration = Duration::from_millis(1);

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
