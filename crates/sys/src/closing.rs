//! Listening sockets that are about to be given up: nobody new gets in, and nobody waits for them.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Where the flags stand in a TCP header, and two of them.
const FLAGS: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// A listening TCP socket lets no new connection begin; what is queued stays, and handshakes under way come to their end.
/// Packets that ask for a connection are dropped: whoever sent them asks again, and finds out once the socket is closed.
pub fn refuse_newcomers(listener: impl AsFd) -> io::Result<()> {
    let instruction = |code: u32, if_true: u8, if_false: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt: if_true,
        jf: if_false,
        k,
    };
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, FLAGS),
        instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN | ACK),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `filter` names the instructions and their number; the kernel copies them.
    let result = unsafe {
        libc::setsockopt(
            listener.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    Errno::result(result)?;
    Ok(())
}

/// Whether `accept` waits. All who hold the socket share this.
pub fn set_blocking(listener: impl AsFd, blocking: bool) -> io::Result<()> {
    let listener = listener.as_fd();
    let flags = OFlag::from_bits_retain(fcntl(listener, FcntlArg::F_GETFL)?);
    let wanted = if blocking { flags - OFlag::O_NONBLOCK } else { flags | OFlag::O_NONBLOCK };
    if wanted != flags {
        fcntl(listener, FcntlArg::F_SETFL(wanted))?;
    }
    Ok(())
}

/// Whether somebody waits to be accepted.
pub fn is_anybody_waiting(listener: impl AsFd) -> bool {
    let mut wanted = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut wanted, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn whoever_is_queued_is_accepted_and_nobody_else() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let address: SocketAddr = listener.local_addr().unwrap();
            assert!(!is_anybody_waiting(&listener));
            let early = TcpStream::connect(address).unwrap();
            refuse_newcomers(&listener).unwrap();
            set_blocking(&listener, false).unwrap();
            let late = TcpStream::connect_timeout(&address, Duration::from_millis(50));
            assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
            assert!(is_anybody_waiting(&listener));
            let (mut accepted, peer) = listener.accept().unwrap();
            assert_eq!(peer, early.local_addr().unwrap());
            // The accepted connection talks as before, and ends in order.
            io::Write::write_all(&mut accepted, b"x").unwrap();
            drop(accepted);
            let mut text = String::new();
            io::Read::read_to_string(&mut &early, &mut text).unwrap();
            assert_eq!(text, "x");
            assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
            set_blocking(&listener, true).unwrap();
            let flags = OFlag::from_bits_retain(fcntl(&listener, FcntlArg::F_GETFL).unwrap());
            assert!(!flags.contains(OFlag::O_NONBLOCK));
        }
    }
}
