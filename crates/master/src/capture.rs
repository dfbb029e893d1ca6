//! What a child writes to its stdout and stderr, cut into lines for the log. One pipe for each, read without ever
//! waiting, so that a full pipe never stops PHP for longer than the master is away.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::log::Log;

/// The worker ends each request's messages with these bytes on stderr; they are not for the log.
const MARKER: &[u8] = board::message::END_OF_REQUEST;
/// Bytes of an unfinished line that are kept before they are written as they are.
const LONGEST: usize = 64 * 1024;
/// Bytes that are kept at most before their time to be logged has come.
const MOST_HELD: usize = 256 * 1024;
/// Reads in a row before others get their turn.
const MOST_READS: usize = 16;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// Bytes to lines: newline, marker, a change of stream and the end finish a line; empty lines vanish.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    line: Vec<u8>,
    /// Bytes of the marker seen so far, held back from `line`.
    marked: usize,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], mut finished: impl FnMut(&[u8])) {
        for byte in bytes {
            if *byte == MARKER[self.marked] {
                self.marked += 1;
                if self.marked == MARKER.len() {
                    self.marked = 0;
                    self.finish(&mut finished);
                }
                continue;
            }
            self.release();
            match byte {
                0 => self.marked = 1,
                b'\n' => self.finish(&mut finished),
                other => self.line.push(*other),
            }
            if self.line.len() >= LONGEST {
                self.finish(&mut finished);
            }
        }
    }

    /// What looked like a marker was none.
    fn release(&mut self) {
        self.line.extend(&MARKER[..std::mem::take(&mut self.marked)]);
    }

    fn finish(&mut self, finished: &mut impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            finished(&self.line);
            self.line.clear();
        }
    }
}

/// How captured lines look.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    /// `[pool www] child`, before the process id.
    pub(crate) speaker: String,
    /// With time stamp, speaker and quotes.
    pub(crate) decorated: bool,
}

/// The reading ends of a child's two pipes.
#[derive(Debug)]
pub(crate) struct Capture {
    style: Style,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
    lines: Lines,
    last: Stream,
    /// What was said so far, while it is not yet time to log it.
    held: Option<Vec<u8>>,
    /// Nothing has been read before.
    fresh: bool,
}

/// A pipe whose reading end does not block.
pub(crate) fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, writer))
}

impl Capture {
    pub(crate) fn new(style: Style, stdout: Option<PipeReader>, stderr: PipeReader) -> Capture {
        Capture {
            style,
            stdout,
            stderr: Some(stderr),
            lines: Lines::default(),
            last: Stream::Stderr,
            fresh: true,
            held: None,
        }
    }

    /// Of a child of the image of this process before us.
    pub(crate) fn adopt(style: Style, stdout: Option<PipeReader>, stderr: Option<PipeReader>) -> Capture {
        Capture {
            style,
            stdout,
            stderr,
            lines: Lines::default(),
            last: Stream::Stderr,
            fresh: false,
            held: None,
        }
    }

    /// Keeps what is said until [`Capture::let_go`].
    pub(crate) fn hold(&mut self) {
        self.held = Some(Vec::new());
    }

    /// Logs what was kept, and from now on what is said.
    pub(crate) fn let_go(&mut self, pid: u32, log: &mut Log) {
        if let Some(bytes) = self.held.take() {
            self.accept(self.last, &bytes, pid, log);
        }
    }

    pub(crate) fn reader(&self, stream: Stream) -> Option<impl AsFd + '_> {
        match stream {
            Stream::Stdout => self.stdout.as_ref(),
            Stream::Stderr => self.stderr.as_ref(),
        }
    }

    /// Reads what is there. The stream closes itself at its end.
    pub(crate) fn drain(&mut self, stream: Stream, pid: u32, log: &mut Log) {
        let mut buffer = [0; 4096];
        let fresh = self.fresh;
        for _ in 0..MOST_READS {
            let slot = match stream {
                Stream::Stdout => &mut self.stdout,
                Stream::Stderr => &mut self.stderr,
            };
            match slot.as_mut().map(|reader| reader.read(&mut buffer)) {
                Some(Ok(0)) => {
                    *slot = None;
                    return self.close(stream, pid, fresh, log);
                }
                Some(Ok(length)) => {
                    self.fresh = false;
                    self.accept(stream, &buffer[..length], pid, log);
                }
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Some(Err(_)) | None => return,
            }
        }
    }

    /// Reads what both streams still hold, when their writer is gone.
    pub(crate) fn finish(mut self, pid: u32, log: &mut Log) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.drain(stream, pid, log);
        }
        self.let_go(pid, log);
        self.close(self.last, pid, false, log);
    }

    fn accept(&mut self, stream: Stream, bytes: &[u8], pid: u32, log: &mut Log) {
        if let Some(held) = &mut self.held {
            held.extend(bytes);
            if held.len() > MOST_HELD {
                self.let_go(pid, log);
            }
            return;
        }
        if stream != self.last {
            self.flush(pid, log, "");
            self.last = stream;
        }
        let prefix = self.prefix(pid);
        self.lines.push(bytes, |line| log.write_captured(prefix.as_deref(), line, ""));
    }

    /// php-fpm remarks on the end only where it comes with the first and last words.
    fn close(&mut self, stream: Stream, pid: u32, fresh: bool, log: &mut Log) {
        if stream == self.last {
            self.lines.release();
            self.flush(pid, log, if fresh { ", pipe is closed" } else { "" });
        }
    }

    fn flush(&mut self, pid: u32, log: &mut Log, suffix: &str) {
        let prefix = self.prefix(pid);
        self.lines.finish(&mut |line: &[u8]| log.write_captured(prefix.as_deref(), line, suffix));
    }

    fn prefix(&self, pid: u32) -> Option<String> {
        let Style { speaker, decorated } = &self.style;
        decorated.then(|| format!("{speaker} {pid} said into {}: ", self.last.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn check(input: &[u8], expected: &[&[u8]]) {
        for step in 1..=input.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for piece in input.chunks(step) {
                lines.push(piece, |line| found.push(line.to_vec()));
            }
            lines.release();
            lines.finish(&mut |line: &[u8]| found.push(line.to_vec()));
            assert_eq!(found, expected, "in pieces of {step}");
        }
    }

    #[test]
    fn lines_end_at_newlines_and_markers_however_they_arrive() {
        check(b"one\ntwo\n\n\nthree", &[b"one", b"two", b"three"]);
        check(b"a\0fscf\0b\n", &[b"a", b"b"]);
        check(b"\0fscf\0\0fscf\0", &[]);
        check(b"a\0fsc\n", &[b"a\0fsc"]);
        check(b"\0\0fscf\0x", &[b"\0", b"x"]);
        check(b"\0f\0fscf\0", &[b"\0f"]);
        check(b"end\0fs", &[b"end\0fs"]);
    }

    #[test]
    fn what_is_held_is_logged_later_and_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Log::default();
        log.use_file(crate::log_file::open(&path).unwrap(), &path);
        let (err, mut to_err) = pipe().unwrap();
        let mut capture = Capture::new(Style { speaker: String::new(), decorated: false }, None, err);
        capture.hold();
        to_err.write_all(b"early\nha").unwrap();
        capture.drain(Stream::Stderr, 5, &mut log);
        log.write(config::Level::Notice, "ready");
        capture.let_go(5, &mut log);
        to_err.write_all(b"lf\n").unwrap();
        capture.drain(Stream::Stderr, 5, &mut log);
        let text = std::fs::read_to_string(&path).unwrap();
        let ends: Vec<&str> = text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(ends, ["ready", "early", "half"]);
    }

    #[test]
    fn streams_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Log::default();
        log.use_file(crate::log_file::open(&path).unwrap(), &path);
        let ((out, mut to_out), (err, mut to_err)) = (pipe().unwrap(), pipe().unwrap());
        let style = Style { speaker: "[pool a] child".into(), decorated: true };
        let mut capture = Capture::new(style, Some(out), err);
        to_err.write_all(b"half").unwrap();
        capture.drain(Stream::Stderr, 5, &mut log);
        to_out.write_all(b"whole\nrest").unwrap();
        capture.drain(Stream::Stdout, 5, &mut log);
        drop((to_out, to_err));
        capture.finish(5, &mut log);
        let text = std::fs::read_to_string(&path).unwrap();
        let said: Vec<&str> = text.lines().map(|line| line.split_once("said into ").unwrap().1).collect();
        assert_eq!(said, ["stderr: \"half\"", "stdout: \"whole\"", "stdout: \"rest\""]);
        let (err, mut to_err) = pipe().unwrap();
        let style = Style { speaker: "[pool a] child".into(), decorated: true };
        let capture = Capture::new(style, None, err);
        to_err.write_all(b"last words").unwrap();
        drop(to_err);
        capture.finish(5, &mut log);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("said into stderr: \"last words\", pipe is closed\n"), "{text}");
    }
}
