//! A worker's companion (`shim/companion.c`) from outside: memory of a worker that nobody has the right to read. What
//! comes back is the worker's word, and a companion that does not answer in time is never asked again.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use trace::{Memory, Piece};

use crate::php;

/// How long a backtrace may take through a companion.
const PATIENCE: Duration = Duration::from_millis(300);

/// The fork server's end.
#[derive(Debug)]
pub(crate) struct Companion {
    socket: OwnedFd,
    broken: Cell<bool>,
}

/// Both ends: ours, and the one for the worker to start its companion with.
pub(crate) fn pair() -> io::Result<(Companion, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((Companion { socket: ours, broken: Cell::new(false) }, theirs))
}

/// In a worker, before it does anything else: starts its companion, which takes a copy of the socket.
pub(crate) fn start(socket: OwnedFd) -> io::Result<()> {
    php::start_companion(socket.as_raw_fd())
}

impl Companion {
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The worker's memory, for one backtrace.
    pub(crate) fn memory(&self) -> impl Memory {
        let deadline = Instant::now() + PATIENCE;
        move |pieces: &[Piece], into: &mut Vec<u8>| self.read(pieces, into, deadline)
    }

    fn read(&self, pieces: &[Piece], into: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
        if self.broken.get() {
            return Err(Errno::ETIMEDOUT.into());
        }
        let answer = self.ask(pieces, deadline);
        // After a late or odd answer the next one could be of another question.
        self.broken.set(!matches!(answer, Ok(_) | Err(Errno::EFAULT)));
        into.extend(answer?);
        Ok(())
    }

    fn ask(&self, pieces: &[Piece], deadline: Instant) -> Result<Vec<u8>, Errno> {
        let question: Vec<u8> = pieces
            .iter()
            .flat_map(|(address, length)| [address.to_ne_bytes(), (*length as u64).to_ne_bytes()])
            .flatten()
            .collect();
        let wanted = 1 + pieces.iter().map(|piece| piece.1).sum::<usize>();
        let fd = self.socket.as_raw_fd();
        send(fd, &question, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout)?;
        // One byte more shows an answer that is too long.
        let mut answer = vec![0; wanted + 1];
        match recv(fd, &mut answer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Err(Errno::ESRCH),
            Ok(length) if length == wanted => {
                answer.truncate(wanted);
                answer.remove(0);
                Ok(answer)
            }
            Ok(1) => Err(Errno::EFAULT),
            Ok(_) => Err(Errno::EPROTO),
            Err(Errno::EAGAIN) => Err(Errno::ETIMEDOUT),
            Err(errno) => Err(errno),
        }
    }
}
