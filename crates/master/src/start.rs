//! The way up, a list of steps in php-fpm's order: configuration, PHP and engine, limits, background, identities,
//! scoreboards, sockets. Then the supervisor takes over. What fails is said, and nothing is left behind.

use std::path::PathBuf;
use std::time::Duration;

use config::{Config, Diagnostic, Global, Level};
use plan::Plan;
use plan::timeouts::Timeouts;
use sys::daemon::{self, Launcher, Outcome, Side};
use sys::process::{self, Limit};
use sys::signals::{self, Signals};
use sys::{stdio, title, users};

use crate::fork_server::{Engine, core_limit, core_number};
use crate::handover::Handover;
use crate::inheritance::{HandedIn, Sockets};
use crate::load::{self, system_error};
use crate::log::{Log, errno_text};
use crate::open::{Opening, open_pools};
use crate::pid_file::PidFile;
use crate::poller::{Poller, Source};
use crate::reexec::{Origin, Predecessor};
use crate::remains::Remains;
use crate::settings::settings;
use crate::socket::bring_in_line;
use crate::supervisor::{EARLY_SIGNALS, SIGNALS, Supervisor};
use crate::systemd::Systemd;
use crate::{Invocation, exit_code, php};

/// How long the launcher waits for the master: longer than any start-up of PHP may take, which php-fpm has behind it
/// when its launcher begins to wait its 10 s.
const PATIENCE: Duration = Duration::from_secs(75);

/// Runs the master until its end; returns the exit code, in the launcher too.
pub fn run(invocation: &Invocation) -> u8 {
    let handover = Handover::find();
    let handed = HandedIn::claim();
    let mut log = Log::default();
    log.explain(invocation.explain);
    let predecessor = Predecessor::look();
    if predecessor.as_ref().is_some_and(|image| image.background) {
        log.stderr_is_the_log();
    }
    if let Err(code) = prepare_process(&mut log) {
        return code;
    }
    let Some(config) = load::load(invocation, &mut log) else { return exit_code::CONFIGURATION };
    let mut launcher = None;
    match bring_up(invocation, config, Inheritance { predecessor, handed, handover }, log, &mut launcher) {
        Up::Running(supervisor) => supervisor.run(),
        Up::Launcher(code) => code,
        Up::Failed(mut log, diagnostic) => {
            log.diagnose(&diagnostic);
            log.write(Level::Error, "FPM initialization failed");
            launcher.into_iter().for_each(|launcher: Launcher| launcher.tell(exit_code::CONFIGURATION));
            exit_code::CONFIGURATION
        }
    }
}

enum Up {
    Running(Box<Supervisor>),
    /// We are the process that was called; the master runs, or not, in the background.
    Launcher(u8),
    Failed(Log, Diagnostic),
}

/// Waits with the signals, then as [`settle_streams`].
fn prepare_process(log: &mut Log) -> Result<(), u8> {
    signals::block(&EARLY_SIGNALS).map_err(|error| cannot_prepare(&error, log))?;
    settle_streams(log)
}

/// Standard streams, before anything is read. `Err`: an exit code, and it has been said why.
pub(crate) fn settle_streams(log: &mut Log) -> Result<(), u8> {
    stdio::fill_gaps()
        .and_then(|()| signals::ignore_sigpipe())
        .and_then(|()| stdio::detach_stdin_stdout())
        .map_err(|error| cannot_prepare(&error, log))
}

fn cannot_prepare(error: &std::io::Error, log: &mut Log) -> u8 {
    log.write(Level::Error, format!("failed to init stdio: {}", errno_text(error)));
    exit_code::SOFTWARE
}

/// What was there before us.
struct Inheritance {
    predecessor: Option<Predecessor>,
    handed: HandedIn,
    handover: Option<Handover>,
}

fn bring_up(
    invocation: &Invocation,
    config: Config,
    inheritance: Inheritance,
    mut log: Log,
    launcher: &mut Option<Launcher>,
) -> Up {
    let Inheritance { predecessor, handed, handover } = inheritance;
    let Handover { messages, control, waiting, generations } = handover.unwrap_or_default();
    let remains = Remains::take(messages, generations);
    let parts = match find_parts(&config).and_then(|parts| limit_master(&config.global).map(|()| parts)) {
        Ok(parts) => parts,
        Err(diagnostic) => return Up::Failed(log, diagnostic),
    };
    let origin = Origin::trace(invocation, config.global.daemonize, predecessor.as_ref());
    if !origin.background {
        log.keep_stderr();
    } else if predecessor.is_none() {
        match go_to_background(&mut log) {
            Ok(Ok(pipe)) => *launcher = Some(pipe),
            Ok(Err(code)) => return Up::Launcher(code),
            Err(diagnostic) => return Up::Failed(log, diagnostic),
        }
    }
    let pid_path = config.global.pid.clone().filter(|path| !path.as_os_str().is_empty());
    let reloaded = predecessor.is_some();
    let pid_file = pid_path.clone().filter(|_| reloaded).and_then(PidFile::left);
    let prepared =
        settle_master(&config.global, &mut log).and_then(|()| watch_signals()).and_then(|watched| {
            let own = predecessor.map_or_else(Vec::new, |image| image.sockets);
            // A pool takes at least two descriptors of ours, a worker whose output is caught three; where the limit
            // cannot be raised, it stays.
            let inherited_files = process::raise_file_limit().ok();
            let engine = Engine::open(parts.engine.clone())?;
            let opening =
                Opening { invocation, config: &config, parts: &parts, inherited_files, binds: true };
            let all: Vec<usize> = (0..config.pools.len()).collect();
            let env = |name: &[u8]| config::Host::env(&config::System, name);
            let mut sockets = Sockets::inherit(&env, &own, handed, &mut log);
            sockets.note_addresses(&config.pools);
            let opened = open_pools(&opening, &all, &mut sockets, &mut log);
            sockets.close_unmatched(&mut log);
            let opened = opened.and_then(|pools| sockets.check_idle_exit(&config.global).map(|()| pools));
            let pools = opened.inspect_err(|_| sockets.unlink())?;
            sockets.close_unused();
            if sockets.stored() > 0 {
                // They were made for the configuration as it was then.
                let changed = config.pools.iter().flat_map(|pool| bring_in_line(pool, &sockets, &mut log));
                changed.collect::<Vec<_>>().iter().for_each(|problem| log.diagnose(problem));
            }
            Ok((watched, (pools, sockets, inherited_files, engine)))
        });
    let ((signals, poller), (mut pools, sockets, inherited_files, engine)) = match prepared {
        Ok(prepared) => prepared,
        Err(diagnostic) => return Up::Failed(log, diagnostic),
    };
    for pool in &mut pools {
        if let Some(mailbox) = remains.mailbox(&pool.config.name) {
            pool.mailbox = mailbox;
        }
    }
    title::set(format!("php-fpm: master process ({})", invocation.config.display()).as_bytes());
    let mut supervisor = Box::new(Supervisor {
        log,
        plan: Plan::new(settings(&config, reloaded)),
        timeouts: Timeouts::default(),
        roster: pools.iter().zip(0..).map(|(pool, id)| (pool.config.name.clone(), id)).collect(),
        pools: pools.into_iter().collect(),
        sockets,
        inherited_files,
        asks: Vec::new(),
        global: config.global.clone(),
        reload: None,
        parting_until: None,
        step_forward_at: None,
        origin,
        systemd: Systemd::new(&config.global),
        control: Default::default(),
        upgrade: Default::default(),
        remains: Default::default(),
        engine,
        signals,
        poller,
        pid_path,
        pid_file,
        launcher: launcher.take(),
        hears_workers: false,
        events: Default::default(),
        outcome: None,
    });
    supervisor.pools.ids().into_iter().for_each(|pool| supervisor.limit_requests(pool));
    supervisor.sample_queues();
    supervisor.take_control(control);
    supervisor.take_waiting(waiting);
    supervisor.take_remains(remains);
    Up::Running(supervisor)
}

/// What must be installed.
pub(crate) struct Parts {
    pub(crate) engine: PathBuf,
    /// The PHP executable of each pool.
    pub(crate) executables: Vec<PathBuf>,
}

pub(crate) fn find_parts(config: &Config) -> Result<Parts, Diagnostic> {
    let configured = |pool: &config::Pool| pool.php_binary.clone().or(config.global.php_binary.clone());
    let executables = config.pools.iter().map(|pool| php::find_executable(configured(pool).as_deref()));
    Ok(Parts { executables: executables.collect::<Result<_, _>>()?, engine: php::find_engine()? })
}

pub(crate) fn limit_master(global: &Global) -> Result<(), Diagnostic> {
    let told = |name: &str, call: &str, value: i32| {
        let advice = format!("Please check your system limits or decrease {name}");
        let text = format!("failed to set {name} for this pool. {advice}. setrlimit({call}, {value})");
        move |source: std::io::Error| system_error(text, &source)
    };
    if let Some(files) = u64::try_from(global.rlimit_files).ok().filter(|files| *files > 0) {
        let failed = told("rlimit_files", "RLIMIT_NOFILE", global.rlimit_files);
        process::limit_files(Limit::To(files)).map_err(failed)?;
    }
    if let Some(limit) = core_limit(global.rlimit_core) {
        let value = core_number(global.rlimit_core);
        process::limit_core(limit).map_err(told("rlimit_core", "RLIMIT_CORE", value))?;
    }
    Ok(())
}

/// `Ok(Ok)`: we are the master now. `Ok(Err)`: we were the launcher, and this is its exit code.
fn go_to_background(log: &mut Log) -> Result<Result<Launcher, u8>, Diagnostic> {
    let side = daemon::daemonize(PATIENCE).map_err(|source| system_error("failed to daemonize", &source))?;
    let outcome = match side {
        Side::Master(launcher) => return Ok(Ok(launcher)),
        Side::Launcher(outcome) => outcome,
    };
    match &outcome {
        Outcome::Success => {
            let text = "I received a valid acknowledge from the master process, I can exit without error";
            log.write(Level::Debug, text);
        }
        Outcome::Failure(_) => log.write(Level::Debug, "The master process returned an error !"),
        Outcome::Silent => log.write(Level::Error, "no data have been read from pipe"),
        Outcome::TimedOut => {
            let text = "the master process didn't send back its status (via the pipe to the calling process)";
            log.write(Level::Error, text);
        }
        Outcome::Select(error) => log.write(Level::Error, format!("failed to select: {}", errno_text(error))),
        Outcome::Read(error) => {
            log.write(Level::Error, format!("failed to read from pipe: {}", errno_text(error)))
        }
    }
    Ok(Err(match outcome {
        Outcome::Success => exit_code::OK,
        Outcome::Failure(code) => code,
        _ => exit_code::SOFTWARE,
    }))
}

/// Session, priority, orphans.
fn settle_master(global: &Global, log: &mut Log) -> Result<(), Diagnostic> {
    daemon::own_session();
    match global.process_priority {
        Some(_) if !users::is_root() => {
            let text = "'process.priority' directive is ignored when FPM is not running as root";
            log.write(Level::Notice, text);
        }
        Some(nice) => process::set_priority(nice)
            .map_err(|source| system_error("Unable to set priority for the master process", &source))?,
        None => {}
    }
    process::adopt_orphans().map_err(|source| system_error("prctl(PR_SET_CHILD_SUBREAPER)", &source))
}

fn watch_signals() -> Result<(Signals, Poller), Diagnostic> {
    let watched = || {
        let signals = Signals::collect(&SIGNALS)?;
        let poller = Poller::new()?;
        poller.watch(&signals, Source::Signals)?;
        Ok((signals, poller))
    };
    watched().map_err(|source| system_error("failed to init signals", &source))
}
