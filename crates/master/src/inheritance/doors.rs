//! Sockets at a graceful end: those that go with us let nobody new in, and leave their names to a successor.

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::stat::fstat;
use sys::closing;
use sys::listener::Bound;

use super::{Listener, Sockets};

impl Listener {
    /// Nobody can be queued on it after our end: nobody handed it in, nor keeps it for our successor.
    fn ends_with_us(&self) -> bool {
        self.ours && !self.stored
    }
}

impl Sockets {
    /// Whether that socket ends with us. Pools that share one have descriptors of their own.
    pub(crate) fn ends_with_us(&self, fd: &OwnedFd) -> bool {
        self.list.iter().any(|listener| listener.ends_with_us() && is_same(&listener.fd, fd))
    }

    /// It is ours, or lent to us.
    pub(crate) fn knows(&self, fd: &OwnedFd) -> bool {
        self.list.iter().any(|listener| is_same(&listener.fd, fd))
    }

    /// Whoever is queued there is served, nobody else can connect: a unix socket has no file any more, a TCP socket drops
    /// what asks for a connection.
    pub(crate) fn close_to_newcomers(&mut self, fd: &OwnedFd) -> io::Result<()> {
        let same = |listener: &&mut Listener| listener.ends_with_us() && is_same(&listener.fd, fd);
        for listener in self.list.iter_mut().filter(same) {
            match listener.bound {
                Bound::Tcp(_) => closing::refuse_newcomers(&listener.fd)?,
                Bound::Unix(_) => {
                    listener.unlink();
                    // What has the name from now on is a successor's.
                    listener.retracted = true;
                }
            }
        }
        Ok(())
    }

    /// As their owners lent them to us.
    pub(crate) fn make_blocking(&self) {
        for listener in &self.list {
            let _ = closing::set_blocking(&listener.fd, true);
        }
    }
}

/// Two descriptors of one socket.
pub(crate) fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    let file = |fd: &OwnedFd| fstat(fd).map(|facts| (facts.st_dev, facts.st_ino));
    file(one).is_ok_and(|one| file(other).is_ok_and(|other| one == other))
}
