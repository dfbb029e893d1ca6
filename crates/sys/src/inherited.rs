//! Descriptors that this process was given by the program it was before it executed this one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Takes one over by its number, from now on close-on-exec; an error if nothing is open there. Each number may be taken
/// once, and only one that this process was told of by its predecessor: what it has opened itself has an owner.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::Error::other("that is a standard descriptor"));
    }
    // SAFETY: the number is only asked about; fcntl answers EBADF if nothing is open there.
    let asked = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(asked, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, and the caller vouches that it came from the program before and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A program that this process becomes has it.
pub fn keep_on_exec(fd: impl AsFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

/// It does not have it.
pub fn close_on_exec(fd: impl AsFd) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    #[test]
    fn what_is_open_is_taken_and_nothing_else() {
        let (reader, writer) = io::pipe().unwrap();
        keep_on_exec(&reader).unwrap();
        let number = OwnedFd::from(reader).into_raw_fd();
        let taken = take(number).unwrap();
        let flags = FdFlag::from_bits_retain(fcntl(&taken, FcntlArg::F_GETFD).unwrap());
        assert_eq!(flags, FdFlag::FD_CLOEXEC);
        drop(writer);
        assert!(take(2).is_err() && take(1_000_000).is_err() && take(-1).is_err());
    }
}
