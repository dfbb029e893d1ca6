//! How workers wake the master: a byte through a pipe that all workers of a pool write to. A pipe and no event counter,
//! whose flags its readers and writers share: a worker could have the master wait for the next event.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::capture;

/// Both ends: fork servers come and go.
#[derive(Debug)]
pub(crate) struct Wake {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Wake> {
        let (reader, writer) = capture::pipe()?;
        // A worker has better things to do than to wait for a master that will be woken anyway.
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Wake { reader, writer })
    }

    /// Becomes readable when a worker wakes us.
    pub(crate) fn reader(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// For the workers.
    pub(crate) fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    /// We are awake. What does not fit wakes us again.
    pub(crate) fn take(&self) {
        let _ = (&self.reader).read(&mut [0; 4096]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn whatever_workers_do_with_their_end_we_do_not_wait() {
        let wake = Wake::new().unwrap();
        let mut worker = PipeWriter::from(wake.writer().try_clone_to_owned().unwrap());
        fcntl(&worker, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        wake.take();
        worker.write_all(&[1; 65536]).unwrap();
        (0..16).for_each(|_| wake.take());
        assert_eq!((&wake.reader).read(&mut [0; 64]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn workers_do_not_wait_for_a_master_that_is_busy() {
        let wake = Wake::new().unwrap();
        let mut worker = PipeWriter::from(wake.writer().try_clone_to_owned().unwrap());
        let woken = (0..100_000).find_map(|_| worker.write_all(&[1]).err());
        assert_eq!(woken.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
