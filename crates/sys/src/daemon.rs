//! Going to the background: one fork; the launcher waits until the master reports how its start went.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{ForkResult, fork, pipe2};

/// The master's end of the pipe to its launcher.
#[derive(Debug)]
pub struct Launcher {
    pipe: std::fs::File,
}

impl Launcher {
    /// Reports the outcome, 0 for success or the exit code; the launcher ends.
    pub fn tell(mut self, code: u8) {
        // A launcher that gave up waiting is no concern of ours.
        let _ = self.pipe.write_all(&[code]);
    }
}

/// What the launcher learned.
#[derive(Debug)]
pub enum Outcome {
    /// The master runs.
    Success,
    /// The master failed and said so, with its exit code.
    Failure(u8),
    /// The master ended without a word.
    Silent,
    /// Nothing came within the time given.
    TimedOut,
    /// The pipe could not be waited for.
    Select(io::Error),
    /// The pipe could not be read.
    Read(io::Error),
}

/// Which of the two processes returned from `daemonize`.
#[derive(Debug)]
pub enum Side {
    /// The child, which goes on as the master.
    Master(Launcher),
    /// The parent, which has waited and has nothing left to do.
    Launcher(Outcome),
}

/// Forks; the parent waits for the child's report, at most for `patience`.
pub fn daemonize(patience: Duration) -> io::Result<Side> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: this process has one thread, so the child may use everything the parent could.
    match unsafe { fork() }? {
        ForkResult::Child => Ok(Side::Master(Launcher { pipe: writer.into() })),
        ForkResult::Parent { .. } => {
            drop(writer);
            Ok(Side::Launcher(await_outcome(reader, patience)))
        }
    }
}

fn await_outcome(reader: OwnedFd, patience: Duration) -> Outcome {
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, timeout) {
        Err(errno) => return Outcome::Select(errno.into()),
        Ok(0) => return Outcome::TimedOut,
        Ok(_) => {}
    }
    let mut byte = [0];
    match std::fs::File::from(reader).read(&mut byte) {
        Err(error) => Outcome::Read(error),
        Ok(0) => Outcome::Silent,
        Ok(_) if byte == [0] => Outcome::Success,
        Ok(_) => Outcome::Failure(byte[0]),
    }
}

/// Becomes the leader of a new session; fails harmlessly for the leader of a process group.
pub fn own_session() {
    let _ = nix::unistd::setsid();
}
