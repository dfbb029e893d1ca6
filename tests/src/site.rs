//! The folder of one server: scripts, configuration, sockets, logs. Removed at the end unless `CORNAC_KEEP` is set.
//! Either side has its own, with names of equal length, so that nothing differs but two letters which are masked.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::unistd::{Gid, Group, Uid, User, chown};
use tempfile::TempDir;

use crate::binary::is_root;

/// The user of every pool when the tests run as root.
pub const POOL_USER: &str = "www-data";

/// A server's folder.
#[derive(Debug)]
pub struct Site {
    path: PathBuf,
    _guard: Option<TempDir>,
}

impl Site {
    /// A new folder whose name begins with `prefix`; `www` below is the document root, `tmp` writable for workers.
    pub fn create(prefix: &str) -> Site {
        let guard = tempfile::Builder::new().prefix(prefix).tempdir().expect("temporary folder");
        let path = guard.path().canonicalize().expect("own folder");
        let guard = if std::env::var_os("CORNAC_KEEP").is_some() {
            let _kept = guard.keep();
            None
        } else {
            Some(guard)
        };
        let site = Site { path, _guard: guard };
        fs::set_permissions(site.path(), Permissions::from_mode(0o755)).expect("own folder");
        for (name, mode) in [("www", 0o755), ("tmp", 0o777)] {
            let folder = site.path().join(name);
            fs::create_dir(&folder).expect("own folder");
            fs::set_permissions(&folder, Permissions::from_mode(mode)).expect("own folder");
            give_to_pool_user(&folder);
        }
        site
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, folders included, dated an hour back: opcache does not cache what is seconds old.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("inside the folder")).expect("own folder");
        // Written again, it is a little younger: opcache compares whole seconds.
        let before =
            fs::metadata(&path).and_then(|data| data.modified()).map(|time| time + Duration::from_secs(10));
        let past = before.unwrap_or_else(|_| SystemTime::now() - Duration::from_secs(3600));
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let _ = File::options().append(true).open(&path).and_then(|file| file.set_modified(past));
        path
    }

    /// The content of a file below the folder, empty if there is none.
    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path().join(name)).unwrap_or_default()).into_owned()
    }
}

/// Name and group of the user the pools run as.
pub fn pool_user() -> (String, String) {
    if is_root() {
        return (POOL_USER.into(), POOL_USER.into());
    }
    let user = User::from_uid(Uid::current()).ok().flatten().map(|user| user.name);
    let group = Group::from_gid(Gid::current()).ok().flatten().map(|group| group.name);
    (user.unwrap_or_else(|| Uid::current().to_string()), group.unwrap_or_else(|| Gid::current().to_string()))
}

/// Changes the owner to the pools' user; nothing when not root.
pub fn give_to_pool_user(path: &Path) {
    if !is_root() {
        return;
    }
    let user = User::from_name(POOL_USER).ok().flatten().expect("user www-data");
    chown(path, Some(user.uid), Some(user.gid)).expect("chown in own folder");
}
