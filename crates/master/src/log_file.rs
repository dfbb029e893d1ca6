//! Opening log files: as php-fpm does, but never waiting, and without becoming a terminal's process. The folder they lie
//! in may be a pool's user's, who can put anything in their places.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use config::errno_text;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

const STDERR_NAMES: [&str; 3] = ["/proc/self/fd/2", "/dev/stderr", "/dev/fd/2"];

/// Opens a log file: append, mode 0600 when it is new. Our own stderr is written to as it is where it cannot be opened:
/// it may be a socket, or the terminal or pipe of another user.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let opened = without_waiting().open(path).or_else(|error| match error.raw_os_error() {
        Some(errno) if errno == Errno::ENXIO as i32 => open_unread(path),
        _ => Err(error),
    });
    match opened {
        Ok(file) => {
            // Its writers wait for its readers, as with php-fpm.
            let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
            fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
            Ok(file)
        }
        Err(_) if is_stderr(path) => Ok(io::stderr().as_fd().try_clone_to_owned()?.into()),
        Err(error) => Err(error),
    }
}

/// A FIFO that nobody reads can be opened only while somebody does: what is written to it before a reader comes is lost.
fn open_unread(path: &Path) -> io::Result<File> {
    let _reader = File::options().read(true).custom_flags(FLAGS.bits()).open(path)?;
    without_waiting().open(path)
}

/// Appends in one piece to a file that is opened for this alone. What does not fit at once, be it into a FIFO that
/// nobody reads or on a full disk, is lost. Our own stderr as with `open`.
pub(crate) fn append(path: &Path, entry: &[u8]) -> io::Result<()> {
    // With us as the reader a FIFO can be opened in any case.
    match without_waiting().read(true).open(path) {
        Ok(mut file) => drop(file.write_all(entry)),
        Err(_) if is_stderr(path) => drop(io::stderr().write_all(entry)),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// A log that may lie on a full disk. A line that does not fit is lost, and the next one that does begins a line.
#[derive(Debug)]
pub(crate) struct Lines {
    file: File,
    lost: Option<Lost>,
}

/// Lines that could not be written.
#[derive(Debug)]
struct Lost {
    lines: usize,
    /// The begin of one has been written.
    torn: bool,
    cause: io::Error,
}

/// What became of a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Yes,
    /// It is the first that is lost, for this reason.
    LostFirst(String),
    Lost,
}

impl Lines {
    pub(crate) fn new(file: File) -> Lines {
        Lines { file, lost: None }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Lines have been lost and it has not been said.
    pub(crate) fn is_behind(&self) -> bool {
        self.lost.is_some()
    }

    /// Writes a line, and before it, where others were lost, what `tell` makes of their number and the reason.
    pub(crate) fn write(&mut self, line: &[u8], tell: impl Fn(usize, &str) -> Vec<u8>) -> Written {
        if let Some(lost) = &mut self.lost {
            let told = tell(lost.lines, &errno_text(&lost.cause));
            let text = [if lost.torn { b"\n".as_slice() } else { b"" }, &told].concat();
            if let Err((torn, cause)) = write_all(&self.file, &text) {
                lost.torn |= torn;
                (lost.lines, lost.cause) = (lost.lines + 1, cause);
                return Written::Lost;
            }
            self.lost = None;
        }
        match write_all(&self.file, line) {
            Ok(()) => Written::Yes,
            Err((torn, cause)) => {
                let reason = errno_text(&cause);
                self.lost = Some(Lost { lines: 1, torn, cause });
                Written::LostFirst(reason)
            }
        }
    }
}

/// An error comes with whether a part has been written.
fn write_all(mut file: &File, bytes: &[u8]) -> Result<(), (bool, io::Error)> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err((rest.len() < bytes.len(), io::ErrorKind::WriteZero.into())),
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((rest.len() < bytes.len(), error)),
        }
    }
    Ok(())
}

fn is_stderr(path: &Path) -> bool {
    STDERR_NAMES.iter().any(|name| path == Path::new(name))
}

const FLAGS: OFlag = OFlag::O_NONBLOCK.union(OFlag::O_NOCTTY);

fn without_waiting() -> OpenOptions {
    let mut options = File::options();
    options.append(true).create(true).mode(0o600).custom_flags(FLAGS.bits());
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use nix::sys::stat::Mode;

    fn fifo(folder: &tempfile::TempDir) -> PathBuf {
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        path
    }

    #[test]
    fn entries_follow_each_other_and_the_files_name() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("slow.log"), folder.path().join("slow.log.1"));
        append(&path, b"one\n").unwrap();
        append(&path, b"two\n").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        append(&path, b"three\n").unwrap();
        assert_eq!(std::fs::read(&moved).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"three\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(append(&folder.path().join("no/where"), b"x").is_err());
    }

    #[test]
    fn lines_that_a_full_disk_took_are_counted() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut lines = Lines::new(full);
        let tell = |count: usize, reason: &str| format!("{count} lost: {reason}\n").into_bytes();
        let reason = "No space left on device (28)";
        assert_eq!(lines.write(b"one\n", tell), Written::LostFirst(reason.to_owned()));
        assert_eq!(lines.write(b"two\n", tell), Written::Lost);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "tor").unwrap();
        lines.file = open(&path).unwrap();
        lines.lost.as_mut().unwrap().torn = true;
        assert_eq!(lines.write(b"three\n", tell), Written::Yes);
        assert_eq!(lines.write(b"four\n", tell), Written::Yes);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("tor\n2 lost: {reason}\nthree\nfour\n"));
    }

    #[test]
    fn a_fifo_without_a_reader_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = fifo(&folder);
        append(&path, &[b'x'; 1 << 20]).unwrap();
        let mut file = open(&path).unwrap();
        assert_eq!(file.write(b"lost").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let mut reader = File::options().read(true).custom_flags(FLAGS.bits()).open(&path).unwrap();
        file.write_all(b"read").unwrap();
        let mut text = [0; 8];
        assert_eq!(reader.read(&mut text).unwrap(), 4);
        assert_eq!(&text[..4], b"read");
    }

    #[test]
    fn writers_wait_for_a_reader_that_is_slow() {
        let folder = tempfile::tempdir().unwrap();
        for path in [fifo(&folder), folder.path().join("file")] {
            let flags = OFlag::from_bits_retain(fcntl(open(&path).unwrap(), FcntlArg::F_GETFL).unwrap());
            assert!(flags.contains(OFlag::O_APPEND) && !flags.contains(OFlag::O_NONBLOCK), "{flags:?}");
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [folder.path(), &socket, &folder.path().join("no/where")] {
            assert!(open(path).is_err() && append(path, b"x").is_err(), "{path:?}");
        }
    }
}
