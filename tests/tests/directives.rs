//! Every directive of the table in every form, right and wrong, through `-tt` of php-fpm and of cornac.

use config::{Directive, Kind, Scope};
use cornac_tests::run::until_exit;
use cornac_tests::tester::{Files, same_verdicts};
use cornac_tests::{Runs, Setup};

/// The pool under test. `-p` keeps what relative paths create inside the folder.
const GLOBAL: &str = "[global]\nerror_log = {dir}/error.log\n";
const POOL: &str = "[www]\nuser = {user}\nlisten = {dir}/www.sock\npm = static\npm.max_children = 3\n";
/// What other directives depend on.
const RICH: &str = "pm = dynamic\npm.min_spare_servers = 1\npm.max_spare_servers = 3\npm.start_servers = 2\n\
    ping.path = /ping\npm.status_path = /status\naccess.log = access.log\nslowlog = slow.log\n\
    request_slowlog_timeout = 4\nrequest_terminate_timeout = 9\nrequest_slowlog_trace_depth = 4\n";

/// Values, each given to every directive.
const VALUES: &[&str] = &[
    "",
    "rubbish",
    "-1",
    "0",
    "5",
    "64",
    "600",
    "2147483647",
    "2147483648",
    "-2147483649",
    "99999999999999999999",
    "1.5",
    "+5",
    "\"5\"",
    "'5'",
    "5 ; comment",
    "E_ALL",
    "1|4",
    "${NUMBER}",
    "${GREETING}",
    "${SWITCH}",
    "${EMPTY}",
    "${NONE}",
    "$pool",
    "/$pool/$pool",
    "yes",
    "off",
    "\"on\"",
    "\"On\"",
    "null",
    "5s",
    "2m",
    "-3h",
    "9999999d",
    "s",
    "5 s",
    "static",
    "Ondemand",
    "unlimited",
    "warn",
    "local7",
    "/",
    "/none/such",
    "{dir}",
    "{dir}/www",
    "127.0.0.1:9000",
    "poll",
    "SYSLOG",
    "www-data",
    "a,b",
    "\"%R %{mega}M\"",
    "%z",
    "[::1]:65536",
    "\u{e4}",
    "x\ty",
];

/// Everything that may stand in a file about one directive, as lines for its own section.
fn lines(row: &Directive) -> Vec<String> {
    let name = row.name;
    let mut lines: Vec<String> = match row.kind() {
        Kind::List => VALUES.iter().map(|value| format!("{name}[] = {value}")).collect(),
        Kind::Map => VALUES.iter().map(|value| format!("{name}[precision] = {value}")).collect(),
        _ => VALUES.iter().map(|value| format!("{name} = {value}")).collect(),
    };
    let upper = name.to_uppercase();
    lines.extend([
        row.example.replace("/run/", "{dir}/").replace("/var/", "{dir}/"),
        name.into(),
        format!("{name} = 5\n{name} = 7"),
        format!("{upper} = 5"),
        format!("  {name}\t=\t5  "),
        format!("{name}[] = 5"),
        format!("{name}[x] = 5\n{name}[x] = yes"),
        format!("{name}[x"),
        format!("{upper}[x] = 5"),
        format!("{name}:5"),
    ]);
    lines
}

fn own_section(row: &Directive, line: &str, rich: bool) -> String {
    let extra = if rich { RICH } else { "" };
    match row.scope {
        Scope::Global => format!("{GLOBAL}{line}\n{POOL}{extra}"),
        Scope::Pool => format!("{GLOBAL}{POOL}{extra}{line}\n"),
    }
}

fn other_section(row: &Directive, line: &str) -> String {
    match row.scope {
        Scope::Global => format!("{GLOBAL}{POOL}{line}\n"),
        Scope::Pool => format!("{GLOBAL}{line}\n{POOL}"),
    }
}

/// Whether php-fpm cuts the number to 32 bits and goes on as somebody else, where cornac refuses.
fn is_user_too_large(row: &Directive, line: &str) -> bool {
    ["user", "group", "listen.owner", "listen.group"].contains(&row.name)
        && line.ends_with("99999999999999999999")
}

/// A fourth of all, another fourth for every directive; with `CORNAC_EXHAUSTIVE` all of them, in both pools. In the
/// other section, few lines say enough.
#[test]
fn every_directive_in_every_form() {
    let exhaustive = std::env::var_os("CORNAC_EXHAUSTIVE").is_some();
    let mut texts = Vec::new();
    for (row_number, row) in config::directives().filter(|row| !row.own).enumerate() {
        let lines = lines(row);
        let wanted = lines.iter().enumerate().filter(|(_, line)| !is_user_too_large(row, line));
        for (number, line) in wanted.filter(|(number, _)| exhaustive || (number + row_number) % 4 == 0) {
            texts.push(own_section(row, line, number % 2 == 0));
            if exhaustive {
                texts.push(own_section(row, line, number % 2 == 1));
            }
        }
        let elsewhere = lines[VALUES.len()..].iter().step_by(if exhaustive { 1 } else { 3 });
        texts.extend(elsewhere.map(|line| other_section(row, line)));
    }
    assert!(texts.len() > 1000, "{} configurations", texts.len());
    let all: Vec<Files> = texts.into_iter().map(|text| Files::one(&text, text.as_str())).collect();
    same_verdicts(&all, &["-p", "{dir}"]);
}

/// Once the system log is open, lines on stderr have its shape, also those of a configuration that is refused.
#[test]
fn the_system_log() {
    let case = |name: &str, global: &str, pool: &str| {
        Files::one(name, format!("[global]\nerror_log = syslog\n{global}\n{POOL}{pool}\n"))
    };
    same_verdicts(
        &[
            case("accepted", "syslog.ident = cornac-test", ""),
            case("refused before it is open", "log_limit = 3", ""),
            case("refused by the mechanism", "events.mechanism = none", ""),
            case("refused by a pool", "", "pm.max_children = 0"),
            case("refused by a user", "", "user = no-such-user"),
            case("with a notice", "", "pm = dynamic\npm.min_spare_servers = 1\npm.max_spare_servers = 1"),
        ],
        &[],
    );
}

/// php-fpm cuts such a number to 32 bits: 4294967297 would run as user 1.
#[test]
fn user_numbers_that_do_not_fit() {
    let mut runs = Runs::default();
    for directive in ["user", "group", "listen.owner", "listen.group"] {
        let setup = Setup::new().www(&format!("{directive} = 4294967329")).arg("-t");
        let reason = "php-fpm goes on as number 33";
        runs.compare(directive, Some(reason), |side| until_exit(side, &setup));
    }
    runs.finish();
}
