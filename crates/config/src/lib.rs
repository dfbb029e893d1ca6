//! php-fpm configuration text to typed configuration and diagnostics.
//!
//! Reads php-fpm's INI dialect line by line, types and checks every directive in php-fpm's order and words, and
//! dumps the result as `-tt` does. Facts about the machine come in through [`Host`]; nothing here opens a socket,
//! resolves a user or prints.
#![forbid(unsafe_code)]

mod diagnostic;
mod host;
mod listen;
mod model;
mod options;

use std::path::Path;

pub use diagnostic::{Diagnostic, Level};
pub use host::{GlobError, Host, LogKind, System};
pub use listen::Listen;
pub use model::{
    Config, CoreLimit, EnvEntry, ErrorLog, Facility, Global, PhpValue, Place, Places, Pool, ProcessManager,
    Seconds, StartupUser,
};
pub use options::Options;

/// The outcome of reading a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration; `None` when a diagnostic is fatal.
    pub config: Option<Config>,
    /// What php-fpm would log meanwhile, in order, up to and including `FPM initialization failed`. Lines below the
    /// configured `log_level` are already left out.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads and checks the configuration at `path`: files, sections, directives, all of php-fpm's post-processing. Logs
/// are opened through [`Host::open_log`] at the points where php-fpm opens them. What needs users, limits or sockets
/// comes after this and is the master's.
pub fn load(_path: &Path, _options: &Options, _host: &dyn Host) -> Loaded {
    Loaded { config: None, diagnostics: Vec::new() }
}

/// The lines of `-tt`, without time stamp and level, in order: sections, directives with a leading TAB, separators.
pub fn dump(_config: &Config) -> Vec<Vec<u8>> {
    Vec::new()
}
