//! The few facts about the machine that reading a configuration needs, behind one trait.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::glob;
use crate::model::path_bytes;

/// Which file php-fpm opens at that point of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// `error_log` (never asked for syslog).
    Error,
    /// `slowlog` of a pool.
    Slow,
    /// `access.log` of a pool.
    Access,
}

/// Outcome of a failed glob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlobError {
    /// Nothing matches.
    NoMatch,
    /// A directory could not be read.
    Aborted,
}

/// Facts about the machine.
pub trait Host {
    /// The contents of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The paths matching a pattern, sorted; directories end in `/`. As glob(3) with GLOB_ERR and GLOB_MARK.
    fn glob(&self, pattern: &[u8]) -> Result<Vec<PathBuf>, GlobError>;
    /// Whether the path is a directory (following links).
    fn is_directory(&self, path: &Path) -> bool;
    /// A variable of the environment.
    fn env(&self, name: &[u8]) -> Option<Vec<u8>>;
    /// A setting of php.ini, for `${NAME}`; it goes before the environment.
    fn ini(&self, _name: &[u8]) -> Option<Vec<u8>> {
        None
    }
    /// Opens the system log, at the point of [`Host::open_log`] for the error log. The default does nothing.
    fn open_syslog(&self, _identity: &[u8], _facility: i32) {}
    /// Opens (creates) a log at the point php-fpm does. The default does nothing; the master opens it for real,
    /// so that messages come in php-fpm's order and later diagnostics can go to the open log.
    fn open_log(&self, _kind: LogKind, _pool: Option<&[u8]>, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// The machine itself. Opens no logs and knows no php.ini.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

/// Larger files are refused: they are no configuration (or never end, as /dev/zero).
const MAX_FILE: u64 = 64 << 20;

impl Host for System {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MAX_FILE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(text)
    }

    fn glob(&self, pattern: &[u8]) -> Result<Vec<PathBuf>, GlobError> {
        glob::expand(pattern)
    }

    fn is_directory(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|m| m.is_dir())
    }

    fn env(&self, name: &[u8]) -> Option<Vec<u8>> {
        use std::os::unix::ffi::OsStrExt;
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
            return None;
        }
        let value = std::env::var_os(std::ffi::OsStr::from_bytes(name))?;
        Some(path_bytes(Path::new(&value)).to_vec())
    }
}
