//! What should run, and what to do next. Settings and events in, actions out: no clock, no I/O, no process.
//! The master waits, feeds `Plan::on_event`, and applies what comes back.
//!
//! ```text
//! Starting ──all fork servers up──► Announcing ──Announced──► Normal ──stop signal──► Stopping ──► Exit, Execute
//!                                        ▲  └─ idle_exit ─► Leaving ─► Stopping
//!                                        └── somebody came ◄──┘
//!    └── one refused, died or too slow ──► Fail (after a reload: tried again, the others go on)
//! ```
#![forbid(unsafe_code)]

mod action;
mod backoff;
mod crowd;
mod drain;
mod emergency;
mod event;
mod exit;
mod generation;
mod idle;
mod manager;
mod pool;
mod pools;
mod server;
mod standstill;
mod stop;
pub mod timeouts;
mod worker;

use std::time::{Duration, Instant};

pub use action::Action;
use config::Level;
pub use emergency::Emergency;
pub use event::{Event, Request};
pub use exit::{Exit, NoPause, signal_name};
pub use generation::Next;
use generation::Reload;
use idle::Rest;
pub use idle::Survey;
pub use manager::{Idle, Look, ProcessManager, Why};
use pool::{Pool, Server};
pub use pools::Pools;
pub use stop::FINISHING;
use stop::Stop;

/// The number of a generation of a pool; at start the place in the configuration.
pub type PoolId = usize;

/// What the plan needs to know of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The pools.
    pub pools: Vec<PoolSettings>,
    /// `process.max`; 0 = no limit.
    pub process_max: u32,
    /// `process_control_timeout`; zero = off.
    pub process_control_timeout: Duration,
    /// `drain_timeout`: counts where the one above is off; zero = off.
    pub drain_timeout: Duration,
    /// `idle_exit`: nobody has used us for so long: go until the next connection; zero = never.
    pub idle_exit: Duration,
    /// `shutdown.sigterm`: SIGTERM means what SIGQUIT means.
    pub sigterm_is_graceful: bool,
    /// `shutdown.delay`: how long a graceful stop serves on before it begins; zero = not at all.
    pub shutdown_delay: Duration,
    /// When a pool's fork server is replaced.
    pub emergency: Option<Emergency>,
    /// This start is the second half of an upgrade: a pool that cannot start is tried again, and ends nothing else.
    pub reloaded: bool,
}

/// What the plan needs to know of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Its name, as it stands in log lines.
    pub name: String,
    /// How many workers shall live.
    pub manager: ProcessManager,
    /// It serves another pool's status page, and says nothing of its own saturation.
    pub is_status: bool,
}

impl PoolSettings {
    /// Scoreboard slots the pool needs: twice its workers, so that those of a lost fork server can finish beside
    /// their successors.
    pub fn slots(&self) -> u32 {
        self.manager.max_children() * 2
    }
}

/// Where the master is in its life.
#[derive(Debug)]
enum Phase {
    Starting,
    Announcing,
    Normal,
    /// Nobody needs us: the workers go, and we after them if nobody comes.
    Leaving {
        /// When the queues are looked at next.
        next: Instant,
    },
    Stopping(Stop),
    Over,
}

/// The state of everything that runs.
#[derive(Debug)]
pub struct Plan {
    settings: Settings,
    pools: Pools<Pool>,
    phase: Phase,
    process_max_told: bool,
    ready_told: bool,
    /// A graceful stop has been asked for and begins then.
    finish_at: Option<Instant>,
    /// What was asked for before the start was over, once each.
    asked_early: Vec<Request>,
    reload: Option<Reload>,
    /// A reload was asked for while one was under way.
    asked_again: bool,
    /// An upgrade was.
    upgrade_asked: bool,
    rest: Option<Rest>,
    actions: Vec<Action>,
}

const SIGQUIT: i32 = 3;
const SIGKILL: i32 = 9;

impl Plan {
    /// Nothing runs yet.
    pub fn new(settings: Settings) -> Plan {
        let pools = settings.pools.iter().cloned().map(Pool::new).collect();
        Plan {
            settings,
            pools,
            phase: Phase::Starting,
            process_max_told: false,
            ready_told: false,
            finish_at: None,
            asked_early: Vec::new(),
            reload: None,
            asked_again: false,
            upgrade_asked: false,
            rest: None,
            actions: Vec::new(),
        }
    }

    /// What to do about `event`. `now` never goes back.
    pub fn on_event(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Begin => self.begin(now),
            Event::Announced => self.announced(),
            Event::ServerStarted(pool) => self.server_started(pool, now),
            Event::ServerRefused { pool, reason, configuration } => {
                self.server_refused(pool, &reason, configuration);
            }
            Event::ServerNotStarted { pool, reason } => {
                self.server_refused(pool, &reason, true);
                self.server_died(pool, None, now);
            }
            Event::ServerDied { pool, pid, exit } => self.server_died(pool, Some((pid, exit)), now),
            Event::Forked { pool, slot, pid } => self.forked(pool, slot, pid, now),
            Event::ForkFailed { pool, slot, cause } => self.fork_failed(pool, slot, &cause, now),
            Event::WorkerExited { pool, slot, exit, served } => {
                self.worker_exited(pool, slot, exit, served, now);
            }
            Event::ServerPaused { pool, pid, signal } => self.server_paused(pool, pid, signal, now),
            Event::WorkerPaused { pool, slot, signal } => self.worker_paused(pool, slot, signal),
            Event::WorkerLost { pool, slot } => {
                self.pools[pool].remove(slot);
                self.count_queue(pool);
            }
            Event::Queued { pool, waiting } => self.queued(pool, waiting),
            Event::Looked { pool, why, look } => self.looked(pool, why, &look, now),
            Event::Surveyed(survey) => self.surveyed(survey, now),
            Event::AccessLogsReopened => self.recycle(),
            Event::Asked(request) => self.asked(request, now),
            Event::ReloadPrepared(next) => self.reload_prepared(next, now),
            Event::ReloadRefused => self.reload_refused(),
            Event::Parted => self.parted(now),
            Event::TrialPassed => self.trial_passed(),
            Event::TrialFailed => self.reload_refused(),
            Event::ReplaceProgram => self.stop(stop::Kind::Reloading, now),
            Event::DeadlineReached => {
                self.check_servers(now);
                self.finish_in_time(now);
                if self.wants_workers() {
                    self.tick(now);
                }
            }
        }
        self.settle(now);
        std::mem::take(&mut self.actions)
    }

    /// When to feed `DeadlineReached` if nothing else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let looks = self.pools.values().filter_map(|pool| pool.manager.deadline());
        looks.filter(|_| self.wants_workers()).chain(self.limit()).min()
    }

    /// The end of the next delay or limit.
    fn limit(&self) -> Option<Instant> {
        let pools =
            self.pools.values().filter_map(|pool| pool.deadline(self.wants_workers() || self.drains()));
        let stop = match &self.phase {
            Phase::Stopping(stop) => stop.deadline,
            _ => None,
        };
        pools.chain(stop).chain(self.rest_deadline()).chain(self.finish_at).min()
    }

    /// The worker with this process id.
    pub fn worker_by_pid(&self, pid: u32) -> Option<(PoolId, u32)> {
        self.pools.iter().find_map(|(id, pool)| Some((id, pool.slot_of(pid)?)))
    }

    /// Slots of a pool that are taken, with the process id once it is known.
    pub fn workers(&self, pool: PoolId) -> Vec<(u32, Option<u32>)> {
        let workers = self.pools.get(pool).into_iter().flat_map(Pool::workers);
        workers.map(|(slot, worker)| (slot, worker.pid)).collect()
    }

    /// Whether the pool is of the generation that serves, and no next one is on its way.
    pub fn serves_alone(&self, pool: PoolId) -> bool {
        self.reload.is_none() && self.pools[pool].serves()
    }

    /// Whether a slot was ordered and its worker has not been reported yet.
    pub fn awaits(&self, pool: PoolId, slot: u32) -> bool {
        let worker = self.pools.get(pool).and_then(|pool| pool.worker(slot));
        worker.is_some_and(|worker| worker.pid.is_none())
    }

    /// It is on its way down: nothing that is asked for will be done any more.
    pub fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping(_) | Phase::Over)
    }

    /// The pool's workers are there, as far as it wants any.
    pub fn is_staffed(&self, pool: PoolId) -> bool {
        self.pools.get(pool).is_some_and(Pool::can_take_over)
    }

    fn wants_workers(&self) -> bool {
        matches!(self.phase, Phase::Normal)
    }

    fn log(&mut self, level: Level, text: impl Into<String>) {
        self.actions.push(Action::Log(level, text.into()));
    }

    fn log_pool(&mut self, pool: PoolId, level: Level, text: impl std::fmt::Display) {
        let line = format!("[pool {}] {text}", self.pools[pool].settings.name);
        self.log(level, line);
    }

    fn begin(&mut self, now: Instant) {
        for pool in self.pools.ids() {
            if self.pools[pool].needs_server() {
                self.start_server(pool, now);
            }
        }
    }

    /// Every fork server that the start needs is up, or has failed to no harm.
    fn is_up(&self) -> bool {
        let done = |pool: &Pool| match pool.server {
            Server::Up { .. } => true,
            Server::Down => self.settings.reloaded,
            _ => false,
        };
        self.pools.values().all(|pool| !pool.needs_server() || done(pool))
    }

    /// A fork server that fails now makes the start fail.
    fn start_may_fail(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Announcing) && !self.settings.reloaded
    }

    fn announced(&mut self) {
        if matches!(self.phase, Phase::Announcing) {
            self.phase = Phase::Normal;
        }
    }

    /// What follows from the state alone, whatever the event was.
    fn settle(&mut self, now: Instant) {
        match self.phase {
            Phase::Starting if self.is_up() => {
                self.phase = Phase::Announcing;
                self.actions.push(Action::Announce);
            }
            Phase::Normal if matches!(self.reload, Some(Reload::HandingOver)) => self.hand_over(),
            Phase::Normal => {
                self.check_servers(now);
                self.check_crowds(now);
                self.reload_step(now);
                self.fill(now);
                self.relieve(now);
                self.see_off(now);
                self.pools.ids().into_iter().for_each(|pool| self.watch(pool, now));
                self.tell_ready(now);
                self.rest_step(now);
            }
            Phase::Leaving { .. } => self.leaving_step(now),
            Phase::Stopping(_) => self.stop_step(now),
            _ => {}
        }
    }

    /// Once the workers of the first filling are there: every order has been answered.
    fn tell_ready(&mut self, now: Instant) {
        if self.ready_told || self.pools.values().any(Pool::awaits_any) {
            return;
        }
        match self.reload {
            Some(Reload::Filling) => {
                self.reload = Some(Reload::Parting);
                self.actions.push(Action::AwaitParting);
            }
            Some(Reload::Parting) => {}
            _ => self.say_ready(now),
        }
    }

    fn say_ready(&mut self, now: Instant) {
        self.ready_told = true;
        self.log(Level::Notice, "ready to handle connections");
        self.actions.push(Action::TellReady);
        std::mem::take(&mut self.asked_early).into_iter().for_each(|request| self.asked(request, now));
        if self.reload.is_none() {
            self.reload_again();
        }
    }

    /// From here on requests are the new generation's.
    fn parted(&mut self, now: Instant) {
        if matches!((&self.phase, &self.reload), (Phase::Normal, Some(Reload::Parting))) {
            self.reload = None;
            self.say_ready(now);
        }
    }

    fn asked(&mut self, request: Request, now: Instant) {
        // Only a stop is heeded during the start; php-fpm blocks the signals of the others.
        let starts = !self.ready_told && !matches!(self.phase, Phase::Stopping(_) | Phase::Over);
        if starts && matches!(request, Request::Reopen | Request::Reload(_) | Request::Upgrade) {
            if !self.asked_early.contains(&request) {
                self.asked_early.push(request);
            }
            return;
        }
        if matches!(request, Request::Reopen | Request::Reload(_)) {
            self.come_back(now);
        }
        match request {
            Request::Terminate(_) | Request::Finish if self.means_finish(request) => {
                let signal = if let Request::Terminate(signal) = request { signal } else { SIGQUIT };
                self.log(Level::Debug, format!("received {}", signal_name(signal)));
                self.finish_asked(now);
            }
            Request::Terminate(signal) => {
                self.log(Level::Debug, format!("received {}", signal_name(signal)));
                self.log(Level::Notice, "Terminating ...");
                self.stop(stop::Kind::Terminating, now);
            }
            Request::Finish => {}
            Request::Reopen => {
                self.log(Level::Debug, "received SIGUSR1");
                self.actions.push(Action::ReopenLogs);
            }
            Request::Reload(signal) => self.reload_asked(signal, now),
            Request::Upgrade => self.upgrade_requested(),
        }
    }

    fn reload_asked(&mut self, signal: Option<i32>, now: Instant) {
        if let Some(signal) = signal {
            self.log(Level::Debug, format!("received {}", signal_name(signal)));
        }
        match self.phase {
            Phase::Normal if self.reload.is_some() => self.asked_again = true,
            Phase::Normal => self.begin_reload(),
            _ => {
                self.log(Level::Notice, "Reloading in progress ...");
                self.stop(stop::Kind::Reloading, now);
            }
        }
    }

    fn fail(&mut self, configuration: bool) {
        self.phase = Phase::Over;
        self.actions.push(Action::Fail { configuration });
    }
}

#[cfg(test)]
mod tests;
