//! docs/man/cornac.8: commands, php-fpm's command line, signals, exit codes, files, directives. In man(7) macros.

use config::{Directive, Scope};
use master::exit_code;

use super::{directives, since};
use crate::fpm::parse::{SWITCHES, Switch};
use crate::own;

const HEAD: &str = r#".\" Generated: cargo run -q -- docs man > docs/man/cornac.8
.TH CORNAC 8 "" "cornac @VERSION@" "System Administration"
.SH NAME
cornac, php\-fpm \- FastCGI process manager for PHP
.SH SYNOPSIS
.SY cornac
.I command
.RI [ options ]
.YS
.SY "cornac fpm"
.RI [ "options of php\-fpm" ]
.YS
.SY php\-fpm
.RI [ "options of php\-fpm" ]
.YS
.SH DESCRIPTION
.B cornac
accepts FastCGI requests from a web server and runs PHP scripts for them, in the PHP that is installed on the machine. It takes
the place of
.BR php\-fpm :
it reads the same configuration files, obeys the same signals and writes the same log lines. Called through a link whose name
begins with
.BR php\-fpm ,
or as
.BR "cornac fpm" ,
it has php\-fpm's command line; otherwise its own commands.
.PP
A master process reads the configuration and holds the listening sockets. Each pool has a fork server, which starts PHP once
as the pool's user, and workers, which serve requests.
"#;

const SIGNALS: [(&str, &str); 5] = [
    (
        "SIGINT, SIGTERM",
        "Stop at once: requests that are being served are lost. SIGTERM may mean what SIGQUIT does: shutdown.sigterm.",
    ),
    (
        "SIGQUIT",
        "Stop when the requests that are being served, and those that are queued, have been answered.",
    ),
    ("SIGUSR1", "Open the log files again, after they were moved away."),
    (
        "SIGUSR2, SIGHUP",
        "Reload: read the configuration and PHP's own again; new workers take over. If it cannot be used, the log says why and nothing changes. May upgrade as well: reload.executable.",
    ),
    ("SIGKILL", "All processes end; the next start finds nothing in its way."),
];

const WORKER_SIGNALS: [(&str, &str); 2] = [
    ("SIGQUIT", "End when the request that is being served has been answered."),
    ("SIGTERM", "End at once."),
];

const FILES: [(&str, &str); 7] = [
    (
        "/etc/php/8.2/fpm/php-fpm.conf, /usr/local/etc/php-fpm.conf",
        "The configuration, if none is named: the first of these that exists.",
    ),
    ("/etc/php/8.2/fpm/pool.d/*.conf", "Pools, where the configuration includes them."),
    (
        "/etc/cornac/overlay.conf",
        "Read after the configuration, with the same sections, if it exists: the place for directives that php-fpm does not know.",
    ),
    ("/etc/php/8.2/fpm/php.ini", "PHP's own settings; where it lies depends on the PHP executable."),
    ("/run/php/php8.2-fpm.pid", "The master's process id, where the configuration of Debian has it."),
    (
        "/run/php/php8.2-fpm.pid.control",
        "Where the master takes commands: the name of the pid file with .control, or control.socket.",
    ),
    ("libcornac_engine.so", "What is loaded into PHP; beside the executable or in ../lib/cornac."),
];

const ENVIRONMENT: [(&str, &str); 6] = [
    ("FPM_SOCKETS", "Listening sockets that are inherited: address=descriptor, separated by commas."),
    (
        "LISTEN_FDS, LISTEN_PID, LISTEN_PIDFDID, LISTEN_FDNAMES",
        "Set by systemd: listening sockets that it hands in, for the pools with their addresses or names.",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC",
        "Set by systemd: it is told of readiness, reload, stop and state, and its watchdog is served.",
    ),
    ("FDSTORE", "Set by systemd (or by the unit): how many listening sockets it keeps over a restart."),
    ("TZ", "The time zone of the log."),
    (
        "any other",
        "Can stand in the configuration as ${NAME}; workers see it with clear_env = no or env[NAME] = $NAME.",
    ),
];

/// The whole page.
pub(super) fn page() -> String {
    let mut page = HEAD.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    page += ".SH COMMANDS\n";
    own::command()
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .for_each(|c| page += &command(c));
    page += ".SH OPTIONS OF PHP-FPM\n";
    page += "Short options without a value may be joined; a value may be attached or follow.\n";
    SWITCHES.iter().for_each(|option| page += &switch(option));
    page += ".SH SIGNALS\nTo the master:\n";
    SIGNALS.iter().for_each(|(name, doc)| page += &item(name, doc));
    page += ".PP\nTo a worker, which is then replaced:\n";
    WORKER_SIGNALS.iter().for_each(|(name, doc)| page += &item(name, doc));
    page += ".SH EXIT STATUS\n";
    exit_code::MEANINGS.iter().for_each(|(code, doc)| page += &item(&code.to_string(), doc));
    page += ".SH ENVIRONMENT\n";
    ENVIRONMENT.iter().for_each(|(name, doc)| page += &item(name, doc));
    page += ".SH FILES\n";
    FILES.iter().for_each(|(name, doc)| page += &item(name, doc));
    page += CONFIGURATION;
    for (title, scope, own) in [
        ("Global directives", Scope::Global, false),
        ("Pool directives", Scope::Pool, false),
        ("cornac's own global directives", Scope::Global, true),
        ("cornac's own pool directives", Scope::Pool, true),
    ] {
        page += &format!(".SS {}\n", escaped(title));
        directives(scope, own).for_each(|row| page += &directive(row));
    }
    page + TAIL
}

const CONFIGURATION: &str = r#".SH CONFIGURATION
Lines of a file are sections
.RB ( [global]
or a pool's name in brackets), directives
.RI ( name " = " value ),
comments after
.BR ; ,
or empty.
.BI "include = " pattern
reads more files where it stands.
.B $pool
is replaced by the pool's name,
.BI ${ NAME }
by a variable of the environment,
.BI ${ NAME :\- text }
by the text if there is none. A time is a number with
.BR s ", " m ", " h " or " d .
Relative paths are relative to the prefix.
.PP
Each directive with its type, what is allowed, its default and the version that has it first:
"#;

const TAIL: &str = r#".SH EXAMPLES
Say whether the configuration can be used:
.PP
.EX
cornac check
.EE
.PP
Serve in the foreground, as a supervisor starts it:
.PP
.EX
cornac fpm \-F \-y /etc/php/8.2/fpm/php\-fpm.conf
.EE
.SH SEE ALSO
.BR php (1)
.PP
What differs from php\-fpm is in COMPATIBILITY.md, each directive with an example in docs/directives.md of the sources.
"#;

fn command(command: &clap::Command) -> String {
    let mut text = format!(".TP\n.BR \"cornac {}\"", escaped(command.get_name()));
    for argument in command.get_positionals() {
        let value = argument.get_value_names().and_then(|names| names.first()).map_or("...", |name| name);
        text += &format!(" \" [\" \"\\fI{}\\fP\" \"]\"", escaped(value));
    }
    text += &format!("\n{}\n", escaped(&sentence(command.get_about())));
    let options: Vec<_> = command.get_opts().filter(|option| !option.is_hide_set()).collect();
    if !options.is_empty() {
        text += ".RS\n";
        options.iter().for_each(|option| text += &clap_option(option));
        text += ".RE\n";
    }
    text
}

fn clap_option(option: &clap::Arg) -> String {
    let short = option.get_short().map(|short| format!("\\fB\\-{short}\\fP"));
    let long = option.get_long().map(|long| format!("\\fB\\-\\-{}\\fP", escaped(long)));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let takes_value = option.get_action().takes_values();
    let value = option.get_value_names().and_then(|names| names.first()).filter(|_| takes_value);
    let value = value.map_or(String::new(), |value| format!(" \\fI{value}\\fP"));
    format!(".TP\n{}{value}\n{}\n", names.join(", "), escaped(&sentence(option.get_help())))
}

fn sentence(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    if text.ends_with('.') { text } else { text + "." }
}

fn switch(Switch { short, long, value, doc }: &Switch) -> String {
    let value = value.map_or(String::new(), |value| format!(" \\fI{}\\fP", escaped(value)));
    let long = escaped(long);
    format!(".TP\n\\fB\\-{}\\fP{value}, \\fB\\-\\-{long}\\fP{value}\n{}\n", char::from(*short), escaped(doc))
}

fn item(name: &str, doc: &str) -> String {
    format!(".TP\n.B {}\n{}\n", escaped(name), escaped(doc))
}

fn directive(row: &Directive) -> String {
    let Directive { doc, default, range, .. } = row;
    let facts =
        format!("Type: {}; allowed: {range}. Default: {default}. Since {}.", row.kind().word(), since(row));
    format!(".TP\n.B {}\n{}\n{}\n", row.spelling(), escaped(doc), escaped(&facts))
}

/// Text for roff: backslashes, dashes that are to be copied, control characters at the start of a line, quotes.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    let text = text.replace('~', "\\(ti").replace('^', "\\(ha");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}
