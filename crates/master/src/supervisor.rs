//! The master's loop: wait for signals, reports, output and deadlines; turn them into events for the plan; apply what
//! comes back (`apply`). What children report is checked before it is believed: they run PHP.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use board::message::{Report, decode};
use config::Level;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use plan::{Event, Exit, Plan, PoolId, Request};
use sys::channel::{MAX_MESSAGE, Received};
use sys::daemon::Launcher;
use sys::process;
use sys::signals::Signals;

use crate::capture::Stream;
use crate::log::{Log, printable};
use crate::pid_file::PidFile;
use crate::pool::Pool;

/// Signals the master answers to.
pub(crate) const SIGNALS: [i32; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGCHLD];
const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGUSR1: i32 = 10;
const SIGUSR2: i32 = 12;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;
pub(crate) const SIGKILL: i32 = 9;

/// Everything the running master holds.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) log: Log,
    pub(crate) plan: Plan,
    pub(crate) pools: Vec<Pool>,
    pub(crate) engine: PathBuf,
    pub(crate) signals: Signals,
    pub(crate) poller: Poller,
    /// Where the pid file goes.
    pub(crate) pid_path: Option<PathBuf>,
    pub(crate) pid_file: Option<PidFile>,
    pub(crate) launcher: Option<Launcher>,
    /// Once announced, lines go to stderr rather than to the error log.
    pub(crate) log_to_stderr: bool,
    pub(crate) events: VecDeque<Event>,
    /// The exit code, once the end is reached.
    pub(crate) outcome: Option<u8>,
}

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Signals,
    Channel(PoolId),
    ServerOutput(PoolId),
    WorkerOutput(PoolId, u32, Stream),
}

impl Source {
    /// Kind in the top byte, then 24 bits of pool and 32 of slot.
    fn token(self) -> u64 {
        let (kind, pool, slot) = match self {
            Source::Signals => (0, 0, 0),
            Source::Channel(pool) => (1, pool, 0),
            Source::ServerOutput(pool) => (2, pool, 0),
            Source::WorkerOutput(pool, slot, Stream::Stdout) => (3, pool, slot),
            Source::WorkerOutput(pool, slot, Stream::Stderr) => (4, pool, slot),
        };
        kind << 56 | (pool as u64 & 0xff_ffff) << 32 | u64::from(slot)
    }

    fn from_token(token: u64) -> Source {
        let (pool, slot) = ((token >> 32 & 0xff_ffff) as usize, token as u32);
        match token >> 56 {
            0 => Source::Signals,
            1 => Source::Channel(pool),
            2 => Source::ServerOutput(pool),
            3 => Source::WorkerOutput(pool, slot, Stream::Stdout),
            _ => Source::WorkerOutput(pool, slot, Stream::Stderr),
        }
    }
}

/// Waits for many descriptors at once.
#[derive(Debug)]
pub(crate) struct Poller(Epoll);

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        Ok(Poller(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    pub(crate) fn watch(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        Ok(self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, source.token()))?)
    }

    /// To be called before the descriptor is closed.
    pub(crate) fn forget(&self, fd: impl AsFd) {
        let _ = self.0.delete(fd);
    }

    fn wait(&self, deadline: Option<Instant>) -> io::Result<Vec<Source>> {
        let timeout = deadline.map_or(EpollTimeout::NONE, |deadline| {
            // Rounded up: waking a little early would turn into a busy loop.
            let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
            EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX)
        });
        let mut ready = [EpollEvent::empty(); 64];
        match self.0.wait(&mut ready, timeout) {
            Ok(count) => Ok(ready[..count].iter().map(|event| Source::from_token(event.data())).collect()),
            Err(Errno::EINTR) => Ok(Vec::new()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Supervisor {
    /// Runs until the plan says that it is over; returns the exit code.
    pub(crate) fn run(mut self) -> u8 {
        self.feed(Event::Begin);
        while self.outcome.is_none() {
            let deadline = self.plan.next_deadline();
            let ready = match self.poller.wait(deadline) {
                Ok(ready) => ready,
                Err(error) => {
                    self.log.write(Level::Error, format!("epoll_wait: {error}"));
                    Vec::new()
                }
            };
            // Signals first: what children do because of a Ctrl-C is no surprise then.
            self.take_signals();
            ready.into_iter().for_each(|source| self.handle(source));
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.feed(Event::DeadlineReached);
            }
        }
        self.outcome.unwrap_or(crate::exit_code::SOFTWARE)
    }

    /// Gives an event to the plan and applies what it decides, and what follows from that.
    pub(crate) fn feed(&mut self, event: Event) {
        self.events.push_back(event);
        while let Some(event) = self.events.pop_front() {
            if self.outcome.is_some() {
                return;
            }
            for action in self.plan.on_event(event, Instant::now()) {
                self.apply(action);
            }
        }
    }

    fn handle(&mut self, source: Source) {
        match source {
            Source::Signals => {}
            Source::Channel(pool) => self.take_reports(pool),
            Source::ServerOutput(pool) => self.drain_server(pool),
            Source::WorkerOutput(pool, slot, stream) => self.drain_worker(pool, slot, stream),
        }
    }

    fn take_signals(&mut self) {
        let mut children = false;
        while let Ok(Some(signal)) = self.signals.next() {
            match signal {
                SIGCHLD => children = true,
                SIGTERM | SIGINT => self.feed(Event::Asked(Request::Terminate(signal))),
                SIGQUIT => self.feed(Event::Asked(Request::Finish)),
                SIGUSR1 => self.feed(Event::Asked(Request::Reopen)),
                _ => self.feed(Event::Asked(Request::Reload(signal))),
            }
        }
        if children {
            self.log.write(Level::Debug, "received SIGCHLD");
            self.collect();
        }
    }
}

/// Ends of processes.
impl Supervisor {
    fn collect(&mut self) {
        while let Some((pid, status)) = process::collect() {
            let Some(exit) = Exit::from_wait_status(status) else { continue };
            let server =
                self.pools.iter().position(|pool| pool.server.as_ref().is_some_and(|s| s.pid == pid));
            if let Some(pool) = server {
                self.server_ended(pool, pid, exit);
            } else if let Some((pool, slot)) = self.plan.worker_by_pid(pid) {
                self.worker_ended(pool, slot, exit);
            } else {
                self.stranger_ended(pid, exit);
            }
        }
    }

    /// The last reports and output of a fork server count before its end does; then its workers are looked after.
    fn server_ended(&mut self, pool: PoolId, pid: u32, exit: Exit) {
        self.take_reports(pool);
        if let Some(server) = self.pools[pool].server.take() {
            if let Some(stderr) = server.stderr.reader(Stream::Stderr) {
                self.poller.forget(stderr);
            }
            if let Some(channel) = &server.channel {
                self.poller.forget(channel);
            }
            server.stderr.finish(pid, &mut self.log);
        }
        for (slot, known) in self.plan.workers(pool) {
            match known {
                // Collected by the fork server in its last moments: nobody will ever tell how it ended.
                Some(worker) if !process::is_child(worker) => {
                    self.forget_worker(pool, slot);
                    self.feed(Event::WorkerLost { pool, slot });
                }
                Some(_) => {}
                None => self.find_unreported(pool, slot),
            }
        }
        self.feed(Event::ServerDied { pool, pid, exit });
    }

    /// An ordered worker may have been forked although the fork server died before it said so; then the scoreboard
    /// names it, and it is our child now.
    fn find_unreported(&mut self, pool: PoolId, slot: u32) {
        let pid = self.pools[pool].board.slots()[slot as usize].view().pid;
        if process::is_child(pid) && self.plan.worker_by_pid(pid).is_none() && !self.is_server(pid) {
            self.worker_born(pool, slot, pid, std::process::id());
        } else {
            self.forget_worker(pool, slot);
        }
    }

    fn is_server(&self, pid: u32) -> bool {
        self.pools.iter().filter_map(|pool| pool.server.as_ref()).any(|server| server.pid == pid)
    }

    fn worker_born(&mut self, pool: PoolId, slot: u32, pid: u32, parent: u32) {
        let Some(worker) = self.pools[pool].workers.get_mut(&slot) else { return };
        worker.identify(pid, parent);
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(reader) = worker.capture.as_ref().and_then(|capture| capture.reader(stream)) {
                // Without a watch the output is still read at the worker's end.
                let _ = self.poller.watch(reader, Source::WorkerOutput(pool, slot, stream));
            }
        }
        self.feed(Event::Forked { pool, slot, pid });
    }

    /// Reads what the worker still said, then tells of its end.
    fn worker_ended(&mut self, pool: PoolId, slot: u32, exit: Exit) {
        self.forget_worker(pool, slot);
        self.feed(Event::WorkerExited { pool, slot, exit });
    }

    fn forget_worker(&mut self, pool: PoolId, slot: u32) {
        let Some(worker) = self.pools[pool].workers.remove(&slot) else { return };
        if let Some(capture) = worker.capture {
            for stream in [Stream::Stdout, Stream::Stderr] {
                if let Some(reader) = capture.reader(stream) {
                    self.poller.forget(reader);
                }
            }
            capture.finish(worker.pid, &mut self.log);
        }
        self.pools[pool].board.slots()[slot as usize].vacate();
    }

    /// php-fpm warns of these. It never sees the orphans of scripts, which come to us because we adopt orphans.
    fn stranger_ended(&mut self, pid: u32, exit: Exit) {
        let (level, guess) = match std::process::id() {
            1 => (Level::Notice, "most likely an orphan process (master process is the init process)"),
            _ => (Level::Debug, "most likely an orphan of a script"),
        };
        self.log.write(level, format!("unknown child ({pid}) exited {exit} - {guess}"));
    }
}

/// Reports of fork servers.
impl Supervisor {
    fn take_reports(&mut self, pool: PoolId) {
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            let Some(server) = &self.pools[pool].server else { return };
            let (pid, Some(channel)) = (server.pid, &server.channel) else { return };
            match channel.try_receive(&mut buffer) {
                Ok(Received::Message(length, _)) => match decode(&buffer[..length]) {
                    Ok(report) => self.report(pool, pid, report),
                    Err(malformed) => {
                        let name = &self.pools[pool].name;
                        self.log.write(Level::Error, format!("[pool {name}] fork server {pid}: {malformed}"));
                        return self.kill_server(pool);
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It has ended, which a signal will tell, or it is of no use any more.
                Ok(Received::Closed) | Err(_) => return self.abandon_server(pool),
            }
        }
    }

    fn abandon_server(&mut self, pool: PoolId) {
        let Some(server) = &mut self.pools[pool].server else { return };
        if let Some(channel) = server.channel.take() {
            self.poller.forget(&channel);
        }
        self.kill_server(pool);
    }

    fn report(&mut self, pool: PoolId, server: u32, report: Report) {
        match report {
            Report::Started { php_version, took_ms } => {
                let text = format!("PHP {} started in {took_ms} ms", printable(&php_version));
                self.write_for(pool, Level::Debug, &text);
                self.feed(Event::ServerStarted(pool));
            }
            Report::Refused { reason, configuration } => {
                self.drain_server(pool);
                self.feed(Event::ServerRefused { pool, reason: printable(&reason), configuration });
            }
            Report::Forked { slot, pid } if self.plan.awaits(pool, slot) => {
                self.worker_born(pool, slot, pid, server);
            }
            Report::ForkFailed { slot, errno } if self.plan.awaits(pool, slot) => {
                self.forget_worker(pool, slot);
                let cause = crate::log::errno_text(&io::Error::from_raw_os_error(errno));
                self.feed(Event::ForkFailed { pool, slot, cause });
            }
            Report::Exited { slot, pid, status } if self.plan.worker_by_pid(pid) == Some((pool, slot)) => {
                if let Some(exit) = Exit::from_wait_status(status) {
                    self.worker_ended(pool, slot, exit);
                }
            }
            Report::StrangerExited { pid, status } => {
                let end =
                    Exit::from_wait_status(status).map_or(String::new(), |exit| format!(" exited {exit}"));
                self.write_for(pool, Level::Debug, &format!("process {pid}, begun by PHP's start-up,{end}"));
            }
            Report::Log { level, text } => {
                let level = match level {
                    1 => Level::Debug,
                    2 => Level::Notice,
                    3 => Level::Warning,
                    4 => Level::Error,
                    _ => Level::Alert,
                };
                self.write_for(pool, level, &printable(&text));
            }
            unexpected => {
                self.write_for(pool, Level::Debug, &format!("ignored from the fork server: {unexpected:?}"))
            }
        }
    }

    fn write_for(&mut self, pool: PoolId, level: Level, text: &str) {
        let tag = format!("[pool {}] ", self.pools[pool].name);
        let tag = if text.starts_with(&tag) { "" } else { &tag };
        self.log.write(level, format!("{tag}{text}"));
    }
}

/// Output of children.
impl Supervisor {
    fn drain_server(&mut self, pool: PoolId) {
        let Some(server) = &mut self.pools[pool].server else { return };
        server.stderr.drain(Stream::Stderr, server.pid, &mut self.log);
    }

    fn drain_worker(&mut self, pool: PoolId, slot: u32, stream: Stream) {
        let Some(worker) = self.pools[pool].workers.get_mut(&slot) else { return };
        if let Some(capture) = &mut worker.capture {
            capture.drain(stream, worker.pid, &mut self.log);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_their_tokens() {
        for source in [
            Source::Signals,
            Source::Channel(3),
            Source::ServerOutput(0xff_ffff),
            Source::WorkerOutput(7, u32::MAX, Stream::Stdout),
            Source::WorkerOutput(0, 0, Stream::Stderr),
        ] {
            assert_eq!(Source::from_token(source.token()), source);
        }
    }
}
