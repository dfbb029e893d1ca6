//! The messages between master and fork server, and the description of a pool that a fork server starts
//! from. Both ends are built together, so the encoding (postcard) carries no version.
//!
//! ```text
//! master                               fork server
//!   │  exec, with CONTROL … SPEC at fixed descriptors
//!   │ ◄─────────────────────────────── Started | Refused
//!   │  Fork{slot} (+ stdout, stderr) ─►
//!   │ ◄─────────────────────────────── Forked{slot, pid} | ForkFailed{slot}
//!   │ ◄─────────────────────────────── Exited{slot, pid, …}
//!   │ ◄─────────────────────────────── Waiting
//!   │  Retire ───────────────────────►
//!   │  PrepareTraces; Trace{slot, …} ► (only where the master may not read workers itself)
//!   │ ◄─────────────────────────────── Trace{slot, …}
//!   │  closes the channel ───────────► ends (its workers are drained by signals)
//! ```

use serde::{Deserialize, Serialize};
use trace::{Layout, Trace};

/// Raised whenever a message or the scoreboard changes: a master that took over another one's fork servers speaks with
/// those of its own version only, and lets the others alone until they end.
pub const VERSION: u32 = 1;

/// Descriptors that a fork server finds open after exec; everything else the master has is close-on-exec.
pub mod fds {
    use std::os::fd::RawFd;
    /// The channel to the master.
    pub const CONTROL: RawFd = 3;
    /// The pool's listening socket.
    pub const LISTENER: RawFd = 4;
    /// The scoreboard's shared memory.
    pub const BOARD: RawFd = 5;
    /// The encoded `PoolSpec`, a file at offset 0.
    pub const SPEC: RawFd = 6;
    /// The engine's library: preloaded through this descriptor, so that the pool's user needs no way to the
    /// folder it lies in.
    pub const ENGINE: RawFd = 7;
    /// The file the pool's access log goes to, where the description names a format for it.
    pub const ACCESS_LOG: RawFd = 8;
    /// The scoreboard that the status page shows, where it is another pool's.
    pub const STATUS_BOARD: RawFd = 9;
    /// A pipe that wakes the master: a byte is written by the worker that finds too many others occupied.
    pub const WAKE: RawFd = 10;
    /// The mailbox's end that the fork server holds.
    pub const MAIL_SERVER: RawFd = 11;
    /// The mailbox's end that the workers hold.
    pub const MAIL_WORKERS: RawFd = 12;
}

/// Environment variable that carries the task for a preloaded engine: `pool`, `info`, `modules` or `version`.
/// Without it the engine steps aside and the host program runs as usual.
pub const TASK_VARIABLE: &str = "CORNAC_ENGINE_TASK";

/// Environment variable with the encoded `PhpOptions`, in hexadecimal digits, for the tasks without a pool.
pub const PHP_OPTIONS_VARIABLE: &str = "CORNAC_ENGINE_PHP";

/// What a worker writes to its captured stderr after each request: php-fpm's marker, too, so that a line
/// without an end is completed.
pub const END_OF_REQUEST: &[u8] = b"\0fscf\0";

/// Options of PHP's own start-up, from the command line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhpOptions {
    /// `-c`: a php.ini or the folder it lies in.
    pub ini_path: Option<Vec<u8>>,
    /// `-n`: no php.ini and no scan folder.
    pub no_ini: bool,
    /// `-d`: definitions `name[=value]` in the order given.
    pub defines: Vec<Vec<u8>>,
    /// `-e`: extended information for debuggers.
    pub extended_info: bool,
}

/// One `php_value`, `php_flag`, `php_admin_value` or `php_admin_flag` line; flags as `1` or the empty text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IniEntry {
    /// The ini setting.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// From a `php_admin_*` line: scripts cannot change it.
    pub admin: bool,
}

/// What the pool's access log takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessLog {
    /// `access.format`, checked.
    pub format: Vec<u8>,
    /// `access.suppress_path[]`.
    pub suppressed: Vec<Vec<u8>>,
}

/// The ping page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ping {
    /// `ping.path`.
    pub path: Vec<u8>,
    /// `ping.response`.
    pub response: Vec<u8>,
}

/// A user to become after start-up, for a pool whose start-up runs as root.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Everything a fork server needs to know of its pool. Texts are bytes as the configuration holds them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PoolSpec {
    /// Name of the pool.
    pub pool: Vec<u8>,
    /// The master's process id: whoever finds another parent knows the master is gone.
    pub master_pid: u32,
    /// The kernel's name for the master. All its processes carry it, as php-fpm's do, whatever executable hosts PHP.
    pub process_name: Vec<u8>,
    /// PHP's start-up options.
    pub php: PhpOptions,
    /// `php_*[…]` lines in the order of the file.
    pub ini: Vec<IniEntry>,
    /// Clear the environment in the worker.
    pub clear_env: bool,
    /// Variables to set, in this order: the `env[…]` lines from the last to the first, already resolved, then USER
    /// and HOME unless set.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Folder to change root to after start-up (the fork server keeps the right to do so until then).
    pub chroot: Option<Vec<u8>>,
    /// Folder to change to, inside the chroot.
    pub chdir: Option<Vec<u8>>,
    /// `apparmor_hat`.
    pub apparmor_hat: Option<Vec<u8>>,
    /// Rights to take on after start-up; `None`: the master has already done so before exec.
    pub identity: Option<Identity>,
    /// The workers may be traced and dump core: `process.dumpable`, or nothing that would forbid it has happened.
    pub dumpable: bool,
    /// `pm.max_requests`; 0 = no limit.
    pub max_requests: u64,
    /// `security.limit_extensions`; empty = all.
    pub limit_extensions: Vec<Vec<u8>>,
    /// `listen.allowed_clients` split at commas, `None` = everybody (and for unix sockets).
    pub allowed_clients: Option<Vec<Vec<u8>>>,
    /// The listening socket is TCP.
    pub tcp: bool,
    /// Each `Fork` carries the worker's stdout and stderr; else both are /dev/null.
    pub capture_output: bool,
    /// Deadline of a silent or stalling FastCGI peer in milliseconds; 0 = none.
    pub read_timeout_ms: u64,
    /// The access log, if there is one: `ACCESS_LOG` is open.
    pub access_log: Option<AccessLog>,
    /// `pm.status_path`.
    pub status_path: Option<Vec<u8>>,
    /// The status page shows another pool: `STATUS_BOARD` is open.
    pub shows_other_board: bool,
    /// The ping page.
    pub ping: Option<Ping>,
    /// `log_limit`.
    pub log_limit: u32,
    /// The scoreboard counts occupied workers, and `WAKE` is open.
    pub wakes: bool,
    /// Lowest log level worth printing: 1 debug … 5 alert.
    pub log_level: u8,
}

/// Master to fork server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Fork a worker into this slot; with `capture_output` two descriptors come along: stdout, stderr.
    Fork {
        /// Index into the scoreboard.
        slot: u32,
    },
    /// Workers forked from now on write the access log to the descriptor that comes along.
    UseAccessLog,
    /// The master may not read the memory of this pool's workers: be ready to do it. Before the first `Fork`.
    PrepareTraces,
    /// Say whether PHP would start from the same files now; answered by `Report::Sources`.
    CheckSources,
    /// Another fork server takes over the parked connections: hand them to it, and take no new ones.
    Retire,
    /// No fork server follows: close each parked connection once it has been idle for a while.
    Drain,
    /// Read the backtrace of a worker's request; answered by `Report::Trace`.
    Trace {
        /// The worker's slot.
        slot: u32,
        /// Its process id.
        pid: u32,
        /// The request's start, as its slot has it.
        request: u64,
        /// Frames wanted.
        depth: u32,
    },
}

/// Fork server to master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// PHP is up; workers may be ordered.
    Started {
        /// `8.2.35`.
        php_version: String,
        /// Milliseconds the start-up took.
        took_ms: u32,
        /// Where to find the backtraces of its workers.
        layout: Layout,
        /// What PHP warned of meanwhile, such as extensions that could not be loaded.
        warnings: Vec<String>,
    },
    /// The pool cannot start. The sentences are for the log.
    Refused {
        /// What is wrong with what was found, one sentence.
        reason: String,
        /// It is the configuration's or the PHP binary's fault (exit 78), not a failure of PHP itself (exit 70).
        configuration: bool,
    },
    /// A worker lives.
    Forked {
        /// Its slot.
        slot: u32,
        /// Its process id.
        pid: u32,
    },
    /// `fork` failed.
    ForkFailed {
        /// The slot that stays empty.
        slot: u32,
        /// The error number.
        errno: i32,
    },
    /// A worker is gone, or a signal has stopped or continued it.
    Exited {
        /// Its slot.
        slot: u32,
        /// Its process id.
        pid: u32,
        /// Raw wait status as `waitpid` gives it.
        status: i32,
    },
    /// A request has come on a parked connection, and no worker waits.
    Waiting,
    /// A part of a backtrace, outwards, or the number of the error that prevented it.
    Trace {
        /// The worker's slot.
        slot: u32,
        /// Its process id.
        pid: u32,
        /// What was read.
        outcome: Result<Trace, i32>,
        /// Its next frames follow.
        more: bool,
    },
    /// The answer to `CheckSources`.
    Sources {
        /// They are not what they were when PHP started.
        changed: bool,
    },
    /// A child that is no worker of ours ended (an extension's start-up forked it).
    StrangerExited {
        /// Its process id.
        pid: u32,
        /// Raw wait status.
        status: i32,
    },
    /// A line for the error log.
    Log {
        /// 1 debug, 2 notice, 3 warning, 4 error, 5 alert.
        level: u8,
        /// The sentence, without time and level.
        text: String,
    },
}

/// A message that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("malformed message between master and fork server: {0}")]
pub struct Malformed(#[from] postcard::Error);

/// Encodes a message or a `PoolSpec`.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_stdvec(message).expect("messages hold only lengths, integers, texts and options")
}

/// Decodes a message or a `PoolSpec`.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Malformed> {
    Ok(postcard::from_bytes(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were() {
        let spec = PoolSpec {
            pool: b"www\xff".to_vec(),
            ini: vec![IniEntry { name: b"a".to_vec(), value: vec![], admin: true }],
            chroot: Some(b"/srv".to_vec()),
            apparmor_hat: Some(b"hat".to_vec()),
            ..PoolSpec::default()
        };
        assert_eq!(decode::<PoolSpec>(&encode(&spec)).unwrap(), spec);
        let report = Report::Exited { slot: 3, pid: 9, status: 139 };
        assert_eq!(decode::<Report>(&encode(&report)).unwrap(), report);
    }

    #[test]
    fn noise_is_an_error() {
        assert!(decode::<Report>(&[250, 1, 2, 3]).is_err());
        assert!(decode::<Order>(&[]).is_err());
    }
}
