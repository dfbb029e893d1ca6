//! What is wrong with a configuration: values with level, php-fpm's sentence, place and our hint.
//!
//! Nothing here prints; time stamps and level names are the log writer's business.

use crate::Place;

/// Severity of a log line, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `DEBUG`
    Debug,
    /// `NOTICE`
    Notice,
    /// `WARNING`
    Warning,
    /// `ERROR`
    Error,
    /// `ALERT`
    Alert,
}

impl Level {
    /// 1 debug … 5 alert, as messages between processes carry it.
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The level of that number; what is out of range is taken for the gravest.
    pub const fn from_number(number: u8) -> Level {
        match number {
            1 => Level::Debug,
            2 => Level::Notice,
            3 => Level::Warning,
            4 => Level::Error,
            _ => Level::Alert,
        }
    }

    /// The word in the log line.
    pub fn word(self) -> &'static str {
        match self {
            Level::Debug => "DEBUG",
            Level::Notice => "NOTICE",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
            Level::Alert => "ALERT",
        }
    }
}

/// One line to be reported, in php-fpm's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// `None`: a raw line for stderr only (PHP's own scanner speaks it), never for the log.
    pub level: Option<Level>,
    /// The text without time stamp and level; may contain any bytes of the file.
    pub text: Vec<u8>,
    /// The line of the file it is about, also where the text does not name one.
    pub place: Option<Place>,
    /// What to do about it, in our words; only our own commands show it.
    pub hint: Option<String>,
    /// Whether the error log was open by then, so that php-fpm writes the line there as well as to stderr.
    pub logged: bool,
    /// The log level in force when it was said: lines at debug have another shape.
    pub threshold: Level,
}

impl Diagnostic {
    /// A line at `level` without place or hint.
    pub fn new(level: Level, text: impl Into<Vec<u8>>) -> Diagnostic {
        Diagnostic {
            level: Some(level),
            text: text.into(),
            place: None,
            hint: None,
            logged: false,
            threshold: Level::Notice,
        }
    }

    /// A raw line of PHP's scanner.
    pub fn raw(text: impl Into<Vec<u8>>) -> Diagnostic {
        Diagnostic {
            level: None,
            text: text.into(),
            place: None,
            hint: None,
            logged: false,
            threshold: Level::Notice,
        }
    }

    /// The same with a place.
    pub fn at(mut self, place: Option<Place>) -> Diagnostic {
        self.place = place;
        self
    }

    /// The same with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hint = Some(hint.into());
        self
    }
}
