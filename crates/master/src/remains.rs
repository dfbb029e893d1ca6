//! What runs of the image of this process before an upgrade: fork servers and workers of the old program. They serve until
//! the workers of our own are there, then they are asked to finish, and those that take too long are made to. They are
//! no pools of ours: nothing is replaced that ends of them.
//!
//! ```text
//! Serving ──workers of the same pool are there──► Asked(QUIT) ─process_control_timeout, else drain_timeout─► TERM ─1 s─► KILL …
//! no worker left: close the channel to the fork server; that gone: nothing of it is left
//! ```

use std::collections::BTreeMap;
use std::io::PipeReader;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use board::message::{Order, Report, VERSION, decode, encode};
use board::scoreboard::{Board, Slot};
use config::Level;
use plan::timeouts::{Limits, Ongoing};
use plan::{Action, Exit, PoolId};
use sys::channel::{Channel, MAX_MESSAGE, Received};
use sys::inherited;
use sys::process::{self, Handle};

use crate::capture::{Capture, Stream, Style};
use crate::handover::{self, Handover};
use crate::heartbeat;
use crate::log::Log;
use crate::mailbox::Mailbox;
use crate::poller::{Poller, Source};
use crate::pool::shown_name;
use crate::supervisor::{SIGKILL, SIGQUIT, SIGTERM, Supervisor};

/// Between the second and all further signals.
const STEP: Duration = Duration::from_secs(1);
/// Reports taken before others get their turn.
const MOST_REPORTS: usize = 64;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    list: BTreeMap<u32, Remnant>,
    /// Ours came by this name; a pool of the new image goes on with it.
    mailboxes: BTreeMap<Vec<u8>, Rc<Mailbox>>,
    /// The master ends when nothing of them is left, with this.
    pub(crate) last_action: Option<Action>,
}

/// A generation.
#[derive(Debug)]
struct Remnant {
    pool: Vec<u8>,
    name: String,
    decorated: bool,
    /// Its engine's messages and scoreboard are those we know.
    understood: bool,
    server: Option<Server>,
    board: Option<(OwnedFd, Option<Board>)>,
    wake: Option<OwnedFd>,
    mailbox: Option<Rc<Mailbox>>,
    workers: Vec<Worker>,
    course: Course,
}

#[derive(Debug)]
struct Server {
    pid: u32,
    channel: Option<Channel>,
    stderr: Option<Capture>,
}

#[derive(Debug)]
struct Worker {
    slot: u32,
    pid: u32,
    handle: Handle,
    capture: Option<Capture>,
}

/// How far it is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Serving,
    Asked { last_signal: i32, deadline: Option<Instant> },
}

impl Course {
    /// The signal that is due, and what follows it.
    fn press(self, now: Instant) -> Option<(i32, Course)> {
        let Course::Asked { last_signal, deadline: Some(deadline) } = self else { return None };
        let signal = if last_signal == SIGQUIT { SIGTERM } else { SIGKILL };
        (now >= deadline)
            .then_some((signal, Course::Asked { last_signal: signal, deadline: Some(now + STEP) }))
    }
}

/// Takes over what was handed on; what cannot be is let go.
struct Taker {
    mailboxes: BTreeMap<(RawFd, RawFd), Rc<Mailbox>>,
    messages: u32,
}

impl Taker {
    fn fd(number: Option<RawFd>) -> Option<OwnedFd> {
        number.and_then(|number| inherited::take(number).ok())
    }

    fn mailbox(&mut self, numbers: Option<(RawFd, RawFd)>) -> Option<Rc<Mailbox>> {
        let key = numbers?;
        if let Some(known) = self.mailboxes.get(&key) {
            return Some(known.clone());
        }
        let (server, workers) = (Taker::fd(Some(key.0))?, Taker::fd(Some(key.1))?);
        let mailbox = Rc::new(Mailbox::adopt(server, workers));
        self.mailboxes.insert(key, mailbox.clone());
        Some(mailbox)
    }

    fn generation(&mut self, generation: handover::Generation) -> Remnant {
        let name = shown_name(&generation.pool);
        let decorated = generation.decorated;
        let style = |who: &str, decorated| Style { speaker: format!("[pool {name}] {who}"), decorated };
        let reader = |number| Taker::fd(number).map(PipeReader::from);
        let understood = self.messages == VERSION;
        let server_pid = generation.server.as_ref().map(|server| server.pid);
        let server = generation.server.map(|server| Server {
            pid: server.pid,
            channel: Taker::fd(server.channel).map(Channel::from_fd),
            stderr: reader(server.stderr)
                .map(|stderr| Capture::adopt(style("fork server", true), None, Some(stderr))),
        });
        let board = Taker::fd(generation.board).map(|fd| {
            let board = Board::open(&fd).ok().filter(|_| understood);
            (fd, board)
        });
        let worker = |left: handover::Worker| {
            let capture = match (reader(left.stdout), reader(left.stderr)) {
                (None, None) => None,
                (stdout, stderr) => Some(Capture::adopt(style("child", decorated), stdout, stderr)),
            };
            // One that its fork server has collected meanwhile is not found. Adopted ones are our own children.
            let parents = server_pid.into_iter().chain([std::process::id()]);
            let handle =
                parents.into_iter().find_map(|parent| Handle::open_child_of(left.pid, parent).ok())?;
            Some(Worker { slot: left.slot, pid: left.pid, handle, capture })
        };
        let workers = generation.workers.into_iter().filter_map(worker).collect();
        Remnant {
            decorated,
            understood,
            server: server.filter(|server| process::is_child(server.pid)),
            board,
            wake: Taker::fd(generation.wake),
            mailbox: self.mailbox(generation.mailbox),
            workers,
            course: Course::Serving,
            pool: generation.pool,
            name,
        }
    }
}

impl Remains {
    /// What the image before us left.
    pub(crate) fn take(messages: u32, generations: Vec<handover::Generation>) -> Remains {
        let mut taker = Taker { mailboxes: BTreeMap::new(), messages };
        let list: BTreeMap<u32, Remnant> =
            (0..).zip(generations.into_iter().map(|generation| taker.generation(generation))).collect();
        let named = list.values().filter(|remnant| remnant.understood);
        let mailboxes =
            named.filter_map(|remnant| Some((remnant.pool.clone(), remnant.mailbox.clone()?))).collect();
        Remains { list, mailboxes, last_action: None }
    }

    /// The mailbox that workers of a pool of this name know.
    pub(crate) fn mailbox(&self, pool: &[u8]) -> Option<Rc<Mailbox>> {
        self.mailboxes.get(pool).cloned()
    }

    /// Nothing of it runs any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One of them may still take a new request. Of a scoreboard of another version that cannot be known.
    pub(crate) fn take_requests(&self) -> bool {
        self.list.values().any(|remnant| {
            remnant.workers.iter().any(|worker| {
                let takes_one = |slot: &Slot| !slot.is_asked() || slot.stage().is_waiting();
                remnant.slot(worker).is_some_and(takes_one)
            })
        })
    }

    /// When the next signal is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let deadline = |remnant: &Remnant| match remnant.course {
            Course::Asked { deadline, .. } => deadline,
            Course::Serving => None,
        };
        self.list.values().filter_map(deadline).min()
    }

    /// For the image after us; `mark` is called for each descriptor it shall have.
    pub(crate) fn describe(
        &self,
        mark: &mut dyn FnMut(&dyn AsFd) -> std::io::Result<RawFd>,
    ) -> std::io::Result<Vec<handover::Generation>> {
        self.list.values().map(|remnant| remnant.describe(mark)).collect()
    }

    /// The poller tells of what they say.
    pub(crate) fn watch(&self, poller: &Poller) {
        for (id, remnant) in &self.list {
            let source = Source::Remnant(*id);
            let server = remnant.server.as_ref();
            if let Some(channel) = server.and_then(|server| server.channel.as_ref()) {
                let _ = poller.watch(channel, source);
            }
            let captures = remnant.workers.iter().filter_map(|worker| worker.capture.as_ref());
            for capture in captures.chain(server.and_then(|server| server.stderr.as_ref())) {
                for stream in [Stream::Stdout, Stream::Stderr] {
                    if let Some(reader) = capture.reader(stream) {
                        let _ = poller.watch(reader, source);
                    }
                }
            }
        }
    }
}

/// The two streams of a capture, for the next image.
pub(crate) fn describe_capture(
    capture: Option<&Capture>,
    mark: &mut dyn FnMut(&dyn AsFd) -> std::io::Result<RawFd>,
) -> std::io::Result<[Option<RawFd>; 2]> {
    let mut numbers = [None, None];
    for (number, stream) in numbers.iter_mut().zip([Stream::Stdout, Stream::Stderr]) {
        if let Some(reader) = capture.and_then(|capture| capture.reader(stream)) {
            *number = Some(mark(&reader)?);
        }
    }
    Ok(numbers)
}

/// The two ends of a mailbox, for the next image.
pub(crate) fn describe_mailbox(
    mailbox: &Mailbox,
    mark: &mut dyn FnMut(&dyn AsFd) -> std::io::Result<RawFd>,
) -> std::io::Result<Option<(RawFd, RawFd)>> {
    let Some(ends) = mailbox.ends() else { return Ok(None) };
    Ok(Some((mark(&ends.server)?, mark(&ends.workers)?)))
}

impl Remnant {
    fn describe(
        &self,
        mark: &mut dyn FnMut(&dyn AsFd) -> std::io::Result<RawFd>,
    ) -> std::io::Result<handover::Generation> {
        let mut server = None;
        if let Some(ours) = &self.server {
            let channel = ours.channel.as_ref().map(|channel| mark(channel)).transpose()?;
            let [_, stderr] = describe_capture(ours.stderr.as_ref(), mark)?;
            server = Some(handover::Server { pid: ours.pid, channel, stderr });
        }
        let mut workers = Vec::new();
        for worker in &self.workers {
            let [stdout, stderr] = describe_capture(worker.capture.as_ref(), mark)?;
            workers.push(handover::Worker { slot: worker.slot, pid: worker.pid, stdout, stderr });
        }
        Ok(handover::Generation {
            pool: self.pool.clone(),
            decorated: self.decorated,
            server,
            board: self.board.as_ref().map(|(fd, _)| mark(fd)).transpose()?,
            wake: self.wake.as_ref().map(|fd| mark(fd)).transpose()?,
            mailbox: self.mailbox.as_ref().map_or(Ok(None), |mailbox| describe_mailbox(mailbox, mark))?,
            workers,
        })
    }

    /// The worker's place in the scoreboard, if that is one we know.
    fn slot(&self, worker: &Worker) -> Option<&Slot> {
        self.board.as_ref().and_then(|(_, board)| board.as_ref()?.slots().get(worker.slot as usize))
    }

    /// The requests of its workers.
    fn ongoing(&self) -> Vec<Ongoing> {
        let request =
            |worker: &Worker| heartbeat::request_of(worker.slot, worker.pid, self.slot(worker)?.view());
        self.workers.iter().filter_map(request).collect()
    }

    /// SIGQUIT means to ask, as with a worker of our own; where the scoreboard is of another version, it is sent.
    fn signal(&self, signal: i32) {
        for worker in &self.workers {
            if signal != SIGQUIT || self.slot(worker).is_none_or(Slot::ask) {
                let _ = worker.handle.signal(signal);
            }
        }
    }

    fn hear(&mut self, log: &mut Log, poller: &Poller) {
        self.take_reports(log, poller);
        if let Some(server) = &mut self.server
            && let Some(stderr) = &mut server.stderr
        {
            stderr.drain(Stream::Stderr, server.pid, log);
        }
        for worker in &mut self.workers {
            for stream in [Stream::Stdout, Stream::Stderr] {
                if let Some(capture) = &mut worker.capture {
                    capture.drain(stream, worker.pid, log);
                }
            }
        }
        self.bury(log);
    }

    fn take_reports(&mut self, log: &mut Log, poller: &Poller) {
        let mut buffer = vec![0; MAX_MESSAGE];
        for _ in 0..MOST_REPORTS {
            let Some(channel) = self.server.as_ref().and_then(|server| server.channel.as_ref()) else {
                return;
            };
            match channel.try_receive(&mut buffer) {
                Ok(Received::Message(length, _)) => {
                    if self.understood
                        && let Ok(Report::Exited { pid, status, .. }) = decode(&buffer[..length])
                    {
                        self.tell_end(pid, status, log);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(Received::Closed) | Err(_) => return self.close_channel(poller),
            }
        }
    }

    fn tell_end(&self, pid: u32, status: i32, log: &mut Log) {
        let Some(exit) = Exit::from_wait_status(status) else { return };
        if self.workers.iter().any(|worker| worker.pid == pid) {
            let level = if exit.is_clean() { Level::Debug } else { exit.level() };
            log.write(level, format!("[pool {}] child {pid} of the program before exited {exit}", self.name));
        }
    }

    fn close_channel(&mut self, poller: &Poller) {
        if let Some(channel) = self.server.as_mut().and_then(|server| server.channel.take()) {
            poller.forget(&channel);
        }
    }

    /// Workers that have been collected by whoever is their parent.
    fn bury(&mut self, log: &mut Log) {
        let (left, gone): (Vec<Worker>, Vec<Worker>) =
            std::mem::take(&mut self.workers).into_iter().partition(|worker| worker.handle.signal(0).is_ok());
        self.workers = left;
        for worker in gone {
            if let Some(capture) = worker.capture {
                capture.finish(worker.pid, log);
            }
        }
    }

    fn retire(&mut self, has_successor: bool) {
        let channel = self.server.as_ref().and_then(|server| server.channel.as_ref());
        if let Some(channel) = channel.filter(|_| has_successor && self.understood) {
            let _ = channel.try_send(&encode(&Order::Retire), &[]);
        }
        self.signal(SIGQUIT);
    }
}

/// What the heartbeat calls it, whose numbers are those of pools: they count from the other end.
fn as_pool(id: u32) -> PoolId {
    usize::MAX - id as usize
}

impl Supervisor {
    /// Takes over what the image before us left running.
    pub(crate) fn take_remains(&mut self, remains: Remains) {
        remains.watch(&self.poller);
        let names: Vec<String> = remains.list.values().map(|remnant| remnant.name.clone()).collect();
        if !names.is_empty() {
            let text =
                format!("workers of the program before go on serving until ours do: {}", names.join(", "));
            self.log.write(Level::Debug, text);
        }
        for (id, remnant) in &remains.list {
            let pool = self.roster.get(&remnant.pool).and_then(|pool| self.pools.get(*pool));
            if let Some(pool) = pool {
                // What their backtraces are read by belongs to the fork servers of the image before.
                let limits = Limits { slow: 0, ..heartbeat::limits(&pool.config) };
                self.timeouts.insert(as_pool(*id), remnant.name.clone(), limits);
            }
        }
        self.remains = remains;
        // The pools have them by now.
        self.remains.mailboxes.clear();
    }

    pub(crate) fn hear_remnant(&mut self, id: u32) {
        if let Some(remnant) = self.remains.list.get_mut(&id) {
            remnant.hear(&mut self.log, &self.poller);
        }
    }

    /// A child of ours has ended: one that the image before us started?
    pub(crate) fn remnant_ended(&mut self, pid: u32, exit: Exit) -> bool {
        for remnant in self.remains.list.values_mut() {
            if remnant.server.as_ref().is_some_and(|server| server.pid == pid) {
                remnant.take_reports(&mut self.log, &self.poller);
                remnant.close_channel(&self.poller);
                if let Some(stderr) = remnant.server.take().and_then(|server| server.stderr) {
                    stderr.finish(pid, &mut self.log);
                }
                remnant.bury(&mut self.log);
                return true;
            }
            if remnant.workers.iter().any(|worker| worker.pid == pid) {
                let text = format!("[pool {}] child {pid} of the program before exited {exit}", remnant.name);
                self.log.write(Level::Debug, text);
                remnant.bury(&mut self.log);
                return true;
            }
        }
        false
    }

    /// Looks how far they are; called whenever something has happened.
    pub(crate) fn see_off_remains(&mut self, now: Instant) {
        let ids: Vec<u32> = self.remains.list.keys().copied().collect();
        for id in ids {
            self.relieve_remnant(id, now);
            let Some(remnant) = self.remains.list.get_mut(&id) else { continue };
            if let Some((signal, course)) = remnant.course.press(now) {
                remnant.bury(&mut self.log);
                remnant.signal(signal);
                remnant.course = course;
                if signal == SIGTERM && !remnant.workers.is_empty() {
                    let text = format!(
                        "{} child(ren) of the program before did not finish in time",
                        remnant.workers.len()
                    );
                    self.log
                        .write(Level::Warning, format!("[pool {}] {text}, terminating them", remnant.name));
                }
                if let Some(server) = remnant.server.as_ref().filter(|_| signal == SIGKILL) {
                    let _ = process::signal_child(server.pid, SIGKILL);
                }
            }
            if matches!(remnant.course, Course::Asked { .. }) && remnant.workers.is_empty() {
                remnant.close_channel(&self.poller);
                if remnant.server.is_none() {
                    self.remains.list.remove(&id);
                    self.timeouts.remove(as_pool(id));
                }
            }
        }
        if self.remains.is_empty()
            && let Some(action) = self.remains.last_action.take()
        {
            self.apply(action);
        }
    }

    /// Ends requests that take too long, if the number is one of ours: `request_terminate_timeout` holds for them, too.
    pub(crate) fn limit_remnant(&mut self, pool: PoolId) -> bool {
        let id = u32::try_from(usize::MAX - pool).ok();
        let Some((id, remnant)) = id.and_then(|id| Some((id, self.remains.list.get(&id)?))) else {
            return false;
        };
        for action in self.timeouts.check(pool, &remnant.ongoing()) {
            match action {
                Action::SignalWorker { slot, signal, .. } => {
                    let remnant = self.remains.list.get(&id);
                    let worker = remnant.and_then(|one| one.workers.iter().find(|one| one.slot == slot));
                    worker.into_iter().for_each(|worker| drop(worker.handle.signal(signal)));
                }
                other => self.apply(other),
            }
        }
        true
    }

    /// Its workers go when those of its successor are there, and those of a pool that is there no more at once.
    fn relieve_remnant(&mut self, id: u32, now: Instant) {
        let Some(remnant) = self.remains.list.get(&id) else { return };
        let successor = self.roster.get(&remnant.pool).copied();
        let relieved = self.hears_workers && successor.is_none_or(|pool| self.plan.is_staffed(pool));
        if remnant.course == Course::Serving && relieved {
            self.ask_remnant(id, successor.is_some(), now);
        }
    }

    fn ask_remnant(&mut self, id: u32, has_successor: bool, now: Instant) {
        let limits = [self.global.process_control_timeout, self.global.drain_timeout];
        let deadline = limits.into_iter().find_map(config::Seconds::duration).map(|limit| now + limit);
        if let Some(remnant) = self.remains.list.get_mut(&id) {
            remnant.retire(has_successor);
            remnant.course = Course::Asked { last_signal: SIGQUIT, deadline };
        }
    }

    /// The master stops: so do they.
    pub(crate) fn stop_remains(&mut self, finishing: bool, now: Instant) {
        let ids: Vec<u32> = self.remains.list.keys().copied().collect();
        for id in ids {
            if finishing {
                self.ask_remnant(id, false, now);
            } else if let Some(remnant) = self.remains.list.get_mut(&id) {
                remnant.signal(SIGTERM);
                remnant.course = Course::Asked { last_signal: SIGTERM, deadline: Some(now + STEP) };
            }
        }
    }

    /// Of the generations that are pools of ours, and of those that the image before us left.
    pub(crate) fn describe_all(
        &self,
        mark: &mut dyn FnMut(&dyn AsFd) -> std::io::Result<RawFd>,
    ) -> std::io::Result<Handover> {
        let mut generations = self.remains.describe(mark)?;
        for pool in self.pools.values().filter(|pool| pool.server.is_some() || !pool.workers.is_empty()) {
            generations.push(pool.describe(mark)?);
        }
        Ok(Handover { messages: VERSION, generations, ..Handover::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_too_long_is_made_to_end() {
        let now = Instant::now();
        let asked = |last_signal, deadline| Course::Asked { last_signal, deadline };
        assert_eq!(Course::Serving.press(now), None);
        assert_eq!(asked(SIGQUIT, None).press(now), None);
        assert_eq!(asked(SIGQUIT, Some(now + STEP)).press(now), None);
        let term = asked(SIGTERM, Some(now + STEP));
        assert_eq!(asked(SIGQUIT, Some(now)).press(now), Some((SIGTERM, term)));
        let kill = asked(SIGKILL, Some(now + STEP + STEP));
        assert_eq!(term.press(now + STEP), Some((SIGKILL, kill)));
        assert_eq!(kill.press(now + STEP + STEP).map(|(signal, _)| signal), Some(SIGKILL));
    }
}
