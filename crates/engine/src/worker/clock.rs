//! The clocks a worker reads. None is a system call, but for the CPU clock.

use nix::time::ClockId;
use sys::clock::micros;
pub(super) use sys::clock::monotonic_us;

/// Seconds since the epoch.
pub(super) fn epoch_seconds() -> u64 {
    micros(ClockId::CLOCK_REALTIME) / 1_000_000
}

/// Microseconds of CPU time this process has used.
pub(super) fn cpu_us() -> u64 {
    micros(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}
