//! What systemd is told, heard on a socket of the test's own: readiness, state, watchdog; and what the log says of it.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicU32, Ordering};

use cornac_tests::scene::{begun, slow};
use cornac_tests::{Server, Setup, Side, binary::same_on_both_sides, compare_runs, wait};
use nix::sys::signal::Signal;
use regex::Regex;

/// Each test's own abstract name.
fn receiver() -> (UnixDatagram, String) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("cornac-notify-{}-{number}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("short name");
    let socket = UnixDatagram::bind_addr(&address).expect("own name");
    socket.set_read_timeout(Some(wait::PATIENCE)).expect("own socket");
    (socket, format!("@{name}"))
}

/// The next datagram, without process ids.
fn hear(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).expect("a datagram comes");
    let pid = Regex::new(r"MAINPID=\d+").expect("pattern");
    pid.replace_all(&String::from_utf8_lossy(&buffer[..length]), "MAINPID={pid}").into_owned()
}

/// Texts of the log after the time, without process ids.
fn said(server: &Server) -> String {
    let pid = Regex::new(r"pid \d+").expect("pattern");
    let log = server.log() + &server.stderr();
    let lines = log.lines().filter_map(|line| line.split_once("] ")).map(|(_, text)| text);
    lines.map(|text| pid.replace_all(text, "pid").into_owned() + "\n").collect()
}

#[test]
fn ready_state_and_lines() {
    compare_runs("interval of a second", None, |side| {
        let (socket, name) = receiver();
        let setup =
            slow().global("systemd_interval = 1\nprocess_control_timeout = 5").env("NOTIFY_SOCKET", &name);
        let server = Server::start(side, &setup);
        let mut heard = vec![hear(&socket), hear(&socket)];
        let client = begun(&server);
        // The next but one was certainly made with the request running.
        hear(&socket);
        let busy = hear(&socket);
        heard.push(busy.split(", Traffic").next().unwrap_or_default().to_owned());
        server.write("tmp/go", "");
        drop(client);
        server.stop();
        format!("{}\n{}", heard.join("\n--\n"), said(&server))
    });
}

#[test]
fn every_form_of_the_interval() {
    for line in
        ["systemd_interval = 0", "systemd_interval = 2m", "systemd_interval = 1", "systemd_interval = -1"]
    {
        compare_runs(line, None, |side| {
            let (socket, name) = receiver();
            let server = Server::start(side, &Setup::new().global(line).env("NOTIFY_SOCKET", &name));
            let ready = hear(&socket);
            server.wait_log("systemd monitor");
            server.stop();
            format!("{ready}\n{}", said(&server))
        });
    }
}

#[test]
fn the_watchdog() {
    for (usec, lines) in [
        ("4000000", ""),
        ("4000000", "systemd_interval = 9"),
        ("1500000", ""),
        ("nonsense", ""),
        ("-5", ""),
        ("60000000", "systemd_interval = 0"),
    ] {
        compare_runs(&format!("WATCHDOG_USEC={usec} {lines}"), None, |side| {
            let (socket, name) = receiver();
            let setup = Setup::new().global(lines).env("NOTIFY_SOCKET", &name).env("WATCHDOG_USEC", usec);
            let server = Server::start(side, &setup);
            let mut heard = hear(&socket);
            if usec == "4000000" {
                heard += &hear(&socket);
            }
            server.wait_log("systemd monitor");
            server.stop();
            format!("{heard}\n{}", said(&server))
        });
    }
}

#[test]
fn a_socket_by_its_path() {
    compare_runs("path", None, |side| {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("own path");
        let server = Server::start(side, &Setup::new().env("NOTIFY_SOCKET", &path.to_string_lossy()));
        let ready = hear(&socket);
        server.stop();
        ready
    });
}

#[test]
fn nobody_there() {
    let reason = "the line says where nobody listens, and why";
    for address in ["/no/such/socket", "@cornac-nobody-listens", "relative", "", "vsock:1:2"] {
        compare_runs(address, Some(reason), |side| {
            let server = Server::start(
                side,
                &Setup::new().global("systemd_interval = 1").env("NOTIFY_SOCKET", address),
            );
            server.wait_log("systemd monitor");
            if !address.is_empty() {
                server.wait_log("failed to notify status");
            }
            let text = said(&server);
            server.stop();
            text
        });
    }
}

/// Everything that is said until `enough`, with numbers of a clock masked.
fn hear_until(socket: &UnixDatagram, enough: impl Fn(&str) -> bool) -> Vec<String> {
    let clock = Regex::new(r"MONOTONIC_USEC=\d+").expect("pattern");
    let mut heard = Vec::new();
    loop {
        let text = clock.replace_all(&hear(socket), "MONOTONIC_USEC={now}").into_owned();
        let last = enough(&text);
        heard.push(text);
        if last {
            return heard;
        }
    }
}

const READY: &str = "READY=1\nSTATUS=Ready to handle connections\nMAINPID={pid}";
const RELOADING: &str = "RELOADING=1\nMONOTONIC_USEC={now}";
const TALKS: &str = "php-fpm says nothing of the begin of a reload or of the stop";

#[test]
fn ready_again_after_a_reload() {
    compare_runs("USR2", Some(TALKS), |side| {
        let (socket, name) = receiver();
        let setup = Setup::new().global("systemd_interval = 0").env("NOTIFY_SOCKET", &name);
        let server = Server::start(side, &setup);
        let first = hear(&socket);
        server.signal(Signal::SIGUSR2);
        let second = hear_until(&socket, |text| text == READY);
        server.wait_ready_times(2);
        server.stop();
        format!("{first}\n{second:?}")
    });
}

/// Whoever called `systemctl reload` waits for these two.
#[test]
fn a_reload_has_a_begin_and_an_end() {
    if same_on_both_sides() {
        return;
    }
    let (socket, name) = receiver();
    // No reports, however slow the machine is.
    let setup = Setup::new().global("systemd_interval = 0").env("NOTIFY_SOCKET", &name);
    let server = Server::start(Side::Subject, &setup);
    assert_eq!(hear(&socket), READY);
    server.signal(Signal::SIGUSR2);
    assert_eq!(hear_until(&socket, |text| text.starts_with("READY")), [RELOADING, READY]);
    server.wait_ready_times(2);
    server.configure(&setup.clone().www("pm.max_children = none"));
    server.signal(Signal::SIGHUP);
    let refused = "READY=1\nSTATUS=Ready to handle connections, the reload was refused";
    assert_eq!(hear_until(&socket, |text| text.starts_with("READY")), [RELOADING, refused]);
    server.wait_log("reload is given up");
    server.stop();
}

#[test]
fn the_stop_is_told_and_extended_while_requests_run() {
    if same_on_both_sides() {
        return;
    }
    for (signal, how) in [(Signal::SIGQUIT, "Finishing ..."), (Signal::SIGTERM, "Terminating ...")] {
        let (socket, name) = receiver();
        let setup = slow()
            .global("systemd_interval = 1\nprocess_control_timeout = 60")
            .env("NOTIFY_SOCKET", &name)
            .env("WATCHDOG_USEC", "4000000");
        let server = Server::start(Side::Subject, &setup);
        let client = begun(&server);
        server.signal(signal);
        let stopping = format!("STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000\nSTATUS={how}");
        hear_until(&socket, |text| text == stopping);
        if signal == Signal::SIGQUIT {
            // The watchdog is fed, nobody is called ready, and more time is asked for.
            let more = hear_until(&socket, |text| text.starts_with("EXTEND_TIMEOUT_USEC="));
            assert!(more.iter().any(|text| text.starts_with("WATCHDOG=1\nSTATUS=Processes")), "{more:?}");
            assert!(!more.iter().any(|text| text.contains("READY=1")), "{more:?}");
        }
        server.write("tmp/go", "");
        drop(client);
        server.expect_gone();
    }
}

/// READY means that somebody accepts: the first worker of each pool has come that far.
#[test]
fn ready_means_that_workers_accept() {
    let (socket, name) = receiver();
    let setup = Setup::new()
        .www("pm.max_children = 20\npm.status_path = /status")
        .pool("lazy", "pm = ondemand")
        .env("NOTIFY_SOCKET", &name);
    let server = Server::start(Side::Subject, &setup);
    assert_eq!(hear(&socket), READY);
    let page = server.get("/status").body();
    let idle = page.lines().find(|line| line.starts_with("idle processes")).unwrap_or_default();
    assert!(idle.ends_with(" 19"), "{page}");
    server.stop();
}

#[test]
fn a_receiver_that_does_not_read_holds_nobody_up() {
    let (_socket, name) = receiver();
    let setup = Setup::new().script("x.php", "<?php echo 'x';").env("NOTIFY_SOCKET", &name);
    let server = Server::start(Side::Subject, &setup.global("systemd_interval = 1"));
    let filler = UnixDatagram::unbound().expect("socket");
    filler.set_nonblocking(true).expect("own socket");
    let address = SocketAddr::from_abstract_name(&name[1..]).expect("short name");
    while filler.send_to_addr(b"x", &address).is_ok() {}
    server.wait_log("failed to notify status");
    assert_eq!(server.get("/x.php").body(), "x");
    server.signal(Signal::SIGUSR2);
    server.wait_ready_times(2);
    server.stop_with(Signal::SIGQUIT);
    // Once, and not every second.
    assert!(server.log().matches("failed to notify status").count() <= 2, "{}", server.log());
}

#[test]
fn in_the_background_the_masters_process_id_is_named() {
    compare_runs("daemonize", None, |side: Side| {
        let (socket, name) = receiver();
        let server = Server::start(side, &Setup::new().daemon().env("NOTIFY_SOCKET", &name));
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("a datagram comes");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let named = text.ends_with(&format!("MAINPID={}", server.master()));
        server.stop();
        named.to_string()
    });
}

#[test]
fn scripts_see_nothing_of_it() {
    let code = "<?php var_dump(getenv('NOTIFY_SOCKET') !== false, getenv('WATCHDOG_USEC') !== false);";
    let reason = "the variables are for the master alone";
    compare_runs("clear_env = no", Some(reason), |side| {
        let (_socket, name) = receiver();
        let setup = Setup::new()
            .www("clear_env = no")
            .script("x.php", code)
            .env("NOTIFY_SOCKET", &name)
            .env("WATCHDOG_USEC", "100000000");
        let server = Server::start(side, &setup);
        let body = server.get("/x.php").body();
        server.stop();
        body
    });
}
