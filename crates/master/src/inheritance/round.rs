//! The sockets of a reload: those that the new configuration uses are found or made while the old ones serve, and only
//! when the reload takes place do the others go.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::rc::Rc;

use sys::listener::Bound;

use super::{Listener, Sockets};
use crate::log::printable;

/// Tells a file from another one of the same name.
pub(super) type FileId = (u64, u64);

/// Of the socket file at `path`.
pub(super) fn file_id(bound: &Bound) -> Option<FileId> {
    let Bound::Unix(path) = bound else { return None };
    socket_file(path).map(|facts| (facts.dev(), facts.ino()))
}

fn socket_file(path: &Path) -> Option<fs::Metadata> {
    fs::symlink_metadata(path).ok().filter(|facts| facts.file_type().is_socket())
}

impl Listener {
    /// Somebody has removed our socket file, or has put something else in its place: nobody can reach us.
    fn is_unreachable(&self) -> bool {
        self.ours && self.file.is_some() && file_id(&self.bound) != self.file
    }
}

impl Sockets {
    /// From now on sockets are found, kept or made for the new configuration.
    pub(crate) fn begin_round(&mut self) {
        for listener in &mut self.list {
            listener.used_before = std::mem::take(&mut listener.used);
            listener.fresh = false;
            listener.lost = listener.is_unreachable();
        }
    }

    /// Nobody can reach it any more.
    pub(crate) fn is_lost(&self, fd: &Rc<OwnedFd>) -> bool {
        self.list.iter().any(|listener| listener.lost && Rc::ptr_eq(&listener.fd, fd))
    }

    /// The socket of a pool that stays as it is.
    pub(crate) fn keep(&mut self, fd: &Rc<OwnedFd>) {
        self.list
            .iter_mut()
            .filter(|listener| Rc::ptr_eq(&listener.fd, fd))
            .for_each(|kept| kept.used = true);
    }

    /// The reload does not take place.
    pub(crate) fn undo_round(&mut self) {
        self.list.iter().filter(|listener| listener.fresh).for_each(Listener::unlink);
        self.list.retain(|listener| !listener.fresh);
        self.list
            .iter_mut()
            .for_each(|listener| (listener.used, listener.lost) = (listener.used_before, false));
    }

    /// php-fpm's lines for those that were there before.
    pub(crate) fn kept(&self) -> Vec<String> {
        let kept = self.list.iter().filter(|listener| !listener.fresh && !listener.lost);
        kept.map(|listener| {
            let key = printable(&String::from_utf8_lossy(&listener.key));
            format!("using inherited socket fd={}, \"{key}\"", std::os::fd::AsRawFd::as_raw_fd(&*listener.fd))
        })
        .collect()
    }

    /// The one of that name, if it is ours and was there before this round.
    pub(crate) fn ours(&self, key: &[u8]) -> Option<(&OwnedFd, &Bound)> {
        let kept = self.list.iter().find(|one| one.key == key && one.ours && !one.fresh && !one.lost);
        kept.map(|listener| (&*listener.fd, &listener.bound))
    }
}
