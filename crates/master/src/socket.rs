//! The listening socket of a pool: from its address to an open descriptor, inherited, shared or new, with php-fpm's
//! sentences.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::rc::Rc;

use config::{Diagnostic, Level, Listen, Pool};
use sys::listener::{self, Bound, ListenError};

use crate::identity;
use crate::inheritance::{Match, Sockets, any_keys, tcp_key};
use crate::load::{error, system_error};
use crate::log::{Log, errno_text, printable};
use crate::pool::shown_name;

/// A pool's listening socket.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Blocking; workers accept on it themselves.
    pub(crate) fd: Rc<OwnedFd>,
    tcp: bool,
}

impl Socket {
    /// Whether clients come over TCP.
    pub(crate) fn is_tcp(&self) -> bool {
        self.tcp
    }
}

/// A socket that is bound to nothing, for a fork server that runs no worker.
pub(crate) fn stand_in() -> Result<Socket, Diagnostic> {
    let unbound = UnixDatagram::unbound().map_err(|source| system_error("socket", &source))?;
    Ok(Socket { fd: Rc::new(unbound.into()), tcp: false })
}

/// Finds the pool's listening socket among those we have, or opens it.
pub(crate) fn open(pool: &Pool, sockets: &mut Sockets, log: &mut Log) -> Result<Socket, Diagnostic> {
    let listen = Listen::parse(&pool.listen).map_err(|mut diagnostic| {
        diagnostic.logged = true;
        diagnostic
    })?;
    if let Some(socket) = match_handed_in(&listen, pool, sockets, log) {
        return Ok(socket);
    }
    match listen {
        Listen::Unix(path) => open_unix(path, pool, sockets, log),
        Listen::Tcp { host, port } => open_tcp(&String::from_utf8_lossy(&host), port, pool, sockets, log),
        Listen::Port(port) => open_any(port, pool, sockets, log),
    }
}

/// The socket that systemd hands in for the pool, if there is one.
fn match_handed_in(listen: &Listen, pool: &Pool, sockets: &mut Sockets, log: &mut Log) -> Option<Socket> {
    if !sockets.has_handed_in() {
        return None;
    }
    let keys: Vec<Vec<u8>> = match listen {
        Listen::Unix(path) => vec![path.as_os_str().as_bytes().to_vec()],
        Listen::Port(port) => any_keys(*port).to_vec(),
        Listen::Tcp { host, port } => {
            let addresses = listener::resolve(&String::from_utf8_lossy(host), *port).unwrap_or_default();
            addresses.into_iter().map(tcp_key).collect()
        }
    };
    let Match { fd, tcp, elsewhere } = sockets.match_handed_in(&keys, &pool.name)?;
    let mut say = |level, text: String| log.write(level, format!("[pool {}] {text}", shown_name(&pool.name)));
    if let Some(address) = elsewhere {
        let listen = printable(&String::from_utf8_lossy(&pool.listen));
        let text = format!("serves the socket that is handed in under its name, \"{address}\"");
        say(Level::Notice, format!("{text}, and not its listen = {listen}"));
    }
    let given = |name: &&str| pool.places.contains_key(*name);
    let rights = ["listen.owner", "listen.group", "listen.mode", "listen.acl_users", "listen.acl_groups"];
    let ignored: Vec<&str> = rights.into_iter().filter(|_| !tcp).filter(given).collect();
    if !ignored.is_empty() {
        let units = "SocketUser=, SocketGroup= and SocketMode= of the socket unit count";
        say(Level::Notice, format!("{} without effect on a socket handed in: {units}", ignored.join(", ")));
    }
    // Where it is not given the unit's Backlog= stays.
    if given(&"listen.backlog")
        && let Err(source) = listener::listen(&fd, pool.listen_backlog)
    {
        say(Level::Warning, format!("listen.backlog cannot be set: {}", errno_text(&source)));
    }
    Some(Socket { fd, tcp })
}

fn open_unix(path: PathBuf, pool: &Pool, sockets: &mut Sockets, log: &mut Log) -> Result<Socket, Diagnostic> {
    let access = identity::socket_access(pool, log)?;
    if let Some((fd, tcp)) = sockets.find(path.as_os_str().as_bytes()) {
        return Ok(Socket { fd, tcp });
    }
    let fd = listener::unix(&path, &access, pool.listen_backlog).map_err(|error| told(error, pool))?;
    if access.acl.is_some() {
        let (name, path) = (String::from_utf8_lossy(&pool.name), path.display());
        log.write(Level::Debug, format!("[pool {name}] ACL of the socket '{path}' is set"));
    }
    Ok(Socket { fd: sockets.add(Bound::Unix(path), fd), tcp: false })
}

fn open_tcp(
    host: &str,
    port: u16,
    pool: &Pool,
    sockets: &mut Sockets,
    log: &mut Log,
) -> Result<Socket, Diagnostic> {
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
        opened = open_address(address, pool, sockets);
        if opened.is_ok() {
            log.write(Level::Debug, format!("Found address for {host}, socket opened on {ip}"));
        }
    }
    opened
}

fn open_address(address: SocketAddr, pool: &Pool, sockets: &mut Sockets) -> Result<Socket, Diagnostic> {
    if let Some((fd, tcp)) = sockets.find(&tcp_key(address)) {
        return Ok(Socket { fd, tcp });
    }
    let fd = listener::tcp(address, pool.listen_backlog).map_err(|error| told(error, pool))?;
    Ok(Socket { fd: sockets.add(Bound::Tcp(address), fd), tcp: true })
}

/// A port alone: every IPv6 address, which takes IPv4 too, else every IPv4 address.
fn open_any(port: u16, pool: &Pool, sockets: &mut Sockets, log: &mut Log) -> Result<Socket, Diagnostic> {
    open_address((Ipv6Addr::UNSPECIFIED, port).into(), pool, sockets).or_else(|_| {
        log.write(Level::Notice, "Failed implicitly binding to ::, retrying with 0.0.0.0");
        open_address((Ipv4Addr::UNSPECIFIED, port).into(), pool, sockets)
    })
}

/// Gives a socket that stays the rights and the queue that the pool's configuration has now. What cannot be done is
/// told and stays as it is.
pub(crate) fn bring_in_line(pool: &Pool, sockets: &Sockets, log: &mut Log) -> Vec<Diagnostic> {
    let (key, unix) = match Listen::parse(&pool.listen) {
        Ok(Listen::Unix(path)) => (path.as_os_str().as_bytes().to_vec(), true),
        _ => (pool.listen.clone(), false),
    };
    let Some((fd, bound)) = sockets.ours(&key) else { return Vec::new() };
    let mut problems = Vec::new();
    if let (true, Bound::Unix(path)) = (unix, bound) {
        let access = identity::socket_access(pool, log);
        let changed =
            access.and_then(|access| listener::amend(path, &access).map_err(|error| told(error, pool)));
        problems.extend(changed.err());
    }
    problems.extend(
        listener::listen(fd, pool.listen_backlog)
            .map_err(|source| told(ListenError::Listen(source), pool))
            .err(),
    );
    problems
}

fn told(problem: ListenError, pool: &Pool) -> Diagnostic {
    let address = String::from_utf8_lossy(&pool.listen);
    let tag = format!("[pool {}]", String::from_utf8_lossy(&pool.name));
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

    fn opened(address: &str, sockets: &mut Sockets) -> Result<Socket, String> {
        let pool = Pool { name: b"p".to_vec(), listen: address.into(), ..Pool::default() };
        let opened = open(&pool, sockets, &mut Log::default());
        opened.map_err(|diagnostic| String::from_utf8(diagnostic.text).unwrap())
    }

    #[test]
    fn a_unix_socket_is_opened_once_and_unlinked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let text = path.to_str().unwrap();
        let mut sockets = Sockets::default();
        let socket = opened(text, &mut sockets).unwrap();
        assert!(!socket.is_tcp() && path.exists());
        let again = opened(text, &mut Sockets::default()).unwrap_err();
        assert_eq!(again, format!("Another FPM instance seems to already listen on {text}"));
        assert!(opened(text, &mut sockets).is_ok());
        sockets.unlink();
        assert!(!path.exists());
    }

    #[test]
    fn failures_speak_php_fpms_words() {
        let check = |address: &str, expected: &str| {
            assert_eq!(opened(address, &mut Sockets::default()).unwrap_err(), expected);
        };
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
        assert_eq!(opened(&address, &mut Sockets::default()).unwrap_err(), text);
        drop(busy);
        let mut sockets = Sockets::default();
        let socket = opened(&address, &mut sockets).unwrap();
        let port = address.rsplit_once(':').unwrap().1;
        assert!(socket.is_tcp() && opened(&format!("localhost:{port}"), &mut sockets).is_ok());
        drop((socket, sockets));
        assert!(opened(port, &mut Sockets::default()).unwrap().is_tcp());
    }
}
