//! The way down: signals to the workers in php-fpm's order and rhythm, then the fork servers, then the end, or for a
//! reload the next image of the master.
//!
//! ```text
//! workers: QUIT (finish, reload) or TERM (terminate) ─limit─► TERM / KILL ─1 s─► KILL ─1 s─► KILL …
//! workers of a fork server that stays silent after KILL: KILL it too
//! no worker left: close the fork servers ─2 s─► KILL them;  none left: Exit, or Execute for a reload
//! ```

use std::time::{Duration, Instant};

use config::Level;

use crate::pool::Server;
use crate::{Action, Phase, Plan, PoolId, SIGKILL, SIGQUIT, Settings};

pub(crate) const SIGTERM: i32 = 15;
/// Between the second and all further signals.
pub(crate) const STEP: Duration = Duration::from_secs(1);

/// Which of php-fpm's three ways to stop the workers; a later one overrides an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Reloading,
    Finishing,
    Terminating,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Reloading => "reloading",
            Kind::Finishing => "finishing",
            Kind::Terminating => "terminating",
        }
    }

    /// What those are told who supervise us: the same as the log says. After a reload we are there again.
    fn told(self) -> Option<&'static str> {
        match self {
            Kind::Reloading => None,
            Kind::Finishing => Some(FINISHING),
            Kind::Terminating => Some("Terminating ..."),
        }
    }
}

/// What is told of a stop that lets requests finish.
pub const FINISHING: &str = "Finishing ...";

#[derive(Debug)]
pub(crate) struct Stop {
    kind: Kind,
    pub(crate) last_signal: Option<i32>,
    pub(crate) deadline: Option<Instant>,
    servers_told: bool,
    /// What is queued is served, too (`drain`).
    pub(crate) drains: bool,
    /// After the fork servers' end the queues have been looked at again.
    pub(crate) looked_again: bool,
    /// When the workers have had their time.
    limit: Option<Instant>,
}

impl Plan {
    pub(crate) fn stop(&mut self, kind: Kind, now: Instant) {
        match &self.phase {
            Phase::Over => return,
            Phase::Stopping(stop) if stop.kind == kind => return,
            Phase::Stopping(stop) if stop.kind > kind => {
                let (wanted, current) = (kind.name(), stop.kind.name());
                let text = format!("not switching to '{wanted}' state, because already in '{current}' state");
                return self.log(Level::Debug, text);
            }
            _ => {}
        }
        self.log(Level::Debug, format!("switching to '{}' state", kind.name()));
        self.actions.extend(kind.told().map(Action::TellStopping));
        let servers_told = matches!(&self.phase, Phase::Stopping(stop) if stop.servers_told);
        // Who waits after an idle exit's last look waits for our successor.
        let drains = kind == Kind::Finishing && !matches!(self.phase, Phase::Leaving { .. });
        self.finish_at = None;
        self.phase = Phase::Stopping(Stop {
            kind,
            last_signal: None,
            deadline: Some(now),
            servers_told,
            drains,
            looked_again: false,
            limit: None,
        });
        self.kill_paused_servers();
        if drains {
            self.begin_drain();
        }
    }

    /// How long workers that were asked to finish may take.
    pub(crate) fn patience(&self) -> Option<Duration> {
        let Settings { process_control_timeout, drain_timeout, .. } = self.settings;
        [process_control_timeout, drain_timeout].into_iter().find(|limit| !limit.is_zero())
    }

    /// Looks how far the stop has come; called after every event while stopping.
    pub(crate) fn stop_step(&mut self, now: Instant) {
        if self.drains() {
            self.drain_step(now);
        }
        let (done, patience) = (self.is_drained(), self.patience());
        let Phase::Stopping(stop) = &mut self.phase else { return };
        let due = stop.deadline.is_some_and(|deadline| now >= deadline);
        if done {
            self.stop_servers(now);
        } else if due {
            let (signal, wait) = match (stop.last_signal, stop.kind) {
                (None, Kind::Terminating) => (SIGTERM, Some(self.settings.process_control_timeout)),
                (None, Kind::Reloading | Kind::Finishing) => (SIGQUIT, patience),
                (Some(SIGQUIT), _) => (SIGTERM, Some(STEP)),
                (Some(_), _) => (SIGKILL, Some(STEP)),
            };
            let again = stop.last_signal == Some(SIGKILL);
            (stop.last_signal, stop.deadline) = (Some(signal), wait.map(|wait| now + wait));
            stop.limit = stop.deadline;
            // Whoever is queued now has waited for as long as anybody may.
            stop.drains &= signal == SIGQUIT;
            self.signal_all(signal);
            if again {
                self.kill_silent_servers();
            }
        }
    }

    pub(crate) fn signal_all(&mut self, signal: i32) {
        let mut alive = 0;
        for pool in self.pools.ids() {
            let slots: Vec<u32> = self.pools[pool].workers().map(|(slot, _)| slot).collect();
            alive += slots.len();
            for slot in slots {
                self.signal_worker(pool, slot, signal);
            }
        }
        self.log(Level::Debug, format!("{alive} child(ren) still alive"));
    }

    /// A fork server that has not told the end of its killed workers for a second is stopped or hangs. When it is
    /// gone, we see for ourselves.
    fn kill_silent_servers(&mut self) {
        for id in self.pools.ids() {
            let pool = &self.pools[id];
            if !matches!(pool.server, Server::Down) && pool.workers().next().is_some() {
                self.actions.push(Action::KillServer(id));
            }
        }
    }

    fn stop_servers(&mut self, now: Instant) {
        let running: Vec<PoolId> = self
            .pools
            .ids()
            .into_iter()
            .filter(|id| !matches!(self.pools[*id].server, Server::Down))
            .collect();
        if running.is_empty() {
            if !self.look_once_more() {
                self.stopped();
            }
            return;
        }
        let Phase::Stopping(stop) = &mut self.phase else { return };
        stop.deadline = None;
        if !std::mem::replace(&mut stop.servers_told, true) {
            running.into_iter().for_each(|pool| self.close_server(pool, now));
        }
    }

    /// A fork server is needed once more.
    pub(crate) fn reopen_stop(&mut self) {
        if let Phase::Stopping(stop) = &mut self.phase {
            (stop.servers_told, stop.looked_again, stop.deadline) = (false, false, stop.limit);
        }
    }

    /// Nothing runs any more.
    fn stopped(&mut self) {
        let reloading = matches!(&self.phase, Phase::Stopping(stop) if stop.kind == Kind::Reloading);
        self.phase = Phase::Over;
        if reloading {
            return self.actions.push(Action::Execute);
        }
        self.log(Level::Notice, "exiting, bye-bye!");
        self.actions.push(Action::Exit);
    }
}
