//! The command line and configurations that fail: exit codes and every word of output.

use cornac_tests::run::{command_line, until_exit};
use cornac_tests::{Runs, Setup, compare_runs, skip_unless_root};
use regex::Regex;

#[test]
fn command_lines() {
    let mut runs = Runs::default();
    for words in [
        &["-v"][..],
        &["--version"],
        &["-m"],
        &["-h"],
        &["-?"],
        &["--help"],
        &["-X"],
        &["--no-such-option"],
        &["positional"],
        &["-y"],
        &["-n", "-v"],
        &["-n", "-m"],
        &["-t", "-y", "{dir}/none.conf"],
        &["-y", "{dir}/none.conf"],
        &["-y", "{dir}"],
        &["--fpm-config={dir}/none.conf", "--test"],
        &["-p", "{dir}/none", "-t"],
        &["-p", "{dir}", "-t"],
        &["-c", "{dir}/none.ini", "-y", "{dir}/none.conf"],
    ] {
        runs.compare(&words.join(" "), None, |side| command_line(side, words));
    }
    runs.finish();
}

/// Options in all their forms, and what goes before what.
#[test]
fn options() {
    let mut runs = Runs::default();
    for words in OPTIONS {
        let words: Vec<&str> = words.split(' ').map(|word| if word == "''" { "" } else { word }).collect();
        runs.compare(&words.join(" "), None, |side| command_line(side, &words));
    }
    runs.finish();
}

/// Separated by one blank; `''` is an empty word. None of them starts a server.
const OPTIONS: &[&str] = &[
    "-t -y {dir}/good.conf",
    "-ttt -y {dir}/good.conf",
    "-nty {dir}/good.conf",
    "-ty{dir}/good.conf",
    "-ty={dir}/good.conf",
    "-t --fpm-config {dir}/good.conf",
    "-t --fpm-config={dir}/good.conf",
    "-t --fpm-config=",
    "-t -D -y {dir}/good.conf",
    "-t -F -O -R -e -y {dir}/good.conf",
    "-tt -g /none/x -y {dir}/good.conf",
    "-tt --pid=x.pid -y {dir}/good.conf",
    "-tt -g '' -y {dir}/good.conf",
    "-t -p {dir} -y {dir}/good.conf",
    "-tp{dir}",
    "-t --prefix={dir}",
    "-t -p {dir}/",
    "-t -p ''",
    "-t -p none",
    "-t -p good.conf",
    "-t -y good.conf",
    "-t -y ./good.conf",
    "-t -y /dev/null",
    "-F -y /dev/null",
    "-D -y /dev/null",
    "-D -y none.conf",
    "-y none.conf",
    "-t -c /none.ini -y {dir}/good.conf",
    "-n -t -d extension=none.so -y {dir}/good.conf",
    "-t -d fpm.config={dir}/good.conf",
    "-t -dfpm.config='{dir}/good.conf'",
    "-t -d fpm.config=\"{dir}/good.conf\"",
    "-t -d FPM.config={dir}/good.conf -d fpm.config={dir}/none.conf",
    "-t -d fpm.config={dir}/none.conf -d fpm.config={dir}/good.conf",
    "-t -d fpm.config={dir}/good.conf -y {dir}/none.conf",
    "-t -d fpm.config",
    "-hv",
    "-vh",
    "-nv",
    "-mh",
    "-tv",
    "-vv",
    "-vx",
    "-xv",
    "-hx",
    "-v word",
    "-m word",
    "-h word",
    "word -v",
    "word -t",
    "-t -- word",
    "-- -v",
    "-",
    "-v --",
    "-?v",
    "-?",
    "--usage",
    "--help=x",
    "--version=x",
    "--test=1 -y {dir}/good.conf",
    "--Test",
    "--vers",
    "---",
    "--=",
    "-=",
    "-=v",
    "-v=",
    "-c",
    "-d",
    "-p",
    "-g",
    "-n -c",
    "--fpm-config",
    "--define",
    "-1",
    "-b 9000",
    "-a",
    "-f x",
    "--no-php-ini -v",
    "--profile-info -v",
    "--allow-to-run-as-root -v",
    "--nodaemonize -v",
    "--daemonize -v",
    "--force-stderr -v",
    "-n --modules",
    "-n -d extension=none.so -v",
    "-n -d a=\" -v",
    "-n -d '' -v",
    "-n -d = -v",
];

/// A word behind `-i` does not matter.
#[test]
fn phpinfo_with_a_word() {
    compare_runs("-i word", None, |side| {
        let text = command_line(side, &["-n", "-i", "word"]);
        text.lines().take(4).collect::<Vec<_>>().join("\n")
    });
}

/// What `${NAME}` finds besides the environment.
#[test]
fn settings_in_the_configuration() {
    let setup = Setup::new().www("listen.owner = ${one}-${two}-${three}\nenv[A] = \"${one}\"").arg("-tt");
    let setup = ["-d", "one=1", "-d", "two", "-d", "three=/x y"].iter().fold(setup, |s, word| s.arg(word));
    let setup = setup.www("listen.owner =\nslowlog = {dir}/${three}");
    compare_runs("-d and ${NAME}", None, |side| until_exit(side, &setup));
}

/// Lines said before `log_level` is known stay, and look as without it; those of debug name another program's source.
#[test]
fn log_levels_while_testing() {
    let origin = Regex::new(r"pid \{pid\}, \w+\(\), line \d+").expect("pattern");
    let mut runs = Runs::default();
    for level in ["alert", "error", "warning", "notice", "debug"] {
        let setup = Setup::new().global(&format!("include = {{dir}}/none.conf\nlog_level = {level}"));
        let spare = "pm = dynamic\npm.min_spare_servers = 1\npm.max_spare_servers = 1";
        for (name, lines) in
            [("good", spare), ("bad pool", "pm.max_children = 0"), ("bad user", "user = none")]
        {
            let setup = setup.clone().www(lines).arg("-t");
            runs.compare(&format!("{level}, {name}"), None, |side| {
                let text = until_exit(side, &setup);
                let text: Vec<&str> = text.lines().filter(|line| !line.contains("DEBUG")).collect();
                origin.replace_all(&text.join("\n"), "{origin}").into_owned()
            });
        }
        let low = setup.clone().global("log_limit = 3").arg("-t");
        runs.compare(&format!("{level}, bad global"), None, |side| {
            origin.replace_all(&until_exit(side, &low), "{origin}").into_owned()
        });
    }
    runs.finish();
}

/// Standard output is the null device by the time the logs are opened.
#[test]
fn logs_on_standard_streams() {
    let mut runs = Runs::default();
    for log in ["/dev/stdout", "/proc/self/fd/1", "/dev/stderr", "/proc/self/fd/2", "/dev/null"] {
        let setup = Setup::new().global(&format!("error_log = {log}")).arg("-tt");
        runs.compare(log, None, |side| until_exit(side, &setup));
    }
    runs.finish();
}

/// The rows of COMPATIBILITY.md about configuration and command line that a `-tt` can show.
#[test]
fn known_differences() {
    let mut runs = Runs::default();
    for (name, setup, reason) in [
        ("fallback", Setup::new().www("slowlog = {dir}/${NONE:-text}"), "8.2 knows no ${NAME:-text}"),
        ("php.ini", Setup::new().www("slowlog = {dir}/${memory_limit}"), "the master reads no php.ini"),
        ("constants", Setup::new().www("slowlog = PHP_VERSION"), "the master does not know PHP's constants"),
        ("PHP complains", Setup::new().arg("-d").arg("extension=none.so"), "-t does not start PHP"),
        ("PHP fails", Setup::new().arg("-d").arg("opcache.preload=/none"), "-t does not start PHP"),
    ] {
        let setup = setup.arg("-tt");
        runs.compare(name, Some(reason), |side| until_exit(side, &setup));
    }
    runs.finish();
}

/// Both say what is wrong, and only the exit code differs.
#[test]
fn background_failures() {
    let mut runs = Runs::default();
    for (name, lines, reason) in [
        ("socket", "listen = {dir}/none/x.sock", Some("70 whatever failed, where cornac says 78")),
        ("log", "access.log = {dir}/none/x.log", None),
    ] {
        runs.compare(name, reason, |side| until_exit(side, &Setup::new().www(lines).daemon()));
    }
    runs.finish();
}

#[test]
fn phpinfo() {
    compare_runs("-i", None, |side| {
        let text = command_line(side, &["-n", "-d", "precision=5", "-i"]);
        // Own process, addresses and times apart.
        let keep = |line: &&str| {
            !["REQUEST_TIME", "$_SERVER", "_ =>", "CORNAC_"].iter().any(|gone| line.contains(gone))
        };
        text.lines()
            .filter(keep)
            .collect::<Vec<_>>()
            .join("\n")
            .replace("fpm-ref", "fpm-xxx")
            .replace("fpm-sub", "fpm-xxx")
    });
}

/// Starts with a bad configuration and with `-t`, and compares output and exit code of both.
fn refused(runs: &mut Runs, name: &str, setup: &Setup) {
    runs.compare(name, None, |side| until_exit(side, setup));
    runs.compare(&format!("{name}, -t"), None, |side| until_exit(side, &setup.clone().arg("-t")));
}

#[test]
fn syntax_errors() {
    let mut runs = Runs::default();
    for (name, text) in [
        ("empty file", ""),
        ("only comments", "; nothing\n"),
        ("no pool", "[global]\nerror_log = {dir}/error.log\n"),
        ("unclosed section", "[www\n"),
        ("unclosed quote", "[www]\nlisten = \"abc\n"),
        ("hash comment", "[global]\n# no comment\n"),
        ("unknown entry", "[global]\nnothing = 1\n"),
        ("unknown entry of a pool", "[www]\nnothing = 1\n"),
        ("entry of the wrong section", "[global]\npm = static\n"),
        ("array of a scalar", "[www]\nlisten[] = x\n"),
        ("bad number", "[www]\npm.max_children = many\n"),
        ("bad time", "[global]\nprocess_control_timeout = 5x\n"),
        ("bad boolean", "[global]\ndaemonize = maybe\n"),
        ("bad log level", "[global]\nlog_level = loud\n"),
        ("bad pm", "[www]\npm = magic\n"),
        ("bad facility", "[global]\nsyslog.facility = nobody\n"),
        ("bad php_flag", "[www]\nphp_flag[x] = maybe\n"),
        ("php_value without key", "[www]\nphp_value[] = 1\n"),
        (
            "missing include",
            "include = {dir}/none.conf\n[www]\nlisten = {dir}/a.sock\nuser = {user}\npm = magic\n",
        ),
        ("include of itself", "include = {dir}/php-fpm.conf\n"),
        ("low log_limit", "[global]\nlog_limit = 64\n"),
        (
            "bad events.mechanism",
            "[global]\nerror_log = {dir}/error.log\nevents.mechanism = magic\n[www]\nuser = {user}\nlisten = {dir}/a.sock\npm = static\npm.max_children = 1\n",
        ),
        ("bad priority", "[global]\nprocess.priority = 100\n"),
    ] {
        refused(&mut runs, name, &Setup::bare(text));
    }
    runs.finish();
}

#[test]
fn pools_that_are_refused() {
    let mut runs = Runs::default();
    for (name, lines) in [
        ("no max_children", "pm.max_children = 0"),
        ("negative max_children", "pm.max_children = -1"),
        ("dynamic without spares", "pm = dynamic"),
        (
            "dynamic, start over spare",
            "pm = dynamic\npm.max_children = 5\npm.min_spare_servers = 1\npm.max_spare_servers = 2\npm.start_servers = 4",
        ),
        (
            "dynamic, min over max",
            "pm = dynamic\npm.max_children = 5\npm.min_spare_servers = 3\npm.max_spare_servers = 2",
        ),
        (
            "dynamic, spare over children",
            "pm = dynamic\npm.max_children = 2\npm.min_spare_servers = 1\npm.max_spare_servers = 3",
        ),
        ("ondemand without idle timeout", "pm = ondemand\npm.process_idle_timeout = 0"),
        ("no listen", "listen ="),
        ("missing socket folder", "listen = {dir}/none/www.sock"),
        ("status path without slash", "pm.status_path = status"),
        ("status path with a blank", "pm.status_path = \"/a b\""),
        ("ping path without slash", "ping.path = ping"),
        ("ping without response", "ping.path = /ping\nping.response ="),
        ("wrong chroot", "chroot = {dir}/none"),
        ("relative chroot", "chroot = www"),
        ("chroot and wrong chdir", "chroot = {dir}/www\nchdir = /none"),
        ("wrong chdir", "chdir = {dir}/none"),
        ("wrong prefix", "prefix = {dir}/none"),
        ("slow log without file", "request_slowlog_timeout = 5"),
        ("slow log in a missing folder", "request_slowlog_timeout = 5\nslowlog = {dir}/none/slow.log"),
        ("access log in a missing folder", "access.log = {dir}/none/access.log"),
        ("bad access format", "access.log = {dir}/access.log\naccess.format = \"%Z\""),
        ("suppress_path without slash", "access.suppress_path[] = x"),
        ("bad priority", "process.priority = 50"),
        ("bad rlimit_core", "rlimit_core = many"),
        ("bad port", "listen = 127.0.0.1:99999"),
        ("unknown host", "listen = no.such.host.invalid:9000"),
        ("max_spawn_rate", "pm.max_spawn_rate = 0\npm = dynamic"),
    ] {
        let setup = Setup::new().www(lines);
        // Some of these are accepted by -t, or at start, or hang in a loop of workers that fail: -t says enough.
        runs.compare(&format!("{name}, -t"), None, |side| until_exit(side, &setup.clone().arg("-t")));
    }
    runs.finish();
}

#[test]
fn start_fails() {
    let mut runs = Runs::default();
    for (name, lines) in [
        ("missing socket folder", "listen = {dir}/none/www.sock"),
        ("unknown host", "listen = no.such.host.invalid:9000"),
        ("bad port", "listen = 127.0.0.1:0"),
        ("address of another machine", "listen = 192.0.2.1:9000"),
        ("slow log in a missing folder", "request_slowlog_timeout = 5\nslowlog = {dir}/none/slow.log"),
    ] {
        runs.compare(name, None, |side| until_exit(side, &Setup::new().www(lines)));
    }
    let pid = Setup::new().global("pid = {dir}/none/php-fpm.pid");
    runs.compare("pid file in a missing folder", None, |side| until_exit(side, &pid));
    let log = Setup::new().global("error_log = {dir}/none/error.log");
    runs.compare("error log in a missing folder", None, |side| until_exit(side, &log));
    let twice = Setup::new().pool("second", "listen = {dir}/www.sock");
    runs.compare("one socket for two pools", None, |side| until_exit(side, &twice));
    runs.finish();
}

#[test]
fn users() {
    if skip_unless_root("users of pools", 8) {
        return;
    }
    let mut runs = Runs::default();
    for (name, lines) in [
        ("unknown user", "user = no-such-user"),
        ("unknown group", "group = no-such-group"),
        ("no user", "user =\ngroup ="),
        ("root without -R", "user = root\ngroup = root"),
        ("uid 0 without -R", "user = 0"),
        ("unknown listen.owner", "listen.owner = no-such-user"),
        ("unknown listen.group", "listen.group = no-such-group"),
        ("unknown acl user", "listen.acl_users = no-such-user"),
    ] {
        refused(&mut runs, name, &Setup::new().www(lines));
    }
    runs.finish();
}

#[test]
fn test_of_good_configurations() {
    let mut runs = Runs::default();
    let setup = Setup::new().www(
        "env[A] = b\nphp_value[precision] = 5\nphp_admin_flag[log_errors] = on\naccess.log = {dir}/$pool.log",
    );
    for words in [&["-t"][..], &["-tt"], &["-t", "-t"], &["--test", "-d", "precision=3"]] {
        let setup = words.iter().fold(setup.clone(), |setup, word| setup.arg(word));
        runs.compare(&words.join(" "), None, |side| until_exit(side, &setup));
    }
    runs.finish();
}
