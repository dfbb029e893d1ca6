//! The socket of the current connection: one buffered read, writes with deadlines, a close that loses no
//! response. Calls never block without a deadline, so a peer that stalls costs its connection, not the worker.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use board::mailbox::Traits;
use nix::errno::Errno;
use nix::poll::{PollFlags, PollTimeout};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, sendmsg, setsockopt, shutdown, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

/// Room for what a peer sends ahead: usually a whole request without its body.
const INPUT_ROOM: usize = 64 * 1024;
/// php-fpm closes a connection that sends nothing for so long after it was accepted.
const FIRST_BYTE: Duration = Duration::from_secs(5);
/// How long, and how much, a closing connection is read on, so that unread input does not reset it.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024;

/// What came of a while on a kept connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// The next request's first bytes.
    Bytes,
    /// Nothing at all.
    Silence,
    /// A signal: there may be something else to do.
    Nudge,
}

/// The peer is gone, stalls beyond its deadline, or breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// What a read waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The first byte of a request.
    FirstByte,
    /// The next of its parameters, which altogether may take as long as a peer may stall once.
    Params,
    /// The next bytes of its body.
    Body,
}

pub(super) struct Connection {
    socket: Option<OwnedFd>,
    tcp: bool,
    /// The socket sends small packets at once.
    no_delay: bool,
    /// The socket has a time limit for receiving.
    waits_in_receive: bool,
    input: Box<[u8]>,
    /// What has been read and not used yet lies in `input[start..end]`.
    start: usize,
    end: usize,
    /// How long the peer may stall; `None`: for ever.
    patience: Option<Duration>,
    /// When the current request began.
    request_began: Instant,
}

impl Connection {
    pub(super) fn new(patience: Duration) -> Connection {
        Connection {
            socket: None,
            tcp: false,
            no_delay: false,
            waits_in_receive: false,
            input: vec![0; INPUT_ROOM].into_boxed_slice(),
            start: 0,
            end: 0,
            patience: (!patience.is_zero()).then_some(patience),
            request_began: Instant::now(),
        }
    }

    /// Takes on a fresh connection.
    pub(super) fn open(&mut self, socket: OwnedFd, tcp: bool) {
        self.socket = Some(socket);
        self.tcp = tcp;
        self.no_delay = false;
        self.waits_in_receive = false;
        self.start = 0;
        self.end = 0;
    }

    /// A request begins: from now on its parameters have to arrive.
    pub(super) fn start_deadline(&mut self) {
        self.request_began = Instant::now();
    }

    /// The descriptor for `poll`, or -1.
    pub(super) fn raw(&self) -> RawFd {
        self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// What has been read and not used yet.
    pub(super) fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    pub(super) fn has_input(&self) -> bool {
        self.start < self.end
    }

    /// The first `count` bytes of the input have been used.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Makes sure that there is input: reads once, waiting as long as the peer may stall.
    pub(super) fn fill(&mut self, wait: Wait) -> Result<(), Gone> {
        if self.has_input() {
            return Ok(());
        }
        let patience = match wait {
            Wait::FirstByte => Some(self.patience.map_or(FIRST_BYTE, |patience| patience.min(FIRST_BYTE))),
            Wait::Params => {
                self.patience.map(|patience| patience.saturating_sub(self.request_began.elapsed()))
            }
            Wait::Body => self.patience,
        };
        let fd = self.raw();
        let read =
            patiently(fd, PollFlags::POLLIN, patience, || recv(fd, &mut self.input, MsgFlags::MSG_DONTWAIT));
        match read {
            Ok(0) | Err(Gone) => Err(Gone),
            Ok(count) => {
                self.end = count;
                Ok(())
            }
        }
    }

    /// What has been set on the socket, for whoever gets it next.
    pub(super) fn traits(&self) -> Traits {
        Traits { no_delay: self.no_delay, waits_in_receive: self.waits_in_receive }
    }

    /// The connection comes from another worker, which has set this.
    pub(super) fn recall(&mut self, traits: Traits) {
        self.no_delay = traits.no_delay;
        self.waits_in_receive = traits.waits_in_receive;
    }

    pub(super) fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    /// Takes a kept connection's next request if it has begun.
    pub(super) fn receive_now(&mut self) -> Result<bool, Gone> {
        match recv(self.raw(), &mut self.input, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Err(Gone),
            Ok(count) => {
                self.end = count;
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(_) => Err(Gone),
        }
    }

    /// Waits a while, in one call, for a kept connection's next request.
    pub(super) fn receive_kept(&mut self, while_idle: Duration) -> Result<Heard, Gone> {
        let Some(socket) = &self.socket else { return Err(Gone) };
        if !self.waits_in_receive {
            let seconds = TimeVal::seconds(while_idle.as_secs() as i64);
            setsockopt(socket, sockopt::ReceiveTimeout, &seconds).map_err(|_| Gone)?;
            self.waits_in_receive = true;
        }
        match recv(socket.as_raw_fd(), &mut self.input, MsgFlags::empty()) {
            Ok(0) => Err(Gone),
            Ok(count) => {
                self.end = count;
                Ok(Heard::Bytes)
            }
            Err(Errno::EAGAIN) => Ok(Heard::Silence),
            Err(Errno::EINTR) => Ok(Heard::Nudge),
            Err(_) => Err(Gone),
        }
    }

    /// Sends all of `parts`.
    pub(super) fn send(&mut self, parts: &mut [IoSlice<'_>]) -> Result<(), Gone> {
        super::crash::not_answerable();
        let fd = self.raw();
        let mut parts = parts;
        while parts.iter().any(|part| !part.is_empty()) {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let sent = patiently(fd, PollFlags::POLLOUT, self.patience, || match &*parts {
                [only] => send(fd, only, flags),
                parts => sendmsg::<()>(fd, parts, &[], flags, None),
            })?;
            IoSlice::advance_slices(&mut parts, sent);
        }
        Ok(())
    }

    /// On a kept TCP connection a response must not wait for the acknowledgement of the one before.
    pub(super) fn hurry_small_packets(&mut self, keep: bool) {
        if keep && self.tcp && !self.no_delay {
            if let Some(socket) = &self.socket {
                let _ = setsockopt(socket, sockopt::TcpNoDelay, &true);
            }
            self.no_delay = true;
        }
    }

    /// Closes. Unless `consumed`, what the peer still sends is read for a while: a close with unread input
    /// would reset the connection, and the peer could lose the response.
    pub(super) fn close(&mut self, consumed: bool) {
        super::crash::not_answerable();
        let Some(socket) = self.socket.take() else { return };
        if !consumed {
            linger(&socket);
        }
    }

    /// Closes at once; the peer has broken the protocol or stalls.
    pub(super) fn abandon(&mut self) {
        super::crash::not_answerable();
        self.socket = None;
    }
}

fn linger(socket: &OwnedFd) {
    let fd = socket.as_raw_fd();
    if shutdown(fd, Shutdown::Write).is_err() {
        return;
    }
    let deadline = Instant::now() + LINGER;
    let mut rest = [0; 4096];
    let mut total = 0;
    while total < LINGER_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        let read =
            patiently(fd, PollFlags::POLLIN, Some(left), || recv(fd, &mut rest, MsgFlags::MSG_DONTWAIT));
        match read {
            Ok(0) | Err(Gone) => return,
            Ok(count) => total += count,
        }
    }
}

/// Tries `action` and, while it would block, waits for the descriptor, altogether no longer than `patience`.
fn patiently(
    fd: RawFd,
    ready: PollFlags,
    patience: Option<Duration>,
    mut action: impl FnMut() -> nix::Result<usize>,
) -> Result<usize, Gone> {
    let mut deadline = None;
    loop {
        match action() {
            Ok(count) => return Ok(count),
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => {}
            Err(_) => return Err(Gone),
        }
        let timeout = match patience {
            None => PollTimeout::NONE,
            Some(patience) => {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Gone);
                }
                // Rounded up, so that the last wait does not become a series of empty ones.
                PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll_raw([fd], ready, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return Err(Gone),
        }
    }
}

/// `poll` on descriptors by number; negative ones are never ready. A descriptor with an error or a hang-up
/// is ready.
pub(super) fn poll_raw<const N: usize>(
    fds: [RawFd; N],
    wanted: PollFlags,
    timeout: PollTimeout,
) -> nix::Result<[bool; N]> {
    let mut entries = fds.map(|fd| libc::pollfd { fd, events: wanted.bits(), revents: 0 });
    // SAFETY: the array has N entries.
    let result = unsafe { libc::poll(entries.as_mut_ptr(), N as libc::nfds_t, libc::c_int::from(timeout)) };
    Errno::result(result)?;
    Ok(entries.map(|entry| entry.revents != 0))
}
