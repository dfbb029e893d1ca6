//! The error log: where it goes, what of it, how long its lines may be, and what SIGUSR1 does to it.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::compare::mask;
use cornac_tests::processes::settle_pid_width;
use cornac_tests::run::until_exit;
use cornac_tests::scene::{begun, slow, traces};
use cornac_tests::{Case, Pair, Runs, Server, Setup, Side, compare_runs, skip_unless_root, wait};
use nix::sys::signal::Signal;
use regex::Regex;

fn plain() -> Setup {
    Setup::new().script("x.php", "<?php echo 1;")
}

/// Starts, serves, reloads, re-opens, stops; then everything that was written.
fn life(side: Side, setup: &Setup) -> String {
    let server = Server::start(side, setup);
    server.get("/x.php");
    server.signal(Signal::SIGUSR1);
    std::thread::sleep(Duration::from_millis(50));
    server.signal(Signal::SIGUSR2);
    let again = || {
        let all = server.log() + &server.stderr() + &server.read("other.log");
        all.matches("ready to handle").count() >= 2
    };
    let _ = wait::until_within(Duration::from_secs(3), || again().then_some(()));
    server.get("/x.php");
    server.stop();
    format!("{}\nother:\n{}", traces(&server), mask(&server, &server.read("other.log"), &[]))
}

#[test]
fn levels() {
    let mut runs = Runs::default();
    for level in ["notice", "warning", "error", "alert"] {
        runs.compare(level, None, |side| {
            let setup = plain().global(&format!("log_level = {level}")).www("user = {user}");
            life(side, &if level == "notice" { setup } else { setup.quiet() })
        });
    }
    runs.finish();
}

/// What php-fpm says of its inner workings, which are others here.
const INNER: [&str; 6] = [
    "Unblocking all signals",
    "blocking signals",
    "child born",
    "bytes have been reserved in SHM",
    "event module triggered",
    "PHP 8.",
];

/// The texts of a log at `log_level = debug`, in which the moments at which children are heard of do not count.
fn debug_texts(log: &str) -> String {
    let masks = [
        (r"^\[[^]]*\] ([A-Z]+): pid \d+, [a-z_]+\(\), line \d+: ", "$1: "),
        (r"child \d+", "child"),
        (r"pid \d+", "pid"),
        (r"after [0-9.]+ seconds", "after"),
        (r"fd=\d+", "fd"),
    ];
    let masks = masks.map(|(pattern, with)| (Regex::new(pattern).expect("pattern"), with));
    let lines = log.lines().filter(|line| !INNER.iter().any(|inner| line.contains(inner)));
    let lines = lines.map(|line| {
        masks.iter().fold(line.to_owned(), |text, (mask, with)| mask.replace_all(&text, *with).into_owned())
    });
    let moments = ["received SIGCHLD", " started", "exited "];
    let (loose, fixed): (Vec<String>, Vec<String>) =
        lines.partition(|line| moments.iter().any(|moment| line.contains(moment)));
    let mut loose: Vec<String> = loose.into_iter().filter(|line| !line.contains("SIGCHLD")).collect();
    loose.sort();
    format!("{}\n---\n{}", fixed.join("\n"), loose.join("\n"))
}

#[test]
fn debug_lines_of_a_life() {
    compare_runs("debug", None, |side| {
        let setup = slow()
            .global("log_level = debug\nprocess_control_timeout = 5")
            .www("listen.acl_users = nobody\nlisten.acl_groups = daemon");
        let server = Server::start(side, &setup);
        server.signal(Signal::SIGUSR1);
        server.wait_log("error log file re-opened");
        // Of a reload each says what it does, which is not the same.
        let client = begun(&server);
        server.signal(Signal::SIGQUIT);
        server.wait_log("Finishing ...");
        server.signal(Signal::SIGUSR2);
        server.wait_log("not switching to 'reloading' state");
        server.write("tmp/go", "");
        drop(client);
        server.expect_gone();
        let log = mask(&server, &debug_texts(&server.log()), &[]);
        format!("{log}\n{}", mask(&server, &debug_texts(&server.stderr()), &[]))
    });
}

#[test]
fn the_form_of_debug_lines() {
    compare_runs("debug", None, |side| {
        let server = Server::start(side, &plain().global("log_level = debug"));
        server.stop();
        let form = Regex::new(
            r"^\[\d\d-[A-Z][a-z][a-z]-\d{4} \d\d:\d\d:\d\d\.\d{6}\] (DEBUG|NOTICE): pid \d+, [a-z_]+\(\), line \d+: .",
        );
        let form = form.expect("pattern");
        let odd: Vec<String> =
            server.log().lines().filter(|line| !form.is_match(line)).map(str::to_owned).collect();
        format!("{odd:?}")
    });
}

// --- where it goes ---------------------------------------------------------------------------------------

#[test]
fn targets() {
    let mut runs = Runs::default();
    for (target, arg) in [
        ("{dir}/other.log", ""),
        ("{dir}/other.log", "-O"),
        ("/dev/stderr", ""),
        ("/dev/stderr", "-O"),
        ("/proc/self/fd/2", ""),
        ("/proc/self/fd/2", "-O"),
        ("/dev/null", "-O"),
        ("/dev/fd/2", ""),
    ] {
        runs.compare(&format!("{target} {arg}"), None, |side| {
            let setup = plain().global(&format!("error_log = {target}"));
            let setup = if arg.is_empty() { setup } else { setup.arg(arg) };
            life(side, &if target == "{dir}/other.log" && arg.is_empty() { setup.quiet() } else { setup })
        });
    }
    runs.finish();
}

#[test]
fn a_pipe_for_standard_error() {
    let mut runs = Runs::default();
    for (target, arg) in [("/dev/stderr", ""), ("/proc/self/fd/2", "-O"), ("{dir}/error.log", "-O")] {
        runs.compare(&format!("{target} {arg}"), None, |side| {
            // The server keeps its process id; what it writes goes through a pipe to a file.
            let pipe = "exec \"$0\" \"$@\" 2> >(exec cat >> stderr)";
            let setup = plain().global(&format!("error_log = {target}")).wrapped(&["/bin/bash", "-c", pipe]);
            let setup = if arg.is_empty() { setup } else { setup.arg(arg) };
            life(side, &setup)
        });
    }
    runs.finish();
}

#[test]
fn somebody_elses_pipe_for_standard_error() {
    if skip_unless_root("another user's pipe", 2) {
        return;
    }
    for target in ["/dev/stderr", "/proc/self/fd/2"] {
        compare_runs(target, Some("php-fpm gives up where it cannot open it"), |side| {
            let pipe = "exec \"$0\" \"$@\" 2> >(exec cat >> stderr)";
            let setup = plain().global(&format!("error_log = {target}"));
            let setup = setup.wrapped(&["/bin/bash", "-c", pipe]).unprivileged();
            let server = Server::launch(side, &setup);
            if side == Side::Reference && !same_on_both_sides() {
                return server.wait_exit().to_string();
            }
            server.wait_ready_times(1);
            server.signal(Signal::SIGUSR1);
            wait::until(|| server.stderr().contains("error log file re-opened").then_some(()))
                .expect("re-opened");
            server.signal(Signal::SIGUSR2);
            server.wait_ready_times(2);
            server.stop();
            assert!(server.stderr().contains("bye-bye"), "{}", server.stderr());
            "serves".into()
        });
    }
}

/// Runs with a `/dev` of its own, whose `log` is the socket at `path`.
fn with_syslog(setup: Setup, path: &std::path::Path) -> Setup {
    let script = format!(
        "d=\"$CORNAC_TEST_DIR/dev\"; mkdir \"$d\" && mount -t tmpfs none \"$d\" && \
         cp -a /dev/null /dev/zero /dev/full /dev/urandom /dev/random /dev/tty \"$d\" && \
         ln -s /proc/self/fd \"$d/fd\" && ln -s /proc/self/fd/2 \"$d/stderr\" && ln -s {} \"$d/log\" && \
         mount --bind \"$d\" /dev && exec \"$0\" \"$@\"",
        path.display()
    );
    setup.wrapped(&["unshare", "-m", "/bin/sh", "-c", &script])
}

/// All that came, without priority, times and process ids.
fn heard(socket: &UnixDatagram, keep_priority: bool) -> String {
    let mut buffer = [0; 8192];
    let head =
        Regex::new(r"(?m)^<(\d+)>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d ([^\[]*)\[\d+\]: ").expect("pattern");
    let pids = Regex::new(r"(pid|child) \d+").expect("pattern");
    let seconds = Regex::new(r"after [0-9.]+").expect("pattern");
    let mut text = String::new();
    while let Ok(length) = socket.recv(&mut buffer) {
        let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let line = head.replace(&line, if keep_priority { "<$1> $2 " } else { "$2 " });
        let line = pids.replace_all(&line, "$1");
        text += &format!("{}|\n", seconds.replace_all(&line, "after"));
    }
    text
}

fn syslog_scene(side: Side, setup: &Setup, keep_priority: bool) -> String {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("log");
    let socket = UnixDatagram::bind(&path).expect("own path");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("own folder");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("own socket");
    socket.set_nonblocking(true).expect("own socket");
    let server = Server::start(side, &with_syslog(setup.clone(), &path).quiet());
    server.get("/x.php");
    server.signal(Signal::SIGUSR1);
    std::thread::sleep(Duration::from_millis(30));
    server.stop();
    format!("{}\n{}", heard(&socket, keep_priority), traces(&server))
}

#[test]
fn the_system_log() {
    if skip_unless_root("a system log of its own", 5) {
        return;
    }
    let mut runs = Runs::default();
    for lines in [
        "",
        "syslog.ident = my-fpm\nsyslog.facility = LOCAL3",
        "log_level = warning",
        "error_log = SysLog\nlog_limit = 512",
    ] {
        runs.compare(lines, None, |side| {
            let setup = plain().global("error_log = syslog").global(lines);
            syslog_scene(side, &setup, lines.contains("LOCAL3"))
        });
    }
    let reason = "each line has its own priority";
    runs.compare("priorities", Some(reason), |side| {
        let setup = plain().global("error_log = syslog").script("x.php", "<?php posix_kill(getmypid(), 9);");
        syslog_scene(side, &setup, true)
    });
    runs.finish();
}

#[test]
fn output_of_workers_in_the_system_log() {
    if skip_unless_root("a system log of its own", 1) {
        return;
    }
    compare_runs("catch_workers_output", Some("with php-fpm it is lost"), |side| {
        let setup = plain()
            .global("error_log = syslog")
            .script("x.php", "<?php file_put_contents('php://stderr', \"said\\n\");")
            .www("catch_workers_output = yes");
        let text = syslog_scene(side, &setup, false);
        text.contains("said into stderr: \"said\"").to_string()
    });
}

// --- SIGUSR1 ---------------------------------------------------------------------------------------------

fn reopened(server: &Server) {
    server.signal(Signal::SIGUSR1);
    let done = || {
        let all =
            ["error.log", "log/error.log", "error.log.1", "stderr"].map(|name| server.read(name)).concat();
        let words = ["re-opened", "unable to re-opened"];
        words.iter().any(|word| all.contains(word)).then_some(())
    };
    let _ = wait::until_within(Duration::from_secs(3), done);
}

#[test]
fn opened_again() {
    let mut runs = Runs::default();
    for name in ["moved", "deleted", "truncated", "a folder in its place", "in the background"] {
        runs.compare(name, None, |side| {
            let setup = plain();
            let server =
                Server::start(side, &if name == "in the background" { setup.daemon() } else { setup });
            let path = server.dir().join("error.log");
            match name {
                "moved" | "in the background" => std::fs::rename(&path, server.dir().join("error.log.1")),
                "deleted" => std::fs::remove_file(&path),
                "truncated" => std::fs::write(&path, ""),
                _ => std::fs::rename(&path, server.dir().join("error.log.1"))
                    .and_then(|()| std::fs::create_dir(&path)),
            }
            .expect("own folder");
            reopened(&server);
            server.get("/x.php");
            server.stop();
            let mode = std::fs::metadata(&path).map(|facts| format!("{:o}", facts.permissions().mode())).ok();
            let old = mask(&server, &server.read("error.log.1"), &[]);
            format!("{mode:?}\n{}\nbefore:\n{old}", traces(&server))
        });
    }
    runs.finish();
}

#[test]
fn a_folder_that_is_gone() {
    compare_runs("folder", None, |side| {
        let server = Server::start(
            side,
            &plain().file("log/empty", "").global("error_log = {dir}/log/error.log").quiet(),
        );
        let ready = || server.read("log/error.log").contains("systemd monitor");
        wait::until(|| ready().then_some(())).expect("it is ready");
        std::fs::rename(server.dir().join("log"), server.dir().join("gone")).expect("own folder");
        server.signal(Signal::SIGUSR1);
        let text = || server.read("gone/error.log");
        let _ = wait::until_within(Duration::from_secs(3), || {
            text().contains("unable to re-opened").then_some(())
        });
        server.stop();
        mask(&server, &text(), &[])
    });
}

#[test]
fn a_folder_that_must_not_be_written() {
    if skip_unless_root("another user than root", 1) {
        return;
    }
    compare_runs("folder", None, |side| {
        let server = Server::start(side, &plain().unprivileged());
        std::fs::rename(server.dir().join("error.log"), server.dir().join("error.log.1"))
            .expect("own folder");
        std::fs::set_permissions(server.dir(), std::fs::Permissions::from_mode(0o555)).expect("own folder");
        reopened(&server);
        server.get("/x.php");
        server.stop();
        mask(&server, &server.read("error.log.1"), &[])
    });
}

// --- lengths ---------------------------------------------------------------------------------------------

/// The cases of php-fpm's own tests, and the lengths around the limit.
#[test]
fn lines_of_workers_are_wrapped_at_the_limit() {
    settle_pid_width();
    for (buffering, decorated) in [("yes", "yes"), ("yes", "no"), ("no", "yes"), ("no", "no")] {
        for (limit, lengths) in [
            (1050, &[2048, 2900][..]),
            (8000, &[4096]),
            (1024, &[120, 930, 1000, 1023, 1025]),
            (1500, &[3300]),
            (1000, &[2000]),
            (512, &[400, 420, 510, 511, 513, 900]),
        ] {
            let name = format!("buffering {buffering}, decorated {decorated}, limit {limit}");
            let setup = Setup::new()
                .global(&format!("log_limit = {limit}\nlog_buffering = {buffering}"))
                .www(&format!("catch_workers_output = yes\ndecorate_workers_output = {decorated}"))
                .script("marker.php", MARKER);
            let mut pair = Pair::start(&setup);
            for length in lengths {
                for (kind, end) in [("line", "\\n"), ("unfinished", "")] {
                    let code = format!(
                        "<?php file_put_contents('php://stderr', str_repeat('a', {length}) . \"{end}\");"
                    );
                    pair.case(&Case::php(&format!("{name}, {length}, {kind}"), &code));
                    // Both have read it before the next one comes.
                    pair.same("is there", |server| marked(server, &format!("{length}-{kind}")));
                }
            }
            pair.finish();
        }
    }
}

/// All that a worker says comes with its end, because the master is stopped meanwhile; or the end comes later.
#[test]
fn output_of_a_worker_that_ends() {
    settle_pid_width();
    let mut runs = Runs::default();
    for (buffering, decorated) in [("yes", "yes"), ("yes", "no"), ("no", "yes"), ("no", "no")] {
        let setup = Setup::new()
            .global(&format!("log_limit = 512\nlog_buffering = {buffering}"))
            .www(&format!("catch_workers_output = yes\ndecorate_workers_output = {decorated}"));
        for (at_once, lengths) in [(true, &[10, 420, 430, 600][..]), (false, &[10, 600])] {
            for length in lengths {
                let name = format!(
                    "buffering {buffering}, decorated {decorated}, {length} bytes, at once {at_once}"
                );
                runs.compare(&name, None, |side| {
                    let pause = if at_once { "" } else { "usleep(100000);" };
                    let code = format!(
                        "<?php file_put_contents('php://stderr', str_repeat('a', {length})); {pause} posix_kill(getmypid(), 9);"
                    );
                    let server = Server::start(side, &setup.clone().script("end.php", &code));
                    if at_once {
                        server.signal(Signal::SIGSTOP);
                    }
                    server.get("/end.php");
                    server.signal(Signal::SIGCONT);
                    server.wait_log("SIGKILL");
                    server.wait_log(" started");
                    server.stop();
                    let log = mask(&server, &server.log(), &[]);
                    // The order of the end and of the last words is a matter of chance; php-fpm has empty lines
                    // around a suffix that did not fit.
                    let mut lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
                    lines.sort_unstable();
                    lines.join("\n")
                });
            }
        }
    }
    runs.finish();
}

/// Writes what its query says.
const MARKER: &str = "<?php file_put_contents('php://stderr', \"end of {$_GET['what']}\\n\");";

/// Waits until all that was said so far is in the log.
fn marked(server: &Server, what: &str) -> String {
    server.get(&format!("/marker.php?what={what}"));
    server.wait_log(&format!("end of {what}"));
    String::new()
}

#[test]
fn streams_that_alternate() {
    settle_pid_width();
    for buffering in ["yes", "no"] {
        let setup = Setup::new()
            .global(&format!("log_limit = 512\nlog_buffering = {buffering}"))
            .www("catch_workers_output = yes")
            .script("marker.php", MARKER);
        let mut pair = Pair::start(&setup);
        for (name, code) in [
            (
                "one after the other",
                "foreach (['stdout', 'stderr', 'stdout'] as $s) { file_put_contents(\"php://$s\", \"to $s\\n\"); usleep(20000); }",
            ),
            (
                "unfinished",
                "foreach (['stdout', 'stderr', 'stdout'] as $s) { file_put_contents(\"php://$s\", \"to $s\"); usleep(20000); }",
            ),
            ("marker of its own", "file_put_contents('php://stderr', \"a\\0fscf\\0b\\n\");"),
            ("zeros", "file_put_contents('php://stderr', \"a\\0b\\0\\0c\\n\");"),
        ] {
            pair.same(name, |server| {
                let script = name.replace(' ', "-");
                server.write(&format!("www/{script}.php"), format!("<?php {code}"));
                server.get(&format!("/{script}.php"));
                marked(server, &script)
            });
        }
        pair.finish();
    }
}

/// php-fpm 8.2 loses what looks like the begin of the marker where a read ends in it.
#[test]
fn a_marker_in_two_halves() {
    for (name, first, second) in [("half", "a\\0fsc", "x"), ("halves", "a\\0fs", "cf\\0b")] {
        compare_runs(name, Some("no byte is lost"), |side| {
            let say = |text: &str| format!("file_put_contents('php://stderr', \"{text}\");");
            let code = format!("<?php {} usleep(50000); {}", say(first), say(&format!("{second}\\n")));
            let setup = Setup::new().www("catch_workers_output = yes").script("marker.php", MARKER);
            let server = Server::start(side, &setup.script("x.php", &code));
            server.get("/x.php");
            marked(&server, name);
            server.stop();
            mask(&server, &server.log(), &[])
        });
    }
}

/// A rest of exactly `log_limit` bytes: php-fpm runs two lines into one.
#[test]
fn a_line_as_long_as_the_limit_without_buffering() {
    compare_runs("log_buffering = no", Some("no line is longer than the limit"), |side| {
        let setup = Setup::new()
            .global("log_limit = 512\nlog_buffering = no")
            .www("catch_workers_output = yes\ndecorate_workers_output = no")
            .script("marker.php", MARKER)
            .script("x.php", "<?php file_put_contents('php://stderr', str_repeat('a', 512) . \"\\n\");");
        let server = Server::start(side, &setup);
        server.get("/x.php");
        marked(&server, "it");
        server.stop();
        let lengths: Vec<usize> =
            server.log().lines().filter(|line| line.starts_with('a')).map(str::len).collect();
        format!("{lengths:?}")
    });
}

#[test]
fn lines_of_the_master_are_cut() {
    let mut runs = Runs::default();
    for limit in [512, 600, 1024, 3000] {
        for length in [300, 440, 450, 460, 470, 480, 500, 600, 900, 1900, 1990, 2500] {
            runs.compare(&format!("log_limit {limit}, a name of {length} bytes"), None, |side| {
                let path = format!("/no/{}", "p".repeat(length));
                until_exit(
                    side,
                    &plain()
                        .global(&format!("log_limit = {limit}"))
                        .www(&format!("slowlog = {path}\nrequest_slowlog_timeout = 1")),
                )
            });
        }
    }
    runs.finish();
}

/// Bug GH-9754: whoever waits for the end of the launcher's output must not wait for the master.
#[test]
fn the_background_does_not_hold_the_launchers_stderr() {
    compare_runs("daemonize", None, |side| {
        let server = Server::start(side, &plain().daemon());
        server.wait_exit();
        let stderr = server.dir().join("stderr");
        let holds = || {
            server.processes().iter().any(|process| {
                let fds =
                    std::fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten().flatten();
                fds.into_iter().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|link| link == stderr))
            })
        };
        let first = holds();
        server.signal(Signal::SIGUSR1);
        server.wait_log("re-opened");
        server.signal(Signal::SIGUSR2);
        server.wait_ready_times(2);
        let then = holds();
        server.stop();
        format!("{first} {then}")
    });
}
