//! How many connections wait on a listening socket, and how many may: TCP_INFO for TCP, the kernel's socket
//! diagnostics (sock_diag(7)) for unix sockets, which tell it nowhere else.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrLike, SockaddrStorage,
    getsockname, recv, sendto, socket,
};
use nix::sys::stat::fstat;

/// A listening socket's queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Connections waiting to be accepted.
    pub waiting: u32,
    /// How many may wait.
    pub room: u32,
}

/// Looks at the queue of a listening socket of ours. Fails where the kernel does not tell: it may be built without
/// diagnostics of unix sockets, or a sandbox may forbid netlink.
pub fn measure(listener: impl AsFd) -> io::Result<Queue> {
    let listener = listener.as_fd();
    match getsockname::<SockaddrStorage>(listener.as_raw_fd())?.family() {
        Some(AddressFamily::Unix) => ask_diagnostics(fstat(listener)?.st_ino),
        _ => tcp(listener),
    }
}

/// For a listening socket the kernel keeps the queue and its limit in two fields meant for other things.
fn tcp(listener: impl AsFd) -> io::Result<Queue> {
    let mut info = mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = mem::size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` has room for `length` bytes, and the kernel writes no more than that.
    let result = unsafe {
        libc::getsockopt(
            listener.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut length,
        )
    };
    Errno::result(result)?;
    // SAFETY: the structure holds integers only and was zeroed before the kernel filled in what it knows.
    let info = unsafe { info.assume_init() };
    Ok(Queue { waiting: info.tcpi_unacked, room: info.tcpi_sacked })
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const UDIAG_SHOW_RQLEN: u32 = 0x10;
const UDIAG_RQLEN: u16 = 4;
const HEADER: usize = 16;
const MESSAGE: usize = 16;

fn ask_diagnostics(inode: u64) -> io::Result<Queue> {
    let netlink = open_netlink()?;
    sendto(netlink.as_raw_fd(), &request(inode), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 512];
    // The kernel answers within the call that asks.
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    parse(&answer[..length])
}

fn open_netlink() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkSockDiag)?)
}

/// `struct nlmsghdr` and `struct unix_diag_req`.
fn request(inode: u64) -> [u8; 40] {
    let mut bytes = [0; 40];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &40u32.to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    put(16, &[libc::AF_UNIX as u8]);
    put(20, &u32::MAX.to_ne_bytes()); // in any state
    put(24, &(inode as u32).to_ne_bytes()); // inodes of sockets have 32 bits
    put(28, &UDIAG_SHOW_RQLEN.to_ne_bytes());
    put(32, &u64::MAX.to_ne_bytes()); // any cookie
    bytes
}

/// One message: its header, `struct unix_diag_msg`, attributes. Lengths in it are not believed beyond what came.
fn parse(answer: &[u8]) -> io::Result<Queue> {
    let strange =
        || io::Error::new(io::ErrorKind::InvalidData, "unexpected answer of the socket diagnostics");
    let kind = u16_at(answer, 4).ok_or_else(strange)?;
    if i32::from(kind) == libc::NLMSG_ERROR {
        let errno = u32_at(answer, HEADER).ok_or_else(strange)? as i32;
        return Err(io::Error::from_raw_os_error(errno.wrapping_neg()));
    }
    if kind != SOCK_DIAG_BY_FAMILY {
        return Err(strange());
    }
    let mut attributes = answer.get(HEADER + MESSAGE..).ok_or_else(strange)?;
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        if kind == UDIAG_RQLEN {
            let waiting = u32_at(attributes, 4).ok_or_else(strange)?;
            let room = u32_at(attributes, 8).ok_or_else(strange)?;
            return Ok(Queue { waiting, room });
        }
        let aligned = usize::from(length).max(4).next_multiple_of(4);
        attributes = attributes.get(aligned..).unwrap_or_default();
    }
    Err(strange())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn tcp_tells_its_queue() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let before = measure(&listener).unwrap();
        assert!(before.waiting == 0 && before.room > 0, "{before:?}");
        let address = listener.local_addr().unwrap();
        let _clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
        assert_eq!(measure(&listener).unwrap().waiting, 2);
        listener.accept().unwrap();
        assert_eq!(measure(&listener).unwrap(), Queue { waiting: 1, ..before });
    }

    #[test]
    fn unix_sockets_tell_theirs_where_the_kernel_lets_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        if open_netlink().is_err() {
            return; // a sandbox without netlink
        }
        let before = measure(&listener).unwrap();
        assert!(before.waiting == 0 && before.room > 0, "{before:?}");
        let _clients: Vec<_> = (0..3).map(|_| UnixStream::connect(&path).unwrap()).collect();
        assert_eq!(measure(&listener).unwrap(), Queue { waiting: 3, ..before });
        listener.accept().unwrap();
        assert_eq!(measure(&listener).unwrap().waiting, 2);
    }

    #[test]
    fn answers_are_not_believed() {
        let answer = |kind: u16, rest: &[u8]| {
            let mut bytes = vec![0; HEADER];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(rest);
            bytes
        };
        let attribute = |length: u16, kind: u16, content: &[u8]| {
            [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), content].concat()
        };
        let refused = answer(libc::NLMSG_ERROR as u16, &(-libc::ENOENT).to_ne_bytes());
        assert_eq!(parse(&refused).unwrap_err().raw_os_error(), Some(libc::ENOENT));
        let numbers = [7u32.to_ne_bytes(), 9u32.to_ne_bytes()].concat();
        let good =
            [vec![0; MESSAGE], attribute(5, 9, &[0; 4]), attribute(12, UDIAG_RQLEN, &numbers)].concat();
        assert_eq!(parse(&answer(SOCK_DIAG_BY_FAMILY, &good)).unwrap(), Queue { waiting: 7, room: 9 });
        for rest in [
            Vec::new(),
            vec![0; MESSAGE],
            [vec![0; MESSAGE], attribute(0, 9, &[])].concat(),
            [vec![0; MESSAGE], attribute(u16::MAX, 9, &[0; 4])].concat(),
            [vec![0; MESSAGE], attribute(12, UDIAG_RQLEN, &[0; 7])].concat(),
        ] {
            assert!(parse(&answer(SOCK_DIAG_BY_FAMILY, &rest)).is_err(), "{rest:?}");
        }
        assert!(parse(&answer(3, &good)).is_err() && parse(&[]).is_err() && parse(&[0; 5]).is_err());
        let negative = answer(libc::NLMSG_ERROR as u16, &i32::MIN.to_ne_bytes());
        assert!(parse(&negative).is_err());
    }
}
