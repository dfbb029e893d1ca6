//! What happens to a process when its parent dies. The kernel sends a signal; its handler looks who the
//! parent is now. Still the master (a fork server died and the master adopted us): go on. Anybody else:
//! the master is gone, so nobody may be left behind serving old code.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet};

static MASTER: AtomicI32 = AtomicI32::new(0);
/// Asked before the end; true: the process ends by itself, in a moment.
static ENDS_ITSELF: OnceLock<fn() -> bool> = OnceLock::new();

/// A real-time signal that neither PHP nor its extensions use.
fn signal_number() -> i32 {
    libc::SIGRTMIN() + 11
}

extern "C" fn on_parent_death(_signal: libc::c_int) {
    leave_if_masterless();
}

fn leave_if_masterless() {
    // SAFETY: getppid has no preconditions and is safe in a signal handler.
    let parent = unsafe { libc::getppid() };
    let ends_itself = || ENDS_ITSELF.get().is_some_and(|ends| ends());
    if parent != MASTER.load(Relaxed) && !ends_itself() {
        // SAFETY: _exit is safe in a signal handler.
        unsafe { libc::_exit(0) };
    }
}

/// Has the process asked whether it ends by itself; in a signal handler.
pub(crate) fn ask_before_end(ends_itself: fn() -> bool) {
    let _ = ENDS_ITSELF.set(ends_itself);
}

/// The fork server has nothing to go on for without the master: the kernel kills it, even if it is stopped.
pub(crate) fn die_with_master(master: i32) {
    MASTER.store(master, Relaxed);
    // SAFETY: PR_SET_PDEATHSIG takes a signal number.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    leave_if_masterless();
}

/// Watches over the parent of this worker, which is `parent` unless it has died already.
pub(crate) fn watch(master: i32, parent: i32) {
    MASTER.store(master, Relaxed);
    install_handler();
    // SAFETY: PR_SET_PDEATHSIG takes a signal number.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal_number()) };
    // SAFETY: getppid has no preconditions.
    if unsafe { libc::getppid() } != parent {
        leave_if_masterless();
    }
}

fn install_handler() {
    let action = SigAction::new(SigHandler::Handler(on_parent_death), SaFlags::SA_RESTART, SigSet::empty());
    let action = libc::sigaction::from(action);
    // SAFETY: the handler only calls getppid, _exit and what may be called in one; nix has no type for real-time signals.
    unsafe { libc::sigaction(signal_number(), &action, std::ptr::null_mut()) };
}
