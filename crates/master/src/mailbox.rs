//! A pool's mailbox, through which kept connections go from one process of the pool to another. The master holds both
//! ends, so that what is in it outlives fork servers and generations, and never takes anything out: to close somebody
//! else's descriptor can take as long as they like.

use std::cell::{Ref, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use sys::mail;

/// Both ends, from the first fork server on. A later generation of the pool is given the same one.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    ends: RefCell<Option<Ends>>,
}

/// Who is meant to hold which.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) server: OwnedFd,
    pub(crate) workers: OwnedFd,
}

impl Mailbox {
    /// The one that the image of this process before us had.
    pub(crate) fn adopt(server: OwnedFd, workers: OwnedFd) -> Mailbox {
        Mailbox { ends: RefCell::new(Some(Ends { server, workers })) }
    }

    /// Both ends, if anybody has needed them.
    pub(crate) fn ends(&self) -> Option<Ref<'_, Ends>> {
        Ref::filter_map(self.ends.borrow(), Option::as_ref).ok()
    }

    /// For a fork server that starts.
    pub(crate) fn open(&self) -> io::Result<Ref<'_, Ends>> {
        if self.ends.borrow().is_none() {
            let (server, workers) = mail::pair()?;
            *self.ends.borrow_mut() = Some(Ends { server, workers });
        }
        self.ends().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Nobody is left to read it. Descriptors in it are closed by a process of their own.
    pub(crate) fn close(&self) {
        let Some(Ends { server, workers }) = self.ends.borrow_mut().take() else { return };
        if mail::is_unread(server.as_fd()) || mail::is_unread(workers.as_fd()) {
            sys::process::close_elsewhere([server, workers]);
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn it_is_made_once_and_closed_with_all_that_is_in_it() {
        let mailbox = Mailbox::default();
        let numbers = || {
            let ends = mailbox.open().unwrap();
            (ends.server.as_raw_fd(), ends.workers.as_raw_fd())
        };
        assert_eq!(numbers(), numbers());
        let (ours, theirs) = UnixStream::pair().unwrap();
        mail::send(&mailbox.open().unwrap().workers, b"x", &[theirs.as_raw_fd()]).unwrap();
        drop(theirs);
        mailbox.close();
        // The other end is closed by somebody else, soon.
        assert_eq!(io::Read::read(&mut &ours, &mut [0]).unwrap(), 0);
        sys::process::collect();
    }
}
