//! What the plan is told.

use crate::exit::Exit;
use crate::idle::Survey;
use crate::manager::{Look, Why};
use crate::{Next, PoolId};

/// A request to the master by signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM or SIGINT, by its number: end at once.
    Terminate(i32),
    /// SIGQUIT: finish what runs, then end.
    Finish,
    /// SIGUSR1: open the logs again.
    Reopen,
    /// SIGUSR2 or SIGHUP, by its number, or a command: go on with the configuration as it is now.
    Reload(Option<i32>),
    /// Go on as the executable as it is now.
    Upgrade,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Sockets and scoreboards are there: bring the fork servers up.
    Begin,
    /// The start is announced (pid file, launcher, `fpm is running`).
    Announced,
    /// A fork server's PHP is up.
    ServerStarted(PoolId),
    /// A fork server said why it cannot start; its process ends next.
    ServerRefused {
        /// Which.
        pool: PoolId,
        /// One sentence.
        reason: String,
        /// The configuration or the PHP executable is at fault.
        configuration: bool,
    },
    /// A fork server could not even be executed; no process is left of it.
    ServerNotStarted {
        /// Which.
        pool: PoolId,
        /// One sentence.
        reason: String,
    },
    /// A fork server's process has been collected. What it reported before was fed before.
    ServerDied {
        /// Which.
        pool: PoolId,
        /// Its process id.
        pid: u32,
        /// How it ended.
        exit: Exit,
    },
    /// A worker lives.
    Forked {
        /// Its pool.
        pool: PoolId,
        /// Its slot.
        slot: u32,
        /// Its process id.
        pid: u32,
    },
    /// `fork` failed.
    ForkFailed {
        /// The pool.
        pool: PoolId,
        /// The slot that stays empty.
        slot: u32,
        /// Text and number of the error.
        cause: String,
    },
    /// A worker has been collected, by its fork server or (adopted) by the master.
    WorkerExited {
        /// Its pool.
        pool: PoolId,
        /// Its slot.
        slot: u32,
        /// How it ended.
        exit: Exit,
        /// It had begun a request: what ended it may be the request's doing.
        served: bool,
    },
    /// A signal has stopped a fork server, or it goes on.
    ServerPaused {
        /// Which.
        pool: PoolId,
        /// Its process id.
        pid: u32,
        /// The signal; `None`: it goes on.
        signal: Option<i32>,
    },
    /// A signal has stopped a worker, or it goes on.
    WorkerPaused {
        /// Its pool.
        pool: PoolId,
        /// Its slot.
        slot: u32,
        /// The signal; `None`: it goes on.
        signal: Option<i32>,
    },
    /// A worker is gone and nobody saw how: its fork server died between collecting and reporting it.
    WorkerLost {
        /// Its pool.
        pool: PoolId,
        /// Its slot.
        slot: u32,
    },
    /// The scoreboard of a pool has been read.
    Looked {
        /// The pool.
        pool: PoolId,
        /// What for.
        why: Why,
        /// What it says.
        look: Look,
    },
    /// What `Survey` asked for.
    Surveyed(Survey),
    /// So many connections wait on a pool's listening socket and are still to be served.
    Queued {
        /// The pool.
        pool: PoolId,
        /// How many.
        waiting: u32,
    },
    /// The access logs are new files: workers hold the old ones.
    AccessLogsReopened,
    /// A signal to the master.
    Asked(Request),
    /// What `CheckReload` found can be used: the new pools can be started.
    ReloadPrepared(Next),
    /// It cannot; that has been said.
    ReloadRefused,
    /// No worker that was asked to finish can take another request.
    Parted,
    /// Another program shall take this process over that can adopt no workers: stop them, then execute it.
    ReplaceProgram,
    /// The executable as it is now would serve, and take over what runs.
    TrialPassed,
    /// It would not, or could not be executed; that has been said.
    TrialFailed,
    /// `next_deadline` has passed (too early is harmless).
    DeadlineReached,
}
