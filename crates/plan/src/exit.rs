//! How a process ended, and php-fpm's words for it.

use std::fmt;

use config::Level;

use crate::SIGQUIT;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ended with this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        number: i32,
        /// It left a core file.
        core: bool,
    },
}

/// A wait status that tells neither of a stop nor of a continuation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPause;

impl Exit {
    /// Reads a wait status as Linux encodes it; `None` for a process that is merely stopped or continued.
    pub fn from_wait_status(status: i32) -> Option<Exit> {
        let signal = status & 0x7f;
        match signal {
            0 => Some(Exit::Code((status >> 8) & 0xff)),
            0x7f => None,
            number => Some(Exit::Signal { number, core: status & 0x80 != 0 }),
        }
    }

    /// What is stopped, by this signal, or continued (`None`), has not ended; `Err` if the status says anything else.
    pub fn pause_from_wait_status(status: i32) -> Result<Option<i32>, NoPause> {
        match (status & 0xff, status) {
            (_, 0xffff) => Ok(None),
            (0x7f, _) => Ok(Some((status >> 8) & 0xff)),
            _ => Err(NoPause),
        }
    }

    /// Neither an error code nor a signal.
    pub fn is_clean(self) -> bool {
        self == Exit::Code(0)
    }

    /// It ended by itself or of SIGQUIT: as one does that was asked to.
    pub(crate) fn is_obedient(self) -> bool {
        matches!(self, Exit::Code(_) | Exit::Signal { number: SIGQUIT, .. })
    }

    /// php-fpm's level for a worker that ended so.
    pub fn level(self) -> Level {
        match self {
            Exit::Code(0) | Exit::Signal { number: SIGQUIT, .. } => Level::Notice,
            _ => Level::Warning,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Exit::Code(code) => write!(f, "with code {code}"),
            Exit::Signal { number, core } => {
                let dumped = if core { " - core dumped" } else { "" };
                write!(f, "on signal {number} ({}{dumped})", signal_name(number))
            }
        }
    }
}

/// `SIGTERM` for 15, and so on.
pub fn signal_name(number: i32) -> &'static str {
    const NAMES: [&str; 32] = [
        "",
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    usize::try_from(number).ok().and_then(|n| NAMES.get(n).copied()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses_read_as_php_fpm_writes_them() {
        let check = |status: i32, text: &str, level: Level| {
            let exit = Exit::from_wait_status(status).unwrap();
            assert_eq!((exit.to_string().as_str(), exit.level()), (text, level));
        };
        check(0, "with code 0", Level::Notice);
        check(70 << 8, "with code 70", Level::Warning);
        check(3, "on signal 3 (SIGQUIT)", Level::Notice);
        check(15, "on signal 15 (SIGTERM)", Level::Warning);
        check(11 | 0x80, "on signal 11 (SIGSEGV - core dumped)", Level::Warning);
        assert_eq!((Exit::from_wait_status(0x137f), Exit::from_wait_status(0xffff)), (None, None));
    }

    #[test]
    fn stops_are_no_ends() {
        assert_eq!(Exit::pause_from_wait_status(0x137f), Ok(Some(19)));
        assert_eq!(Exit::pause_from_wait_status(0xffff), Ok(None));
        assert_eq!([0, 9, 70 << 8].map(Exit::pause_from_wait_status), [Err(NoPause); 3]);
    }
}
