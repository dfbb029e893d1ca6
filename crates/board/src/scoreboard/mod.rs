//! The scoreboard of a pool: one header and one slot per worker, in memory shared by master, fork server
//! and workers. A worker writes only its own slot, with plain atomic stores; nobody ever takes a lock.
//! A slot's request fields are guarded by a sequence number: odd while the worker writes.

mod calls;
mod counts;
mod header;
mod nudge;
mod slot;
mod stage;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::*;

use sys::shm::{self, Mapping};

pub use calls::Calls;
pub use counts::{Counted, Counts};
pub use header::{Header, PROCESS_MANAGERS};
pub use nudge::{Nudge, whom_to_nudge};
pub use slot::{RequestInfo, Slot, SlotView};
pub use stage::Stage;

const MAGIC: u64 = u64::from_ne_bytes(*b"cornacb1");

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
        slot.move_out();
    }

    /// The worker's next step.
    pub fn enter(&self, slot: &Slot, stage: Stage) {
        // A slot has one writer at a time, so nothing comes between.
        let before = Stage::from_u32(slot.stage.load(Relaxed));
        // Going to wait and leaving it, a worker then looks who wants it: one of both sees the other.
        let order = if before.is_waiting() || stage.is_waiting() { SeqCst } else { Release };
        slot.stage.store(stage as u32, order);
        let counted = self.header().counts.step(before, stage);
        if stage.is_active() && !before.is_active() {
            self.note_active(counted.map_or(0, Counted::active));
        }
    }

    /// A request's first bytes are here.
    pub fn begin_request(&self, slot: &Slot, monotonic_us: u64) {
        slot.start_request(monotonic_us);
        self.enter(slot, Stage::ReadingHeaders);
        self.header().accepted.fetch_add(1, Relaxed);
    }

    /// Puts the counts right after the end of a worker, which may have come in the middle of a step.
    pub fn recount(&self) {
        let counts = &self.header().counts;
        // Tried again while others take steps: what is wrong stays so until the next end.
        (0..8).any(|_| counts.correct(counts.load(), self.slots().iter().map(Slot::stage)));
    }

    fn note_active(&self, active: u32) {
        let header = self.header();
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
    fn only_who_waits_is_woken() {
        let (_fd, board) = Board::create(b"www", 0, 1, 0).unwrap();
        let slot = &board.slots()[0];
        assert!(!slot.ask() && slot.is_asked(), "about to move in: it looks itself");
        board.occupy(slot, 1, 0);
        assert!(slot.is_asked() && slot.ask());
        for (stage, waits) in [
            (Stage::Accepted, false),
            (Stage::ReadingHeaders, false),
            (Stage::Running, false),
            (Stage::Finishing, false),
            (Stage::KeptIdle, true),
        ] {
            board.enter(slot, stage);
            assert_eq!(slot.ask(), waits, "{stage:?}");
        }
        board.vacate(slot);
        assert!(!slot.is_asked());
    }

    /// Of the two who meet one always sees the other.
    #[test]
    fn asking_and_beginning_to_wait_never_miss_each_other() {
        let (_fd, board) = Board::create(b"www", 0, 1, 0).unwrap();
        let slot = &board.slots()[0];
        for _ in 0..4_000 {
            board.enter(slot, Stage::Running);
            let (woken, saw) = std::thread::scope(|scope| {
                let asker = scope.spawn(|| slot.ask());
                board.enter(slot, Stage::Accepting);
                let saw = slot.is_asked();
                (asker.join().unwrap(), saw)
            });
            assert!(woken || saw);
            board.vacate(slot);
        }
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
        board.header().counts.store(99);
        board.begin_request(a, 4);
        assert_eq!((most(), board.header().accepted.load(Relaxed)), (2, 5));
    }

    #[test]
    fn those_who_drain_take_what_they_may() {
        let (_fd, board) = Board::create(b"www", 0, 1, 0).unwrap();
        let header = board.header();
        assert!(!header.may_take_another());
        header.begin_drain(2);
        let take = || {
            let may = header.may_take_another();
            header.took_another();
            may
        };
        assert_eq!([(); 4].map(|()| take()), [true, true, false, false]);
        header.begin_drain(u32::MAX);
        header.took_another();
        assert!(header.may_take_another() && header.to_serve() == u32::MAX);
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
