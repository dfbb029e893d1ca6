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

/// Clock ticks in a second, the unit of some times in /proc.
pub fn ticks_per_second() -> i64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100)
}
