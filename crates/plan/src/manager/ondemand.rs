//! `pm = ondemand`: workers for those who wait, none for nobody.

use std::time::{Duration, Instant};

use config::Level;

use super::{Idle, Look, ProcessManager, QUIET, Why};
use crate::pool::Server;
use crate::{Plan, PoolId};

impl Plan {
    pub(super) fn look_ondemand(&mut self, id: PoolId, why: Why, look: &Look, now: Instant) {
        let pool = &mut self.pools[id];
        let ProcessManager::Ondemand { max_children, idle_timeout } = pool.settings.manager else { return };
        match why {
            Why::Shortage if look.idle.is_empty() => {}
            Why::Shortage => pool.manager.quiet = Some(now + QUIET),
            Why::Queue if pool.is_short() => {}
            // Whoever is idle takes it; or only says to be idle.
            Why::Queue if !look.idle.is_empty() => pool.manager.quiet = Some(now + QUIET),
            Why::Queue if pool.own() >= max_children => self.saturated(id, "max_children"),
            Why::Queue => {
                pool.want(1);
                let text = "got accept without idle child available .... I forked";
                self.log_pool(id, Level::Debug, text);
            }
            Why::Tick => {
                let (idle, occupied) = (look.idle.len(), look.occupied);
                let text = format!("currently {occupied} active children, {idle} spare children");
                self.log_pool(id, Level::Debug, text);
                self.dismiss_unused(id, &look.idle, idle_timeout, now);
                self.close_unused_server(id, idle_timeout, now);
            }
        }
    }

    /// php-fpm looks at one worker a second only; all that are overdue may go.
    fn dismiss_unused(&mut self, id: PoolId, idle: &[Idle], timeout: Duration, now: Instant) {
        for Idle { slot, unused_for } in idle {
            let Some(worker) = self.pools[id].worker(*slot) else { continue };
            let unused = unused_for.unwrap_or(Duration::MAX).min(now.duration_since(worker.born));
            if unused > timeout {
                self.dismiss(id, *slot);
            }
        }
    }

    /// An ondemand pool without a worker keeps its fork server as long again as an idle worker, for PHP's start-up
    /// and opcache are worth a little; then it costs no process.
    fn close_unused_server(&mut self, id: PoolId, timeout: Duration, now: Instant) {
        let pool = &mut self.pools[id];
        if !pool.is_empty() || pool.wanted > 0 || !matches!(pool.server, Server::Up { .. }) {
            pool.manager.empty_since = None;
            return;
        }
        let since = *pool.manager.empty_since.get_or_insert(now);
        if now.duration_since(since) >= timeout {
            pool.manager.empty_since = None;
            self.close_server(id, now);
        }
    }
}
