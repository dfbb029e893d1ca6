//! A two-ended channel of whole messages between master and fork server: a `SOCK_SEQPACKET` socket pair.
//! A message may carry descriptors (`SCM_RIGHTS`). Nothing here knows what the bytes mean.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg,
    sendmsg, socketpair,
};

/// Longest message either side may send, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Most descriptors one message may carry.
pub const MAX_FDS: usize = 4;

/// One end of the channel.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

/// What `receive` found.
#[derive(Debug)]
pub enum Received {
    /// A message of this many bytes in the caller's buffer, with the descriptors it carried (close-on-exec).
    Message(usize, Vec<OwnedFd>),
    /// The other end is gone.
    Closed,
}

impl Channel {
    /// A connected pair, both close-on-exec.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Channel { fd: a }, Channel { fd: b }))
    }

    /// The end that a parent left at a known descriptor number.
    pub fn from_fd(fd: OwnedFd) -> Channel {
        Channel { fd }
    }

    /// Sends one whole message, waiting for room if the other end is slow.
    pub fn send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(message, fds, MsgFlags::empty())
    }

    /// Sends one whole message or fails with `WouldBlock`.
    pub fn try_send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(message, fds, MsgFlags::MSG_DONTWAIT)
    }

    fn send_with(&self, message: &[u8], fds: &[BorrowedFd<'_>], flags: MsgFlags) -> io::Result<()> {
        if message.len() > MAX_MESSAGE || fds.len() > MAX_FDS {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too large for the channel"));
        }
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
        loop {
            let sent = sendmsg::<UnixAddr>(
                self.fd.as_raw_fd(),
                &[IoSlice::new(message)],
                control,
                flags | MsgFlags::MSG_NOSIGNAL,
                None,
            );
            match sent {
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Takes one message if there is one, else fails with `WouldBlock`. Descriptors that came with it are
    /// closed: for messages of somebody who is not trusted. `buffer` should hold `MAX_MESSAGE` bytes.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<UnixAddr>(self.fd.as_raw_fd(), &mut parts, None, MsgFlags::MSG_DONTWAIT)?;
        match (message.flags.contains(MsgFlags::MSG_TRUNC), message.bytes) {
            (true, _) => Err(too_long()),
            (false, 0) => Ok(Received::Closed),
            (false, length) => Ok(Received::Message(length, Vec::new())),
        }
    }

    /// The same with the descriptors that came along. Only for a sender that keeps to `MAX_FDS`: those of a
    /// message with more would stay open.
    pub fn try_receive_fds(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<UnixAddr>(self.fd.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        let mut fds = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = control {
                // SAFETY: the kernel just created these descriptors for us and nobody else knows their numbers.
                fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        if message.flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(too_long());
        }
        match message.bytes {
            0 if fds.is_empty() => Ok(Received::Closed),
            length => Ok(Received::Message(length, fds)),
        }
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "message did not fit")
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn messages_keep_their_bounds_and_descriptors_arrive() {
        let (a, b) = Channel::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        a.send(b"first", &[]).unwrap();
        a.send(b"second", &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut buffer = vec![0; MAX_MESSAGE];
        assert!(matches!(b.try_receive(&mut buffer), Ok(Received::Message(5, fds)) if fds.is_empty()));
        let Ok(Received::Message(6, mut fds)) = b.try_receive_fds(&mut buffer) else {
            panic!("no second message")
        };
        assert_eq!(&buffer[..6], b"second");
        let mut file = std::fs::File::from(fds.remove(0));
        file.write_all(b"through").unwrap();
        drop(file);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_vanished_peer_is_told_apart_from_silence() {
        let (a, b) = Channel::pair().unwrap();
        let mut buffer = vec![0; 16];
        assert_eq!(b.try_receive(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(a);
        assert!(matches!(b.try_receive(&mut buffer), Ok(Received::Closed)));
    }

    #[test]
    fn unwanted_descriptors_do_not_stay_open() {
        let (a, b) = Channel::pair().unwrap();
        let (_reader, writer) = io::pipe().unwrap();
        let open =
            || std::fs::read_dir("/proc/self/fd").unwrap().filter(|one| is_pipe_of(one, &writer)).count();
        let before = open();
        a.send(b"take these", &[writer.as_fd(); MAX_FDS]).unwrap();
        let mut buffer = vec![0; MAX_MESSAGE];
        assert!(matches!(b.try_receive(&mut buffer), Ok(Received::Message(10, _))));
        assert_eq!(open(), before);
    }

    fn is_pipe_of(entry: &io::Result<std::fs::DirEntry>, writer: &io::PipeWriter) -> bool {
        let target = |fd: RawFd| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
        let Some(number) = entry.as_ref().ok().and_then(|one| one.file_name().to_str()?.parse().ok()) else {
            return false;
        };
        target(number).is_some() && target(number) == target(writer.as_raw_fd())
    }
}
