//! The pool's listening socket, which all its workers accept on: the kernel wakes one of them for each
//! connection. Peers outside `listen.allowed_clients` are dropped at once.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use board::message::PoolSpec;
use board::scoreboard::Stage;
use nix::errno::Errno;
use nix::poll::{PollFlags, PollTimeout};
use nix::sys::socket::{SockaddrStorage, getpeername};

use super::connection::{Connection, Gone, poll_raw};
use super::{Place, quit};
use crate::log::{self, Level};

/// While another worker is about to take what is queued, the queue is looked at again after this time, so
/// many times at most.
const LOOK_AGAIN_MS: u8 = 5;
const LOOKS: u32 = 20;

pub(super) struct Listener {
    fd: RawFd,
    tcp: bool,
    allowed: Option<Vec<IpAddr>>,
}

/// What `accept` brought.
pub(super) enum Accepted {
    /// A connection, and whether it is TCP.
    Peer(OwnedFd, bool),
    /// A connection that was closed again, or none after all.
    Dropped,
    /// This worker has to end.
    Over,
}

impl Listener {
    /// A configuration that allows nobody gets a line in the log.
    pub(super) fn new(fd: RawFd, spec: &PoolSpec) -> Listener {
        let allowed = match &spec.allowed_clients {
            Some(clients) if spec.tcp => Some(parse_allowed(clients)),
            _ => None,
        };
        if allowed.as_ref().is_some_and(Vec::is_empty) {
            log::write(Level::Error, b"There are no allowed addresses");
        }
        Listener { fd, tcp: spec.tcp, allowed }
    }

    /// Waits for the next connection.
    pub(super) fn accept(&self) -> Accepted {
        // SAFETY: the peer's address is not asked for, so no pointer is used.
        let fd =
            unsafe { libc::accept4(self.fd, std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC) };
        if fd < 0 {
            return self.accept_failed(Errno::last());
        }
        // SAFETY: the kernel just created the descriptor for us.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        if self.is_allowed(&socket) { Accepted::Peer(socket, self.tcp) } else { Accepted::Dropped }
    }

    fn accept_failed(&self, errno: Errno) -> Accepted {
        if quit::requested() {
            return Accepted::Over;
        }
        match errno {
            Errno::EINTR | Errno::ECONNABORTED | Errno::EPROTO => Accepted::Dropped,
            Errno::EAGAIN => {
                // A socket that was handed to us may be non-blocking.
                let _ = poll_raw([self.fd], PollFlags::POLLIN, PollTimeout::NONE);
                Accepted::Dropped
            }
            Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK => {
                log::write(Level::Error, format!("accept() failed: {}", errno.desc()).as_bytes());
                Accepted::Over
            }
            _ => {
                log::write(Level::Error, format!("accept() failed: {}", errno.desc()).as_bytes());
                let _ = poll_raw([-1], PollFlags::empty(), PollTimeout::from(100_u8));
                Accepted::Dropped
            }
        }
    }

    fn is_allowed(&self, socket: &OwnedFd) -> bool {
        let Some(allowed) = &self.allowed else { return true };
        let Ok(peer) = peer_address(socket) else { return false };
        if allowed.contains(&unmapped(peer)) {
            return true;
        }
        let line = format!("Connection disallowed: IP address '{peer}' has been dropped.");
        log::write(Level::Error, line.as_bytes());
        false
    }

    /// Waits on a kept connection together with the listening socket, so that a kept connection starves
    /// nobody: when a connection is queued and no worker is there to take it, one kept connection is given
    /// up. An error means: give it up.
    pub(super) fn await_kept(&self, kept: &Connection, place: Place) -> Result<(), Gone> {
        let mut looks = 0;
        while !quit::requested() {
            let queue = if looks == 0 { self.fd } else { -1 };
            let timeout = if looks == 0 { PollTimeout::NONE } else { PollTimeout::from(LOOK_AGAIN_MS) };
            let Ok([kept_ready, _]) = poll_raw([kept.raw(), queue], PollFlags::POLLIN, timeout) else {
                continue;
            };
            if kept_ready {
                return Ok(());
            }
            let Ok([queued]) = poll_raw([self.fd], PollFlags::POLLIN, PollTimeout::ZERO) else { continue };
            if !queued {
                looks = 0;
            } else if looks == LOOKS || !another_takes_it(place) {
                return Err(Gone);
            } else {
                looks += 1;
            }
        }
        Err(Gone)
    }
}

/// Whether another worker is about to take a queued connection: one that is waiting for it, or one whose turn
/// it is to give its kept connection up (the first in the scoreboard). What the scoreboard says is believed
/// for a while only: a worker may have been stopped, and scripts can write there.
fn another_takes_it(place: Place) -> bool {
    let slots = place.board.slots();
    let first_idle = slots.iter().position(|slot| slot.stage() == Stage::KeptIdle);
    slots.iter().any(|slot| slot.stage() == Stage::Accepting)
        || first_idle.is_some_and(|first| !std::ptr::eq(&slots[first], place.slot))
}

fn parse_allowed(clients: &[Vec<u8>]) -> Vec<IpAddr> {
    let parse = |client: &Vec<u8>| {
        let text = String::from_utf8_lossy(client);
        let address = text.parse::<IpAddr>().map(unmapped);
        if address.is_err() {
            log::write(
                Level::Error,
                format!("Wrong IP address '{text}' in listen.allowed_clients").as_bytes(),
            );
        }
        address.ok()
    };
    clients.iter().filter_map(parse).collect()
}

fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn peer_address(socket: &OwnedFd) -> io::Result<IpAddr> {
    let address: SockaddrStorage = getpeername(socket.as_raw_fd())?;
    if let Some(v4) = address.as_sockaddr_in() {
        return Ok(IpAddr::V4(v4.ip()));
    }
    let v6 = address.as_sockaddr_in6().ok_or(io::ErrorKind::Unsupported)?;
    Ok(unmapped(IpAddr::V6(Ipv6Addr::from(v6.ip().octets()))))
}
