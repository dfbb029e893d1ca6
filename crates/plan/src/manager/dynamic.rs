//! `pm = dynamic`: keeps the number of idle workers between two limits.

use std::time::{Duration, Instant};

use config::Level;

use super::{Look, ProcessManager, QUIET, Why};
use crate::{Plan, PoolId};

/// How long idle workers may be scarce, with nobody waiting, before more are spawned: most requests are over by then.
const PATIENCE: Duration = Duration::from_millis(20);
/// From this rate on php-fpm warns of each spawning.
const BUSY_RATE: u32 = 8;

impl Plan {
    pub(super) fn look_dynamic(&mut self, id: PoolId, why: Why, look: &Look, now: Instant) {
        let pool = &mut self.pools[id];
        let ProcessManager::Dynamic { max_children, min_spare, max_spare, max_spawn_rate, .. } =
            pool.settings.manager
        else {
            return;
        };
        let (running, idle) = (pool.own(), look.idle.len() as u32);
        // Those that have been ordered are as good as idle.
        let short = idle < min_spare && !pool.is_short();
        let lasts = pool.manager.patience.take_if(|until| now >= *until).is_some();
        if why != Why::Tick {
            if !short || running >= max_children {
                pool.manager.patience = None;
                // Until those on their way are there, nobody is armed to call.
                pool.manager.quiet = (!pool.is_short()).then_some(now + QUIET);
            } else if why == Why::Shortage && !lasts {
                pool.manager.called = pool.manager.patience.is_some();
                pool.manager.patience.get_or_insert(now + PATIENCE);
            } else {
                self.grow(id, max_spawn_rate.min(min_spare - idle).min(max_children - running));
            }
            return;
        }
        let rate = pool.manager.rate;
        let text = format!("currently {} active children, {idle} spare children", look.occupied);
        let text = format!("{text}, {running} running children. Spawning rate {rate}");
        self.log_pool(id, Level::Debug, text);
        if short && running >= max_children {
            self.saturated(id, "pm.max_children");
        } else if short {
            self.grow(id, rate.min(min_spare - idle).min(max_children - running));
        } else if idle > max_spare
            && let Some(slot) = self.pools[id].oldest(&look.idle)
        {
            self.dismiss(id, slot);
        }
        self.adapt_rate(id, idle, running, max_spawn_rate);
    }

    /// php-fpm's rate doubles with each tick that spawns, and from 8 on it warns; here most workers are spawned
    /// between the ticks, and a second in which that happened counts alike.
    fn adapt_rate(&mut self, id: PoolId, idle: u32, running: u32, max_spawn_rate: u32) {
        let rate = self.pools[id].manager.rate;
        if !std::mem::take(&mut self.pools[id].manager.grew) {
            self.pools[id].manager.rate = 1;
            return;
        }
        if rate >= BUSY_RATE {
            let advice = "you may need to increase pm.start_servers, or pm.min/max_spare_servers";
            let text = format!("seems busy ({advice}), spawning {rate} children, there are {idle} idle");
            self.log_pool(id, Level::Warning, format!("{text}, and {running} total children"));
        }
        if rate < max_spawn_rate {
            self.pools[id].manager.rate = rate * 2;
        }
    }

    fn grow(&mut self, id: PoolId, count: u32) {
        self.pools[id].want(count);
        self.pools[id].manager.grew = true;
        self.pools[id].manager.patience = None;
        self.log_pool(id, Level::Debug, format!("{count} child(ren) have been created dynamically"));
    }
}
