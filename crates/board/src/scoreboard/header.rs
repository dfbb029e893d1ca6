//! A pool's own part of its scoreboard: counters, and the count of occupied workers that wakes the master.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};

use super::calls::Calls;
use super::counts::Counts;
use crate::cells::Text;

/// The pool's own part of the scoreboard. Times are seconds since the epoch.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Header {
    pub(super) magic: AtomicU64,
    pub(super) slots: AtomicU64,
    /// When the board was made.
    pub started: AtomicU64,
    /// Requests begun.
    pub accepted: AtomicU64,
    /// Connections waiting on the listening socket when the master last looked.
    pub listen_queue: AtomicU32,
    /// Largest value of `listen_queue` seen.
    pub max_listen_queue: AtomicU32,
    /// Room in the queue.
    pub listen_queue_len: AtomicU32,
    /// Largest number of active workers there was.
    pub max_active: AtomicU32,
    /// How often `pm.max_children` held back a new worker.
    pub max_children_reached: AtomicU32,
    /// Requests that ran longer than `request_slowlog_timeout`.
    pub slow_requests: AtomicU32,
    /// The process manager's index: 0 static, 1 dynamic, 2 ondemand.
    pub(super) process_manager: AtomicU32,
    /// Workers that do not wait in `accept`, as they count themselves. One that is killed does not count itself out:
    /// the master puts that right when it looks.
    occupied: AtomicU32,
    /// The worker that finds so many occupied shall wake the master; 0: none shall.
    wake_at: AtomicU32,
    /// Workers by kind of stage. For the status page they are counted from the slots.
    pub counts: Counts,
    /// What calls workers away from their kept connections.
    pub calls: Calls,
    /// Workers that are asked to finish take what is queued before they end.
    draining: AtomicU32,
    /// How many of those that are queued they may take.
    to_serve: AtomicU32,
    pub(super) pool: Text<8>,
}

/// php-fpm's names of the process managers, by index.
pub const PROCESS_MANAGERS: [&str; 3] = ["static", "dynamic", "ondemand"];

impl Header {
    /// Name of the pool, cut to 31 bytes as php-fpm does.
    pub fn pool(&self) -> Vec<u8> {
        self.pool.load()
    }

    /// This worker has taken a connection. True if it shall wake the master, which is asked of one worker only.
    pub fn occupy(&self) -> bool {
        // SeqCst here and in `wake_at`: of a worker and a master that do this at once, one sees the other.
        let occupied = self.occupied.fetch_add(1, SeqCst).wrapping_add(1);
        let wake_at = self.wake_at.load(SeqCst);
        wake_at != 0
            && occupied >= wake_at
            && self.wake_at.compare_exchange(wake_at, 0, SeqCst, Relaxed).is_ok()
    }

    /// This worker goes back to `accept`.
    pub fn release(&self) {
        self.occupied.fetch_sub(1, Relaxed);
    }

    /// Has the worker that makes it so many wake the master. False if there are so many already.
    pub fn wake_at(&self, occupied: u32) -> bool {
        self.wake_at.store(occupied, SeqCst);
        let now = self.occupied.load(SeqCst);
        // Above half of the range the count has gone below zero.
        let reached = now >= occupied && now <= u32::MAX / 2;
        !(reached && self.wake_at.swap(0, SeqCst) != 0)
    }

    /// Puts the count right: `seen` is what the slots say.
    pub fn correct_occupied(&self, seen: u32) {
        let counted = self.occupied.load(Relaxed);
        self.occupied.fetch_add(seen.wrapping_sub(counted), Relaxed);
    }

    /// What a look at the listening socket's queue found.
    pub fn note_queue(&self, waiting: u32, room: u32) {
        self.listen_queue.store(waiting, Relaxed);
        self.max_listen_queue.fetch_max(waiting, Relaxed);
        self.listen_queue_len.store(room, Relaxed);
    }

    /// From now on workers that are asked to finish take what is queued first, up to so many connections (`u32::MAX`: all).
    /// The listening socket must not make anybody wait any more.
    pub fn begin_drain(&self, to_serve: u32) {
        self.to_serve.store(to_serve, Relaxed);
        self.draining.store(1, SeqCst);
    }

    /// Workers that are asked to finish take what is queued first.
    pub fn is_draining(&self) -> bool {
        self.draining.load(SeqCst) != 0
    }

    /// How many more connections may be taken from the queue.
    pub fn to_serve(&self) -> u32 {
        self.to_serve.load(Relaxed)
    }

    /// Whether a worker that is asked to finish shall try to take another connection from the queue.
    pub fn may_take_another(&self) -> bool {
        self.is_draining() && self.to_serve() > 0
    }

    /// It has. Several who do so at once may take some too many.
    pub fn took_another(&self) {
        let left = |left: u32| if left == u32::MAX { left } else { left.saturating_sub(1) };
        let _ = self.to_serve.fetch_update(Relaxed, Relaxed, |count| Some(left(count)));
    }

    /// `static`, `dynamic` or `ondemand`.
    pub fn process_manager(&self) -> &'static str {
        PROCESS_MANAGERS.get(self.process_manager.load(Relaxed) as usize).unwrap_or(&PROCESS_MANAGERS[0])
    }
}
