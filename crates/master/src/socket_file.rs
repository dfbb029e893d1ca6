//! The file by which clients find a unix socket. Somebody may remove it, or put something else in its place: the socket
//! is as good as ever then, and nobody can connect to it. php-fpm says nothing. Looked at once a second; nothing is put
//! right here, for what is there now may be meant: a reload does that.

use std::fs::{self, FileType};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use config::Level;
use plan::PoolId;
use sys::listener::{self, Bound};

use crate::supervisor::Supervisor;

/// The file as it was when the pool began.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
    state: State,
}

/// What clients find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ours,
    Nothing,
    AnotherSocket,
    /// Something of this kind.
    Other(&'static str),
}

impl SocketFile {
    /// Of a listening socket, if it is there.
    pub(crate) fn of(socket: impl AsFd) -> Option<SocketFile> {
        let Ok(Bound::Unix(path)) = listener::bound(socket.as_fd()) else { return None };
        let facts = fs::metadata(&path).ok().filter(|facts| facts.file_type().is_socket())?;
        Some(SocketFile { path, id: (facts.dev(), facts.ino()), state: State::Ours })
    }

    /// A sentence, each time it has changed.
    fn look(&mut self) -> Option<(Level, String)> {
        let state = self.state_now();
        if std::mem::replace(&mut self.state, state) == state {
            return None;
        }
        let path = self.path.display();
        let what = match state {
            State::Ours => return Some((Level::Notice, format!("the socket {path} is there again"))),
            State::Nothing => "has been removed".to_owned(),
            State::AnotherSocket => "has been replaced by another one".to_owned(),
            State::Other(kind) => format!("has been replaced by a {kind}"),
        };
        let effect = "clients cannot connect to this pool until a reload makes it anew";
        Some((Level::Warning, format!("the socket {path} {what}: {effect}")))
    }

    fn state_now(&self) -> State {
        match fs::metadata(&self.path) {
            // Whatever keeps us from looking need not keep clients from connecting.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => self.state,
            Err(_) if is_link(&self.path) => State::Other("link that leads nowhere"),
            Err(_) => State::Nothing,
            Ok(facts) if (facts.dev(), facts.ino()) == self.id => State::Ours,
            Ok(facts) if facts.file_type().is_socket() => State::AnotherSocket,
            Ok(facts) => State::Other(kind(facts.file_type())),
        }
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_symlink())
}

fn kind(of: FileType) -> &'static str {
    if of.is_dir() { "folder" } else { "file" }
}

impl Supervisor {
    /// Tells, once, when clients cannot find a pool's socket any more.
    pub(crate) fn look_at_file(&mut self, pool: PoolId) {
        // The next generation may have made it anew already.
        if !self.plan.serves_alone(pool) {
            return;
        }
        let found = self.pools[pool].file.as_mut().and_then(SocketFile::look);
        if let Some((level, text)) = found {
            self.write_for(pool, level, &text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn each_change_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("s"), folder.path().join("aside"));
        let listener = UnixListener::bind(&path).unwrap();
        let mut file = SocketFile::of(&listener).unwrap();
        let mut check = |expected: &str| {
            let told = file.look().map(|(_, text)| text.replace(path.to_str().unwrap(), "S"));
            let short = told.as_deref().map_or("", |text| text.split(':').next().unwrap());
            assert_eq!((short, file.look()), (expected, None));
        };
        check("");
        fs::rename(&path, &aside).unwrap();
        check("the socket S has been removed");
        let _another = UnixListener::bind(&path).unwrap();
        check("the socket S has been replaced by another one");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        check("the socket S has been replaced by a file");
        fs::rename(&aside, &path).unwrap();
        check("the socket S is there again");
        fs::rename(&path, &aside).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        check("the socket S has been replaced by a link that leads nowhere");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("aside", &path).unwrap();
        check("the socket S is there again");
    }

    #[test]
    fn a_socket_without_a_file_is_not_looked_at() {
        assert!(SocketFile::of(std::net::TcpListener::bind("127.0.0.1:0").unwrap()).is_none());
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        fs::remove_file(folder.path().join("s")).unwrap();
        assert!(SocketFile::of(&listener).is_none());
    }
}
