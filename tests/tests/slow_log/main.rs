//! The slow log: the same slow scripts on both servers, and the entries compared; with every way that cornac has to
//! read its workers; and under scripts that never hold still.

mod companion;
mod file;
mod scenes;
mod stress;

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::compare::{difference, mask};
use cornac_tests::{Runs, Server, Setup, Side, compare_runs, skip_unless_root};
use regex::Regex;
use scenes::{CALLLESS, PARTS, SCENES};

const LOG: &str = "slowlog = {dir}/slow.log\nrequest_slowlog_timeout = 1";
/// As in a container: root without the right to look at other processes.
const WITHOUT_PTRACE: [&str; 3] = ["setpriv", "--bounding-set", "-sys_ptrace"];
const NAP: &str = "<?php function nap() { usleep(2600000); }\n";

/// All scenes, with so many workers that they run at the same time.
fn gallery() -> Setup {
    let count = SCENES.len() + CALLLESS.len();
    let setup = Setup::new().www(&format!("{LOG}\nrequest_terminate_timeout = 6\npm.max_children = {count}"));
    let setup = SCENES
        .iter()
        .chain(&CALLLESS)
        .fold(setup, |setup, (name, code)| setup.script(&format!("{name}.php"), &format!("{NAP}{code}")));
    PARTS.iter().fold(setup, |setup, (name, code)| setup.script(&format!("parts/{name}.inc"), code))
}

/// Sends a request for every scene at the same time, and waits for their ends.
fn visit(server: &Server) {
    std::thread::scope(|scope| {
        for (name, _) in SCENES.iter().chain(&CALLLESS) {
            scope.spawn(move || server.get(&format!("/{name}.php")));
        }
    });
}

/// The entries, masked, in the order of their scripts.
fn entries(server: &Server) -> String {
    let address = Regex::new("0x[0-9a-f]{16}").expect("pattern");
    let text = mask(server, &server.read("slow.log"), &[address]);
    let mut entries: Vec<&str> = text.split("\n\n").map(|entry| entry.trim_matches('\n')).collect();
    entries.sort_by_key(|entry| entry.lines().nth(1).unwrap_or_default().to_owned());
    entries.join("\n\n")
}

/// The log, but for the lines that php-fpm alone has a reason for, and for how often a worker had to be told to end;
/// when something is said of which of several workers is a matter of chance.
fn told(server: &Server) -> String {
    let text = mask(server, &server.log(), &[Regex::new(r"\b(trace|trace of) \d+").expect("pattern")]);
    let left_out = ["child {pid} stopped for tracing", "exited on signal", "child {pid} started"];
    let kept = |line: &&str| !left_out.iter().any(|words| line.contains(words));
    let mut lines: Vec<&str> = text.lines().filter(kept).collect();
    lines.sort_unstable();
    lines.dedup_by(|a, b| a == b && a.contains("execution timed out"));
    lines.join("\n")
}

fn seen(side: Side, setup: &Setup) -> String {
    slow_requests(&Server::start(side, setup))
}

fn slow_requests(server: &Server) -> String {
    visit(server);
    // The loop is slow, too; the shutdown function is not looked at.
    server.wait_log_times("finished trace of", SCENES.len() + 1);
    let text = format!("{}\n\n{}", entries(server), told(server));
    server.stop();
    text
}

#[test]
fn every_kind_of_call() {
    Runs::default().compare("as installed", None, |side| seen(side, &gallery())).finish();
}

#[test]
fn without_opcache() {
    let setup = gallery().arg("-d").arg("opcache.enable=0");
    Runs::default().compare("opcache off", None, |side| seen(side, &setup)).finish();
}

#[test]
fn with_compiled_code() {
    let jit = ["opcache.enable=1", "opcache.jit_buffer_size=32M", "opcache.jit=function"];
    let setup = jit.iter().fold(gallery(), |setup, line| setup.arg("-d").arg(line));
    Runs::default().compare("JIT", None, |side| seen(side, &setup)).finish();
}

/// php-fpm has no trace at all without the right to, so it gets what cornac is denied.
#[test]
fn whoever_may_read_the_workers() {
    if same_on_both_sides() || skip_unless_root("the slow log without the right to read workers", 3) {
        return;
    }
    // A companion is one more task in each worker.
    let ways = [
        ("master", gallery(), "1"),
        ("fork server", gallery().www("process.dumpable = yes").wrapped(&WITHOUT_PTRACE), "1"),
        ("companion", gallery().wrapped(&WITHOUT_PTRACE), "2"),
        ("ordinary user", gallery().unprivileged(), "1"),
    ];
    let (reference, texts) = std::thread::scope(|scope| {
        let reference = scope.spawn(|| seen(Side::Reference, &gallery()));
        let texts =
            ways.map(|(name, setup, tasks)| scope.spawn(move || (name, read_by(name, &setup, tasks))));
        let texts = texts.map(|thread| thread.join().expect("a text"));
        (reference.join().expect("php-fpm's text"), texts)
    });
    for (name, text) in texts {
        assert_eq!(difference(&reference, &text), None, "{name}");
    }
}

fn read_by(name: &str, setup: &Setup, tasks: &str) -> String {
    let server = Server::start(Side::Subject, setup);
    let worker = server.workers("www")[0];
    assert_eq!(worker.status_line("Threads").as_deref(), Some(tasks), "{name}");
    let text = slow_requests(&server);
    let ignored = |line: &&str| !line.contains("directive is ignored");
    text.lines().filter(ignored).collect::<Vec<_>>().join("\n")
}

/// Names of any length, traces of any depth.
#[test]
fn large_traces() {
    let name = "n".repeat(1100);
    let code = format!("{NAP}function {name}($n) {{\n return $n ? {name}($n - 1) : nap(); }}\n{name}(5);");
    let deep = format!("{NAP}function r($n) {{\n return $n ? r($n - 1) : nap(); }}\nr(2500);");
    let setup = Setup::new()
        .www(&format!("{LOG}\nrequest_slowlog_trace_depth = 2000\npm.max_children = 2"))
        .script("name.php", &code)
        .script("deep.php", &deep);
    let seen = |side, setup: &Setup| {
        let server = Server::start(side, setup);
        std::thread::scope(|scope| {
            for script in ["/name.php", "/deep.php"] {
                let server = &server;
                scope.spawn(move || server.get(script));
            }
        });
        server.wait_log_times("finished trace of", 2);
        let text = entries(&server);
        server.stop();
        text
    };
    compare_runs("a long name and many frames", None, |side| seen(side, &setup));
    if !same_on_both_sides() && !skip_unless_root("large traces through companions", 1) {
        let companion = setup.clone().wrapped(&WITHOUT_PTRACE);
        let (reference, subject) = (seen(Side::Reference, &setup), seen(Side::Subject, &companion));
        assert_eq!(difference(&reference, &subject), None);
    }
}

#[test]
fn without_the_right_to_read_workers() {
    if skip_unless_root("the slow log without the right to read workers, on both sides", 1) {
        return;
    }
    let reason = "php-fpm has no backtraces then";
    let setup = Setup::new().www(LOG).script("nap.php", &format!("{NAP}nap();")).wrapped(&WITHOUT_PTRACE);
    let seen = |side| {
        let server = Server::start(side, &setup);
        server.get("/nap.php");
        server.wait_log("executing too slow");
        let told = told(&server);
        server.stop();
        format!("{}\n{told}", entries(&server))
    };
    compare_runs("without CAP_SYS_PTRACE", Some(reason), seen);
}
