//! Generations: a reload starts the next generation of its pools beside the one that serves, and lets that one go when
//! the next one serves. Until everything that can fail has been done, nothing changes for who serves.
//!
//! ```text
//! Arriving ──all fork servers up: commit──► Serving ──successor committed──► Outgoing ──successor's workers are there──► Retiring
//!    └── one fails: all of them go, nothing else has changed                                nothing of it runs: Forget ◄──┘
//! Retiring, alone with its socket: workers as long as somebody is queued there
//! Retiring: QUIT ─process_control_timeout, else drain_timeout─► TERM ─1 s─► KILL ─1 s─► KILL …
//! ```

use std::time::{Duration, Instant};

use config::Level;

use crate::drain::Queue;
use crate::pool::{Pool, Server};
use crate::stop::{SIGTERM, STEP};
use crate::{Action, Phase, Plan, PoolId, ProcessManager, SIGKILL, SIGQUIT, Settings};

/// Where a generation of a pool is in its life.
#[derive(Debug)]
pub(crate) enum Age {
    /// Its PHP starts; it has no workers.
    Arriving,
    Serving,
    /// Its workers serve until those of the next generation are there; no more are added.
    Outgoing,
    /// Its workers finish what they have.
    Retiring {
        last_signal: i32,
        deadline: Option<Instant>,
    },
}

/// What a reload changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Next {
    /// The settings from then on; `pools` are the arriving ones.
    pub settings: Settings,
    /// For each of them its new number, and whom it replaces.
    pub arrivals: Vec<(PoolId, Option<PoolId>)>,
    /// Pools that are there no more.
    pub removed: Vec<PoolId>,
}

/// How far a reload is.
#[derive(Debug)]
pub(crate) enum Reload {
    Checking,
    Arriving(Next),
    /// The new generation has taken over, its workers are being forked.
    Filling,
    /// They are there, and the old ones hear that they are to finish.
    Parting,
    /// No reload: another executable is being tried.
    Trying,
    /// It is about to be executed.
    HandingOver,
}

impl Pool {
    pub(crate) fn serves(&self) -> bool {
        matches!(self.age, Age::Serving)
    }

    /// As many workers as the one before has: it has them because they are needed.
    fn take_after(&mut self, before: u32) {
        let manager = self.settings.manager;
        self.wanted = manager.at_start().max(before).min(manager.max_children());
        self.additions = self.wanted;
    }

    /// Its workers are there, as far as it wants any.
    pub(crate) fn can_take_over(&self) -> bool {
        !self.awaits_any() && self.own() >= self.wanted
    }

    /// Its workers get signals that end them.
    pub(crate) fn is_pressed(&self) -> bool {
        matches!(self.age, Age::Retiring { last_signal, .. } if last_signal != SIGQUIT)
    }

    /// Its workers have been asked to finish, and nothing harder yet.
    pub(crate) fn retires_gently(&self) -> bool {
        matches!(self.age, Age::Retiring { last_signal: SIGQUIT, .. })
    }

    /// Connections wait on a socket that no other generation has.
    pub(crate) fn has_queue_left(&self) -> bool {
        self.retires_gently() && matches!(self.queue, Queue::Waiting(1..))
    }

    fn is_up_or_idle(&self) -> bool {
        matches!(self.server, Server::Up { .. }) || !self.needs_server()
    }
}

impl Plan {
    /// A reload is asked for in normal operation. One that is under way is finished first; several that are asked for
    /// meanwhile are one.
    pub(crate) fn begin_reload(&mut self) {
        self.log(Level::Notice, "Reloading in progress ...");
        self.reload = Some(Reload::Checking);
        self.actions.push(Action::CheckReload);
    }

    /// The new configuration can be used and everything is prepared: start PHP of all pools that come.
    pub(crate) fn reload_prepared(&mut self, next: Next, now: Instant) {
        if !matches!(self.phase, Phase::Normal) {
            return;
        }
        for ((id, replaces), settings) in next.arrivals.iter().zip(&next.settings.pools) {
            let mut pool = Pool::new(settings.clone());
            (pool.age, pool.replaces) = (Age::Arriving, *replaces);
            pool.take_after(self.strength(*replaces));
            self.pools.insert(*id, pool);
            if self.pools[*id].needs_server() {
                self.start_server(*id, now);
            }
        }
        self.reload = Some(Reload::Arriving(next));
    }

    /// How many workers the generation before has.
    fn strength(&self, pool: Option<PoolId>) -> u32 {
        let pool = pool.and_then(|id| self.pools.get(id));
        // A static pool has what it wants; of the others the running number is what the load asks for.
        let counts = |pool: &&Pool| !matches!(pool.settings.manager, ProcessManager::Static { .. });
        pool.filter(counts).map_or(0, Pool::alive)
    }

    /// The check failed; everything is as it was.
    pub(crate) fn reload_refused(&mut self) {
        self.reload = None;
        self.reload_again();
    }

    pub(crate) fn reload_again(&mut self) {
        if std::mem::take(&mut self.asked_again) {
            self.begin_reload();
        } else if std::mem::take(&mut self.upgrade_asked) {
            self.begin_upgrade();
        }
    }

    /// An upgrade and a reload come one after the other.
    pub(crate) fn upgrade_requested(&mut self) {
        match self.phase {
            Phase::Normal if self.reload.is_some() => self.upgrade_asked = true,
            Phase::Normal => self.begin_upgrade(),
            _ => {}
        }
    }

    fn begin_upgrade(&mut self) {
        self.log(Level::Notice, "Upgrade in progress ...");
        self.reload = Some(Reload::Trying);
        self.actions.push(Action::TryProgram);
    }

    /// From here on nothing is begun that would be in the air while the program changes.
    pub(crate) fn trial_passed(&mut self) {
        if matches!(self.reload, Some(Reload::Trying)) {
            self.reload = Some(Reload::HandingOver);
        }
    }

    /// Once every order has been answered, all workers are known.
    pub(crate) fn hand_over(&mut self) {
        if !self.pools.values().any(Pool::awaits_any) {
            self.actions.push(Action::HandOver);
        }
    }

    /// Looks how far a reload has come; called after every event in normal operation.
    pub(crate) fn reload_step(&mut self, now: Instant) {
        let Some(Reload::Arriving(next)) = &self.reload else { return };
        if next.arrivals.iter().all(|(id, _)| self.pools[*id].is_up_or_idle()) {
            self.commit(now);
        }
    }

    /// Nothing can fail any more: the new generation serves as soon as its workers are there.
    fn commit(&mut self, now: Instant) {
        let Some(Reload::Arriving(next)) = self.reload.replace(Reload::Filling) else { return };
        self.settings = Settings { pools: Vec::new(), ..next.settings };
        self.actions.push(Action::CommitReload);
        for (id, replaces) in next.arrivals {
            let strength = self.strength(replaces);
            let pool = &mut self.pools[id];
            pool.take_after(strength);
            pool.age = Age::Serving;
            if let Some(old) = replaces.and_then(|old| self.pools.get_mut(old)) {
                old.age = Age::Outgoing;
                old.manager = Default::default();
            }
            self.actions.extend(replaces.map(Action::Unwatch));
        }
        for id in next.removed {
            self.actions.push(Action::Unwatch(id));
            self.retire(id, now);
        }
        self.ready_told = false;
    }

    /// An arriving pool cannot start: none of them shall.
    pub(crate) fn give_up_reload(&mut self, now: Instant) {
        let Some(Reload::Arriving(next)) = self.reload.take() else { return };
        for (id, _) in next.arrivals {
            if !matches!(self.pools[id].server, Server::Down) {
                self.actions.push(Action::KillServer(id));
                self.pools[id].server = Server::Closing { deadline: now + Duration::from_secs(60) };
            }
            self.pools[id].age = Age::Retiring { last_signal: SIGKILL, deadline: None };
        }
        self.actions.push(Action::AbandonReload);
        self.reload_again();
    }

    pub(crate) fn arrives(&self, pool: PoolId) -> bool {
        matches!(self.pools[pool].age, Age::Arriving)
    }

    /// Lets those go whose successors' workers are there.
    pub(crate) fn relieve(&mut self, now: Instant) {
        for id in self.pools.ids() {
            let pool = &self.pools[id];
            if pool.serves() && pool.replaces.is_some() && pool.can_take_over() {
                self.relieve_predecessor(id, now);
            }
        }
    }

    /// With `process.max` reached nobody can come before somebody has gone.
    pub(crate) fn make_room(&mut self, now: Instant) {
        self.pools.ids().into_iter().for_each(|id| self.relieve_predecessor(id, now));
    }

    fn relieve_predecessor(&mut self, id: PoolId, now: Instant) {
        if !self.pools[id].serves() {
            return;
        }
        if let Some(old) = self.pools[id].replaces.take().filter(|old| self.pools.get(*old).is_some()) {
            self.retire(old, now);
        }
    }

    /// Asks its workers to finish.
    fn retire(&mut self, id: PoolId, now: Instant) {
        let limit = self.patience();
        let pool = &mut self.pools[id];
        pool.age = Age::Retiring { last_signal: SIGQUIT, deadline: limit.map(|limit| now + limit) };
        pool.manager = Default::default();
        pool.queue = Queue::Unknown;
        pool.workers_mut().filter(|worker| worker.pid.is_none()).for_each(|worker| worker.outdated = true);
        self.actions.push(Action::Retire(id));
        self.signal_pool(id, SIGQUIT);
    }

    fn signal_pool(&mut self, id: PoolId, signal: i32) {
        let slots: Vec<u32> = self.pools[id].workers().map(|(slot, _)| slot).collect();
        slots.into_iter().for_each(|slot| self.signal_worker(id, slot, signal));
    }

    /// Those that have nothing left end; those that take too long are made to.
    pub(crate) fn see_off(&mut self, now: Instant) {
        for id in self.pools.ids() {
            let Age::Retiring { last_signal, deadline } = self.pools[id].age else { continue };
            let late = deadline.is_some_and(|deadline| now >= deadline);
            if late && last_signal == SIGQUIT {
                self.give_up_queue(id, "the generation that could serve them has had its time");
            }
            if self.pools[id].has_queue_left() {
                self.drain_pool(id, now);
            }
            let pool = &self.pools[id];
            if !pool.is_empty() {
                if late {
                    self.press(id, last_signal, now);
                }
                continue;
            }
            // One that is alone with its socket has a look at its queue first.
            if pool.retires_gently() && matches!(pool.queue, Queue::Unknown | Queue::Waiting(1..)) {
                continue;
            }
            match pool.server {
                Server::Down => {
                    self.pools.remove(id);
                    self.actions.push(Action::Forget(id));
                }
                Server::Up { .. } | Server::Starting { .. } => self.close_server(id, now),
                Server::Closing { .. } | Server::Restarting => {}
            }
        }
    }

    /// The next harder signal.
    fn press(&mut self, id: PoolId, last_signal: i32, now: Instant) {
        let signal = if last_signal == SIGQUIT { SIGTERM } else { SIGKILL };
        let pool = &mut self.pools[id];
        pool.age = Age::Retiring { last_signal: signal, deadline: Some(now + STEP) };
        let count = pool.workers().count();
        if last_signal == SIGQUIT {
            let text = format!("{count} child(ren) of the generation before did not finish in time");
            self.log_pool(id, Level::Warning, format!("{text}, terminating them"));
        }
        self.signal_pool(id, signal);
        // One that has not told the end of its killed workers for a second is stopped or hangs.
        if last_signal == SIGKILL && !matches!(self.pools[id].server, Server::Down) {
            self.actions.push(Action::KillServer(id));
        }
    }
}
