//! The scoreboard of a pool: one header and one slot per worker, in memory shared by master, fork server
//! and workers. A worker writes only its own slot, with plain atomic stores; nobody ever takes a lock.
//! A slot's request fields are guarded by a sequence number: odd while the worker writes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*, fence};

use sys::shm::{self, Mapping};

use crate::cells::Text;

const MAGIC: u64 = u64::from_ne_bytes(*b"cornacb1");

/// What a worker is doing. The names in php-fpm's status page are in `label`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// No worker lives in this slot.
    Empty = 0,
    /// Blocked in `accept`.
    Accepting = 1,
    /// Holds a kept connection with no request on it.
    KeptIdle = 2,
    /// Reads a request's parameters.
    ReadingHeaders = 3,
    /// Finds the script, starts the request in PHP.
    GettingInformation = 4,
    /// Runs the script.
    Running = 5,
    /// Shuts the request down in PHP, ends the reply, closes.
    Finishing = 6,
    /// Holds a new connection that has not sent a byte yet.
    Accepted = 7,
}

impl Stage {
    fn from_u32(value: u32) -> Stage {
        match value {
            1 => Stage::Accepting,
            2 => Stage::KeptIdle,
            3 => Stage::ReadingHeaders,
            4 => Stage::GettingInformation,
            5 => Stage::Running,
            6 => Stage::Finishing,
            7 => Stage::Accepted,
            _ => Stage::Empty,
        }
    }

    /// Waiting for a request, whether a connection is kept or not.
    pub fn is_idle(self) -> bool {
        matches!(self, Stage::Accepting | Stage::Accepted | Stage::KeptIdle)
    }

    /// Busy with a request.
    pub fn is_active(self) -> bool {
        self != Stage::Empty && !self.is_idle()
    }

    /// php-fpm's word for the stage.
    pub fn label(self) -> &'static str {
        match self {
            Stage::Empty | Stage::Accepting | Stage::Accepted | Stage::KeptIdle => "Idle",
            Stage::ReadingHeaders => "Reading headers",
            Stage::GettingInformation => "Getting request information",
            Stage::Running => "Running",
            Stage::Finishing => "Finishing",
        }
    }
}

/// The pool's own part of the scoreboard. Times are seconds since the epoch.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Header {
    magic: AtomicU64,
    slots: AtomicU64,
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
    process_manager: AtomicU32,
    /// Workers that do not wait in `accept`, as they count themselves. One that is killed does not count itself out:
    /// the master puts that right when it looks.
    occupied: AtomicU32,
    /// The worker that finds so many occupied shall wake the master; 0: none shall.
    wake_at: AtomicU32,
    /// Active workers, counted for `max_active` alone: how many there are is counted from the slots.
    active: AtomicU32,
    pool: Text<8>,
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

    /// `static`, `dynamic` or `ondemand`.
    pub fn process_manager(&self) -> &'static str {
        PROCESS_MANAGERS.get(self.process_manager.load(Relaxed) as usize).unwrap_or(&PROCESS_MANAGERS[0])
    }
}

/// One worker's place. Only that worker writes it while it lives.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Slot {
    sequence: AtomicU32,
    stage: AtomicU32,
    pid: AtomicU32,
    _reserved: AtomicU32,
    /// Seconds since the epoch.
    started: AtomicU64,
    requests: AtomicU64,
    /// Microseconds of the monotonic clock.
    request_started: AtomicU64,
    request_duration: AtomicU64,
    content_length: AtomicU64,
    /// Hundredths of a percent of one CPU.
    cpu: AtomicU64,
    memory: AtomicU64,
    method: Text<2>,
    uri: Text<16>,
    query: Text<64>,
    user: Text<4>,
    script: Text<32>,
}

/// What a request tells about itself once its script is known. Longer texts are cut to php-fpm's lengths.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestInfo<'a> {
    /// `REQUEST_METHOD`.
    pub method: &'a [u8],
    /// php-fpm's internal request URI, without the query.
    pub uri: &'a [u8],
    /// `QUERY_STRING`.
    pub query: &'a [u8],
    /// User of HTTP Basic authentication.
    pub user: &'a [u8],
    /// Path of the script.
    pub script: &'a [u8],
    /// `CONTENT_LENGTH`.
    pub content_length: u64,
}

impl<'a> RequestInfo<'a> {
    /// The texts cut to php-fpm's lengths, which status page and access log share.
    pub fn cut(self) -> RequestInfo<'a> {
        let cut = |text: &'a [u8], limit: usize| &text[..text.len().min(limit)];
        RequestInfo {
            method: cut(self.method, 15),
            uri: cut(self.uri, 127),
            query: cut(self.query, 511),
            user: cut(self.user, 31),
            script: cut(self.script, 255),
            content_length: self.content_length,
        }
    }
}

/// A copy of a slot, taken while its worker did not write.
#[derive(Clone, Debug)]
pub struct SlotView {
    /// What the worker is doing.
    pub stage: Stage,
    /// Its process id; 0 in an empty slot.
    pub pid: u32,
    /// When it was forked, seconds since the epoch.
    pub started: u64,
    /// Requests begun.
    pub requests: u64,
    /// Start of the current or last request, microseconds of the monotonic clock.
    pub request_started: u64,
    /// Microseconds the last request took.
    pub request_duration: u64,
    /// `CONTENT_LENGTH` of the current or last request.
    pub content_length: u64,
    /// CPU use of the last request in percent of one CPU.
    pub cpu: f64,
    /// Peak memory of the last request in bytes.
    pub memory: u64,
    /// Texts of the current or last request.
    pub method: Vec<u8>,
    /// php-fpm's internal request URI.
    pub uri: Vec<u8>,
    /// Query string.
    pub query: Vec<u8>,
    /// User of HTTP Basic authentication.
    pub user: Vec<u8>,
    /// Path of the script.
    pub script: Vec<u8>,
}

impl Slot {
    /// All fields start from zero.
    fn move_in(&self, pid: u32, epoch_seconds: u64) {
        self.write(|slot| {
            slot.started.store(epoch_seconds, Relaxed);
            for counter in [
                &slot.requests,
                &slot.request_started,
                &slot.request_duration,
                &slot.content_length,
                &slot.cpu,
                &slot.memory,
            ] {
                counter.store(0, Relaxed);
            }
            slot.clear_texts();
        });
        self.pid.store(pid, Release);
    }

    fn start_request(&self, monotonic_us: u64) {
        self.write(|slot| {
            slot.request_started.store(monotonic_us, Relaxed);
            slot.requests.fetch_add(1, Relaxed);
            slot.clear_texts();
        });
    }

    /// The request's texts are known.
    pub fn describe_request(&self, info: &RequestInfo<'_>) {
        let info = info.cut();
        self.write(|slot| {
            slot.method.store(info.method);
            slot.uri.store(info.uri);
            slot.query.store(info.query);
            slot.user.store(info.user);
            slot.script.store(info.script);
            slot.content_length.store(info.content_length, Relaxed);
        });
    }

    /// The script has ended; the stage stays. `cpu` in percent of one CPU, `memory` in bytes.
    pub fn end_request(&self, duration_us: u64, cpu: f64, memory: u64) {
        self.write(|slot| {
            slot.request_duration.store(duration_us, Relaxed);
            slot.cpu.store((cpu * 100.0) as u64, Relaxed);
            slot.memory.store(memory, Relaxed);
        });
    }

    /// The stage alone.
    pub fn stage(&self) -> Stage {
        Stage::from_u32(self.stage.load(Acquire))
    }

    /// When the last script ended, microseconds of the monotonic clock; `None` before the first request.
    pub fn last_used(&self) -> Option<u64> {
        let ended = self.request_started.load(Relaxed).saturating_add(self.request_duration.load(Relaxed));
        (self.requests.load(Relaxed) > 0).then_some(ended)
    }

    /// A consistent copy, or after some tries the copy as it came (a worker may die while it writes).
    pub fn view(&self) -> SlotView {
        for _ in 0..64 {
            let before = self.sequence.load(Acquire);
            let view = self.copy();
            fence(Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Relaxed) == before {
                return view;
            }
        }
        self.copy()
    }

    fn copy(&self) -> SlotView {
        SlotView {
            stage: self.stage(),
            pid: self.pid.load(Relaxed),
            started: self.started.load(Relaxed),
            requests: self.requests.load(Relaxed),
            request_started: self.request_started.load(Relaxed),
            request_duration: self.request_duration.load(Relaxed),
            content_length: self.content_length.load(Relaxed),
            cpu: self.cpu.load(Relaxed) as f64 / 100.0,
            memory: self.memory.load(Relaxed),
            method: self.method.load(),
            uri: self.uri.load(),
            query: self.query.load(),
            user: self.user.load(),
            script: self.script.load(),
        }
    }

    fn write(&self, change: impl FnOnce(&Slot)) {
        let odd = self.sequence.load(Relaxed) | 1;
        self.sequence.store(odd, Relaxed);
        fence(Release);
        change(self);
        self.sequence.store(odd.wrapping_add(1), Release);
    }

    fn clear_texts(&self) {
        self.method.clear();
        self.uri.clear();
        self.query.clear();
        self.user.clear();
        self.script.clear();
        self.content_length.store(0, Relaxed);
    }
}

/// A pool's scoreboard, mapped into this process.
#[derive(Debug)]
pub struct Board {
    mapping: Mapping,
    slots: usize,
}

impl Board {
    /// Makes the scoreboard of a pool: the descriptor to hand on, and our own mapping of it.
    pub fn create(
        pool: &[u8],
        process_manager: u32,
        slots: usize,
        epoch_seconds: u64,
    ) -> io::Result<(OwnedFd, Board)> {
        let size = size_of::<Header>() + slots * size_of::<Slot>();
        let fd = shm::create(c"cornac-scoreboard", size)?;
        let mapping = Mapping::new(&fd)?;
        let board = Board { mapping, slots };
        board.header().magic.store(MAGIC, Relaxed);
        board.header().slots.store(slots as u64, Relaxed);
        board.header().pool.store(&pool[..pool.len().min(31)]);
        board.header().process_manager.store(process_manager, Relaxed);
        board.header().started.store(epoch_seconds, Relaxed);
        Ok((fd, board))
    }

    /// Maps a scoreboard that another process made, after checking that it is one.
    pub fn open(fd: impl AsFd) -> io::Result<Board> {
        let mapping = Mapping::new(fd)?;
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a scoreboard of this version");
        if mapping.length() < size_of::<Header>() {
            return Err(invalid());
        }
        // SAFETY: the mapping is at least a header long and page-aligned, and every bit pattern is a valid header.
        let header = unsafe { mapping.start().cast::<Header>().as_ref() };
        let slots = header.slots.load(Relaxed) as usize;
        let room = (mapping.length() - size_of::<Header>()) / size_of::<Slot>();
        if header.magic.load(Relaxed) != MAGIC || slots > room {
            return Err(invalid());
        }
        Ok(Board { mapping, slots })
    }

    /// The pool's own part.
    pub fn header(&self) -> &Header {
        // SAFETY: `create` and `open` made sure that a header is there; its fields are atomics.
        unsafe { self.mapping.start().cast::<Header>().as_ref() }
    }

    /// The slots: twice `pm.max_children`, so that workers of a lost fork server can finish beside the new ones.
    pub fn slots(&self) -> &[Slot] {
        // SAFETY: the header is inside the mapping, so the address after it is too.
        let first = unsafe { self.mapping.start().cast::<Header>().add(1) };
        // SAFETY: `create` and `open` made sure that this many slots fit; a header's size is a multiple of the
        // slot's alignment; the fields are atomics and the mapping lives as long as `self`.
        unsafe { std::slice::from_raw_parts(first.cast::<Slot>().as_ptr(), self.slots) }
    }

    /// A worker moves in.
    pub fn occupy(&self, slot: &Slot, pid: u32, epoch_seconds: u64) {
        slot.move_in(pid, epoch_seconds);
        self.enter(slot, Stage::Accepting);
    }

    /// The worker is gone.
    pub fn vacate(&self, slot: &Slot) {
        self.enter(slot, Stage::Empty);
        slot.pid.store(0, Release);
    }

    /// The worker's next step.
    pub fn enter(&self, slot: &Slot, stage: Stage) {
        // A slot has one writer at a time, so nothing comes between.
        let before = Stage::from_u32(slot.stage.load(Relaxed));
        slot.stage.store(stage as u32, Release);
        match (before.is_active(), stage.is_active()) {
            (false, true) => self.count_active(),
            (true, false) => drop(self.header().active.fetch_sub(1, Relaxed)),
            _ => {}
        }
    }

    /// A request's first bytes are here.
    pub fn begin_request(&self, slot: &Slot, monotonic_us: u64) {
        slot.start_request(monotonic_us);
        self.enter(slot, Stage::ReadingHeaders);
        self.header().accepted.fetch_add(1, Relaxed);
    }

    fn count_active(&self) {
        let header = self.header();
        let active = header.active.fetch_add(1, Relaxed).wrapping_add(1);
        // More than there is room for: somebody wrote over the count.
        if active > header.max_active.load(Relaxed) && active as usize <= self.slots {
            header.max_active.fetch_max(active, Relaxed);
        }
    }

    /// How many workers are (idle, active) right now.
    pub fn census(&self) -> (u32, u32) {
        self.slots().iter().map(Slot::stage).fold((0, 0), |(idle, active), stage| match stage {
            Stage::Empty => (idle, active),
            stage if stage.is_idle() => (idle + 1, active),
            _ => (idle, active + 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_mapping_sees_what_the_worker_wrote() {
        let (fd, board) = Board::create(b"www", 1, 3, 42).unwrap();
        let other = Board::open(&fd).unwrap();
        let slot = &board.slots()[1];
        board.occupy(slot, 77, 43);
        board.begin_request(slot, 1000);
        slot.describe_request(&RequestInfo {
            method: b"GET",
            uri: &[b'u'; 200],
            script: b"/x.php",
            ..Default::default()
        });
        slot.end_request(250, 12.5, 2 << 20);
        let view = other.slots()[1].view();
        assert_eq!((view.pid, view.started, view.requests, view.stage), (77, 43, 1, Stage::ReadingHeaders));
        assert_eq!((view.method.as_slice(), view.uri.len(), view.cpu), (b"GET".as_slice(), 127, 12.5));
        assert_eq!((other.header().pool(), other.header().process_manager()), (b"www".to_vec(), "dynamic"));
        assert_eq!(other.census(), (0, 1));
        board.vacate(slot);
        assert_eq!(other.census(), (0, 0));
    }

    #[test]
    fn one_worker_wakes_the_master_when_so_many_are_occupied() {
        let (_fd, board) = Board::create(b"www", 1, 3, 0).unwrap();
        let header = board.header();
        assert!(!header.occupy());
        assert!(header.wake_at(3));
        assert!(!header.occupy() && header.occupy() && !header.occupy());
        assert!(!header.wake_at(4), "it is so already");
        header.release();
        assert!(header.wake_at(4) && header.occupy());
        header.correct_occupied(1);
        assert!(header.wake_at(2) && header.occupy());
        (0..5).for_each(|_| header.release());
        assert!(header.wake_at(1), "below zero is not much");
    }

    #[test]
    fn the_most_that_were_active_is_counted_not_sampled() {
        let (_fd, board) = Board::create(b"www", 0, 3, 0).unwrap();
        let most = || board.header().max_active.load(Relaxed);
        let [a, b, c] = board.slots() else { panic!("three slots") };
        [a, b, c].iter().for_each(|slot| board.occupy(slot, 1, 0));
        board.begin_request(a, 1);
        board.begin_request(b, 1);
        board.begin_request(a, 2); // the next one on a kept connection
        board.enter(b, Stage::Finishing);
        assert_eq!((most(), board.census()), (2, (1, 2)));
        board.enter(a, Stage::KeptIdle);
        board.vacate(b); // killed at work
        board.vacate(b);
        board.begin_request(c, 3);
        assert_eq!((most(), board.census()), (2, (1, 1)));
        board.header().active.store(99, Relaxed);
        board.begin_request(a, 4);
        assert_eq!((most(), board.header().accepted.load(Relaxed)), (2, 5));
    }

    #[test]
    fn queues_are_noted() {
        let (_fd, board) = Board::create(b"www", 0, 1, 0).unwrap();
        let header = board.header();
        header.note_queue(5, 128);
        header.note_queue(2, 128);
        let noted = [&header.listen_queue, &header.max_listen_queue, &header.listen_queue_len]
            .map(|n| n.load(Relaxed));
        assert_eq!(noted, [2, 5, 128]);
    }

    #[test]
    fn foreign_memory_is_refused() {
        assert!(Board::open(shm::create(c"x", 8).unwrap()).is_err());
        assert!(Board::open(shm::create(c"x", 4096).unwrap()).is_err());
    }

    #[test]
    fn a_hostile_stage_reads_as_empty() {
        let (_fd, board) = Board::create(b"www", 9, 1, 0).unwrap();
        board.slots()[0].stage.store(99, Relaxed);
        assert_eq!(board.slots()[0].stage(), Stage::Empty);
        assert_eq!(board.header().process_manager(), "static");
    }
}
