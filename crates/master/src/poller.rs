//! Waiting for many descriptors at once, and telling which became ready.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use plan::PoolId;

use crate::capture::Stream;
use crate::control::Ticket;

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Signals,
    /// A fork server has come to its executable, or has failed to.
    LastSteps(PoolId),
    Channel(PoolId),
    ServerOutput(PoolId),
    WorkerOutput(PoolId, u32, Stream),
    /// A worker wakes us.
    Wake(PoolId),
    /// A connection waits on the listening socket.
    Queue(PoolId),
    /// A command connects to the control socket.
    Control,
    /// One that has connected says something, or is gone.
    Peer(Ticket),
    /// A trial says something.
    Trial,
    /// Something of the image before an upgrade does.
    Remnant(u32),
}

impl Source {
    /// Whose it is.
    pub(crate) fn pool(self) -> Option<PoolId> {
        match self {
            Source::Signals | Source::Control | Source::Peer(_) | Source::Trial | Source::Remnant(_) => None,
            Source::LastSteps(pool)
            | Source::Channel(pool)
            | Source::ServerOutput(pool)
            | Source::WorkerOutput(pool, ..)
            | Source::Wake(pool)
            | Source::Queue(pool) => Some(pool),
        }
    }

    /// Kind in the top byte, then 32 bits of pool and 24 of slot.
    fn token(self) -> u64 {
        let (kind, pool, slot) = match self {
            Source::Signals => (0, 0, 0),
            Source::Channel(pool) => (1, pool, 0),
            Source::ServerOutput(pool) => (2, pool, 0),
            Source::WorkerOutput(pool, slot, Stream::Stdout) => (3, pool, slot),
            Source::WorkerOutput(pool, slot, Stream::Stderr) => (4, pool, slot),
            Source::Wake(pool) => (5, pool, 0),
            Source::Queue(pool) => (6, pool, 0),
            Source::LastSteps(pool) => (7, pool, 0),
            Source::Control => (8, 0, 0),
            Source::Peer(ticket) => (9, ticket as usize, 0),
            Source::Trial => (10, 0, 0),
            Source::Remnant(id) => (11, id as usize, 0),
        };
        kind << 56 | (pool as u64 & 0xffff_ffff) << 24 | u64::from(slot & 0xff_ffff)
    }

    fn from_token(token: u64) -> Source {
        let (pool, slot) = ((token >> 24 & 0xffff_ffff) as usize, token as u32 & 0xff_ffff);
        match token >> 56 {
            0 => Source::Signals,
            1 => Source::Channel(pool),
            2 => Source::ServerOutput(pool),
            3 => Source::WorkerOutput(pool, slot, Stream::Stdout),
            4 => Source::WorkerOutput(pool, slot, Stream::Stderr),
            5 => Source::Wake(pool),
            6 => Source::Queue(pool),
            8 => Source::Control,
            9 => Source::Peer(pool as Ticket),
            10 => Source::Trial,
            11 => Source::Remnant(pool as u32),
            _ => Source::LastSteps(pool),
        }
    }
}

/// Waits for many descriptors at once.
#[derive(Debug)]
pub(crate) struct Poller(Epoll);

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        Ok(Poller(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    pub(crate) fn watch(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        Ok(self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, source.token()))?)
    }

    /// Watches until the descriptor has become ready once; after that, or before, it can be asked for again.
    pub(crate) fn watch_once(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        match self.0.modify(&fd, &mut once(source)) {
            Err(Errno::ENOENT) => Ok(self.0.add(fd, once(source))?),
            watched => Ok(watched?),
        }
    }

    /// To be called before the descriptor is closed.
    pub(crate) fn forget(&self, fd: impl AsFd) {
        let _ = self.0.delete(fd);
    }

    /// What is ready, at the latest at the deadline.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> io::Result<Vec<Source>> {
        let timeout = deadline.map_or(EpollTimeout::NONE, |deadline| {
            // Rounded up: waking a little early would turn into a busy loop.
            let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
            EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX)
        });
        let mut ready = [EpollEvent::empty(); 64];
        match self.0.wait(&mut ready, timeout) {
            Ok(count) => Ok(ready[..count].iter().map(|event| Source::from_token(event.data())).collect()),
            Err(Errno::EINTR) => Ok(Vec::new()),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn once(source: Source) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, source.token())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_their_tokens() {
        for source in [
            Source::Signals,
            Source::Channel(3),
            Source::ServerOutput(0xffff_ffff),
            Source::WorkerOutput(7, 0xff_ffff, Stream::Stdout),
            Source::WorkerOutput(0, 0, Stream::Stderr),
            Source::Wake(1),
            Source::Queue(0),
            Source::LastSteps(9),
            Source::Control,
            Source::Peer(Ticket::MAX),
            Source::Trial,
            Source::Remnant(7),
        ] {
            assert_eq!(Source::from_token(source.token()), source);
        }
    }
}
