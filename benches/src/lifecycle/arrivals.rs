//! When requests are due. Independent clients come at random moments, at a steady rate on the whole (a Poisson process);
//! the sequence is the same in every run, for every server.

use std::collections::VecDeque;

/// A kind of connection: one of its own, or one that is kept.
pub(crate) const NEW: usize = 0;
/// See [`NEW`].
pub(crate) const KEPT: usize = 1;

/// How long a closed loop waits after a failure, nanoseconds.
const PAUSE: u64 = 10_000_000;

/// How requests come.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// As soon as an earlier one is through: so many new connections at a time, and all kept ones.
    Closed(usize),
    /// So many a second, at moments that do not depend on the answers; every other one on a kept connection, if there
    /// are any.
    Open(f64),
}

/// What is due next, of one stretch. Times in nanoseconds.
pub(crate) enum Arrivals {
    /// The next one, whether it goes on a kept connection, whether any does, and the gap between two on average.
    Open { next: u64, kept: bool, keeps: bool, gap: f64, random: u64 },
    /// A time for each request that waits for its turn.
    Closed(VecDeque<(u64, usize)>),
}

impl Arrivals {
    /// The first ones of a stretch that begins now.
    pub(crate) fn new(pace: Pace, kept: usize, now: u64) -> Arrivals {
        match pace {
            Pace::Open(rate) => {
                let gap = 1e9 / rate.max(0.001);
                Arrivals::Open { next: now, kept: false, keeps: kept > 0, gap, random: 0x9E37_79B9_7F4A_7C15 }
            }
            Pace::Closed(new) => {
                let kinds = [NEW].repeat(new).into_iter().chain([KEPT].repeat(kept));
                Arrivals::Closed(kinds.map(|kind| (now, kind)).collect())
            }
        }
    }

    /// When the next request is due; `u64::MAX` when that depends on an answer.
    pub(crate) fn next(&self) -> u64 {
        match self {
            Arrivals::Open { next, .. } => *next,
            Arrivals::Closed(times) => times.iter().map(|(at, _)| *at).min().unwrap_or(u64::MAX),
        }
    }

    /// Takes one that is due: since when, and on what kind of connection.
    pub(crate) fn take(&mut self, now: u64) -> Option<(u64, usize)> {
        match self {
            Arrivals::Open { next, kept, keeps, gap, random } => {
                let due = (*next <= now).then_some((*next, if *kept { KEPT } else { NEW }))?;
                *kept = *keeps && !*kept;
                *next += exponential(random, *gap);
                Some(due)
            }
            Arrivals::Closed(times) => {
                let first = times.iter().position(|(at, _)| *at <= now)?;
                times.remove(first)
            }
        }
    }

    /// A request is through.
    pub(crate) fn through(&mut self, kind: usize, answered: bool, now: u64) {
        if let Arrivals::Closed(times) = self {
            times.push_back((if answered { now } else { now + PAUSE }, kind));
        }
    }
}

/// A waiting time whose mean is `mean`, as between two events of a Poisson process.
fn exponential(random: &mut u64, mean: f64) -> u64 {
    // xorshift64 (Marsaglia 2003).
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    let uniform = ((*random >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    (-uniform.ln() * mean) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_their_mean_and_kinds_alternate() {
        let mut arrivals = Arrivals::new(Pace::Open(1000.0), 2, 0);
        let taken: Vec<_> = std::iter::from_fn(|| arrivals.take(10_000_000_000)).collect();
        assert!((9_500..10_500).contains(&taken.len()), "{}", taken.len());
        assert!(taken.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 != pair[1].1));
        assert!(arrivals.next() > 10_000_000_000);
    }

    #[test]
    fn a_closed_loop_waits_for_answers_and_pauses_after_failures() {
        let mut arrivals = Arrivals::new(Pace::Closed(1), 1, 5);
        assert_eq!(
            (arrivals.take(5), arrivals.take(5), arrivals.take(5)),
            (Some((5, NEW)), Some((5, KEPT)), None)
        );
        assert_eq!(arrivals.next(), u64::MAX);
        arrivals.through(KEPT, false, 7);
        arrivals.through(NEW, true, 8);
        assert_eq!((arrivals.take(8), arrivals.take(8)), (Some((8, NEW)), None));
        assert_eq!(arrivals.next(), 7 + PAUSE);
    }
}
