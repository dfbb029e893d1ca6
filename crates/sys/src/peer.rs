//! Unix stream sockets whose other end is looked at before it is believed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_to, getsockopt, socket, sockopt,
};

/// Who is at the other end: who connected or, for the one that connects, who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Process id.
    pub pid: i32,
    /// User id.
    pub uid: u32,
}

/// Who made the other end.
pub fn credentials(stream: impl AsFd) -> io::Result<Credentials> {
    let found = getsockopt(&stream, sockopt::PeerCredentials)?;
    Ok(Credentials { pid: found.pid(), uid: found.uid() })
}

/// Connects without waiting; `WouldBlock` where somebody listens whose queue is full. The stream does not wait either.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect_to(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd.into())
}

/// Whether somebody listens at this path; never waits for them.
pub fn is_answered(path: &Path) -> bool {
    match connect(path) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() == Some(Errno::EAGAIN as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_other_end_is_known_on_both_sides() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let client = connect(&path).unwrap();
        let (server, _) = listener.accept().unwrap();
        let own = Credentials { pid: std::process::id() as i32, uid: crate::users::own_id() };
        assert_eq!((credentials(&client).unwrap(), credentials(&server).unwrap()), (own, own));
    }

    #[test]
    fn a_full_queue_is_somebody_and_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        assert!(!is_answered(&path));
        let listener = UnixListener::bind(&path).unwrap();
        let waiting: Vec<_> = std::iter::from_fn(|| connect(&path).ok()).take(100_000).collect();
        assert!(!waiting.is_empty() && is_answered(&path));
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        assert!(!is_answered(&path));
    }
}
