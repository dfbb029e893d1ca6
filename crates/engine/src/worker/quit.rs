//! A worker's end at somebody's wish, and its signals. The master asks through the scoreboard, and wakes a worker that
//! waits by SIGQUIT; sent by others SIGQUIT asks by itself. The other signals that php-fpm's workers know keep their
//! default action.

use std::io;
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering::Relaxed};

use board::scoreboard::Header;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static LISTENER: AtomicI32 = AtomicI32::new(-1);
static DEAF: AtomicI32 = AtomicI32::new(-1);
/// The pool's part of the scoreboard.
static HEADER: AtomicPtr<Header> = AtomicPtr::new(ptr::null_mut());

/// Puts a socket that cannot accept, and whose other end is closed, in the listening socket's place: an
/// `accept` that waits is started again by the kernel (SA_RESTART) and fails, one that is about to be called
/// fails too, and a `poll` finds it readable. A flag alone would leave a gap between the look at it and the
/// wait. While the queue is drained, nothing has to be put there: the listening socket makes nobody wait any more.
extern "C" fn on_quit(_signal: libc::c_int) {
    ask_oneself();
}

/// As SIGQUIT does; safe in a signal handler.
pub(super) fn ask_oneself() {
    REQUESTED.store(true, Relaxed);
    // SAFETY: null, or the scoreboard's header, which stays mapped for as long as this process lives.
    if unsafe { HEADER.load(Relaxed).as_ref() }.is_some_and(Header::is_draining) {
        return;
    }
    // SAFETY: dup3 is safe in a signal handler; both are descriptors of this process.
    unsafe { libc::dup3(DEAF.load(Relaxed), LISTENER.load(Relaxed), libc::O_CLOEXEC) };
}

/// Whether SIGQUIT has asked this worker to end.
pub(super) fn requested() -> bool {
    REQUESTED.load(Relaxed)
}

/// The master has asked this worker just when it took a connection or a request, and may have seen it wait: the signal
/// that would wake it can come at any time, and is not to interrupt the script.
pub(super) fn hold_back() {
    let mut quit = SigSet::empty();
    quit.add(Signal::SIGQUIT);
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&quit), None);
}

/// Sets the dispositions a worker has, and lets all signals through.
pub(super) fn install(listener: RawFd, header: &'static Header) -> io::Result<()> {
    let (deaf, _closed) = UnixStream::pair()?;
    DEAF.store(deaf.into_raw_fd(), Relaxed);
    LISTENER.store(listener, Relaxed);
    HEADER.store(ptr::from_ref(header).cast_mut(), Relaxed);
    let everything = SigSet::all();
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&everything), None);
    for signal in
        [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGHUP, Signal::SIGCHLD]
    {
        set(signal, SigHandler::SigDfl);
    }
    set(Signal::SIGPIPE, SigHandler::SigIgn);
    set(Signal::SIGQUIT, SigHandler::Handler(on_quit));
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    Ok(())
}

fn set(signal: Signal, handler: SigHandler) {
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the only handler stores a flag, reads another, and calls dup3.
    let _ = unsafe { sigaction(signal, &action) };
}
