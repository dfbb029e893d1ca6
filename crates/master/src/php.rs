//! Which PHP executable hosts a pool, and where the engine that is loaded into it lies.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use config::Diagnostic;

use crate::load::error;

/// The PHP version this build prefers, as distributions put it into file names.
pub const VERSION: &str = match option_env!("CORNAC_PHP_VERSION") {
    Some(version) => version,
    None => "8.2",
};

/// php-fpm's own configuration files of that version, in the order they are looked for.
pub fn default_configurations() -> [PathBuf; 2] {
    [format!("/etc/php/{VERSION}/fpm/php-fpm.conf").into(), "/usr/local/etc/php-fpm.conf".into()]
}

/// Folders that PHP was built for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `--prefix`.
    pub prefix: PathBuf,
    /// `--sysconfdir`.
    pub sysconfdir: PathBuf,
    /// `--localstatedir`.
    pub localstatedir: PathBuf,
}

/// The folders of the PHP that is installed here: a distribution's, or one built for /usr/local.
pub fn layout() -> Layout {
    let local = find_executable(None).is_ok_and(|path| path.starts_with("/usr/local"));
    let (prefix, sysconfdir, localstatedir) =
        if local { ("/usr/local", "/usr/local/etc", "/usr/local/var") } else { ("/usr", "/etc", "/var") };
    Layout { prefix: prefix.into(), sysconfdir: sysconfdir.into(), localstatedir: localstatedir.into() }
}

/// Executables that can host the engine, best first: php-fpm has the compiled-in folders its users expect. Where
/// cornac stands in its place, it may lie beside, under the name that `dpkg-divert` gives it.
fn executables() -> Vec<PathBuf> {
    let packaged = ["/usr/sbin/php-fpm", "/usr/bin/php-cgi", "/usr/bin/php"];
    let versioned = packaged.map(|path| format!("{path}{VERSION}"));
    let local = ["/usr/local/sbin/php-fpm", "/usr/local/bin/php-cgi", "/usr/local/bin/php"];
    let all = versioned.into_iter().chain(local.into_iter().chain(packaged).map(str::to_owned));
    all.flat_map(|path| {
        let diverted = path.contains("php-fpm").then(|| format!("{path}.distrib"));
        [Some(path), diverted].into_iter().flatten().map(PathBuf::from)
    })
    .collect()
}

/// The executable named by a `php.binary`, else the first one installed.
pub fn find_executable(configured: Option<&Path>) -> Result<PathBuf, Diagnostic> {
    let own = own_executable();
    if let Some(path) = configured {
        return match is_file(path) {
            true if is_same_file(path, &own) => {
                Err(error(format!("php.binary = {}: that is cornac itself", path.display())))
            }
            true => Ok(path.to_path_buf()),
            false => Err(error(format!("php.binary = {}: there is no such file", path.display()))),
        };
    }
    let places = executables();
    let found = places.iter().find(|path| is_file(path) && !is_same_file(path, &own));
    found.cloned().ok_or_else(|| {
        error(format!("no PHP executable found; looked for {}. Set php.binary", list(&places)))
    })
}

/// Where the running program lies; after an upgrade, where the new one does.
fn own_executable() -> PathBuf {
    let path = env::current_exe().unwrap_or_default();
    let bytes = path.as_os_str().as_bytes();
    bytes.strip_suffix(b" (deleted)").map_or_else(|| path.clone(), |kept| OsStr::from_bytes(kept).into())
}

/// Whether both names lead to one file: a link to cornac in php-fpm's place is no PHP.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

/// The engine: beside our own executable, else in `../lib/cornac`.
pub fn find_engine() -> Result<PathBuf, Diagnostic> {
    let own = own_executable();
    let folder = own.parent().unwrap_or(Path::new("/"));
    let folders = [folder.to_path_buf(), folder.join("../lib/cornac")];
    let found = folders.iter().find_map(|folder| engine_in(folder));
    if let Some(path) =
        found.as_deref().filter(|path| path.as_os_str().as_bytes().iter().any(|b| b" :".contains(b)))
    {
        return Err(error(format!(
            "the dynamic linker takes no engine whose path has a space or colon: {}",
            path.display()
        )));
    }
    found.ok_or_else(|| {
        let places: Vec<_> = folders
            .iter()
            .flat_map(|folder| [folder.join("libcornac_engine.so"), folder.join("cornac-engine-*.so")])
            .collect();
        error(format!("the PHP engine of cornac is missing; looked for {}", list(&places)))
    })
}

/// LD_PRELOAD with the engine put before what is there already.
pub fn preload(engine: &Path) -> OsString {
    let mut all = engine.as_os_str().to_owned();
    if let Some(others) = env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        all.push(":");
        all.push(others);
    }
    all
}

fn engine_in(folder: &Path) -> Option<PathBuf> {
    let plain = folder.join("libcornac_engine.so");
    if is_file(&plain) {
        return Some(plain);
    }
    let matches =
        |name: &OsStr| name.as_bytes().starts_with(b"cornac-engine-") && name.as_bytes().ends_with(b".so");
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries.filter(|entry| matches(&entry.file_name())).map(|entry| entry.path()).min()
}

fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

fn list(places: &[PathBuf]) -> String {
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_executable_is_named() {
        let error = find_executable(Some(Path::new("/no/php"))).unwrap_err();
        assert_eq!(error.text, b"php.binary = /no/php: there is no such file");
        assert_eq!(find_executable(Some(Path::new("/bin/sh"))).unwrap(), Path::new("/bin/sh"));
    }

    #[test]
    fn a_link_to_ourselves_is_no_php() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("php-fpm8.2");
        std::os::unix::fs::symlink(own_executable(), &link).unwrap();
        let error = find_executable(Some(&link)).unwrap_err();
        assert!(error.text.ends_with(b"php-fpm8.2: that is cornac itself"), "{error:?}");
    }

    #[test]
    fn the_engine_is_found_under_both_names() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(engine_in(folder.path()), None);
        for name in ["cornac-engine-20230831.so", "cornac-engine-20220829.so"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(engine_in(folder.path()), Some(folder.path().join("cornac-engine-20220829.so")));
        fs::write(folder.path().join("libcornac_engine.so"), "").unwrap();
        assert_eq!(engine_in(folder.path()), Some(folder.path().join("libcornac_engine.so")));
    }
}
