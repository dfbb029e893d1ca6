//! A machine made of tables, for tests.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::{GlobError, Host};

/// Files, folders and variables that exist; the folders of `glob` patterns are matched by prefix and suffix only.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) env: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Fake {
    pub(crate) fn with(path: &str, text: &[u8]) -> Fake {
        Fake { files: BTreeMap::from([(path.into(), text.to_vec())]), ..Fake::default() }
    }
}

impl Host for Fake {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::Error::from_raw_os_error(2))
    }

    fn glob(&self, pattern: &[u8]) -> Result<Vec<PathBuf>, GlobError> {
        let pattern = String::from_utf8_lossy(pattern).into_owned();
        let (before, after) = pattern.split_once('*').unwrap_or((&pattern, ""));
        let fits = |name: &str| {
            if pattern.contains('*') {
                name.starts_with(before) && name.ends_with(after)
            } else {
                name == pattern
            }
        };
        let found: Vec<_> = self.files.keys().filter(|p| fits(&p.to_string_lossy())).cloned().collect();
        if found.is_empty() { Err(GlobError::NoMatch) } else { Ok(found) }
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.directories.iter().any(|d| d == path)
    }

    fn env(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.env.get(name).cloned()
    }
}
