//! Datagrams to a service manager, as sd_notify(3) describes them: to a path or an abstract name, at once or not at all,
//! descriptors with them.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socket,
};

/// Sends `text` to what NOTIFY_SOCKET names: `/path` or `@name`. Never waits: with a receiver that does not read it
/// fails with `WouldBlock`.
pub fn send(address: &[u8], text: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let address = match address {
        [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
        path @ [b'/', ..] => UnixAddr::new(path)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
    };
    let sender = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg(sender.as_raw_fd(), &[IoSlice::new(text)], control, flags, Some(&address))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    #[test]
    fn datagrams_go_to_a_path_or_a_name_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("cornac-sys-test-{}", std::process::id());
        let at_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let mut buffer = [0; 64];
        for (address, receiver) in
            [(path.as_os_str().as_bytes().to_vec(), at_path), (format!("@{name}").into_bytes(), at_name)]
        {
            for fds in [vec![], vec![io::stdin().as_fd()]] {
                send(&address, b"READY=1", &fds).unwrap();
                let length = receiver.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], b"READY=1");
            }
        }
        for address in ["", "relative", "vsock:1:2", "/no/such/socket", &format!("/{}", "x".repeat(200))] {
            assert!(send(address.as_bytes(), b"READY=1", &[]).is_err(), "{address}");
        }
    }

    #[test]
    fn a_receiver_that_does_not_read_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _receiver = UnixDatagram::bind(&path).unwrap();
        let full = (0..100_000).find_map(|_| send(path.as_os_str().as_bytes(), b"x", &[]).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
