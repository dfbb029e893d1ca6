//! The listening socket of a pool: from its address to an open descriptor, with php-fpm's sentences.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use config::{Diagnostic, Level, Listen, Pool};
use sys::listener::{self, ListenError};

use crate::identity;
use crate::load::{error, system_error};
use crate::log::Log;

/// An open listening socket.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Blocking; workers accept on it themselves.
    pub(crate) fd: OwnedFd,
    /// The file that goes away with the master.
    file: Option<PathBuf>,
}

impl Socket {
    /// Whether clients come over TCP.
    pub(crate) fn is_tcp(&self) -> bool {
        self.file.is_none()
    }

    /// Removes the socket's file.
    pub(crate) fn unlink(&self) {
        if let Some(file) = &self.file {
            let _ = fs::remove_file(file);
        }
    }
}

/// Opens the pool's listening socket.
pub(crate) fn open(pool: &Pool, log: &mut Log) -> Result<Socket, Diagnostic> {
    let listen = Listen::parse(&pool.listen).map_err(|mut diagnostic| {
        diagnostic.logged = true;
        diagnostic
    })?;
    match listen {
        Listen::Unix(path) => {
            let access = identity::socket_access(pool, log)?;
            let fd =
                listener::unix(&path, &access, pool.listen_backlog).map_err(|error| told(error, pool))?;
            Ok(Socket { fd, file: Some(path) })
        }
        Listen::Tcp { host, port } => open_tcp(&String::from_utf8_lossy(&host), port, pool, log),
        Listen::Port(port) => open_any(port, pool, log),
    }
}

fn name(pool: &Pool) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&pool.name)
}

fn open_tcp(host: &str, port: u16, pool: &Pool, log: &mut Log) -> Result<Socket, Diagnostic> {
    let addresses = listener::resolve(host, port).map_err(|source| {
        let text = source.to_string();
        let reason = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
        error(format!("getaddrinfo: {reason}\n"))
    })?;
    let mut tried = false;
    let mut opened = Err(error(format!("getaddrinfo: no address for {host}\n")));
    for address in addresses {
        let ip = address.ip();
        if opened.is_ok() {
            log.write(Level::Warning, format!("Found multiple addresses for {host}, {ip} ignored"));
            continue;
        }
        if let Err(earlier) = opened.as_ref()
            && tried
        {
            log.diagnose(earlier);
        }
        tried = true;
        opened = listener::tcp(address, pool.listen_backlog).map_err(|error| told(error, pool));
        if opened.is_ok() {
            log.write(Level::Debug, format!("Found address for {host}, socket opened on {ip}"));
        }
    }
    Ok(Socket { fd: opened?, file: None })
}

/// A port alone: every IPv6 address, which takes IPv4 too, else every IPv4 address.
fn open_any(port: u16, pool: &Pool, log: &mut Log) -> Result<Socket, Diagnostic> {
    let any = |address: &str| SocketAddr::new(address.parse().expect("a literal address"), port);
    let fd = match listener::tcp(any("::"), pool.listen_backlog) {
        Ok(fd) => fd,
        Err(_) => {
            log.write(Level::Notice, "Failed implicitly binding to ::, retrying with 0.0.0.0");
            listener::tcp(any("0.0.0.0"), pool.listen_backlog).map_err(|error| told(error, pool))?
        }
    };
    Ok(Socket { fd, file: None })
}

fn told(problem: ListenError, pool: &Pool) -> Diagnostic {
    let address = String::from_utf8_lossy(&pool.listen);
    let tag = format!("[pool {}]", name(pool));
    match problem {
        ListenError::InUse => error(format!("Another FPM instance seems to already listen on {address}")),
        ListenError::TooLong(length) => {
            let lengths = format!("found length: {length}, maximal length: {}", listener::LONGEST_PATH);
            error(format!("{tag} cannot bind to UNIX socket '{address}' as path is too long ({lengths})"))
        }
        ListenError::Socket(source) => {
            system_error("failed to create new listening socket: socket()", &source)
        }
        ListenError::Bind(source) => {
            system_error(format!("unable to bind listening socket for address '{address}'"), &source)
        }
        ListenError::Chown(source) => {
            system_error(format!("{tag} failed to chown() the socket '{address}'"), &source)
        }
        ListenError::Acl(source) => {
            system_error(format!("{tag} failed to write the ACL of the socket '{address}'"), &source)
        }
        ListenError::Listen(source) => {
            system_error(format!("failed to listen to address '{address}'"), &source)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(address: &str) -> Result<Socket, String> {
        let pool = Pool { name: b"p".to_vec(), listen: address.into(), ..Pool::default() };
        open(&pool, &mut Log::default()).map_err(|diagnostic| String::from_utf8(diagnostic.text).unwrap())
    }

    #[test]
    fn a_unix_socket_is_opened_once_and_unlinked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let text = path.to_str().unwrap();
        let socket = opened(text).unwrap();
        assert!(!socket.is_tcp() && path.exists());
        let again = opened(text).unwrap_err();
        assert_eq!(again, format!("Another FPM instance seems to already listen on {text}"));
        socket.unlink();
        assert!(!path.exists());
    }

    #[test]
    fn failures_speak_php_fpms_words() {
        let check = |address: &str, expected: &str| assert_eq!(opened(address).unwrap_err(), expected);
        check(
            "/no/such/folder/s",
            "unable to bind listening socket for address '/no/such/folder/s': No such file or directory (2)",
        );
        check("127.0.0.1:99999", "invalid port value '99999'");
        let long = format!("/{}", "x".repeat(200));
        check(
            &long,
            &format!(
                "[pool p] cannot bind to UNIX socket '{long}' as path is too long (found length: 201, maximal length: 107)"
            ),
        );
    }

    #[test]
    fn tcp_by_address_and_by_port() {
        let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = busy.local_addr().unwrap().to_string();
        let text =
            format!("unable to bind listening socket for address '{address}': Address already in use (98)");
        assert_eq!(opened(&address).unwrap_err(), text);
        drop(busy);
        assert!(opened(&address).unwrap().is_tcp());
        let port = address.rsplit_once(':').unwrap().1;
        assert!(opened(port).unwrap().is_tcp());
    }
}
