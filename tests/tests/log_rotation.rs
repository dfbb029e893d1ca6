//! SIGUSR1 and reload with access logs: the files are opened again under their names, the workers replaced, and no line
//! is lost.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use cornac_tests::compare::mask;
use cornac_tests::{Client, Pair, Request, Server, Setup, wait};
use nix::sys::signal::Signal;

fn with_log(format: &str, more: &str) -> Setup {
    let lines = format!("access.log = {{dir}}/access.log\naccess.format = {format}\n{more}");
    Setup::new().www(&lines).script("x.php", "<?php echo 1;")
}

fn rename_logs(server: &Server, names: &[&str]) {
    for name in names {
        let path = server.dir().join(name);
        std::fs::rename(&path, path.with_extension("old")).expect("own file");
    }
}

fn pids(server: &Server, pool: &str) -> BTreeSet<i32> {
    server.workers(pool).iter().map(|worker| worker.pid).collect()
}

/// All workers of all pools are replaced, and write to the new file; php-fpm's lines say so.
#[test]
fn logs_are_opened_again() {
    let setup = with_log("\"%n %r\"", "")
        .pool("other", "pm.max_children = 2")
        .pool("third", "access.log = {dir}/third.log\naccess.format = \"%n %r\"");
    let mut pair = Pair::start(&setup);
    pair.same("SIGUSR1", |server| {
        server.get("/x.php?before");
        let before = ["www", "other", "third"].map(|pool| pids(server, pool));
        rename_logs(server, &["access.log", "third.log"]);
        server.signal(Signal::SIGUSR1);
        let replaced = wait::until(|| {
            let now = ["www", "other", "third"].map(|pool| pids(server, pool));
            let all_new = now
                .iter()
                .zip(&before)
                .all(|(now, before)| now.len() == before.len() && now.is_disjoint(before));
            all_new.then_some(())
        });
        server.get("/x.php?after");
        Client::unix(&server.socket("third")).send(&Request::get(server, "/x.php?third"));
        let logs = ["access.old", "access.log", "third.old", "third.log"].map(|name| server.read(name));
        let mode = std::fs::metadata(server.dir().join("third.log")).expect("the log").mode();
        let log = mask(server, &server.log(), &[]);
        let mut lines: Vec<&str> = log.lines().collect();
        lines.sort_unstable();
        format!("{replaced:?} {logs:?} {mode:o}\n{}", lines.join("\n"))
    });
    pair.ignore_log();
    pair.finish();
}

#[test]
fn a_request_in_flight_is_finished_in_the_old_log() {
    let slow = "<?php echo 'begun'; flush(); while (!file_exists(dirname(__DIR__) . '/tmp/go')) usleep(2000); echo ' ended';";
    let setup = with_log("\"%r %s\"", "php_flag[output_buffering] = off").script("slow.php", slow);
    let mut pair = Pair::start(&setup);
    pair.same("SIGUSR1 meanwhile", |server| {
        let mut client = server.connect();
        client.write(&Request::get(server, "/slow.php").encode()).expect("sent");
        assert!(client.read_record().is_some_and(|(_, content)| content.ends_with(b"begun")));
        rename_logs(server, &["access.log"]);
        server.signal(Signal::SIGUSR1);
        server.wait_log("access log file re-opened");
        server.write("tmp/go", "");
        let reply = client.read_reply().to_text();
        drop(client);
        server.wait_log_times("started", 1);
        server.get("/x.php");
        format!("{reply}\n{}\n{}", server.read("access.old"), server.read("access.log"))
    });
    pair.finish();
}

#[test]
fn without_an_access_log_no_worker_is_touched() {
    let mut pair = Pair::start(&Setup::new().script("x.php", "<?php echo 1;"));
    pair.same("SIGUSR1", |server| {
        let before = pids(server, "www");
        server.signal(Signal::SIGUSR1);
        server.wait_log("error log file re-opened");
        server.get("/x.php");
        (before == pids(server, "www")).to_string()
    });
    pair.finish();
}

#[test]
fn logs_that_cannot_be_opened_again() {
    let setup = Setup::new()
        .www("access.log = {dir}/tmp/logs/a.log\naccess.format = %r")
        .file("tmp/logs/keep", "")
        .script("x.php", "<?php echo 1;");
    let mut pair = Pair::start(&setup);
    pair.same("SIGUSR1", |server| {
        std::fs::rename(server.dir().join("tmp/logs"), server.dir().join("tmp/moved")).expect("own folder");
        server.signal(Signal::SIGUSR1);
        server.wait_log("unable to re-opened access log file");
        // The worker, old or new, writes to what is open.
        server.get("/x.php");
        server.read("tmp/moved/a.log")
    });
    pair.ignore_log();
    pair.finish();
}

#[test]
fn opened_again_several_times() {
    let mut pair = Pair::start(&with_log("\"%q\"", "pm.max_children = 2"));
    pair.same("three times", |server| {
        let mut logs = Vec::new();
        for round in 0..3 {
            let before = pids(server, "www");
            server.get(&format!("/x.php?{round}"));
            rename_logs(server, &["access.log"]);
            server.signal(Signal::SIGUSR1);
            let replaced = wait::until(|| {
                let now = pids(server, "www");
                (now.len() == 2 && now.is_disjoint(&before)).then_some(())
            });
            logs.push(format!("{replaced:?} {}", server.read("access.old")));
        }
        format!("{logs:?}")
    });
    pair.ignore_log();
    pair.finish();
}

#[test]
fn a_reload_opens_the_log_anew() {
    let setup = with_log("\"%r%Q%q\"", "").global("process_control_timeout = 5");
    let mut pair = Pair::start(&setup);
    pair.same("SIGUSR2", |server| {
        server.get("/x.php?before");
        rename_logs(server, &["access.log"]);
        let config = server.read("php-fpm.conf").replace("%r%Q%q", "reloaded %r%Q%q");
        server.write("php-fpm.conf", config);
        server.signal(Signal::SIGUSR2);
        server.wait_log_times("ready to handle connections", 2);
        server.get("/x.php?after");
        format!("{}{}", server.read("access.old"), server.read("access.log"))
    });
    pair.ignore_log();
    pair.finish();
}

/// Every request is answered, and has its line in one of the files.
#[test]
fn rotation_under_load_loses_nothing() {
    let mut pair = Pair::start(&with_log("\"%r\"", "pm.max_children = 3"));
    pair.same("five rotations", |server| {
        let answered = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|client| {
                    scope.spawn(move || {
                        let ask = |number: &i32| {
                            let uri = format!("/{client}-{number}");
                            let request = Request::get(server, "/x.php").param("SCRIPT_NAME", uri);
                            server.send(&request).body() == "1"
                        };
                        (0..150).filter(ask).count()
                    })
                })
                .collect();
            for round in 1..=5 {
                let name = server.dir().join("access.log");
                std::fs::rename(&name, name.with_extension(round.to_string())).expect("own file");
                server.signal(Signal::SIGUSR1);
                server.wait_log_times("access log file re-opened", round);
            }
            clients.into_iter().map(|client| client.join().expect("client")).sum::<usize>()
        });
        let files = ["1", "2", "3", "4", "5", "log"].map(|part| server.read(&format!("access.{part}")));
        let lines: BTreeSet<&str> = files.iter().flat_map(|file| file.lines()).collect();
        let count: usize = files.iter().map(|file| file.lines().count()).sum();
        format!("{answered} answered, {count} lines, {} different", lines.len())
    });
    pair.ignore_log();
    pair.finish();
}
