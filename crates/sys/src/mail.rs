//! Messages with many descriptors from senders that nobody can vouch for: whatever they send, no descriptor stays
//! open unseen. Never waits. Nothing here knows what the bytes mean.

use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socketpair,
};

/// The kernel takes no more descriptors with one message (SCM_MAX_FD).
pub const MOST_FDS: usize = 253;

/// Room for as many descriptors, and for credentials, which a sender can have come along.
const SPACE: usize = 2048;

/// Control messages are aligned as lengths are.
#[repr(C, align(8))]
struct Space([u8; SPACE]);

/// Both ends of a connection of messages that any number of processes may hold, close-on-exec and never waiting.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// Sends one whole message, or fails: without waiting for room.
pub fn send(to: impl AsFd, message: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    loop {
        let (to, message) = (to.as_fd().as_raw_fd(), [IoSlice::new(message)]);
        match sendmsg::<UnixAddr>(to, &message, control, flags, None) {
            Err(Errno::EINTR) => {}
            sent => return Ok(sent.map(drop)?),
        }
    }
}

/// Takes one message: its length, and the descriptors that came with it, close-on-exec. What does not fit into the
/// buffer is lost. Length 0 without descriptors: the other end is gone, or somebody sent an empty message.
pub fn receive(from: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = mem::MaybeUninit::<Space>::uninit();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a header of zeros and null pointers is one without parts.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = space.as_mut_ptr().cast();
    header.msg_controllen = SPACE as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    let length = loop {
        // SAFETY: the header leads to `buffer` and `space` with their true lengths, and both outlive the call.
        let length = unsafe { libc::recvmsg(from.as_fd().as_raw_fd(), &mut header, flags) };
        match Errno::result(length) {
            Err(Errno::EINTR) => {}
            length => break length? as usize,
        }
    };
    Ok((length, descriptors(&header)))
}

/// All of them, also where the kernel says that there were more than it could hand over.
fn descriptors(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut found = Vec::new();
    // SAFETY: recvmsg has filled the header in and set the length of what it put there.
    let mut next: *const libc::cmsghdr = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: the macros lead to whole control messages inside that length, or to null.
    while let Some(control) = unsafe { next.as_ref() } {
        if (control.cmsg_level, control.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: as above.
            let data: *const RawFd = unsafe { libc::CMSG_DATA(next) }.cast();
            // SAFETY: a header without content.
            let empty = unsafe { libc::CMSG_LEN(0) } as _;
            let count = control.cmsg_len.saturating_sub(empty) / size_of::<RawFd>();
            for index in 0..count {
                // SAFETY: the control message holds `count` numbers.
                let place = unsafe { data.add(index) };
                // SAFETY: as above; nothing is said of their alignment.
                let fd = unsafe { ptr::read_unaligned(place) };
                // SAFETY: the kernel just made this descriptor for us, and nobody else knows its number.
                found.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
        // SAFETY: as for the first.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    found
}

/// Whether what was sent from this end still waits to be taken at the other.
pub fn is_unread(from: BorrowedFd<'_>) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one int, which `bytes` is.
    let result = unsafe { libc::ioctl(from.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    result == 0 && bytes > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn open_files() -> usize {
        let of_ours = |fd: &std::fs::DirEntry| std::fs::read_link(fd.path()).ok();
        let marked = |path: std::path::PathBuf| path == std::path::Path::new("/dev/zero");
        std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .flatten()
            .filter_map(|fd| of_ours(&fd))
            .filter(|p| marked(p.clone()))
            .count()
    }

    #[test]
    fn descriptors_arrive_however_many() {
        let (a, b) = pair().unwrap();
        let file = File::open("/dev/zero").unwrap();
        let mut buffer = [0; 512];
        let nothing = receive(&b, &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        for count in [0, 1, MOST_FDS] {
            send(&a, &vec![7; count + 1], &vec![file.as_raw_fd(); count]).unwrap();
            assert!(is_unread(a.as_fd()));
            let (length, fds) = receive(&b, &mut buffer).unwrap();
            assert_eq!((length, fds.len(), open_files()), (count + 1, count, count + 1));
            assert!(!is_unread(a.as_fd()));
        }
        assert_eq!(open_files(), 1);
        drop(a);
        // Other tests fork; until their child's exec it holds a copy of that end.
        let end = loop {
            match receive(&b, &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                end => break end,
            }
        };
        assert!(matches!(end, Ok((0, fds)) if fds.is_empty()));
    }

    #[test]
    fn a_full_box_says_so() {
        let (a, _b) = pair().unwrap();
        let sent = (0..100_000).find_map(|_| send(&a, b"x", &[]).err());
        assert_eq!(sent.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
