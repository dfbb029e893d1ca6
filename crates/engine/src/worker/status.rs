//! Numbers of a pool and its workers, read from the scoreboard: for the status page, and for `fpm_get_status()`.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

use board::scoreboard::{Board, Slot};
use observe::status::{Form, Locale, Pool, Worker};

use super::{Place, clock};
use crate::php::{Page, SlotStatus, Status, Text};

static PLACE: OnceLock<Place> = OnceLock::new();

thread_local! {
    /// Keeps the texts of the last answer alive until the next one.
    static NAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
    static BODY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The worker this process is.
pub(super) fn remember(place: Place) {
    let _ = PLACE.set(place);
}

/// The status page for the words its query holds. False outside a worker.
pub(super) extern "C" fn page(words: u32, utf8: bool, out: *mut Page) -> bool {
    let Some(place) = PLACE.get() else { return false };
    let pool = pool(place, place.shown);
    let workers: Option<Vec<Worker>> =
        Form::is_full(words).then(|| place.shown.slots().iter().filter_map(worker).collect());
    let form = Form::of(words);
    let body = BODY.with_borrow_mut(|body| {
        *body = form.page(&pool, workers.as_deref(), &Locale { time: &local_time, utf8 });
        Text::new(body)
    });
    // SAFETY: the shim passes a place for one page.
    unsafe { out.write(Page { content_type: Text::new(form.content_type().as_bytes()), body }) };
    true
}

fn local_time(epoch_seconds: u64) -> Vec<u8> {
    let mut text = vec![0; 64];
    let length = sys::local_time::format(c"%d/%b/%Y:%H:%M:%S %z", epoch_seconds, &mut text);
    text.truncate(length);
    text
}

/// The pool's numbers. The queue is looked at now if it is that of our own listening socket; the master's look, at
/// most a second old, is good enough for another pool's.
fn pool(place: &Place, board: &'static Board) -> Pool {
    let header = board.header();
    if std::ptr::eq(board, place.board) {
        // SAFETY: the listening socket, or what takes its place after SIGQUIT, stays open as long as this process.
        let listener = unsafe { BorrowedFd::borrow_raw(place.listener) };
        if let Ok(queue) = sys::queue::measure(listener) {
            header.note_queue(queue.waiting, queue.room);
        }
    }
    let (idle, active) = board.census();
    Pool {
        name: header.pool(),
        process_manager: header.process_manager(),
        started: header.started.load(Relaxed),
        now: clock::epoch_seconds(),
        accepted: header.accepted.load(Relaxed),
        listen_queue: header.listen_queue.load(Relaxed),
        max_listen_queue: header.max_listen_queue.load(Relaxed),
        listen_queue_len: header.listen_queue_len.load(Relaxed),
        idle,
        active,
        max_active: header.max_active.load(Relaxed).max(active),
        max_children_reached: header.max_children_reached.load(Relaxed),
        slow_requests: header.slow_requests.load(Relaxed),
    }
}

/// A slot with a worker in it.
fn worker(slot: &Slot) -> Option<Worker> {
    let view = slot.view();
    let idle = view.stage.is_idle();
    let running = clock::monotonic_us().saturating_sub(view.request_started);
    (view.pid != 0).then(|| Worker {
        pid: view.pid,
        state: view.stage.label(),
        started: view.started,
        requests: view.requests,
        duration_us: if idle { view.request_duration } else { running },
        method: view.method,
        uri: view.uri,
        query: view.query,
        content_length: view.content_length,
        user: view.user,
        script: view.script,
        cpu: if idle { view.cpu } else { 0.0 },
        memory: if idle { view.memory } else { 0 },
    })
}

/// This worker's pool for `fpm_get_status()`. False outside a worker.
pub(super) extern "C" fn status(out: *mut Status) -> bool {
    let Some(place) = PLACE.get() else { return false };
    let pool = pool(place, place.board);
    let status = Status {
        process_manager: Text::new(pool.process_manager.as_bytes()),
        start_time: pool.started as i64,
        start_since: pool.now.saturating_sub(pool.started) as i64,
        accepted: pool.accepted as i64,
        listen_queue: pool.listen_queue.into(),
        max_listen_queue: pool.max_listen_queue.into(),
        listen_queue_len: pool.listen_queue_len.into(),
        idle: pool.idle.into(),
        active: pool.active.into(),
        total: i64::from(pool.idle) + i64::from(pool.active),
        max_active: pool.max_active.into(),
        max_children_reached: pool.max_children_reached.into(),
        slow_requests: pool.slow_requests.into(),
        slot_count: place.board.slots().len(),
        pool: NAME.with_borrow_mut(|name| {
            *name = pool.name;
            Text::new(name)
        }),
    };
    // SAFETY: the shim passes a place for one status.
    unsafe { out.write(status) };
    true
}

/// One worker for `fpm_get_status()`.
pub(super) extern "C" fn slot(index: usize, out: *mut SlotStatus) {
    let Some(worker) = PLACE.get().and_then(|place| worker(place.board.slots().get(index)?)) else { return };
    let slot = WORKER.with_borrow_mut(|kept| describe(kept.insert(worker)));
    // SAFETY: the shim passes a place for one slot.
    unsafe { out.write(slot) };
}

/// php-fpm shows a dash for what is not known; but not so the URI.
fn or_dash(text: &[u8]) -> Text {
    Text::new(if text.is_empty() { b"-" } else { text })
}

fn describe(worker: &Worker) -> SlotStatus {
    SlotStatus {
        used: true,
        pid: worker.pid.into(),
        start_time: worker.started as i64,
        start_since: clock::epoch_seconds().saturating_sub(worker.started) as i64,
        requests: worker.requests as i64,
        duration_us: worker.duration_us as i64,
        content_length: worker.content_length as i64,
        memory: worker.memory as i64,
        cpu: worker.cpu,
        state: Text::new(worker.state.as_bytes()),
        method: or_dash(&worker.method),
        uri: Text::new(&worker.uri),
        query: Text::new(&worker.query),
        user: or_dash(&worker.user),
        script: or_dash(&worker.script),
    }
}
