//! Nudging a worker that waits: a signal that does nothing but end its wait. It must not reach a script, whose
//! `sleep()` it would cut short, so it is sent to those alone that say they wait, and both sides leave word:
//!
//! ```text
//! fork server: word = sending; does it wait? → signal; word = sent
//! worker:      leaves its wait (stage); word? sending → a signal may still come: holds it back while it does not wait
//! ```

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use super::{Slot, Stage};

const SENDING: u32 = 1;
const SENT: u32 = 2;

/// The word left, in a worker's slot. One process at a time sends.
#[repr(transparent)]
#[derive(Debug)]
pub struct Nudge(AtomicU32);

impl Nudge {
    /// Sends, if the worker waits: both are asked in the order that keeps the signal from a script.
    pub fn send(&self, waits: impl FnOnce() -> bool, signal: impl FnOnce()) -> bool {
        self.0.store(SENDING, SeqCst);
        let sends = waits();
        if sends {
            signal();
        }
        self.0.store(if sends { SENT } else { 0 }, SeqCst);
        sends
    }

    /// The worker has left its wait, and its stage says so. True if a signal may still come.
    pub fn may_come(&self) -> bool {
        match self.0.load(SeqCst) {
            SENDING => true,
            SENT => {
                // It has come: whoever is in user space takes it with the next system call.
                let _ = self.0.compare_exchange(SENT, 0, SeqCst, SeqCst);
                false
            }
            _ => false,
        }
    }

    /// One was sent, and the worker has not left its wait since.
    pub fn is_pending(&self) -> bool {
        self.0.load(SeqCst) == SENT
    }

    pub(super) fn reset(&self) {
        self.0.store(0, SeqCst);
    }
}

/// Whom to nudge for so many requests in the mailbox, and for whoever waits on the listening socket, as indices: first
/// those in `accept`, then those that wait on a kept connection, the longest idle first. One that has not stirred since
/// it was nudged may be stopped, and comes last. Who waits in `accept` need not be called there.
pub fn whom_to_nudge<'a>(slots: impl Iterator<Item = &'a Slot>, ready: usize, queued: bool) -> Vec<usize> {
    let wanted = ready + usize::from(queued);
    let (mut accepting, mut kept, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    for (index, slot) in slots.enumerate() {
        match slot.stage() {
            Stage::Accepting if slot.nudge.is_pending() => silent.push(index),
            Stage::Accepting => accepting.push(index),
            Stage::KeptIdle => kept.push((slot.nudge.is_pending(), slot.last_used(), index)),
            _ => {}
        }
        if accepting.len() >= wanted {
            break;
        }
    }
    kept.sort_unstable();
    let missing = wanted.saturating_sub(accepting.len());
    accepting.truncate(ready);
    let more = kept.into_iter().map(|(_, _, index)| index).chain(silent).take(missing);
    accepting.into_iter().chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::Board;
    use std::cell::Cell;

    #[test]
    fn who_is_nudged() {
        let (_fd, board) = Board::create(b"www", 0, 6, 0).unwrap();
        let slots = board.slots();
        let [a, b, c, d, e, _] = slots else { panic!("six slots") };
        let whom = |ready, queued| whom_to_nudge(slots.iter(), ready, queued);
        assert_eq!(whom(3, true), [0; 0], "nobody lives there");
        for (slot, stage, used) in [
            (a, Stage::Running, 1),
            (b, Stage::KeptIdle, 9),
            (c, Stage::Accepting, 3),
            (d, Stage::KeptIdle, 5),
            (e, Stage::Accepting, 1),
        ] {
            board.occupy(slot, 7, 0);
            board.begin_request(slot, used);
            board.enter(slot, stage);
        }
        assert_eq!(whom(1, false), [2]);
        assert_eq!(whom(3, false), [2, 4, 3]);
        assert_eq!(whom(9, false), [2, 4, 3, 1]);
        assert_eq!(whom(0, true), [0; 0], "there is somebody in accept");
        assert_eq!(whom(2, true), [2, 4, 3], "they all take from the mailbox");
        let nudged = |slot: &Slot| slot.nudge.send(|| true, || {});
        nudged(c);
        assert_eq!(whom(1, false), [4]);
        assert_eq!(whom(4, false), [4, 3, 1, 2]);
        assert!(nudged(d) && nudged(e));
        assert_eq!(whom(0, true), [1]);
        assert_eq!(whom(9, true), [1, 3, 2, 4]);
    }

    #[test]
    fn a_worker_knows_what_may_still_come() {
        let (nudge, signals) = (Nudge(AtomicU32::new(0)), Cell::new(0));
        assert!(!nudge.send(|| false, || signals.set(9)) && !nudge.is_pending());
        let waits = || {
            // The worker leaves its wait just now, or just afterwards.
            assert!(nudge.may_come());
            true
        };
        assert!(nudge.send(waits, || signals.set(signals.get() + 1)));
        assert!(nudge.is_pending());
        assert!(!nudge.may_come(), "it has come");
        assert!(!nudge.is_pending());
        assert_eq!(signals.get(), 1);
    }
}
