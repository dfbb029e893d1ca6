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

/// Begins what PHP itself has to say.
const MESSAGE: &[u8] = b"PHP message: ";

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
        return write_bare(text);
    }
    match MASTER.get().filter(|_| !IN_WORKER.load(Relaxed)) {
        Some(master) => {
            let text = String::from_utf8_lossy(&cut(level, text)).into_owned();
            let _ = master.send(&encode(&Report::Log { level: level as u8, text }), &[]);
        }
        None if lowest == Level::Debug as u8 => {
            write_line(&[level.prefix(), &origin(Location::caller(), text)].concat(), text);
        }
        None => write_line(level.prefix(), text),
    }
}

/// One `write` a line, so that lines of several workers do not mix.
fn write_line(head: &str, text: &[u8]) {
    let line = [head.as_bytes(), &cut_after(head.len(), text), b"\n"].concat();
    let _ = std::io::stderr().lock().write_all(&line);
}

/// Messages of PHP come to stderr at any level, only the level's name does not: so it is in php-fpm's workers, whose
/// output is logged as a warning if it is caught.
fn write_bare(text: &[u8]) {
    if text.starts_with(MESSAGE) && IN_WORKER.load(Relaxed) {
        write_line("", text);
    }
}

/// With `log_level = debug`: `module(), line 12: `, where php-fpm names the function. It has one space more before the
/// messages of PHP itself.
fn origin(place: &Location<'_>, text: &[u8]) -> String {
    let module = Path::new(place.file()).file_stem().unwrap_or_default().to_string_lossy();
    let gap = if text.starts_with(MESSAGE) { " " } else { "" };
    format!("{module}(), line {}: {gap}", place.line())
}

/// Tells the master, when it reads this worker's output, that what has come so far belongs to a request that is
/// over: a line without an end is complete.
pub(crate) fn end_of_request(captured: bool) {
    if captured {
        let _ = std::io::stderr().lock().write_all(END_OF_REQUEST);
    }
}

/// The text cut as its line is, with newline and level where that is written: messages to the web server are cut
/// alike.
pub(crate) fn cut(level: Level, text: &[u8]) -> Cow<'_, [u8]> {
    let is_bare = (level as u8) < LOWEST.load(Relaxed);
    cut_after(if is_bare { 0 } else { level.prefix().len() }, text)
}

/// The text cut so that head, text and newline are no longer than `log_limit`.
fn cut_after(head: usize, text: &[u8]) -> Cow<'_, [u8]> {
    let room = LIMIT.load(Relaxed).saturating_sub(head + 1);
    if text.len() <= room {
        return Cow::Borrowed(text);
    }
    Cow::Owned([&text[..room.saturating_sub(3)], b"..."].concat())
}
