//! One pool: its fork server's state and its workers by slot. Answers questions; what follows from the answers is
//! decided in `server`, `worker` and `manager`.

use std::time::Instant;

use crate::backoff::Backoff;
use crate::crowd::Crowd;
use crate::drain::Queue;
use crate::emergency::Faults;
use crate::generation::Age;
use crate::manager::Manager;
use crate::{PoolId, PoolSettings, ProcessManager};

/// Orders a fork server may have unanswered, so that the channel never fills.
const MOST_ORDERS: usize = 32;

#[derive(Debug)]
pub(crate) struct Worker {
    /// Unknown between order and report.
    pub(crate) pid: Option<u32>,
    /// When it was ordered, then when it was reported.
    pub(crate) born: Instant,
    /// It takes the place of one that ended, and is announced louder.
    pub(crate) replacement: bool,
    /// Its fork server is gone; it finishes what it has and is not replaced.
    pub(crate) adopted: bool,
    /// It has been asked to finish because others took over.
    pub(crate) released: bool,
    /// It was ordered before something it holds became old, and has to finish as soon as it is there.
    pub(crate) outdated: bool,
    /// It was idle and not needed: the last signal that told it to end.
    pub(crate) dismissed: Option<i32>,
    /// A signal has stopped it.
    pub(crate) paused: bool,
}

/// ```text
/// Down ──StartServer──► Starting ──Started──► Up ──pool idle, or the master stops──► Closing
///  ▲ └───────◄── died, refused ───┴─────◄─────┘                                         │
///  └──────────────────────────────◄─────────────────────────────────────────────────────┘
/// ```
#[derive(Debug)]
pub(crate) enum Server {
    Down,
    Starting {
        deadline: Instant,
        told: bool,
    },
    Up {
        since: Instant,
    },
    /// Told to end; killed if it takes longer.
    Closing {
        deadline: Instant,
    },
    /// Killed to be started afresh.
    Restarting,
}

#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) settings: PoolSettings,
    pub(crate) age: Age,
    /// The generation that goes when this one's workers are there.
    pub(crate) replaces: Option<PoolId>,
    pub(crate) server: Server,
    pub(crate) slots: Vec<Option<Worker>>,
    /// How many workers of the current fork server shall live.
    pub(crate) wanted: u32,
    /// Workers still to be ordered that replace nobody.
    pub(crate) additions: u32,
    pub(crate) manager: Manager,
    pub(crate) crashes: Backoff,
    pub(crate) restarts: Backoff,
    pub(crate) faults: Faults,
    /// The fork server is stopped, and is replaced if it still is then.
    pub(crate) server_paused: Option<Instant>,
    pub(crate) crowd: Option<Crowd>,
    /// The last attempt to fork failed.
    pub(crate) cannot_fork: bool,
    /// While the master or this generation finishes.
    pub(crate) queue: Queue,
}

impl Pool {
    pub(crate) fn new(settings: PoolSettings) -> Pool {
        let slots = (0..settings.slots()).map(|_| None).collect();
        let wanted = settings.manager.at_start();
        Pool {
            settings,
            age: Age::Serving,
            replaces: None,
            server: Server::Down,
            slots,
            wanted,
            additions: wanted,
            manager: Manager::default(),
            crashes: Backoff::new(2),
            restarts: Backoff::new(0),
            faults: Faults::default(),
            server_paused: None,
            crowd: None,
            cannot_fork: false,
            queue: Queue::Unknown,
        }
    }

    pub(crate) fn workers(&self) -> impl Iterator<Item = (u32, &Worker)> {
        (0u32..).zip(&self.slots).filter_map(|(slot, worker)| Some((slot, worker.as_ref()?)))
    }

    pub(crate) fn workers_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.slots.iter_mut().flatten()
    }

    pub(crate) fn worker(&self, slot: u32) -> Option<&Worker> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(crate) fn worker_mut(&mut self, slot: u32) -> Option<&mut Worker> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub(crate) fn slot_of(&self, pid: u32) -> Option<u32> {
        self.workers().find(|(_, worker)| worker.pid == Some(pid)).map(|(slot, _)| slot)
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<Worker> {
        self.slots.get_mut(slot as usize)?.take()
    }

    /// No worker lives or has been ordered.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// An order has not been answered yet.
    pub(crate) fn awaits_any(&self) -> bool {
        self.unanswered() > 0
    }

    fn unanswered(&self) -> usize {
        self.workers().filter(|(_, worker)| worker.pid.is_none()).count()
    }

    /// Workers that have been reported, adopted ones too: all of them accept.
    pub(crate) fn alive(&self) -> u32 {
        self.workers().filter(|(_, worker)| worker.pid.is_some()).count() as u32
    }

    /// Workers of the current fork server, ordered ones too.
    pub(crate) fn own(&self) -> u32 {
        self.workers().filter(|(_, worker)| !worker.adopted).count() as u32
    }

    /// Whether a fork server has to run: always, or with `ondemand` as long as workers are wanted.
    pub(crate) fn needs_server(&self) -> bool {
        self.wanted > 0 || !matches!(self.settings.manager, ProcessManager::Ondemand { .. })
    }

    /// After a failed start of its fork server an ondemand pool waits for the next connection.
    pub(crate) fn forget_demand(&mut self) {
        if self.own() == 0 && matches!(self.settings.manager, ProcessManager::Ondemand { .. }) {
            (self.wanted, self.additions) = (0, 0);
        }
    }

    /// A slot for the next worker, if this pool may order one now.
    pub(crate) fn vacancy(&self, now: Instant) -> Option<u32> {
        let up = matches!(self.server, Server::Up { .. });
        let ready = (self.serves() || self.has_queue_left()) && up && !self.crashes.held(now);
        if !ready || self.unanswered() >= MOST_ORDERS || self.own() >= self.wanted {
            return None;
        }
        self.slots.iter().position(Option::is_none).map(|slot| slot as u32)
    }

    /// When a delay or a limit of this pool's processes ends.
    pub(crate) fn deadline(&self, wants_workers: bool) -> Option<Instant> {
        let grows = wants_workers && (self.serves() || self.has_queue_left());
        let server = match self.server {
            Server::Starting { deadline, .. } | Server::Closing { deadline } => Some(deadline),
            Server::Down if grows => self.restarts.deadline(),
            Server::Up { .. } if wants_workers => self.standstill_ends(),
            _ => None,
        };
        let retirement = match self.age {
            Age::Retiring { deadline, .. } => deadline,
            _ => None,
        };
        let crashes = self.crashes.deadline().filter(|_| grows);
        let crowd = self.crowd.as_ref().map(|crowd| crowd.deadline).filter(|_| wants_workers);
        server.into_iter().chain(retirement).chain(crashes).chain(crowd).min()
    }
}
