//! The process managers `static`, `dynamic` and `ondemand`: how many workers a pool wants. php-fpm's numbers and
//! words; but where php-fpm waits for its one-second tick, a shortage is acted on when it begins.
//!
//! ```text
//! ticked once a second ──► Look ──► Looked(Tick): too many idle → dismiss; too few → spawn
//! armed: the worker that makes idle ones scarce wakes the master ──► Looked(Shortage): still so in 20 ms → spawn
//! nobody idle, then or in these 20 ms: the master watches the listening socket ──► Looked(Queue): spawn
//! ```

mod dynamic;
mod ondemand;

use std::time::{Duration, Instant};

use config::Level;

use crate::pool::{Pool, Server};
use crate::{Action, Phase, Plan, PoolId, SIGKILL, SIGQUIT};

/// How often pools with workers are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a look that changed nothing holds back the next that a worker can ask for: what makes them ask lies in
/// memory that scripts can write.
const QUIET: Duration = Duration::from_millis(10);

/// `pm` and what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessManager {
    /// Always as many workers.
    Static {
        /// `pm.max_children`.
        workers: u32,
    },
    /// As many as keep the idle ones between two limits.
    Dynamic {
        /// `pm.max_children`.
        max_children: u32,
        /// `pm.start_servers`.
        start: u32,
        /// `pm.min_spare_servers`.
        min_spare: u32,
        /// `pm.max_spare_servers`.
        max_spare: u32,
        /// `pm.max_spawn_rate`.
        max_spawn_rate: u32,
    },
    /// None until a connection arrives; with none left the fork server ends, too.
    Ondemand {
        /// `pm.max_children`.
        max_children: u32,
        /// `pm.process_idle_timeout`.
        idle_timeout: Duration,
    },
}

impl ProcessManager {
    /// The most workers that may live.
    pub fn max_children(self) -> u32 {
        match self {
            ProcessManager::Static { workers } => workers,
            ProcessManager::Dynamic { max_children, .. } | ProcessManager::Ondemand { max_children, .. } => {
                max_children
            }
        }
    }

    pub(crate) fn at_start(self) -> u32 {
        match self {
            ProcessManager::Static { workers } => workers,
            ProcessManager::Dynamic { start, .. } => start,
            ProcessManager::Ondemand { .. } => 0,
        }
    }
}

/// Why a pool was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A second has passed.
    Tick,
    /// A worker found as many occupied as it was told to watch for.
    Shortage,
    /// A connection waits while nobody was idle.
    Queue,
}

/// A worker that waits in `accept`. One that holds a kept connection does not count: it cannot take another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Its slot.
    pub slot: u32,
    /// Since its last request; `None`: it has not served any.
    pub unused_for: Option<Duration>,
}

/// What the scoreboard says of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Workers that wait for a connection.
    pub idle: Vec<Idle>,
    /// How many do not.
    pub occupied: u32,
}

/// What a manager keeps in mind.
#[derive(Debug)]
pub(crate) struct Manager {
    /// Workers a tick may spawn: 1, and twice as many after each second in which the pool had to grow.
    rate: u32,
    /// The pool has grown since the last tick.
    grew: bool,
    /// The limit has been reached and told.
    saturated: bool,
    /// Nobody was idle at the last look.
    nobody_idle: bool,
    armed: Armed,
    /// No arming before this time.
    quiet: Option<Instant>,
    /// dynamic: a shortage that lasts until then is one.
    patience: Option<Instant>,
    /// The worker that leaves nobody idle meanwhile has called. It is asked to once, as with `quiet`.
    called: bool,
    /// The next regular look.
    tick: Option<Instant>,
    /// ondemand: since when there is no worker, while the fork server still runs.
    empty_since: Option<Instant>,
}

/// What will tell of a shortage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Armed {
    Nothing,
    /// The worker that finds so many occupied.
    Occupied(u32),
    /// The listening socket.
    Queue,
}

impl Default for Manager {
    fn default() -> Manager {
        Manager {
            rate: 1,
            grew: false,
            saturated: false,
            nobody_idle: false,
            armed: Armed::Nothing,
            quiet: None,
            patience: None,
            called: false,
            tick: None,
            empty_since: None,
        }
    }
}

impl Manager {
    /// A new worker is idle until it shows otherwise.
    pub(crate) fn newcomer(&mut self) {
        self.nobody_idle = false;
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.quiet, self.patience, self.tick].into_iter().flatten().min()
    }
}

impl Pool {
    /// What should tell of the next shortage.
    fn should_arm(&self) -> Armed {
        let at_limit = self.own() >= self.settings.manager.max_children();
        match self.settings.manager {
            ProcessManager::Dynamic { .. } if at_limit || self.is_short() => Armed::Nothing,
            ProcessManager::Dynamic { .. } if self.manager.patience.is_some() => match self.manager {
                Manager { nobody_idle: true, .. } => Armed::Queue,
                Manager { called: true, .. } => Armed::Nothing,
                _ => Armed::Occupied(self.alive().max(1)),
            },
            ProcessManager::Dynamic { min_spare, .. } => {
                Armed::Occupied((self.alive() + 1).saturating_sub(min_spare).max(1))
            }
            ProcessManager::Ondemand { .. } if self.is_short() || self.restarts_held() => Armed::Nothing,
            ProcessManager::Ondemand { .. } if self.is_empty() => Armed::Queue,
            // Saturation is told once per episode; until a worker can be added again nobody need be asked.
            ProcessManager::Ondemand { .. } if at_limit && self.manager.saturated => Armed::Nothing,
            ProcessManager::Ondemand { .. } if self.manager.nobody_idle => Armed::Queue,
            ProcessManager::Ondemand { .. } => Armed::Occupied(self.alive().max(1)),
            _ => Armed::Nothing,
        }
    }

    /// Workers that are wanted are still missing.
    fn is_short(&self) -> bool {
        self.own() < self.wanted || self.awaits_any()
    }

    fn restarts_held(&self) -> bool {
        matches!(self.server, Server::Down) && self.restarts.deadline().is_some()
    }

    /// Wants `count` workers more.
    fn want(&mut self, count: u32) {
        self.wanted += count;
        self.additions += count;
        self.manager.saturated = false;
    }

    /// The idle worker that was born first: php-fpm ends that one.
    fn oldest(&self, idle: &[Idle]) -> Option<u32> {
        let known = idle.iter().filter_map(|idle| Some((self.worker(idle.slot)?.born, idle.slot)));
        known.min().map(|(_, slot)| slot)
    }
}

/// Looking at pools.
impl Plan {
    /// What the passing of time asks of the managers.
    pub(crate) fn tick(&mut self, now: Instant) {
        for id in self.pools.ids() {
            let manager = &mut self.pools[id].manager;
            if manager.quiet.is_some_and(|until| now >= until) {
                manager.quiet = None;
            }
            if manager.patience.is_some_and(|until| now >= until) {
                self.actions.push(Action::Look { pool: id, why: Why::Shortage });
            }
            if manager.tick.is_some_and(|at| now >= at) {
                manager.tick = Some(now + TICK);
                self.actions.push(Action::Look { pool: id, why: Why::Tick });
            }
        }
    }

    /// Keeps time and watch over a pool after every event.
    pub(crate) fn watch(&mut self, id: PoolId, now: Instant) {
        let pool = &mut self.pools[id];
        if !pool.serves() {
            return;
        }
        let runs = !pool.is_empty() || matches!(pool.server, Server::Up { .. });
        pool.manager.tick = runs.then(|| pool.manager.tick.unwrap_or(now + TICK));
        if pool.manager.quiet.is_some() {
            return;
        }
        let wanted = pool.should_arm();
        if wanted != pool.manager.armed {
            pool.manager.armed = wanted;
            match wanted {
                Armed::Nothing => {}
                Armed::Occupied(occupied) => self.actions.push(Action::Arm { pool: id, occupied }),
                Armed::Queue => self.actions.push(Action::WatchQueue(id)),
            }
        }
    }

    pub(crate) fn looked(&mut self, id: PoolId, why: Why, look: &Look, now: Instant) {
        if why != Why::Tick {
            self.pools[id].manager.armed = Armed::Nothing;
        }
        if !matches!(self.phase, Phase::Normal) || !self.pools[id].serves() {
            return;
        }
        let look = &self.without_paused(id, look);
        self.pools[id].manager.nobody_idle = look.idle.is_empty();
        match self.pools[id].settings.manager {
            ProcessManager::Static { .. } => {}
            ProcessManager::Dynamic { .. } => self.look_dynamic(id, why, look, now),
            ProcessManager::Ondemand { .. } => self.look_ondemand(id, why, look, now),
        }
    }

    /// Where all that are idle have been stopped by a signal, nobody is.
    fn without_paused(&self, id: PoolId, look: &Look) -> Look {
        let paused = |idle: &Idle| self.pools[id].worker(idle.slot).is_some_and(|worker| worker.paused);
        if !look.idle.iter().all(paused) {
            return look.clone();
        }
        Look { idle: Vec::new(), occupied: look.occupied + look.idle.len() as u32 }
    }

    fn saturated(&mut self, id: PoolId, directive: &str) {
        let pool = &mut self.pools[id];
        if std::mem::replace(&mut pool.manager.saturated, true) || pool.settings.is_status {
            return;
        }
        let limit = pool.settings.manager.max_children();
        self.actions.push(Action::CountSaturation(id));
        let text = format!("server reached {directive} setting ({limit}), consider raising it");
        self.log_pool(id, Level::Warning, text);
    }

    /// Ends an idle worker: politely, and at the next look by force.
    fn dismiss(&mut self, id: PoolId, slot: u32) {
        let pool = &mut self.pools[id];
        let Some(worker) = pool.worker_mut(slot).filter(|worker| !worker.adopted) else { return };
        let signal = if worker.dismissed.is_some() { SIGKILL } else { SIGQUIT };
        if worker.dismissed.replace(signal).is_none() {
            pool.wanted = pool.wanted.saturating_sub(1);
        }
        self.signal_worker(id, slot, signal);
    }
}
