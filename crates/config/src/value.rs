//! Text of a value to its type, by php-fpm's rules and with its error words.

use crate::model::{CoreLimit, Facility, ProcessManager, Seconds, Sigterm, StartupUser};
use crate::{EnvEntry, Level, PhpValue};
use std::path::PathBuf;

/// The place of a value: what a row of the table points to, and with that the type of the directive.
pub(crate) enum Field<'a> {
    Text(&'a mut Option<Vec<u8>>),
    Bytes(&'a mut Vec<u8>),
    Path(&'a mut Option<PathBuf>),
    BarePath(&'a mut PathBuf),
    Executable(&'a mut Option<PathBuf>),
    Int(&'a mut i32),
    Priority(&'a mut Option<i32>),
    Time(&'a mut Seconds),
    /// Seconds in the file and until the checks, milliseconds after them.
    Interval(&'a mut i32),
    Bool(&'a mut bool),
    Level(&'a mut Option<Level>),
    Facility(&'a mut Facility),
    Core(&'a mut CoreLimit),
    Manager(&'a mut ProcessManager),
    Startup(&'a mut StartupUser),
    /// `keep` (false) or `follow`.
    Renewal(&'a mut bool),
    Sigterm(&'a mut Sigterm),
    List(&'a mut Vec<Vec<u8>>),
    Env(&'a mut Vec<EnvEntry>),
    Values(&'a mut Vec<PhpValue>),
    Flags(&'a mut Vec<PhpValue>),
}

/// C's `atoi` as glibc has it: blanks, a sign, digits; clamped to 64 bits, then cut to 32.
pub(crate) fn atoi(text: &[u8]) -> i32 {
    let start = text.iter().position(|b| !(b.is_ascii_whitespace() || *b == 0x0b)).unwrap_or(text.len());
    let text = &text[start..];
    let (negative, digits) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = digits
        .iter()
        .take_while(|b| b.is_ascii_digit())
        .fold(0i64, |n, b| n.saturating_mul(10).saturating_add(i64::from(b - b'0')));
    // Saturation at the positive end is one short of the most negative number; only its low bits could tell.
    let whole = match (negative, magnitude) {
        (true, i64::MAX) => i64::MIN,
        (true, n) => -n,
        (false, n) => n,
    };
    whole as i32
}

/// An optional minus and digits; the empty text is 0.
pub(crate) fn integer(text: &[u8]) -> Result<i32, &'static str> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err("is not a valid number (greater or equal than zero)");
    }
    Ok(atoi(text))
}

/// A number with an optional suffix; what stands before the suffix is not looked at closely.
pub(crate) fn time(text: &[u8]) -> Result<i32, &'static str> {
    let Some((last, number)) = text.split_last() else { return Err("invalid time value") };
    match last {
        b'm' => Ok(atoi(number).wrapping_mul(60)),
        b'h' => Ok(atoi(number).wrapping_mul(60 * 60)),
        b'd' => Ok(atoi(number).wrapping_mul(24 * 60 * 60)),
        b's' => Ok(atoi(number)),
        b'0'..=b'9' => Ok(atoi(text)),
        _ => Err("unknown suffix used in time value"),
    }
}

/// `1` and the empty text, which is what the scanner makes of the bare words; the words themselves (in lower case)
/// come from quotes and from the environment.
pub(crate) fn boolean(text: &[u8]) -> Result<bool, &'static str> {
    match text {
        b"1" | b"yes" | b"true" | b"on" => Ok(true),
        b"" | b"0" | b"no" | b"none" | b"false" | b"off" => Ok(false),
        _ => Err("invalid boolean value"),
    }
}

pub(crate) fn level(text: &[u8]) -> Result<Level, &'static str> {
    match text.to_ascii_lowercase().as_slice() {
        b"debug" => Ok(Level::Debug),
        b"notice" => Ok(Level::Notice),
        b"warning" | b"warn" => Ok(Level::Warning),
        b"error" => Ok(Level::Error),
        b"alert" => Ok(Level::Alert),
        _ => Err("invalid value for 'log_level'"),
    }
}

/// The facility's number in `<syslog.h>`.
pub(crate) fn facility(text: &[u8]) -> Result<Facility, &'static str> {
    const NAMES: [&[u8]; 12] = [
        b"kern",
        b"user",
        b"mail",
        b"daemon",
        b"auth",
        b"syslog",
        b"lpr",
        b"news",
        b"uucp",
        b"cron",
        b"authpriv",
        b"ftp",
    ];
    let name = text.to_ascii_lowercase();
    let index = match name.strip_prefix(b"local") {
        Some(&[digit @ b'0'..=b'7']) => Some(16 + usize::from(digit - b'0')),
        _ => NAMES.iter().position(|n| *n == name),
    };
    index.and_then(|i| i32::try_from(i << 3).ok()).map(Facility).ok_or("invalid value")
}

pub(crate) fn core_limit(text: &[u8]) -> Result<CoreLimit, &'static str> {
    if text.eq_ignore_ascii_case(b"unlimited") {
        return Ok(CoreLimit::Unlimited);
    }
    match integer(text)? {
        0 => Ok(CoreLimit::Inherited),
        bytes if bytes > 0 => Ok(CoreLimit::Bytes(bytes)),
        _ => Err("must be greater than zero or 'unlimited'"),
    }
}

pub(crate) fn process_manager(text: &[u8]) -> Result<ProcessManager, &'static str> {
    match text.to_ascii_lowercase().as_slice() {
        b"static" => Ok(ProcessManager::Static),
        b"dynamic" => Ok(ProcessManager::Dynamic),
        b"ondemand" => Ok(ProcessManager::Ondemand),
        _ => Err("invalid process manager (static, dynamic or ondemand)"),
    }
}

pub(crate) fn startup_user(text: &[u8]) -> Result<StartupUser, &'static str> {
    match text {
        b"" => Ok(StartupUser::Pool),
        b"root" => Ok(StartupUser::Root),
        _ => Err("must be 'root' or empty"),
    }
}

pub(crate) fn sigterm(text: &[u8]) -> Result<Sigterm, &'static str> {
    match text {
        b"immediate" => Ok(Sigterm::Immediate),
        b"graceful" => Ok(Sigterm::Graceful),
        _ => Err("must be 'immediate' or 'graceful'"),
    }
}

pub(crate) fn renewal(text: &[u8]) -> Result<bool, &'static str> {
    match text {
        b"keep" => Ok(false),
        b"follow" => Ok(true),
        _ => Err("must be 'keep' or 'follow'"),
    }
}

/// php-fpm's way to say that no nice value is set.
pub(crate) const PRIORITY_UNSET: i32 = 64;
