//! A service on a socket that somebody else holds, as systemd does: stopped and started again, any number of times and
//! however it ends, while a client connects all the time. Whoever connects is answered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::run::until_exit;
use cornac_tests::{Client, Request, Server, Setup, Side, Signal, wait};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const ROUNDS: u32 = 5;

/// Where the socket is.
#[derive(Clone, Debug)]
enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Holds the socket, and starts a server when somebody connects.
struct Holder {
    folder: tempfile::TempDir,
    socket: OwnedFd,
    address: Address,
    /// By FPM_SOCKETS, as php-fpm wants it, and not by LISTEN_FDS.
    by_fpm_sockets: bool,
}

impl Holder {
    fn new(tcp: bool, by_fpm_sockets: bool) -> Holder {
        let folder = tempfile::tempdir().expect("folder");
        let set = |path: &std::path::Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("own folder");
        };
        set(folder.path(), 0o755);
        std::fs::write(folder.path().join("x.php"), "<?php echo 'served';").expect("own folder");
        let (socket, address): (OwnedFd, _) = if tcp {
            let listener = TcpListener::bind("127.0.0.1:0").expect("free port");
            let address = Address::Tcp(listener.local_addr().expect("own socket"));
            (listener.into(), address)
        } else {
            let path = folder.path().join("www.sock");
            let listener = UnixListener::bind(&path).expect("own folder");
            set(&path, 0o666);
            (listener.into(), Address::Unix(path))
        };
        Holder { folder, socket, address, by_fpm_sockets }
    }

    fn listen(&self) -> String {
        match &self.address {
            Address::Unix(path) => path.display().to_string(),
            Address::Tcp(address) => address.to_string(),
        }
    }

    fn setup(&self) -> Setup {
        let setup = Setup::new()
            .www(&format!("listen = {}", self.listen()))
            .passed(self.socket.try_clone().expect("own socket"));
        match self.by_fpm_sockets {
            true => setup.env("FPM_SOCKETS", &format!("{}=3", self.listen())),
            false => setup.activated("1", "php.socket"),
        }
    }

    /// Waits for a connection, then starts a server for it.
    fn start(&self, setup: &Setup) -> Server {
        wait::until(|| self.is_awaited().then_some(())).expect("somebody connects");
        Server::launch(Side::Subject, setup)
    }

    fn is_awaited(&self) -> bool {
        let mut asked = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    fn request(&self) -> Vec<u8> {
        let script = self.folder.path().join("x.php").display().to_string();
        let params =
            [("SCRIPT_FILENAME", script.as_str()), ("REQUEST_METHOD", "GET"), ("SCRIPT_NAME", "/x.php")];
        params.iter().fold(Request::empty(), |request, (name, value)| request.param(name, value)).encode()
    }

    /// One request on a new connection. `Ok(false)`: the connection was taken and then cut.
    fn ask(&self) -> Result<bool, String> {
        fn exchange(mut stream: impl Read + Write, request: &[u8]) -> bool {
            let mut reply = Vec::new();
            let sent = stream.write_all(request).is_ok();
            let read = stream.read_to_end(&mut reply).is_ok();
            sent && read && reply.windows(6).any(|part| part == b"served")
        }
        let patience = Some(wait::PATIENCE);
        match &self.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(|error| format!("connect: {error}"))?;
                stream.set_read_timeout(patience).expect("own socket");
                Ok(exchange(stream, &self.request()))
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
                stream.set_read_timeout(patience).expect("own socket");
                Ok(exchange(stream, &self.request()))
            }
        }
    }

    fn inode(&self) -> Option<u64> {
        match &self.address {
            Address::Unix(path) => Some(std::fs::metadata(path).expect("its file stays").ino()),
            Address::Tcp(_) => None,
        }
    }
}

/// The four ways to hold a socket and hand it in, side by side.
fn each_way(check: impl Fn(Holder, &str) + Sync) {
    if same_on_both_sides() {
        return;
    }
    std::thread::scope(|scope| {
        for (tcp, by_fpm_sockets) in [(false, false), (false, true), (true, false), (true, true)] {
            let check = &check;
            let name = format!(
                "{} by {}",
                if tcp { "TCP" } else { "unix" },
                if by_fpm_sockets { "FPM_SOCKETS" } else { "LISTEN_FDS" }
            );
            scope.spawn(move || check(Holder::new(tcp, by_fpm_sockets), &name));
        }
    });
}

/// A client that connects all the time, and rounds of starts that end by a signal. How many requests were cut.
fn rounds(holder: &Holder, name: &str, signal: Signal) -> u32 {
    let (answered, cut, over) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    let before = holder.inode();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(SeqCst) {
                let outcome = holder.ask().unwrap_or_else(|error| panic!("{name}: {error}"));
                if outcome { &answered } else { &cut }.fetch_add(1, SeqCst);
            }
        });
        for round in 1..=ROUNDS {
            let server = holder.start(&holder.setup());
            let so_far = answered.load(SeqCst);
            wait::until(|| (answered.load(SeqCst) >= so_far + 20).then_some(()))
                .unwrap_or_else(|| panic!("{name}: nobody is answered in round {round}\n{}", server.log()));
            server.signal(signal);
            server.expect_gone();
            assert_eq!(holder.inode(), before, "{name}");
        }
        let last = Server::launch(Side::Subject, &holder.setup());
        let so_far = answered.load(SeqCst);
        wait::until(|| (answered.load(SeqCst) > so_far + 1).then_some(())).expect("answered");
        over.store(true, SeqCst);
        // What the client is waiting for comes.
        wait::until(|| (!holder.is_awaited()).then_some(())).expect("nobody waits");
        last.stop_with(Signal::SIGQUIT);
    });
    cut.into_inner()
}

#[test]
fn by_sigquit() {
    each_way(|holder, name| assert_eq!(rounds(&holder, name, Signal::SIGQUIT), 0, "{name}"));
}

/// SIGTERM cuts what a worker is at in that moment, as with php-fpm: of one client at most one request a round.
#[test]
fn by_sigterm() {
    each_way(|holder, name| {
        let cut = rounds(&holder, name, Signal::SIGTERM);
        assert!(cut <= ROUNDS, "{name}: {cut} requests were cut");
    });
}

#[test]
fn by_sigkill_to_the_master() {
    each_way(|holder, name| {
        let cut = rounds(&holder, name, Signal::SIGKILL);
        assert!(cut <= ROUNDS, "{name}: {cut} requests were cut");
    });
}

/// It goes when nobody comes, and is there for whoever comes at the very moment it goes.
#[test]
fn by_idle_exit() {
    each_way(|holder, name| {
        let before = holder.inode();
        let answered = || assert_eq!(holder.ask(), Ok(true), "{name}");
        for round in 0..ROUNDS {
            std::thread::scope(|scope| {
                let first = scope.spawn(answered);
                let setup = holder.setup().global("idle_exit = 1");
                let server = holder.start(&if round % 2 == 0 { setup } else { setup.www("pm = ondemand") });
                first.join().expect("answered");
                let leaves =
                    "NOTICE: nobody has used this service for 1 s, it ends until the next connection";
                server.wait_log(leaves);
                // Now somebody comes: either everything goes on, or the next server answers.
                let second = scope.spawn(answered);
                let ended = wait::until(|| {
                    let went_on = server.log().contains("somebody has come meanwhile, everything goes on");
                    (went_on || server.exit_status().is_some()).then(|| server.exit_status().is_some())
                });
                if ended.expect("one of both") {
                    // A worker on its way out may have been faster than both.
                    wait::until(|| (second.is_finished() || holder.is_awaited()).then_some(()));
                    let next = (!second.is_finished()).then(|| holder.start(&holder.setup()));
                    second.join().expect("answered");
                    next.iter().for_each(|next| next.stop_with(Signal::SIGQUIT));
                } else {
                    second.join().expect("answered");
                    server.wait_log_times(leaves, 2);
                }
                assert_eq!(server.wait_exit(), 0, "{name}");
                server.expect_gone();
                assert!(server.log().ends_with("NOTICE: exiting, bye-bye!\n"), "{}", server.log());
                assert_eq!(holder.inode(), before, "{name}");
            });
        }
    });
}

#[test]
fn a_long_request_keeps_it() {
    if same_on_both_sides() {
        return;
    }
    let holder = Holder::new(false, false);
    let go = holder.folder.path().join("go");
    let script = format!(
        "<?php while (!file_exists('{}')) {{ usleep(10000); clearstatcache(); }} echo 'served';",
        go.display()
    );
    std::fs::write(holder.folder.path().join("x.php"), script).expect("own folder");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| holder.ask());
        let server = holder.start(&holder.setup().global("idle_exit = 1"));
        server.wait_log("ready to handle");
        // Nothing tells that it has looked; three times the limit is enough for several looks.
        std::thread::sleep(Duration::from_secs(3));
        assert!(!server.log().contains("nobody has used"), "{}", server.log());
        std::fs::write(&go, "").expect("own folder");
        assert_eq!(waiting.join().expect("client"), Ok(true));
        assert_eq!(server.wait_exit(), 0);
    });
}

/// nginx keeps connections for a minute by default; one that is closed while it sends a request on it costs that request.
#[test]
fn an_idle_kept_connection_keeps_it() {
    if same_on_both_sides() {
        return;
    }
    let holder = Holder::new(false, false);
    let Address::Unix(path) = &holder.address else { unreachable!("it is a unix socket") };
    let mut web_server = Client::unix(path);
    let script = holder.folder.path().join("x.php").display().to_string();
    let params = [("SCRIPT_FILENAME", script.as_str()), ("REQUEST_METHOD", "GET"), ("SCRIPT_NAME", "/x.php")];
    let request =
        params.iter().fold(Request::empty().keep(), |request, (name, value)| request.param(name, value));
    web_server.write(&request.encode()).expect("sent");
    let server = holder.start(&holder.setup().global("idle_exit = 1"));
    assert_eq!(web_server.read_reply().body(), "served");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(web_server.send(&request).body(), "served");
    // Parked: its worker is wanted by somebody else.
    assert_eq!(holder.ask(), Ok(true));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(web_server.send(&request).body(), "served");
    assert!(!server.log().contains("nobody has used"), "{}", server.log());
    drop(web_server);
    assert_eq!(server.wait_exit(), 0);
}

/// Who would start it again?
#[test]
fn idle_exit_needs_somebody_who_holds_the_sockets() {
    if same_on_both_sides() {
        return;
    }
    let line = "ERROR: idle_exit: the socket \"{dir}/www.sock\" is not handed in; nobody would start the service again";
    let own = until_exit(Side::Subject, &Setup::new().global("idle_exit = 1"));
    assert!(own.contains(line) && own.contains("78"), "{own}");
    let mixed =
        Setup::new().pool("b", "").handed_in("{dir}/b.sock").activated("1", "").global("idle_exit = 1");
    let mixed = until_exit(Side::Subject, &mixed);
    assert!(mixed.contains(line), "{mixed}");
    // A reload is refused for the same reason.
    let setup = Setup::new().handed_in("{dir}/www.sock").activated("1", "");
    let server = Server::start(Side::Subject, &setup);
    server.configure(&setup.clone().pool("b", "").global("idle_exit = 1"));
    server.signal(Signal::SIGUSR2);
    server.wait_log("reload is given up");
    let told = server.fill("idle_exit: the socket \"{dir}/b.sock\" is not handed in");
    assert!(server.log().contains(&told), "{}", server.log());
    assert!(!server.socket("b").exists());
    server.stop();
}
