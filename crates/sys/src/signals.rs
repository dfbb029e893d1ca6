//! Signals of the master: blocked, and read from a descriptor like everything else it waits for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// A queue of blocked signals.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks `signals` for good, with their default dispositions (an inherited "ignored" would swallow them), and
    /// collects them. Call it before anything forks.
    pub fn collect(signals: &[i32]) -> io::Result<Signals> {
        let mut set = SigSet::empty();
        for number in signals {
            let signal = Signal::try_from(*number)?;
            set.add(signal);
            set_disposition(signal, SigHandler::SigDfl)?;
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&set), None)?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Signals { fd })
    }

    /// The next signal's number, `None` when there is none.
    pub fn next(&self) -> io::Result<Option<i32>> {
        Ok(self.fd.read_signal()?.map(|info| info.ssi_signo as i32))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Lets these signals wait until `Signals::collect` takes them.
pub fn block(signals: &[i32]) -> io::Result<()> {
    let mut set = SigSet::empty();
    for number in signals {
        set.add(Signal::try_from(*number)?);
    }
    Ok(sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?)
}

/// A write to a closed pipe or socket becomes an error instead of the end.
pub fn ignore_sigpipe() -> io::Result<()> {
    set_disposition(Signal::SIGPIPE, SigHandler::SigIgn)
}

fn set_disposition(signal: Signal, handler: SigHandler) -> io::Result<()> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the new disposition is "default" or "ignore", so no code of ours runs in a handler.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

/// Everything as a fresh program expects it: all dispositions default, nothing blocked. For a child before exec.
pub(crate) fn reset_all() -> io::Result<()> {
    for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
        set_disposition(signal, SigHandler::SigDfl)?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}
