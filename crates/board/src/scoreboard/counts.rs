//! How many workers are in which kind of stage, as they count themselves: three numbers in one word, so that a step
//! from one kind to another is one operation. A worker that is killed in the middle of a step leaves the count wrong
//! until somebody puts it right; whoever relies on it has to believe it for a while only.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::stage::Stage;

const BITS: u32 = 20;
const ACTIVE: u64 = 1;
const ACCEPTING: u64 = 1 << BITS;
const KEPT_IDLE: u64 = 1 << (2 * BITS);

/// The counter.
#[repr(transparent)]
#[derive(Debug)]
pub struct Counts(AtomicU64);

/// What it said at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted(u64);

impl Counts {
    /// A worker steps from one stage to another.
    pub(super) fn step(&self, from: Stage, to: Stage) -> Option<Counted> {
        let change = weight(to).wrapping_sub(weight(from));
        // SeqCst: a worker that goes waiting and one that looks who waits, one of both sees the other.
        (change != 0).then(|| Counted(self.0.fetch_add(change, SeqCst).wrapping_add(change)))
    }

    /// What it says now.
    pub fn load(&self) -> Counted {
        Counted(self.0.load(SeqCst))
    }

    /// Puts it right, unless somebody has taken a step since `before`.
    pub(super) fn correct(&self, before: Counted, stages: impl Iterator<Item = Stage>) -> bool {
        let right = stages.map(weight).sum();
        right == before.0 || self.0.compare_exchange(before.0, right, SeqCst, SeqCst).is_ok()
    }

    #[cfg(test)]
    pub(super) fn store(&self, value: u64) {
        self.0.store(value, SeqCst);
    }
}

impl Counted {
    /// Workers busy with a request.
    pub fn active(self) -> u32 {
        self.field(ACTIVE)
    }

    /// Workers that wait in `accept`.
    pub fn accepting(self) -> u32 {
        self.field(ACCEPTING)
    }

    /// Workers that wait on a kept connection.
    pub fn kept_idle(self) -> u32 {
        self.field(KEPT_IDLE)
    }

    fn field(self, unit: u64) -> u32 {
        (self.0 / unit) as u32 & ((1 << BITS) - 1)
    }
}

fn weight(stage: Stage) -> u64 {
    match stage {
        Stage::Accepting => ACCEPTING,
        Stage::KeptIdle => KEPT_IDLE,
        stage if stage.is_active() => ACTIVE,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_counted() {
        let counts = Counts(AtomicU64::new(0));
        let seen = || {
            let now = counts.load();
            (now.accepting(), now.kept_idle(), now.active())
        };
        assert_eq!(counts.step(Stage::Empty, Stage::Accepted), None);
        for (from, to, then) in [
            (Stage::Empty, Stage::Accepting, (1, 0, 0)),
            (Stage::Empty, Stage::Accepting, (2, 0, 0)),
            (Stage::Accepting, Stage::Accepted, (1, 0, 0)),
            (Stage::Accepted, Stage::ReadingHeaders, (1, 0, 1)),
            (Stage::Running, Stage::Finishing, (1, 0, 1)),
            (Stage::Finishing, Stage::KeptIdle, (1, 1, 0)),
            (Stage::KeptIdle, Stage::Empty, (1, 0, 0)),
        ] {
            counts.step(from, to);
            assert_eq!(seen(), then, "{from:?} → {to:?}");
        }
    }

    #[test]
    fn what_a_killed_worker_left_is_put_right() {
        let counts = Counts(AtomicU64::new(5 * ACCEPTING + 7));
        let stages = || [Stage::Accepting, Stage::KeptIdle, Stage::Empty].into_iter();
        let before = counts.load();
        counts.step(Stage::Accepting, Stage::Accepted);
        assert!(!counts.correct(before, stages()), "somebody took a step meanwhile");
        assert!(counts.correct(counts.load(), stages()));
        assert_eq!(counts.load(), Counted(ACCEPTING + KEPT_IDLE));
    }
}
