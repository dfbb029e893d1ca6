//! A worker's companion (`shim/companion.c`) from outside: memory of a worker that nobody has the right to read. What
//! comes back is the worker's word.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use trace::{Memory, Piece};

use crate::php;

/// How long a backtrace may take through a companion, and how much longer for each frame that is asked for. It takes a
/// thousandth of that, unless everybody waits for a CPU.
const PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE_PER_FRAME: Duration = Duration::from_micros(500);
const MOST_FRAMES: u32 = 4_000;
/// Descriptors a fork server needs for other things.
const SPARE: u64 = 32;

/// The fork server's end.
#[derive(Debug)]
pub(crate) struct Companion {
    socket: OwnedFd,
    owes: Cell<bool>,
    broken: Cell<bool>,
}

/// Both ends: ours, and the one for the worker to start its companion with. Descriptors for the workers' output come
/// first: where few are left, there is none for a companion.
pub(crate) fn pair() -> io::Result<(Companion, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if theirs.as_raw_fd() as u64 + SPARE >= limit {
        return Err(Errno::EMFILE.into());
    }
    Ok((Companion { socket: ours, owes: Cell::new(false), broken: Cell::new(false) }, theirs))
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
    pub(crate) fn memory(&self, depth: u32) -> impl Memory {
        let deadline = Instant::now() + PATIENCE + PATIENCE_PER_FRAME * depth.min(MOST_FRAMES);
        move |pieces: &[Piece], into: &mut Vec<u8>| self.read(pieces, into, deadline)
    }

    fn read(&self, pieces: &[Piece], into: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
        self.settle()?;
        let answer = self.ask(pieces, deadline);
        match answer {
            Ok(_) | Err(Errno::EFAULT | Errno::ETIMEDOUT) => {}
            // Whatever it would say next, it is not to be made sense of.
            Err(_) => self.broken.set(true),
        }
        into.extend(answer?);
        Ok(())
    }

    /// A companion that did not answer in time (its worker was stopped, say) still owes that answer.
    fn settle(&self) -> Result<(), Errno> {
        if self.broken.get() {
            return Err(Errno::EPIPE);
        }
        if self.owes.get() {
            match recv(self.socket.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT) {
                Ok(1..) => self.owes.set(false),
                Ok(0) => return Err(Errno::ESRCH),
                Err(Errno::EAGAIN) => return Err(Errno::ETIMEDOUT),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn ask(&self, pieces: &[Piece], deadline: Instant) -> Result<Vec<u8>, Errno> {
        let question: Vec<u8> = pieces
            .iter()
            .flat_map(|(address, length)| [address.to_ne_bytes(), (*length as u64).to_ne_bytes()])
            .flatten()
            .collect();
        send(self.socket.as_raw_fd(), &question, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)?;
        self.owes.set(true);
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout)?;
        self.take_answer(1 + pieces.iter().map(|piece| piece.1).sum::<usize>())
    }

    fn take_answer(&self, wanted: usize) -> Result<Vec<u8>, Errno> {
        // One byte more shows an answer that is too long.
        let mut answer = vec![0; wanted + 1];
        let length = match recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN) => return Err(Errno::ETIMEDOUT),
            received => received?,
        };
        self.owes.set(false);
        match length {
            0 => Err(Errno::ESRCH),
            _ if length == wanted => {
                answer.truncate(wanted);
                answer.remove(0);
                Ok(answer)
            }
            1 => Err(Errno::EFAULT),
            _ => Err(Errno::EPROTO),
        }
    }
}
