//! The typed configuration: what the rest of cornac reads.
//!
//! One field per directive, named like it with `_` for `.`. Values are bytes: nothing here assumes UTF-8. Numbers
//! keep php-fpm's width (C `int`) so that odd values mean what they mean there. No field is ever looked up by name.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Level;

/// A complete, checked configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// The `[global]` section.
    pub global: Global,
    /// The pools in the order of their first section, behind them the hidden ones that serve status pages; never empty
    /// after a successful [`load`](crate::load).
    pub pools: Vec<Pool>,
}

/// A number of seconds as php-fpm stores it. Zero means *off* for every time-out; negative values are possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Seconds(pub i32);

impl Seconds {
    /// The time as a duration; `None` when it is zero or negative, that is: off.
    pub fn duration(self) -> Option<Duration> {
        u64::try_from(self.0).ok().filter(|s| *s > 0).map(Duration::from_secs)
    }
}

/// The value of `rlimit_core`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CoreLimit {
    /// Not set (or 0): the limit is left as it was inherited.
    #[default]
    Inherited,
    /// `unlimited`.
    Unlimited,
    /// That many bytes, above zero.
    Bytes(i32),
}

/// A syslog facility: the number of `LOG_*` in `<syslog.h>` (24 = daemon).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facility(pub i32);

impl Default for Facility {
    fn default() -> Self {
        Facility(24)
    }
}

/// How the number of workers of a pool is governed (`pm`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProcessManager {
    /// Always `pm.max_children` workers.
    #[default]
    Static,
    /// Between the spare limits, by demand.
    Dynamic,
    /// None until a connection arrives.
    Ondemand,
}

/// As whom a pool's PHP start-up runs (`php.startup_user`, cornac's own).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartupUser {
    /// As the pool's user from the beginning.
    #[default]
    Pool,
    /// As root; rights are dropped before any script runs.
    Root,
}

/// What SIGTERM to the master means (`shutdown.sigterm`, cornac's own).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sigterm {
    /// Requests in flight are ended, as with php-fpm.
    #[default]
    Immediate,
    /// As SIGQUIT.
    Graceful,
}

/// Where the master's log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorLog {
    /// The system log (`error_log = syslog`).
    Syslog,
    /// A file, absolute path.
    File(PathBuf),
}

/// The `[global]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// Absolute path of the pid file; an empty path means none, as `None` does.
    pub pid: Option<PathBuf>,
    /// Absolute path of the log file, or `syslog` in the spelling of the file; see [`Global::error_log_target`].
    pub error_log: PathBuf,
    /// Identity in the system log.
    pub syslog_ident: Vec<u8>,
    /// Facility in the system log.
    pub syslog_facility: Facility,
    /// Whether the output of workers is written line by line rather than piecewise.
    pub log_buffering: bool,
    /// The level asked for; `None` means notice.
    pub log_level: Option<Level>,
    /// Longest log line, without its newline.
    pub log_limit: i32,
    /// Number of crashes within the interval that restarts everything; 0 = off.
    pub emergency_restart_threshold: i32,
    /// Interval for the threshold.
    pub emergency_restart_interval: Seconds,
    /// How long workers may take to obey a stop or reload.
    pub process_control_timeout: Seconds,
    /// How long workers may go on without one; 0 = no limit.
    pub drain_timeout: Seconds,
    /// After so long without use the master ends until the next connection; 0 = never.
    pub idle_exit: Seconds,
    /// cornac: what SIGTERM means.
    pub shutdown_sigterm: Sigterm,
    /// cornac: how long a graceful stop serves on before it begins.
    pub shutdown_delay: Seconds,
    /// Most workers of all pools together; 0 = no limit.
    pub process_max: i32,
    /// Nice value of the master; `None` = unchanged.
    pub process_priority: Option<i32>,
    /// Whether to go to the background; `-D` and `-F` are already taken into account.
    pub daemonize: bool,
    /// RLIMIT_NOFILE of the master; 0 = unchanged.
    pub rlimit_files: i32,
    /// RLIMIT_CORE of the master.
    pub rlimit_core: CoreLimit,
    /// The event mechanism in use; `epoll` unless the file names another one that exists.
    pub events_mechanism: Vec<u8>,
    /// Interval of the state reports to systemd, milliseconds; 0 = off. The watchdog's demand is taken into account.
    pub systemd_interval: i32,
    /// Whether systemd's watchdog is to be fed with each report (WATCHDOG_USEC asked for it).
    pub systemd_watchdog: bool,
    /// cornac: the PHP executable hosting the pools; `None` = the first one found.
    pub php_binary: Option<PathBuf>,
    /// cornac: absolute path of the socket that commands come by; an empty path means none, as `None` does.
    pub control_socket: Option<PathBuf>,
    /// cornac: a reload goes on as another executable if there is one (`reload.executable = follow`).
    pub reload_follows: bool,
    /// cornac: how long the trial of a new executable may take.
    pub upgrade_timeout: Seconds,
    /// Where each directive was given (the last time), by its name in the table.
    pub places: Places,
}

impl Default for Global {
    fn default() -> Self {
        Global {
            pid: None,
            error_log: PathBuf::new(),
            syslog_ident: b"php-fpm".to_vec(),
            syslog_facility: Facility::default(),
            log_buffering: true,
            log_level: None,
            log_limit: 1024,
            emergency_restart_threshold: 0,
            emergency_restart_interval: Seconds(0),
            process_control_timeout: Seconds(0),
            drain_timeout: Seconds(3600),
            idle_exit: Seconds(0),
            shutdown_sigterm: Sigterm::Immediate,
            shutdown_delay: Seconds(0),
            process_max: 0,
            process_priority: None,
            daemonize: true,
            rlimit_files: 0,
            rlimit_core: CoreLimit::Inherited,
            events_mechanism: b"epoll".to_vec(),
            systemd_interval: 10_000,
            systemd_watchdog: false,
            php_binary: None,
            control_socket: None,
            reload_follows: false,
            upgrade_timeout: Seconds(60),
            places: Places::default(),
        }
    }
}

impl Global {
    /// The socket that commands come by, if there shall be one.
    pub fn control_path(&self) -> Option<&Path> {
        self.control_socket.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    /// File or system log.
    pub fn error_log_target(&self) -> ErrorLog {
        if self.error_log.as_os_str().as_bytes().eq_ignore_ascii_case(b"syslog") {
            ErrorLog::Syslog
        } else {
            ErrorLog::File(self.error_log.clone())
        }
    }
}

/// One `env[NAME] = value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvEntry {
    /// Name of the variable.
    pub name: Vec<u8>,
    /// Value as written, never empty; see [`EnvEntry::source`].
    pub value: Vec<u8>,
}

impl EnvEntry {
    /// The name of the master's variable to copy, when the value starts with `$`. It may be unset: then the value
    /// is empty.
    pub fn source(&self) -> Option<&[u8]> {
        self.value.strip_prefix(b"$")
    }
}

/// One entry of `php_value`, `php_flag`, `php_admin_value` or `php_admin_flag`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhpValue {
    /// INI key.
    pub key: Vec<u8>,
    /// Value; `1` or `0` for flags.
    pub value: Vec<u8>,
}

/// One pool. In a string, `Some` of an empty value was written as such; php-fpm mostly treats it as unset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Name: the section's first spelling.
    pub name: Vec<u8>,
    /// Absolute pool prefix, an existing directory.
    pub prefix: Option<PathBuf>,
    /// User name or decimal number, unresolved.
    pub user: Option<Vec<u8>>,
    /// Group name or decimal number, unresolved.
    pub group: Option<Vec<u8>>,
    /// The listening address: absolute path, `host:port` or port; parse it with [`Listen::parse`](crate::Listen::parse).
    pub listen: Vec<u8>,
    /// Backlog; -1 = as much as the kernel allows.
    pub listen_backlog: i32,
    /// Comma list of users with access to the socket.
    pub listen_acl_users: Option<Vec<u8>>,
    /// Comma list of groups with access to the socket.
    pub listen_acl_groups: Option<Vec<u8>>,
    /// Owner of the socket file.
    pub listen_owner: Option<Vec<u8>>,
    /// Group of the socket file.
    pub listen_group: Option<Vec<u8>>,
    /// Mode of the socket file as written; see [`Pool::socket_mode`].
    pub listen_mode: Option<Vec<u8>>,
    /// Comma list of client addresses.
    pub listen_allowed_clients: Option<Vec<u8>>,
    /// Nice value of the workers; `None` = unchanged.
    pub process_priority: Option<i32>,
    /// Whether workers may be traced and leave core files.
    pub process_dumpable: bool,
    /// Kind of process management.
    pub pm: ProcessManager,
    /// Most workers; at least 1.
    pub pm_max_children: i32,
    /// Workers at start, dynamic only (filled in when it was not given).
    pub pm_start_servers: i32,
    /// Fewest idle workers, dynamic only.
    pub pm_min_spare_servers: i32,
    /// Most idle workers, dynamic only.
    pub pm_max_spare_servers: i32,
    /// Most workers started at once, dynamic only.
    pub pm_max_spawn_rate: i32,
    /// How long an idle worker stays, ondemand only.
    pub pm_process_idle_timeout: Seconds,
    /// Requests after which a worker is replaced; 0 or less = never.
    pub pm_max_requests: i32,
    /// URI of the status page.
    pub pm_status_path: Option<Vec<u8>>,
    /// Own address for the status page, as written. The hidden pool that serves it has it as its [`Pool::listen`], a path
    /// made absolute with the global prefix: it has no prefix of its own, whatever this pool's is.
    pub pm_status_listen: Option<Vec<u8>>,
    /// URI of the ping page.
    pub ping_path: Option<Vec<u8>>,
    /// What the ping page says; `None` without `ping.path`.
    pub ping_response: Option<Vec<u8>>,
    /// Absolute path of the access log.
    pub access_log: Option<PathBuf>,
    /// Format of the access log, valid.
    pub access_format: Vec<u8>,
    /// URIs left out of the access log, in the order of the file.
    pub access_suppress_path: Vec<Vec<u8>>,
    /// Absolute path of the slow log.
    pub slowlog: Option<PathBuf>,
    /// Age of a request that goes to the slow log.
    pub request_slowlog_timeout: Seconds,
    /// Frames of a slow log entry.
    pub request_slowlog_trace_depth: i32,
    /// Age at which a request is killed.
    pub request_terminate_timeout: Seconds,
    /// Whether the limit also holds after the response was finished.
    pub request_terminate_timeout_track_finished: bool,
    /// RLIMIT_NOFILE of the workers; 0 = unchanged.
    pub rlimit_files: i32,
    /// RLIMIT_CORE of the workers.
    pub rlimit_core: CoreLimit,
    /// Absolute path of the new root.
    pub chroot: Option<PathBuf>,
    /// Absolute working directory, within the chroot if there is one.
    pub chdir: Option<PathBuf>,
    /// Whether what workers write to stdout and stderr is logged.
    pub catch_workers_output: bool,
    /// Whether those lines get time stamp and pool name.
    pub decorate_workers_output: bool,
    /// Whether workers start with an empty environment.
    pub clear_env: bool,
    /// Suffixes of runnable scripts as written; see [`Pool::extensions`].
    pub security_limit_extensions: Vec<u8>,
    /// AppArmor hat.
    pub apparmor_hat: Option<Vec<u8>>,
    /// Route table of the socket (FreeBSD); -1 = default.
    pub listen_setfib: i32,
    /// `env[…]`, in the order of the file; applied in that order reversed, as php-fpm does.
    pub env: Vec<EnvEntry>,
    /// `php_value[…]` and `php_flag[…]`, in the order of the file; php-fpm applies the last line first.
    pub php_values: Vec<PhpValue>,
    /// `php_admin_value[…]` and `php_admin_flag[…]`, likewise, after all of `php_values`.
    pub php_admin_values: Vec<PhpValue>,
    /// cornac: the PHP executable hosting this pool; `None` = the global one.
    pub php_binary: Option<PathBuf>,
    /// cornac: as whom the PHP start-up runs.
    pub php_startup_user: StartupUser,
    /// cornac: how long a FastCGI peer may stall before its connection is closed; 0 = never.
    pub request_read_timeout: Seconds,
    /// The index of the pool whose status page this one serves: it stands in no file, `pm.status_listen` made it.
    pub status_of: Option<usize>,
    /// Where each directive was given (the last time), by its name in the table.
    pub places: Places,
}

impl Default for Pool {
    fn default() -> Self {
        Pool {
            name: Vec::new(),
            prefix: None,
            user: None,
            group: None,
            listen: Vec::new(),
            listen_backlog: -1,
            listen_acl_users: None,
            listen_acl_groups: None,
            listen_owner: None,
            listen_group: None,
            listen_mode: None,
            listen_allowed_clients: None,
            process_priority: None,
            process_dumpable: false,
            pm: ProcessManager::Static,
            pm_max_children: 0,
            pm_start_servers: 0,
            pm_min_spare_servers: 0,
            pm_max_spare_servers: 0,
            pm_max_spawn_rate: 32,
            pm_process_idle_timeout: Seconds(10),
            pm_max_requests: 0,
            pm_status_path: None,
            pm_status_listen: None,
            ping_path: None,
            ping_response: None,
            access_log: None,
            access_format: Vec::new(),
            access_suppress_path: Vec::new(),
            slowlog: None,
            request_slowlog_timeout: Seconds(0),
            request_slowlog_trace_depth: 20,
            request_terminate_timeout: Seconds(0),
            request_terminate_timeout_track_finished: false,
            rlimit_files: 0,
            rlimit_core: CoreLimit::Inherited,
            chroot: None,
            chdir: None,
            catch_workers_output: false,
            decorate_workers_output: true,
            clear_env: true,
            security_limit_extensions: Vec::new(),
            apparmor_hat: None,
            listen_setfib: -1,
            env: Vec::new(),
            php_values: Vec::new(),
            php_admin_values: Vec::new(),
            php_binary: None,
            php_startup_user: StartupUser::Pool,
            request_read_timeout: Seconds(60),
            status_of: None,
            places: Places::default(),
        }
    }
}

impl Global {
    /// The same settings, wherever they stand.
    pub fn is_like(&self, other: &Global) -> bool {
        Global { places: Places::default(), ..self.clone() }
            == Global { places: Places::default(), ..other.clone() }
    }
}

impl Pool {
    /// The same settings, wherever they stand.
    pub fn is_like(&self, other: &Pool) -> bool {
        Pool { places: Places::default(), status_of: None, ..self.clone() }
            == Pool { places: Places::default(), status_of: None, ..other.clone() }
    }

    /// The mode of the socket file: octal digits up to the first other character, 0660 when not given.
    pub fn socket_mode(&self) -> u32 {
        let Some(text) = self.listen_mode.as_deref().filter(|t| !t.is_empty()) else { return 0o660 };
        text.iter()
            .skip_while(|b| b.is_ascii_whitespace())
            .map_while(|b| (*b as char).to_digit(8))
            .fold(0u32, |mode, digit| mode.wrapping_shl(3).wrapping_add(digit))
    }

    /// The suffixes a script's path must end in; empty = every path may run.
    pub fn extensions(&self) -> impl Iterator<Item = &[u8]> {
        self.security_limit_extensions.split(|b| matches!(b, b' ' | b'\t')).filter(|e| !e.is_empty())
    }
}

/// A line of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as php-fpm names it.
    pub file: PathBuf,
    /// The line of that file, from 1. (php-fpm's texts count on through included files.)
    pub line: u32,
}

/// Directive name (as in the table) → where it was given last.
pub type Places = BTreeMap<&'static str, Place>;

/// Bytes of a path.
pub(crate) fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// A path of bytes.
pub(crate) fn bytes_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}
