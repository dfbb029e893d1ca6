//! A trial start: whether this executable can serve with the configuration as it is now. Run as a child of a master that
//! is about to become it. Looks as `cornac check` does and starts PHP of each pool once; binds no address, accepts nothing,
//! and leaves nothing behind.
//!
//! The master reads what it prints: lines beginning with `cornac-trial:` are for it, the others for whoever asked.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use board::message::{Report, decode};
use config::{Config, Diagnostic};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sys::channel::{Channel, MAX_MESSAGE, Received};
use sys::process;

use crate::fork_server::{self, Engine, ForkServer};
use crate::inheritance::Sockets;
use crate::log::{Log, printable};
use crate::open::{Opening, open_pools};
use crate::pool::Pool;
use crate::start::find_parts;
use crate::{Invocation, examine, exit_code, handover, load};

/// Set for a trial.
pub(crate) const VARIABLE: &str = "CORNAC_TRIAL";
const PREFIX: &str = "cornac-trial:";
/// Pools that start PHP at the same time.
const AT_ONCE: usize = 4;
/// How long PHP's start-up may take; the master has a limit of its own for the whole.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Whether this process is one.
pub fn is_asked_for() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Tries; returns the exit code.
pub fn try_out(invocation: &Invocation) -> u8 {
    match attempt(invocation) {
        Ok(warnings) => {
            for (pool, warning) in warnings {
                say(&format!("{PREFIX} pool {pool}: {}", printable(&warning)));
            }
            say(&format!("{PREFIX} hands over {}", handover::VERSION));
            exit_code::OK
        }
        Err(problems) => {
            problems.iter().for_each(|problem| say(&printable(problem)));
            exit_code::CONFIGURATION
        }
    }
}

fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

type Warnings = Vec<(String, String)>;

fn attempt(invocation: &Invocation) -> Result<Warnings, Vec<String>> {
    let text = |problem: &Diagnostic| String::from_utf8_lossy(&problem.text).into_owned();
    let one = |problem: Diagnostic| vec![text(&problem)];
    let (_, config) =
        examine::look_over(invocation).map_err(|problems| problems.iter().map(text).collect::<Vec<_>>())?;
    let parts = find_parts(&config).map_err(one)?;
    let engine = Engine::open(parts.engine.clone()).map_err(one)?;
    let inherited_files = process::raise_file_limit().ok();
    let opening = Opening { invocation, config: &config, parts: &parts, inherited_files, binds: false };
    let all: Vec<usize> = (0..config.pools.len()).collect();
    let mut quiet = load::quiet_log();
    let pools = open_pools(&opening, &all, &mut Sockets::default(), &mut quiet).map_err(one)?;
    start_php(&config, pools, &engine, &mut quiet)
}

/// Of each pool once.
fn start_php(
    config: &Config,
    mut pools: Vec<Pool>,
    engine: &Engine,
    log: &mut Log,
) -> Result<Warnings, Vec<String>> {
    let (mut warnings, mut problems) = (Vec::new(), Vec::new());
    debug_assert_eq!(config.pools.len(), pools.len());
    for some in pools.chunks_mut(AT_ONCE) {
        let started: Vec<_> = some
            .iter_mut()
            .map(|pool| (pool.name.clone(), fork_server::start(pool, engine, &mut Vec::new())))
            .collect();
        for (name, server) in started {
            match server.and_then(|server| outcome(server, log)) {
                Ok(found) => warnings.extend(found.into_iter().map(|warning| (name.clone(), warning))),
                Err(reason) => problems.push(format!("[pool {name}] {reason}")),
            }
        }
    }
    if problems.is_empty() { Ok(warnings) } else { Err(problems) }
}

/// Waits until PHP is up or has failed, and ends it.
fn outcome(mut server: ForkServer, log: &mut Log) -> Result<Vec<String>, String> {
    let failed = "PHP's start-up failed".to_owned();
    let report =
        server.channel.as_ref().map_or_else(|| Err(failed.clone()), |channel| first_report(channel, &failed));
    let report = match server.last_steps.as_mut().and_then(|steps| steps.outcome()) {
        Some(Err(error)) => Err(format!("cannot be executed: {}: {}", error.step, error.source)),
        _ => report,
    };
    // Before it hears of workers it has nothing to lose.
    server.channel = None;
    let _ = process::signal_child(server.pid, crate::supervisor::SIGKILL);
    process::wait_for(server.pid);
    server.stderr.finish(server.pid, log);
    report
}

fn first_report(channel: &Channel, failed: &str) -> Result<Vec<String>, String> {
    let (until, mut buffer) = (Instant::now() + START_LIMIT, vec![0; MAX_MESSAGE]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut asked = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        if matches!(poll(&mut asked, timeout), Ok(0)) {
            return Err(format!("PHP did not start within {} seconds", START_LIMIT.as_secs()));
        }
        match channel.try_receive(&mut buffer) {
            Ok(Received::Message(length, _)) => match decode(&buffer[..length]) {
                Ok(Report::Started { warnings, .. }) => return Ok(warnings),
                Ok(Report::Refused { reason, .. }) => return Err(reason),
                Ok(Report::Log { text, .. }) => say(&printable(&text)),
                Ok(_) => {}
                Err(malformed) => return Err(malformed.to_string()),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(Received::Closed) | Err(_) => return Err(failed.to_owned()),
        }
    }
}

/// What a trial has printed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The version of the hand-over that it reads.
    pub(crate) hands_over: Option<u32>,
    /// Pool and what PHP warned of there.
    pub(crate) warnings: Vec<(String, String)>,
    pub(crate) others: Vec<String>,
}

pub(crate) fn read(text: &str) -> Verdict {
    let mut verdict = Verdict::default();
    for line in text.lines() {
        let Some(word) = line.strip_prefix(PREFIX).map(str::trim_start) else {
            verdict.others.push(line.to_owned());
            continue;
        };
        if let Some(version) = word.strip_prefix("hands over ") {
            verdict.hands_over = version.trim().parse().ok();
        } else if let Some((pool, warning)) =
            word.strip_prefix("pool ").and_then(|rest| rest.split_once(": "))
        {
            verdict.warnings.push((pool.to_owned(), warning.to_owned()));
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_trial_says() {
        let text =
            "oops\ncornac-trial: pool a b: no: x\ncornac-trial: later word\ncornac-trial: hands over 1\n";
        let expected = Verdict {
            hands_over: Some(1),
            warnings: vec![("a b".into(), "no: x".into())],
            others: vec!["oops".into()],
        };
        assert_eq!(read(text), expected);
        assert_eq!(read("NOTICE: test is successful\n").hands_over, None);
        assert_eq!(read("cornac-trial: hands over x\n").hands_over, None);
    }
}
