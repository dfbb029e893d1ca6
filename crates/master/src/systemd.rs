//! What systemd is told: that we are ready, that a reload or the stop begins, and from time to time how busy we are; with a
//! watchdog, that we live; which sockets to keep. Plain datagrams as sd_notify(3) describes them, in php-fpm's words where
//! php-fpm sends them. Without NOTIFY_SOCKET nobody is told anything, and the log lines are the same.
//!
//! No BARRIER=1: it is for senders that are gone before they can be looked up. The master is there while it is heard, and
//! would have to wait for the answer.

mod store;

use std::env;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use board::scoreboard::Stage as WorkerStage;
use config::{Global, Level};
use sys::clock::monotonic_us;
use sys::notify;

use crate::log::{errno_text, printable};
use crate::supervisor::Supervisor;

/// How often workers that have been forked are asked whether they accept.
const ARRIVAL_STEP: Duration = Duration::from_millis(1);
/// How long that may hold up the message that we are ready.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(5);
/// How much longer a stop may take than until now, and how often that is said anew: a master that hangs is not waited for.
const EXTENSION: Duration = Duration::from_secs(15);
const EXTENSION_STEP: Duration = Duration::from_secs(5);

/// Sums over all pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    active: u32,
    idle: u32,
    requests: u64,
    slow: u64,
}

/// What systemd takes us for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Serving,
    Reloading,
    Stopping,
}

/// The workers of a start or reload are forked, and on their way to accept.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    next: Instant,
    until: Instant,
}

/// The connection to systemd, if it started us.
#[derive(Debug)]
pub(crate) struct Systemd {
    /// NOTIFY_SOCKET as it stands in the environment.
    address: Option<Vec<u8>>,
    /// Between reports, in milliseconds; 0: none.
    interval: u32,
    watchdog: bool,
    /// How many descriptors it keeps for our successor.
    keeps: usize,
    stage: Stage,
    next: Option<Instant>,
    arrival: Option<Arrival>,
    extension: Option<Instant>,
    /// It did not take all sockets at once.
    store_again: Option<Instant>,
    store_full_told: bool,
    /// It has been said that reports do not arrive.
    deaf: bool,
    last_requests: u64,
}

impl Systemd {
    pub(crate) fn new(global: &Global) -> Systemd {
        let address = env::var_os("NOTIFY_SOCKET").map(OsStringExt::into_vec);
        // systemd sets it from version 254 on; with an older one the unit has to, beside FileDescriptorStoreMax=.
        let keeps = env::var("FDSTORE").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
        Systemd {
            keeps: if address.is_some() { keeps } else { 0 },
            address,
            interval: u32::try_from(global.systemd_interval).unwrap_or(0),
            watchdog: global.systemd_watchdog,
            stage: Stage::Starting,
            next: None,
            arrival: None,
            extension: None,
            store_again: None,
            store_full_told: false,
            deaf: false,
            last_requests: 0,
        }
    }

    /// The configuration has changed.
    pub(crate) fn configure(&mut self, global: &Global) {
        self.interval = u32::try_from(global.systemd_interval).unwrap_or(0);
        self.watchdog = global.systemd_watchdog;
    }

    /// When something is to be told next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let arrival = self.arrival.map(|arrival| arrival.next);
        [self.next, arrival, self.extension, self.store_again].into_iter().flatten().min()
    }

    fn schedule(&mut self, now: Instant) {
        self.next = (self.interval > 0).then(|| now + Duration::from_millis(self.interval.into()));
    }

    fn send(&self, text: &str) -> io::Result<()> {
        self.send_with(text, &[])
    }

    /// systemd takes what comes; somebody else who does not does not hold us up.
    fn send_with(&self, text: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.address.as_ref().map_or(Ok(()), |address| notify::send(address, text.as_bytes(), fds))
    }

    /// php-fpm's state line; `traffic` is what came since the last one.
    fn report(&mut self, totals: Totals) -> String {
        let Totals { active, idle, requests, slow } = totals;
        let came = requests.saturating_sub(self.last_requests);
        self.last_requests = requests;
        let traffic = came as f64 * 1000.0 / f64::from(self.interval.max(1));
        // Ready again would be the end of a reload or stop.
        let ready = if self.stage == Stage::Serving { "READY=1\n" } else { "" };
        let watchdog = if self.watchdog { "WATCHDOG=1\n" } else { "" };
        format!(
            "{ready}{watchdog}STATUS=Processes active: {active}, idle: {idle}, Requests: {requests}, \
             slow: {slow}, Traffic: {traffic:.2}req/sec"
        )
    }
}

/// Beginnings and ends.
impl Supervisor {
    /// All workers that were wanted are forked: say that we are ready as soon as they accept, and begin with the reports.
    pub(crate) fn tell_systemd_ready(&mut self) {
        let now = Instant::now();
        self.systemd.arrival = Some(Arrival { next: now, until: now + ARRIVAL_LIMIT });
        self.await_workers(now);
    }

    fn await_workers(&mut self, now: Instant) {
        let Some(Arrival { next, until }) = self.systemd.arrival else { return };
        if now < next {
            return;
        }
        if now < until && !self.workers_accept() {
            self.systemd.arrival = Some(Arrival { next: now + ARRIVAL_STEP, until });
            return;
        }
        self.systemd.arrival = None;
        self.say_ready(now);
    }

    /// Nobody is still between fork and accept.
    fn workers_accept(&self) -> bool {
        self.pools.iter().all(|(id, pool)| {
            let moved_in = |slot: u32| {
                let place = pool.board.slots().get(slot as usize);
                place.is_none_or(|place| place.stage() != WorkerStage::Empty)
            };
            self.plan.workers(id).into_iter().all(|(slot, pid)| pid.is_none() || moved_in(slot))
        })
    }

    fn say_ready(&mut self, now: Instant) {
        self.systemd.stage = Stage::Serving;
        let text = format!("READY=1\nSTATUS=Ready to handle connections\nMAINPID={}", std::process::id());
        match self.systemd.send(&text) {
            Ok(()) => self.log.write(Level::Debug, "have notify start to systemd"),
            Err(error) => {
                let address =
                    self.systemd.address.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                let cause = error.raw_os_error().map_or_else(|| error.to_string(), |_| errno_text(&error));
                let text = "failed to notify start to systemd";
                self.log
                    .write(Level::Warning, format!("{text}: NOTIFY_SOCKET={}: {cause}", printable(&address)));
            }
        }
        self.systemd.schedule(now);
        let text = match self.systemd.interval {
            0 => "systemd monitor disabled".to_owned(),
            interval => format!("systemd monitor interval set to {interval}ms"),
        };
        self.log.write(Level::Notice, text);
        self.store_sockets(now);
    }

    /// A reload begins. Whoever asked systemd for it waits until we are ready again.
    pub(crate) fn systemd_reloading(&mut self) {
        if self.systemd.stage == Stage::Serving {
            self.systemd.stage = Stage::Reloading;
            let _ = self.systemd.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_us()));
        }
    }

    /// It was refused: everything serves as before.
    pub(crate) fn systemd_reloaded(&mut self) {
        if self.systemd.stage == Stage::Reloading {
            self.systemd.stage = Stage::Serving;
            let _ = self.systemd.send("READY=1\nSTATUS=Ready to handle connections, the reload was refused");
        }
    }

    /// The stop begins. As long as it goes on, systemd is told to wait: how long it may take is the plan's to say.
    pub(crate) fn systemd_stopping(&mut self, how: &str) {
        let again = self.systemd.stage == Stage::Stopping;
        self.systemd.stage = Stage::Stopping;
        (self.systemd.arrival, self.systemd.store_again) = (None, None);
        self.systemd.extension = Some(Instant::now() + EXTENSION_STEP);
        let stopping = if again { "" } else { "STOPPING=1\n" };
        let _ = self.systemd.send(&format!("{stopping}{}\nSTATUS={how}", extension()));
    }
}

fn extension() -> String {
    format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros())
}

/// From time to time.
impl Supervisor {
    /// Tells what is due.
    pub(crate) fn serve_systemd(&mut self, now: Instant) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| now >= deadline);
        self.await_workers(now);
        if due(self.systemd.next) {
            self.report_to_systemd(now);
        }
        if due(self.systemd.extension) {
            self.systemd.extension = Some(now + EXTENSION_STEP);
            let _ = self.systemd.send(&extension());
        }
        if due(self.systemd.store_again) {
            self.store_sockets(now);
        }
    }

    fn report_to_systemd(&mut self, now: Instant) {
        self.systemd.schedule(now);
        let text = self.systemd.report(self.totals());
        let failed = self.systemd.send(&text).is_err();
        if failed && !self.systemd.deaf {
            self.log.write(Level::Notice, "failed to notify status to systemd");
        }
        self.systemd.deaf = failed;
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
        Systemd { stage: Stage::Serving, ..Systemd::new(&global) }
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
    fn only_who_serves_says_so() {
        let mut systemd = systemd(1000, true);
        let begin = |systemd: &mut Systemd, stage| {
            systemd.stage = stage;
            systemd.report(Totals::default()).split("STATUS").next().unwrap().to_owned()
        };
        assert_eq!(begin(&mut systemd, Stage::Serving), "READY=1\nWATCHDOG=1\n");
        for stage in [Stage::Starting, Stage::Reloading, Stage::Stopping] {
            assert_eq!(begin(&mut systemd, stage), "WATCHDOG=1\n");
        }
    }

    #[test]
    fn without_an_address_nobody_is_told() {
        let mut systemd = systemd(0, false);
        systemd.address = None;
        systemd.send("READY=1").unwrap();
        systemd.address = Some(b"/no/such/socket".to_vec());
        assert!(systemd.send("READY=1").is_err());
    }
}
