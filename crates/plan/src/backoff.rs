//! Growing delays for what fails at once: workers that crash at birth, fork servers that do not stay up.
//! php-fpm has none and forks in a tight loop; cornac waits, and says so once per step.

use std::time::{Duration, Instant};

/// Delays between attempts, growing while failures follow one another.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// Failures in a row that are let pass without a delay.
    free: u32,
    failures: u32,
    last_failure: Option<Instant>,
    hold: Option<Instant>,
}

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(8);
/// A quiet time after which earlier failures no longer count.
const FORGET: Duration = Duration::from_secs(10);

impl Backoff {
    pub(crate) fn new(free: u32) -> Backoff {
        Backoff { free, failures: 0, last_failure: None, hold: None }
    }

    /// Notes a failure. `Some(delay)` when a new delay begins; `None` while one is already running or none is due.
    pub(crate) fn failed(&mut self, now: Instant) -> Option<Duration> {
        if self.held(now) {
            return None;
        }
        if self.last_failure.is_some_and(|last| now.duration_since(last) > LONGEST + FORGET) {
            self.failures = 0;
        }
        self.last_failure = Some(now);
        self.failures = self.failures.saturating_add(1);
        let step = self.failures.checked_sub(self.free + 1)?;
        let delay = FIRST.saturating_mul(1 << step.min(10)).min(LONGEST);
        self.hold = Some(now + delay);
        Some(delay)
    }

    /// Something lived long enough: failures start to count anew.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How many failures in a row have been seen.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether a delay is running.
    pub(crate) fn held(&self, now: Instant) -> bool {
        self.hold.is_some_and(|until| now < until)
    }

    /// When the running delay ends; `None` once that has been seen.
    pub(crate) fn release(&mut self, now: Instant) {
        if !self.held(now) {
            self.hold = None;
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.hold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_end_and_are_forgotten() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut backoff = Backoff::new(2);
        assert_eq!(backoff.failed(at(0)), None);
        assert_eq!(backoff.failed(at(1)), None);
        assert_eq!(backoff.failed(at(2)), Some(Duration::from_millis(250)));
        assert_eq!(backoff.failed(at(3)), None, "a sibling that dies during the delay does not lengthen it");
        assert!(backoff.held(at(251)) && !backoff.held(at(252)));
        assert_eq!(backoff.failed(at(300)), Some(Duration::from_millis(500)));
        let mut now = 300;
        let mut delay = 500;
        for _ in 0..20 {
            now += delay;
            delay = backoff.failed(at(now)).unwrap().as_millis() as u64;
        }
        assert_eq!(delay, 8000);
        assert_eq!(backoff.failed(at(now + 60_000)), None);
    }
}
