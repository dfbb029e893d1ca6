//! Facts for `fpm_get_status()`, read from the scoreboard.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

use board::scoreboard::{Board, SlotView};

use super::clock;
use crate::php::{SlotStatus, Status, Text};

static BOARD: OnceLock<&'static Board> = OnceLock::new();

thread_local! {
    /// Keeps the texts of the last answer alive until the next one.
    static POOL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SLOT: RefCell<Option<SlotView>> = const { RefCell::new(None) };
}

/// The pool this worker belongs to.
pub(super) fn remember(board: &'static Board) {
    let _ = BOARD.set(board);
}

/// The pool. False outside a worker.
pub(super) extern "C" fn status(out: *mut Status) -> bool {
    let Some(board) = BOARD.get() else { return false };
    let header = board.header();
    let now = clock::epoch_seconds();
    let started = header.started.load(Relaxed);
    let (idle, active) = board.census();
    header.max_active.fetch_max(active, Relaxed);
    let pool = POOL.with_borrow_mut(|pool| {
        *pool = header.pool();
        Text::new(pool)
    });
    let status = Status {
        pool,
        process_manager: Text::new(header.process_manager().as_bytes()),
        start_time: started as i64,
        start_since: now.saturating_sub(started) as i64,
        accepted: header.accepted.load(Relaxed) as i64,
        listen_queue: header.listen_queue.load(Relaxed).into(),
        max_listen_queue: header.max_listen_queue.load(Relaxed).into(),
        listen_queue_len: header.listen_queue_len.load(Relaxed).into(),
        idle: idle.into(),
        active: active.into(),
        total: (idle + active).into(),
        max_active: header.max_active.load(Relaxed).into(),
        max_children_reached: header.max_children_reached.load(Relaxed).into(),
        slow_requests: header.slow_requests.load(Relaxed).into(),
        slot_count: board.slots().len(),
    };
    // SAFETY: the shim passes a place for one status.
    unsafe { out.write(status) };
    true
}

/// One worker.
pub(super) extern "C" fn slot(index: usize, out: *mut SlotStatus) {
    let Some(view) = BOARD.get().and_then(|board| board.slots().get(index)).map(|slot| slot.view()) else {
        return;
    };
    let slot = SLOT.with_borrow_mut(|kept| describe(kept.insert(view)));
    // SAFETY: the shim passes a place for one slot.
    unsafe { out.write(slot) };
}

/// php-fpm shows a dash for what is not known.
fn or_dash(text: &[u8]) -> Text {
    Text::new(if text.is_empty() { b"-" } else { text })
}

fn describe(view: &SlotView) -> SlotStatus {
    let idle = view.stage.is_idle();
    let running = clock::monotonic_us().saturating_sub(view.request_started);
    let since = clock::epoch_seconds().saturating_sub(view.started);
    SlotStatus {
        used: view.pid != 0,
        pid: view.pid.into(),
        start_time: view.started as i64,
        start_since: since as i64,
        requests: view.requests as i64,
        duration_us: if idle { view.request_duration } else { running } as i64,
        content_length: view.content_length as i64,
        memory: if idle { view.memory as i64 } else { 0 },
        cpu: if idle { view.cpu } else { 0.0 },
        state: Text::new(view.stage.label().as_bytes()),
        method: or_dash(&view.method),
        uri: or_dash(&view.uri),
        query: Text::new(&view.query),
        user: or_dash(&view.user),
        script: or_dash(&view.script),
    }
}
