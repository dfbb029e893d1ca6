//! The file of the control socket: made with no rights for others, never in place of something that is no socket or that
//! somebody answers at, and removed only if it is still the one that was made.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use sys::listener::{self, Access, ListenError};

use crate::log::errno_text;

/// Commands that may wait to be heard.
const BACKLOG: i32 = 64;

/// The socket that commands connect to.
#[derive(Debug)]
pub(crate) struct Endpoint {
    path: PathBuf,
    listener: UnixListener,
    /// Device and inode of the file, to tell it from another one of the same name.
    file: Option<(u64, u64)>,
}

impl Endpoint {
    /// Listens at `path`. An error is one sentence.
    pub(crate) fn open(path: &Path) -> Result<Endpoint, String> {
        if fs::symlink_metadata(path).is_ok_and(|facts| !facts.file_type().is_socket()) {
            return Err("something lies there that is no socket".to_owned());
        }
        let access = Access { mode: 0o600, ..Access::default() };
        let fd = listener::unix(path, &access, BACKLOG).map_err(|error| sentence(&error))?;
        let listener = UnixListener::from(fd);
        let file = file_at(path);
        match listener.set_nonblocking(true) {
            Ok(()) => Ok(Endpoint { path: path.to_path_buf(), listener, file }),
            Err(error) => Err(errno_text(&error)),
        }
    }

    /// The one that the image of this process before us listened on.
    pub(crate) fn adopt(path: PathBuf, fd: OwnedFd) -> Endpoint {
        let file = file_at(&path);
        Endpoint { path, listener: UnixListener::from(fd), file }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether commands that look for it at `path` find it.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        self.path == path && self.is_ours()
    }

    fn is_ours(&self) -> bool {
        self.file.is_some() && file_at(&self.path) == self.file
    }

    /// The next who has connected, if anybody has; it does not wait.
    pub(crate) fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    /// Removes the file if it is ours.
    pub(crate) fn remove(&self) {
        if self.is_ours() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

fn file_at(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|facts| (facts.dev(), facts.ino()))
}

fn sentence(error: &ListenError) -> String {
    match error {
        ListenError::InUse => "another process listens there".to_owned(),
        ListenError::TooLong(length) => {
            format!(
                "the path is too long: found length: {length}, maximal length: {}",
                listener::LONGEST_PATH
            )
        }
        ListenError::Socket(source)
        | ListenError::Bind(source)
        | ListenError::Chown(source)
        | ListenError::Acl(source)
        | ListenError::Listen(source) => errno_text(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_replaces_a_stale_socket_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        fs::write(&path, "precious").unwrap();
        assert_eq!(Endpoint::open(&path).unwrap_err(), "something lies there that is no socket");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        let endpoint = Endpoint::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Endpoint::open(&path).unwrap_err(), "another process listens there");
        assert!(endpoint.is_at(&path) && !endpoint.is_at(folder.path()));
        endpoint.remove();
        assert!(!path.exists() && !endpoint.is_at(&path));
        let other = UnixListener::bind(&path).unwrap();
        endpoint.remove();
        assert!(path.exists());
        drop(other);
        let missing = Endpoint::open(&folder.path().join("no/control")).unwrap_err();
        assert_eq!(missing, "No such file or directory (2)");
        let long = Endpoint::open(&folder.path().join("x".repeat(120))).unwrap_err();
        assert!(long.starts_with("the path is too long: "), "{long}");
    }
}
