//! The directives of `[global]`.

use super::{Directive, global};
use crate::value::Field;

/// In the order of `-tt`.
pub(super) static TABLE: &[Directive] = &[
    global(
        "pid",
        |g| Field::Path(&mut g.pid),
        [
            "none",
            "a path; relative to the prefix, else to the local state folder",
            "5.3.3",
            "File that holds the master's process id.",
            "pid = run/php-fpm.pid",
        ],
    ),
    global(
        "error_log",
        |g| Field::BarePath(&mut g.error_log),
        [
            "log/php-fpm.log",
            "a path, or 'syslog'; relative to the prefix, else to the local state folder",
            "5.3.3",
            "Where the master writes its log.",
            "error_log = log/php-fpm.log",
        ],
    ),
    global(
        "syslog.ident",
        |g| Field::Bytes(&mut g.syslog_ident),
        [
            "php-fpm",
            "any text",
            "5.4.0",
            "Name under which the system log shows the messages.",
            "syslog.ident = php-fpm",
        ],
    ),
    global(
        "syslog.facility",
        |g| Field::Facility(&mut g.syslog_facility),
        [
            "daemon",
            "auth, authpriv, cron, daemon, ftp, kern, lpr, mail, news, syslog, user, uucp, local0 to local7",
            "5.4.0",
            "Facility of the system log.",
            "syslog.facility = daemon",
        ],
    ),
    global(
        "log_buffering",
        |g| Field::Bool(&mut g.log_buffering),
        [
            "yes",
            "yes or no",
            "7.3.0",
            "Whether a worker's line is collected and logged in one piece.",
            "log_buffering = no",
        ],
    ),
    global(
        "log_level",
        |g| Field::Level(&mut g.log_level),
        [
            "notice",
            "alert, error, warning, notice or debug",
            "5.3.3",
            "Lowest level that is logged.",
            "log_level = notice",
        ],
    ),
    global(
        "log_limit",
        |g| Field::Int(&mut g.log_limit),
        [
            "1024",
            "a whole number from 512",
            "7.3.0",
            "Longest line of the log in bytes; longer output of workers is wrapped.",
            "log_limit = 4096",
        ],
    ),
    global(
        "emergency_restart_interval",
        |g| Field::Time(&mut g.emergency_restart_interval),
        [
            "0",
            "a time in s, m, h or d; 0 = off",
            "5.3.3",
            "Interval within which crashes are counted for an emergency restart.",
            "emergency_restart_interval = 1m",
        ],
    ),
    global(
        "emergency_restart_threshold",
        |g| Field::Int(&mut g.emergency_restart_threshold),
        [
            "0",
            "a whole number from 0; 0 = off",
            "5.3.3",
            "Number of workers that crash within the interval before their pool is restarted.",
            "emergency_restart_threshold = 10",
        ],
    ),
    global(
        "process_control_timeout",
        |g| Field::Time(&mut g.process_control_timeout),
        [
            "0",
            "a time in s, m, h or d",
            "5.3.3",
            "How long workers may take to react to the master's signals.",
            "process_control_timeout = 10s",
        ],
    ),
    global(
        "process.max",
        |g| Field::Int(&mut g.process_max),
        [
            "0",
            "a whole number from 0; 0 = no limit",
            "5.4.0",
            "Most workers of all pools together.",
            "process.max = 128",
        ],
    ),
    global(
        "process.priority",
        |g| Field::Priority(&mut g.process_priority),
        [
            "none",
            "a whole number from -19 to 20",
            "5.4.0",
            "Nice value of the master; only as root.",
            "process.priority = -19",
        ],
    ),
    global(
        "daemonize",
        |g| Field::Bool(&mut g.daemonize),
        ["yes", "yes or no", "5.3.3", "Whether to run in the background.", "daemonize = no"],
    ),
    global(
        "rlimit_files",
        |g| Field::Int(&mut g.rlimit_files),
        [
            "none",
            "a whole number from 0; 0 = as inherited",
            "5.3.3",
            "Limit of open files of the master.",
            "rlimit_files = 1024",
        ],
    ),
    global(
        "rlimit_core",
        |g| Field::Core(&mut g.rlimit_core),
        [
            "none",
            "a whole number from 0, or 'unlimited'; 0 = as inherited",
            "5.3.3",
            "Largest core file of the master in bytes.",
            "rlimit_core = unlimited",
        ],
    ),
    global(
        "events.mechanism",
        |g| Field::Bytes(&mut g.events_mechanism),
        [
            "epoll",
            "epoll, poll or select",
            "5.4.0",
            "Event mechanism of php-fpm; accepted for its sake.",
            "events.mechanism = epoll",
        ],
    ),
    global(
        "systemd_interval",
        |g| Field::Interval(&mut g.systemd_interval),
        [
            "10s",
            "a time in s, m, h or d; 0 = never",
            "5.4.0",
            "Interval of the state reports to systemd.",
            "systemd_interval = 10",
        ],
    ),
    global(
        "php.binary",
        |g| Field::Executable(&mut g.php_binary),
        [
            "the first found of php-fpm, php-cgi, php",
            "an absolute path",
            "0.1.0",
            "PHP executable that hosts the pools.",
            "php.binary = /usr/sbin/php-fpm8.2",
        ],
    )
    .own(),
    global(
        "drain_timeout",
        |g| Field::Time(&mut g.drain_timeout),
        [
            "1h",
            "a time in s, m, h or d; 0 = no limit",
            "0.1.0",
            "How long workers that are being replaced or stopped may go on with the request they have, where \
             process_control_timeout is not set; after that they are terminated.",
            "drain_timeout = 5m",
        ],
    )
    .own(),
    global(
        "idle_exit",
        |g| Field::Time(&mut g.idle_exit),
        [
            "0",
            "a time in s, m, h or d; 0 = never",
            "0.1.0",
            "End when nobody has used any pool for so long, an idle kept connection included. Only with sockets \
             that are all handed in (a socket unit of systemd, FPM_SOCKETS): who holds them starts the service again \
             with the next connection.",
            "idle_exit = 30s",
        ],
    )
    .own(),
    global(
        "control.socket",
        |g| Field::Path(&mut g.control_socket),
        [
            "the pid file's path with .control at its end; without a pid file none",
            "a path of at most 107 bytes; relative to the prefix, else to the local state folder; 'none': no socket",
            "0.1.0",
            "Socket by which commands such as 'cornac reload' reach the master; only root and the master's own user are heard.",
            "control.socket = run/cornac.control",
        ],
    )
    .own(),
    global(
        "reload.executable",
        |g| Field::Renewal(&mut g.reload_follows),
        [
            "keep",
            "keep or follow",
            "0.1.0",
            "Whether SIGUSR2 and SIGHUP go on as another executable if one lies now where this one was started from, as \
             'cornac upgrade' does, or reload the one that runs.",
            "reload.executable = follow",
        ],
    )
    .own(),
    global(
        "upgrade_timeout",
        |g| Field::Time(&mut g.upgrade_timeout),
        [
            "60s",
            "a time in s, m, h or d",
            "0.1.0",
            "How long the trial of a new executable may take before 'cornac upgrade' is refused.",
            "upgrade_timeout = 5m",
        ],
    )
    .own(),
    global(
        "shutdown.sigterm",
        |g| Field::Sigterm(&mut g.shutdown_sigterm),
        [
            "immediate",
            "immediate or graceful",
            "0.1.0",
            "What SIGTERM to the master means: as with php-fpm, that requests in flight are ended; or what SIGQUIT \
             means, for container runtimes and supervisors that know SIGTERM only. SIGINT ends them in any case.",
            "shutdown.sigterm = graceful",
        ],
    )
    .own(),
    global(
        "shutdown.delay",
        |g| Field::Time(&mut g.shutdown_delay),
        [
            "0",
            "a time in s, m, h or d; 0 = none",
            "0.1.0",
            "For how long a graceful stop serves on as if nothing had happened before it begins, so that load \
             balancers can turn away. Asked a second time it begins at once.",
            "shutdown.delay = 5s",
        ],
    )
    .own(),
];
