//! Looking at the pools for the process managers: what their scoreboards say, and being told when to look.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use board::scoreboard::Stage;
use config::ProcessManager;
use plan::{Event, Idle, Look, PoolId, Survey, Why};
use sys::listener;

use crate::log::errno_text;
use crate::poller::Source;
use crate::supervisor::Supervisor;
use crate::wake::Wake;

impl Supervisor {
    /// Reads the pool's scoreboard for the plan.
    pub(crate) fn look(&mut self, pool: PoolId, why: Why) {
        let board = &self.pools[pool].board;
        let now = sys::clock::monotonic_us();
        let mut look = Look::default();
        for (slot, pid) in self.plan.workers(pool) {
            let Some(place) = board.slots().get(slot as usize).filter(|_| pid.is_some()) else { continue };
            match place.stage() {
                // Empty: it lives, and is about to move in.
                Stage::Accepting | Stage::Empty => {
                    let unused_for =
                        place.last_used().map(|used| Duration::from_micros(now.saturating_sub(used)));
                    look.idle.push(Idle { slot, unused_for });
                }
                _ => look.occupied += 1,
            }
        }
        board.header().correct_occupied(look.occupied);
        self.events.push_back(Event::Looked { pool, why, look });
    }

    /// Looks whether anybody uses us at all.
    pub(crate) fn survey(&mut self) {
        let mut survey = Survey::default();
        for (id, pool) in self.pools.iter() {
            survey.requests = survey.requests.wrapping_add(pool.board.header().accepted.load(Relaxed));
            let calls = &pool.board.header().calls;
            survey.queued |= listener::is_awaited(&*pool.socket.fd) || calls.has_ready();
            survey.occupied = survey.occupied.saturating_add(calls.parked());
            for (slot, _) in self.plan.workers(id) {
                let place = pool.board.slots().get(slot as usize);
                let idle = place.is_none_or(|place| matches!(place.stage(), Stage::Accepting | Stage::Empty));
                survey.occupied = survey.occupied.saturating_add(u32::from(!idle));
            }
        }
        self.events.push_back(Event::Surveyed(survey));
    }

    /// Makes the pipe by which workers wake us, unless there are always as many. A pool without a process has none:
    /// hundreds of them shall fit into a limit of open files.
    pub(crate) fn prepare_wake(&mut self, pool: PoolId) -> Result<(), String> {
        let target = &mut self.pools[pool];
        if target.config.pm == ProcessManager::Static || target.wake.is_some() {
            return Ok(());
        }
        let watched = Wake::new().and_then(|wake| {
            self.poller.watch_once(wake.reader(), Source::Wake(pool))?;
            Ok(wake)
        });
        target.wake = Some(watched.map_err(|error| format!("pipe: {}", errno_text(&error)))?);
        Ok(())
    }

    /// The fork server is gone; its workers, if there are any, still know pipe and mailbox.
    pub(crate) fn drop_wake(&mut self, pool: PoolId) {
        if !self.plan.workers(pool).is_empty() {
            return;
        }
        let target = &mut self.pools[pool];
        if let Some(wake) = target.wake.take() {
            self.poller.forget(wake.reader());
        }
        // Another generation that has the same one may have processes.
        if Rc::strong_count(&target.mailbox) == 1 {
            target.mailbox.close();
        }
    }

    /// A parked connection has a request on it, and no worker waits: as if it stood on the listening socket.
    pub(crate) fn mail_waits(&mut self, pool: PoolId) {
        if self.pools[pool].config.pm != ProcessManager::Static {
            self.look(pool, Why::Queue);
        }
    }

    /// Has a worker wake us, once, when so many are occupied; looks at once if they are.
    pub(crate) fn arm(&mut self, pool: PoolId, occupied: u32) {
        let target = &self.pools[pool];
        if let Some(wake) = &target.wake {
            // Without it the look once a second finds the shortage.
            let _ = self.poller.watch_once(wake.reader(), Source::Wake(pool));
        }
        if !target.board.header().wake_at(occupied) {
            self.look(pool, Why::Shortage);
        }
    }

    /// A worker has woken us.
    pub(crate) fn woken(&mut self, pool: PoolId) {
        if let Some(wake) = &self.pools[pool].wake {
            wake.take();
        }
        self.look(pool, Why::Shortage);
    }

    /// Waits, once, for a connection on the pool's socket.
    pub(crate) fn watch_queue(&mut self, pool: PoolId) {
        let socket = &self.pools[pool].socket.fd;
        if let Err(error) = self.poller.watch_once(socket, Source::Queue(pool)) {
            let text = format!("cannot watch the listening socket: {}", errno_text(&error));
            self.write_for(pool, config::Level::Error, &text);
        }
    }

    pub(crate) fn count_saturation(&mut self, pool: PoolId) {
        self.pools[pool].board.header().max_children_reached.fetch_add(1, Relaxed);
    }
}
