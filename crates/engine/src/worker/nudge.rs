//! The signal by which the fork server ends a worker's wait, in `accept` or on a kept connection: there is something
//! else to do. It does nothing but that, and must never cut a script's `sleep()` short (`board::scoreboard::Nudge`).

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet};

use super::Place;

static HELD_BACK: AtomicBool = AtomicBool::new(false);

/// A real-time signal that neither PHP nor its extensions use.
pub(crate) fn signal_number() -> i32 {
    libc::SIGRTMIN() + 12
}

extern "C" fn on_nudge(_signal: libc::c_int) {}

/// Without SA_RESTART: the wait is what it is meant to end.
pub(super) fn install() {
    let action = SigAction::new(SigHandler::Handler(on_nudge), SaFlags::empty(), SigSet::empty());
    let action = libc::sigaction::from(action);
    // SAFETY: the handler does nothing; nix has no type for real-time signals.
    unsafe { libc::sigaction(signal_number(), &action, std::ptr::null_mut()) };
}

impl Place {
    /// A stage that waits is about to begin.
    pub(super) fn may_be_nudged(self) {
        if HELD_BACK.load(Relaxed) {
            HELD_BACK.store(false, Relaxed);
            mask(libc::SIG_UNBLOCK);
        }
    }

    /// A stage that does not wait has followed one that does.
    pub(super) fn not_to_be_nudged(self) {
        if self.slot.nudge.may_come() {
            HELD_BACK.store(true, Relaxed);
            mask(libc::SIG_BLOCK);
        }
    }
}

fn mask(how: libc::c_int) {
    // SAFETY: a set of zeros is an empty one, as far as the kernel's part of it goes.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is that of a signal.
    unsafe { libc::sigaddset(&mut set, signal_number()) };
    // SAFETY: the set is initialised, and the old one is not asked for.
    unsafe { libc::sigprocmask(how, &set, std::ptr::null_mut()) };
}
