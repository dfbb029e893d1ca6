//! A graceful stop: what is in flight and what is queued is served. Workers that were asked to finish take what is queued
//! before they end; a pool whose queue is not empty gets workers as long as that is so, and a fork server if it has none.
//!
//! ```text
//! Asked(Finish) ─shutdown.delay─► Drain, QUIT to all workers ─► each end of a worker: how many are queued? ─► workers for them
//!                                    nobody queued, no worker left, and after the fork servers' end still nobody ─► Exit
//! ```

use std::time::Instant;

use config::Level;

use crate::pool::{Pool, Server};
use crate::{Action, Phase, Plan, PoolId, Request, stop};

/// What is known of a pool's queue while it is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Not known, or asked for.
    Unknown,
    Waiting(u32),
    /// Nobody can serve it, or nobody shall.
    GivenUp,
}

impl Pool {
    fn is_drained(&self) -> bool {
        self.is_empty() && matches!(self.queue, Queue::Waiting(0) | Queue::GivenUp)
    }
}

impl Plan {
    /// A graceful stop is asked for: it begins at once, or after `shutdown.delay`. Asked again it begins at once.
    pub(crate) fn finish_asked(&mut self, now: Instant) {
        let delay = self.settings.shutdown_delay;
        let may_wait = matches!(self.phase, Phase::Normal) && self.finish_at.is_none() && !delay.is_zero();
        if may_wait {
            self.finish_at = Some(now + delay);
            self.actions.push(Action::TellStopping("Serving on before the end (shutdown.delay)"));
            return self.log(Level::Notice, format!("Finishing in {} s ...", delay.as_secs()));
        }
        self.finish_at = None;
        self.log(Level::Notice, "Finishing ...");
        self.stop(stop::Kind::Finishing, now);
    }

    /// `shutdown.delay` may be over.
    pub(crate) fn finish_in_time(&mut self, now: Instant) {
        if self.finish_at.is_some_and(|at| now >= at) {
            self.finish_asked(now);
        }
    }

    pub(crate) fn drains(&self) -> bool {
        matches!(&self.phase, Phase::Stopping(stop) if stop.drains)
    }

    /// What is queued is served before the end.
    pub(crate) fn begin_drain(&mut self) {
        for id in self.pools.ids() {
            let pool = &mut self.pools[id];
            // Other generations share the queue with the one that serves, or are about to have emptied their own.
            pool.queue = match (pool.serves(), pool.retires_gently()) {
                (true, _) => Queue::Unknown,
                (false, true) => pool.queue,
                (false, false) => Queue::GivenUp,
            };
            pool.manager = Default::default();
            if pool.serves() {
                self.actions.push(Action::Drain(id));
            }
        }
    }

    /// A pool's queue has been looked at.
    pub(crate) fn queued(&mut self, id: PoolId, waiting: u32) {
        if !self.empties(id) {
            return;
        }
        // Nobody comes any more, or a generation that serves takes them.
        let all_served = waiting == 0 && !self.drains();
        let pool = &mut self.pools[id];
        pool.queue = if all_served { Queue::GivenUp } else { Queue::Waiting(waiting) };
        let (own, most) = (pool.own(), pool.settings.manager.max_children());
        pool.wanted = own + waiting.min(most.saturating_sub(own));
        pool.additions = pool.wanted - own;
    }

    /// A worker is gone: others may be needed for what is queued.
    pub(crate) fn count_queue(&mut self, id: PoolId) {
        if self.empties(id) {
            self.pools[id].queue = Queue::Unknown;
            self.actions.push(Action::CountQueue(id));
        }
    }

    /// The pool ends, and what is queued for it is served first.
    pub(crate) fn empties(&self, id: PoolId) -> bool {
        let ends = |pool: &Pool| self.drains() || pool.retires_gently();
        self.pools.get(id).is_some_and(|pool| pool.queue != Queue::GivenUp && ends(pool))
    }

    /// Brings up what the queues need.
    pub(crate) fn drain_step(&mut self, now: Instant) {
        self.pools.ids().into_iter().for_each(|id| self.drain_pool(id, now));
    }

    /// Brings up what the queue of a pool needs.
    pub(crate) fn drain_pool(&mut self, id: PoolId, now: Instant) {
        let pool = &mut self.pools[id];
        pool.crashes.release(now);
        pool.restarts.release(now);
        if !matches!(pool.queue, Queue::Waiting(1..)) || pool.own() >= pool.wanted {
            return;
        }
        if matches!(pool.server, Server::Down) && !pool.restarts.held(now) {
            self.start_server(id, now);
            self.reopen_stop();
        }
        self.fill_pool(id, now);
    }

    /// A fork server has ended while its pool is drained.
    pub(crate) fn drain_lost_server(&mut self, id: PoolId, before: &Server, now: Instant) {
        match before {
            _ if !self.empties(id) => return,
            Server::Starting { .. } => {}
            Server::Up { .. } | Server::Restarting => {
                self.pools[id].restarts.failed(now);
                return self.count_queue(id);
            }
            Server::Down | Server::Closing { .. } => return,
        }
        self.give_up_queue(id, "PHP cannot be started to serve them");
    }

    /// Nobody will serve who still waits.
    pub(crate) fn give_up_queue(&mut self, id: PoolId, why: &str) {
        if let Queue::Waiting(waiting @ 1..) = std::mem::replace(&mut self.pools[id].queue, Queue::GivenUp) {
            self.log_pool(id, Level::Error, format!("{waiting} connection(s) wait, and {why}"));
        }
    }

    /// No worker is left, and nobody waits for one. What cannot be in a queue any more need not be waited for.
    pub(crate) fn is_drained(&self) -> bool {
        match self.drains() {
            true => self.pools.values().all(Pool::is_drained),
            false => self.pools.values().all(Pool::is_empty),
        }
    }

    /// One more look at all queues, now that the fork servers are gone. False if there is nothing to look at, or it has been done.
    pub(crate) fn look_once_more(&mut self) -> bool {
        let Phase::Stopping(stop) = &mut self.phase else { return false };
        if !stop.drains || std::mem::replace(&mut stop.looked_again, true) {
            return false;
        }
        self.pools.ids().into_iter().for_each(|id| self.count_queue(id));
        self.pools.values().any(|pool| pool.queue == Queue::Unknown)
    }

    /// How SIGTERM is to be taken.
    pub(crate) fn means_finish(&self, request: Request) -> bool {
        match request {
            Request::Finish => true,
            Request::Terminate(stop::SIGTERM) => self.settings.sigterm_is_graceful,
            _ => false,
        }
    }
}
