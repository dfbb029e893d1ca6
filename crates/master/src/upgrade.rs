//! Upgrade: this process goes on as the executable as it is now, under the same process id, with the listening sockets and
//! their queues. The executable is tried first, as a child; whatever it cannot do there changes nothing. Then it is executed
//! with everything that runs handed on (`handover`), and lets that finish once its own workers serve (`remains`).
//!
//! ```text
//! TryProgram ─► child: -t ─(says so)─► TrialPassed ─► HandOver: exec ─► next image
//!                 │  └─(can adopt nobody: php-fpm)─► ReplaceProgram: workers finish, then exec
//!                 └─ fails, hangs: TrialFailed
//! ```

use std::ffi::OsString;
use std::fs;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use config::Level;
use plan::{Event, Exit, Request};
use sys::{inherited, process};

use crate::control::Ticket;
use crate::handover::{self, Handover};
use crate::inheritance;
use crate::load::system_error;
use crate::log::{errno_text, printable};
use crate::poller::Source;
use crate::pool::Pool;
use crate::reexec::{MARK, find_program};
use crate::reload::Outcome;
use crate::remains::{describe_capture, describe_mailbox};
use crate::supervisor::{SIGKILL, Supervisor};
use crate::{activation, capture, trial};

/// What the log says after the errors.
const GIVEN_UP: &str = "upgrade is given up; the program that runs goes on";
/// What php-fpm says to `-t`.
const PHP_FPM_SAYS: &str = "test is successful";
/// Bytes of a trial's output that are kept, and lines of it that are shown.
const MOST_OUTPUT: usize = 64 * 1024;
const MOST_LINES: usize = 32;

/// Upgrades asked for, and the trial under way.
#[derive(Debug, Default)]
pub(crate) struct Upgrade {
    /// Who wants to know how it ended.
    tickets: Vec<Ticket>,
    trial: Option<Trial>,
}

/// The new executable, tried.
#[derive(Debug)]
struct Trial {
    pid: u32,
    output: PipeReader,
    said: Vec<u8>,
    deadline: Instant,
    /// It had to be killed.
    hung: bool,
}

impl Trial {
    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = self.output.read(&mut buffer) {
            let room = MOST_OUTPUT.saturating_sub(self.said.len());
            self.said.extend(&buffer[..length.min(room)]);
        }
    }
}

impl Upgrade {
    /// When a trial has taken too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.trial.as_ref().filter(|trial| !trial.hung).map(|trial| trial.deadline)
    }
}

/// What tells an executable from another one under its name.
pub(crate) type Program = (u64, u64, i64, i64);

/// The one that this process executes.
pub(crate) fn running_program() -> Option<Program> {
    program_at("/proc/self/exe".as_ref())
}

fn program_at(path: &std::path::Path) -> Option<Program> {
    let facts = fs::metadata(path).ok()?;
    Some((facts.dev(), facts.ino(), facts.mtime(), facts.mtime_nsec()))
}

impl Supervisor {
    /// Carried out when the reloads before it are.
    pub(crate) fn ask_upgrade(&mut self, tickets: Vec<Ticket>) {
        self.upgrade.tickets.extend(tickets);
        self.feed(Event::Asked(Request::Upgrade));
    }

    /// Another executable lies where this one was started from.
    pub(crate) fn has_new_program(&self) -> bool {
        let found = find_program(self.origin.words.first()).ok();
        found.and_then(|path| program_at(&path)).is_some_and(|there| Some(there) != self.origin.program)
    }

    pub(crate) fn try_program(&mut self) {
        let path = match find_program(self.origin.words.first()) {
            Ok(path) => path,
            Err(problem) => {
                return self.upgrade_failed(vec![String::from_utf8_lossy(&problem.text).into_owned()]);
            }
        };
        let started = self.start_trial(&path);
        if let Err(error) = started {
            self.upgrade_failed(vec![format!(
                "{} cannot be executed: {}",
                path.display(),
                errno_text(&error)
            )]);
        }
    }

    fn start_trial(&mut self, path: &std::path::Path) -> io::Result<()> {
        let (output, writer) = capture::pipe()?;
        let mut command = Command::new(path);
        if let Some((name, words)) = self.origin.words.split_first() {
            command.arg0(name).args(words);
        }
        command.arg("-t").env(trial::VARIABLE, "1").stdin(Stdio::null());
        let mine: Vec<OsString> = std::env::vars_os().map(|(name, _)| name).filter(is_ours).collect();
        for name in &mine {
            command.env_remove(name);
        }
        command.stdout(writer.try_clone()?).stderr(writer);
        let child = command.process_group(0).spawn()?;
        drop(command);
        self.poller.watch(&output, Source::Trial)?;
        let deadline =
            Instant::now() + self.global.upgrade_timeout.duration().unwrap_or(Duration::from_secs(60));
        self.upgrade.trial = Some(Trial { pid: child.id(), output, said: Vec::new(), deadline, hung: false });
        Ok(())
    }

    pub(crate) fn hear_trial(&mut self) {
        if let Some(trial) = &mut self.upgrade.trial {
            let before = trial.said.len();
            trial.listen();
            if trial.said.len() == before {
                // Its end, or more than anybody wants to know.
                self.poller.forget(&trial.output);
            }
        }
    }

    /// A trial that takes too long is ended.
    pub(crate) fn hurry_trial(&mut self, now: Instant) {
        if let Some(trial) = self.upgrade.trial.as_mut().filter(|trial| !trial.hung && now >= trial.deadline)
        {
            trial.hung = true;
            let _ = process::signal_group(trial.pid, SIGKILL);
        }
    }

    /// The master ends.
    pub(crate) fn end_trial(&mut self) {
        if let Some(trial) = self.upgrade.trial.take() {
            let _ = process::signal_group(trial.pid, SIGKILL);
        }
    }

    /// A child of ours has ended: was it the trial?
    pub(crate) fn trial_ended(&mut self, pid: u32, exit: Exit) -> bool {
        let Some(mut trial) = self.upgrade.trial.take_if(|trial| trial.pid == pid) else { return false };
        trial.listen();
        self.poller.forget(&trial.output);
        match self.judge(&trial, exit) {
            Ok(true) => self.feed(Event::TrialPassed),
            Ok(false) => {
                let text = "the program that is to be executed can take no workers over: ours finish first";
                self.log.write(Level::Notice, text);
                self.systemd_reloading();
                let tickets = std::mem::take(&mut self.upgrade.tickets);
                let note = "another program is going to take over when all workers have finished".to_owned();
                self.answer(&tickets, &Outcome::Done(vec![note]));
                self.feed(Event::ReplaceProgram);
            }
            Err(errors) => self.upgrade_failed(errors),
        }
        true
    }

    /// Whether it takes over what runs.
    fn judge(&self, trial: &Trial, exit: Exit) -> Result<bool, Vec<String>> {
        let program =
            self.origin.words.first().map(|word| printable(&word.to_string_lossy())).unwrap_or_default();
        let text = String::from_utf8_lossy(&trial.said).into_owned();
        let verdict = trial::read(&text);
        let shown = verdict.others.iter().map(|line| printable(line)).filter(|line| !line.trim().is_empty());
        let failed = |what: String| {
            let head = format!("the trial of {program} failed: {what}");
            [head].into_iter().chain(shown.clone().take(MOST_LINES)).collect()
        };
        if trial.hung {
            let seconds = self.global.upgrade_timeout.0;
            return Err(failed(format!("it did not end within {seconds} seconds (upgrade_timeout)")));
        }
        if !exit.is_clean() {
            return Err(failed(format!("it exited {exit}")));
        }
        if verdict.hands_over.is_none() && !text.contains(PHP_FPM_SAYS) {
            return Err(failed("it is neither cornac nor php-fpm".to_owned()));
        }
        let serving = |pool: &str| {
            let id = self.roster.get(pool.as_bytes())?;
            self.pools.get(*id)
        };
        for (pool, warning) in &verdict.warnings {
            if serving(pool).is_some_and(|serving| !serving.warnings.contains(warning)) {
                return Err(failed(format!("[pool {pool}] PHP has started, but: {}", printable(warning))));
            }
        }
        Ok(verdict.hands_over.is_some_and(|version| version >= handover::VERSION))
    }

    fn upgrade_failed(&mut self, errors: Vec<String>) {
        errors.iter().for_each(|error| self.log.write(Level::Error, error));
        self.log.write(Level::Error, GIVEN_UP);
        let tickets = std::mem::take(&mut self.upgrade.tickets);
        self.answer(&tickets, &Outcome::Refused(errors));
        self.events.push_back(Event::TrialFailed);
        self.work_off();
    }

    /// Becomes the other program; comes back only if that fails, and then everything goes on.
    pub(crate) fn hand_over(&mut self) {
        self.systemd_reloading();
        self.drain_workers();
        let source = match self.describe_for_exec(&mut keep) {
            Ok(handover) => self.execute_with(&handover),
            Err(source) => source,
        };
        // Nobody else shall have what was meant for the next image.
        let _ = self.describe_for_exec(&mut close);
        self.systemd_reloaded();
        self.tie_stderr();
        let _ = process::raise_file_limit();
        let error = system_error("failed to upgrade: execvp() failed", &source);
        self.upgrade_failed(vec![String::from_utf8_lossy(&error.text).into_owned()]);
    }

    fn execute_with(&mut self, handover: &Handover) -> io::Error {
        let file = match handover.write().and_then(|file| inherited::keep_on_exec(&file).map(|()| file)) {
            Ok(file) => file,
            Err(error) => return error,
        };
        self.log.write(Level::Notice, crate::reexec::announcement(&self.origin.words));
        let value = format!("{}:{}", std::process::id(), file.as_raw_fd());
        self.try_execute(Some((handover::VARIABLE, value)))
    }

    fn describe_for_exec(
        &self,
        mark: &mut dyn FnMut(&dyn AsFd) -> io::Result<RawFd>,
    ) -> io::Result<Handover> {
        let mut handover = self.describe_all(mark)?;
        // A reload that has been asked for meanwhile is done by the start of the next image.
        let asks = self.asks.iter().flat_map(|ask| &ask.tickets);
        for ticket in self.upgrade.tickets.iter().chain(asks) {
            handover.waiting.extend(self.control.stream(*ticket).map(|stream| mark(stream)).transpose()?);
        }
        handover.control = match self.control.endpoint() {
            Some(endpoint) => Some((endpoint.path().as_os_str().as_bytes().to_vec(), mark(endpoint)?)),
            None => None,
        };
        Ok(handover)
    }

    /// The image before us was upgraded to this one: its commands wait for our workers.
    pub(crate) fn take_waiting(&mut self, waiting: Vec<RawFd>) {
        let streams = waiting.into_iter().filter_map(|number| inherited::take(number).ok());
        self.upgrade.tickets = streams.filter_map(|fd| self.take_waiting_peer(fd)).collect();
    }

    /// Our workers serve.
    pub(crate) fn upgrade_serves(&mut self) {
        if self.upgrade.trial.is_none() && self.reload.is_none() {
            let tickets = std::mem::take(&mut self.upgrade.tickets);
            let note = format!("cornac {} serves", env!("CARGO_PKG_VERSION"));
            self.answer_when_settled(&tickets, &Outcome::Done(vec![note]));
        }
    }
}

fn keep(fd: &dyn AsFd) -> io::Result<RawFd> {
    inherited::keep_on_exec(fd.as_fd()).map(|()| fd.as_fd().as_raw_fd())
}

fn close(fd: &dyn AsFd) -> io::Result<RawFd> {
    inherited::close_on_exec(fd.as_fd()).map(|()| fd.as_fd().as_raw_fd())
}

/// Variables that are for this process alone.
fn is_ours(name: &OsString) -> bool {
    let name = name.as_bytes();
    name == MARK.as_bytes()
        || name == handover::VARIABLE.as_bytes()
        || name == b"NOTIFY_SOCKET"
        || name.starts_with(inheritance::VARIABLE.as_bytes())
        || activation::VARIABLES.iter().any(|known| known.as_bytes() == name)
}

impl Pool {
    /// For the next image of this process.
    pub(crate) fn describe(
        &self,
        mark: &mut dyn FnMut(&dyn AsFd) -> io::Result<RawFd>,
    ) -> io::Result<handover::Generation> {
        let mut server = None;
        if let Some(ours) = &self.server {
            let channel = ours.channel.as_ref().map(|channel| mark(channel)).transpose()?;
            let [_, stderr] = describe_capture(Some(&ours.stderr), mark)?;
            server = Some(handover::Server { pid: ours.pid, channel, stderr });
        }
        let mut workers = Vec::new();
        for (slot, worker) in &self.workers {
            let [stdout, stderr] = describe_capture(worker.capture.as_ref(), mark)?;
            workers.push(handover::Worker { slot: *slot, pid: worker.pid, stdout, stderr });
        }
        Ok(handover::Generation {
            pool: self.config.name.clone(),
            decorated: self.config.decorate_workers_output,
            server,
            board: Some(mark(&self.board_fd)?),
            wake: self.wake.as_ref().map(|wake| mark(&wake.reader())).transpose()?,
            mailbox: describe_mailbox(&self.mailbox, mark)?,
            workers,
        })
    }
}
