//! Processes that stand still without ending: stopped by a signal, or silent. A worker costs its pool one place until
//! somebody continues it. A fork server that starts no workers any more, and tells of no ends, is replaced; its workers
//! go on serving meanwhile.

use std::time::{Duration, Instant};

use config::Level;

use crate::pool::{Pool, Server};
use crate::{Action, Phase, Plan, PoolId, signal_name};

/// How long a fork server may be stopped.
const STOPPED: Duration = Duration::from_secs(10);
/// How long it may take to answer an order: so long that a machine without memory or time is not taken for a hang.
const SILENT: Duration = Duration::from_secs(30);

impl Pool {
    /// When an order will have been unanswered for too long.
    fn patience(&self) -> Option<Instant> {
        self.workers()
            .filter(|(_, worker)| worker.pid.is_none())
            .map(|(_, worker)| worker.born + SILENT)
            .min()
    }

    /// When to look whether the fork server still stands still.
    pub(crate) fn standstill_ends(&self) -> Option<Instant> {
        self.server_paused.into_iter().chain(self.patience()).min()
    }
}

impl Plan {
    /// A signal has stopped the fork server, or (`None`) it goes on.
    pub(crate) fn server_paused(&mut self, pool: PoolId, pid: u32, signal: Option<i32>, now: Instant) {
        let before = self.pools[pool].server_paused.take();
        match signal.map(signal_name) {
            Some(_) if matches!(self.phase, Phase::Stopping(_)) => {
                self.actions.push(Action::KillServer(pool))
            }
            Some(name) => {
                self.pools[pool].server_paused = Some(before.unwrap_or(now + STOPPED));
                let what = format!("fork server {pid} is stopped ({name}) and starts no workers");
                let seconds = STOPPED.as_secs();
                let text = format!("{what}; unless it goes on within {seconds} seconds, it is replaced");
                self.log_pool(pool, Level::Warning, text);
            }
            None if before.is_some() => {
                self.log_pool(pool, Level::Notice, format!("fork server {pid} goes on"));
            }
            None => {}
        }
    }

    /// A stop need not wait for what a stopped fork server does not tell: when it is gone, we see for ourselves.
    pub(crate) fn kill_paused_servers(&mut self) {
        let paused = |id: &PoolId| self.pools[*id].server_paused.is_some();
        let paused: Vec<PoolId> = self.pools.ids().into_iter().filter(paused).collect();
        self.actions.extend(paused.into_iter().map(Action::KillServer));
    }

    /// A signal has stopped a worker, or (`None`) it goes on.
    pub(crate) fn worker_paused(&mut self, pool: PoolId, slot: u32, signal: Option<i32>) {
        let Some(worker) = self.pools[pool].worker_mut(slot) else { return };
        let Some(pid) = worker.pid else { return };
        if std::mem::replace(&mut worker.paused, signal.is_some()) == signal.is_some() {
            return;
        }
        match signal.map(signal_name) {
            Some(name) => {
                let text = format!("child {pid} is stopped ({name}) and serves nobody until it is continued");
                self.log_pool(pool, Level::Warning, text);
            }
            None => self.log_pool(pool, Level::Notice, format!("child {pid} goes on")),
        }
    }

    /// Replaces a fork server that has stood still for too long.
    pub(crate) fn check_standstill(&mut self, id: PoolId, now: Instant) {
        let pool = &mut self.pools[id];
        let over = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        let (stopped, silent) = (over(pool.server_paused), over(pool.patience()));
        if !matches!(pool.server, Server::Up { .. }) || !(stopped || silent) {
            return;
        }
        let why = match stopped {
            true => format!("has been stopped for {} seconds", STOPPED.as_secs()),
            false => format!("has not answered for {} seconds", SILENT.as_secs()),
        };
        (pool.server, pool.server_paused) = (Server::Restarting, None);
        let serving = pool.alive();
        let text = format!("the fork server {why} and is replaced; {serving} worker(s) go on serving");
        self.log_pool(id, Level::Error, text);
        self.actions.push(Action::KillServer(id));
    }
}
