//! One worker's part of the scoreboard. Its request fields are guarded by a sequence number: odd while the worker
//! writes.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*, fence};

use super::nudge::Nudge;
use super::stage::Stage;
use crate::cells::Text;

/// One worker's place. Only that worker writes it while it lives.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Slot {
    sequence: AtomicU32,
    pub(super) stage: AtomicU32,
    pub(super) pid: AtomicU32,
    asked: AtomicU32,
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
    /// Word about a signal that ends its wait.
    pub nudge: Nudge,
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
    pub(super) fn move_in(&self, pid: u32, epoch_seconds: u64) {
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
        self.nudge.reset();
        self.pid.store(pid, Release);
    }

    pub(super) fn start_request(&self, monotonic_us: u64) {
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

    /// Asks the worker to finish what it has and to end. True if it waits and has to be woken by a signal; else it
    /// looks by itself before it waits again, so that no signal cuts a script's `sleep()` short.
    pub fn ask(&self) -> bool {
        // SeqCst here, in `is_asked` and in `Board::enter`: of one who asks and a worker that begins or ceases to wait at
        // that moment, one sees the other. A worker sees it after it has ceased to wait, too: then a signal may come.
        self.asked.store(1, SeqCst);
        Stage::from_u32(self.stage.load(SeqCst)).is_waiting()
    }

    /// The worker has been asked to finish. To be looked at after each step into and out of a stage that waits.
    pub fn is_asked(&self) -> bool {
        self.asked.load(SeqCst) != 0
    }

    /// Nobody has asked the next worker here yet.
    pub(super) fn move_out(&self) {
        self.asked.store(0, Relaxed);
        self.pid.store(0, Release);
    }

    /// The stage alone.
    pub fn stage(&self) -> Stage {
        Stage::from_u32(self.stage.load(SeqCst))
    }

    /// When the last script ended, microseconds of the monotonic clock; `None` before the first request.
    pub fn last_used(&self) -> Option<u64> {
        let ended = self.request_started.load(Relaxed).saturating_add(self.request_duration.load(Relaxed));
        (self.requests.load(Relaxed) > 0).then_some(ended)
    }

    /// The script of the request that began at this time runs.
    pub fn runs(&self, request_started: u64) -> bool {
        self.stage() == Stage::Running && self.view().request_started == request_started
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
