//! Log lines of engine processes. In the fork server they go to the master, which writes the error log; in
//! a worker to its stderr, without time stamp, as php-fpm's workers do.

use std::borrow::Cow;
use std::io::Write;
use std::panic::Location;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};

use board::message::{END_OF_REQUEST, Report, encode};
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

    fn prefix(self) -> &'static str {
        match self {
            Level::Debug => "DEBUG: ",
            Level::Notice => "NOTICE: ",
            Level::Warning => "WARNING: ",
            Level::Error => "ERROR: ",
            Level::Alert => "ALERT: ",
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
#[track_caller]
pub(crate) fn write(level: Level, text: &[u8]) {
    let lowest = LOWEST.load(Relaxed);
    if (level as u8) < lowest {
        return;
    }
    let text = cut(level, text);
    match MASTER.get().filter(|_| !IN_WORKER.load(Relaxed)) {
        Some(master) => {
            let text = String::from_utf8_lossy(&text).into_owned();
            let _ = master.send(&encode(&Report::Log { level: level as u8, text }), &[]);
        }
        None => {
            // One `write` a line, so that lines of several workers do not mix.
            let origin =
                if lowest == Level::Debug as u8 { origin(Location::caller(), &text) } else { String::new() };
            let line = [level.prefix().as_bytes(), origin.as_bytes(), &text, b"\n"].concat();
            let _ = std::io::stderr().lock().write_all(&line);
        }
    }
}

/// With `log_level = debug`: `module(), line 12: `, where php-fpm names the function. It has one space more before the
/// messages of PHP itself.
fn origin(place: &Location<'_>, text: &[u8]) -> String {
    let module = Path::new(place.file()).file_stem().unwrap_or_default().to_string_lossy();
    let gap = if text.starts_with(b"PHP message: ") { " " } else { "" };
    format!("{module}(), line {}: {gap}", place.line())
}

/// Tells the master, when it reads this worker's output, that what has come so far belongs to a request that is
/// over: a line without an end is complete.
pub(crate) fn end_of_request(captured: bool) {
    if captured {
        let _ = std::io::stderr().lock().write_all(END_OF_REQUEST);
    }
}

/// The text cut so that its line, with level and newline, is no longer than `log_limit`. Messages to the web
/// server are cut alike.
pub(crate) fn cut(level: Level, text: &[u8]) -> Cow<'_, [u8]> {
    let room = LIMIT.load(Relaxed).saturating_sub(level.prefix().len() + 1);
    if text.len() <= room {
        return Cow::Borrowed(text);
    }
    Cow::Owned([&text[..room.saturating_sub(3)], b"..."].concat())
}
