//! The diagnostics of one load, in order, with the filter of `log_level` applied as it comes to be known.

use std::io;

use crate::{Diagnostic, Level, Place};

/// Collects diagnostics.
pub(crate) struct Log {
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Lowest level that is let through.
    pub(crate) threshold: Level,
    /// Whether the error log is open.
    pub(crate) open: bool,
}

/// A fatal problem that has been reported; only the enclosing lines are still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fatal;

impl Log {
    pub(crate) fn new() -> Self {
        Log { diagnostics: Vec::new(), threshold: Level::Notice, open: false }
    }

    pub(crate) fn push(&mut self, mut diagnostic: Diagnostic) {
        if diagnostic.level.is_none_or(|level| level >= self.threshold) {
            diagnostic.logged = self.open && diagnostic.level.is_some();
            diagnostic.threshold = self.threshold;
            self.diagnostics.push(diagnostic);
        }
    }

    /// A line without a place.
    pub(crate) fn line(&mut self, level: Level, parts: &[&[u8]]) {
        self.push(Diagnostic::new(level, parts.concat()));
    }

    /// Reports and gives back the mark of a fatal problem.
    pub(crate) fn fatal(
        &mut self,
        level: Level,
        parts: &[&[u8]],
        place: Option<&Place>,
        hint: &str,
    ) -> Fatal {
        let mut diagnostic = Diagnostic::new(level, parts.concat()).at(place.cloned());
        if !hint.is_empty() {
            diagnostic.hint = Some(hint.to_owned());
        }
        self.push(diagnostic);
        Fatal
    }
}

/// The system's sentence and number, as php-fpm shows them: `No such file or directory (2)`.
pub fn errno_text(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => {
            let sentence = text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text);
            format!("{sentence} ({number})")
        }
        None => text,
    }
}

/// The same as php-fpm appends it to a line.
pub(crate) fn errno_suffix(error: &io::Error) -> Vec<u8> {
    format!(": {}", errno_text(error)).into_bytes()
}
