//! What systemd is told: that we are ready, and from time to time how busy we are; with a watchdog, that we live. Plain
//! datagrams as sd_notify(3) describes them, in php-fpm's words. Without NOTIFY_SOCKET nobody is told anything, and the
//! log lines are the same.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use config::{Global, Level};

use crate::supervisor::Supervisor;

/// Sums over all pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    active: u32,
    idle: u32,
    requests: u64,
    slow: u64,
}

/// The connection to systemd, if it started us.
#[derive(Debug)]
pub(crate) struct Systemd {
    /// NOTIFY_SOCKET as it stands in the environment.
    address: Option<Vec<u8>>,
    /// Between reports, in milliseconds; 0: none.
    interval: u32,
    watchdog: bool,
    next: Option<Instant>,
    last_requests: u64,
}

impl Systemd {
    pub(crate) fn new(global: &Global) -> Systemd {
        Systemd {
            address: env::var_os("NOTIFY_SOCKET").map(OsStringExt::into_vec),
            interval: u32::try_from(global.systemd_interval).unwrap_or(0),
            watchdog: global.systemd_watchdog,
            next: None,
            last_requests: 0,
        }
    }

    /// The configuration has changed.
    pub(crate) fn configure(&mut self, global: &Global) {
        self.interval = u32::try_from(global.systemd_interval).unwrap_or(0);
        self.watchdog = global.systemd_watchdog;
    }

    /// When the next report is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    fn schedule(&mut self, now: Instant) {
        self.next = (self.interval > 0).then(|| now + Duration::from_millis(self.interval.into()));
    }

    fn send(&self, text: &str) -> io::Result<()> {
        let Some(address) = &self.address else { return Ok(()) };
        let address = match address.as_slice() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            path @ [b'/', ..] => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(path)))?,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let socket = UnixDatagram::unbound()?;
        // systemd takes what comes; somebody else who does not must not hold us up.
        socket.set_nonblocking(true)?;
        socket.send_to_addr(text.as_bytes(), &address).map(drop)
    }

    /// php-fpm's state line; `traffic` is what came since the last one.
    fn report(&mut self, totals: Totals) -> String {
        let Totals { active, idle, requests, slow } = totals;
        let came = requests.saturating_sub(self.last_requests);
        self.last_requests = requests;
        let traffic = came as f64 * 1000.0 / f64::from(self.interval.max(1));
        let watchdog = if self.watchdog { "WATCHDOG=1\n" } else { "" };
        format!(
            "READY=1\n{watchdog}STATUS=Processes active: {active}, idle: {idle}, Requests: {requests}, \
             slow: {slow}, Traffic: {traffic:.2}req/sec"
        )
    }
}

impl Supervisor {
    /// We serve: say so, and begin with the reports.
    pub(crate) fn tell_systemd_ready(&mut self) {
        let text = format!("READY=1\nSTATUS=Ready to handle connections\nMAINPID={}", std::process::id());
        match self.systemd.send(&text) {
            Ok(()) => self.log.write(Level::Debug, "have notify start to systemd"),
            Err(_) => self.log.write(Level::Warning, "failed to notify start to systemd"),
        }
        self.systemd.schedule(Instant::now());
        let text = match self.systemd.interval {
            0 => "systemd monitor disabled".to_owned(),
            interval => format!("systemd monitor interval set to {interval}ms"),
        };
        self.log.write(Level::Notice, text);
    }

    /// A reload begins.
    pub(crate) fn systemd_reloading(&mut self) {}

    /// It was refused: everything serves as before.
    pub(crate) fn systemd_reloaded(&mut self) {}

    /// Sends the report if it is due.
    pub(crate) fn report_to_systemd(&mut self, now: Instant) {
        if self.systemd.next.is_none_or(|next| now < next) {
            return;
        }
        self.systemd.schedule(now);
        let text = self.systemd.report(self.totals());
        if self.systemd.send(&text).is_err() {
            self.log.write(Level::Notice, "failed to notify status to systemd");
        }
    }

    fn totals(&self) -> Totals {
        self.pools.values().fold(Totals::default(), |sum, pool| {
            let (idle, active) = pool.board.census();
            let header = pool.board.header();
            Totals {
                active: sum.active.saturating_add(active),
                idle: sum.idle.saturating_add(idle),
                requests: sum.requests.wrapping_add(header.accepted.load(Relaxed)),
                slow: sum.slow.wrapping_add(header.slow_requests.load(Relaxed).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn systemd(interval: i32, watchdog: bool) -> Systemd {
        let global = Global { systemd_interval: interval, systemd_watchdog: watchdog, ..Global::default() };
        Systemd::new(&global)
    }

    #[test]
    fn reports_are_php_fpms() {
        let mut systemd = systemd(2000, false);
        let totals = Totals { active: 1, idle: 2, requests: 7, slow: 3 };
        let expected =
            "READY=1\nSTATUS=Processes active: 1, idle: 2, Requests: 7, slow: 3, Traffic: 3.50req/sec";
        assert_eq!(systemd.report(totals), expected);
        assert!(systemd.report(totals).ends_with("Traffic: 0.00req/sec"));
        assert!(systemd.report(Totals::default()).ends_with("Traffic: 0.00req/sec"));
        systemd.watchdog = true;
        assert!(systemd.report(totals).starts_with("READY=1\nWATCHDOG=1\nSTATUS="));
    }

    #[test]
    fn reports_are_due_only_with_an_interval() {
        let now = Instant::now();
        for (interval, due) in [(10_000, Some(now + Duration::from_secs(10))), (0, None), (-1000, None)] {
            let mut systemd = systemd(interval, false);
            assert_eq!(systemd.deadline(), None);
            systemd.schedule(now);
            assert_eq!(systemd.deadline(), due);
        }
    }

    #[test]
    fn datagrams_go_to_a_path_or_a_name_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("cornac-test-{}", std::process::id());
        let at_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let mut systemd = systemd(0, false);
        let mut buffer = [0; 64];
        for (address, receiver) in
            [(path.as_os_str().as_bytes().to_vec(), at_path), (format!("@{name}").into_bytes(), at_name)]
        {
            systemd.address = Some(address);
            systemd.send("READY=1").unwrap();
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1");
        }
        for address in ["", "relative", "vsock:1:2", "/no/such/socket"] {
            systemd.address = Some(address.into());
            assert!(systemd.send("READY=1").is_err(), "{address}");
        }
        systemd.address = None;
        systemd.send("READY=1").unwrap();
    }
}
