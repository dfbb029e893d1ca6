//! The configurations. `{D}` is the case's own folder, in which `dir/inner` and `dir/log` exist. No case
//! may open a log outside of it.

use crate::Case;

const GLOBAL: &str = "[global]\nerror_log = {D}/err.log\n";
const POOL: &str = "[www]\nuser = www-data\nlisten = {D}/www.sock\npm = static\npm.max_children = 1\n";
const BARE: &str = "[www]\nuser = www-data\nlisten = {D}/www.sock\n";

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(GLOBAL_LINES.iter().map(|line| main(format!("{GLOBAL}{line}\n{POOL}").into_bytes())));
    cases.extend(POOL_LINES.iter().map(|line| main(format!("{GLOBAL}{POOL}{line}\n").into_bytes())));
    cases.extend(MANAGERS.iter().map(|line| main(format!("{GLOBAL}{BARE}{line}\n").into_bytes())));
    cases.extend(VALUES.iter().map(|value| main(format!("{GLOBAL}{POOL}slowlog = {value}\n").into_bytes())));
    cases.extend(LINES.iter().map(|line| main(format!("{GLOBAL}{POOL}{line}\n").into_bytes())));
    cases.extend(WHOLE.iter().map(|text| main(text.as_bytes().to_vec())));
    cases.extend(bytes());
    cases.extend(arguments());
    cases.extend(includes());
    cases
}

/// A pool with one line of pieces drawn by a linear congruential generator.
pub(crate) fn random(state: &mut u64) -> Case {
    const PIECES: &[&str] = &[
        "slowlog", "env", "a", "b1", "yes", "no", "null", "E_ALL", "-5", "1.5", ".", " ", " ", "\t", "=",
        "=", "[", "]", "\"", "\"", "'", "'", "\\", "$", "${", "}", "{", "GREETING", "EMPTY", ":", ";", "&",
        "|", "^", "~", "!", "(", ")", "\r", "#", ",", "/", "$pool", "www", "\u{e4}",
    ];
    const STARTS: &[&str] = &["slowlog = ", "env[", "env[x] = ", "[", "", "slowlog"];
    let mut draw = |most: usize| {
        *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (*state >> 33) as usize % most
    };
    if draw(3) == 0 {
        return directive_at_random(&mut draw);
    }
    let mut line = STARTS[draw(STARTS.len())].to_owned();
    for _ in 0..=draw(9) {
        line.push_str(PIECES[draw(PIECES.len())]);
    }
    main(format!("{GLOBAL}{POOL}{line}\n").into_bytes())
}

/// Any directive with an odd value; none that opens a file, and no user, which is looked up after the configuration.
fn directive_at_random(draw: &mut dyn FnMut(usize) -> usize) -> Case {
    const VALUES: &[&str] = &[
        "",
        "0",
        "1",
        "2",
        "-1",
        "19",
        "20",
        "64",
        "100",
        "512",
        "2147483648",
        "-99999999999999999999",
        "5s",
        "1m",
        "-1h",
        "1 s",
        "xs",
        "1.5",
        "+3",
        "0x10",
        "007",
        "yes",
        "off",
        "\"true\"",
        "\"False\"",
        "static",
        "ONDEMAND",
        "unlimited",
        "/",
        "/a",
        "/a/b_c-d.e~f",
        "/$pool",
        "poll",
        "epoll",
        "local3",
        "user",
        "E_ALL",
        "1|4",
    ];
    let opens =
        ["pid", "error_log", "access.log", "slowlog", "user", "group", "listen.owner", "listen.group"];
    let rows: Vec<_> = config::directives()
        .filter(|row| !row.own && !opens.contains(&row.name))
        .filter(|row| !row.name.starts_with("listen.acl"))
        .collect();
    let mut text = (String::from(GLOBAL), format!("{POOL}slowlog = {{D}}/slow\naccess.log = {{D}}/access\n"));
    for _ in 0..=draw(3) {
        let (row, value) = (rows[draw(rows.len())], VALUES[draw(VALUES.len())]);
        let key = match row.kind() {
            config::Kind::List => "[]",
            config::Kind::Map => "[x]",
            _ => "",
        };
        let section = if row.scope == config::Scope::Global { &mut text.0 } else { &mut text.1 };
        *section += &format!("{}{key} = {value}\n", row.name);
    }
    main((text.0 + &text.1).into_bytes())
}

fn main(text: Vec<u8>) -> Case {
    Case { files: vec![("fpm.conf", text)], arguments: Vec::new() }
}

/// Lines of the global section.
const GLOBAL_LINES: &[&str] = &[
    "pid = run/x.pid",
    "pid = /tmp/x.pid",
    "pid =",
    "pid = $pool",
    "error_log = syslog",
    "error_log = SysLog\nsyslog.ident = me\nsyslog.facility = local3",
    "error_log = {D}/missing/err.log",
    "error_log =",
    "error_log = {D}/dir",
    "syslog.facility = AUTHPRIV",
    "syslog.facility = kern",
    "syslog.facility = local7",
    "syslog.facility = local8",
    "syslog.facility =",
    "syslog.ident =",
    "log_buffering = no",
    "log_buffering = maybe",
    "log_level = notice",
    "log_level = WARNING",
    "log_level = warn\nprocess.max = -1",
    "log_level = alert\nprocess.max = -1",
    "log_level = error\nlog_limit = 4",
    "log_level = loud",
    "log_limit = 511",
    "log_limit = 512",
    "log_limit = 4096",
    "log_limit = many",
    "emergency_restart_interval = 1m",
    "emergency_restart_interval = 1x",
    "emergency_restart_threshold = 10",
    "emergency_restart_threshold = 1.5",
    "process_control_timeout = 2h",
    "process_control_timeout =",
    "process.max = 12",
    "process.max = -1",
    "process.priority = -19",
    "process.priority = 21",
    "process.priority = -20",
    "process.priority = 64",
    "daemonize = no",
    "daemonize = 2",
    "rlimit_files = 100",
    "rlimit_files = -3",
    "rlimit_core = unlimited",
    "rlimit_core = UNLIMITED",
    "rlimit_core = 5",
    "rlimit_core = -5",
    "rlimit_core = big",
    "events.mechanism = poll",
    "events.mechanism = EPOLL",
    "events.mechanism = kqueue",
    "events.mechanism =",
    "systemd_interval = 0",
    "systemd_interval = 3s",
    "systemd_interval = 1d",
    "systemd_interval = -5",
    "systemd_interval = x",
    "unknown = 1",
    "pm = static",
    "env[A] = b",
    "access.suppress_path[] = /x",
    "env[] = b",
    "PID = x\nLog_Limit = 600",
];

/// Lines of a complete pool.
const POOL_LINES: &[&str] = &[
    "prefix = {D}",
    "prefix = {D}/dir\nslowlog = log/slow\naccess.log = acc.log\nchdir = inner",
    "prefix = {D}/none",
    "prefix = share",
    "prefix =\nslowlog = x",
    "user = 33",
    "group = www-data",
    "listen =",
    "listen = 9000",
    "listen = 127.0.0.1:99999",
    "listen = [::1]:9000",
    "listen = run/$pool.sock",
    "listen = unix:/x",
    "listen.backlog = 511",
    "listen.backlog = -7",
    "listen.backlog = x",
    "listen.owner = www-data\nlisten.group = www-data\nlisten.mode = 0666",
    "listen.owner =",
    "listen.mode = rubbish",
    "listen.allowed_clients = 127.0.0.1,::1",
    "listen.setfib = 1",
    "process.priority = 5",
    "process.priority = 30",
    "process.dumpable = yes",
    "process.dumpable = often",
    "pm.max_children = 0",
    "pm.max_children = -1",
    "pm.max_children = 4294967297",
    "pm.max_children = 99999999999999999999",
    "pm.max_requests = 500",
    "pm.max_requests = -500",
    "pm.max_requests =",
    "pm.max_requests = --5",
    "pm.max_requests = -",
    "pm.max_spawn_rate = 0",
    "pm.process_idle_timeout = 5m",
    "pm.process_idle_timeout = 0",
    "pm = crazy",
    "pm =",
    "pm.status_path = /status",
    "pm.status_path = status",
    "pm.status_path = /",
    "pm.status_path = /a b",
    "pm.status_path = /ä",
    "pm.status_path =",
    "pm.status_listen = 9001",
    "pm.status_listen = {D}/www.sock",
    "pm.status_listen =",
    "pm.status_listen = 9001\npm.status_path = x",
    "pm.status_listen = s.sock\nprefix = {D}",
    "ping.path = /ping",
    "ping.path = ping",
    "ping.path = /",
    "ping.path = /p*",
    "ping.path = /ping\nping.response = here",
    "ping.path = /ping\nping.response =",
    "ping.response = here",
    "access.log = {D}/$pool.access.log",
    "access.log = {D}/none/a.log",
    "access.log =",
    "access.format = \"%x\"",
    "access.format =",
    "access.log = {D}/a\naccess.format = \"%x\"",
    "access.log = {D}/a\naccess.format =",
    "access.log = {D}/a\naccess.format = \"%{user}C %{x}C\"",
    "access.log = {D}/a\naccess.format = \"%{milli}d %{x}d\"",
    "access.log = {D}/a\naccess.format = \"%{milliseconds}d %{mili}d %{miliseconds}d %{MICRO}d\"",
    "access.log = {D}/a\naccess.format = \"%{KILO}M %{x}M\"",
    "access.log = {D}/a\naccess.format = \"%e\"",
    "access.log = {D}/a\naccess.format = \"%o\"",
    "access.log = {D}/a\naccess.format = \"%{a}e %{b}o %{%d}t %{x}T\"",
    "access.log = {D}/a\naccess.format = \"%{a\"",
    "access.log = {D}/a\naccess.format = \"%{a}\"",
    "access.log = {D}/a\naccess.format = \"%{a}R\"",
    "access.log = {D}/a\naccess.format = \"%{}R %% 100%\"",
    "access.log = {D}/a\naccess.format = \"%R - %u %t \\\"%m %r%Q%q\\\" %s %f %{milli}d %{kilo}M %C%% %l %n %p %P\"",
    "access.suppress_path[] = /a\naccess.suppress_path[] = /b",
    "access.suppress_path[x] = /a",
    "access.suppress_path[x] = a",
    "access.suppress_path[] = a",
    "access.suppress_path[] =",
    "access.suppress_path = /a",
    "slowlog = {D}/slow\nrequest_slowlog_timeout = 5",
    "slowlog = {D}/none/slow\nrequest_slowlog_timeout = 5",
    "request_slowlog_timeout = 5",
    "request_slowlog_timeout = 5y",
    "slowlog = {D}/slow\nrequest_slowlog_timeout = 5\nrequest_terminate_timeout = 4",
    "slowlog = {D}/slow\nrequest_slowlog_timeout = -5\nrequest_terminate_timeout = 4s",
    "request_slowlog_trace_depth = 5",
    "request_slowlog_trace_depth = 0",
    "slowlog = {D}/slow\nrequest_slowlog_trace_depth = -5",
    "slowlog = {D}/slow\nrequest_slowlog_trace_depth = 7",
    "request_terminate_timeout = 1d",
    "request_terminate_timeout = 100000d",
    "request_terminate_timeout_track_finished = yes",
    "rlimit_files = 5\nrlimit_core = 6",
    "rlimit_core = unlimited",
    "rlimit_core = -2",
    "chroot = {D}",
    "chroot = {D}/none",
    "chroot = x$prefix",
    "chroot = $prefix",
    "prefix = {D}\nchroot = $prefix/dir\nchdir = /inner",
    "prefix = {D}\nchroot = dir\nchdir = /outer",
    "prefix = {D}\nchroot = $prefix",
    "chroot =\nchdir = /tmp\nphp_value[error_log] = x",
    "chdir = {D}/dir",
    "chdir = {D}/none",
    "chdir = share",
    "catch_workers_output = yes\ndecorate_workers_output = no",
    "clear_env = no",
    "clear_env = ${SWITCH}",
    "clear_env = \"off\"",
    "clear_env = \"OFF\"",
    "clear_env = 0",
    "security.limit_extensions = .php .php8",
    "security.limit_extensions =",
    "apparmor_hat = x",
    "env[A] = $HOSTNAME\nenv[B] = b$pool\nenv[A] = again",
    "env[A] =",
    "env[A] = ${GREETING}",
    "env = x",
    "Env[A] = x",
    "foo[a] = b",
    "foo[] = b",
    "php_value[] = x",
    "php_value[memory_limit] = 64M\nphp_flag[display_errors] = on\nphp_flag[x] = off",
    "php_admin_value[error_reporting] = E_ALL & ~E_NOTICE\nphp_admin_flag[y] = yes",
    "php_admin_flag[y] = perhaps",
    "php_flag[y] =",
    "php_value[sendmail_path] = sendmail -t\nphp_value[ERROR_LOG] = x\nphp_value[extension_dir] = /y",
    "php_admin_value[error_log] = SYSLOG\nphp_value[error_log] = syslog",
    "php_value[include_path] = \".:/x\"\nphp_value[x] =",
    "php_value[x] = $pool/$pool",
    "catch_worker_output = yes",
    "user = www-data\nUSER = www-data",
];

/// Process managers.
const MANAGERS: &[&str] = &[
    "",
    "pm = static",
    "pm = dynamic\npm.max_children = 5",
    "pm = dynamic\npm.max_children = 5\npm.min_spare_servers = 2",
    "pm = dynamic\npm.max_children = 5\npm.min_spare_servers = 2\npm.max_spare_servers = 9",
    "pm = dynamic\npm.max_children = 5\npm.min_spare_servers = 6\npm.max_spare_servers = 2",
    "pm = dynamic\npm.max_children = 5\npm.min_spare_servers = 3\npm.max_spare_servers = 2",
    "pm = dynamic\npm.max_children = 5\npm.min_spare_servers = 1\npm.max_spare_servers = 4",
    "pm = Dynamic\npm.max_children = 5\npm.min_spare_servers = 1\npm.max_spare_servers = 4\npm.start_servers = 5",
    "pm = dynamic\npm.max_children = 5\npm.min_spare_servers = 1\npm.max_spare_servers = 4\npm.start_servers = -1",
    "pm = dynamic\npm.max_children = 5\npm.min_spare_servers = 1\npm.max_spare_servers = 4\npm.max_spawn_rate = 0",
    "pm = ondemand\npm.max_children = 5\npm.start_servers = 3",
    "pm = ondemand\npm.max_children = 5\npm.process_idle_timeout = 0",
    "pm = ondemand\npm.max_children = 5\npm.process_idle_timeout = -1m",
    "pm = ondemand\npm.max_children = 5\nlisten.backlog = -2",
    "pm = ondemand\npm.max_children = 5\n[global]\nevents.mechanism = select",
    "pm = static\npm.max_children = 5\npm.status_listen = 9002\n[global]\nevents.mechanism = poll",
];

/// Values, all given to one directive of type string.
const VALUES: &[&str] = &[
    "b c",
    "yes",
    "yesx",
    "on off",
    "x yes",
    "yes 5",
    "yes foo",
    "yes f-o",
    "yes 'x'",
    "yes \"x\"",
    "yes ${EMPTY}",
    "\"x\" y",
    "'x'y",
    "x;c",
    "x ; c",
    "\"x;y\" ; c",
    "E_ALL",
    "PHP_OS.x",
    "E_ALL & ~E_NOTICE",
    "1|2",
    "(1|4)",
    "!1",
    "!0|3",
    "~5|3",
    "1|2&4^1",
    "7 & -8",
    "b=c",
    "=",
    "\"b\\\"c\\n\\\\d\\$e\"",
    "'b\\'c'",
    "x$pool.log",
    "$pool$pool",
    "${GREETING}/x",
    "\"x${GREETING}y\"",
    "${NO SUCH}",
    "${",
    "${}",
    "${X",
    "\"${X",
    "{1}",
    "b{",
    "\"unclosed",
    "'unclosed",
    "b'c",
    "b\\c",
    "'a''b'",
    "''",
    "\"\"",
    "'a' ''",
    "null",
    "NULL",
    "NonE x",
    "x | y",
    "'x' 'y'",
    "x  'y'  z  ",
    "\"x\"\"y\"",
    "\"x\" 'y' z ${GREETING}",
    "x \"y\"",
    "#x",
    "b #x",
    "~",
    "!",
    ")",
    "(1",
    "(1 yes",
    "()",
    "((((1))))",
    "x!y",
    "$ x",
    "x$;y",
    "$\\;z",
    "\\",
    "x\\;y",
    "\"x\\\"",
    "\"\\\\\" y",
    "\"x\\\\\\\"b\" c",
    "-5",
    "1.5",
    "5 5",
    "[::1]",
    "a]",
    "b\tc",
    "a,b:c<d>e?f@g%h*i/j+k",
    "noyes",
    "true;x",
    "\"yes\"",
    "1K",
    "x\ry=z",
    "x\r",
];

/// Lines that test the syntax left of the equals sign, and sections.
const LINES: &[&str] = &[
    "slowlog",
    "= b",
    "yes = 1",
    "yes",
    "no x = 1",
    "slow{log = 1",
    "a & b = c",
    "a ! b",
    "a \"b\" = c",
    "  \"x\"",
    "]",
    "a]=b",
    "slowlog;x = c",
    "  slowlog = b  ",
    "\tslowlog\t=\tb",
    "slow log = x",
    "slowlog:x = y",
    "#foo",
    "#foo = bar",
    " ; comment",
    "   ",
    "[a",
    "[]",
    "[www] slowlog=c",
    "[www][www] slowlog = d",
    "[WWW]\nslowlog = e",
    "['www']\nslowlog = e",
    "[\"ww\"w]\nslowlog = e",
    "[w;w]",
    "[w'w]",
    "[w\"w]",
    "[w\\]w]",
    "[www]]",
    "[yes]",
    "[E_ALL]",
    "[${GREETING}]",
    "[ www ]",
    "[Global]\nlog_limit = 700",
    "[www] ; comment\nslowlog = f",
    "[x$pool]\nuser=www-data\nlisten=9000\npm=static\npm.max_children=2\n",
    "env[b = c",
    "env[b] c",
    "env[b]",
    "env[b] =",
    "env[\"b\"] = c",
    "env['b'] = c",
    "env[b c] = c",
    "env[ b ]=c",
    "env [b]=c",
    "env[E_ALL]=c",
    "env[yes]=c",
    "env[b]]=c",
    "env[b][c]=d",
    "env[b]=c]",
    "env[$x]=c",
    "env[x$y]=c",
    "env[${GREETING}]=c",
    "env[\"b]=c",
    "env['b]=c",
    "env[b;c]=d",
    "env[a\\]b]=d",
    "unknown = 'x",
    "unknown = a = b",
    "slowlog = a = b",
    "slowlog = yes no",
    "env[a]=b=c",
    "include=a\rinclude=b",
];

/// Whole files.
const WHOLE: &[&str] = &[
    "error_log = {D}/err.log\n",
    "\n\nerror_log = {D}/err.log\n\n",
    "[www]\nlisten = 9000\n[global]\nerror_log = {D}/err.log\n",
    "[global]\nerror_log = {D}/err.log\n[www]\nuser = www-data\n",
    "[global]\nerror_log = {D}/err.log\n[www]\nuser = www-data\nlisten = 9000\npm = static\npm.max_children = 1\n[two]\nuser = www-data\nlisten = 9000\npm = static\npm.max_children = 1\n",
    "[b]\nuser = www-data\nlisten = 9000\npm = static\npm.max_children = 1\n[a]\nuser = www-data\nlisten = 9001\npm = static\npm.max_children = 1\n[global]\nerror_log = {D}/err.log\n[B]\nlisten = 9002",
    "error_log = {D}/err.log\r\n[www]\r\nuser = www-data\r\nlisten = 9000\r\npm = static\r\npm.max_children = 1\r\n",
    "\u{feff}error_log = {D}/err.log\n\u{feff}[www]\nuser = www-data\nlisten = 9000\npm = static\npm.max_children = 1",
    "[global]\nerror_log = {D}/err.log\n[p_status]\nuser = www-data\nlisten = 9000\npm = static\npm.max_children = 1\npm.status_listen = 9000\n",
];

/// Bytes that are no text.
fn bytes() -> Vec<Case> {
    let lines: [&[u8]; 5] = [
        b"; Gr\xfc\xdfe\nslowlog = \xe4\xff",
        b"slowlog = a\0b",
        b"slowlog = a ; c\0\nslowlog = b",
        b"\0\nslowlog = c",
        b"[w\xfcw]\nuser = www-data",
    ];
    lines.map(|line| main([GLOBAL.as_bytes(), POOL.as_bytes(), line].concat())).into()
}

/// Command lines.
fn arguments() -> Vec<Case> {
    let pool = format!("{GLOBAL}{POOL}");
    let relative = "error_log = err.log\npid = x.pid\n[www]\nuser = www-data\nlisten = s.sock\npm = static\n\
                    pm.max_children = 1\nslowlog = slow\nprefix = dir\nchdir = inner\n";
    let rows: [(&str, &[&str]); 10] = [
        ("", &["-p", "{D}/dir"]),
        ("\n\n", &["-p", "{D}"]),
        (&pool, &["-p", "{D}"]),
        (&pool, &["-p", "{D}/none"]),
        (&pool, &["-g", "x.pid"]),
        (&pool, &["-g", "/run/x.pid", "-F"]),
        (&format!("pid = /y.pid\n{pool}"), &["-g", "/run/x.pid"]),
        (relative, &["-p", "{D}"]),
        (&pool.replace("user = www-data\n", ""), &[]),
        (&pool.replace("user = www-data\n", ""), &["-R"]),
    ];
    let case = |(text, arguments): (&str, &[&'static str])| Case {
        files: vec![("fpm.conf", text.as_bytes().to_vec())],
        arguments: arguments.to_vec(),
    };
    rows.map(case).into()
}

/// Files that include files.
fn includes() -> Vec<Case> {
    let with = |text: String, others: &[(&'static str, &str)]| {
        let mut case = main(text.into_bytes());
        case.files.extend(others.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())));
        case
    };
    let pool = |name: &str, port: u16| {
        format!("[{name}]\nuser = www-data\nlisten = {port}\npm = static\npm.max_children = 1\n")
    };
    let (a, b) = (pool("a", 9001), pool("b", 9002));
    let both: &[(&'static str, &str)] = &[("d/b.conf", &b), ("d/a.conf", &a), ("d/x.conf/y", "")];
    let deep: Vec<(&'static str, String)> = ["1", "2", "3", "4", "5", "6"]
        .into_iter()
        .map(|n| (n, format!("include = {{D}}/{}\n", n.parse::<u32>().unwrap() + 1)))
        .collect();
    let deep: Vec<(&'static str, &str)> = deep.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let shallow = [&deep[..3], &[("4", a.as_str())]].concat();
    vec![
        with(format!("{GLOBAL}include = {{D}}/d/*.conf\n"), both),
        with(format!("{GLOBAL}include = {{D}}/d/[ab].conf\npm.max_requests = 7\n"), both),
        with(format!("{GLOBAL}include = {{D}}/d/*.conf\n\nwrong = 1\n"), both),
        with(
            format!("{GLOBAL}{POOL}include = {{D}}/extra\npm.max_requests = 7\n"),
            &[("extra", "slowlog = x")],
        ),
        with(format!("{GLOBAL}{POOL}include = {{D}}/none*\n"), &[]),
        with(format!("{GLOBAL}{POOL}include = {{D}}/none\n"), &[]),
        with(format!("{GLOBAL}{POOL}include = {{D}}/none/*.conf\n"), &[]),
        with(format!("{GLOBAL}{POOL}include = {{D}}/fpm.conf/*.conf\n"), &[]),
        with(format!("{GLOBAL}{POOL}include = {{D}}/dir\n"), &[]),
        with(format!("{GLOBAL}{POOL}include =\n"), &[]),
        with(format!("{GLOBAL}{POOL}include = none/x*\n"), &[]),
        with(format!("{GLOBAL}{POOL}Include = {{D}}/extra\n"), &[("extra", "slowlog = x")]),
        with(format!("{GLOBAL}{POOL}include = {{D}}/extra\n"), &[("extra", "\nwrong = x\n")]),
        with(format!("{GLOBAL}{POOL}include = {{D}}/extra\n"), &[("extra", "slowlog = \"x\n")]),
        with(format!("{GLOBAL}{POOL}include = {{D}}/fpm.conf\n"), &[]),
        with(format!("{GLOBAL}include = {{D}}/1\n"), &deep),
        with(format!("{GLOBAL}include = {{D}}/1\nwrong = 2"), &shallow),
        with(format!("{GLOBAL}include = {{D}}/1\n"), &shallow),
    ]
}
