//! Where php-fpm would find php.ini, whichever PHP executable hosts the engine: Debian's php-cgi and php
//! have their own folders compiled in, beside that of php-fpm.

use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use board::message::PhpOptions;

use crate::php;

/// Names the folders of further ini files.
pub(crate) const SCAN_VARIABLE: &str = "PHP_INI_SCAN_DIR";

/// Folders of other SAPIs, whose sibling `fpm` php-fpm uses.
const SIBLINGS: [&str; 4] = ["cli", "cgi", "embed", "apache2"];

/// What PHP has to be told; `None` where its own rules lead to php-fpm's files.
pub(crate) struct IniFiles {
    /// A php.ini or the folder it lies in.
    pub(crate) path: Option<PathBuf>,
    /// The folders of further ini files, as PHP_INI_SCAN_DIR names them.
    pub(crate) scan_folders: Option<OsString>,
}

/// Decides which ini files to read.
pub(crate) fn find(options: &PhpOptions) -> IniFiles {
    let from_option = options.ini_path.as_ref().map(|path| PathBuf::from(std::ffi::OsStr::from_bytes(path)));
    let Some(folder) = fpm_folder().filter(|_| !host_is_fpm() && !options.no_ini) else {
        return IniFiles { path: from_option, scan_folders: None };
    };
    let scan_folders = scan_folders(std::env::var_os(SCAN_VARIABLE), &folder.join("conf.d"));
    IniFiles { path: from_option.or_else(from_environment).or(Some(folder)), scan_folders }
}

/// PHPRC, where there is a php.ini; else PHP looks on.
fn from_environment() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("PHPRC")?);
    (path.is_file() || path.join("php.ini").is_file()).then_some(path)
}

/// The variable with the usual folder written out: an empty part of it means that folder. `None` where it can stay as it
/// is (empty as a whole it means none).
fn scan_folders(variable: Option<OsString>, usual: &Path) -> Option<OsString> {
    let Some(variable) = variable else { return Some(usual.into()) };
    let parts = || variable.as_bytes().split(|byte| *byte == b':');
    if variable.is_empty() || !parts().any(<[u8]>::is_empty) {
        return None;
    }
    let usual = usual.as_os_str().as_bytes();
    let written: Vec<&[u8]> = parts().map(|part| if part.is_empty() { usual } else { part }).collect();
    Some(OsString::from_vec(written.join(&b':')))
}

/// The php.ini that PHP would silently leave out because this user cannot read it.
pub(crate) fn unreadable(options: &PhpOptions) -> Option<PathBuf> {
    if options.no_ini {
        return None;
    }
    let path = match find(options).path.or_else(from_environment).or_else(fpm_folder)? {
        folder if folder.is_dir() => folder.join("php.ini"),
        file => file,
    };
    let error = File::open(&path).err()?;
    (error.kind() == ErrorKind::PermissionDenied).then_some(path)
}

fn fpm_folder() -> Option<PathBuf> {
    let compiled = Path::new(php::ini_directory());
    let sapi = compiled.file_name()?.to_str()?;
    let folder =
        if SIBLINGS.contains(&sapi) { compiled.with_file_name("fpm") } else { compiled.to_path_buf() };
    folder.is_dir().then_some(folder)
}

/// The host is php-fpm itself: its compiled-in folders and modules are the ones users know.
pub(crate) fn host_is_fpm() -> bool {
    let host = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    host.file_name().is_some_and(|name| name.as_bytes().windows(3).any(|part| part == b"fpm"))
}
