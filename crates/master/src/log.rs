//! The error log: php-fpm's line formats, levels, limits and the rule where lines go. Never decides what to say.
//!
//! Lines go to the log and, until the start is announced, from NOTICE up to stderr as well; or else to stderr alone.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::Location;
use std::path::{Path, PathBuf};

pub(crate) use config::errno_text;
use config::{Diagnostic, Level};
use jiff::Zoned;
use sys::syslog::Syslog;

use crate::log_file::{Lines, Written};
use crate::{load, log_file};

/// php-fpm formats a line in this many bytes, and only what does not fit there is cut to `log_limit`.
const BUFFER: usize = 2048;

/// Where lines go besides stderr.
#[derive(Debug)]
enum Target {
    None,
    File { lines: Lines, path: PathBuf },
    Syslog(Syslog),
}

/// The master's log.
#[derive(Debug)]
pub(crate) struct Log {
    target: Target,
    level: Level,
    limit: usize,
    announced: bool,
    /// Stderr rather than the target.
    to_stderr: bool,
    /// Until the announcement: lines to the target go to stderr as well.
    copies: bool,
    /// Places and hints of diagnostics are shown on stderr.
    explains: bool,
    /// Stderr as we were started with, for access logs that go there.
    stderr: Option<OwnedFd>,
}

impl Default for Log {
    fn default() -> Log {
        Log {
            target: Target::None,
            level: Level::Notice,
            limit: 1024,
            announced: false,
            to_stderr: false,
            copies: true,
            explains: false,
            stderr: None,
        }
    }
}

impl Log {
    /// Lines below `level` vanish; `limit` is `log_limit`, at least 512.
    pub(crate) fn configure(&mut self, level: Level, limit: usize) {
        (self.level, self.limit) = (level, limit.max(512));
    }

    pub(crate) fn use_file(&mut self, file: File, path: &Path) {
        self.target = Target::File { lines: Lines::new(file), path: path.to_path_buf() };
    }

    pub(crate) fn use_syslog(&mut self, syslog: Syslog) {
        self.target = Target::Syslog(syslog);
    }

    /// Somebody looks at stderr (a foreground process on a terminal, or `-O`): the target is opened and not used.
    pub(crate) fn prefer_stderr(&mut self, prefer: bool) {
        self.to_stderr = prefer;
    }

    /// Remembers what stderr is: in the foreground, as php-fpm does.
    pub(crate) fn keep_stderr(&mut self) {
        // Of php-fpm's moment, before the log is open.
        self.put(Level::Debug, b"saving original STDERR fd: dup()", Location::caller(), false);
        self.stderr = io::stderr().as_fd().try_clone_to_owned().ok();
    }

    /// Until `tie_stderr` it is again what we were started with, so that it may be opened by its name.
    pub(crate) fn restore_stderr(&mut self) {
        if self.stderr.is_some() {
            self.write(Level::Debug, "restoring original STDERR fd: dup2()");
        }
        if let Some(stderr) = &self.stderr {
            let _ = sys::stdio::redirect_stderr(stderr);
        }
    }

    /// From now on lines go to one place.
    pub(crate) fn announce(&mut self) {
        self.announced = true;
    }

    /// A reload is announced like a start: until then lines go to stderr as well, unless that is the log.
    pub(crate) fn begin_anew(&mut self) {
        self.announced = false;
        self.copies = self.stderr.is_some();
    }

    /// When lines go to the target alone, what else is written to our stderr goes there too.
    pub(crate) fn tie_stderr(&self) -> io::Result<()> {
        match &self.target {
            _ if self.to_stderr || !self.announced => Ok(()),
            Target::File { lines, .. } => sys::stdio::redirect_stderr(lines.file()),
            Target::Syslog(_) => sys::stdio::redirect_stderr(File::options().write(true).open("/dev/null")?),
            Target::None => Ok(()),
        }
    }

    /// Opens the log file again under its name, after somebody has moved it away.
    pub(crate) fn reopen(&mut self) -> Result<(), Diagnostic> {
        let Target::File { lines, path } = &mut self.target else { return Ok(()) };
        let opened = log_file::open(path).map_err(|error| load::error(cannot_open(path, &error)))?;
        *lines = Lines::new(opened);
        Ok(())
    }

    /// Our stderr is the log of the image before a reload: what is in the new one's log need not be there too.
    pub(crate) fn stderr_is_the_log(&mut self) {
        self.copies = false;
    }

    /// Writes one line.
    #[track_caller]
    pub(crate) fn write(&mut self, level: Level, text: impl AsRef<[u8]>) {
        self.put(level, text.as_ref(), Location::caller(), true);
    }

    /// Writes what reading the configuration found.
    #[track_caller]
    pub(crate) fn diagnose(&mut self, diagnostic: &Diagnostic) {
        match diagnostic.level {
            Some(level) => self.put(level, &diagnostic.text, Location::caller(), diagnostic.logged),
            None => self.raw_to_stderr(&diagnostic.text),
        }
        if self.explains {
            if let Some(place) = &diagnostic.place {
                self.raw_to_stderr(format!("  --> {}:{}", place.file.display(), place.line).as_bytes());
            }
            if let Some(hint) = &diagnostic.hint {
                self.raw_to_stderr(format!("  {hint}").as_bytes());
            }
        }
    }

    /// From now on places and hints are shown on stderr.
    pub(crate) fn explain(&mut self, explain: bool) {
        self.explains = explain;
    }

    fn raw_to_stderr(&self, text: &[u8]) {
        let _ = io::stderr().write_all(&[text, b"\n"].concat());
    }

    fn put(&mut self, level: Level, text: &[u8], place: &Location<'_>, target_is_open: bool) {
        if level < self.level {
            return;
        }
        let to_target = target_is_open && !matches!(self.target, Target::None) && !self.to_stderr;
        let in_syslog = to_target && matches!(self.target, Target::Syslog(_));
        let head = if in_syslog { self.syslog_head(level, place) } else { self.head(level, &origin(place)) };
        let line = self.line(head, text);
        if to_target {
            self.put_to_target(level, &line);
        }
        if !to_target || (self.copies && !self.announced && level >= Level::Notice) {
            let _ = io::stderr().write_all(&line);
        }
    }

    fn put_to_target(&mut self, level: Level, line: &[u8]) {
        match &mut self.target {
            Target::File { .. } => self.put_to_file(line),
            Target::Syslog(syslog) => syslog.write(priority(level), line.strip_suffix(b"\n").unwrap_or(line)),
            Target::None => {}
        }
    }

    /// A full disk is no reason to stop serving. Whoever reads what we were started with as stderr is told once; the log
    /// itself says what it lacks when there is room again.
    fn put_to_file(&mut self, line: &[u8]) {
        let head = if self.is_behind() { self.head(Level::Warning, "") } else { String::new() };
        let Target::File { lines, path } = &mut self.target else { return };
        let tell = |count: usize, cause: &str| {
            format!("{head}{count} line(s) of this log could not be written: {cause}\n").into_bytes()
        };
        let Written::LostFirst(cause) = lines.write(line, tell) else { return };
        let text = format!("the error log {} cannot be written: {cause}\n", path.display());
        if let Some(stderr) = &self.stderr {
            let line = [self.head(Level::Error, "").as_bytes(), text.as_bytes()].concat();
            let _ = stderr.try_clone().map(File::from).and_then(|mut stderr| stderr.write_all(&line));
        }
    }

    fn is_behind(&self) -> bool {
        matches!(&self.target, Target::File { lines, .. } if lines.is_behind())
    }

    /// The system log adds time and process itself; what stderr gets of such a line lacks them too.
    fn syslog_head(&self, level: Level, place: &Location<'_>) -> String {
        let place = if self.level == Level::Debug { origin(place) } else { String::new() };
        format!("[{}] {place}", level.word())
    }

    /// The whole line. As with php-fpm one with a system's error is cut at the limit, others only where they are far
    /// too long.
    fn line(&self, head: String, text: &[u8]) -> Vec<u8> {
        let mut line = head.into_bytes();
        line.extend(text);
        let longest = if ends_with_errno(text) { self.limit.min(BUFFER) } else { BUFFER };
        if line.len() >= longest {
            line.truncate(self.limit.min(BUFFER) - 1 - 3);
            line.extend(b"...");
        }
        line.push(b'\n');
        line
    }

    /// Time, level, and in debug mode the origin.
    fn head(&self, level: Level, origin: &str) -> String {
        let (stamp, word) = (self.stamp(), level.word());
        match self.level {
            Level::Debug => format!("{stamp} {word}: pid {}, {origin}", std::process::id()),
            _ => format!("{stamp} {word}: "),
        }
    }

    /// The time now, in brackets, as exact as the level asks for.
    pub(crate) fn stamp(&self) -> String {
        let format = match self.level {
            Level::Debug => "[%d-%b-%Y %H:%M:%S.%6f]",
            _ => "[%d-%b-%Y %H:%M:%S]",
        };
        Zoned::now().strftime(format).to_string()
    }

    /// Writes a line that a child wrote. Decorated with `prefix` it is wrapped into several complete lines where it
    /// is longer than the limit; bare (`None`) it is only cut into pieces.
    pub(crate) fn write_captured(&mut self, prefix: Option<&str>, text: &[u8], suffix: &str) {
        if Level::Warning < self.level {
            return;
        }
        let head =
            prefix.map(|prefix| format!("{}{prefix}\"", self.head(Level::Warning, "(null)(), line 0: ")));
        let (head, tail) = head.as_deref().map_or(("", ""), |head| (head, "\""));
        // Here, unlike elsewhere, php-fpm counts the newline.
        let room = self.limit.saturating_sub(head.len() + tail.len() + 1).max(1);
        let pieces = text.chunks(room).collect::<Vec<_>>();
        for (index, piece) in pieces.iter().enumerate() {
            let suffix = if index + 1 == pieces.len() && prefix.is_some() { suffix } else { "" };
            let line = [head.as_bytes(), piece, tail.as_bytes()].concat();
            // The suffix is wrapped as well, in a line without quotes.
            let here = self.limit.saturating_sub(line.len() + 1).min(suffix.len());
            self.put_captured(&[line.as_slice(), &suffix.as_bytes()[..here], b"\n"].concat());
            if here < suffix.len() {
                let head = head.strip_suffix('"').unwrap_or(head);
                self.put_captured(format!("{head}{}\n", &suffix[here..]).as_bytes());
            }
        }
    }

    fn put_captured(&mut self, line: &[u8]) {
        match &mut self.target {
            Target::File { .. } if !self.to_stderr => self.put_to_file(line),
            Target::Syslog(syslog) if !self.to_stderr => {
                syslog.write(priority(Level::Warning), line.strip_suffix(b"\n").unwrap_or(line));
            }
            _ => drop(io::stderr().write_all(line)),
        }
    }
}

/// `…: No such file or directory (2)`.
fn ends_with_errno(text: &[u8]) -> bool {
    let number =
        text.strip_suffix(b")").map(|text| text.rsplit(|byte| *byte == b'(').next().unwrap_or_default());
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// `module(), line 12: `, where php-fpm names the function.
fn origin(place: &Location<'_>) -> String {
    let module = Path::new(place.file()).file_stem().unwrap_or_default().to_string_lossy();
    format!("{module}(), line {}: ", place.line())
}

/// syslog's numbers. php-fpm sends every line at the priority of `log_level`; here each line keeps its own.
fn priority(level: Level) -> i32 {
    match level {
        Level::Alert => 1,
        Level::Error => 3,
        Level::Warning => 4,
        Level::Notice => 5,
        Level::Debug => 7,
    }
}

/// php-fpm's sentence about an error log that cannot be opened.
pub(crate) fn cannot_open(path: &Path, error: &io::Error) -> String {
    format!("failed to open error_log ({}): {}", path.display(), errno_text(error))
}

/// A text that somebody else wrote, safe for a log line: control characters are spelled out.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_to(path: &Path, level: Level, limit: usize) -> Log {
        let mut log = Log::default();
        log.configure(level, limit);
        log.use_file(log_file::open(path).unwrap(), path);
        log.announced = true;
        log.to_stderr = false;
        log
    }

    fn without_time(text: &str) -> Vec<String> {
        text.lines().map(|line| line.split_once("] ").map_or(line, |parts| parts.1).to_string()).collect()
    }

    #[test]
    fn lines_are_filtered_cut_and_marked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = log_to(&path, Level::Notice, 512);
        log.write(Level::Debug, "unseen");
        log.write(Level::Notice, "seen");
        log.write(Level::Alert, "x".repeat(600));
        log.write(Level::Alert, "x".repeat(2500));
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = without_time(&text);
        assert_eq!((lines.len(), lines[0].as_str()), (3, "NOTICE: seen"));
        assert!(lines[1].len() > 600 && lines[1].ends_with("xxxxxx"));
        let long = text.lines().nth(2).unwrap();
        assert!(long.len() == 511 && long.ends_with("xxx..."));
        assert_eq!(text.as_bytes()[0], b'[');
        assert_eq!(text.find(']'), Some("[21-Nov-2026 12:00:00".len()));
    }

    #[test]
    fn debug_lines_name_their_origin() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        log_to(&path, Level::Debug, 1024).write(Level::Warning, "w");
        let line = without_time(&std::fs::read_to_string(&path).unwrap()).remove(0);
        let expected = format!("WARNING: pid {}, log(), line ", std::process::id());
        assert!(line.starts_with(&expected) && line.ends_with(": w"), "{line}");
    }

    #[test]
    fn captured_lines_are_wrapped_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = log_to(&path, Level::Notice, 512);
        log.write_captured(Some("[pool a] child 1 said into stderr: "), &[b'y'; 700], ", pipe is closed");
        log.write_captured(None, &[b'z'; 513], "unused");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0].len(), 511);
        assert!(lines[0].ends_with("yyy\"") && lines[1].ends_with("yyy\", pipe is closed"));
        assert!(lines[1].contains("] WARNING: [pool a] child 1 said into stderr: \"y"));
        assert_eq!((lines[2].len(), lines[3]), (511, "zz"));
        let written = lines[0].matches('y').count() + lines[1].matches('y').count();
        assert_eq!(written, 700);
    }

    #[test]
    fn reopening_follows_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut log = Log::default();
        log.use_file(log_file::open(&path).unwrap(), &path);
        std::fs::rename(&path, &moved).unwrap();
        log.reopen().unwrap();
        log.write(Level::Debug, "below the level");
        assert!(path.exists() && std::fs::read(&path).unwrap().is_empty());
        std::fs::remove_dir_all(folder.path()).unwrap();
        let text = log.reopen().unwrap_err().text;
        assert!(String::from_utf8(text).unwrap().ends_with("log): No such file or directory (2)"));
    }

    #[test]
    fn texts_of_others_cannot_forge_lines() {
        assert_eq!(printable("a\n[x] é\u{7}"), "a\\n[x] é\\u{7}");
    }
}
