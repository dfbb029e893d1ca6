//! Log lines of engine processes. In the fork server they go to the master, which writes the error log; in
//! a worker to its stderr, without time stamp, as php-fpm's workers do.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};

use board::message::{Report, encode};
use sys::channel::Channel;

static MASTER: OnceLock<&'static Channel> = OnceLock::new();
static IN_WORKER: AtomicBool = AtomicBool::new(false);
static LOWEST: AtomicU8 = AtomicU8::new(Level::Notice as u8);
static LIMIT: AtomicUsize = AtomicUsize::new(1024);

/// php-fpm's levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
pub(crate) enum Level {
    Debug = 1,
    Notice = 2,
    Warning = 3,
    Error = 4,
    Alert = 5,
}

impl Level {
    pub(crate) fn from_number(number: i32) -> Level {
        match number {
            1 => Level::Debug,
            2 => Level::Notice,
            3 => Level::Warning,
            4 => Level::Error,
            _ => Level::Alert,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Level::Debug => "DEBUG",
            Level::Notice => "NOTICE",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
            Level::Alert => "ALERT",
        }
    }
}

/// From now on lines go to the master.
pub(crate) fn to_master(channel: &'static Channel, lowest: u8, limit: usize) {
    LOWEST.store(lowest, Relaxed);
    LIMIT.store(limit, Relaxed);
    let _ = MASTER.set(channel);
}

/// From now on, in a worker, lines go to stderr.
pub(crate) fn to_stderr() {
    IN_WORKER.store(true, Relaxed);
}

/// Logs one line.
pub(crate) fn write(level: Level, text: &[u8]) {
    if (level as u8) < LOWEST.load(Relaxed) {
        return;
    }
    match MASTER.get().filter(|_| !IN_WORKER.load(Relaxed)) {
        Some(master) => {
            let text = String::from_utf8_lossy(&text[..text.len().min(LIMIT.load(Relaxed))]).into_owned();
            let _ = master.send(&encode(&Report::Log { level: level as u8, text }), &[]);
        }
        None => write_stderr(level, text),
    }
}

/// One `write` a line, so that lines of several workers do not mix; longer ones are cut at `log_limit`.
fn write_stderr(level: Level, text: &[u8]) {
    let limit = LIMIT.load(Relaxed);
    let mut line = Vec::with_capacity(limit + 16);
    line.extend_from_slice(level.label().as_bytes());
    line.extend_from_slice(b": ");
    line.extend_from_slice(text);
    if line.len() > limit {
        line.truncate(limit.saturating_sub(3));
        line.extend_from_slice(b"...");
    }
    line.push(b'\n');
    let _ = std::io::stderr().lock().write_all(&line);
}
