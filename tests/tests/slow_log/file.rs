//! What is written when, and where: the file, the counter, the lines about it.

use std::os::unix::fs::MetadataExt;

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::{Case, Pair, Request, Server, Setup, Side, compare_runs, wait};

use super::{LOG, NAP, entries, told};

const STATUS: &str = "<?php usleep(1); echo fpm_get_status()['slow-requests'];";

fn setup(lines: &str) -> Setup {
    let nap = format!("{NAP}nap();\necho 'slept';");
    Setup::new().www(&format!("{LOG}\n{lines}")).script("nap.php", &nap).script("status.php", STATUS)
}

fn traced(server: &Server, times: usize) {
    server.wait_log_times("finished trace of", times);
}

#[test]
fn each_request_is_written_once_and_counted() {
    compare_runs("two slow requests on a kept connection", None, |side| {
        let server = Server::start(side, &setup(""));
        let mut client = server.connect();
        let request = Request::get(&server, "/nap.php?a=b").keep();
        let replies = [client.send(&request).to_text(), client.send(&request).to_text()];
        drop(client);
        traced(&server, 2);
        let count = server.get("/status.php").body();
        let text = format!("{}\n{count}\n{}\n{}", replies.join("\n"), entries(&server), told(&server));
        server.stop();
        text
    });
}

#[test]
fn the_file_may_be_moved_away() {
    compare_runs("moved away", Some("php-fpm creates it with the umask's mode, then"), |side| {
        let server = Server::start(side, &setup(""));
        server.get("/nap.php");
        traced(&server, 1);
        std::fs::rename(server.dir().join("slow.log"), server.dir().join("slow.log.1")).expect("own file");
        server.get("/nap.php");
        traced(&server, 2);
        let lines = |name| server.read(name).lines().count();
        let new = server.dir().join("slow.log").metadata().expect("a new file");
        let text = format!(
            "{} lines, then {}, mode {:o}",
            lines("slow.log.1"),
            lines("slow.log"),
            new.mode() & 0o777
        );
        if side == Side::Subject && !same_on_both_sides() {
            assert_eq!(text, "5 lines, then 5, mode 600");
        }
        server.stop();
        text
    });
}

#[test]
fn a_file_that_cannot_be_opened() {
    compare_runs("its folder is gone", None, |side| {
        let setup = setup("slowlog = {dir}/logs/slow.log").file("logs/.keep", "");
        let server = Server::start(side, &setup);
        std::fs::rename(server.dir().join("logs"), server.dir().join("old")).expect("own folder");
        let mut client = server.connect();
        client.write(&Request::get(&server, "/nap.php").encode()).expect("sent");
        traced(&server, 1);
        let text = told(&server);
        if side == Side::Subject && !same_on_both_sides() {
            // php-fpm's worker stays stopped for ever.
            assert_eq!(client.read_reply().body(), "slept");
        }
        server.stop();
        text
    });
}

#[test]
fn with_log_level_debug() {
    compare_runs("microseconds and heartbeat", None, |side| {
        let server = Server::start(side, &setup("request_terminate_timeout = 5").global("log_level = debug"));
        server.get("/nap.php");
        traced(&server, 1);
        let entry = server.read("slow.log");
        let stamp =
            entry.lines().nth(1).and_then(|line| line.split_once("]  [pool")).map(|parts| parts.0.len());
        let log = server.log();
        let beat =
            log.lines().find_map(|line| line.split_once("heartbeat have")).map(|parts| parts.1.to_owned());
        server.stop();
        format!("{stamp:?} {beat:?}\n{}", entries(&server))
    });
}

#[test]
fn the_script_does_not_notice() {
    let script = "<?php $begun = microtime(true); echo sleep(2), ' ', microtime(true) - $begun >= 2;";
    let mut pair = Pair::start(&Setup::new().www(LOG).script("sleep.php", script));
    pair.case(&Case::get("what sleep() returns", "/sleep.php"));
    assert_eq!(pair.subject.get("/sleep.php").body(), "0 1");
    pair.ignore_log();
    pair.finish();
}

/// The master goes on when nobody reads what it writes.
#[test]
fn a_log_nobody_reads() {
    let setup = setup("slowlog = {dir}/slow.log");
    let server = Server::start(Side::Subject, &setup);
    let path = server.dir().join("slow.log");
    std::fs::remove_file(&path).expect("created at start");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("own folder");
    for _ in 0..2 {
        assert_eq!(server.get("/nap.php").body(), "slept");
    }
    traced(&server, 2);
    wait::until(|| (server.get("/status.php").body() == "2").then_some(())).expect("still serving");
    server.stop();
}

#[test]
fn limits_of_the_configuration_that_is_read_again() {
    compare_runs("a slow log from the reload on", None, |side| {
        let server = Server::start(side, &setup("request_slowlog_timeout = 0"));
        let first = server.get("/nap.php").body();
        let config = server
            .read("php-fpm.conf")
            .replace("timeout = 0", "timeout = 1\nrequest_slowlog_trace_depth = 1");
        server.write("php-fpm.conf", config);
        server.signal(nix::sys::signal::Signal::SIGUSR2);
        server.wait_ready_times(2);
        let second = server.get("/nap.php").body();
        traced(&server, 1);
        let text = format!("{first} {second}\n{}", entries(&server));
        server.stop();
        text
    });
}

/// All hosts are laid out alike, but each has its own addresses.
#[test]
fn every_host() {
    if same_on_both_sides() {
        return;
    }
    let seen = |binary: &str| {
        let server = Server::start(Side::Subject, &setup(&format!("php.binary = {binary}")));
        server.get("/nap.php");
        traced(&server, 1);
        let text = entries(&server);
        server.stop();
        text
    };
    let expected = seen("/usr/sbin/php-fpm8.2");
    assert!(expected.contains("nap() "), "{expected}");
    for binary in ["/usr/bin/php-cgi8.2", "/usr/bin/php8.2"] {
        assert_eq!(seen(binary), expected, "{binary}");
    }
}
