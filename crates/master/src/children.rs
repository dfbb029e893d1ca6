//! What the master learns of its children: their ends, the fork servers' reports, the output of both. What a child
//! says is checked before it is believed: it runs PHP.

use std::io;

use board::message::{Report, decode};
use config::Level;
use plan::timeouts::at_work;
use plan::{Event, Exit, PoolId};
use sys::channel::{MAX_MESSAGE, Received};
use sys::process;
use sys::spawn::LastSteps;

use crate::capture::Stream;
use crate::log::{errno_text, printable};
use crate::poller::Source;
use crate::pool::Worker;
use crate::supervisor::Supervisor;
use crate::{fork_server, heartbeat};

/// Reports taken from one fork server before the others get their turn.
const MOST_REPORTS: usize = 64;
/// Turns to empty the channel of one that has ended.
const LAST_TURNS: usize = 64;

/// Ends of processes.
impl Supervisor {
    pub(crate) fn collect(&mut self) {
        while let Some((pid, status)) = process::collect() {
            let server =
                self.pools.iter().find(|(_, pool)| pool.server.as_ref().is_some_and(|s| s.pid == pid));
            let server = server.map(|(pool, _)| pool);
            let Some(exit) = Exit::from_wait_status(status) else {
                self.paused(server, pid, status);
                continue;
            };
            if let Some(pool) = server {
                self.server_ended(pool, pid, exit);
            } else if let Some((pool, slot)) = self.plan.worker_by_pid(pid) {
                self.worker_ended(pool, slot, exit);
            } else if !self.trial_ended(pid, exit) && !self.remnant_ended(pid, exit) {
                self.stranger_ended(pid, exit);
            }
        }
    }

    fn paused(&mut self, server: Option<PoolId>, pid: u32, status: i32) {
        let Ok(signal) = Exit::pause_from_wait_status(status) else { return };
        if let Some(pool) = server {
            self.feed(Event::ServerPaused { pool, pid, signal });
        } else if let Some((pool, slot)) = self.plan.worker_by_pid(pid) {
            self.feed(Event::WorkerPaused { pool, slot, signal });
        }
    }

    /// The last reports and output of a fork server count before its end does; then its workers are looked after.
    fn server_ended(&mut self, pool: PoolId, pid: u32, exit: Exit) {
        if let Some(server) = &mut self.pools[pool].server {
            server.ended = true;
        }
        self.hear_last_steps(pool);
        // No more can be in the channel, unless a descendant of it goes on sending.
        (0..LAST_TURNS).for_each(|_| self.take_reports(pool));
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
                Some(worker) if self.is_ours(pool, slot) && process::is_child(worker) => {}
                // Collected by the fork server in its last moments, or never a worker: nobody will ever tell how
                // it ended.
                Some(_) => {
                    self.forget_worker(pool, slot);
                    self.feed(Event::WorkerLost { pool, slot });
                }
                None => self.find_unreported(pool, slot),
            }
        }
        self.drop_wake(pool);
        self.feed(Event::ServerDied { pool, pid, exit });
    }

    /// An ordered worker may have been forked although the fork server died before it said so; then the scoreboard
    /// names it, and it is our child now.
    fn find_unreported(&mut self, pool: PoolId, slot: u32) {
        let pid = self.pools[pool].board.slots()[slot as usize].view().pid;
        let user = self.pools[pool].user;
        if process::is_child(pid) && process::user_of(pid) == Some(user) && !self.is_known(pid) {
            self.worker_born(pool, slot, pid, std::process::id());
        } else {
            self.forget_worker(pool, slot);
        }
    }

    fn is_ours(&self, pool: PoolId, slot: u32) -> bool {
        self.pools[pool].workers.get(&slot).is_some_and(Worker::is_identified)
    }

    /// The number is that of a fork server or of a worker already.
    fn is_known(&self, pid: u32) -> bool {
        self.is_server(pid) || self.plan.worker_by_pid(pid).is_some()
    }

    fn is_server(&self, pid: u32) -> bool {
        self.pools.values().filter_map(|pool| pool.server.as_ref()).any(|server| server.pid == pid)
    }

    fn worker_born(&mut self, pool: PoolId, slot: u32, pid: u32, parent: u32) {
        let Some(worker) = self.pools[pool].workers.get_mut(&slot) else { return };
        worker.identify(pid, parent);
        if self.hears_workers {
            self.hear_worker(pool, slot);
        }
        self.feed(Event::Forked { pool, slot, pid });
    }

    /// Reads what the worker still said, then tells of its end.
    fn worker_ended(&mut self, pool: PoolId, slot: u32, exit: Exit) {
        let place = self.pools[pool].board.slots()[slot as usize].view();
        let served = place.requests > 0;
        let pid = self.pools[pool].workers.get(&slot).map_or(0, |worker| worker.pid);
        let request = heartbeat::request_of(slot, pid, place);
        self.forget_worker(pool, slot);
        if let Some(text) = request.and_then(|request| at_work(&request, exit)) {
            self.write_for(pool, Level::Warning, &text);
        }
        self.feed(Event::WorkerExited { pool, slot, exit, served });
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
        let board = &self.pools[pool].board;
        board.vacate(&board.slots()[slot as usize]);
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
    /// A fork server that could not be executed has nothing else to say.
    pub(crate) fn hear_last_steps(&mut self, pool: PoolId) {
        let Some(server) = &mut self.pools[pool].server else { return };
        let Some(outcome) = server.last_steps.as_mut().and_then(LastSteps::outcome) else { return };
        if let Some(last_steps) = server.last_steps.take() {
            self.poller.forget(&last_steps);
        }
        if let Err(error) = outcome {
            let reason = fork_server::sentence(&error, &self.pools[pool], &self.engine);
            self.feed(Event::ServerRefused { pool, reason, configuration: true });
        }
    }

    pub(crate) fn take_reports(&mut self, pool: PoolId) {
        let mut buffer = vec![0; MAX_MESSAGE];
        for _ in 0..MOST_REPORTS {
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
            Report::Started { php_version, took_ms, layout, warnings } => {
                let text = format!("PHP {} started in {took_ms} ms", printable(&php_version));
                self.write_for(pool, Level::Debug, &text);
                self.step_forward(pool);
                self.prepare_traces(pool, server, layout);
                match self.new_warning(pool, warnings) {
                    None => self.feed(Event::ServerStarted(pool)),
                    Some(reason) => {
                        self.feed(Event::ServerRefused { pool, reason, configuration: true });
                        self.kill_server(pool);
                    }
                }
            }
            Report::Refused { reason, configuration } => {
                self.drain_server(pool);
                if let Some(server) = &mut self.pools[pool].server {
                    server.stderr.let_go(server.pid, &mut self.log);
                }
                self.feed(Event::ServerRefused { pool, reason: printable(&reason), configuration });
            }
            Report::Forked { slot, pid } if self.plan.awaits(pool, slot) && !self.is_known(pid) => {
                self.worker_born(pool, slot, pid, server);
            }
            Report::ForkFailed { slot, errno } if self.plan.awaits(pool, slot) => {
                self.forget_worker(pool, slot);
                let cause = errno_text(&io::Error::from_raw_os_error(errno));
                self.feed(Event::ForkFailed { pool, slot, cause });
            }
            Report::Exited { slot, pid, status } if self.plan.worker_by_pid(pid) == Some((pool, slot)) => {
                match Exit::from_wait_status(status) {
                    Some(exit) => self.worker_ended(pool, slot, exit),
                    None => self.paused(None, pid, status),
                }
            }
            Report::Sources { changed } => self.sources_checked(pool, changed),
            Report::Waiting => self.mail_waits(pool),
            Report::Trace { slot, pid, outcome, more } => self.traced(pool, slot, pid, outcome, more),
            Report::StrangerExited { pid, status } => {
                let end =
                    Exit::from_wait_status(status).map_or(String::new(), |exit| format!(" exited {exit}"));
                self.write_for(pool, Level::Debug, &format!("process {pid}, begun by PHP's start-up,{end}"));
            }
            Report::Log { level, text } => {
                self.write_for(pool, Level::from_number(level), &printable(&text));
            }
            _ => {
                self.write_for(pool, Level::Debug, "a report of the fork server does not fit and is ignored")
            }
        }
    }

    pub(crate) fn write_for(&mut self, pool: PoolId, level: Level, text: &str) {
        let tag = format!("[pool {}] ", self.pools[pool].name);
        let tag = if text.starts_with(&tag) { "" } else { &tag };
        self.log.write(level, format!("{tag}{text}"));
    }
}

/// Output of children.
impl Supervisor {
    pub(crate) fn drain_server(&mut self, pool: PoolId) {
        let Some(server) = &mut self.pools[pool].server else { return };
        server.stderr.drain(Stream::Stderr, server.pid, &mut self.log);
    }

    /// From now on workers and fork servers are heard: what the first ones say stands in the log after the line that we
    /// are ready, as in php-fpm, where extensions of a pool are loaded by its workers.
    pub(crate) fn hear_workers(&mut self) {
        self.hears_workers = true;
        for server in self.pools.values_mut().filter_map(|pool| pool.server.as_mut()) {
            server.stderr.let_go(server.pid, &mut self.log);
        }
        for pool in self.pools.ids() {
            let slots: Vec<u32> = self.pools[pool].workers.keys().copied().collect();
            slots.into_iter().for_each(|slot| self.hear_worker(pool, slot));
        }
    }

    fn hear_worker(&self, pool: PoolId, slot: u32) {
        let Some(worker) = self.pools[pool].workers.get(&slot) else { return };
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(reader) = worker.capture.as_ref().and_then(|capture| capture.reader(stream)) {
                // Without a watch the output is still read at the worker's end.
                let _ = self.poller.watch(reader, Source::WorkerOutput(pool, slot, stream));
            }
        }
    }

    /// Reads what all workers have said so far.
    pub(crate) fn drain_workers(&mut self) {
        let born = self
            .pools
            .values_mut()
            .flat_map(|pool| pool.workers.values_mut())
            .filter(|worker| worker.pid != 0);
        for worker in born {
            let Some(capture) = &mut worker.capture else { continue };
            for stream in [Stream::Stdout, Stream::Stderr] {
                capture.drain(stream, worker.pid, &mut self.log);
            }
        }
    }

    pub(crate) fn drain_worker(&mut self, pool: PoolId, slot: u32, stream: Stream) {
        let Some(worker) = self.pools[pool].workers.get_mut(&slot) else { return };
        if let Some(capture) = &mut worker.capture {
            capture.drain(stream, worker.pid, &mut self.log);
        }
    }
}
