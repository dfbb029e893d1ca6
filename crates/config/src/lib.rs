//! php-fpm configuration text to typed configuration and diagnostics.
//!
//! Reads php-fpm's INI dialect line by line, types and checks every directive in php-fpm's order and words, and
//! dumps the result as `-tt` does. Facts about the machine come in through [`Host`]; nothing here opens a socket,
//! resolves a user or prints.
//!
//! What holds for every file is in `tests/checks`; the fuzz target `config` (`fuzz/` at the root of the repository) tries it:
//! `cargo +nightly fuzz run config fuzz/corpus/config fuzz/corpus-seed/config`.
#![forbid(unsafe_code)]

mod check;
mod constants;
mod define;
mod diagnostic;
mod dump;
#[cfg(test)]
mod fake;
mod glob;
mod host;
mod ini;
mod listen;
mod log;
mod model;
mod options;
mod paths;
mod pool_check;
mod reader;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::path::Path;

pub use define::defined;
pub use diagnostic::{Diagnostic, Level};
pub use dump::dump;
pub use host::{GlobError, Host, LogKind, System};
pub use listen::Listen;
pub use log::errno_text;
pub use model::{
    Config, CoreLimit, EnvEntry, ErrorLog, Facility, Global, PhpValue, Place, Places, Pool, ProcessManager,
    Seconds, Sigterm, StartupUser,
};
pub use options::Options;
pub use table::{Directive, Kind, Scope, directives};

use log::{Fatal, Log};
use model::path_bytes;
use reader::Reader;

/// The outcome of reading a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration; `None` when a diagnostic is fatal.
    pub config: Option<Config>,
    /// The global settings as far as they were read: they also say how it is logged that the rest cannot be used.
    pub global: Global,
    /// What php-fpm would log meanwhile, in order, up to and including `FPM initialization failed`. Lines below the
    /// configured `log_level` are already left out.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads and checks the configuration at `path`: files, sections, directives, all of php-fpm's post-processing. Logs
/// are opened through [`Host::open_log`] at the points where php-fpm opens them. What needs users, limits or sockets
/// comes after this and is the master's.
pub fn load(path: &Path, options: &Options, host: &dyn Host) -> Loaded {
    let mut reader = Reader::new(options, host);
    let outcome = steps(path, options, host, &mut reader);
    if outcome.is_err() {
        check::settle_control_socket(&mut reader.config.global, options);
        reader.log.line(Level::Error, &[b"FPM initialization failed"]);
    }
    let global = reader.config.global.clone();
    Loaded { config: outcome.ok().map(|()| reader.config), global, diagnostics: reader.log.diagnostics }
}

fn steps(path: &Path, options: &Options, host: &dyn Host, reader: &mut Reader<'_>) -> Result<(), Fatal> {
    check_prefix(options, host, &mut reader.log)?;
    read(path, reader)?;
    if let Some(overlay) = options.overlay.as_deref().filter(|o| is_there(o, host)) {
        reader.leave_section();
        read(overlay, reader)?;
    }
    check::check(&mut reader.config, options, host, &mut reader.log).inspect_err(|_| {
        reader.log.line(Level::Error, &[b"failed to post process the configuration"]);
    })
}

fn check_prefix(options: &Options, host: &dyn Host, log: &mut Log) -> Result<(), Fatal> {
    let Some(prefix) = options.prefix.as_deref().filter(|p| !p.as_os_str().is_empty()) else { return Ok(()) };
    if host.is_directory(prefix) {
        return Ok(());
    }
    let text = [b"the global prefix '", path_bytes(prefix), b"' does not exist or is not a directory"];
    Err(log.fatal(Level::Error, &text, None, ""))
}

fn read(path: &Path, reader: &mut Reader<'_>) -> Result<(), Fatal> {
    reader.file(path).inspect_err(|_| {
        reader.log.line(Level::Error, &[b"failed to load configuration file '", path_bytes(path), b"'"]);
    })
}

/// An overlay that does not exist is none; one that cannot be read is reported when it is.
fn is_there(path: &Path, host: &dyn Host) -> bool {
    !host.read(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}
