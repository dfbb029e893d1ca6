//! The process managers beside php-fpm's: how many workers live in which situation, what the log says of it; and what
//! only cornac does: acting at once, pools without a process, the restart of one pool after too many faults.

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::compare::mask;
use cornac_tests::{Client, Request, Server, Setup, Side, compare_runs, wait};
use nix::sys::signal::Signal;

const HELD: &str = "<?php echo 'begun'; flush(); while (!file_exists(dirname(__DIR__) . '/tmp/go')) usleep(2000); echo ' ended';";

fn setup(lines: &str) -> Setup {
    Setup::new()
        .script("held.php", HELD)
        .script("pid.php", "<?php echo getmypid();")
        .www("php_flag[output_buffering] = off")
        .www(lines)
}

fn dynamic(max: u32, start: u32, min_spare: u32, max_spare: u32) -> Setup {
    setup(&format!(
        "pm = dynamic\npm.max_children = {max}\npm.start_servers = {start}\npm.min_spare_servers = {min_spare}\n\
         pm.max_spare_servers = {max_spare}"
    ))
}

fn ondemand(max: u32, idle: u32) -> Setup {
    setup(&format!("pm = ondemand\npm.max_children = {max}\npm.process_idle_timeout = {idle}s"))
}

/// Waits until the pool `www` has so many workers.
fn reaches(server: &Server, workers: usize) -> String {
    let reached = wait::until(|| (server.workers("www").len() == workers).then_some(()));
    assert!(
        reached.is_some(),
        "{:?}: {} workers, not {workers}\n{}",
        server.side,
        server.workers("www").len(),
        server.log()
    );
    format!("{workers} workers\n")
}

/// A connection that asks for a script which runs until `release`.
fn ask(server: &Server) -> Client {
    let mut client = server.connect();
    client.write(&Request::get(server, "/held.php").encode()).expect("sent");
    client
}

/// So many of them that have begun. One after the other: of a burst php-fpm's ondemand misses some (bug 69724).
fn hold(server: &Server, count: usize) -> Vec<Client> {
    let begin = |_| {
        let mut client = ask(server);
        let first = client.read_record();
        assert!(first.is_some_and(|(_, content)| content.ends_with(b"begun")), "the script has not begun");
        client
    };
    (0..count).map(begin).collect()
}

/// Lets them end; how many ended well.
fn release(server: &Server, clients: Vec<Client>) -> String {
    server.write("tmp/go", "");
    let ended = clients.into_iter().filter_map(|mut client| client.read_reply().end).count();
    std::fs::remove_file(server.dir().join("tmp/go")).expect("own file");
    format!("{ended} ended\n")
}

/// The log, masked; the order of what several workers cause is a matter of chance. php-fpm takes every stopped child
/// for one that it stopped itself, and says so in other words.
fn told(server: &Server) -> String {
    let log = mask(server, &server.log(), &[]);
    let stopped = |line: &str| line.contains("stopped for tracing") || line.contains("is stopped (SIGSTOP)");
    let mut lines: Vec<&str> =
        log.lines().map(|line| if stopped(line) { "a child is stopped" } else { line }).collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn scene(name: &str, setup: &Setup, play: impl Fn(&Server) -> String + Sync) {
    compare_runs(name, None, |side| {
        let server = Server::start(side, setup);
        let seen = play(&server);
        server.stop();
        format!("{seen}{}", told(&server))
    });
}

#[test]
fn dynamic_starts_with_start_servers() {
    scene("start_servers", &dynamic(8, 3, 1, 5), |server| reaches(server, 3));
    let unset = setup(
        "pm = dynamic\npm.max_children = 8\npm.min_spare_servers = 2\npm.max_spare_servers = 5\npm.start_servers = 0",
    );
    scene("start_servers left out", &unset, |server| reaches(server, 3));
}

#[test]
fn dynamic_grows_and_shrinks() {
    scene("growth and shrinking", &dynamic(6, 1, 1, 2), |server| {
        let held = hold(server, 3);
        let grown = reaches(server, 4);
        let ended = release(server, held);
        grown + &ended + &reaches(server, 2)
    });
}

#[test]
fn dynamic_min_spare_is_kept() {
    scene("min_spare_servers", &dynamic(12, 3, 3, 4), |server| {
        let held = hold(server, 2);
        reaches(server, 5) + &release(server, held)
    });
}

#[test]
fn dynamic_says_when_the_limit_is_reached() {
    scene("max_children", &dynamic(2, 1, 1, 2), |server| {
        let mut held = hold(server, 2);
        held.push(ask(server));
        server.wait_log("server reached pm.max_children setting (2), consider raising it");
        reaches(server, 2) + &release(server, held)
    });
}

#[test]
fn a_dynamic_worker_that_dies_is_replaced() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGSEGV] {
        scene(signal.as_str(), &dynamic(4, 2, 1, 3), |server| {
            let before = reaches(server, 2);
            let worker = server.workers("www")[0];
            worker.signal(signal);
            wait::until(|| (!worker.lives()).then_some(())).expect("it ends");
            server.wait_log("started");
            before + &reaches(server, 2)
        });
    }
}

#[test]
fn an_idle_worker_that_ignores_its_dismissal_is_killed() {
    scene("stopped spare worker", &dynamic(4, 2, 2, 2), |server| {
        reaches(server, 2);
        // The oldest, as the pids of a fresh start are in order; it still counts as idle.
        let stopped = server.workers("www")[0];
        stopped.signal(Signal::SIGSTOP);
        let state = || stopped.status_line("State").filter(|state| state.starts_with('T'));
        wait::until(state).expect("it stops, and is no candidate for a connection any more");
        let held = hold(server, 1);
        reaches(server, 3);
        release(server, held);
        server.wait_log("exited on signal 9 (SIGKILL)");
        server.wait_log("started");
        format!("{} {}", stopped.lives(), reaches(server, 2))
    });
}

#[test]
fn max_requests_replaces_workers_of_every_manager() {
    let requests = |server: &Server| {
        let mut pids: Vec<String> = (0..6).map(|_| server.get("/pid.php").body()).collect();
        pids.dedup();
        // One that has just ended may still be counted.
        wait::until(|| (server.workers("www").len() == 1).then_some(())).expect("one worker");
        format!("{} different\n", pids.len())
    };
    scene("static", &setup("pm.max_requests = 2"), |server| {
        let seen = requests(server);
        server.wait_log_times("exited with code 0", 3);
        server.wait_log_times("started", 3);
        seen
    });
    scene(
        "dynamic",
        &dynamic(1, 1, 1, 1).www("pm.max_requests = 2").global("log_level = error").quiet(),
        requests,
    );
    scene(
        "ondemand",
        &ondemand(1, 30).www("pm.max_requests = 2").global("log_level = error").quiet(),
        requests,
    );
}

#[test]
fn ondemand_starts_workers_for_connections() {
    scene("ondemand", &ondemand(3, 1), |server| {
        let none = reaches(server, 0);
        server.get("/pid.php");
        let one = reaches(server, 1);
        let held = hold(server, 3);
        let all = reaches(server, 3);
        let ended = release(server, held);
        none + &one + &all + &ended + &reaches(server, 0)
    });
}

#[test]
fn a_burst_gets_a_worker_each() {
    cornac(&ondemand(8, 20), |server| {
        let clients: Vec<Client> = (0..8).map(|_| ask(server)).collect();
        reaches(server, 8);
        assert_eq!(release(server, clients), "8 ended\n");
    });
}

#[test]
fn ondemand_says_when_the_limit_is_reached() {
    scene("ondemand limit", &ondemand(2, 20), |server| {
        let mut held = hold(server, 2);
        held.push(ask(server));
        server.wait_log("server reached max_children setting (2), consider raising it");
        reaches(server, 2) + &release(server, held)
    });
}

#[test]
fn an_ondemand_worker_that_dies_is_replaced_even_without_a_connection() {
    scene("ondemand crash", &ondemand(2, 20), |server| {
        server.get("/pid.php");
        server.workers("www")[0].signal(Signal::SIGKILL);
        server.wait_log("exited on signal 9");
        server.wait_log("started");
        reaches(server, 1)
    });
}

#[test]
fn process_max_limits_all_pools() {
    let setup = dynamic(4, 2, 2, 3).global("process.max = 3").pool("two", "pm.max_children = 3");
    scene("process.max", &setup, |server| {
        server.wait_log("consider raising 'process.max'");
        let both = || server.workers("www").len() + server.workers("two").len();
        wait::until(|| (both() == 3).then_some(())).expect("three workers in all");
        String::from("3\n")
    });
}

#[test]
fn pools_of_all_managers_live_side_by_side() {
    let setup = ondemand(2, 20)
        .pool("fixed", "pm = static\npm.max_children = 2")
        .pool("spare", "pm = dynamic\npm.max_children = 3\npm.start_servers = 1\npm.min_spare_servers = 1\npm.max_spare_servers = 1");
    scene("all managers", &setup, |server| {
        server.get("/pid.php");
        let counts = ["www", "fixed", "spare"].map(|pool| server.workers(pool).len());
        format!("{counts:?}\n")
    });
}

/// What only cornac does is played on cornac alone.
fn cornac(setup: &Setup, play: impl Fn(&Server)) {
    if same_on_both_sides() {
        return;
    }
    let server = Server::start(Side::Subject, setup);
    play(&server);
    server.stop();
}

#[test]
fn an_idle_ondemand_pool_costs_no_process() {
    cornac(&ondemand(2, 1), |server| {
        assert_eq!(server.processes().len(), 1, "the master alone");
        for _ in 0..2 {
            assert!(!server.get("/pid.php").body().is_empty());
            wait::until(|| (server.processes().len() == 1).then_some(())).expect("the master alone again");
        }
    });
}

#[test]
fn hundreds_of_idle_pools_are_one_process() {
    let mut setup = ondemand(2, 10);
    for pool in 0..300 {
        setup = setup.pool(&format!("p{pool}"), "pm = ondemand");
    }
    // A usual limit is enough for them.
    cornac(&setup.wrapped(&["prlimit", "--nofile=1024:1024"]), |server| {
        assert_eq!(server.processes().len(), 1);
        let mut client = Client::unix(&server.socket("p299"));
        let reply = client.send(&Request::get(server, "/pid.php"));
        assert!(reply.end.is_some(), "{}", reply.to_text());
    });
}

#[test]
fn a_fork_server_lost_while_idle_is_no_obstacle() {
    cornac(&ondemand(2, 60), |server| {
        server.get("/pid.php");
        let title = "php-fpm: fork server www";
        let fork_server = server.processes().into_iter().find(|process| process.title() == title);
        fork_server.expect("a fork server").signal(Signal::SIGKILL);
        server.wait_log("go on serving");
        let replies: Vec<_> = (0..20).map(|_| server.get("/pid.php").end.is_some()).collect();
        assert!(replies.iter().all(|ended| *ended));
    });
}

#[test]
fn kept_connections_are_no_spare_workers() {
    cornac(&dynamic(6, 1, 1, 2), |server| {
        let request = Request { keep: true, ..Request::get(server, "/pid.php") };
        let mut kept: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        for client in &mut kept {
            assert!(client.send(&request).end.is_some());
        }
        // All four are open, and a fifth finds a worker that waits.
        assert!(server.get("/pid.php").end.is_some());
        assert!(kept.iter_mut().all(|client| client.send(&request).end.is_some()));
    });
}

#[test]
fn too_many_faults_restart_the_pool_at_fault_alone() {
    let setup = setup("pm.max_children = 2")
        .pool("calm", "")
        .global("emergency_restart_threshold = 3\nemergency_restart_interval = 1m")
        .script("fault.php", "<?php posix_kill(getmypid(), 11); sleep(5);");
    cornac(&setup, |server| {
        let servers = || -> Vec<i32> {
            let processes = server.processes().into_iter();
            let of = |name: &str, title: &str| title == format!("php-fpm: fork server {name}");
            let mut found: Vec<_> = processes.map(|process| (process.title(), process.pid)).collect();
            found.retain(|(title, _)| of("www", title) || of("calm", title));
            found.sort();
            found.into_iter().map(|(_, pid)| pid).collect()
        };
        let before = servers();
        (0..3).for_each(|_| drop(server.get("/fault.php")));
        server.wait_log("[pool www] failed processes threshold (3 in 60 sec) is reached, initiating reload");
        wait::until(|| {
            let after = servers();
            (after.len() == 2 && after[0] == before[0] && after[1] != before[1]).then_some(())
        })
        .expect("a new fork server for www, the old one for calm");
        assert!(server.get("/pid.php").end.is_some());
    });
}
