//! Idle exit: a service whose sockets somebody else holds, who starts it again with the next connection, ends when nobody
//! has used it for long.
//!
//! ```text
//! Normal ──nothing for idle_exit: workers are asked to finish──► Leaving ──none left, nobody waits──► stop ──► Exit
//!   ▲                                                               │
//!   └────────────────────── somebody has come meanwhile ◄───────────┘
//! ```
//!
//! What comes after the last look waits in its queue and has us started again.

use std::time::{Duration, Instant};

use config::Level;

use crate::pool::Server;
use crate::{Action, Phase, Plan, SIGQUIT, stop};

/// Looks in the time after which we go.
const LOOKS: u32 = 10;
/// Most and least time between two of them.
const SLOWEST: Duration = Duration::from_secs(60);
const FASTEST: Duration = Duration::from_millis(100);
/// Between looks at the queues while the workers go.
const LEAVING_STEP: Duration = Duration::from_millis(20);

/// What all pools do, taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Requests so far.
    pub requests: u64,
    /// Workers that do not wait for a new connection, and kept connections that have no worker.
    pub occupied: u32,
    /// A connection waits on a listening socket, or a request on a kept connection.
    pub queued: bool,
}

/// How long nobody has used us.
#[derive(Debug)]
pub(crate) struct Rest {
    last: Option<Survey>,
    since: Instant,
    pub(crate) next: Instant,
}

fn step(limit: Duration) -> Duration {
    (limit / LOOKS).clamp(FASTEST, SLOWEST)
}

impl Plan {
    fn idle_exit(&self) -> Option<Duration> {
        Some(self.settings.idle_exit).filter(|limit| !limit.is_zero())
    }

    /// When to look next.
    pub(crate) fn rest_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Normal => self.rest.as_ref().map(|rest| rest.next),
            Phase::Leaving { next } => Some(next),
            _ => None,
        }
    }

    /// Something is under way that is not to be ended, or has just been.
    fn is_settled(&self) -> bool {
        let calm = |server: &Server| matches!(server, Server::Up { .. } | Server::Down);
        let pools_are = self.pools.values().all(|pool| calm(&pool.server) && !pool.awaits_any());
        self.ready_told && self.reload.is_none() && pools_are
    }

    /// Called after every event in normal operation.
    pub(crate) fn rest_step(&mut self, now: Instant) {
        let Some(limit) = self.idle_exit().filter(|_| self.is_settled()) else {
            self.rest = None;
            return;
        };
        let rest = self.rest.get_or_insert(Rest { last: None, since: now, next: now + step(limit) });
        if now >= rest.next {
            rest.next = now + step(limit);
            self.actions.push(Action::Survey);
        }
    }

    pub(crate) fn surveyed(&mut self, survey: Survey, now: Instant) {
        match self.phase {
            Phase::Normal => self.weigh(survey, now),
            Phase::Leaving { .. } if survey.queued => self.come_back(now),
            Phase::Leaving { .. } if self.pools.values().all(|pool| pool.is_empty()) => {
                match survey.occupied {
                    0 => self.stop(stop::Kind::Finishing, now),
                    // A kept connection that a worker has left behind.
                    _ => self.come_back(now),
                }
            }
            _ => {}
        }
    }

    fn weigh(&mut self, survey: Survey, now: Instant) {
        let (Some(limit), Some(rest)) = (self.idle_exit(), &mut self.rest) else { return };
        let used = rest.last.is_some_and(|last| last.requests != survey.requests);
        if used || survey.occupied > 0 || survey.queued {
            rest.since = now;
        }
        rest.last = Some(survey);
        if now.duration_since(rest.since) >= limit {
            self.leave(limit, now);
        }
    }

    fn leave(&mut self, limit: Duration, now: Instant) {
        let seconds = limit.as_secs();
        let text = format!("nobody has used this service for {seconds} s, it ends until the next connection");
        self.log(Level::Notice, text);
        self.rest = None;
        self.phase = Phase::Leaving { next: now + LEAVING_STEP };
        self.signal_all(SIGQUIT);
    }

    /// Called after every event while leaving.
    pub(crate) fn leaving_step(&mut self, now: Instant) {
        let Phase::Leaving { next } = &mut self.phase else { return };
        let alone = self.pools.values().all(|pool| pool.is_empty());
        if alone || now >= *next {
            *next = now + LEAVING_STEP;
            self.actions.push(Action::Survey);
        }
    }

    /// Everything goes on; the workers that are gone by now are replaced.
    pub(crate) fn come_back(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Leaving { .. }) {
            return;
        }
        self.log(Level::Notice, "somebody has come meanwhile, everything goes on");
        self.phase = Phase::Normal;
        for pool in self.pools.values_mut() {
            pool.additions = pool.wanted.saturating_sub(pool.own());
        }
        self.fill(now);
    }
}
