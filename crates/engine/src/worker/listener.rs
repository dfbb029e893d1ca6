//! The pool's listening socket, which all its workers accept on: the kernel wakes one of them for each
//! connection. Peers outside `listen.allowed_clients` are dropped at once.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use board::scoreboard::Stage;
use nix::errno::Errno;
use nix::poll::{PollFlags, PollTimeout};
use nix::sys::socket::{SockaddrStorage, getpeername};

use super::Place;
use super::connection::{Connection, Gone, poll_raw};
use crate::log::{self, Level};

/// While another worker is about to take what is queued, the queue is looked at again after this time, so
/// many times at most.
const LOOK_AGAIN_MS: u8 = 5;
const LOOKS: u32 = 20;

pub(super) struct Listener {
    fd: RawFd,
    place: Place,
    /// Peers have addresses that somebody wants to know.
    asks_address: bool,
    allowed: Option<Vec<IpAddr>>,
    /// The machine lacks something, and that has been said.
    complained: Cell<bool>,
}

/// What `accept` brought.
pub(super) enum Accepted {
    /// A connection, and where it comes from, if that is asked for.
    Peer(OwnedFd, Option<IpAddr>),
    /// A connection that was closed again, or none after all.
    Dropped,
    /// This worker has been asked to end.
    Over,
    /// This worker has no descriptor left: its scripts keep what they open.
    Exhausted,
    /// Nobody can accept on this socket any more.
    Broken,
}

impl Listener {
    /// A configuration that allows nobody gets a line in the log.
    pub(super) fn new(place: Place, shows_peer: bool) -> Listener {
        let Place { spec, listener: fd, .. } = place;
        let allowed = match &spec.allowed_clients {
            Some(clients) if spec.tcp => Some(parse_allowed(clients)),
            _ => None,
        };
        if allowed.as_ref().is_some_and(Vec::is_empty) {
            log::write(Level::Error, b"There are no allowed addresses");
        }
        let asks_address = spec.tcp && (allowed.is_some() || shows_peer);
        Listener { fd, place, asks_address, allowed, complained: Cell::new(false) }
    }

    /// Waits for the next connection.
    pub(super) fn accept(&self) -> Accepted {
        let mut address = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        let (place, room): (*mut libc::sockaddr, *mut libc::socklen_t) = match self.asks_address {
            true => (address.as_mut_ptr().cast(), &mut length),
            false => (ptr::null_mut(), ptr::null_mut()),
        };
        // SAFETY: either both pointers are null, or the first leads to as many bytes as the second says.
        let fd = unsafe { libc::accept4(self.fd, place, room, libc::SOCK_CLOEXEC) };
        if fd < 0 {
            return self.accept_failed(Errno::last());
        }
        self.complained.set(false);
        // SAFETY: the kernel just created the descriptor for us.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zero bytes are an address too, of no family; the kernel has filled it in if it was asked.
        let peer = ip_address(unsafe { address.assume_init_ref() });
        if self.is_allowed(peer) { Accepted::Peer(socket, peer) } else { Accepted::Dropped }
    }

    /// Where a connection comes from that another worker has accepted, if that is asked for. `None` if it may not be
    /// served: it may have been accepted under another configuration.
    pub(super) fn admit(&self, socket: &OwnedFd) -> Option<Option<IpAddr>> {
        if !self.asks_address {
            return Some(None);
        }
        let address = getpeername::<SockaddrStorage>(socket.as_raw_fd()).ok()?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let v6 = address.as_sockaddr_in6().map(|v6| unmapped(IpAddr::V6(v6.ip())));
        let peer = v4.or(v6);
        self.is_allowed(peer).then_some(peer)
    }

    /// Whether a connection waits to be accepted.
    pub(super) fn has_queued(&self) -> bool {
        matches!(poll_raw([self.fd], PollFlags::POLLIN, PollTimeout::ZERO), Ok([true]))
    }

    fn accept_failed(&self, errno: Errno) -> Accepted {
        match errno {
            Errno::EAGAIN | Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK if self.place.is_asked() => {
                Accepted::Over
            }
            Errno::EINTR | Errno::ECONNABORTED | Errno::EPROTO => Accepted::Dropped,
            Errno::EAGAIN => {
                // A drain has begun and we are about to be asked, or somebody else has a hand on the socket. Not for
                // ever: a signal just before the wait would not end it.
                let _ = poll_raw([self.fd], PollFlags::POLLIN, PollTimeout::from(100_u8));
                Accepted::Dropped
            }
            Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK => {
                log::write(Level::Error, format!("accept() failed: {}", errno.desc()).as_bytes());
                Accepted::Broken
            }
            // Only this process lacks them: the connection waits for another one.
            Errno::EMFILE => {
                log::write(Level::Error, format!("accept() failed: {}", errno.desc()).as_bytes());
                Accepted::Exhausted
            }
            _ => {
                if !self.complained.replace(true) {
                    log::write(Level::Error, format!("accept() failed: {}", errno.desc()).as_bytes());
                }
                let _ = poll_raw([-1], PollFlags::empty(), PollTimeout::from(100_u8));
                Accepted::Dropped
            }
        }
    }

    fn is_allowed(&self, peer: Option<IpAddr>) -> bool {
        let Some(allowed) = &self.allowed else { return true };
        let Some(peer) = peer else { return false };
        if allowed.contains(&peer) {
            return true;
        }
        let line = format!("Connection disallowed: IP address '{peer}' has been dropped.");
        log::write(Level::Error, line.as_bytes());
        false
    }

    /// Waits on a kept connection that the fork server has no place for, together with the listening socket, so
    /// that it starves nobody: when a connection is queued and no worker is there to take it, one kept connection
    /// is given up. An error means: give it up.
    pub(super) fn await_kept(&self, kept: &Connection, place: Place) -> Result<(), Gone> {
        let mut looks = 0;
        while !place.is_asked() {
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

/// An IPv4 address that came in IPv6's form is shown, and compared, as what it is.
fn ip_address(address: &libc::sockaddr_storage) -> Option<IpAddr> {
    let start: *const libc::sockaddr_storage = address;
    match i32::from(address.ss_family) {
        libc::AF_INET => {
            // SAFETY: the storage is as large and as aligned as every address, and it says that it is one of these.
            let v4 = unsafe { &*start.cast::<libc::sockaddr_in>() };
            Some(IpAddr::V4(u32::from_be(v4.sin_addr.s_addr).into()))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*start.cast::<libc::sockaddr_in6>() };
            Some(unmapped(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr))))
        }
        _ => None,
    }
}
