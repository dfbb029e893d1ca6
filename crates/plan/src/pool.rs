//! One pool: its fork server, its workers by slot, and what their coming and going calls for.

use std::time::{Duration, Instant};

use config::Level;

use crate::backoff::Backoff;
use crate::exit::Exit;
use crate::{Action, Phase, Plan, PoolId, PoolSettings, SIGQUIT};

/// A worker that ends by itself before this age, and not cleanly, counts as crashed at birth.
const INFANCY: Duration = Duration::from_secs(1);
/// How long PHP's start-up may take.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A fork server that lived this long is no crash loop.
const SETTLED: Duration = Duration::from_secs(10);
/// Orders a fork server may have unanswered, so that the channel never fills.
const MOST_ORDERS: usize = 32;

#[derive(Debug)]
pub(crate) struct Worker {
    /// Unknown between order and report.
    pub(crate) pid: Option<u32>,
    /// When it was ordered, then when it was reported.
    pub(crate) born: Instant,
    /// It takes the place of one that ended, and is announced louder.
    replacement: bool,
    /// Its fork server is gone; it finishes what it has and is not replaced.
    adopted: bool,
    /// It has been asked to finish because others took over.
    released: bool,
}

/// ```text
/// Down ──StartServer──► Starting ──Started──► Up
///  ▲ └───────◄── died, refused ───┴─────◄─────┘     Closing: told to end with the master
/// ```
#[derive(Debug)]
pub(crate) enum Server {
    Down,
    Starting { deadline: Instant, told: bool },
    Up { since: Instant },
    Closing,
}

#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) settings: PoolSettings,
    pub(crate) server: Server,
    slots: Vec<Option<Worker>>,
    /// Workers of the first filling that are still to be ordered.
    initial: u32,
    crashes: Backoff,
    restarts: Backoff,
}

impl Pool {
    pub(crate) fn new(settings: PoolSettings) -> Pool {
        let slots = (0..settings.slots()).map(|_| None).collect();
        let initial = settings.workers;
        let (crashes, restarts) = (Backoff::new(2), Backoff::new(0));
        Pool { settings, server: Server::Down, slots, initial, crashes, restarts }
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = (u32, &Worker)> {
        (0u32..).zip(&self.slots).filter_map(|(slot, worker)| Some((slot, worker.as_ref()?)))
    }

    pub(crate) fn worker(&self, slot: u32) -> Option<&Worker> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(crate) fn slot_of(&self, pid: u32) -> Option<u32> {
        self.workers().find(|(_, worker)| worker.pid == Some(pid)).map(|(slot, _)| slot)
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<Worker> {
        self.slots.get_mut(slot as usize)?.take()
    }

    /// An order has not been answered yet.
    pub(crate) fn awaits_any(&self) -> bool {
        self.workers().any(|(_, worker)| worker.pid.is_none())
    }

    fn own(&self) -> usize {
        self.workers().filter(|(_, worker)| !worker.adopted).count()
    }

    /// A slot for the next worker, if this pool may order one now.
    fn vacancy(&self, now: Instant) -> Option<u32> {
        let ready = matches!(self.server, Server::Up { .. }) && !self.crashes.held(now);
        let unanswered = self.workers().filter(|(_, worker)| worker.pid.is_none()).count();
        if !ready || unanswered >= MOST_ORDERS || self.own() >= self.settings.workers as usize {
            return None;
        }
        self.slots.iter().position(Option::is_none).map(|slot| slot as u32)
    }

    /// When this pool wants to be looked at again.
    pub(crate) fn deadline(&self, wants_workers: bool) -> Option<Instant> {
        let server = match self.server {
            Server::Starting { deadline, .. } => Some(deadline),
            Server::Down if wants_workers => self.restarts.deadline(),
            _ => None,
        };
        server.into_iter().chain(self.crashes.deadline().filter(|_| wants_workers)).min()
    }
}

/// Fork servers.
impl Plan {
    pub(crate) fn start_server(&mut self, pool: PoolId, now: Instant) {
        self.pools[pool].server = Server::Starting { deadline: now + START_LIMIT, told: false };
        self.actions.push(Action::StartServer(pool));
    }

    pub(crate) fn server_started(&mut self, pool: PoolId, now: Instant) {
        if !matches!(self.pools[pool].server, Server::Starting { .. }) {
            return;
        }
        self.pools[pool].server = Server::Up { since: now };
    }

    /// The workers of a lost fork server may go: others serve by now.
    fn release_adopted(&mut self, pool: PoolId) {
        let adopted = self.pools[pool].slots.iter_mut().zip(0u32..).filter_map(|(worker, slot)| {
            let worker = worker.as_mut().filter(|worker| worker.adopted && !worker.released)?;
            worker.released = true;
            Some(slot)
        });
        for slot in adopted.collect::<Vec<_>>() {
            self.signal_worker(pool, slot, SIGQUIT);
        }
    }

    pub(crate) fn server_refused(&mut self, pool: PoolId, reason: &str, configuration: bool) {
        self.log_pool(pool, Level::Error, reason);
        if let Server::Starting { told, .. } = &mut self.pools[pool].server {
            *told = true;
        }
        if matches!(self.phase, Phase::Starting) {
            self.fail(configuration);
        }
    }

    /// `end` is `None` when there never was a process.
    pub(crate) fn server_died(&mut self, pool: PoolId, end: Option<(u32, Exit)>, now: Instant) {
        let before = std::mem::replace(&mut self.pools[pool].server, Server::Down);
        let adopted = self.adopt(pool);
        match self.phase {
            Phase::Starting | Phase::Announcing => {
                if let Some((pid, exit)) = end {
                    self.log_pool(
                        pool,
                        Level::Error,
                        format!("PHP's start-up failed: process {pid} exited {exit}"),
                    );
                }
                self.fail(false);
            }
            Phase::Normal => {
                if matches!(before, Server::Up { since } if now.duration_since(since) >= SETTLED) {
                    self.pools[pool].restarts.succeeded();
                }
                let delay = self.pools[pool].restarts.failed(now).unwrap_or_default();
                let told = matches!(before, Server::Starting { told: true, .. });
                self.log_server_death(pool, end.filter(|_| !told), adopted, delay);
            }
            Phase::Stopping(_) | Phase::Over => {}
        }
    }

    fn log_server_death(&mut self, pool: PoolId, end: Option<(u32, Exit)>, adopted: usize, delay: Duration) {
        let what = match end {
            Some((pid, exit)) => format!("fork server {pid} exited {exit}; "),
            None => String::new(),
        };
        let next = format!("a new fork server starts in {} ms", delay.as_millis());
        let text = format!("{what}{adopted} worker(s) go on serving, {next}");
        self.log_pool(pool, Level::Warning, text);
    }

    /// The pool's living workers now are the master's children; orders nobody answered are void.
    fn adopt(&mut self, pool: PoolId) -> usize {
        for place in &mut self.pools[pool].slots {
            match place {
                Some(worker) if worker.pid.is_some() => worker.adopted = true,
                _ => *place = None,
            }
        }
        self.pools[pool].workers().count()
    }

    /// Restarts that are due, and start-ups that took too long.
    pub(crate) fn check_servers(&mut self, now: Instant) {
        for pool in 0..self.pools.len() {
            match self.pools[pool].server {
                Server::Down if self.wants_workers() && !self.pools[pool].restarts.held(now) => {
                    self.pools[pool].restarts.release(now);
                    self.start_server(pool, now);
                }
                Server::Starting { deadline, told } if now >= deadline => {
                    // SIGKILL works at once or, on a process stuck in the kernel, not at all: look again later.
                    self.pools[pool].server = Server::Starting { deadline: now + START_LIMIT, told: true };
                    self.actions.push(Action::KillServer(pool));
                    if !told {
                        let seconds = START_LIMIT.as_secs();
                        self.log_pool(
                            pool,
                            Level::Error,
                            format!("PHP did not start within {seconds} seconds"),
                        );
                    }
                    if matches!(self.phase, Phase::Starting) {
                        self.fail(false);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Workers.
impl Plan {
    /// Orders what is missing, pool by pool.
    pub(crate) fn fill(&mut self, now: Instant) {
        for pool in &mut self.pools {
            pool.crashes.release(now);
        }
        for pool in 0..self.pools.len() {
            while let Some(slot) = self.pools[pool].vacancy(now) {
                if !self.process_max_allows() {
                    return;
                }
                self.order(pool, slot, now);
            }
        }
        self.process_max_told = false; // all pools have what they want, the next shortage is a new one
    }

    fn process_max_allows(&mut self) -> bool {
        let all: usize = self.pools.iter().map(|pool| pool.workers().count()).sum();
        let limit = self.settings.process_max as usize;
        if limit == 0 || all < limit {
            return true;
        }
        if !std::mem::replace(&mut self.process_max_told, true) {
            let advice = "Please review your configuration and consider raising 'process.max'";
            self.log(Level::Warning, format!("The maximum number of processes has been reached. {advice}"));
        }
        false
    }

    fn order(&mut self, pool: PoolId, slot: u32, now: Instant) {
        let target = &mut self.pools[pool];
        let replacement = target.initial == 0;
        target.initial = target.initial.saturating_sub(1);
        target.slots[slot as usize] =
            Some(Worker { pid: None, born: now, replacement, adopted: false, released: false });
        self.actions.push(Action::ForkWorker { pool, slot });
    }

    pub(crate) fn forked(&mut self, pool: PoolId, slot: u32, pid: u32, now: Instant) {
        let Some(Some(worker)) = self.pools[pool].slots.get_mut(slot as usize) else { return };
        (worker.pid, worker.born) = (Some(pid), now);
        let level = if worker.replacement { Level::Notice } else { Level::Debug };
        self.log_pool(pool, level, format!("child {pid} started"));
        self.release_adopted(pool);
        if let Phase::Stopping(stop) = &self.phase
            && let Some(signal) = stop.last_signal
        {
            self.signal_worker(pool, slot, signal);
        }
    }

    pub(crate) fn fork_failed(&mut self, pool: PoolId, slot: u32, cause: &str, now: Instant) {
        if self.pools[pool].remove(slot).is_none() {
            return;
        }
        // Without a delay the next order would follow at once, and fail likewise.
        let crashes = &mut self.pools[pool].crashes;
        if !crashes.held(now) {
            while crashes.failed(now).is_none() {}
            self.log(Level::Error, format!("fork() failed: {cause}"));
        }
    }

    pub(crate) fn worker_exited(&mut self, pool: PoolId, slot: u32, exit: Exit, served: bool, now: Instant) {
        let Some(worker) = self.pools[pool].remove(slot) else { return };
        let pid = worker.pid.unwrap_or_default();
        let age = now.duration_since(worker.born);
        let level = if matches!(self.phase, Phase::Normal) { exit.level() } else { Level::Debug };
        let (seconds, micros) = (age.as_secs(), age.subsec_micros());
        let text = format!("child {pid} exited {exit} after {seconds}.{micros:06} seconds from start");
        self.log_pool(pool, level, text);
        if matches!(self.phase, Phase::Normal) && !worker.adopted {
            self.note_end(pool, exit, served || age >= INFANCY, now);
        }
    }

    /// Tells crashes at birth from ordinary ends, and from the crashes of scripts: those cost their own request, a
    /// delay would cost everybody's.
    fn note_end(&mut self, pool: PoolId, exit: Exit, lived: bool, now: Instant) {
        let crashes = &mut self.pools[pool].crashes;
        if exit.is_clean() || lived {
            crashes.succeeded();
        } else if let Some(delay) = crashes.failed(now) {
            let (row, delay) = (crashes.failures(), delay.as_millis());
            let text =
                format!("{row} children in a row ended within a second of their start, waiting {delay} ms");
            self.log_pool(pool, Level::Warning, format!("{text} before the next is started"));
        }
    }

    pub(crate) fn signal_worker(&mut self, pool: PoolId, slot: u32, signal: i32) {
        let Some(pid) = self.pools[pool].worker(slot).and_then(|worker| worker.pid) else { return };
        let name = crate::signal_name(signal);
        self.log_pool(pool, Level::Debug, format!("sending signal {signal} {name} to child {pid}"));
        self.actions.push(Action::SignalWorker { pool, slot, signal });
    }
}
