//! The master's loop: wait for signals, reports, output and deadlines; turn them into events for the plan; apply what
//! comes back (`apply`). What children do and say is read in `children`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use config::Level;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use plan::timeouts::Timeouts;
use plan::{Event, Plan, PoolId, Request, Why};
use sys::daemon::Launcher;
use sys::signals::Signals;

use crate::capture::Stream;
use crate::inheritance::Sockets;
use crate::log::Log;
use crate::pid_file::PidFile;
use crate::pool::Pool;
use crate::reload::Origin;
use crate::systemd::Systemd;

/// Signals the master answers to.
pub(crate) const SIGNALS: [i32; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGCHLD];
/// Those among them that must not kill the master before it listens to them; they wait.
pub(crate) const EARLY_SIGNALS: [i32; 4] = [SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD];
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
    pub(crate) timeouts: Timeouts,
    pub(crate) pools: Vec<Pool>,
    pub(crate) sockets: Sockets,
    /// What a reload starts again.
    pub(crate) origin: Origin,
    pub(crate) systemd: Systemd,
    pub(crate) engine: PathBuf,
    pub(crate) signals: Signals,
    pub(crate) poller: Poller,
    /// Where the pid file goes.
    pub(crate) pid_path: Option<PathBuf>,
    pub(crate) pid_file: Option<PidFile>,
    pub(crate) launcher: Option<Launcher>,
    /// Ready, and the output of workers is read.
    pub(crate) hears_workers: bool,
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
    /// A worker wakes us.
    Wake(PoolId),
    /// A connection waits on the listening socket.
    Queue(PoolId),
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
            Source::Wake(pool) => (5, pool, 0),
            Source::Queue(pool) => (6, pool, 0),
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
            4 => Source::WorkerOutput(pool, slot, Stream::Stderr),
            5 => Source::Wake(pool),
            _ => Source::Queue(pool),
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

    /// Watches until the descriptor has become ready once.
    pub(crate) fn watch_once(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        Ok(self.0.add(fd, once(source))?)
    }

    /// Watches a descriptor once more.
    pub(crate) fn watch_again(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        Ok(self.0.modify(fd, &mut once(source))?)
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

fn once(source: Source) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, source.token())
}

impl Supervisor {
    /// Runs until the plan says that it is over; returns the exit code.
    pub(crate) fn run(mut self) -> u8 {
        self.feed(Event::Begin);
        while self.outcome.is_none() {
            let deadline = self.plan.next_deadline();
            let others = self.timeouts.deadline().into_iter().chain(self.systemd.deadline());
            let ready = match self.poller.wait(deadline.into_iter().chain(others).min()) {
                Ok(ready) => ready,
                Err(error) => {
                    self.log.write(Level::Error, format!("epoll_wait: {error}"));
                    Vec::new()
                }
            };
            // Signals first: what children do because of a Ctrl-C is no surprise then.
            self.take_signals();
            for source in ready {
                self.handle(source);
                self.work_off();
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.feed(Event::DeadlineReached);
            }
            self.beat(Instant::now());
            self.report_to_systemd(Instant::now());
        }
        self.outcome.unwrap_or(crate::exit_code::SOFTWARE)
    }

    /// Gives an event to the plan and applies what it decides, and what follows from that.
    pub(crate) fn feed(&mut self, event: Event) {
        self.events.push_back(event);
        self.work_off();
    }

    fn work_off(&mut self) {
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
            Source::Wake(pool) => self.woken(pool),
            Source::Queue(pool) => self.look(pool, Why::Queue),
        }
    }

    fn take_signals(&mut self) {
        let mut children = false;
        while let Ok(Some(signal)) = self.signals.next() {
            if signal != SIGCHLD {
                // What workers said before somebody signalled us stands before it in the log.
                self.drain_workers();
            }
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
            Source::Wake(1),
            Source::Queue(0),
        ] {
            assert_eq!(Source::from_token(source.token()), source);
        }
    }
}
