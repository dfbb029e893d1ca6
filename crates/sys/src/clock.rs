//! The clocks that processes share the readings of.

use nix::time::{ClockId, clock_gettime};

/// Microseconds on `clock`.
pub fn micros(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |time| time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1_000)
}

/// Microseconds of the monotonic clock, the same in every process.
pub fn monotonic_us() -> u64 {
    micros(ClockId::CLOCK_MONOTONIC)
}
