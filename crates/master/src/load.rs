//! Reading the configuration: logs are opened where php-fpm opens them, and what was found is said. `check` is `-t`.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use config::{Config, Diagnostic, GlobError, Host, Level, Loaded, LogKind, System};
use sys::syslog::Syslog;

use crate::log::{Log, errno_text};
use crate::log_file;
use crate::{Invocation, exit_code, identity, start};

/// The machine, with logs that are really opened. The error log is kept, the others are only created.
#[derive(Debug, Default)]
pub(crate) struct LogOpener {
    error_log: RefCell<Option<(File, PathBuf)>>,
    /// Identity and facility of the system log, where that is the error log.
    syslog: RefCell<Option<(Vec<u8>, i32)>>,
    /// `-d`, for `${NAME}`.
    defines: Vec<Vec<u8>>,
}

impl Host for LogOpener {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        System.read(path)
    }

    fn glob(&self, pattern: &[u8]) -> Result<Vec<PathBuf>, GlobError> {
        System.glob(pattern)
    }

    fn is_directory(&self, path: &Path) -> bool {
        System.is_directory(path)
    }

    fn env(&self, name: &[u8]) -> Option<Vec<u8>> {
        System.env(name)
    }

    fn ini(&self, name: &[u8]) -> Option<Vec<u8>> {
        config::defined(&self.defines, name, &System)
    }

    fn open_syslog(&self, identity: &[u8], facility: i32) {
        *self.syslog.borrow_mut() = Some((identity.to_vec(), facility));
    }

    fn open_log(&self, kind: LogKind, _pool: Option<&[u8]>, path: &Path) -> io::Result<()> {
        let file = log_file::open(path)?;
        if kind == LogKind::Error {
            *self.error_log.borrow_mut() = Some((file, path.to_path_buf()));
        }
        Ok(())
    }
}

/// `log_limit` before the configuration says it.
const DEFAULT_LIMIT: usize = 1024;

impl LogOpener {
    /// For the configuration of this invocation.
    pub(crate) fn new(invocation: &Invocation) -> LogOpener {
        LogOpener { defines: invocation.php.defines.clone(), ..LogOpener::default() }
    }
}

/// A configuration that was read, with the error log it names.
#[derive(Debug)]
pub(crate) struct Read {
    loaded: Loaded,
    opener: LogOpener,
}

/// For what is said only where it fails.
pub(crate) fn quiet_log() -> Log {
    let mut quiet = Log::default();
    quiet.configure(Level::Alert, usize::MAX);
    quiet
}

/// Reads the configuration and says nothing yet.
pub(crate) fn read(invocation: &Invocation) -> Read {
    let opener = LogOpener::new(invocation);
    Read { loaded: config::load(&invocation.config, &invocation.options, &opener), opener }
}

/// Loads the configuration and says what was found. `None`: it cannot be used, and that has been said.
pub(crate) fn load(invocation: &Invocation, log: &mut Log) -> Option<Config> {
    read(invocation).settle(invocation, log)
}

impl Read {
    /// `None`: it cannot be used.
    pub(crate) fn config(&self) -> Option<&Config> {
        self.loaded.config.as_ref()
    }

    pub(crate) fn diagnostics(&self) -> &[Diagnostic] {
        &self.loaded.diagnostics
    }

    /// The log is what the configuration says, and what was found is said there.
    pub(crate) fn settle(self, invocation: &Invocation, log: &mut Log) -> Option<Config> {
        let Read { loaded, opener } = self;
        settle(loaded, opener, invocation, log)
    }
}

fn settle(loaded: Loaded, opener: LogOpener, invocation: &Invocation, log: &mut Log) -> Option<Config> {
    let watched = invocation.force_stderr || sys::stdio::stderr_is_terminal();
    log.prefer_stderr(watched && !loaded.global.daemonize);
    if let Some((file, path)) = opener.error_log.into_inner() {
        log.use_file(file, &path);
    }
    if let Some((identity, facility)) = opener.syslog.into_inner() {
        log.use_syslog(Syslog::open(&identity, facility));
    }
    let limit = usize::try_from(loaded.global.log_limit).unwrap_or_default();
    for diagnostic in &loaded.diagnostics {
        // Whatever comes of the rest, once the log is open the limit counts.
        log.configure(diagnostic.threshold, if diagnostic.logged { limit } else { DEFAULT_LIMIT });
        log.diagnose(diagnostic);
    }
    if loaded.config.is_some() {
        log.configure(loaded.global.log_level.unwrap_or(Level::Notice), limit);
    }
    loaded.config
}

/// `-t`, and with `dump` `-tt`: says whether the configuration can be used. Returns the exit code.
pub fn check(invocation: &Invocation, dump: bool) -> u8 {
    let mut log = Log::default();
    log.explain(invocation.explain);
    if let Err(code) = start::settle_streams(&mut log) {
        return code;
    }
    let Some(config) = load(invocation, &mut log) else { return exit_code::CONFIGURATION };
    for pool in &config.pools {
        if let Err(diagnostic) = identity::check_names(pool) {
            log.diagnose(&diagnostic);
            log.write(Level::Error, "FPM initialization failed");
            return exit_code::CONFIGURATION;
        }
    }
    conclude(invocation, &config, dump, &mut log);
    exit_code::OK
}

/// Says that the configuration can be used, with `dump` shows it before.
pub(crate) fn conclude(invocation: &Invocation, config: &Config, dump: bool, log: &mut Log) {
    if dump {
        config::dump(config).iter().for_each(|line| log.write(Level::Notice, line));
    }
    let path = invocation.config.as_os_str().as_bytes();
    log.write(Level::Notice, [b"configuration file ", path, b" test is successful\n"].concat());
}

/// A diagnostic of the master's own steps, which all come after the log is open.
pub(crate) fn error(text: impl Into<Vec<u8>>) -> config::Diagnostic {
    let mut diagnostic = config::Diagnostic::new(Level::Error, text);
    diagnostic.logged = true;
    diagnostic
}

/// The same with php-fpm's ending for failed system calls.
pub(crate) fn system_error(text: impl std::fmt::Display, source: &io::Error) -> config::Diagnostic {
    error(format!("{text}: {}", errno_text(source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_opened_with_php_fpms_mode() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let opener = LogOpener::default();
        for (kind, name) in [(LogKind::Error, "error"), (LogKind::Slow, "slow"), (LogKind::Access, "access")]
        {
            let path = folder.path().join(name);
            opener.open_log(kind, None, &path).unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(opener.error_log.borrow().as_ref().unwrap().1, folder.path().join("error"));
        assert!(opener.open_log(LogKind::Error, None, &folder.path().join("no/where")).is_err());
    }
}
