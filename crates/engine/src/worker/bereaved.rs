//! A worker whose master has been killed: it takes no more connections from that moment on, so that nothing stands in the
//! way of the next start. One that has a request finishes it, if that takes no longer than a second; the others are
//! gone at once.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use board::scoreboard::{Slot, Stage};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::{crash, quit};
use crate::orphan;

/// Seconds.
const GRACE: u32 = 1;

static SLOT: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());

pub(super) fn install(slot: &'static Slot) {
    SLOT.store(ptr::from_ref(slot).cast_mut(), Relaxed);
    orphan::ask_before_end(finish);
}

/// In a signal handler.
fn finish() -> bool {
    // SAFETY: it is null, or the slot that lives as long as this process; its fields are atomics.
    let slot = unsafe { SLOT.load(Relaxed).as_ref() };
    // One that waits in `accept` may just have been given a connection; if not, it ends as if it were asked to.
    let gone_at_once = |stage| matches!(stage, Stage::Empty | Stage::KeptIdle);
    let busy = slot.map(Slot::stage).is_some_and(|stage| !gone_at_once(stage));
    if busy {
        quit::ask_oneself();
        let action = SigAction::new(SigHandler::Handler(on_alarm), SaFlags::empty(), SigSet::all());
        // SAFETY: the handler sends what it has at hand and ends the process.
        let _ = unsafe { sigaction(Signal::SIGALRM, &action) };
        // SAFETY: alarm takes a number.
        unsafe { libc::alarm(GRACE) };
    }
    busy
}

extern "C" fn on_alarm(_signal: libc::c_int) {
    crash::answer_abandoned();
    // SAFETY: _exit is safe in a signal handler.
    unsafe { libc::_exit(0) };
}
