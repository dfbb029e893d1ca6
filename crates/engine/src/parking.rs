//! The fork server's car park: kept connections that no worker has time for wait here, as many as there is room for,
//! until the web server sends the next request on them or hangs up. Nothing is ever read from them.
//!
//! ```text
//! worker, wanted elsewhere ──park──► parked ──a request comes──► mailbox ──► any worker that is free
//!                                      └─ hung up, or the longest idle when the park is full: closed
//! ```
//!
//! Who waits in `accept` or on a kept connection of its own is nudged when something is in the mailbox, or when
//! somebody is on the listening socket and nobody in `accept`. Others look by themselves when they end a request.
//! A nudge can come just before the wait that it is meant to end, so it is repeated until what it is for is gone.
//!
//! When the fork server is killed, the connections parked here are closed with it; those in the mailbox are not.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use board::mailbox::{LONGEST, Mail, Traits};
use board::scoreboard::{Board, Calls, Slot, whom_to_nudge};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::socket::{MsgFlags, recv};
use sys::mail;

use crate::worker::nudge_signal;

/// What the epoll tells besides the parked connections, which have numbers from `FIRST` on.
const MAIL: u64 = 0;
const LISTENER: u64 = 1;
const FIRST: u64 = 2;

/// Descriptors that the fork server needs for other things, where the limit is no smaller.
const RESERVE: u64 = 64;
/// A connection that has been idle for so long is not about to be used by the web server.
const SURELY_IDLE: Duration = Duration::from_secs(1);
/// How soon it is looked again whether a nudge has had its effect, and how seldom while all are busy.
const SOON: Duration = Duration::from_millis(2);
const SELDOM: Duration = Duration::from_millis(100);
/// Messages taken before others get their turn.
const MOST_MESSAGES: usize = 64;
/// Connections handed over with one message: few enough for a small limit of descriptors in flight.
const BATCH: usize = 32;

pub(crate) struct Parking {
    epoll: Epoll,
    mailbox: Mailbox,
    listener: RawFd,
    board: &'static Board,
    /// By number: those that were parked first come first.
    parked: BTreeMap<u64, Parked>,
    next: u64,
    /// Those with a request for which the mailbox has no room yet.
    overflow: VecDeque<Parked>,
    room: usize,
    /// The limits of open files that workers have, where ours is higher.
    files: Option<(rlim_t, rlim_t)>,
    duty: Duty,
    /// Those that are idle for a while are closed.
    drains: bool,
    /// What the mailbox's socket is watched for.
    watched_for: EpollFlags,
    /// The next look whether somebody has to be nudged.
    look: Option<Instant>,
    pause: Duration,
    /// The park is full until then.
    full_until: Option<Instant>,
    /// Who takes over has been told to look what lies in the mailbox for workers: ours may all go without it.
    successor_told: bool,
}

/// Both ends of the pool's mailbox.
struct Mailbox {
    server: OwnedFd,
    workers: OwnedFd,
}

struct Parked {
    socket: OwnedFd,
    traits: Traits,
    since: Instant,
}

/// Whether connections are taken in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// Not before there is a worker: until then those of an earlier fork server may be alone with the mailbox.
    Ahead,
    On,
    /// Another fork server does it now.
    Over,
}

/// A worker to nudge, and how to.
pub(crate) struct Reachable<'a> {
    pub(crate) pid: i32,
    pub(crate) slot: &'a Slot,
}

impl Parking {
    pub(crate) fn new(
        server: OwnedFd,
        workers: OwnedFd,
        listener: RawFd,
        board: &'static Board,
    ) -> nix::Result<Parking> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&server, EpollEvent::new(EpollFlags::empty(), MAIL))?;
        // SAFETY: the listening socket stays open for as long as this process lives.
        let borrowed = unsafe { BorrowedFd::borrow_raw(listener) };
        epoll.add(borrowed, EpollEvent::new(EpollFlags::EPOLLONESHOT, LISTENER))?;
        let (files, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
        let raised = files < most && setrlimit(Resource::RLIMIT_NOFILE, most, most).is_ok();
        let room = if raised { most } else { files };
        Ok(Parking {
            epoll,
            mailbox: Mailbox { server, workers },
            listener,
            board,
            parked: BTreeMap::new(),
            next: FIRST,
            overflow: VecDeque::new(),
            room: usize::try_from(left_over(room)).unwrap_or(usize::MAX),
            files: raised.then_some((files, most)),
            duty: Duty::Ahead,
            drains: false,
            watched_for: EpollFlags::empty(),
            look: None,
            full_until: None,
            pause: SOON,
            successor_told: false,
        })
    }

    /// Readable when there is something for `turn`.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// When `turn` has something to do at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let silent =
            self.parked.values().next().filter(|_| self.drains).map(|oldest| oldest.since + SURELY_IDLE);
        [self.look, self.full_until, silent].into_iter().flatten().min()
    }

    /// The mailbox's end that workers use.
    pub(crate) fn workers_end(&self) -> RawFd {
        self.mailbox.workers.as_raw_fd()
    }

    /// Takes from a worker what it must not have: a copy would keep a connection open that is closed here.
    pub(crate) fn leave_to_worker(&self) {
        if let Some((files, most)) = self.files {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, files, most);
        }
        let sockets = self.parked.values().chain(&self.overflow).map(|parked| parked.socket.as_raw_fd());
        for fd in sockets.chain([self.epoll.0.as_raw_fd(), self.mailbox.server.as_raw_fd()]) {
            // SAFETY: the descriptor is the fork server's and never used in this process, which never returns to
            // where its owner would close it.
            unsafe { libc::close(fd) };
        }
    }

    /// The first worker is about to be there.
    pub(crate) fn begin(&mut self) {
        if self.duty == Duty::Ahead {
            self.duty = Duty::On;
            // What a lost fork server left said.
            self.calls().end_watch();
            self.look_soon();
            self.watch_mailbox();
        }
    }

    /// Another fork server takes over: all that is here goes into the mailbox, where that one takes it.
    pub(crate) fn retire(&mut self) {
        self.duty = Duty::Over;
        self.overflow.extend(std::mem::take(&mut self.parked).into_values());
        for parked in &self.overflow {
            let _ = self.epoll.delete(&parked.socket);
        }
        self.look_soon();
        self.watch_mailbox();
    }

    /// Nobody takes over: whoever does not come soon finds a closed connection.
    pub(crate) fn drain(&mut self) {
        self.drains = true;
    }

    fn close_silent(&mut self) {
        let is_silent = |parked: &Parked| parked.since.elapsed() >= SURELY_IDLE;
        while let Some(oldest) =
            self.parked.first_entry().filter(|oldest| self.drains && is_silent(oldest.get()))
        {
            let _ = self.epoll.delete(&oldest.remove().socket);
        }
        self.calls().note_parked(self.parked.len());
    }

    /// Does what is to be done. True if the master has to know that nobody waits for what is in the mailbox.
    pub(crate) fn turn(&mut self, workers: &[Reachable<'_>]) -> bool {
        let mut events = [EpollEvent::empty(); 64];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &events[..count] {
            match event.data() {
                MAIL if event.events().contains(EpollFlags::EPOLLIN) => self.take_mail(),
                // A script has shut the mailbox down: nothing will come any more.
                MAIL => drop(self.epoll.delete(&self.mailbox.server)),
                LISTENER => self.somebody_queued(),
                number => self.woke(number, event.events()),
            }
        }
        self.close_silent();
        if self.duty == Duty::Over {
            self.hand_over();
        } else {
            self.send_ready();
        }
        self.watch_mailbox();
        self.look_who_waits(workers)
    }

    /// At the end of all workers: where that was no hurry, a connection is closed once it has been idle for a while;
    /// for one with a request there is nobody any more.
    pub(crate) fn end(&mut self) {
        if !self.drains {
            return;
        }
        self.take_mail();
        self.duty = Duty::Over;
        self.overflow.clear();
        let _ = self.epoll.delete(&self.mailbox.server);
        while let Some(parked) = self.parked.values().next_back() {
            let left = SURELY_IDLE.saturating_sub(parked.since.elapsed());
            if left.is_zero() {
                return self.parked.clear();
            }
            let mut events = [EpollEvent::empty(); 64];
            let timeout =
                EpollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(EpollTimeout::ZERO);
            let count = self.epoll.wait(&mut events, timeout).unwrap_or(0);
            events[..count].iter().for_each(|event| drop(self.parked.remove(&event.data())));
        }
    }

    fn calls(&self) -> &'static Calls {
        &self.board.header().calls
    }

    fn look_soon(&mut self) {
        self.pause = SOON;
        self.look = Some(Instant::now());
    }

    fn take_mail(&mut self) {
        let mut buffer = [0; LONGEST];
        for _ in 0..MOST_MESSAGES {
            if self.duty != Duty::On || !self.has_room() {
                return;
            }
            match mail::receive(&self.mailbox.server, &mut buffer) {
                Ok((length, fds)) => match Mail::decode(&buffer[..length]) {
                    Some(Mail::Parked(traits)) => {
                        fds.into_iter().zip(traits).for_each(|(socket, traits)| self.park(socket, traits));
                        // Somebody who retired may have left something for the workers, too.
                        self.look_soon();
                    }
                    Some(Mail::Watch) => self.watch_listener(),
                    // The same.
                    None if length == 0 => return self.duty = Duty::Over,
                    None => {}
                },
                Err(_) => break,
            }
        }
        self.calls().mail_taken();
    }

    fn park(&mut self, socket: OwnedFd, traits: Traits) {
        let wanted = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        // What cannot be watched is no connection.
        if self.epoll.add(&socket, EpollEvent::new(wanted, self.next)).is_ok() {
            self.parked.insert(self.next, Parked { socket, traits, since: Instant::now() });
            self.next += 1;
            self.calls().note_parked(self.parked.len());
        }
    }

    /// Makes room by closing those that have been idle for longest, if it is for long enough.
    fn has_room(&mut self) -> bool {
        while self.parked.len() + self.overflow.len() >= self.room {
            let Some(oldest) = self.parked.first_entry() else { return false };
            let left = SURELY_IDLE.saturating_sub(oldest.get().since.elapsed());
            if !left.is_zero() {
                // Until then workers find the mailbox unread and keep what they have.
                self.full_until = Some(Instant::now() + left);
                return false;
            }
            let (_, parked) = oldest.remove_entry();
            let _ = self.epoll.delete(&parked.socket);
        }
        self.full_until = None;
        true
    }

    /// A parked connection has a request on it, or is gone.
    fn woke(&mut self, number: u64, events: EpollFlags) {
        let Some(parked) = self.parked.remove(&number) else { return };
        let _ = self.epoll.delete(&parked.socket);
        self.calls().note_parked(self.parked.len());
        let ends = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        if events.intersects(ends) && !has_bytes(&parked.socket) {
            return;
        }
        self.overflow.push_back(parked);
        self.look_soon();
    }

    /// Into the mailbox for the workers, as much as fits.
    fn send_ready(&mut self) {
        while let Some(Parked { socket, traits, .. }) = self.overflow.front() {
            let mail = Mail::Parked(vec![*traits]).encode();
            self.calls().add_ready(1);
            if let Err(error) = mail::send(&self.mailbox.server, &mail, &[socket.as_raw_fd()]) {
                self.calls().add_ready(-1);
                return self.send_failed(error.kind());
            }
            self.overflow.pop_front();
        }
    }

    /// Into the mailbox for the next fork server.
    fn hand_over(&mut self) {
        while !self.overflow.is_empty() {
            let batch = || self.overflow.iter().take(BATCH);
            let fds: Vec<RawFd> = batch().map(|parked| parked.socket.as_raw_fd()).collect();
            let mail = Mail::Parked(batch().map(|parked| parked.traits).collect()).encode();
            if let Err(error) = mail::send(&self.mailbox.workers, &mail, &fds) {
                return self.send_failed(error.kind());
            }
            self.overflow.drain(..fds.len());
        }
        if !self.successor_told {
            match mail::send(&self.mailbox.workers, &Mail::Parked(Vec::new()).encode(), &[]) {
                Ok(()) => self.successor_told = true,
                Err(error) => self.send_failed(error.kind()),
            }
        }
    }

    /// The mailbox is full, or as many descriptors are on their way as the limit allows: later.
    fn send_failed(&mut self, kind: ErrorKind) {
        if matches!(kind, ErrorKind::BrokenPipe | ErrorKind::NotConnected | ErrorKind::ConnectionReset) {
            self.overflow.clear();
            self.successor_told = true;
        } else {
            let later = Instant::now() + SOON;
            self.look = Some(self.look.map_or(later, |look| look.min(later)));
        }
    }

    fn watch_mailbox(&mut self) {
        let takes = self.duty == Duty::On && self.has_room();
        let wanted = if takes { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        if wanted != self.watched_for
            && self.epoll.modify(&self.mailbox.server, &mut EpollEvent::new(wanted, MAIL)).is_ok()
        {
            self.watched_for = wanted;
        }
    }

    fn watch_listener(&mut self) {
        // SAFETY: the listening socket stays open for as long as this process lives.
        let listener = unsafe { BorrowedFd::borrow_raw(self.listener) };
        let wanted = EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT;
        if self.epoll.modify(listener, &mut EpollEvent::new(wanted, LISTENER)).is_err() {
            self.calls().end_watch();
        }
    }

    /// The listening socket is not watched any more: a worker asks again when it is worth it.
    fn somebody_queued(&mut self) {
        self.calls().end_watch();
        if self.board.header().counts.load().accepting() == 0 {
            self.calls().call_to_queue();
            self.look_soon();
        }
    }

    /// Nudges those that wait, if there is something to do for them.
    fn look_who_waits(&mut self, workers: &[Reachable<'_>]) -> bool {
        let now = Instant::now();
        if self.look.is_none_or(|look| now < look) {
            return false;
        }
        self.look = None;
        if self.duty != Duty::On {
            return self.look_again(!self.overflow.is_empty() || !self.successor_told, now);
        }
        let calls = self.calls();
        let unread = mail::is_unread(self.mailbox.server.as_fd());
        calls.correct_ready(unread);
        let (ready, queued) = (if unread { calls.ready_count().max(1) } else { 0 }, calls.is_queued());
        let chosen = whom_to_nudge(workers.iter().map(|worker| worker.slot), ready, queued);
        let nudged = chosen.into_iter().filter(|index| nudge(&workers[*index])).count();
        self.pause = if nudged > 0 { SOON } else { (self.pause * 2).min(SELDOM) };
        self.look_again(unread || queued || !self.overflow.is_empty(), now);
        unread && nudged == 0
    }

    fn look_again(&mut self, needed: bool, now: Instant) -> bool {
        self.look = needed.then(|| now + self.pause);
        false
    }
}

/// How many connections a limit of open files leaves room for. Never none: what workers have sent before they find that
/// nobody takes it would stay in the mailbox for ever.
fn left_over(limit: rlim_t) -> rlim_t {
    limit.saturating_sub(RESERVE).max(limit / 4).max(1)
}

fn nudge(worker: &Reachable<'_>) -> bool {
    let Reachable { pid, slot } = worker;
    slot.nudge.send(
        || slot.stage().is_waiting(),
        || {
            // SAFETY: kill takes two integers; the process is a child that has not been collected.
            unsafe { libc::kill(*pid, nudge_signal()) };
        },
    )
}

fn has_bytes(socket: &OwnedFd) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    !matches!(recv(socket.as_raw_fd(), &mut [0], flags), Ok(0) | Err(Errno::ECONNRESET | Errno::ENOTSOCK))
}
