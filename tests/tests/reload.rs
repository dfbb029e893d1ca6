//! Reload by SIGUSR2 and SIGHUP: what changes, what stays, what is logged; signals in its way; configurations and programs
//! that cannot be used.

use std::os::unix::fs::{MetadataExt, symlink};
use std::time::{Duration, Instant};

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::compare::mask;
use cornac_tests::processes::Process;
use cornac_tests::scene::{begun, slow, traces};
use cornac_tests::{Client, Pair, Request, Server, Setup, Side, compare_runs, skip_unless_root, wait};
use nix::sys::signal::Signal;

/// Signals a reload and waits until the server is ready for the second time.
fn reload(server: &Server) {
    reload_again(server, 2);
}

fn reload_again(server: &Server, times: usize) {
    server.signal(Signal::SIGUSR2);
    server.wait_ready_times(times);
}

fn answers(server: &Server, pools: &[&str]) -> String {
    let ask = |pool: &&str| match server.socket(pool).exists() {
        true => Client::unix(&server.socket(pool)).send(&Request::get(server, "/x.php")).body(),
        false => "gone".into(),
    };
    pools.iter().map(|pool| format!("{pool}: {}\n", ask(pool))).collect()
}

const WHO: &str = "<?php echo fpm_get_status()['pool'], ' ', ini_get('precision');";

fn named() -> Setup {
    Setup::new().script("x.php", WHO)
}

#[test]
fn settings_are_read_again() {
    let setup = Setup::new()
        .script("x.php", "<?php echo ini_get('precision'), ' ', getmypid();")
        .www("php_value[precision] = 5");
    let mut pair = Pair::start(&setup);
    pair.same("SIGUSR2", |server| {
        let master = server.master();
        let before = server.get("/x.php").body();
        let config = server.read("php-fpm.conf").replace("precision] = 5", "precision] = 6");
        server.write("php-fpm.conf", config);
        reload(server);
        let after = server.get("/x.php").body();
        let number = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
        format!(
            "{} {} other worker {} same master {}",
            number(&before),
            number(&after),
            before[2..] != after[2..],
            master == server.master()
        )
    });
    pair.finish();
}

#[test]
fn hangup_reloads_too() {
    let mut pair = Pair::start(&named());
    pair.same("SIGHUP", |server| {
        server.signal(Signal::SIGHUP);
        server.wait_ready_times(2);
        answers(server, &["www"])
    });
    pair.finish();
}

#[test]
fn several_in_a_row() {
    let mut pair = Pair::start(&named());
    for times in 2..6 {
        pair.same(&format!("{times}"), |server| {
            reload_again(server, times);
            answers(server, &["www"])
        });
    }
    pair.finish();
}

#[test]
fn the_socket_gets_the_mode_it_should_have() {
    let mut pair = Pair::start(&named().www("listen.mode = 0600\nlisten.backlog = 7"));
    let why = "mode and backlog are what the configuration says, also after a reload";
    pair.differs("mode and backlog", why, |server| {
        let facts = |server: &Server| std::fs::metadata(server.socket("www")).expect("socket");
        let before = facts(server);
        server.configure(&named().www("listen.mode = 0666\nlisten.backlog = 9"));
        reload(server);
        let after = facts(server);
        format!("{} {:o} {:o}", before.ino() == after.ino(), before.mode(), after.mode())
    });
    pair.finish();
}

#[test]
fn another_address() {
    let mut pair = Pair::start(&named());
    pair.same("the old socket goes, the new one comes", |server| {
        server.configure(&named().www("listen = {dir}/other.sock"));
        reload(server);
        format!("{}{}", answers(server, &["www", "other"]), server.socket("www").exists())
    });
    pair.finish();
}

#[test]
fn from_unix_to_tcp_and_back() {
    let mut pair = Pair::start(&named());
    pair.mask_log(r"127\.0\.0\.1:\d+");
    pair.same("to TCP", |server| {
        server.configure(&named().www("listen = 127.0.0.1:{port}"));
        reload(server);
        let address = ([127, 0, 0, 1], server.port(0)).into();
        let body = Client::tcp(address).expect("connected").send(&Request::get(server, "/x.php")).body();
        format!("{body} {}", server.socket("www").exists())
    });
    pair.same("and back", |server| {
        server.configure(&named());
        reload_again(server, 3);
        answers(server, &["www"])
    });
    pair.finish();
}

#[test]
fn tcp_keys() {
    for listen in ["{port}", "127.0.0.1:{port}", "[::1]:{port}", "[::]:{port}", "0.0.0.0:{port}"] {
        let mut pair = Pair::start(&named().www(&format!("listen = {listen}")));
        pair.same(listen, |server| {
            reload(server);
            reload_again(server, 3);
            String::new()
        });
        pair.finish();
    }
}

#[test]
fn pools_come_and_go() {
    let mut pair = Pair::start(&named().pool("b", "").pool("c", ""));
    let all = ["a", "b", "c", "d", "www"];
    pair.same("before", |server| answers(server, &all));
    pair.same("one more before the others, one less", |server| {
        server.configure(&Setup::default().pool("a", "").pool("www", "").pool("d", "").pool("c", ""));
        reload(server);
        format!("{} {:?}", answers(server, &all), all.map(|pool| server.socket(pool).exists()))
    });
    pair.same("handed on in the same order", |server| {
        reload_again(server, 3);
        answers(server, &all)
    });
    pair.same("all but the last", |server| {
        server.configure(&Setup::default().pool("c", ""));
        reload_again(server, 4);
        format!("{} {:?}", answers(server, &all), all.map(|pool| server.socket(pool).exists()))
    });
    pair.finish();
}

#[test]
fn two_names_for_one_address() {
    let setup = named()
        .www("listen = 127.0.0.1:{port}")
        .pool("b", "listen = [::ffff:127.0.0.1]:{port2}")
        .pool("c", "listen = localhost:{port}")
        .pool("d", "listen = ::FFFF:127.0.0.1:{port2}");
    let mut pair = Pair::start(&setup);
    pair.same("shared before and after", |server| {
        let count = |server: &Server| ["www", "b", "c", "d"].map(|pool| server.workers(pool).len());
        let before = count(server);
        reload(server);
        // Those of the generation before are about to end.
        wait::until(|| (count(server) == before).then_some(()));
        format!("{before:?} {:?}", count(server))
    });
    pair.finish();
}

#[test]
fn a_request_may_finish() {
    compare_runs("reload during a request", None, |side| {
        let server = Server::start(side, &slow().global("process_control_timeout = 10"));
        let mut client = begun(&server);
        server.signal(Signal::SIGUSR2);
        server.wait_log("Reloading in progress ...");
        server.write("tmp/go", "");
        let reply = client.read_reply().to_text();
        // php-fpm's worker waits for the client to close.
        drop(client);
        server.wait_ready_times(2);
        server.stop();
        format!("{reply}\n{}", traces(&server))
    });
}

#[test]
fn an_endless_request_is_ended() {
    for (limit, why) in [
        ("process_control_timeout = 1", "a request that is ended gets a line"),
        ("process_control_timeout = 0", "without a limit of its own a request may go on up to drain_timeout"),
    ] {
        compare_runs(limit, Some(why), |side| {
            let mut setup = slow().global(limit);
            if side == Side::Subject && limit.ends_with('0') && !same_on_both_sides() {
                setup = setup.global("drain_timeout = 2");
            }
            let server = Server::start(side, &setup);
            let mut client = begun(&server);
            let begun = Instant::now();
            reload(&server);
            let reply = client.read_reply().to_text();
            let waited = begun.elapsed() >= Duration::from_secs(2);
            server.stop();
            format!("waited {}\n{reply}\n{}", waited && limit.ends_with('0'), traces(&server))
        });
    }
}

#[test]
fn requests_that_come_meanwhile_wait() {
    // Not WHO: an ordinary user's php-fpm crashes in fpm_get_status() that soon after a reload.
    let setup = slow().script("x.php", "<?php echo 'served';").global("process_control_timeout = 10");
    let mut pair = Pair::start(&setup);
    pair.same("queued and answered", |server| {
        let busy = begun(server);
        server.signal(Signal::SIGUSR2);
        server.wait_log("Reloading in progress ...");
        let mut queued = server.connect();
        queued.write(&Request::get(server, "/x.php").encode()).expect("sent");
        server.write("tmp/go", "");
        drop(busy);
        let reply = queued.read_reply().to_text();
        server.wait_ready_times(2);
        reply
    });
    pair.finish();
}

#[test]
fn a_stop_during_a_reload() {
    for signal in [Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGINT] {
        compare_runs(signal.as_str(), None, |side| {
            let server = Server::start(side, &slow().global("process_control_timeout = 10"));
            let mut client = begun(&server);
            server.signal(Signal::SIGUSR2);
            server.wait_log("Reloading in progress ...");
            server.signal(signal);
            server.wait_log(if signal == Signal::SIGQUIT { "Finishing ..." } else { "Terminating ..." });
            server.write("tmp/go", "");
            let reply = client.read_reply().to_text();
            drop(client);
            server.expect_gone();
            // TERM and the end of the script race.
            let reply = if signal == Signal::SIGQUIT { reply } else { String::new() };
            format!("exit {} {reply}\n{}", server.wait_exit(), traces(&server))
        });
    }
}

#[test]
fn a_reload_during_a_stop() {
    compare_runs("USR2 after QUIT", None, |side| {
        let server = Server::start(side, &slow().global("process_control_timeout = 10"));
        let mut client = begun(&server);
        server.signal(Signal::SIGQUIT);
        server.wait_log("Finishing ...");
        server.signal(Signal::SIGUSR2);
        server.wait_log("Reloading in progress ...");
        server.write("tmp/go", "");
        let reply = client.read_reply().to_text();
        drop(client);
        server.expect_gone();
        format!("exit {} {reply}\n{}", server.wait_exit(), traces(&server))
    });
}

/// Bug 74083 and bug 76601: 25 signals in growing intervals.
#[test]
fn a_storm_of_signals() {
    for timeout in [0, 10] {
        let setup = named().global(&format!("process_control_timeout = {timeout}"));
        let mut pair = Pair::start(&setup);
        pair.same("survived", |server| {
            for pause in 0..25 {
                server.signal(Signal::SIGUSR2);
                std::thread::sleep(Duration::from_millis(pause));
            }
            let settled = || {
                let log = server.log();
                log.trim_end().ends_with("interval set to 10000ms") && server.get("/x.php").body() == "www 14"
            };
            wait::until(|| settled().then_some(())).expect("it serves after the storm");
            let ready = server.log().matches("ready to handle").count();
            let began = std::time::Instant::now();
            reload_again(server, ready + 1);
            format!("{} {}", server.get("/x.php").body(), began.elapsed() < Duration::from_secs(5))
        });
        pair.ignore_log();
        pair.finish();
    }
}

/// A server whose start-up takes its time, and says when it has begun.
fn slow_start(side: Side) -> Server {
    let preload = "<?php file_put_contents('{dir}/tmp/preloading', 'x'); usleep(300000);";
    let setup = Setup::new()
        .file("preload.php", preload)
        .arg("-d")
        .arg("opcache.preload={dir}/preload.php")
        .arg("-d")
        .arg("opcache.preload_user={user}");
    Server::launch(side, &setup)
}

fn wait_preloading(server: &Server) {
    wait::until(|| (!server.read("tmp/preloading").is_empty()).then_some(())).expect("it preloads");
}

/// A server in the middle of its start-up, and the signal it got there.
fn interrupted_start(side: Side, signal: Signal) -> Server {
    let server = slow_start(side);
    wait_preloading(&server);
    server.signal(signal);
    server
}

#[test]
fn a_reload_during_the_start() {
    compare_runs("SIGUSR2", None, |side| {
        let server = interrupted_start(side, Signal::SIGUSR2);
        server.wait_ready_times(2);
        server.stop();
        traces(&server)
    });
}

/// php-fpm is killed by such a signal, or takes it later, depending on the moment.
#[test]
fn a_stop_during_the_start() {
    if same_on_both_sides() {
        return;
    }
    for signal in [Signal::SIGTERM, Signal::SIGQUIT] {
        let server = interrupted_start(Side::Subject, signal);
        assert_eq!(server.wait_exit(), 0);
        server.expect_gone();
        assert!(!server.socket("www").exists() && !server.dir().join("php-fpm.pid").exists());
    }
}

/// As an extension that fails would, and as whoever has the pool's user can.
#[test]
fn a_pool_that_cannot_start_changes_nothing() {
    if same_on_both_sides() {
        return;
    }
    let script = "<?php echo 'here ', getmypid();";
    let setup = Setup::new().pool("other", "").script("here.php", script);
    let setup = setup.file("bad.php", "<?php posix_kill(posix_getpid(), 9);").file("good.php", "<?php");
    let preload = |name: &str| {
        let lines = format!("php_admin_value[opcache.preload] = {{dir}}/{name}\n");
        setup.clone().www(&format!("{lines}php_admin_value[opcache.preload_user] = {{user}}\n"))
    };
    let server = Server::start(Side::Subject, &setup);
    let request = Request::get(&server, "/here.php");
    let workers = || {
        let ask = |pool: &str| Client::unix(&server.socket(pool)).send(&request).body();
        (ask("www"), ask("other"))
    };
    let before = workers();
    server.configure(&preload("bad.php"));
    for times in 1..3 {
        server.signal(Signal::SIGUSR2);
        server.wait_log_times("reload is given up; everything goes on with the configuration it has", times);
        server.wait_log_times("[pool www] PHP's start-up failed: process", times);
        assert_eq!(workers(), before);
    }
    server.configure(&preload("good.php"));
    server.signal(Signal::SIGUSR2);
    server.wait_ready_times(2);
    let renewed = wait::until(|| (workers().0 != before.0 && workers().1 != before.1).then_some(()));
    assert!(renewed.is_some());
    server.stop();
}

#[test]
fn a_stop_during_the_start_after_a_reload() {
    if same_on_both_sides() {
        return;
    }
    let server = slow_start(Side::Subject);
    server.wait_ready_times(1);
    server.write("tmp/preloading", "");
    server.signal(Signal::SIGUSR2);
    wait_preloading(&server);
    server.signal(Signal::SIGTERM);
    server.expect_gone();
    assert_eq!(server.log().matches("ready to handle connections").count(), 1);
    assert!(!server.socket("www").exists() && !server.dir().join("php-fpm.pid").exists());
}

#[test]
fn log_on_standard_error() {
    let mut pair = Pair::start(&named().arg("-O"));
    pair.same("-O", |server| {
        reload(server);
        answers(server, &["www"])
    });
    pair.finish();
}

#[test]
fn another_log_file() {
    let mut pair = Pair::start(&named());
    pair.same("error_log", |server| {
        server.configure(&named().global("error_log = {dir}/second.log"));
        server.signal(Signal::SIGUSR2);
        let ready = || server.read("second.log").contains("ready to handle");
        wait::until(|| ready().then_some(())).expect("ready again");
        mask(server, &server.read("second.log"), &[])
    });
    pair.finish();
}

#[test]
fn another_pid_file() {
    let mut pair = Pair::start(&named());
    pair.differs("pid", "the old file would name a process that nobody asked to name there", |server| {
        server.configure(&named().global("pid = {dir}/second.pid"));
        reload(server);
        format!(
            "{} {}",
            server.dir().join("php-fpm.pid").exists(),
            server.read("second.pid") == server.master().to_string()
        )
    });
    pair.finish();
}

#[test]
fn php_ini_is_read_again() {
    let setup = named().file("php.ini", "precision = 3\n").arg("-c").arg("{dir}/php.ini");
    let mut pair = Pair::start(&setup);
    pair.same("php.ini", |server| {
        let before = answers(server, &["www"]);
        server.write("php.ini", "precision = 4\n");
        reload(server);
        before + &answers(server, &["www"])
    });
    pair.finish();
}

#[test]
fn all_words_are_passed_on_and_eleven_are_shown() {
    let mut setup = named();
    for number in 0..6 {
        setup = setup.arg("-d").arg(&format!("cornac.word{number}=\"a b\""));
    }
    let mut pair = Pair::start(&setup.arg("-d").arg("precision=9"));
    pair.same("words", |server| {
        reload(server);
        answers(server, &["www"])
    });
    pair.finish();
}

#[test]
fn nothing_of_it_reaches_scripts() {
    let code = "<?php $e = getenv(); ksort($e); foreach ($e as $k => $v) echo $k, ' '; echo count(glob('/proc/self/fd/*')) < 20 ? 'few' : 'many';";
    let setup = Setup::new().www("clear_env = no").script("x.php", code);
    let mut pair = Pair::start(&setup);
    let reason = "FPM_SOCKETS is for the master alone";
    pair.same("before", |server| server.get("/x.php").body());
    pair.differs("after", reason, |server| {
        reload(server);
        server.get("/x.php").body()
    });
    pair.finish();
}

#[test]
fn a_configuration_that_cannot_be_used() {
    let reason = "php-fpm reloads unseen and is gone";
    for (name, lines) in [
        ("unknown directive", "nonsense = 1"),
        ("bad value", "pm = nonsense"),
        ("syntax", "a = \"b"),
        ("unknown user", "user = no-such-user"),
        ("root", "user = root\ngroup = root"),
        ("bad port", "listen = 127.0.0.1:99999"),
        (
            "path too long",
            "listen = {dir}/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
        ),
        ("unknown owner", "listen.owner = no-such-user"),
        ("no chroot", "chroot = /no/such/folder"),
        ("unwritable log", "slowlog = /no/such/slow.log\nrequest_slowlog_timeout = 1"),
    ] {
        if lines.starts_with("user") && skip_unless_root(name, 1) {
            continue;
        }
        compare_runs(name, Some(reason), |side| {
            let server = Server::start(side, &named());
            server.configure(&named().www(lines));
            server.signal(Signal::SIGUSR2);
            if side == Side::Reference && !same_on_both_sides() {
                let serves = matches!(name, "no chroot" | "path too long");
                return if serves {
                    "fails in its workers, or elsewhere".into()
                } else {
                    server.wait_exit().to_string()
                };
            }
            server.wait_log("reload is given up");
            assert_eq!(answers(&server, &["www"]), "www: www 14\n", "{name}");
            assert!(server.log().contains("ERROR: "), "{}", server.log());
            assert!(!server.log().contains("FPM initialization failed"));
            // And once it is put right, it reloads.
            server.configure(&named().www("php_value[precision] = 5"));
            reload(&server);
            assert_eq!(answers(&server, &["www"]), "www: www 5\n", "{name}");
            server.stop();
            "goes on".into()
        });
    }
}

#[test]
fn a_program_that_is_gone() {
    compare_runs("php-fpm ends with 70", Some("a reload needs no program"), |side| {
        let server = Server::start(side, &named());
        let link = server.dir().join("php-fpm");
        std::fs::remove_file(&link).expect("own link");
        server.signal(Signal::SIGUSR2);
        if side == Side::Reference && !same_on_both_sides() {
            return format!("exit {}", server.wait_exit());
        }
        server.wait_ready_times(2);
        assert_eq!(answers(&server, &["www"]), "www: www 14\n");
        server.stop();
        "goes on".into()
    });
}

/// The two programs take each other's place without a refused connection: their FPM_SOCKETS are the same.
#[test]
fn from_php_fpm_to_cornac() {
    if same_on_both_sides() {
        return;
    }
    let server = Server::start(Side::Reference, &named().pool("b", "listen = 127.0.0.1:{port}"));
    let inode = || std::fs::metadata(server.socket("www")).expect("socket").ino();
    let before = inode();
    let link = server.dir().join("php-fpm");
    std::fs::remove_file(&link).expect("own link");
    symlink(Side::Subject.executable(), &link).expect("own folder");
    for times in 2..4 {
        reload_again(&server, times);
        assert_eq!(answers(&server, &["www"]), "www: www 14\n");
        assert!(server.processes().iter().any(|process| process.title().contains("fork server")));
    }
    assert_eq!(inode(), before);
    assert_eq!(server.log().matches("using inherited socket").count(), 4);
    server.stop();
}

#[test]
fn in_the_background() {
    compare_runs("daemonize", Some("php-fpm forks again, and its process id changes"), |side| {
        let server = Server::start(side, &named().daemon());
        let before = server.master();
        reload(&server);
        let same = before == server.master();
        let body = answers(&server, &["www"]);
        server.stop();
        wait::until(|| (!server.dir().join("php-fpm.pid").exists()).then_some(()))
            .expect("pid file is removed");
        format!("same process {same} {body} {}", traces(&server))
    });
}

#[test]
fn in_the_background_lines_are_logged_once() {
    if same_on_both_sides() {
        return;
    }
    let server = Server::start(Side::Subject, &named().daemon());
    reload(&server);
    assert_eq!(server.log().matches("using inherited socket").count(), 1);
    server.stop();
}

/// Bug 80024: a variable takes 128 sockets.
#[test]
fn more_sockets_than_one_variable_takes() {
    let many = |count: usize| {
        let pool = |setup: Setup, number| setup.pool(&format!("p{number}"), "pm = ondemand");
        (0..count).fold(named(), pool)
    };
    let mut pair = Pair::start(&many(130));
    pair.same("one less, then some more", |server| {
        server.configure(&many(129));
        reload(server);
        server.configure(&many(135));
        reload_again(server, 3);
        let pools = ["p0", "p127", "p128", "p129", "p134", "www"];
        format!("{} {}", answers(server, &pools), server.log().matches("using inherited socket").count())
    });
    pair.finish();
}

#[test]
fn on_demand() {
    let mut pair = Pair::start(&named().www("pm = ondemand").pool("b", "pm = dynamic\npm.max_children = 3\npm.start_servers = 1\npm.min_spare_servers = 1\npm.max_spare_servers = 2"));
    pair.same("without and with workers", |server| {
        let before = answers(server, &["b"]);
        reload(server);
        let between = answers(server, &["www", "b"]);
        reload_again(server, 3);
        format!("{before}{between}{}", answers(server, &["www", "b"]))
    });
    pair.finish();
}

/// A shell's exported variable, or a parent that is another cornac: the mark is of another process.
#[test]
fn a_mark_that_came_by_inheritance() {
    if same_on_both_sides() {
        return;
    }
    for mark in ["1:background:3,4", "x", "", "99999999999:foreground:"] {
        let server = Server::start(Side::Subject, &named().env("CORNAC_RELOAD", mark).daemon());
        assert_eq!(answers(&server, &["www"]), "www: www 14\n", "{mark}");
        server.stop();
        assert!(!server.socket("www").exists());
    }
}

#[test]
fn descriptors_and_title_stay_the_same() {
    if same_on_both_sides() {
        return;
    }
    for setup in [
        named(),
        named().daemon(),
        named().pool("b", "listen = 127.0.0.1:{port}\ncatch_workers_output = yes"),
    ] {
        let server = Server::start(Side::Subject, &setup);
        let open = |pid: i32| std::fs::read_dir(format!("/proc/{pid}/fd")).expect("own child").count();
        let facts = || {
            assert!(server.get("/x.php").body().starts_with("www"));
            let fork_server = |process: &&Process| process.title().starts_with("php-fpm: fork server");
            let processes = server.processes();
            let below: Vec<usize> =
                processes.iter().filter(fork_server).map(|process| open(process.pid)).collect();
            let mut titles: Vec<String> = processes.iter().map(|process| process.title()).collect();
            titles.sort_unstable();
            (open(server.master()), below, titles)
        };
        let before = facts();
        for times in 2..6 {
            reload_again(&server, times);
        }
        let settled = wait::until(|| (facts() == before).then_some(()));
        assert!(settled.is_some(), "{:?} before {before:?}", facts());
        server.stop();
    }
}
