//! Commands to a running master: finds its control socket, makes sure who listens there, says what is wanted and shows the
//! answer.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use config::{Global, System};
use master::Invocation;
use master::control::protocol::{Answer, LONGEST_ANSWER, MOST_LINES, Request};
use master::exit_code;
use sys::{peer, users};

/// Between two attempts while the master's queue is full.
const PAUSE: Duration = Duration::from_millis(50);
/// More is not believed to be an answer.
const LONGEST: usize = (MOST_LINES + 8) * LONGEST_ANSWER;

/// Where the master is looked for.
#[derive(Debug)]
pub(crate) struct Reach {
    /// Rather than where the configuration has it.
    pub(crate) socket: Option<PathBuf>,
    pub(crate) invocation: Invocation,
    /// How long the whole may take.
    pub(crate) patience: Duration,
}

/// Carries the request out; returns the exit code.
pub(crate) fn carry_out(reach: &Reach, request: &Request) -> u8 {
    match converse(reach, request) {
        Ok(code) => code,
        Err(reason) => {
            say(&mut io::stderr(), &format!("cornac: {reason}"));
            exit_code::UNAVAILABLE
        }
    }
}

fn say(to: &mut dyn Write, line: &str) {
    let _ = to.write_all(format!("{line}\n").as_bytes());
}

fn converse(reach: &Reach, request: &Request) -> Result<u8, String> {
    let until = Instant::now() + reach.patience;
    let (path, global) = find(reach)?;
    let mut stream = connect(&path, until).map_err(|error| explain(&path, &error, &global))?;
    check_listener(&stream, &path)?;
    let unheard = |error: io::Error| format!("the master at {} cannot be asked: {error}", path.display());
    stream.set_nonblocking(false).map_err(unheard)?;
    send(&mut stream, &request.encode(), until).map_err(unheard)?;
    let mut replies = Replies { stream, text: Vec::new(), until, patience: reach.patience };
    let mut taken = false;
    loop {
        match replies.next(taken)? {
            Answer::Taken if !request.waits() => return Ok(exit_code::OK),
            Answer::Taken => taken = true,
            Answer::Note(text) => say(&mut io::stdout(), &text),
            Answer::Error(text) => say(&mut io::stderr(), &format!("cornac: {text}")),
            Answer::Done => return Ok(exit_code::OK),
            Answer::Refused => return Ok(exit_code::REFUSED),
        }
    }
}

/// The socket's path, and the global settings as far as they could be read.
fn find(reach: &Reach) -> Result<(PathBuf, Global), String> {
    let Invocation { config, options, .. } = &reach.invocation;
    if let Some(path) = &reach.socket {
        return Ok((path.clone(), Global::default()));
    }
    let loaded = config::load(config, options, &System);
    if let Some(path) = loaded.global.control_path() {
        return Ok((path.to_path_buf(), loaded.global));
    }
    let shown = config.display();
    Err(match loaded.config {
        Some(_) => format!(
            "there is no control socket: {shown} has neither control.socket nor pid, or switches it off"
        ),
        None => {
            let first =
                loaded.diagnostics.first().map(|found| String::from_utf8_lossy(&found.text).into_owned());
            let reason = first.unwrap_or_default();
            format!(
                "where the control socket is cannot be read from {shown}: {reason}; name it with --socket"
            )
        }
    })
}

fn connect(path: &Path, until: Instant) -> io::Result<UnixStream> {
    loop {
        match peer::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                std::thread::sleep(PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// Whoever may write to the folder can listen there: only root and our own user are believed.
fn check_listener(stream: &UnixStream, path: &Path) -> Result<(), String> {
    let shown = path.display();
    let who =
        peer::credentials(stream).map_err(|error| format!("who listens at {shown} is unknown: {error}"))?;
    if who.uid == 0 || who.uid == users::own_id() {
        return Ok(());
    }
    let advice = "call this command as that user if the master is meant to be his";
    Err(format!("process {} of user {} listens at {shown} and is not believed; {advice}", who.pid, who.uid))
}

/// Why nobody was reached, and what to do.
fn explain(path: &Path, error: &io::Error, global: &Global) -> String {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => match running(global) {
            Some((pid, program)) => format!(
                "process {pid} ({program}) runs and has no control socket at {shown}; if it is php-fpm, or was started \
                 with another control.socket, kill -USR2 {pid} reloads it"
            ),
            None => format!("no master runs: there is no control socket at {shown}"),
        },
        io::ErrorKind::ConnectionRefused => {
            format!("no master runs: nobody listens at {shown}, which one that was killed has left")
        }
        io::ErrorKind::PermissionDenied => {
            format!("permission denied at {shown}: only root and the master's own user may command it")
        }
        io::ErrorKind::WouldBlock => format!("the master at {shown} takes nobody in: too many wait already"),
        _ => format!("the control socket at {shown} cannot be used: {error}"),
    }
}

/// The process that the pid file names, and what it executes.
fn running(global: &Global) -> Option<(u32, String)> {
    let path = global.pid.as_deref().filter(|path| !path.as_os_str().is_empty())?;
    let pid: u32 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = words.split(|byte| *byte == 0).next().filter(|word| !word.is_empty())?;
    let shown = OsStr::from_bytes(first).to_string_lossy().chars().filter(|c| !c.is_control()).collect();
    Some((pid, shown))
}

fn send(stream: &mut UnixStream, request: &[u8], until: Instant) -> io::Result<()> {
    stream.set_write_timeout(Some(left(until)))?;
    stream.write_all(request)
}

/// A timeout of zero would mean none.
fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// The answer, line by line.
struct Replies {
    stream: UnixStream,
    text: Vec<u8>,
    until: Instant,
    patience: Duration,
}

impl Replies {
    /// `taken`: the master has said that it is at it.
    fn next(&mut self, taken: bool) -> Result<Answer, String> {
        let state = if taken { "took the request and" } else { "has not taken the request and" };
        let mut buffer = [0; 4096];
        loop {
            while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                if let Some(answer) = Answer::parse(&line[..end]) {
                    return Ok(answer);
                }
            }
            let read = self
                .stream
                .set_read_timeout(Some(left(self.until)))
                .and_then(|()| self.stream.read(&mut buffer));
            match read {
                Ok(0) => return Err(format!("the master {state} ended the conversation; its log says more")),
                Ok(read) => self.text.extend(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let seconds = self.patience.as_secs();
                    return Err(format!("the master {state} has not answered within {seconds} seconds"));
                }
                Err(error) => return Err(format!("the master {state} cannot be heard: {error}")),
            }
            if self.text.len() > LONGEST {
                return Err("what listens there gives no answer of a master".to_owned());
            }
        }
    }
}
