//! `cornac upgrade`: another executable in the place of the one that runs, under the same process id, with nothing lost; and
//! executables that cannot take over, which change nothing. php-fpm's own way is SIGUSR2, which is compared in `reload`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use cornac_tests::binary::{reference, same_on_both_sides, subject};
use cornac_tests::processes::Process;
use cornac_tests::scene::{begun, slow};
use cornac_tests::{
    Client, Manner, Request, Server, Setup, Side, Signal, Traffic, skip_unless_root, traffic, wait,
};

fn start(setup: &Setup) -> Option<Server> {
    (!same_on_both_sides()).then(|| Server::start(Side::Subject, setup))
}

fn ask(server: &Server, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(subject());
    command.arg(words[0]).args(["-y", &server.fill("{dir}/php-fpm.conf")]).args(&words[1..]);
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("cornac starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout) + &text(stderr))
}

/// Puts something else where the server was started from.
fn replace(server: &Server, target: &Path) {
    let (link, next) = (server.dir().join("php-fpm"), server.dir().join("php-fpm.next"));
    symlink(target, &next).expect("own folder");
    fs::rename(next, link).expect("own folder");
}

/// A copy of cornac with its engine: another file with the same content.
fn copy(server: &Server, name: &str) -> std::path::PathBuf {
    let folder = server.dir().join(name);
    fs::create_dir(&folder).expect("own folder");
    let subject = subject();
    for file in [subject.clone(), subject.with_file_name("libcornac_engine.so")] {
        fs::copy(&file, folder.join(file.file_name().expect("a name"))).expect("own folder");
    }
    folder.join(subject.file_name().expect("a name"))
}

fn script(server: &Server, name: &str, text: &str) -> std::path::PathBuf {
    let path = server.dir().join(name);
    fs::write(&path, text).expect("own folder");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("own file");
    path
}

/// Device and inode of what the master executes.
fn executed(server: &Server) -> (u64, u64) {
    let facts = fs::metadata(format!("/proc/{}/exe", server.master())).expect("the master");
    (facts.dev(), facts.ino())
}

fn upgraded(server: &Server) {
    let (code, text) = ask(server, &["upgrade", "--wait"]);
    assert!(
        code == Some(0) && text.starts_with("cornac ") && text.ends_with(" serves\n"),
        "{code:?} {text}\n{}",
        server.log()
    );
}

fn refused(server: &Server, reason: &str) {
    let before = executed(server);
    let (code, text) = ask(server, &["upgrade", "--wait"]);
    assert!(code == Some(1) && text.contains(reason), "{code:?} {text}\n{}", server.log());
    assert_eq!(executed(server), before);
    server.wait_log("upgrade is given up; the program that runs goes on");
}

const WHO: &str = "<?php echo getmypid();";

/// The processes that serve are those that were there before, and those are gone after a while.
fn relieved(server: &Server, before: &[Process]) {
    let gone = || before.iter().all(|process| !process.lives()).then_some(());
    wait::until(gone).unwrap_or_else(|| panic!("processes of the program before are left\n{}", server.log()));
}

/// How many descriptors the master has open.
fn descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.master())).expect("the master").count()
}

/// All of its processes but the master.
fn children(server: &Server) -> Vec<Process> {
    server.processes().into_iter().filter(|process| process.pid != server.master()).collect()
}

#[test]
fn another_executable_takes_over_and_nothing_is_lost() {
    let setup = Setup::new().www("pm.max_children = 4").pool("b", "pm = dynamic\npm.max_children = 3\npm.start_servers = 1\npm.min_spare_servers = 1\npm.max_spare_servers = 2");
    let Some(server) = start(&traffic::served(setup).script("x.php", WHO)) else { return };
    let (master, first) = (server.master(), executed(&server));
    let fresh = Traffic::begin(&server, Manner::default());
    let kept = Traffic::begin(&server, Manner { kept: true, ..Manner::default() });
    let slower = Traffic::begin(
        &server,
        Manner { clients: 2, sleeps: Duration::from_millis(20), ..Manner::default() },
    );
    let at_first = descriptors(&server);
    for (round, name) in ["one", "two", "three"].into_iter().enumerate() {
        fresh.go_on(&server, 200);
        let (before, program) = (children(&server), copy(&server, name));
        replace(&server, &program);
        upgraded(&server);
        assert_eq!(server.master(), master);
        assert_eq!(executed(&server).1, program.metadata().expect("own file").ino(), "round {round}");
        assert_ne!(executed(&server), first);
        fresh.go_on(&server, 200);
        kept.go_on(&server, 50);
        relieved(&server, &before);
        let as_many = || (descriptors(&server) == at_first).then_some(());
        wait::until(as_many)
            .unwrap_or_else(|| panic!("{} descriptors, not {at_first}", descriptors(&server)));
    }
    for traffic in [fresh, kept, slower] {
        traffic.end().expect_none_lost(&server, 100);
    }
    // The next reload is an ordinary one.
    let before = server.log().matches("ready to handle").count();
    server.signal(Signal::SIGUSR2);
    server.wait_ready_times(before + 1);
    assert_eq!(Client::unix(&server.socket("b")).send(&Request::get(&server, "/x.php")).status(), 200);
    server.stop();
}

#[test]
fn a_long_request_is_finished_by_the_worker_that_began_it() {
    let setup = slow().script("x.php", WHO).www("catch_workers_output = yes");
    let Some(server) = start(&setup) else { return };
    let mut client = begun(&server);
    // The same executable, executed anew.
    upgraded(&server);
    assert_eq!(server.get("/x.php").status(), 200);
    upgraded(&server);
    let reload = ask(&server, &["reload", "--wait"]);
    assert_eq!(reload.0, Some(0), "{reload:?}");
    server.write("tmp/go", "");
    assert!(client.read_reply().to_text().contains(" ended"), "{}", server.log());
    server.stop_with(Signal::SIGQUIT);
}

/// A stop soon after an upgrade: those of the program before are part of it.
#[test]
fn a_stop_while_the_program_before_still_works() {
    for signal in [Signal::SIGQUIT, Signal::SIGTERM] {
        let Some(server) = start(&slow().global("process_control_timeout = 20")) else { return };
        let mut client = begun(&server);
        upgraded(&server);
        server.signal(signal);
        server.wait_log(if signal == Signal::SIGQUIT { "Finishing ..." } else { "Terminating ..." });
        if signal == Signal::SIGQUIT {
            server.write("tmp/go", "");
            assert!(client.read_reply().to_text().contains(" ended"), "{}", server.log());
        }
        server.expect_gone();
        assert_eq!(server.wait_exit(), 0);
    }
}

#[test]
fn who_takes_too_long_is_ended() {
    let Some(server) = start(&slow().global("process_control_timeout = 1")) else { return };
    let before = children(&server);
    let _client = begun(&server);
    upgraded(&server);
    server.wait_log("[pool www] 1 child(ren) of the program before did not finish in time, terminating them");
    relieved(&server, &before);
    server.stop();
}

#[test]
fn executables_that_cannot_take_over_change_nothing() {
    let setup = traffic::served(Setup::new().global("upgrade_timeout = 1").www("pm.max_children = 2"));
    let Some(server) = start(&setup) else { return };
    let load = Traffic::begin(&server, Manner { clients: 2, ..Manner::default() });
    let workers = || server.workers("www").into_iter().collect::<std::collections::BTreeSet<_>>();
    let before = workers();
    load.go_on(&server, 50);
    replace(&server, &server.dir().join("nowhere"));
    refused(&server, "php-fpm is not there any more, or cannot be executed");
    let plain = script(&server, "plain", "#!/bin/sh\nexit 0\n");
    fs::set_permissions(&plain, Permissions::from_mode(0o644)).expect("own file");
    replace(&server, &plain);
    refused(&server, "php-fpm is not there any more, or cannot be executed");
    replace(&server, &script(&server, "failing", "#!/bin/sh\necho broken library\nexit 3\n"));
    refused(&server, "broken library");
    replace(&server, &script(&server, "crashing", "#!/bin/sh\nkill -SEGV $$\n"));
    refused(&server, "it exited on signal 11 (SIGSEGV");
    replace(&server, &script(&server, "hanging", "#!/bin/sh\nexec sleep 600\n"));
    refused(&server, "it did not end within 1 seconds (upgrade_timeout)");
    replace(&server, &script(&server, "other", "#!/bin/sh\nexit 0\n"));
    refused(&server, "it is neither cornac nor php-fpm");
    let leaves = "#!/bin/sh\nsleep 600 & exec sleep 600\n";
    replace(&server, &script(&server, "leaving", leaves));
    refused(&server, "it did not end within 1 seconds");
    replace(&server, &script(&server, "noise", "\u{7f}ELF nonsense"));
    refused(&server, "cannot be executed");
    // Without its engine.
    let alone = server.dir().join("alone");
    fs::copy(subject(), &alone).expect("own folder");
    replace(&server, &alone);
    refused(&server, "engine");
    load.go_on(&server, 50);
    load.end().expect_none_lost(&server, 100);
    assert_eq!(workers(), before);
    server.stop();
}

/// The trial passes, and then there is nothing to be executed: what was about to be handed on goes on.
#[test]
fn an_execution_that_fails_after_its_trial_changes_nothing() {
    let setup = traffic::served(Setup::new().www("pm.max_children = 2\ncatch_workers_output = yes"));
    let Some(server) = start(&setup.pool("b", "pm = ondemand")) else { return };
    let load = Traffic::begin(&server, Manner { clients: 2, kept: true, ..Manner::default() });
    load.go_on(&server, 50);
    let (program, before) = (subject(), children(&server));
    let vanishes = format!("#!/bin/sh\n{} fpm \"$@\"; code=$?; rm \"$0\"; exit $code\n", program.display());
    replace(&server, &script(&server, "vanishing", &vanishes));
    refused(&server, "failed to upgrade: execvp() failed: No such file or directory (2)");
    load.go_on(&server, 50);
    assert_eq!(children(&server), before);
    // Nobody got what was meant for the next image, and the next attempt succeeds.
    symlink(&program, server.dir().join("php-fpm")).expect("own folder");
    upgraded(&server);
    load.go_on(&server, 50);
    load.end().expect_none_lost(&server, 100);
    relieved(&server, &before);
    server.stop();
}

/// A configuration that cannot be used is found before anything is executed.
#[test]
fn a_configuration_that_cannot_be_used_changes_nothing() {
    let Some(server) = start(&Setup::new().script("x.php", WHO)) else { return };
    let worker = server.get("/x.php").body();
    server.configure(&Setup::new().www("php_admin_value[extension] = nosuch.so"));
    refused(&server, "nosuch.so");
    server.configure(&Setup::new().www("php.binary = /bin/true"));
    refused(&server, "/bin/true");
    server.configure(&Setup::new().www("nonsense = 1"));
    refused(&server, "unknown entry 'nonsense'");
    assert_eq!(server.get("/x.php").body(), worker);
    server.stop();
}

#[test]
fn a_signal_follows_the_executable_where_that_is_wanted() {
    let Some(server) = start(&Setup::new().global("reload.executable = follow")) else { return };
    let first = executed(&server);
    server.signal(Signal::SIGUSR2);
    server.wait_ready_times(2);
    assert_eq!(executed(&server), first);
    assert!(!server.log().contains("Upgrade in progress"));
    replace(&server, &copy(&server, "one"));
    server.signal(Signal::SIGUSR2);
    server.wait_ready_times(3);
    assert_ne!(executed(&server), first);
    server.stop();
    let Some(keeps) = start(&Setup::new()) else { return };
    let first = executed(&keeps);
    replace(&keeps, &copy(&keeps, "one"));
    keeps.signal(Signal::SIGUSR2);
    keeps.wait_ready_times(2);
    assert_eq!(executed(&keeps), first);
    keeps.stop();
}

/// php-fpm can take no workers over: ours finish, then it is executed.
#[test]
fn php_fpm_takes_over_when_the_workers_have_finished() {
    let Some(server) = start(&slow().script("x.php", WHO).global("process_control_timeout = 20")) else {
        return;
    };
    let master = server.master();
    let mut client = begun(&server);
    replace(&server, &reference());
    let (code, text) = ask(&server, &["upgrade", "--wait"]);
    assert!(
        code == Some(0) && text.contains("another program is going to take over"),
        "{code:?} {text}\n{}",
        server.log()
    );
    server.write("tmp/go", "");
    assert!(client.read_reply().to_text().contains(" ended"));
    drop(client);
    server.wait_ready_times(2);
    assert_eq!(server.master(), master);
    assert_eq!(server.get("/x.php").status(), 200);
    assert_eq!(executed(&server).1, reference().metadata().expect("php-fpm").ino());
    server.stop();
}

#[test]
fn in_the_background_and_as_an_ordinary_user() {
    let Some(server) = start(&Setup::new().script("x.php", WHO).daemon()) else { return };
    let master = server.master();
    replace(&server, &copy(&server, "one"));
    upgraded(&server);
    assert_eq!((server.master(), server.get("/x.php").status()), (master, 200));
    server.stop();
    if skip_unless_root("an upgrade as another user", 1) {
        return;
    }
    let server = Server::start(
        Side::Subject,
        &Setup::new().script("x.php", WHO).unprivileged().global("reload.executable = follow"),
    );
    let worker = server.get("/x.php").body();
    replace(&server, &copy(&server, "one"));
    server.signal(Signal::SIGUSR2);
    server.wait_ready_times(2);
    wait::until(|| (server.get("/x.php").body() != worker).then_some(())).expect("another worker");
    server.stop();
}
