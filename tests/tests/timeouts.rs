//! `request_terminate_timeout`: when it counts from and what it ends, stage by stage, beside php-fpm.

use cornac_tests::compare::mask;
use cornac_tests::{Pair, Request, Runs, Server, Setup, compare_runs, wait};
use nix::sys::signal::Signal;
use std::time::Duration;

const NAP: &str = "<?php touch(dirname(__DIR__) . '/tmp/begun'); usleep(2500000); echo 'slept';";

/// The masked lines with these words, each once, sorted: how often a worker is told to end, and in which order two of
/// them are, is a matter of chance.
fn lines(server: &Server, words: &str) -> String {
    let log = mask(server, &server.log(), &[]);
    let mut lines: Vec<&str> = log.lines().filter(|line| line.contains(words)).collect();
    lines.sort_unstable();
    lines.dedup();
    lines.join("\n")
}

#[test]
fn every_pool_has_its_own_limits() {
    compare_runs("three pools", None, |side| {
        let setup = Setup::new()
            .www("request_terminate_timeout = 1")
            .pool(
                "both",
                "request_terminate_timeout = 2\nrequest_slowlog_timeout = 1\nslowlog = {dir}/slow.log",
            )
            .pool(
                "same",
                "request_terminate_timeout = 1\nrequest_slowlog_timeout = 1\nslowlog = {dir}/slow.log",
            )
            .pool("none", "")
            .script("nap.php", NAP);
        let server = Server::start(side, &setup);
        let replies = std::thread::scope(|scope| {
            let ask = |pool: &'static str| {
                let server = &server;
                scope.spawn(move || {
                    let request = Request::get(server, "/nap.php?pool=").param("QUERY_STRING", pool);
                    let mut client = cornac_tests::Client::unix(&server.socket(pool));
                    format!("{pool}: {}", client.send(&request).to_text())
                })
            };
            let asked = ["www", "both", "same", "none"].map(ask);
            asked.map(|thread| thread.join().expect("a reply")).join("\n")
        });
        server.wait_log_times("exited on signal 15", 3);
        server.wait_log_times("NOTICE: [pool", 3);
        let told =
            ["execution timed out", "executing too slow", "exited on"].map(|words| lines(&server, words));
        server.stop();
        format!("{replies}\n{}", told.join("\n"))
    });
}

/// Sends the beginning of a request, and waits for its worker's end.
fn stalled(server: &Server, bytes: &[u8]) -> String {
    let mut client = server.connect();
    client.write(bytes).expect("sent");
    server.wait_log("exited on signal");
    let reply = client.read_reply();
    server.wait_log("started");
    format!("{}\n{}", reply.to_text(), lines(server, "execution timed out"))
}

/// The first bytes of a request.
type Beginning = fn(&Server) -> Vec<u8>;

#[test]
fn time_counts_from_the_first_record() {
    let setup = Setup::new().www("request_terminate_timeout = 1").script("x.php", "<?php echo 'x';");
    let mut runs = Runs::default();
    let scenes: [(&str, Beginning); 3] = [
        ("parameters that stop", |server| Request::get(server, "/x.php").encode()[..100].to_vec()),
        ("no parameters", |server| Request::get(server, "/x.php").encode()[..16].to_vec()),
        ("an upload that stops", |server| {
            let whole =
                Request::post(server, "/x.php?a=b", "application/x-www-form-urlencoded", &[b'a'; 5000]);
            let bytes = whole.encode();
            bytes[..bytes.len() - 3000].to_vec()
        }),
    ];
    for (name, bytes) in scenes {
        runs.compare(name, None, |side| {
            let server = Server::start(side, &setup);
            let text = stalled(&server, &bytes(&server));
            server.stop();
            text
        });
    }
    runs.finish();
}

const FINISHED: &str =
    "<?php echo 'x'; fastcgi_finish_request(); usleep(2200000); touch(dirname(__DIR__) . '/tmp/done');";
const SHUTDOWN: &str = "<?php register_shutdown_function(function () {
    usleep(2200000); touch(dirname(__DIR__) . '/tmp/done'); }); echo 'x';";

/// Whether what a script does after its answer comes to its end.
fn goes_on(server: &Server, script: &str, keep: bool) -> String {
    let request = Request::get(server, script);
    let request = if keep { request.keep() } else { request };
    let mut client = server.connect();
    let reply = client.send(&request).to_text();
    // php-fpm's script goes on when the client has closed.
    let _kept = keep.then_some(client);
    let done = server.dir().join("tmp/done");
    let ended = || server.log().contains("exited on signal");
    wait::until(|| (done.exists() || ended()).then_some(())).expect("one or the other");
    let (done, lines) = (done.exists(), lines(server, "execution timed out"));
    format!("{reply}\ndone: {done}\n{lines}")
}

fn after_the_answer(keep: bool) {
    let mut runs = Runs::default();
    for tracked in ["", "request_terminate_timeout_track_finished = yes"] {
        for script in ["finished", "shutdown"] {
            let setup = Setup::new()
                .www(&format!("request_terminate_timeout = 1\n{tracked}"))
                .script("finished.php", FINISHED)
                .script("shutdown.php", SHUTDOWN);
            runs.compare(&format!("{script} {tracked}"), None, |side| {
                let server = Server::start(side, &setup);
                let text = goes_on(&server, &format!("/{script}.php"), keep);
                server.stop();
                text
            });
        }
    }
    runs.finish();
}

#[test]
fn what_comes_after_the_answer() {
    after_the_answer(false);
}

#[test]
fn what_comes_after_the_answer_on_a_kept_connection() {
    after_the_answer(true);
}

#[test]
fn an_idle_kept_connection_is_no_request() {
    let setup = Setup::new().www("request_terminate_timeout = 1").script("x.php", "<?php echo 'x';");
    let mut pair = Pair::start(&setup);
    let reason = "php-fpm takes waiting for the next request for a request";
    pair.differs("idle for longer than the limit", reason, |server| {
        let mut client = server.connect();
        let first = client.send(&Request::get(server, "/x.php").keep()).to_text();
        // Nothing tells that nothing happens.
        wait::until_within(Duration::from_millis(2500), || {
            server.log().contains("exited on signal").then_some(())
        });
        let second = client.send(&Request::get(server, "/x.php").keep()).to_text();
        format!("{first}\n{second}\n{}", lines(server, "execution timed out"))
    });
    assert!(!pair.subject.log().contains("timed out"));
    pair.log_differs(reason);
    pair.finish();
}

#[test]
fn a_worker_that_does_not_end_is_told_again() {
    compare_runs("a stopped worker", None, |side| {
        let setup = Setup::new().www("request_terminate_timeout = 1").script("nap.php", NAP);
        let server = Server::start(side, &setup);
        let mut client = server.connect();
        client.write(&Request::get(&server, "/nap.php").encode()).expect("sent");
        wait::until(|| server.dir().join("tmp/begun").exists().then_some(())).expect("the script begins");
        let worker = server.workers("www")[0];
        worker.signal(Signal::SIGSTOP);
        server.wait_log_times("execution timed out", 3);
        worker.signal(Signal::SIGCONT);
        server.wait_log("exited on signal 15 (SIGTERM)");
        server.wait_log("started");
        let text = lines(&server, "execution timed out");
        server.stop();
        text
    });
}

#[test]
fn a_request_cannot_forge_lines() {
    let setup = Setup::new().www("request_terminate_timeout = 1").script("nap.php", NAP);
    let mut pair = Pair::start(&setup);
    let reason = "php-fpm writes the request's bytes as they are";
    pair.differs("a request with line ends", reason, |server| {
        let query = "a\n[21-Nov-2026 00:00:00] NOTICE: forged";
        let request = Request::get(server, "/nap.php").param("QUERY_STRING", query);
        server.send(&request);
        server.wait_log("exited on signal 15");
        server.wait_log("started");
        lines(server, "forged")
    });
    let forged = |server: &Server| {
        server.log().lines().any(|line| line.starts_with("[21-Nov-2026 00:00:00] NOTICE: f"))
    };
    assert!(!forged(&pair.subject));
    pair.log_differs(reason);
    pair.finish();
}
