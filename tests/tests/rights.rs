//! What holds a pool's processes in: chroot, limits, priority, dumpability.

use cornac_tests::{Case, Pair, Runs, Server, Setup, compare_runs, skip_unless_root};

const WHO: &str = "<?php $s = file_get_contents('/proc/self/status'); preg_match_all('/^(Uid|Gid|Groups|CapEff|CapPrm|CapInh|CapAmb|NoNewPrivs):.*/m', $s, $m); echo implode(\"\\n\", $m[0]), \"\\n\"; echo is_readable('/proc/self/environ') ? 'open' : 'closed', ' ', @scandir('/proc/self/fd') ? 'open' : 'closed', ' ', fileowner('/proc/self/status');";

fn who(name: &str, setup: Setup) {
    let mut pair = Pair::start(&setup.script("who.php", WHO));
    pair.cases([Case::get(name, "/who.php")]);
    pair.finish();
}

#[test]
fn dumpable_or_not() {
    for value in ["yes", "no"] {
        who(value, Setup::new().www(&format!("process.dumpable = {value}")));
        if !skip_unless_root("an ordinary user", 1) {
            who(value, Setup::new().www(&format!("process.dumpable = {value}")).unprivileged());
            let root = Setup::new().www(&format!("user = root\ngroup = root\nprocess.dumpable = {value}"));
            who(value, root.arg("-R"));
        }
    }
}

#[test]
fn priorities() {
    if skip_unless_root("priorities", 6) {
        return;
    }
    let mut runs = Runs::default();
    for (global, pool) in [("", "-19"), ("", "19"), ("", "20"), ("-5", ""), ("10", "-10"), ("-19", "0")] {
        runs.compare(&format!("global {global}, pool {pool}"), None, |side| {
            let line = |value: &str| match value {
                "" => String::new(),
                value => format!("process.priority = {value}"),
            };
            let setup = Setup::new().global(&line(global)).www(&line(pool));
            let setup = setup.script(
                "x.php",
                "<?php echo explode(' ', explode(') ', file_get_contents('/proc/self/stat'))[1])[16];",
            );
            let server = Server::start(side, &setup);
            let worker = server.get("/x.php").body();
            server.stop();
            worker
        });
    }
    runs.finish();
}

#[test]
fn priorities_out_of_range_or_without_the_right() {
    let mut runs = Runs::default();
    for line in ["process.priority = 21", "process.priority = -20", "process.priority = x"] {
        runs.compare(line, None, |side| cornac_tests::run::until_exit(side, &Setup::new().www(line)));
    }
    runs.finish();
}

const LIMITS: &str = "<?php foreach (posix_getrlimit() as $k => $v) if (preg_match('/openfiles|core/', $k)) echo \"$k $v\\n\";";

#[test]
fn limits() {
    let mut runs = Runs::default();
    for (global, pool) in [
        ("", "rlimit_files = 300"),
        ("rlimit_files = 1000", ""),
        ("rlimit_files = 1000", "rlimit_files = 200"),
        ("rlimit_core = 0", "rlimit_core = unlimited"),
        ("rlimit_core = 1000", "rlimit_core = 500"),
        ("rlimit_core = unlimited", ""),
    ] {
        runs.compare(&format!("{global} / {pool}"), None, |side| {
            let server = Server::start(side, &Setup::new().global(global).www(pool).script("x.php", LIMITS));
            let body = server.get("/x.php").body();
            server.signal(nix::sys::signal::Signal::SIGUSR2);
            server.wait_ready_times(2);
            let again = server.get("/x.php").body() == body;
            server.stop();
            format!("{body} {again}")
        });
    }
    runs.finish();
}

#[test]
fn limits_that_cannot_be_set() {
    if skip_unless_root("an ordinary user", 2) {
        return;
    }
    let low = ["/bin/sh", "-c", "ulimit -n 500; exec \"$0\" \"$@\""];
    compare_runs("the master's", None, |side| {
        let setup = Setup::new().global("rlimit_files = 1000").wrapped(&low).unprivileged();
        cornac_tests::run::until_exit(side, &setup)
    });
    compare_runs("a pool's", Some("told once, in the log"), |side| {
        let setup =
            Setup::new().www("rlimit_files = 1000").script("x.php", LIMITS).wrapped(&low).unprivileged();
        let server = Server::start(side, &setup);
        let body = server.get("/x.php").body();
        let told = server.log().contains("failed to set rlimit_files for this pool. Please check your system limits or decrease rlimit_files. setrlimit(RLIMIT_NOFILE, 1000): Operation not permitted (1)");
        server.stop();
        format!("{body} {told}")
    });
}

/// A chroot with nothing in it but the scripts.
#[test]
fn a_bare_chroot() {
    if skip_unless_root("chroot", 8) {
        return;
    }
    let setup =
        Setup::new().www("chroot = {dir}/www\nphp_flag[display_errors] = on\nphp_flag[html_errors] = off");
    let mut pair = Pair::start(&setup);
    let inside = |name: &str, code: &str| {
        let file = format!("/{}.php", name.replace(' ', "-"));
        Case::php(name, code).param("SCRIPT_FILENAME", &file).param("DOCUMENT_ROOT", "/")
    };
    pair.cases([
        inside("folder", "<?php var_dump(getcwd(), __DIR__, realpath('/'), is_dir('/dev'), is_dir('/proc'));"),
        inside("random", "<?php var_dump(strlen(random_bytes(8)));"),
        inside("temporary folder", "<?php var_dump(sys_get_temp_dir(), @tempnam('/tmp', 'x') !== false, (bool) @tmpfile());"),
        inside("programs", "<?php var_dump(@shell_exec('echo 1'), @exec('echo 1'));"),
        inside("date", "<?php var_dump(date_default_timezone_get(), date('Y') > 2000, (new DateTime('2020-01-01', new DateTimeZone('Europe/Berlin')))->format('c'));"),
        inside("names", "<?php var_dump(gethostbyname('localhost'), posix_getpwuid(0), get_current_user());"),
        inside("uploads", "<?php var_dump($_FILES, file_get_contents('php://input'));").post("text/plain", "body"),
        inside("errors", "<?php error_log('logged'); trigger_error('seen');"),
        inside("session", "<?php var_dump(@session_start());").mask(r"PHPSESSID=\w+"),
    ]);
    pair.finish();
}

#[test]
fn chroot_and_folders() {
    if skip_unless_root("chroot", 4) {
        return;
    }
    let script = "<?php var_dump(getcwd(), __FILE__);";
    for lines in [
        "chroot = {dir}\nchdir = /www",
        "chroot = {dir}",
        "chroot = {dir}\nchdir = /",
        "prefix = {dir}\nchroot = $prefix/www\nchdir = /",
        "chroot = {dir}\nuser = nobody\nprocess.dumpable = yes",
    ] {
        let mut pair = Pair::start(&Setup::new().www(lines).script("x.php", script));
        let file = if lines.contains("/www\nchdir = /") || lines.contains("$prefix") {
            "/x.php"
        } else {
            "/www/x.php"
        };
        let file = if lines.starts_with("chroot = {dir}\nchdir = /www") { "/www/x.php" } else { file };
        pair.case(&Case::get(lines, "/x.php").param("SCRIPT_FILENAME", file).param("DOCUMENT_ROOT", "/"));
        pair.finish();
    }
}
