//! The web server's side under load. In an open loop every request has a moment at which it is due, whatever became of
//! the ones before it, and its latency counts from there: a server that stalls is charged for every request that it
//! kept waiting. One thread, one epoll, new and kept connections at the same time. A failed request is counted, never
//! repeated.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastcgi::client::Client;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::clock_gettime;
use nix::unistd::{Pid, read};

use super::address::Address;
use super::arrivals::{Arrivals, KEPT, NEW, Pace};
use super::tally::{Failure, Tally};
use crate::generator::body_of;
use crate::wire::{Request, take};

/// What is asked for, where, and the answers that count.
pub(crate) struct Target<'a> {
    /// The pool's listening socket.
    pub(crate) address: &'a Address,
    /// The same request twice: for a connection of its own, and for one that is kept.
    pub(crate) requests: &'a [Request; 2],
    /// The bodies that count.
    pub(crate) bodies: &'a [&'a [u8]],
    /// Connections that are kept.
    pub(crate) kept: usize,
    /// A request without its answer after this has failed.
    pub(crate) patience: Duration,
}

/// One stretch of traffic.
pub(crate) struct Stretch<'a> {
    pub(crate) pace: Pace,
    pub(crate) length: Duration,
    /// Signals sent meanwhile: when, what, to whom.
    pub(crate) signals: &'a [(Duration, Signal, i32)],
    /// Ends it early.
    pub(crate) stop: Option<&'a AtomicBool>,
    /// Counts right answers as they come.
    pub(crate) progress: Option<&'a AtomicU64>,
}

impl Stretch<'_> {
    /// Nothing but traffic.
    pub(crate) fn plain(pace: Pace, length: Duration) -> Stretch<'static> {
        Stretch { pace, length, signals: &[], stop: None, progress: None }
    }
}

/// The generator, with its kept connections.
pub(crate) struct Traffic<'a> {
    target: &'a Target<'a>,
    epoll: Epoll,
    timer: TimerFd,
    armed: u64,
    slots: Vec<Slot>,
    /// Slots without a request, by kind of connection.
    idle: [Vec<usize>; 2],
    /// Due, but every slot is taken.
    waiting: [VecDeque<u64>; 2],
    busy: usize,
    received: Vec<u8>,
    arrivals: Arrivals,
    tally: Tally,
}

/// One connection and the request on it.
struct Slot {
    kind: usize,
    stream: Option<OwnedFd>,
    /// When the request was due; `None` without one.
    due: Option<u64>,
    sent: bool,
    answer: Client,
    stdout: Vec<u8>,
}

const TIMER: u64 = u64::MAX;
/// More requests than this at once wait in the generator, as they would in a web server.
const MOST_NEW: usize = 1500;
const LOOK_FOR_TIMEOUTS: u64 = 50_000_000;

impl<'a> Traffic<'a> {
    /// No connection is open yet.
    pub(crate) fn new(target: &'a Target<'a>) -> Result<Traffic<'a>, String> {
        let failed = |error: Errno| format!("load generator: {error}");
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed)?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(failed)?;
        let edge = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, TIMER);
        epoll.add(timer.as_fd(), edge).map_err(failed)?;
        let slot = |kind| Slot {
            kind,
            stream: None,
            due: None,
            sent: false,
            answer: Client::new(),
            stdout: Vec::new(),
        };
        let slots = (0..target.kept + MOST_NEW).map(|at| slot(if at < target.kept { KEPT } else { NEW }));
        Ok(Traffic {
            target,
            epoll,
            timer,
            armed: 0,
            slots: slots.collect(),
            idle: [(target.kept..target.kept + MOST_NEW).collect(), (0..target.kept).collect()],
            waiting: Default::default(),
            busy: 0,
            received: vec![0; 64 * 1024],
            arrivals: Arrivals::new(Pace::Closed(0), 0, 0),
            tally: Tally::default(),
        })
    }

    /// Runs one stretch to its end: nothing is due after its length, and what is under way is waited for. `Err` when the
    /// generator itself cannot go on.
    pub(crate) fn run(&mut self, stretch: &Stretch) -> Result<Tally, String> {
        self.tally = Tally { bodies: vec![0; self.target.bodies.len()], ..Tally::default() };
        let (began, cpu) = (now(), thread_time());
        self.arrivals = Arrivals::new(stretch.pace, self.target.kept, began);
        let end = began + nanoseconds(stretch.length);
        let mut signals =
            stretch.signals.iter().map(|(at, signal, pid)| (began + nanoseconds(*at), *signal, *pid));
        let mut signal = signals.next();
        let mut look = began + LOOK_FOR_TIMEOUTS;
        let mut events = [EpollEvent::empty(); 256];
        loop {
            let now = now();
            while let Some((_, name, pid)) = signal.filter(|(at, ..)| *at <= now) {
                // Whether the master is still there shows in what becomes of the requests.
                let _ = kill(Pid::from_raw(pid), name);
                signal = signals.next();
            }
            if now >= look {
                self.give_up(now);
                look = now + LOOK_FOR_TIMEOUTS;
            }
            let stopped = stretch.stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
            let over = now >= end || stopped;
            self.send_waiting()?;
            // What was due before the end is sent, however late that is noticed.
            if !stopped && (now < end || matches!(stretch.pace, Pace::Open(_))) {
                self.send_due(now, end)?;
            }
            if over && self.busy == 0 && self.waiting.iter().all(VecDeque::is_empty) {
                break;
            }
            let next = if over { u64::MAX } else { end.min(self.arrivals.next()) };
            self.arm(look.min(next).min(signal.map_or(u64::MAX, |(at, ..)| at)))?;
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(format!("epoll: {error}")),
            };
            let before = self.tally.answered();
            for event in events[..count].iter().filter(|event| event.data() != TIMER) {
                self.ready(event.data() as usize)?;
            }
            if let Some(progress) = stretch.progress {
                progress.fetch_add(self.tally.answered() - before, Ordering::Relaxed);
            }
        }
        let mut tally = std::mem::take(&mut self.tally);
        tally.elapsed = Duration::from_nanos(now() - began);
        tally.cpu = thread_time().saturating_sub(cpu);
        Ok(tally)
    }

    fn send_due(&mut self, now: u64, end: u64) -> Result<(), String> {
        while let Some((due, kind)) = self.arrivals.take(now.min(end)) {
            self.tally.lateness.push(now - due);
            match self.idle[kind].pop() {
                Some(slot) => self.begin(slot, due)?,
                None => self.waiting[kind].push_back(due),
            }
        }
        Ok(())
    }

    /// Slots that have become free serve those that wait, the oldest first.
    fn send_waiting(&mut self) -> Result<(), String> {
        for kind in [NEW, KEPT] {
            while !self.waiting[kind].is_empty()
                && let Some(slot) = self.idle[kind].pop()
                && let Some(due) = self.waiting[kind].pop_front()
            {
                self.begin(slot, due)?;
            }
        }
        Ok(())
    }

    /// Sends a request on a connection of the slot, which has none yet or a kept one.
    fn begin(&mut self, index: usize, due: u64) -> Result<(), String> {
        self.busy += 1;
        let slot = &mut self.slots[index];
        slot.due = Some(due);
        slot.sent = false;
        slot.answer = Client::new();
        slot.stdout.clear();
        if slot.stream.is_none() {
            match self.target.address.connect() {
                Ok(stream) => slot.stream = Some(stream),
                Err(error) if is_own(error) => return Err(format!("load generator: connect: {error}")),
                Err(error) => {
                    self.end(index, Err((Failure::of(error), None)));
                    return Ok(());
                }
            }
            self.send(index, true)
        } else {
            self.send(index, false)
        }
    }

    /// Sends the request, or has the kernel tell when that is possible: the connection may still be under way.
    fn send(&mut self, index: usize, unknown_to_epoll: bool) -> Result<(), String> {
        let slot = &mut self.slots[index];
        let Some(stream) = &slot.stream else { return Ok(()) };
        let bytes = self.target.requests[slot.kind].bytes();
        let result = send(stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL);
        let interest = match result {
            Ok(count) if count == bytes.len() => {
                slot.sent = true;
                EpollFlags::EPOLLIN
            }
            Ok(count) => return Err(format!("load generator: only {count} bytes of a request were sent")),
            Err(Errno::EAGAIN) => EpollFlags::EPOLLOUT,
            Err(error) => {
                self.end(index, Err((Failure::of(error), None)));
                return Ok(());
            }
        };
        let mut event = EpollEvent::new(interest, index as u64);
        let watched = match (unknown_to_epoll, slot.sent) {
            (true, _) => self.epoll.add(stream, event),
            (false, true) => Ok(()),
            (false, false) => self.epoll.modify(stream, &mut event),
        };
        watched.map_err(|error| format!("load generator: epoll: {error}"))
    }

    /// Something has come on a slot's connection, or it can be sent on.
    fn ready(&mut self, index: usize) -> Result<(), String> {
        let slot = &mut self.slots[index];
        let Some(stream) = &slot.stream else { return Ok(()) };
        if slot.due.is_some() && !slot.sent {
            let mut event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
            self.epoll
                .modify(stream, &mut event)
                .map_err(|error| format!("load generator: epoll: {error}"))?;
            return self.send(index, false);
        }
        let outcome = match read(stream, &mut self.received) {
            Err(Errno::EAGAIN) => return Ok(()),
            Ok(0) | Err(_) if slot.due.is_none() => {
                // A kept connection that was closed between two requests: that is the server's right.
                slot.stream = None;
                return Ok(());
            }
            Ok(0) => Err((Failure::ClosedEarly, None)),
            Err(error) => Err((Failure::of(error), None)),
            Ok(count) => match take(&mut slot.answer, &self.received[..count], &mut slot.stdout) {
                Ok(false) => return Ok(()),
                Ok(true) => judge(&slot.stdout, self.target.bodies),
                Err(error) => Err((Failure::Body, Some(error.to_string()))),
            },
        };
        self.end(index, outcome);
        Ok(())
    }

    /// Counts a request. Its slot is free again.
    fn end(&mut self, index: usize, outcome: Outcome) {
        let now = now();
        let slot = &mut self.slots[index];
        let Some(due) = slot.due.take() else { return };
        let kind = slot.kind;
        if kind == NEW || outcome.is_err() {
            slot.stream = None;
        }
        self.busy -= 1;
        self.arrivals.through(kind, outcome.is_ok(), now);
        match outcome {
            Ok(body) => {
                self.tally.latencies.push(now - due);
                if kind == KEPT {
                    self.tally.on_kept.push(now - due);
                }
                self.tally.bodies[body] += 1;
            }
            Err((failure, text)) => {
                self.tally.fail(failure, kind == KEPT);
                self.tally.example = self.tally.example.take().or(text);
            }
        }
        self.idle[kind].push(index);
    }

    /// Requests that have waited too long fail, also those that were never sent.
    fn give_up(&mut self, now: u64) {
        let late = |due: u64| now.saturating_sub(due) > nanoseconds(self.target.patience);
        for kind in [NEW, KEPT] {
            while self.waiting[kind].front().is_some_and(|due| late(*due)) {
                self.waiting[kind].pop_front();
                self.arrivals.through(kind, false, now);
                self.tally.fail(Failure::Timeout, kind == KEPT);
            }
        }
        let slots: Vec<usize> =
            (0..self.slots.len()).filter(|index| self.slots[*index].due.is_some_and(late)).collect();
        for index in slots {
            self.end(index, Err((Failure::Timeout, None)));
        }
    }

    fn arm(&mut self, at: u64) -> Result<(), String> {
        if self.armed != at {
            let expiration = Expiration::OneShot(TimeSpec::from_duration(Duration::from_nanos(at)));
            let set = self.timer.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME);
            set.map_err(|error| format!("load generator: timer: {error}"))?;
            self.armed = at;
        }
        Ok(())
    }
}

type Outcome = Result<usize, (Failure, Option<String>)>;

/// Which of the bodies it is.
fn judge(stdout: &[u8], bodies: &[&[u8]]) -> Outcome {
    let text = || Some(String::from_utf8_lossy(&stdout[..stdout.len().min(300)]).into_owned());
    match body_of(stdout) {
        Ok(body) => bodies.iter().position(|one| *one == body).ok_or_else(|| (Failure::Body, text())),
        Err(_) => Err((Failure::Status, text())),
    }
}

/// Errors of connecting that say nothing about the server.
fn is_own(error: Errno) -> bool {
    matches!(error, Errno::EMFILE | Errno::ENFILE | Errno::EADDRNOTAVAIL | Errno::ENOBUFS | Errno::ENOMEM)
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

/// CLOCK_MONOTONIC, as PHP's `hrtime` reads it too. It cannot fail for this clock.
pub(crate) fn now() -> u64 {
    clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(0, |time| nanoseconds(time.into()))
}

fn thread_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else { return Duration::ZERO };
    let part = |time: nix::sys::time::TimeVal| {
        Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()) as u64)
    };
    part(usage.user_time()) + part(usage.system_time())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bodies_that_are_expected_count() {
        let bodies: [&[u8]; 2] = [b"one", b"two"];
        assert_eq!(judge(b"Content-type: text/html\r\n\r\ntwo", &bodies), Ok(1));
        let wrong = |stdout: &[u8]| judge(stdout, &bodies).map_err(|(failure, _)| failure);
        assert_eq!(wrong(b"Content-type: text/html\r\n\r\nthree"), Err(Failure::Body));
        assert_eq!(wrong(b"Status: 500 Internal Server Error\r\n\r\n"), Err(Failure::Status));
    }
}
