//! `cornac reload` and the control socket: named pools, only what has changed, the outcome; who may ask, and what becomes of
//! those who ask for nonsense, too much or nothing. php-fpm has no such socket; it is here only where the command meets it.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cornac_tests::binary::{same_on_both_sides, subject};
use cornac_tests::processes::Process;
use cornac_tests::scene::{begun, slow};
use cornac_tests::site::POOL_USER;
use cornac_tests::{
    Client, Manner, Request, Server, Setup, Side, Signal, Traffic, skip_unless_root, traffic, wait,
};

/// A server of ours, unless php-fpm stands in for it.
fn start(setup: &Setup) -> Option<Server> {
    (!same_on_both_sides()).then(|| Server::start(Side::Subject, setup))
}

/// What a command printed, and its exit code.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn said(mut command: Command) -> Said {
    let output = command.stdin(Stdio::null()).output().expect("cornac starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn command(server: &Server, words: &[&str]) -> Command {
    let mut command = Command::new(subject());
    let (name, rest) = words.split_first().expect("a command");
    command.arg(name).args(["-y", &server.fill("{dir}/php-fpm.conf")]).args(rest);
    command.env("TZ", "UTC");
    command
}

fn cornac(server: &Server, words: &[&str]) -> Said {
    said(command(server, words))
}

fn done(server: &Server, words: &[&str]) -> String {
    let said = cornac(server, words);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{words:?} {}\n{}", said.out, server.log());
    said.out
}

fn refused(server: &Server, words: &[&str], reason: &str) {
    let said = cornac(server, words);
    assert!(said.code == Some(1) && said.err.contains(reason), "{said:?}\n{}", server.log());
}

fn path(server: &Server) -> PathBuf {
    server.dir().join("php-fpm.pid.control")
}

/// Once there are some: a worker is forked before it has its title.
fn pids(server: &Server, pool: &str) -> Vec<i32> {
    let workers = || Some(server.workers(pool)).filter(|workers| !workers.is_empty());
    wait::until(workers).unwrap_or_default().into_iter().map(|worker| worker.pid).collect()
}

const WHO: &str = "<?php echo ini_get('precision'), ' ', getmypid();";

fn two_pools() -> Setup {
    Setup::new().script("x.php", WHO).pool("b", "")
}

fn ask(server: &Server, pool: &str) -> String {
    Client::unix(&server.socket(pool)).send(&Request::get(server, "/x.php")).body()
}

/// The pool's worker, as it answers.
fn worker(server: &Server, pool: &str) -> String {
    ask(server, pool).split(' ').next_back().expect("a pid").to_owned()
}

/// Another worker answers, from the moment on that the outcome was told.
fn relieved(server: &Server, pool: &str, before: &str) {
    assert_ne!(worker(server, pool), before, "{pool} is still served by it\n{}", server.log());
}

/// As `relieved`, by its setting.
fn answers(server: &Server, pool: &str, start: &str) {
    let answer = ask(server, pool);
    assert!(answer.starts_with(start), "{pool} answers {answer} and not {start}");
}

/// What a command says, and that the pools that it names have other workers then, and the others the same.
fn renewed(server: &Server, act: &dyn Fn(), words: &[&str]) -> String {
    let pools = ["b", "www"];
    let before = pools.map(|pool| worker(server, pool));
    act();
    let out = done(server, words);
    let new = out.lines().find_map(|line| line.strip_prefix("new workers: ")).unwrap_or_default();
    for (pool, before) in pools.into_iter().zip(&before) {
        match new.split(", ").any(|name| name == pool) {
            true => relieved(server, pool, before),
            false => assert_eq!(&worker(server, pool), before, "{pool}: {out}"),
        }
    }
    out
}

#[test]
fn all_pools_or_those_that_are_named() {
    let Some(server) = start(&two_pools()) else { return };
    let notes = |words: &[&str]| renewed(&server, &|| {}, words);
    assert_eq!(notes(&["reload", "--wait"]), "new workers: www, b\n");
    assert_eq!(notes(&["reload", "--wait", "b"]), "new workers: b\nleft alone: www\n");
    assert_eq!(notes(&["reload", "--wait", "www", "b"]), "new workers: www, b\n");
    refused(&server, &["reload", "--wait", "www", "nosuch"], "cornac: there is no pool 'nosuch'\n");
    let before = server.log().matches("ready to handle").count();
    assert_eq!(done(&server, &["reload"]), "");
    server.wait_ready_times(before + 1);
    assert!(server.log().contains("received SIG") || !server.log().contains("WARNING"), "{}", server.log());
    server.stop();
    assert!(!path(&server).exists());
}

/// The configuration of a named pool is read again, that of the others and the global one is not.
#[test]
fn a_named_pool_gets_its_lines_and_no_other_does() {
    let both = |number: u32| {
        let line = format!("php_value[precision] = {number}");
        two_pools().www(&line).pool("b", &line)
    };
    let Some(server) = start(&both(5)) else { return };
    server.configure(&both(6).global("control.socket = none"));
    // The file says that there is no socket; the master that runs has one.
    let socket = server.fill("{dir}/php-fpm.pid.control");
    let said = cornac(&server, &["reload", "--wait"]);
    assert!(said.code == Some(69) && said.err.contains("there is no control socket"), "{said:?}");
    done(&server, &["reload", "--wait", "--socket", &socket, "b"]);
    answers(&server, "b", "6 ");
    assert!(ask(&server, "www").starts_with("5 "));
    assert!(path(&server).exists());
    done(&server, &["reload", "--wait", "--socket", &socket]);
    answers(&server, "www", "6 ");
    assert!(!path(&server).exists());
    server.stop();
}

#[test]
fn only_what_has_changed() {
    let ini = "precision = 11\n";
    let setup = two_pools()
        .file("php.ini", ini)
        .file("conf.d/a.ini", "serialize_precision = 7\n")
        .arg("-c")
        .arg("{dir}/php.ini")
        .env("PHP_INI_SCAN_DIR", "{dir}/conf.d");
    let Some(server) = start(&setup) else { return };
    let changed = |act: &dyn Fn()| renewed(&server, act, &["reload", "--changed", "--wait"]);
    let (none, both) = ("left alone: www, b\n", "new workers: www, b\n");
    assert_eq!(changed(&|| {}), none);
    let other = setup.clone().pool("b", "php_value[precision] = 6");
    assert_eq!(changed(&|| server.configure(&other)), "new workers: b\nleft alone: www\n");
    assert_eq!(changed(&|| {}), none);
    assert_eq!(changed(&|| server.write("php.ini", "precision = 12\n")), both);
    assert_eq!(changed(&|| server.write("conf.d/b.ini", "precision = 13\n")), both);
    assert_eq!(changed(&|| {}), none);
    let remove = || std::fs::remove_file(server.socket("www")).expect("own socket");
    assert_eq!(changed(&remove), "new workers: www\nleft alone: b\n");
    assert_eq!(changed(&|| server.configure(&other.clone().global("log_limit = 2048"))), both);
    assert_eq!(done(&server, &["reload", "--changed", "--wait", "www"]), "left alone: www, b\n");
    server.stop();
}

#[test]
fn a_refused_reload_tells_why_and_changes_nothing() {
    let Some(server) = start(&two_pools()) else { return };
    let before = [pids(&server, "www"), pids(&server, "b")];
    server.configure(&two_pools().www("php_admin_value[extension] = nosuch.so"));
    refused(&server, &["reload", "--wait"], "nosuch.so");
    server.configure(&two_pools().www("nonsense = 1"));
    // The file cannot be read, and still the master that runs is found by it.
    refused(&server, &["reload", "--wait"], "unknown entry 'nonsense'");
    refused(&server, &["reload", "--wait", "--changed", "b"], "unknown entry 'nonsense'");
    // Who does not wait is not told.
    assert_eq!(done(&server, &["reload"]), "");
    server.wait_log_times("reload is given up", 4);
    assert_eq!([pids(&server, "www"), pids(&server, "b")], before);
    server.stop();
}

/// While a reload takes its time, others ask: each gets an answer of his own, and they are one more reload.
#[test]
fn everybody_who_asks_is_answered() {
    let preload = "<?php if (file_exists('{dir}/tmp/slow')) { file_put_contents('{dir}/tmp/began', 'x'); \
                   while (file_exists('{dir}/tmp/slow')) usleep(2000); }";
    let setup = two_pools()
        .file("preload.php", preload)
        .www("php_admin_value[opcache.preload] = {dir}/preload.php\nphp_admin_value[opcache.preload_user] = {user}");
    let Some(server) = start(&setup) else { return };
    server.write("tmp/slow", "");
    let asked = |words: &[&str]| {
        let mut command = command(&server, words);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cornac starts")
    };
    let first = asked(&["reload", "--wait"]);
    wait::until(|| (!server.read("tmp/began").is_empty()).then_some(())).expect("the reload began");
    let later =
        [&["reload", "--wait", "b"][..], &["reload", "--wait", "nosuch"], &["reload", "--wait", "www"]];
    let later = later.map(asked);
    wait::until(|| (connections(&server) == 4).then_some(())).expect("all have asked");
    std::fs::remove_file(server.dir().join("tmp/slow")).expect("own file");
    let codes = [first].into_iter().chain(later).map(|child| {
        let output = child.wait_with_output().expect("own child");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    });
    let ok = || (Some(0), String::new());
    let expected = [ok(), ok(), (Some(1), "cornac: there is no pool 'nosuch'\n".to_owned()), ok()];
    assert_eq!(codes.collect::<Vec<_>>(), expected);
    assert_eq!(server.log().matches("ready to handle").count(), 3, "{}", server.log());
    server.stop();
}

/// Accepted connections of the control socket.
fn connections(server: &Server) -> usize {
    let path = path(server);
    let table = std::fs::read_to_string("/proc/net/unix").expect("the kernel's table");
    // State 03: connected; the listening one is 01.
    let of_ours =
        |line: &&str| line.ends_with(&*path.to_string_lossy()) && line.split(' ').nth(5) == Some("03");
    table.lines().filter(of_ours).count()
}

#[test]
fn a_reload_by_command_loses_nothing() {
    let Some(server) = start(&traffic::served(Setup::new().www("pm.max_children = 4"))) else { return };
    let load = Traffic::begin(&server, Manner::default());
    for _ in 0..5 {
        load.go_on(&server, 100);
        done(&server, &["reload", "--wait", "www"]);
    }
    load.end().expect_none_lost(&server, 500);
    server.stop();
}

/// A request on a parked connection may be on its way to a worker when all workers that know of it go.
#[test]
fn reloads_lose_no_kept_connection_of_short_lived_workers() {
    let setup = traffic::served(Setup::new().www("pm.max_children = 3\npm.max_requests = 20"));
    let Some(server) = start(&setup) else { return };
    let two = || Manner { clients: 2, ..Manner::default() };
    let fresh = Traffic::begin(&server, two());
    let kept = Traffic::begin(&server, Manner { kept: true, ..two() });
    for _ in 0..12 {
        fresh.go_on(&server, 100);
        kept.go_on(&server, 100);
        done(&server, &["reload", "--wait"]);
    }
    fresh.end().expect_none_lost(&server, 1000);
    kept.end().expect_none_lost(&server, 1000);
    server.stop();
}

#[test]
fn an_ordinary_user_reaches_his_master_and_root_reaches_root() {
    if skip_unless_root("a master of another user", 1) || same_on_both_sides() {
        return;
    }
    let server = Server::start(Side::Subject, &two_pools().unprivileged());
    let as_user = |program: &std::path::Path| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", POOL_USER, "--regid", POOL_USER, "--init-groups"]).arg(program);
        command
    };
    // The tests' own folder may be closed to others.
    let program = server.dir().join("tmp/cornac");
    std::fs::copy(subject(), &program).expect("own folder");
    let mut by_user = as_user(&program);
    by_user.args(["reload", "--wait", "-y", &server.fill("{dir}/php-fpm.conf")]);
    assert_eq!(said(by_user).code, Some(0), "{}", server.log());
    let by_root = cornac(&server, &["reload", "--wait"]);
    let doubt = "is not believed";
    assert!(by_root.code == Some(69) && by_root.err.contains(doubt), "{by_root:?}");
    // His socket opened to all: the others are still not heard.
    let of_root = Server::start(Side::Subject, &two_pools());
    std::fs::set_permissions(path(&of_root), std::fs::Permissions::from_mode(0o666)).expect("own socket");
    let at_root = of_root.fill("{dir}/php-fpm.conf");
    let mut stranger = as_user(&program);
    stranger.args(["reload", "-y", &at_root]);
    let stranger = said(stranger);
    assert!(stranger.code == Some(69) && stranger.err.contains("the master"), "{stranger:?}");
    of_root.wait_log("may not use the control socket: only root and user 0 may");
    std::fs::set_permissions(path(&of_root), std::fs::Permissions::from_mode(0o600)).expect("own socket");
    let mut outsider = as_user(&program);
    outsider.args(["reload", "-y", &at_root]);
    let outsider = said(outsider);
    assert!(outsider.code == Some(69) && outsider.err.contains("permission denied at"), "{outsider:?}");
    done(&of_root, &["reload", "--wait"]);
    of_root.stop();
    server.stop();
}

fn connect(server: &Server) -> UnixStream {
    let stream = UnixStream::connect(path(server)).expect("the control socket");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("own socket");
    stream
}

fn conversation(server: &Server, request: &[u8]) -> String {
    let mut stream = connect(server);
    stream.write_all(request).expect("sent");
    answer(stream)
}

fn answer(mut stream: UnixStream) -> String {
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn nonsense_is_refused_and_the_service_goes_on() {
    let Some(server) = start(&two_pools()) else { return };
    for (request, reason) in [
        (&b"GET / HTTP/1.0\r\n\r\n"[..], "more than one request"),
        (b"hello\n", "it is no request"),
        (b"\xff\xfe\xfd\n", "it is no text"),
        (b"cornac/9 reload\n", "it speaks cornac/9"),
        (b"cornac/1 reload now\n", "this master does not know 'now'"),
        (b"cornac/1 reload\ncornac/1 reload\n", "more than one request"),
    ] {
        assert_eq!(conversation(&server, request).lines().last(), Some("refused"));
        server.wait_log(reason);
        if server.log().matches("on the control socket is refused").count() == 4 {
            // Five lines in ten seconds.
            break;
        }
    }
    let flood = vec![b'x'; 200 * 1024];
    let mut stream = connect(&server);
    let _ = stream.write_all(&flood);
    drop(stream);
    for _ in 0..200 {
        drop(connect(&server));
        drop(conversation(&server, b"rubbish\n"));
    }
    assert!(server.log().matches("on the control socket is refused").count() <= 5, "{}", server.log());
    assert!(worker(&server, "www").parse::<i32>().is_ok());
    done(&server, &["reload", "--wait"]);
    server.stop();
}

#[test]
fn who_says_nothing_is_let_go_and_holds_nobody_up() {
    let Some(server) = start(&two_pools()) else { return };
    let mut silent = connect(&server);
    let mut half = connect(&server);
    half.write_all(b"cornac/1 rel").expect("sent");
    let begun = Instant::now();
    done(&server, &["reload", "--wait"]);
    assert_eq!(answer(silent.try_clone().expect("own socket")).lines().last(), Some("refused"));
    assert!(answer(half).contains("it did not come within 5 seconds"));
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert!(silent.write_all(b"cornac/1 reload\n").is_err() || answer(silent).is_empty());
    // As many as are taken in at once, and one more.
    let crowd: Vec<UnixStream> = (0..32).map(|_| connect(&server)).collect();
    wait::until(|| (connections(&server) == 32).then_some(())).expect("all are taken in");
    assert!(conversation(&server, b"").contains("more than 32 at once"));
    drop(crowd);
    wait::until(|| (connections(&server) == 0).then_some(())).expect("all are gone");
    done(&server, &["reload", "--wait"]);
    server.stop();
}

#[test]
fn a_command_that_goes_away_and_a_master_that_ends() {
    let Some(server) = start(&slow().global("process_control_timeout = 10")) else { return };
    let mut gone = connect(&server);
    gone.write_all(b"cornac/1 reload wait\n").expect("sent");
    drop(gone);
    server.wait_ready_times(2);
    let client = begun(&server);
    server.signal(Signal::SIGQUIT);
    server.wait_log("Finishing ...");
    let late = cornac(&server, &["reload", "--wait"]);
    assert!(late.code == Some(1) && late.err.contains("the master is stopping"), "{late:?}");
    server.write("tmp/go", "");
    drop(client);
    server.expect_gone();
    assert!(!path(&server).exists());
}

#[test]
fn nobody_is_there() {
    let Some(server) = start(&two_pools()) else { return };
    let master = Process::of(server.master()).expect("the master");
    master.signal(Signal::SIGKILL);
    server.expect_gone();
    let stale = cornac(&server, &["reload"]);
    let path = path(&server);
    let reason = format!("no master runs: nobody listens at {}", path.display());
    assert!(stale.code == Some(69) && stale.err.contains(&reason), "{stale:?}");
    std::fs::remove_file(&path).expect("own folder");
    let none = cornac(&server, &["reload"]);
    assert!(
        none.code == Some(69) && none.err.contains("no master runs: there is no control socket at"),
        "{none:?}"
    );
    server.configure(&two_pools().global("pid ="));
    let off = cornac(&server, &["reload"]);
    assert!(off.code == Some(69) && off.err.contains("has neither control.socket nor pid"), "{off:?}");
    let unreadable = said({
        let mut command = Command::new(subject());
        command.args(["reload", "-y", &server.fill("{dir}/none.conf")]);
        command
    });
    assert!(
        unreadable.code == Some(69) && unreadable.err.contains("name it with --socket"),
        "{unreadable:?}"
    );
}

#[test]
fn php_fpm_has_no_such_socket() {
    let server = Server::start(Side::Reference, &two_pools());
    if !same_on_both_sides() {
        let found = cornac(&server, &["reload"]);
        let advice = format!("kill -USR2 {} reloads it", server.master());
        assert!(
            found.code == Some(69) && found.err.contains(&advice) && found.err.contains("php-fpm"),
            "{found:?}"
        );
    }
    server.stop();
}

/// Somebody else's listener that hangs or answers anything but a master's answers.
#[test]
fn what_listens_there_need_not_be_a_master() {
    let Some(server) = start(&two_pools()) else { return };
    let path = server.dir().join("other.control");
    let listener = UnixListener::bind(&path).expect("own folder");
    let shown = path.to_string_lossy().into_owned();
    let hanging = cornac(&server, &["reload", "--wait", "--timeout", "1", "--socket", &shown]);
    assert!(
        hanging.code == Some(69) && hanging.err.contains("has not answered within 1 seconds"),
        "{hanging:?}"
    );
    let chatter = std::thread::spawn(move || {
        let (_first, _) = listener.accept().expect("the one that hung");
        let (mut stream, _) = listener.accept().expect("a command");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let noisy = cornac(&server, &["reload", "--wait", "--timeout", "20", "--socket", &shown]);
    assert!(noisy.code == Some(69) && noisy.err.contains("gives no answer of a master"), "{noisy:?}");
    chatter.join().expect("the listener");
    server.stop();
}

#[test]
fn where_the_socket_is() {
    let Some(server) = start(&two_pools().global("control.socket = {dir}/own.control")) else { return };
    let own = server.dir().join("own.control");
    assert!(own.exists() && !path(&server).exists());
    assert_eq!(own.metadata().expect("own socket").permissions().mode() & 0o777, 0o600);
    done(&server, &["reload", "--wait"]);
    // Removed by somebody, it is made anew by the next reload.
    std::fs::remove_file(&own).expect("own folder");
    let before = server.log().matches("ready to handle").count();
    server.signal(Signal::SIGUSR2);
    server.wait_ready_times(before + 1);
    done(&server, &["reload", "--wait"]);
    // Another path takes effect by a reload.
    let old = server.fill("{dir}/own.control");
    server.configure(&two_pools().global("control.socket = {dir}/next.control"));
    done(&server, &["reload", "--wait", "--socket", &old]);
    assert!(!own.exists());
    done(&server, &["reload", "--wait"]);
    // What is not ours any more stays.
    let next = server.dir().join("next.control");
    std::fs::remove_file(&next).expect("own folder");
    let _other = UnixListener::bind(&next).expect("own folder");
    server.stop();
    assert!(next.exists());
}

#[test]
fn paths_that_cannot_be_used() {
    if same_on_both_sides() {
        return;
    }
    let long = format!("control.socket = {{dir}}/{}", "x".repeat(110));
    let setup = two_pools().global(&long);
    let server = Server::launch(Side::Subject, &setup);
    assert_eq!(server.wait_exit(), 78);
    assert!(server.stderr().contains("xxx' is too long: found length: "), "{}", server.stderr());
    let missing = Server::start(Side::Subject, &two_pools().global("control.socket = {dir}/none/control"));
    missing
        .wait_log("/none/control': No such file or directory (2); commands such as 'cornac reload' cannot");
    assert!(missing.log().contains("/php-fpm.conf:4] control.socket: cannot listen at"), "{}", missing.log());
    missing.stop();
    let precious = two_pools().global("control.socket = {dir}/precious").file("precious", "data");
    let precious = Server::start(Side::Subject, &precious);
    precious.wait_log("something lies there that is no socket");
    precious.stop();
    assert_eq!(precious.read("precious"), "data");
}
