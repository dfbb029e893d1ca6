//! How much of the master's time a pool may take: all it needs at once up to a limit, and a small share in the long run.

use std::time::{Duration, Instant};

/// What may be taken at once: some thousand backtraces of honest workers.
const MOST: Duration = Duration::from_millis(500);
/// One part in so many is given back as time goes by.
const SHARE: u32 = 10;

/// What has been taken and not been given back.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    taken: Duration,
    since: Option<Instant>,
}

impl Allowance {
    /// Whether some is left at this time.
    pub(crate) fn is_left(&mut self, now: Instant) -> bool {
        let passed =
            self.since.replace(now).map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.taken = self.taken.saturating_sub(passed / SHARE);
        self.taken < MOST
    }

    /// So much was taken.
    pub(crate) fn take(&mut self, time: Duration) {
        self.taken += time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_work_is_always_allowed() {
        let (start, mut allowance) = (Instant::now(), Allowance::default());
        for beat in 0..100 {
            let now = start + Duration::from_millis(333) * beat;
            for _ in 0..100 {
                assert!(allowance.is_left(now), "{beat}");
                allowance.take(Duration::from_micros(200));
            }
        }
    }

    #[test]
    fn long_work_ends_and_is_let_go_on_later() {
        let (start, mut allowance) = (Instant::now(), Allowance::default());
        let (mut now, mut worked) = (start, Duration::ZERO);
        while now < start + Duration::from_secs(100) {
            if allowance.is_left(now) {
                allowance.take(Duration::from_millis(40));
                worked += Duration::from_millis(40);
                now += Duration::from_millis(40);
            } else {
                now += Duration::from_millis(10);
            }
        }
        assert!((10..11).contains(&worked.as_secs()), "{worked:?}");
    }
}
