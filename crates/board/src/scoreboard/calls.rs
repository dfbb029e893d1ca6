//! What calls a worker away from the kept connection it has: plain words in the scoreboard, so that a worker that is
//! not wanted elsewhere learns it without a system call. They are hints: the mailbox and the listening socket know.

use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::*};

/// The words. All zero: nobody is wanted elsewhere.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Calls {
    /// Kept connections in the mailbox that have a request on them. The fork server adds, workers take away.
    ready: AtomicI32,
    /// A connection waits on the listening socket, and nobody was there to accept it.
    queued: AtomicU32,
    /// The fork server watches the listening socket.
    watched: AtomicU32,
    /// Kept connections that the fork server holds.
    parked: AtomicU32,
    /// When the first connection was sent to the fork server that it has not taken yet, microseconds of the monotonic
    /// clock; 0: it has taken all.
    sent: AtomicU64,
}

impl Calls {
    /// Something waits in the mailbox.
    pub fn has_ready(&self) -> bool {
        self.ready.load(SeqCst) > 0
    }

    /// How many, as far as known.
    pub fn ready_count(&self) -> usize {
        usize::try_from(self.ready.load(SeqCst)).unwrap_or(0)
    }

    /// About to put so many into the mailbox, or take back what did not fit.
    pub fn add_ready(&self, count: i32) {
        self.ready.fetch_add(count, SeqCst);
    }

    /// One was taken out of the mailbox.
    pub fn took_ready(&self) {
        self.ready.fetch_sub(1, SeqCst);
    }

    /// The mailbox has been looked at: something is in it or nothing is.
    pub fn correct_ready(&self, is_there: bool) {
        let said = self.ready.load(SeqCst);
        if is_there != (said > 0) {
            self.ready.store(is_there.into(), SeqCst);
        }
    }

    /// A connection waits on the listening socket.
    pub fn call_to_queue(&self) {
        self.queued.store(1, SeqCst);
    }

    /// Somebody is called to the listening socket.
    pub fn is_queued(&self) -> bool {
        self.queued.load(SeqCst) != 0
    }

    /// This worker goes there. False if nobody is called, or another was faster.
    pub fn answer_queue(&self) -> bool {
        self.is_queued() && self.queued.swap(0, SeqCst) != 0
    }

    /// The listening socket has to be watched from now on. False if it is already, or another says so.
    pub fn begin_watch(&self) -> bool {
        self.watched.load(SeqCst) == 0 && self.watched.swap(1, SeqCst) == 0
    }

    /// The listening socket is not watched any more.
    pub fn end_watch(&self) {
        self.watched.store(0, SeqCst);
    }

    /// A connection is on its way to the fork server.
    pub fn mail_sent(&self, now: u64) {
        if self.sent.load(Relaxed) == 0 {
            let _ = self.sent.compare_exchange(0, now, Relaxed, Relaxed);
        }
    }

    /// The fork server has looked into the mailbox.
    pub fn mail_taken(&self) {
        self.sent.store(0, Relaxed);
    }

    /// Kept connections wait here or on the way here, for a request or for their end.
    pub fn holds_any(&self) -> bool {
        self.parked() > 0 || self.has_ready() || self.sent.load(Relaxed) != 0
    }

    /// A connection has been on its way for longer than this.
    pub fn is_overdue(&self, now: u64, limit: u64) -> bool {
        let sent = self.sent.load(Relaxed);
        sent != 0 && now.saturating_sub(sent) > limit
    }

    /// How many kept connections are parked.
    pub fn parked(&self) -> u32 {
        self.parked.load(Relaxed)
    }

    /// So many kept connections are parked.
    pub fn note_parked(&self, count: usize) {
        self.parked.store(u32::try_from(count).unwrap_or(u32::MAX), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_answers_a_call() {
        let calls = Calls::default();
        assert!(!calls.answer_queue() && !calls.has_ready());
        calls.call_to_queue();
        assert!(calls.answer_queue() && !calls.answer_queue());
        assert!(calls.begin_watch() && !calls.begin_watch());
        calls.end_watch();
        assert!(calls.begin_watch());
    }

    #[test]
    fn what_is_not_taken_becomes_overdue() {
        let calls = Calls::default();
        assert!(!calls.is_overdue(1000, 10));
        calls.mail_sent(1000);
        calls.mail_sent(1020);
        assert!(!calls.is_overdue(1010, 10) && calls.is_overdue(1011, 10) && !calls.is_overdue(5, 10));
        calls.mail_taken();
        assert!(!calls.is_overdue(2000, 10));
    }

    #[test]
    fn the_mailbox_is_right_when_the_word_is_not() {
        let calls = Calls::default();
        calls.add_ready(2);
        calls.correct_ready(true);
        calls.took_ready();
        assert!(calls.has_ready());
        calls.took_ready();
        calls.took_ready(); // of one that was counted away already
        calls.add_ready(1);
        assert!(!calls.has_ready());
        calls.correct_ready(true);
        assert!(calls.has_ready());
        calls.correct_ready(false);
        assert!(!calls.has_ready());
    }
}
