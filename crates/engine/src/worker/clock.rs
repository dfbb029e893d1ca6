//! The clocks a worker reads. None is a system call, but for the CPU clock.

use nix::time::{ClockId, clock_gettime};

fn micros(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |time| time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1_000)
}

/// Seconds since the epoch.
pub(super) fn epoch_seconds() -> u64 {
    micros(ClockId::CLOCK_REALTIME) / 1_000_000
}

/// Microseconds of the monotonic clock.
pub(super) fn monotonic_us() -> u64 {
    micros(ClockId::CLOCK_MONOTONIC)
}

/// Microseconds of CPU time this process has used.
pub(super) fn cpu_us() -> u64 {
    micros(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}
