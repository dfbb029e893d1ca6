//! Emergency restart: so many workers of a pool dying of memory faults in so short a time that what they share with
//! their fork server, opcache's memory first of all, is suspected. php-fpm counts over all pools and reloads
//! everything; here the pool at fault gets a new fork server.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use config::Level;

use crate::exit::Exit;
use crate::pool::Server;
use crate::{Action, Plan, PoolId};

const SIGBUS: i32 = 7;
const SIGSEGV: i32 = 11;

/// `emergency_restart_threshold` and `emergency_restart_interval`, both set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emergency {
    /// So many faults …
    pub threshold: u32,
    /// … within this time.
    pub interval: Duration,
}

/// When workers of a pool died of faults.
#[derive(Debug, Default)]
pub(crate) struct Faults(VecDeque<Instant>);

impl Faults {
    /// Notes a fault; true if it was one too many.
    fn note(&mut self, limit: Emergency, now: Instant) -> bool {
        self.0.push_back(now);
        while self.0.front().is_some_and(|first| now.duration_since(*first) > limit.interval) {
            self.0.pop_front();
        }
        let reached = self.0.len() >= limit.threshold as usize;
        if reached {
            self.0.clear();
        }
        reached
    }
}

impl Plan {
    /// A worker has ended so; restarts the pool's fork server if that is one fault too many.
    pub(crate) fn note_fault(&mut self, id: PoolId, exit: Exit, now: Instant) {
        let Some(limit) = self.settings.emergency else { return };
        let pool = &mut self.pools[id];
        if !matches!(exit, Exit::Signal { number: SIGSEGV | SIGBUS, .. })
            || !matches!(pool.server, Server::Up { .. })
            || !pool.faults.note(limit, now)
        {
            return;
        }
        // Killed, not closed: its memory is what is in doubt, so nothing of PHP shall run in it any more.
        pool.server = Server::Restarting;
        let (threshold, seconds) = (limit.threshold, limit.interval.as_secs());
        let text = format!(
            "failed processes threshold ({threshold} in {seconds} sec) is reached, initiating reload"
        );
        self.log_pool(id, Level::Warning, text);
        self.actions.push(Action::KillServer(id));
    }
}
