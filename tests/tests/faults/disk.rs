//! The disk with the logs is full: error log, access log, slow log and the output of workers. Serving goes on; when there
//! is room again the error log says what it lacks, and no line is glued to half of another one.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use cornac_tests::traffic::served;
use cornac_tests::{Manner, Request, Server, Setup, Side, Signal, Traffic, skip_unless_root, wait};

use super::say;

/// Logs lie on a disk of their own, so small that a test can fill it.
fn setup() -> Setup {
    let mount = "mount -t tmpfs -o size=64k logs {dir}/logs && exec \"$0\" \"$@\"";
    served(Setup::new())
        .wrapped(&["unshare", "-m", "sh", "-c", mount])
        .quiet()
        .file("logs/.keep", "")
        .global("error_log = {dir}/logs/error.log")
        .www("pm.max_children = 3\ncatch_workers_output = yes\naccess.log = {dir}/logs/access.log")
        .www("slowlog = {dir}/logs/slow.log\nrequest_slowlog_timeout = 1")
        .www("access.format = \"%{mili}d ms of 3.141 for %r%Q%q is the whole line\"")
        .script("say.php", "<?php file_put_contents('php://stderr', \"said $_GET[n]\\n\"); echo 'x';")
}

/// A file of the full disk, which only the server sees.
fn log(server: &Server, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}/logs/{name}", server.master(), server.dir().display()))
}

fn text(server: &Server, name: &str) -> String {
    String::from_utf8_lossy(&fs::read(log(server, name)).unwrap_or_default()).into_owned()
}

fn fill(server: &Server) {
    let mut file = File::create(log(server, "ballast")).expect("own disk");
    while file.write_all(&[b'x'; 512]).is_ok() {}
    assert_eq!(file.write(b"x").map_err(|error| error.raw_os_error()), Err(Some(28)));
}

#[test]
fn serving_goes_on_with_a_full_disk() {
    if skip_unless_root("a full disk", 2) {
        return;
    }
    for side in [Side::Reference, Side::Subject] {
        let server = Server::start(side, &setup());
        wait::until(|| text(&server, "error.log").contains("ready to handle").then_some(())).expect("a log");
        let traffic = Traffic::begin(&server, Manner { clients: 2, ..Manner::default() });
        traffic.go_on(&server, 50);
        fill(&server);
        traffic.go_on(&server, 200);
        for n in 0..300 {
            assert_eq!(server.get(&format!("/say.php?n={n}")).body(), "x", "{side:?}");
        }
        // Slow enough for an entry.
        let slow = Request::get(&server, "/traffic.php?n=1&us=1300000");
        assert_eq!(server.send(&slow).status(), 200, "{side:?}");
        let worker = server.workers("www")[0];
        worker.signal(Signal::SIGKILL);
        traffic.go_on(&server, 100);
        fs::remove_file(log(&server, "ballast")).expect("own disk");
        traffic.go_on(&server, 100);
        assert_eq!(server.get("/say.php?n=last").body(), "x", "{side:?}");
        let said = || text(&server, "error.log").contains("said last").then_some(());
        wait::until(said).unwrap_or_else(|| panic!("{side:?}: {}", text(&server, "error.log")));
        let tally = traffic.end();
        say("disk full", side, &tally);
        // The killed worker may have had a request.
        assert!(tally.lost() <= 1 && tally.sent >= 450, "{side:?}: {tally}");
        if side == Side::Subject {
            let log = text(&server, "error.log");
            assert!(
                log.contains("line(s) of this log could not be written: No space left on device (28)"),
                "{log}"
            );
            assert!(log.lines().last().is_some_and(|line| line.starts_with('[')), "{log}");
            let told = server.stderr();
            assert_eq!(told.matches("cannot be written: No space left on device (28)").count(), 1, "{told}");
            whole_lines(&text(&server, "access.log"));
        }
        server.stop();
    }
}

/// Half a line is followed by the end of that line, not by another one.
fn whole_lines(log: &str) {
    let whole = |line: &&str| line.contains(" ms of ") && line.matches(" ms of ").count() == 1;
    let (right, torn): (Vec<&str>, Vec<&str>) = log.lines().partition(whole);
    assert!(right.len() > 50, "{log}");
    let glued: Vec<&&str> = torn.iter().filter(|line| line.matches("whole line").count() > 0).collect();
    assert!(glued.is_empty(), "{glued:?}");
}

/// From the start on there is no room for anything.
#[test]
fn logs_on_a_device_that_is_always_full() {
    let full = "error_log = /dev/full";
    let pool = "access.log = /dev/full\nslowlog = /dev/full\nrequest_slowlog_timeout = 5\ncatch_workers_output = yes";
    for side in [Side::Reference, Side::Subject] {
        let setup = served(Setup::new()).quiet().global(full).www(pool).www("pm.max_children = 2");
        let server = Server::start(side, &setup);
        let traffic = Traffic::begin(&server, Manner { clients: 2, ..Manner::default() });
        traffic.go_on(&server, 200);
        server.signal(Signal::SIGUSR1);
        traffic.go_on(&server, 200);
        let tally = traffic.end();
        say("logs on /dev/full", side, &tally);
        tally.expect_none_lost(&server, 400);
        server.stop();
    }
}
