//! A pool whose places are all taken by workers of lost fork servers: its fork server has been lost twice, and they
//! have not finished since. They are asked to; if not one does, the oldest is ended, so that the pool serves again.

use std::time::{Duration, Instant};

use config::Level;

use crate::pool::{Pool, Server};
use crate::stop::{SIGTERM, STEP};
use crate::{Plan, PoolId, SIGKILL};

/// How long they have to make room by themselves.
const PATIENCE: Duration = Duration::from_secs(10);

/// What has been done about it.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) deadline: Instant,
    /// Who has been told to end.
    victim: Option<u32>,
}

impl Pool {
    fn is_crowded(&self) -> bool {
        matches!(self.server, Server::Up { .. })
            && self.serves()
            && self.wanted > 0
            && self.slots.iter().all(|place| place.as_ref().is_some_and(|worker| worker.adopted))
    }
}

impl Plan {
    /// Makes room where none is left.
    pub(crate) fn check_crowds(&mut self, now: Instant) {
        for pool in self.pools.ids() {
            if !self.pools[pool].is_crowded() {
                self.pools[pool].crowd = None;
            } else if self.pools[pool].crowd.as_ref().is_none_or(|crowd| now >= crowd.deadline) {
                self.make_way(pool, now);
            }
        }
    }

    fn make_way(&mut self, id: PoolId, now: Instant) {
        let pool = &mut self.pools[id];
        let Some(before) = pool.crowd.take() else {
            pool.crowd = Some(Crowd { deadline: now + PATIENCE, victim: None });
            let (count, seconds) = (pool.slots.len(), PATIENCE.as_secs());
            let what = format!("all {count} places are taken by workers of lost fork servers");
            let text =
                format!("{what}; unless one of them ends within {seconds} seconds, the oldest is terminated");
            self.log_pool(id, Level::Warning, text);
            return self.release_adopted(id);
        };
        let Some((slot, oldest)) = pool.workers().min_by_key(|(_, worker)| worker.born) else { return };
        let (victim, again) = (oldest.pid, before.victim.is_some() && before.victim == oldest.pid);
        pool.crowd = Some(Crowd { deadline: now + STEP, victim });
        if !again {
            let pid = victim.unwrap_or_default();
            self.log_pool(id, Level::Warning, format!("child {pid} is terminated to make room"));
        }
        self.signal_worker(id, slot, if again { SIGKILL } else { SIGTERM });
    }
}
