//! Scripts that build and tear down frames all the time: every entry has to be one that was true, and the worker must
//! not notice.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::{Server, Setup, Side, skip_unless_root};

use super::{LOG, WITHOUT_PTRACE};

/// Every line belongs to one function, given in `owner`.
const CHURN: &str = r"<?php
function leaf($x) { return $x + 1; }
function left($x) { return leaf($x) + leaf($x); }
function right($x) { return deep($x, 3); }
function deep($x, $n) { return $n ? deep($x, $n - 1) : leaf($x); }
class C { function m($x) { return array_map(
    fn ($y) => leaf($y),
    [$x]); } }
function made($x) { return eval('return leaf(1);'); }
function gen($n) { for ($i = 0; $i < $n; $i++) { yield leaf($i); } }
$end = microtime(true) + 1.45;
$n = 0;
while (microtime(true) < $end) { for ($i = 0; $i < 50; $i++) {
  left($i); right($i); (new C)->m($i); made($i); foreach (gen(2) as $v); $n += leaf(0);
} }
echo $n > 0 && $n % 50 === 0 ? 'right' : 'wrong';";

const ROUNDS: usize = 4;
const WORKERS: usize = 3;

fn owner(place: &str) -> &str {
    let Some((_, line)) = place.split_once("churn.php") else { return "?" };
    match line {
        ":3" => "left",
        ":4" => "right",
        ":5" => "deep",
        ":6" | ":8" => "m",
        ":7" => "{closure}",
        ":9" => "made",
        "(9) : eval()'d code:1" => "[INCLUDE_OR_EVAL]",
        ":10" => "gen",
        ":11" | ":13" | ":14" => "main",
        _ => "?",
    }
}

/// `[0x…] name() place` as (name, place).
fn frame(line: &str) -> (&str, &str) {
    let rest = line.strip_prefix("[0x").and_then(|rest| rest.split_at_checked(16));
    let (address, rest) = rest.unwrap_or_else(|| panic!("{line}"));
    assert!(address.bytes().all(|digit| digit.is_ascii_hexdigit()), "{line}");
    rest.strip_prefix("] ").and_then(|rest| rest.split_once("() ")).unwrap_or_else(|| panic!("{line}"))
}

/// Each call is made by the code that the next frame runs.
fn check_entry(entry: &str) -> usize {
    let mut lines = entry.lines();
    let head = lines.next().unwrap_or_default();
    assert!(head.contains("]  [pool www] pid "), "{entry}");
    let script = lines.next().unwrap_or_default();
    if (script, lines.clone().next()) == ("+++ dump failed", None) {
        // On a machine without time for it: who was to read it was not asked in time. `churn` bounds their number.
        return 0;
    }
    assert!(script.starts_with("script_filename = /") && script.ends_with("/churn.php"), "{entry}");
    // About one entry in a thousand: what could be read at one time did not go further.
    let (frames, rest): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with('['));
    assert!(rest.is_empty() || rest == ["+++ dump failed"], "{entry}");
    let frames: Vec<_> = frames.into_iter().map(frame).collect();
    for (at, (_, place)) in frames.iter().enumerate() {
        // As rarely: a caller that was gone when its line was looked for.
        if place.ends_with(":0") || (at + 1 == frames.len() && !rest.is_empty()) {
            continue;
        }
        let built_in = ["array_map", "microtime"];
        let mut callers = frames[at + 1..].iter().map(|(name, _)| *name);
        let caller = callers.find(|name| !built_in.contains(name)).unwrap_or("main");
        assert_eq!(owner(place), caller, "{place} in\n{entry}");
    }
    frames.len()
}

fn states(server: &Server, over: &AtomicBool) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    while !over.load(Relaxed) {
        for worker in server.workers("www") {
            seen.extend(worker.status_line("State"));
        }
    }
    seen
}

fn churn(setup: Setup) {
    let setup = setup.www(&format!("{LOG}\npm.max_children = {WORKERS}")).script("churn.php", CHURN);
    let server = Server::start(Side::Subject, &setup);
    let over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let states = scope.spawn(|| states(&server, &over));
        let clients: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        assert_eq!(server.get("/churn.php").body(), "right");
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().expect("right answers"));
        over.store(true, Relaxed);
        states.join().expect("states")
    });
    assert!(!seen.iter().any(|state| state.to_lowercase().starts_with('t')), "{seen:?}");
    server.wait_log_times("finished trace of", WORKERS * ROUNDS);
    let text = server.read("slow.log");
    let entries: Vec<&str> = text.split("\n\n").map(|entry| entry.trim_matches('\n')).collect();
    assert_eq!(entries.len(), WORKERS * ROUNDS, "{text}");
    let frames: usize = entries.into_iter().map(check_entry).sum();
    assert!(frames > WORKERS * ROUNDS / 2, "{text}");
    server.stop();
}

#[test]
fn restless_scripts() {
    churn(Setup::new());
}

#[test]
fn restless_compiled_code() {
    let jit = ["opcache.enable=1", "opcache.jit_buffer_size=32M", "opcache.jit=tracing"];
    churn(jit.iter().fold(Setup::new(), |setup, line| setup.arg("-d").arg(line)));
}

#[test]
fn restless_scripts_read_through_companions() {
    if !same_on_both_sides() && !skip_unless_root("restless scripts without the right to read workers", 1) {
        churn(Setup::new().wrapped(&WITHOUT_PTRACE));
    }
}
