//! Where a pool listens, and the web server's non-blocking end of a connection to it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, UnixAddr, connect, listen, socket,
};

/// One listening socket, as a pool's `listen` names it.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// A path.
    Unix(PathBuf),
    /// A port of the loopback interface.
    Tcp(SocketAddrV4),
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(formatter, "{}", path.display()),
            Address::Tcp(address) => write!(formatter, "{address}"),
        }
    }
}

impl Address {
    /// A port of the loopback interface that nobody uses now.
    pub(crate) fn free_port() -> Result<Address, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        Ok(Address::Tcp(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)))
    }

    /// `unix` or `TCP`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Address::Unix(_) => "unix",
            Address::Tcp(_) => "TCP",
        }
    }

    /// Begins to connect. A TCP connection may still be under way when this returns.
    pub(crate) fn connect(&self) -> Result<OwnedFd, Errno> {
        let open =
            |family| socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None);
        let (socket, result) = match self {
            Address::Unix(path) => {
                let address = UnixAddr::new(path)?;
                let socket = open(AddressFamily::Unix)?;
                let result = connect(socket.as_raw_fd(), &address);
                (socket, result)
            }
            Address::Tcp(address) => {
                let socket = open(AddressFamily::Inet)?;
                let result = connect(socket.as_raw_fd(), &SockaddrIn::from(*address));
                (socket, result)
            }
        };
        match result {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
            Err(error) => Err(error),
        }
    }

    /// Listens, as systemd does for a service: everybody may connect, the length of the queue is php-fpm's default.
    pub(crate) fn listen(&self) -> Result<OwnedFd, String> {
        let failed = |error: &dyn fmt::Display| format!("{self}: {error}");
        let socket: OwnedFd = match self {
            Address::Unix(path) => {
                let listener = UnixListener::bind(path).map_err(|error| failed(&error))?;
                let everybody = std::fs::Permissions::from_mode(0o666);
                std::fs::set_permissions(path, everybody).map_err(|error| failed(&error))?;
                listener.into()
            }
            Address::Tcp(address) => TcpListener::bind(address).map_err(|error| failed(&error))?.into(),
        };
        let queue = Backlog::new(511).map_err(|error| failed(&error))?;
        listen(&socket.as_fd(), queue).map_err(|error| failed(&error))?;
        Ok(socket)
    }
}
