//! The files that PHP's start-up has read: whether it would read the same ones now. Looked at by the fork server, with
//! its own rights: the master must not wait for files that a pool's user can hold up.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::php;

/// Tells a file from the same file after a change; `None`: there is none.
type State = Option<(u64, u64, u64, i64, i64)>;

/// Files and folders, with what they were when PHP had started.
pub(crate) struct Sources(Vec<(PathBuf, State)>);

impl Sources {
    /// Besides files the folders: what is added to them would be read, too. The executable is that of this process.
    pub(crate) fn note(read: &php::Sources) -> Sources {
        let missing = read.ini_file.is_none().then(|| Path::new(php::ini_directory()).join("php.ini"));
        let host = fs::read_link("/proc/self/exe").ok();
        let files = read.ini_file.iter().chain(&read.scanned_files).chain(&missing).chain(&host);
        let paths = files.chain(&read.scanned_folders).chain(&read.extension_folder);
        Sources(paths.map(|path| (path.clone(), state(path))).collect())
    }

    /// Inside a chroot nothing can be found any more, which counts as a change.
    pub(crate) fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, then)| state(path) != *then)
    }
}

fn state(path: &Path) -> State {
    let facts = fs::metadata(path).ok()?;
    Some((facts.dev(), facts.ino(), facts.size(), facts.mtime(), facts.mtime_nsec()))
}
