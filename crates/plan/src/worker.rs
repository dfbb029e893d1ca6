//! Workers: ordered, born, ended, replaced.

use std::time::{Duration, Instant};

use config::Level;

use crate::exit::Exit;
use crate::generation::Age;
use crate::pool::{Pool, Worker};
use crate::{Action, Phase, Plan, PoolId, SIGQUIT};

/// A worker that ends by itself before this age, and not cleanly, counts as crashed at birth.
const INFANCY: Duration = Duration::from_secs(1);

impl Plan {
    /// Orders what is missing, pool by pool.
    pub(crate) fn fill(&mut self, now: Instant) {
        for pool in self.pools.values_mut() {
            pool.crashes.release(now);
        }
        for pool in self.pools.ids() {
            if !self.fill_pool(pool, now) {
                return self.make_room(now);
            }
        }
        self.process_max_told = false; // all pools have what they want, the next shortage is a new one
    }

    /// False if `process.max` forbids it.
    pub(crate) fn fill_pool(&mut self, pool: PoolId, now: Instant) -> bool {
        while let Some(slot) = self.pools[pool].vacancy(now) {
            if !self.process_max_allows() {
                return false;
            }
            self.order(pool, slot, now);
        }
        true
    }

    fn process_max_allows(&mut self) -> bool {
        let all: usize = self.pools.values().map(|pool| pool.workers().count()).sum();
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
        let replacement = target.additions == 0;
        target.additions = target.additions.saturating_sub(1);
        target.slots[slot as usize] = Some(Worker {
            pid: None,
            born: now,
            replacement,
            adopted: false,
            released: false,
            outdated: false,
            dismissed: None,
            paused: false,
        });
        self.actions.push(Action::ForkWorker { pool, slot });
    }

    pub(crate) fn forked(&mut self, pool: PoolId, slot: u32, pid: u32, now: Instant) {
        let Some(Some(worker)) = self.pools[pool].slots.get_mut(slot as usize) else { return };
        (worker.pid, worker.born) = (Some(pid), now);
        let level = if worker.replacement { Level::Notice } else { Level::Debug };
        let outdated = worker.outdated;
        self.pools[pool].manager.newcomer();
        self.log_pool(pool, level, format!("child {pid} started"));
        if std::mem::take(&mut self.pools[pool].cannot_fork) {
            self.pools[pool].crashes.succeeded();
            self.log_pool(pool, Level::Notice, "fork() works again");
        }
        self.release_adopted(pool);
        if let Phase::Stopping(stop) = &self.phase
            && let Some(signal) = stop.last_signal
        {
            self.signal_worker(pool, slot, signal);
        } else if let Age::Retiring { last_signal, .. } = self.pools[pool].age {
            self.signal_worker(pool, slot, last_signal);
        } else if outdated {
            self.signal_worker(pool, slot, SIGQUIT);
        }
    }

    /// All workers finish and are replaced: they hold what is old by now. php-fpm, too, means those of all pools.
    pub(crate) fn recycle(&mut self) {
        self.signal_all(SIGQUIT);
        let ordered =
            self.pools.values_mut().flat_map(Pool::workers_mut).filter(|worker| worker.pid.is_none());
        ordered.for_each(|worker| worker.outdated = true);
    }

    pub(crate) fn fork_failed(&mut self, pool: PoolId, slot: u32, cause: &str, now: Instant) {
        if self.pools[pool].remove(slot).is_none() {
            return;
        }
        // Without a delay the next order would follow at once, and fail likewise.
        self.pools[pool].cannot_fork = true;
        let crashes = &mut self.pools[pool].crashes;
        if !crashes.held(now) {
            let delay = std::iter::repeat_with(|| crashes.failed(now)).flatten().next().unwrap_or_default();
            let text = format!("fork() failed: {cause}, next attempt in {} ms", delay.as_millis());
            self.log_pool(pool, Level::Error, text);
        }
    }

    pub(crate) fn worker_exited(&mut self, pool: PoolId, slot: u32, exit: Exit, served: bool, now: Instant) {
        let Some(worker) = self.pools[pool].remove(slot) else { return };
        self.count_queue(pool);
        let pid = worker.pid.unwrap_or_default();
        let age = now.duration_since(worker.born);
        let (seconds, micros) = (age.as_secs(), age.subsec_micros());
        let normal = matches!(self.phase, Phase::Normal) && self.pools[pool].serves();
        if worker.dismissed.is_some() && exit.is_obedient() {
            let text = format!("child {pid} has been killed by the process management after {seconds}");
            return self.log_pool(pool, Level::Debug, format!("{text}.{micros:06} seconds from start"));
        }
        let stops = matches!(self.phase, Phase::Stopping(_) | Phase::Over);
        let expected = stops || exit.is_obedient() || self.pools[pool].is_pressed();
        let level = if normal || !expected { exit.level() } else { Level::Debug };
        let text = format!("child {pid} exited {exit} after {seconds}.{micros:06} seconds from start");
        self.log_pool(pool, level, text);
        if self.empties(pool) {
            self.note_end(pool, exit, served || age >= INFANCY, now);
        }
        if !normal || worker.adopted {
            return;
        }
        if worker.dismissed.is_some() {
            // It had to be killed, and is replaced as php-fpm does.
            self.pools[pool].wanted += 1;
        }
        self.note_end(pool, exit, served || age >= INFANCY, now);
        self.note_fault(pool, exit, now);
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
