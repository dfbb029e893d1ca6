//! Fork servers: started, lost, tried again ever more slowly, replaced.

use std::time::{Duration, Instant};

use config::Level;

use crate::exit::Exit;
use crate::pool::Server;
use crate::{Action, Phase, Plan, PoolId, SIGQUIT};

/// How long PHP's start-up may take.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take to shut PHP down.
const END_LIMIT: Duration = Duration::from_secs(2);
/// SIGKILL works at once or, on a process stuck in the kernel, not at all: look again after this time.
const KILLED: Duration = Duration::from_secs(60);
/// A fork server that lived this long is no crash loop.
const SETTLED: Duration = Duration::from_secs(10);

impl Plan {
    pub(crate) fn start_server(&mut self, pool: PoolId, now: Instant) {
        self.pools[pool].server = Server::Starting { deadline: now + START_LIMIT, told: false };
        self.actions.push(Action::StartServer(pool));
    }

    pub(crate) fn close_server(&mut self, pool: PoolId, now: Instant) {
        self.pools[pool].server = Server::Closing { deadline: now + END_LIMIT };
        self.actions.push(Action::CloseServer(pool));
    }

    pub(crate) fn server_started(&mut self, pool: PoolId, now: Instant) {
        if !matches!(self.pools[pool].server, Server::Starting { .. }) {
            return;
        }
        self.pools[pool].server = Server::Up { since: now };
        self.pools[pool].server_paused = None;
    }

    /// The workers of a lost fork server may go: others serve by now.
    pub(crate) fn release_adopted(&mut self, pool: PoolId) {
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
        if self.start_may_fail() {
            self.fail(configuration);
        }
    }

    /// `end` is `None` when there never was a process.
    pub(crate) fn server_died(&mut self, pool: PoolId, end: Option<(u32, Exit)>, now: Instant) {
        let before = std::mem::replace(&mut self.pools[pool].server, Server::Down);
        self.pools[pool].server_paused = None;
        let adopted = self.adopt(pool);
        let told = matches!(before, Server::Starting { told: true, .. });
        match self.phase {
            _ if self.start_may_fail() => {
                if let Some((pid, exit)) = end {
                    self.log_pool(
                        pool,
                        Level::Error,
                        format!("PHP's start-up failed: process {pid} exited {exit}"),
                    );
                }
                self.fail(false);
            }
            Phase::Stopping(_) => self.drain_lost_server(pool, &before, now),
            Phase::Over => {}
            _ if self.arrives(pool) => {
                if let Some((pid, exit)) = end.filter(|_| !told) {
                    let text = format!("PHP's start-up failed: process {pid} exited {exit}");
                    self.log_pool(pool, Level::Error, text);
                }
                self.give_up_reload(now);
            }
            _ if !self.pools[pool].serves() => self.drain_lost_server(pool, &before, now),
            _ if matches!(before, Server::Restarting) => self.start_server(pool, now),
            _ if matches!(before, Server::Closing { .. }) => {}
            _ => {
                if matches!(before, Server::Up { since } if now.duration_since(since) >= SETTLED) {
                    self.pools[pool].restarts.succeeded();
                }
                let delay = self.pools[pool].restarts.failed(now).unwrap_or_default();
                self.log_server_death(pool, end.filter(|_| !told), adopted, delay);
                self.pools[pool].forget_demand();
            }
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

    /// Restarts that are due, starts and ends that took too long.
    pub(crate) fn check_servers(&mut self, now: Instant) {
        for pool in self.pools.ids() {
            match self.pools[pool].server {
                Server::Down
                    if self.wants_workers()
                        && self.pools[pool].serves()
                        && !self.pools[pool].restarts.held(now) =>
                {
                    self.pools[pool].restarts.release(now);
                    if self.pools[pool].needs_server() {
                        self.start_server(pool, now);
                    }
                }
                Server::Starting { deadline, told } if now >= deadline => {
                    self.pools[pool].server = Server::Starting { deadline: now + KILLED, told: true };
                    self.actions.push(Action::KillServer(pool));
                    if !told {
                        let seconds = START_LIMIT.as_secs();
                        self.log_pool(
                            pool,
                            Level::Error,
                            format!("PHP did not start within {seconds} seconds"),
                        );
                    }
                    if self.start_may_fail() {
                        self.fail(false);
                    } else if self.arrives(pool) {
                        self.give_up_reload(now);
                    }
                }
                Server::Closing { deadline } if now >= deadline => {
                    self.pools[pool].server = Server::Closing { deadline: now + KILLED };
                    self.actions.push(Action::KillServer(pool));
                }
                Server::Up { .. } => self.check_standstill(pool, now),
                _ => {}
            }
        }
    }
}
