//! Waiting for a condition with a deadline. The only place that sleeps, a few milliseconds at a time.

use std::time::{Duration, Instant};

/// Everything a test waits for comes well within this, or never.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until `probe` has an answer. `None` after [`PATIENCE`].
pub fn until<T>(probe: impl FnMut() -> Option<T>) -> Option<T> {
    until_within(PATIENCE, probe)
}

/// Asks until `probe` has an answer. `None` after `patience`.
pub fn until_within<T>(patience: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}
