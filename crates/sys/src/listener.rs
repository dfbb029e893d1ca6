//! Listening sockets: unix with rights and access list, TCP; made here, or taken over from whoever started this
//! process. Blocking and close-on-exec.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, connect, getsockname, getsockopt,
    setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{getgid, getuid};

use crate::acl::{self, Acl};

/// Longest path of a unix socket in bytes; the address also holds the NUL after it.
pub const LONGEST_PATH: usize = mem::size_of::<libc::sockaddr_un>() - mem::size_of::<libc::sa_family_t>() - 1;

/// What a unix socket's file shall look like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Mode bits.
    pub mode: u32,
    /// Owner, unless it stays ours.
    pub owner: Option<u32>,
    /// Group, unless it stays ours.
    pub group: Option<u32>,
    /// Access list instead of owner and group.
    pub acl: Option<Acl>,
}

/// The step that failed.
#[derive(Debug)]
pub enum ListenError {
    /// Somebody accepts connections at that path.
    InUse,
    /// The path does not fit into an address; its length in bytes.
    TooLong(usize),
    /// No socket could be made.
    Socket(io::Error),
    /// It could not be bound to the address.
    Bind(io::Error),
    /// Owner or group could not be set.
    Chown(io::Error),
    /// The access list could not be written.
    Acl(io::Error),
    /// It could not be made to listen.
    Listen(io::Error),
}

/// Listens at a path. What lies there is removed first, unless somebody still accepts connections on it.
pub fn unix(path: &Path, access: &Access, backlog: i32) -> Result<OwnedFd, ListenError> {
    let length = path.as_os_str().as_bytes().len();
    if length > LONGEST_PATH {
        return Err(ListenError::TooLong(length));
    }
    if is_answered(path) {
        return Err(ListenError::InUse);
    }
    let fd = open(AddressFamily::Unix)?;
    let _ = std::fs::remove_file(path);
    let address = UnixAddr::new(path).map_err(|errno| ListenError::Bind(errno.into()))?;
    let before = umask(Mode::from_bits_truncate(0o777 & !access.mode));
    let bound = bind(fd.as_raw_fd(), &address);
    umask(before);
    bound.map_err(|errno| ListenError::Bind(errno.into()))?;
    give_away(path, access)
        .and_then(|()| listen(&fd, backlog).map_err(ListenError::Listen))
        .inspect_err(|_| drop(std::fs::remove_file(path)))?;
    Ok(fd)
}

/// Somebody listens at that path. One whose queue is full is not waited for.
fn is_answered(path: &Path) -> bool {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let asked = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .and_then(|fd| connect(fd.as_raw_fd(), &UnixAddr::new(path)?));
    matches!(asked, Ok(()) | Err(Errno::EAGAIN))
}

/// Listens at a TCP address.
pub fn tcp(address: SocketAddr, backlog: i32) -> Result<OwnedFd, ListenError> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = open(family)?;
    // Without it an address whose old connections still linger cannot be bound; bind then tells.
    let _ = setsockopt(&fd, sockopt::ReuseAddr, &true);
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).map_err(|errno| ListenError::Bind(errno.into()))?;
    listen(&fd, backlog).map_err(ListenError::Listen)?;
    Ok(fd)
}

/// All addresses of a host name or number. As with the C library `*` is this machine by its loopback addresses.
pub fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if host == "*" {
        return Ok(vec![(Ipv6Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, port).into()]);
    }
    Ok((host, port).to_socket_addrs()?.collect())
}

/// What a listening socket is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The path of a unix socket; empty for one without a path.
    Unix(PathBuf),
    /// An address and a port.
    Tcp(SocketAddr),
}

/// Takes over a listening socket that this process was started with, by its number; an error says why it is none that
/// workers can accept on. Each number may be taken once, before this process has made listening sockets itself.
pub fn inherit(number: RawFd) -> io::Result<(OwnedFd, Bound)> {
    if number <= libc::STDERR_FILENO {
        return Err(io::Error::other("that is a standard descriptor"));
    }
    // SAFETY: the number is only asked about; fcntl answers EBADF if nothing is open there.
    let asked = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(asked, FcntlArg::F_GETFD)?;
    match getsockopt(&asked, sockopt::SockType)? {
        SockType::Stream => {}
        SockType::Datagram => return Err(io::Error::other("it is a datagram socket")),
        _ => return Err(io::Error::other("it is no stream socket")),
    }
    if !getsockopt(&asked, sockopt::AcceptConn)? {
        return Err(io::Error::other("it does not listen"));
    }
    let bound = bound(asked)?;
    // SAFETY: it is a listening socket, and this process has made none: it came from outside and has no other owner.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // Workers wait in accept; the flag is shared with whoever holds the socket, who has no use for it meanwhile.
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    if flags.contains(OFlag::O_NONBLOCK) {
        fcntl(&fd, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    }
    Ok((fd, bound))
}

/// Closes a descriptor that this process was started with and has no use for, by its number; nothing happens if none
/// is open there. To be called before this process has opened anything itself, when every open number came from outside.
pub fn discard(number: RawFd) {
    if number > libc::STDERR_FILENO {
        // SAFETY: what is open under this number came from outside and has no other owner; close answers EBADF else.
        unsafe { libc::close(number) };
    }
}

/// Whether a connection waits to be accepted.
pub fn is_awaited(listener: impl AsFd) -> bool {
    let mut asked = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut asked, PollTimeout::ZERO), Ok(ready) if ready > 0)
}

/// The address of a socket.
pub fn bound(fd: BorrowedFd<'_>) -> io::Result<Bound> {
    let address: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    if let Some(unix) = address.as_unix_addr() {
        return Ok(Bound::Unix(unix.path().unwrap_or(Path::new("")).to_path_buf()));
    }
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    let address = v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())));
    address.map(Bound::Tcp).ok_or_else(|| io::Error::other("its kind of address is unknown"))
}

/// Lets a program that this process becomes have the descriptor.
pub fn keep_on_exec(fd: impl AsFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

fn open(family: AddressFamily) -> Result<OwnedFd, ListenError> {
    socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| ListenError::Socket(errno.into()))
}

/// Of the socket itself: who may write to its folder can have put a link to any file in its place meanwhile.
fn give_away(path: &Path, access: &Access) -> Result<(), ListenError> {
    if let Some(list) = &access.acl {
        return acl::write(path, access.mode, list).map_err(ListenError::Acl);
    }
    if access.owner.is_none() && access.group.is_none() {
        return Ok(());
    }
    lchown(path, access.owner, access.group).map_err(ListenError::Chown)
}

/// Brings the rights of a socket that lies there in line with `access`; what it leaves open becomes ours again.
pub fn amend(path: &Path, access: &Access) -> Result<(), ListenError> {
    let (owner, group) =
        (access.owner.unwrap_or(getuid().as_raw()), access.group.unwrap_or(getgid().as_raw()));
    lchown(path, Some(owner), Some(group)).map_err(ListenError::Chown)?;
    acl::replace(path, access.mode, access.acl.as_ref()).map_err(ListenError::Acl)
}

/// Sets how many connections may wait. A negative backlog means as much as the kernel allows.
pub fn listen(fd: &OwnedFd, backlog: i32) -> io::Result<()> {
    // SAFETY: `fd` is an open socket of ours; listen takes integers only.
    match unsafe { libc::listen(fd.as_raw_fd(), backlog) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    use std::sync::Mutex;

    /// The umask belongs to the whole process, the other tests' threads included.
    static UMASK: Mutex<()> = Mutex::new(());

    fn access(mode: u32) -> Access {
        Access { mode, ..Access::default() }
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let _alone = UMASK.lock().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let first = unix(&path, &access(0o640), -1).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert!(matches!(unix(&path, &access(0o600), -1), Err(ListenError::InUse)));
        drop(first);
        // Other tests fork; until their child's exec it holds a copy of the first listener.
        while matches!(unix(&path, &access(0o666), -1), Err(ListenError::InUse)) {
            std::thread::yield_now();
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o666);
    }

    /// A blocking connect would wait for ever.
    #[test]
    fn one_whose_queue_is_full_is_a_live_one() {
        let _alone = UMASK.lock().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _busy = unix(&path, &access(0o600), 0).unwrap();
        let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
        for _ in 0..3 {
            assert!(matches!(unix(&path, &access(0o600), 0), Err(ListenError::InUse)));
        }
    }

    #[test]
    fn a_link_in_a_sockets_place_gives_nothing_away() {
        use std::os::unix::fs::MetadataExt;
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let facts = || file.metadata().map(|facts| (facts.uid(), facts.gid(), facts.mode())).unwrap();
        let before = facts();
        let owned = Access { owner: Some(65_534), group: Some(65_533), ..Access::default() };
        give_away(&link, &owned).unwrap();
        let listed = Access { acl: Some(Acl { users: vec![65_534], groups: vec![] }), ..Access::default() };
        assert!(matches!(give_away(&link, &listed), Err(ListenError::Acl(_))));
        assert_eq!(facts(), before);
    }

    #[test]
    fn paths_are_never_cut() {
        let _alone = UMASK.lock().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let room = LONGEST_PATH - folder.path().as_os_str().len() - 1;
        unix(&folder.path().join("x".repeat(room)), &access(0o600), 5).unwrap();
        let long = unix(&folder.path().join("x".repeat(room + 1)), &access(0o600), 5);
        assert!(matches!(long, Err(ListenError::TooLong(length)) if length == LONGEST_PATH + 1));
    }

    #[test]
    fn only_listening_sockets_are_inherited() {
        use std::os::fd::IntoRawFd;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let client = TcpStream::connect(address).unwrap();
        assert!(inherit(client.as_raw_fd()).is_err() && inherit(2).is_err() && inherit(-5).is_err());
        assert_eq!(inherit(1_000_000).unwrap_err().raw_os_error(), Some(libc::EBADF));
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let told = |fd: RawFd| inherit(fd).unwrap_err().to_string();
        assert_eq!(told(client.as_raw_fd()), "it does not listen");
        assert_eq!(told(datagrams.as_raw_fd()), "it is a datagram socket");
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(inherit(file.as_raw_fd()).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
        let (fd, bound) = inherit(listener.into_raw_fd()).unwrap();
        assert_eq!(bound, Bound::Tcp(address));
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).unwrap());
        assert!(!flags.contains(OFlag::O_NONBLOCK));
    }

    #[test]
    fn a_connection_that_waits_is_seen_and_stays() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!is_awaited(&listener));
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(is_awaited(&listener) && is_awaited(&listener));
        listener.accept().unwrap();
        assert!(!is_awaited(&listener));
    }

    #[test]
    fn tcp_on_both_families() {
        for host in ["127.0.0.1", "::1"] {
            let Ok(taken) = TcpListener::bind((host, 0)) else { continue };
            let address = taken.local_addr().unwrap();
            assert!(matches!(tcp(address, -1), Err(ListenError::Bind(_))));
            // Any free port: a port that was free a moment ago may be somebody else's by now.
            let listener = TcpListener::from(tcp(SocketAddr::new(address.ip(), 0), -1).unwrap());
            TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        }
        assert!(resolve("no-such-host.invalid", 1).is_err());
    }
}
