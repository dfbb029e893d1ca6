//! Sockets of our own that systemd keeps over a restart: what it is given, and what the next start makes of it. The test is
//! systemd. php-fpm has nothing like it.

use std::io::IoSliceMut;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::{Client, Request, Server, Setup, Side, Signal, wait};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};

/// What systemd does with NOTIFY_SOCKET and its store.
struct Manager {
    socket: UnixDatagram,
    address: String,
    folder: tempfile::TempDir,
    /// By name.
    store: Vec<(String, OwnedFd)>,
}

impl Manager {
    fn new() -> Manager {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cornac-store-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("short name");
        let socket = UnixDatagram::bind_addr(&address).expect("own name");
        socket.set_read_timeout(Some(wait::PATIENCE)).expect("own socket");
        let folder = tempfile::tempdir().expect("folder");
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("own folder");
        std::fs::write(folder.path().join("x.php"), "<?php echo fpm_get_status()['pool'];")
            .expect("own folder");
        Manager { socket, address: format!("@{name}"), folder, store: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Pools on sockets in our folder, which stays.
    fn setup(&self, pools: &[&str]) -> Setup {
        let setup = Setup::new().www(&format!("listen = {}", self.path("www.sock").display()));
        let more = pools.iter().fold(setup, |setup, pool| {
            setup.pool(pool, &format!("listen = {}", self.path(&format!("{pool}.sock")).display()))
        });
        let setup = more.env("NOTIFY_SOCKET", &self.address).env("FDSTORE", "8");
        let names: Vec<&str> = self.store.iter().map(|(name, _)| name.as_str()).collect();
        let setup =
            self.store.iter().fold(setup, |setup, (_, fd)| setup.passed(fd.try_clone().expect("own socket")));
        if names.is_empty() { setup } else { setup.activated(&names.len().to_string(), &names.join(":")) }
    }

    /// The next datagram; what it brings is stored, what it names is dropped.
    fn hear(&mut self) -> String {
        let mut buffer = [0; 4096];
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; 4]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<UnixAddr>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )
        .expect("a datagram comes");
        let fds: Vec<OwnedFd> = message
            .cmsgs()
            .expect("whole")
            .filter_map(|control| match control {
                ControlMessageOwned::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            // SAFETY: the kernel just made these descriptors for us.
            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
            .collect();
        let length = message.bytes;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or_default().to_owned();
        if text.starts_with("FDSTORE=1\n") {
            self.store.extend(fds.into_iter().map(|fd| (name.clone(), fd)));
        } else if text.starts_with("FDSTOREREMOVE=1\n") {
            self.store.retain(|(known, _)| *known != name);
        } else {
            assert!(fds.is_empty(), "{text}");
        }
        text
    }

    fn hear_until(&mut self, enough: impl Fn(&Manager, &str) -> bool) {
        loop {
            let text = self.hear();
            if enough(self, &text) {
                return;
            }
        }
    }

    fn start(&mut self, pools: &[&str]) -> Server {
        let server = Server::start(Side::Subject, &self.setup(pools));
        self.hear_until(|_, text| text.starts_with("READY=1\nSTATUS=Ready"));
        server
    }

    fn ask(&self, socket: &str) -> String {
        ask(&self.path("x.php"), &self.path(socket))
    }
}

fn ask(script: &Path, socket: &Path) -> String {
    let script = script.display().to_string();
    let params = [("SCRIPT_FILENAME", script.as_str()), ("REQUEST_METHOD", "GET"), ("SCRIPT_NAME", "/x.php")];
    let request = params.iter().fold(Request::empty(), |request, (name, value)| request.param(name, value));
    Client::unix(socket).send(&request).body()
}

#[test]
fn a_restart_loses_nobody() {
    if same_on_both_sides() {
        return;
    }
    for signal in [Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut manager = Manager::new();
        let (script, socket) = (manager.path("x.php"), manager.path("www.sock"));
        let server = manager.start(&[]);
        manager.hear_until(|manager, _| manager.store.len() == 1);
        assert_eq!(manager.store[0].0, format!("cornac-{}", socket.display()));
        let inode = std::fs::metadata(&socket).expect("socket").ino();
        let mut server = server;
        for _ in 0..5 {
            assert_eq!(manager.ask("www.sock"), "www");
            server.stop_with(signal);
            // Nobody serves, and nobody is turned away.
            let waiting = std::thread::spawn({
                let (script, socket) = (script.clone(), socket.clone());
                move || ask(&script, &socket)
            });
            server = manager.start(&[]);
            assert_eq!(waiting.join().expect("client"), "www");
            assert!(server.log().contains("NOTICE: using inherited socket fd=3, \""), "{}", server.log());
            assert!(!server.log().contains("WARNING"), "{}", server.log());
            assert_eq!(std::fs::metadata(&socket).expect("socket").ino(), inode);
        }
        server.stop();
        assert!(socket.exists() && manager.store.len() == 1);
    }
}

#[test]
fn over_tcp_too() {
    if same_on_both_sides() {
        return;
    }
    let mut manager = Manager::new();
    let probe = TcpListener::bind("127.0.0.1:0").expect("free port");
    let address = probe.local_addr().expect("own socket");
    drop(probe);
    let setup = |manager: &Manager| manager.setup(&[]).www(&format!("listen = {address}"));
    let request = |server: &Server| {
        Client::tcp(address).expect("somebody listens").send(&Request::get(server, "/x.php")).body()
    };
    let server = Server::start(Side::Subject, &setup(&manager).script("x.php", "<?php echo 'served';"));
    manager.hear_until(|manager, _| manager.store.len() == 1);
    assert_eq!(manager.store[0].0, format!("cornac-127.0.0.1%3A{}", address.port()));
    assert_eq!(request(&server), "served");
    server.stop_with(Signal::SIGQUIT);
    let waiting = TcpStream::connect(address).expect("systemd keeps it");
    let server = Server::start(Side::Subject, &setup(&manager).script("x.php", "<?php echo 'served';"));
    assert_eq!(request(&server), "served");
    drop(waiting);
    server.stop();
}

#[test]
fn what_nobody_needs_is_taken_from_systemd() {
    if same_on_both_sides() {
        return;
    }
    let mut manager = Manager::new();
    let server = manager.start(&["b"]);
    manager.hear_until(|manager, _| manager.store.len() == 2);
    // A reload without the pool.
    let fewer = manager.path("b.sock");
    server.configure(&manager.setup(&[]));
    server.signal(Signal::SIGUSR2);
    manager.hear_until(|_, text| text == format!("FDSTOREREMOVE=1\nFDNAME=cornac-{}", fewer.display()));
    assert!(!fewer.exists() && manager.store.len() == 1);
    server.stop();
    // A start without it.
    let server = manager.start(&["b"]);
    manager.hear_until(|manager, _| manager.store.len() == 2);
    server.stop();
    assert!(fewer.exists());
    let server = manager.start(&[]);
    manager.hear_until(|manager, _| manager.store.len() == 1);
    assert!(!fewer.exists());
    assert_eq!(manager.ask("www.sock"), "www");
    // What is left is put right for the configuration as it is now.
    server.stop();
    let setup = manager.setup(&[]).www("listen.mode = 0600");
    let server = Server::start(Side::Subject, &setup);
    let mode = std::fs::metadata(manager.path("www.sock")).expect("socket").mode();
    assert_eq!(mode & 0o777, 0o600);
    server.stop();
}

#[test]
fn a_socket_whose_file_is_gone_is_made_anew() {
    if same_on_both_sides() {
        return;
    }
    let mut manager = Manager::new();
    let server = manager.start(&[]);
    manager.hear_until(|manager, _| manager.store.len() == 1);
    server.stop();
    std::fs::remove_file(manager.path("www.sock")).expect("own folder");
    let server = manager.start(&[]);
    let told = "WARNING: the file of the socket that systemd kept, fd=3, ";
    assert!(server.log().contains(told), "{}", server.log());
    // Dropped, and the new one is kept under the same name.
    manager.hear_until(|manager, text| text.starts_with("FDSTORE=1") && manager.store.len() == 1);
    assert_eq!(manager.ask("www.sock"), "www");
    server.stop();
}

#[test]
fn without_a_store_everything_is_as_ever() {
    if same_on_both_sides() {
        return;
    }
    for value in ["0", "x", ""] {
        let mut manager = Manager::new();
        let setup = manager.setup(&[]).env("FDSTORE", value).env("NOTIFY_SOCKET", &manager.address);
        let server = Server::start(Side::Subject, &setup);
        manager.hear_until(|_, text| text.starts_with("READY=1"));
        server.stop();
        manager.hear_until(|manager, text| text.starts_with("STOPPING=1") && manager.store.is_empty());
        assert!(!manager.path("www.sock").exists());
    }
    // Nobody there to keep anything.
    let manager = Manager::new();
    let server = Server::start(Side::Subject, &manager.setup(&[]).env("NOTIFY_SOCKET", "/no/such/socket"));
    server.wait_log("cannot be given to systemd to keep over a restart: No such file or directory (2)");
    assert_eq!(manager.ask("www.sock"), "www");
    server.stop();
    assert!(!manager.path("www.sock").exists());
}

#[test]
fn more_sockets_than_systemd_keeps() {
    if same_on_both_sides() {
        return;
    }
    let mut manager = Manager::new();
    let setup = manager.setup(&["b", "c"]).env("FDSTORE", "2");
    let server = Server::start(Side::Subject, &setup);
    manager.hear_until(|manager, _| manager.store.len() == 2);
    let told = "WARNING: systemd keeps 2 descriptors and 1 socket(s) more are there: raise FileDescriptorStoreMax= in the unit";
    server.wait_log(told);
    server.stop();
    assert!(manager.path("www.sock").exists() && manager.path("b.sock").exists());
    assert!(!manager.path("c.sock").exists());
    assert!(UnixStream::connect(manager.path("www.sock")).is_ok());
}
