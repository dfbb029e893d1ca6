//! Nudging a worker that waits: a signal that does nothing but end its wait. It must not reach a script, whose
//! `sleep()` it would cut short, so it is sent to those alone that say they wait, and both sides leave word:
//!
//! ```text
//! fork server: word = sending; does it wait? → signal; word = sent
//! worker:      leaves its wait (stage); word? sending → a signal may still come: holds it back while it does not wait
//! ```

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

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
