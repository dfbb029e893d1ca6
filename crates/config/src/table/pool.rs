//! The directives of a pool's section.

use super::{Directive, pool};
use crate::value::Field;

/// In the order of `-tt`.
pub(super) static TABLE: &[Directive] = &[
    pool(
        "prefix",
        |p| Field::Path(&mut p.prefix),
        [
            "none",
            "an existing folder",
            "5.3.3",
            "Folder that the pool's relative paths are relative to.",
            "prefix = /srv/$pool",
        ],
    ),
    pool(
        "user",
        |p| Field::Text(&mut p.user),
        [
            "none",
            "a user's name or number; required as root",
            "5.3.3",
            "User of the workers.",
            "user = www-data",
        ],
    ),
    pool(
        "group",
        |p| Field::Text(&mut p.group),
        [
            "the user's group",
            "a group's name or number",
            "5.3.3",
            "Group of the workers.",
            "group = www-data",
        ],
    ),
    pool(
        "listen",
        |p| Field::Bytes(&mut p.listen),
        [
            "none, required",
            "host:port, [IPv6]:port, a port, or a path",
            "5.3.3",
            "Address on which FastCGI requests are accepted.",
            "listen = /run/php/$pool.sock",
        ],
    ),
    pool(
        "listen.backlog",
        |p| Field::Int(&mut p.listen_backlog),
        [
            "-1",
            "a whole number; -1 = as much as the system allows",
            "5.3.3",
            "Length of the queue of connections that wait to be accepted.",
            "listen.backlog = 511",
        ],
    ),
    pool(
        "listen.acl_users",
        |p| Field::Text(&mut p.listen_acl_users),
        [
            "none",
            "a comma list of names",
            "5.6.5",
            "Users who may connect to the unix socket; owner and group are then ignored.",
            "listen.acl_users = www-data,deploy",
        ],
    ),
    pool(
        "listen.acl_groups",
        |p| Field::Text(&mut p.listen_acl_groups),
        [
            "none",
            "a comma list of names",
            "5.6.5",
            "Groups that may connect to the unix socket; owner and group are then ignored.",
            "listen.acl_groups = web",
        ],
    ),
    pool(
        "listen.owner",
        |p| Field::Text(&mut p.listen_owner),
        [
            "the master's user",
            "a user's name or number",
            "5.3.3",
            "Owner of the unix socket.",
            "listen.owner = www-data",
        ],
    ),
    pool(
        "listen.group",
        |p| Field::Text(&mut p.listen_group),
        [
            "the master's group",
            "a group's name or number",
            "5.3.3",
            "Group of the unix socket.",
            "listen.group = www-data",
        ],
    ),
    pool(
        "listen.mode",
        |p| Field::Text(&mut p.listen_mode),
        ["0660", "an octal number", "5.3.3", "Permissions of the unix socket.", "listen.mode = 0660"],
    ),
    pool(
        "listen.allowed_clients",
        |p| Field::Text(&mut p.listen_allowed_clients),
        [
            "any",
            "a comma list of IP addresses",
            "5.3.3",
            "Clients that may connect over TCP.",
            "listen.allowed_clients = 127.0.0.1,::1",
        ],
    ),
    pool(
        "listen.setfib",
        |p| Field::Int(&mut p.listen_setfib),
        [
            "-1",
            "a route table's number",
            "8.2.0",
            "Route table of the socket on FreeBSD.",
            "listen.setfib = 1",
        ],
    )
    .hidden(),
    pool(
        "process.priority",
        |p| Field::Priority(&mut p.process_priority),
        [
            "none",
            "a whole number from -19 to 20",
            "5.4.0",
            "Nice value of the workers; only as root.",
            "process.priority = 10",
        ],
    ),
    pool(
        "process.dumpable",
        |p| Field::Bool(&mut p.process_dumpable),
        [
            "no",
            "yes or no",
            "7.0.29",
            "Whether workers may be traced and leave core files although they changed their user.",
            "process.dumpable = yes",
        ],
    ),
    pool(
        "pm",
        |p| Field::Manager(&mut p.pm),
        [
            "none, required",
            "static, dynamic or ondemand",
            "5.3.3",
            "How the number of workers is chosen.",
            "pm = dynamic",
        ],
    ),
    pool(
        "pm.max_children",
        |p| Field::Int(&mut p.pm_max_children),
        [
            "none, required",
            "a whole number from 1",
            "5.3.3",
            "Number of workers with static, most workers with dynamic and ondemand.",
            "pm.max_children = 5",
        ],
    ),
    pool(
        "pm.start_servers",
        |p| Field::Int(&mut p.pm_start_servers),
        [
            "halfway between the spare limits",
            "a whole number between pm.min_spare_servers and pm.max_spare_servers",
            "5.3.3",
            "Workers at start with dynamic.",
            "pm.start_servers = 2",
        ],
    ),
    pool(
        "pm.min_spare_servers",
        |p| Field::Int(&mut p.pm_min_spare_servers),
        [
            "none, required with dynamic",
            "a whole number from 1 to pm.max_children",
            "5.3.3",
            "Fewest idle workers with dynamic.",
            "pm.min_spare_servers = 1",
        ],
    ),
    pool(
        "pm.max_spare_servers",
        |p| Field::Int(&mut p.pm_max_spare_servers),
        [
            "none, required with dynamic",
            "a whole number from pm.min_spare_servers to pm.max_children",
            "5.3.3",
            "Most idle workers with dynamic.",
            "pm.max_spare_servers = 3",
        ],
    ),
    pool(
        "pm.max_spawn_rate",
        |p| Field::Int(&mut p.pm_max_spawn_rate),
        [
            "32",
            "a whole number from 1",
            "8.2.0",
            "Most workers started at once with dynamic.",
            "pm.max_spawn_rate = 32",
        ],
    ),
    pool(
        "pm.process_idle_timeout",
        |p| Field::Time(&mut p.pm_process_idle_timeout),
        [
            "10s",
            "a time in s, m, h or d, at least one second",
            "5.3.9",
            "How long an idle worker is kept with ondemand.",
            "pm.process_idle_timeout = 10s",
        ],
    )
    .bare(),
    pool(
        "pm.max_requests",
        |p| Field::Int(&mut p.pm_max_requests),
        [
            "0",
            "a whole number from 0; 0 = never",
            "5.3.3",
            "Requests after which a worker is replaced.",
            "pm.max_requests = 500",
        ],
    ),
    pool(
        "pm.status_path",
        |p| Field::Text(&mut p.pm_status_path),
        [
            "none",
            "starts with '/', at least two characters of letters, digits and /_-.~",
            "5.3.3",
            "URI of the status page.",
            "pm.status_path = /status",
        ],
    ),
    pool(
        "pm.status_listen",
        |p| Field::Text(&mut p.pm_status_listen),
        [
            "none",
            "an address as of listen",
            "8.0.0",
            "Address of its own for the status page, so that it answers when all workers are busy.",
            "pm.status_listen = 127.0.0.1:9001",
        ],
    ),
    pool(
        "ping.path",
        |p| Field::Text(&mut p.ping_path),
        [
            "none",
            "starts with '/', at least two characters of letters, digits and /_-.~",
            "5.3.3",
            "URI of the ping page.",
            "ping.path = /ping",
        ],
    ),
    pool(
        "ping.response",
        |p| Field::Text(&mut p.ping_response),
        [
            "pong",
            "any text that is not empty",
            "5.3.3",
            "What the ping page answers.",
            "ping.response = pong",
        ],
    ),
    pool(
        "access.log",
        |p| Field::Path(&mut p.access_log),
        [
            "none",
            "a path",
            "5.3.9",
            "File with a line for each request.",
            "access.log = log/$pool.access.log",
        ],
    ),
    pool(
        "access.format",
        |p| Field::Bytes(&mut p.access_format),
        [
            "%R - %u %t \"%m %r\" %s",
            "text with specifiers: %C %d %e %f %l %m %M %n %o %p %P %q %Q %r %R %s %t %T %u %%",
            "5.3.9",
            "Form of the access log's lines.",
            "access.format = \"%R - %u %t \\\"%m %r%Q%q\\\" %s %f %{milli}d %{kilo}M %C%%\"",
        ],
    ),
    pool(
        "access.suppress_path",
        |p| Field::List(&mut p.access_suppress_path),
        [
            "none",
            "URIs that start with '/'",
            "8.2.0",
            "Successful GET and HEAD requests for exactly this URI are not written to the access log.",
            "access.suppress_path[] = /health",
        ],
    ),
    pool(
        "slowlog",
        |p| Field::Path(&mut p.slowlog),
        [
            "none",
            "a path",
            "5.3.3",
            "File with the stack traces of slow requests.",
            "slowlog = log/$pool.slow.log",
        ],
    ),
    pool(
        "request_slowlog_timeout",
        |p| Field::Time(&mut p.request_slowlog_timeout),
        [
            "0",
            "a time in s, m, h or d, not above request_terminate_timeout; 0 = off",
            "5.3.3",
            "Age at which a request is traced to the slow log.",
            "request_slowlog_timeout = 5s",
        ],
    ),
    pool(
        "request_slowlog_trace_depth",
        |p| Field::Int(&mut p.request_slowlog_trace_depth),
        [
            "20",
            "a whole number from 1",
            "7.2.0",
            "Most frames of a stack trace in the slow log.",
            "request_slowlog_trace_depth = 20",
        ],
    ),
    pool(
        "request_terminate_timeout",
        |p| Field::Time(&mut p.request_terminate_timeout),
        [
            "0",
            "a time in s, m, h or d; 0 = off",
            "5.3.3",
            "Age at which a request is ended together with its worker.",
            "request_terminate_timeout = 30s",
        ],
    ),
    pool(
        "request_terminate_timeout_track_finished",
        |p| Field::Bool(&mut p.request_terminate_timeout_track_finished),
        [
            "no",
            "yes or no",
            "7.3.0",
            "Whether the limit goes on to hold after fastcgi_finish_request() and in shutdown functions.",
            "request_terminate_timeout_track_finished = yes",
        ],
    ),
    pool(
        "rlimit_files",
        |p| Field::Int(&mut p.rlimit_files),
        [
            "none",
            "a whole number from 0; 0 = as inherited",
            "5.3.3",
            "Limit of open files of a worker.",
            "rlimit_files = 1024",
        ],
    ),
    pool(
        "rlimit_core",
        |p| Field::Core(&mut p.rlimit_core),
        [
            "none",
            "a whole number from 0, or 'unlimited'; 0 = as inherited",
            "5.3.3",
            "Largest core file of a worker in bytes.",
            "rlimit_core = unlimited",
        ],
    ),
    pool(
        "chroot",
        |p| Field::Path(&mut p.chroot),
        [
            "none",
            "an existing folder, absolute or starting with $prefix; only as root",
            "5.3.3",
            "Root folder of the workers.",
            "chroot = $prefix",
        ],
    ),
    pool(
        "chdir",
        |p| Field::Path(&mut p.chdir),
        [
            "the master's folder, or / after chroot",
            "an existing folder, seen from within the chroot",
            "5.3.3",
            "Working folder of the workers.",
            "chdir = /",
        ],
    ),
    pool(
        "catch_workers_output",
        |p| Field::Bool(&mut p.catch_workers_output),
        [
            "no",
            "yes or no",
            "5.3.3",
            "Whether what workers write to stdout and stderr goes to the error log.",
            "catch_workers_output = yes",
        ],
    ),
    pool(
        "decorate_workers_output",
        |p| Field::Bool(&mut p.decorate_workers_output),
        [
            "yes",
            "yes or no",
            "7.3.0",
            "Whether those lines get a time stamp and the pool's name.",
            "decorate_workers_output = no",
        ],
    ),
    pool(
        "clear_env",
        |p| Field::Bool(&mut p.clear_env),
        [
            "yes",
            "yes or no",
            "5.4.27",
            "Whether workers start without the master's environment.",
            "clear_env = no",
        ],
    ),
    pool(
        "security.limit_extensions",
        |p| Field::Bytes(&mut p.security_limit_extensions),
        [
            ".php .phar",
            "suffixes separated by blanks; empty = all files",
            "5.3.9",
            "Suffixes of the files that may be run.",
            "security.limit_extensions = .php",
        ],
    ),
    pool(
        "apparmor_hat",
        |p| Field::Text(&mut p.apparmor_hat),
        [
            "none",
            "the name of a hat",
            "5.6.0",
            "AppArmor hat that the workers change to.",
            "apparmor_hat = www",
        ],
    )
    .hidden(),
    pool(
        "env",
        |p| Field::Env(&mut p.env),
        [
            "none",
            "a value that is not empty; $NAME takes the master's variable",
            "5.3.3",
            "Sets a variable in the environment of the workers.",
            "env[PATH] = /usr/local/bin:/usr/bin:/bin",
        ],
    ),
    pool(
        "php_value",
        |p| Field::Values(&mut p.php_values),
        [
            "none",
            "a php.ini setting",
            "5.3.3",
            "Sets a php.ini setting that scripts may change.",
            "php_value[memory_limit] = 64M",
        ],
    ),
    pool(
        "php_flag",
        |p| Field::Flags(&mut p.php_values),
        [
            "none",
            "yes or no",
            "5.3.3",
            "Sets a php.ini switch that scripts may change.",
            "php_flag[display_errors] = off",
        ],
    )
    .hidden(),
    pool(
        "php_admin_value",
        |p| Field::Values(&mut p.php_admin_values),
        [
            "none",
            "a php.ini setting",
            "5.3.3",
            "Sets a php.ini setting that scripts cannot change.",
            "php_admin_value[error_log] = /var/log/$pool.log",
        ],
    ),
    pool(
        "php_admin_flag",
        |p| Field::Flags(&mut p.php_admin_values),
        [
            "none",
            "yes or no",
            "5.3.3",
            "Sets a php.ini switch that scripts cannot change.",
            "php_admin_flag[log_errors] = on",
        ],
    )
    .hidden(),
    pool(
        "php.binary",
        |p| Field::Executable(&mut p.php_binary),
        [
            "the global php.binary",
            "an absolute path",
            "0.1.0",
            "PHP executable that hosts the pool.",
            "php.binary = /usr/sbin/php-fpm8.2",
        ],
    )
    .own(),
    pool(
        "php.startup_user",
        |p| Field::Startup(&mut p.php_startup_user),
        [
            "the pool's user",
            "'root' or empty",
            "0.1.0",
            "As whom PHP's start-up (php.ini, extensions, preloading) runs, before any script does.",
            "php.startup_user = root",
        ],
    )
    .own(),
    pool(
        "request_read_timeout",
        |p| Field::Time(&mut p.request_read_timeout),
        [
            "60s",
            "a time in s, m, h or d; 0 = never",
            "0.1.0",
            "How long a FastCGI peer may stall while it sends or receives before its connection is closed.",
            "request_read_timeout = 60s",
        ],
    )
    .own(),
];
