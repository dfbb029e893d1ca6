//! What the plan has the master do.

use config::Level;

use crate::PoolId;
use crate::manager::Why;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write a log line.
    Log(Level, String),
    /// Execute the pool's fork server.
    StartServer(PoolId),
    /// Close the channel to the fork server: it ends.
    CloseServer(PoolId),
    /// SIGKILL the fork server.
    KillServer(PoolId),
    /// Order a worker into a slot.
    ForkWorker {
        /// The pool.
        pool: PoolId,
        /// The free slot.
        slot: u32,
    },
    /// Send a signal to a worker. SIGQUIT asks it to finish, however that is done: no script is to notice.
    SignalWorker {
        /// Its pool.
        pool: PoolId,
        /// Its slot.
        slot: u32,
        /// Signal number.
        signal: i32,
    },
    /// Read the pool's scoreboard and feed `Looked`.
    Look {
        /// The pool.
        pool: PoolId,
        /// What for.
        why: Why,
    },
    /// Look what all pools do, and feed `Surveyed`.
    Survey,
    /// Feed `Looked` with `Why::Shortage` once, when so many workers are occupied.
    Arm {
        /// The pool.
        pool: PoolId,
        /// At least 1.
        occupied: u32,
    },
    /// Feed `Looked` with `Why::Queue` once, when a connection waits on the pool's socket.
    WatchQueue(PoolId),
    /// A graceful end of the pool: nobody new is let in where its socket is ours, workers that are asked to finish take
    /// what is queued first. Feed `Queued`.
    Drain(PoolId),
    /// Feed `Queued`.
    CountQueue(PoolId),
    /// The pool's limit held back a worker: count it in its scoreboard.
    CountSaturation(PoolId),
    /// Put the backtrace of a worker's request into the slow log.
    Trace {
        /// Its pool.
        pool: PoolId,
        /// Its slot.
        slot: u32,
        /// Which of its requests: another one by now is none of the slow log's business.
        request: u64,
    },
    /// All fork servers are up: write the pid file, announce the start, then feed `Announced`.
    Announce,
    /// Tell whoever supervises us that all is ready.
    TellReady,
    /// Tell whoever supervises us that we stop, in these words.
    TellStopping(&'static str),
    /// Open the logs again, and feed `AccessLogsReopened` if there are access logs.
    ReopenLogs,
    /// Look whether the configuration can be used, prepare what is new, and feed `ReloadPrepared` or `ReloadRefused`.
    CheckReload,
    /// All new pools are up: what was prepared counts from now on.
    CommitReload,
    /// The old workers have been asked to finish: feed `Parted` when they have all heard it.
    AwaitParting,
    /// A new pool could not start: drop what was prepared.
    AbandonReload,
    /// Try the executable as it is now beside what serves, and feed `TrialPassed` or `TrialFailed`.
    TryProgram,
    /// Execute it with everything that runs handed on, and feed `TrialFailed` if that fails.
    HandOver,
    /// The pool's socket need not be watched any more.
    Unwatch(PoolId),
    /// The pool's workers are about to be asked to finish for good. Feed `Queued`: 0 if another generation serves who waits.
    Retire(PoolId),
    /// Nothing of the pool runs any more.
    Forget(PoolId),
    /// All is stopped for another program: execute it.
    Execute,
    /// The start failed: leave nothing behind and end.
    Fail {
        /// The configuration's or the PHP executable's fault rather than PHP's own failure.
        configuration: bool,
    },
    /// All is stopped: remove pid file and sockets and end with success.
    Exit,
}
