//! The three standard descriptors of this process.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::unistd::{dup, dup2_stderr, dup2_stdin, dup2_stdout};

/// Stdin and stdout become /dev/null.
pub fn detach_stdin_stdout() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(())
}

/// Stderr becomes what `fd` is.
pub fn redirect_stderr(fd: impl AsFd) -> io::Result<()> {
    Ok(dup2_stderr(fd)?)
}

/// Whether stderr is a terminal.
pub fn stderr_is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&io::stderr())
}

/// Opens /dev/null over a standard descriptor that the caller of this program left closed, so that no file or
/// socket of ours ever gets its number.
pub fn fill_gaps() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let mut fd = dup(&null)?;
    while std::os::fd::AsRawFd::as_raw_fd(&fd) <= 2 {
        std::mem::forget(std::mem::replace(&mut fd, dup(&null)?));
    }
    Ok(())
}
