//! Where php-fpm would find php.ini, whichever PHP executable hosts the engine: Debian's php-cgi and php
//! have their own folders compiled in, beside that of php-fpm.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use board::message::PhpOptions;

use crate::php;

/// Folders of other SAPIs, whose sibling `fpm` php-fpm uses.
const SIBLINGS: [&str; 4] = ["cli", "cgi", "embed", "apache2"];

/// What PHP has to be told; `None` where its own rules lead to php-fpm's files.
pub(crate) struct IniFiles {
    /// A php.ini or the folder it lies in.
    pub(crate) path: Option<PathBuf>,
    /// The folder of further ini files.
    pub(crate) scan_folder: Option<PathBuf>,
}

/// Decides which ini files to read.
pub(crate) fn find(options: &PhpOptions) -> IniFiles {
    let from_option = options.ini_path.as_ref().map(|path| PathBuf::from(std::ffi::OsStr::from_bytes(path)));
    let Some(folder) = fpm_folder().filter(|_| !host_is_fpm() && !options.no_ini) else {
        return IniFiles { path: from_option, scan_folder: None };
    };
    let scan = folder.join("conf.d");
    let path = from_option.unwrap_or(folder);
    IniFiles {
        path: Some(path),
        scan_folder: Some(scan).filter(|_| std::env::var_os("PHP_INI_SCAN_DIR").is_none()),
    }
}

/// The php.ini that PHP would silently leave out because this user cannot read it.
pub(crate) fn unreadable(options: &PhpOptions) -> Option<PathBuf> {
    if options.no_ini {
        return None;
    }
    let path = match find(options).path.or_else(fpm_folder)? {
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
