//! What an upgrade leaves behind, looked at from outside: workers of the program before are looked after as ever, nothing of
//! it leaks into descriptors and environments, and whatever happens meanwhile or next finds everything in its place.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Output, Stdio};

use cornac_tests::binary::{same_on_both_sides, subject};
use cornac_tests::processes::Process;
use cornac_tests::scene::{begun, slow};
use cornac_tests::traffic::Address;
use cornac_tests::{Client, Manner, Request, Server, Setup, Side, Signal, Traffic, traffic, wait};

fn start(setup: &Setup) -> Option<Server> {
    (!same_on_both_sides()).then(|| Server::start(Side::Subject, setup))
}

fn command(server: &Server, words: &[&str]) -> Command {
    let mut command = Command::new(subject());
    command.arg(words[0]).args(["-y", &server.fill("{dir}/php-fpm.conf")]).args(&words[1..]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn told(output: Output) -> (Option<i32>, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

fn ask(server: &Server, words: &[&str]) -> (Option<i32>, String) {
    told(command(server, words).output().expect("cornac starts"))
}

fn upgrade(server: &Server) {
    let (code, text) = ask(server, &["upgrade", "--wait"]);
    assert_eq!(code, Some(0), "{text}\n{}", server.log());
}

/// All of its processes but the master.
fn children(server: &Server) -> Vec<Process> {
    server.processes().into_iter().filter(|process| process.pid != server.master()).collect()
}

fn gone(server: &Server, processes: &[Process]) {
    let all = || processes.iter().all(|process| !process.lives()).then_some(());
    wait::until(all).unwrap_or_else(|| panic!("some of {processes:?} are left\n{}", server.log()));
}

fn release(server: &Server, mut client: Client) {
    server.write("tmp/go", "");
    let text = client.read_reply().to_text();
    assert!(text.contains(" ended"), "{text}\n{}", server.log());
}

/// What descriptors of a process lead to, and how many to each.
fn descriptors(pid: i32) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("own child").flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let text = target.to_string_lossy().into_owned();
        // Numbers of pipes and sockets, and the name of opcache's lock.
        let kind = text.split([':', '.']).next().unwrap_or_default().to_owned();
        *found.entry(kind).or_default() += 1;
    }
    found
}

#[test]
fn descriptors_titles_and_files_are_what_they_were() {
    let lines = "catch_workers_output = yes\npm.max_children = 2\naccess.log = {dir}/access.log";
    let dynamic = "pm = dynamic\npm.max_children = 4\npm.start_servers = 1\npm.min_spare_servers = 1\npm.max_spare_servers = 2";
    let setup =
        Setup::new().www(lines).pool("b", dynamic).pool("c", "pm = ondemand\nlisten = 127.0.0.1:{port}");
    let Some(server) = start(&setup.script("x.php", "<?php echo 'x';")) else { return };
    let facts = || {
        let mut titles: Vec<String> = server.processes().iter().map(|process| process.title()).collect();
        titles.sort_unstable();
        let below: Vec<_> = server
            .processes()
            .iter()
            .filter(|process| process.title().contains("fork server"))
            .map(|process| descriptors(process.pid))
            .collect();
        let sockets =
            ["www", "b"].map(|pool| fs::metadata(server.socket(pool)).map(|facts| facts.ino()).ok());
        (titles, sockets, server.read("php-fpm.pid"), below, descriptors(server.master()))
    };
    let before = facts();
    for _ in 0..4 {
        let old = children(&server);
        upgrade(&server);
        assert_eq!(server.get("/x.php").body(), "x");
        gone(&server, &old);
    }
    let settled = wait::until(|| (facts() == before).then_some(()));
    assert!(settled.is_some(), "{:#?} before\n{before:#?}", facts());
    server.stop();
    assert!(!server.socket("www").exists() && !server.dir().join("php-fpm.pid").exists());
    assert!(!server.dir().join("php-fpm.pid.control").exists());
}

/// Nothing that images tell each other reaches PHP, though the whole environment does.
#[test]
fn scripts_see_the_same_environment() {
    let names = "<?php $all = array_keys(getenv()); sort($all); echo join(' ', $all);";
    let Some(server) = start(&Setup::new().www("clear_env = no").script("x.php", names)) else { return };
    let before = server.get("/x.php").body();
    assert!(before.contains("PATH"), "{before}");
    for _ in 0..2 {
        upgrade(&server);
        assert_eq!(server.get("/x.php").body(), before);
    }
    server.stop();
}

/// A request that was begun before still has its limit, and its output is logged.
#[test]
fn workers_of_the_program_before_are_looked_after() {
    let slow_one = "<?php echo 'begun'; flush(); \
        while (!file_exists(dirname(__DIR__) . '/tmp/go')) usleep(2000); \
        file_put_contents('php://stderr', \"second\\n\"); while (true) usleep(1000);";
    let lines = "catch_workers_output = yes\nrequest_terminate_timeout = 5";
    let Some(server) = start(&slow().script("slow.php", slow_one).www(lines)) else { return };
    let _client = begun(&server);
    let old = server.workers("www");
    upgrade(&server);
    server.write("tmp/go", "");
    // Said by a worker that this image has not forked.
    server.wait_log("second");
    server.wait_log("execution timed out");
    gone(&server, &old);
    server.stop();
}

/// If the master dies, nobody stays, whoever forked them.
#[test]
fn after_a_kill_nobody_is_left() {
    let Some(server) = start(&slow()) else { return };
    let _client = begun(&server);
    let old = children(&server);
    upgrade(&server);
    let all = children(&server);
    assert!(old.iter().any(|process| all.contains(process)), "the old worker is still at it");
    server.signal(Signal::SIGKILL);
    gone(&server, &all);
    gone(&server, &old);
    server.expect_gone();
}

#[test]
fn a_fork_server_that_dies_between_the_upgrade_and_its_workers_end() {
    let Some(server) = start(&slow()) else { return };
    let client = begun(&server);
    let old = children(&server);
    let fork_server = old.iter().find(|process| process.title().contains("fork server")).copied();
    upgrade(&server);
    fork_server.expect("a fork server").signal(Signal::SIGKILL);
    gone(&server, &[fork_server.expect("a fork server")]);
    release(&server, client);
    gone(&server, &old);
    assert_eq!(server.get("/slow.php").status(), 200);
    server.stop();
}

/// Workers that lost their fork server before are taken along as well.
#[test]
fn workers_that_were_adopted_before() {
    let Some(server) = start(&slow()) else { return };
    let client = begun(&server);
    let old = children(&server);
    let fork_server = old.iter().find(|process| process.title().contains("fork server")).copied();
    fork_server.expect("a fork server").signal(Signal::SIGKILL);
    server.wait_log("a new fork server starts");
    upgrade(&server);
    release(&server, client);
    gone(&server, &old);
    server.stop();
}

/// The configuration is read again as well: pools come and go.
#[test]
fn pools_that_come_and_go_with_it() {
    let setup = slow()
        .pool("b", "php_flag[output_buffering] = off")
        .script("x.php", "<?php echo ini_get('precision');");
    let Some(server) = start(&setup) else { return };
    let mut client = Client::unix(&server.socket("b"));
    client.write(&Request::get(&server, "/slow.php").encode()).expect("sent");
    client.read_record().expect("the script has begun");
    let old = children(&server);
    server.configure(&slow().www("php_value[precision] = 7").pool("c", ""));
    upgrade(&server);
    assert_eq!(server.get("/x.php").body(), "7");
    assert_eq!(Client::unix(&server.socket("c")).send(&Request::get(&server, "/x.php")).status(), 200);
    assert!(!server.socket("b").exists());
    release(&server, client);
    gone(&server, &old);
    server.stop();
}

/// Short-lived workers, a pool over TCP and kept connections, while one upgrade follows the other.
#[test]
fn every_kind_of_traffic_goes_on() {
    let setup = Setup::new()
        .www("pm.max_children = 3\npm.max_requests = 20")
        .pool("b", "listen = 127.0.0.1:{port}\npm.max_children = 2")
        .pool("c", "pm = ondemand\npm.max_children = 3\npm.process_idle_timeout = 1s");
    let Some(server) = start(&traffic::served(setup)) else { return };
    let tcp = Address::Tcp(([127, 0, 0, 1], server.port(0)).into());
    let ondemand = Address::Unix(server.socket("c"));
    let fresh = || Manner { clients: 2, ..Manner::default() };
    let loads = [
        Traffic::begin(&server, fresh()),
        Traffic::begin(&server, Manner { kept: true, ..fresh() }),
        Traffic::at(&server, tcp.clone(), fresh()),
        Traffic::at(&server, tcp, Manner { kept: true, clients: 4, ..fresh() }),
        Traffic::at(&server, ondemand, fresh()),
    ];
    for _ in 0..4 {
        let old = children(&server);
        loads.iter().for_each(|load| load.go_on(&server, 40));
        upgrade(&server);
        loads.iter().for_each(|load| load.go_on(&server, 40));
        gone(&server, &old);
    }
    let kinds = ["new", "kept", "new over TCP", "kept over TCP", "ondemand"];
    let tallies: Vec<_> = loads.into_iter().map(Traffic::end).collect();
    for (kind, tally) in kinds.into_iter().zip(tallies) {
        assert!(tally.lost() == 0 && tally.sent >= 300, "{kind}: {tally}\n{}", server.log());
    }
    server.stop();
}

/// Commands and signals that come while it is under way have their turn.
#[test]
fn what_is_asked_for_meanwhile_is_done_as_well() {
    let Some(server) = start(&traffic::served(Setup::new().www("pm.max_children = 2").pool("b", ""))) else {
        return;
    };
    let load = Traffic::begin(&server, Manner { clients: 2, ..Manner::default() });
    for _ in 0..3 {
        let words: [&[&str]; 4] = [
            &["upgrade", "--wait"],
            &["reload", "--wait", "b"],
            &["upgrade", "--wait"],
            &["reload", "--wait"],
        ];
        let asked: Vec<_> =
            words.iter().map(|words| command(&server, words).spawn().expect("cornac starts")).collect();
        server.signal(Signal::SIGUSR1);
        server.signal(Signal::SIGUSR2);
        for (child, words) in asked.into_iter().zip(words) {
            let (code, text) = told(child.wait_with_output().expect("own child"));
            assert_eq!(code, Some(0), "{words:?}: {text}\n{}", server.log());
        }
        load.go_on(&server, 50);
    }
    load.end().expect_none_lost(&server, 150);
    assert_eq!(ask(&server, &["reload", "--wait"]).0, Some(0));
    server.stop();
}

/// A stop comes first, wherever the upgrade is.
#[test]
fn a_stop_in_the_middle() {
    for signal in [Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGINT] {
        let Some(server) = start(&Setup::new().www("pm.max_children = 2")) else { return };
        let asked = command(&server, &["upgrade", "--wait"]).spawn().expect("cornac starts");
        wait::until(|| server.log().to_lowercase().contains("upgrade").then_some(())).expect("it has begun");
        server.signal(signal);
        server.expect_gone();
        let (code, text) = told(asked.wait_with_output().expect("own child"));
        assert!(code.is_some_and(|code| code != 0) || text.contains("serves"), "{code:?} {text}");
        assert!(!server.socket("www").exists() && !server.dir().join("php-fpm.pid").exists());
    }
}
