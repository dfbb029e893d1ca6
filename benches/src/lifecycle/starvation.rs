//! Kept connections against new ones: nginx has kept 64 connections to a pool of four workers, and a second client comes
//! with a new connection for each of its requests.

use std::time::Duration;

use super::Bench;
use super::address::Address;
use super::arrivals::Pace;
use super::master::{Master, Subject, fixed, pool};
use super::nginx::{KEPT, Nginx, connections_to};
use super::report::{Line, Section, milliseconds};
use super::site::{HELLO, NAP};
use super::tally::Tally;
use super::traffic::{Stretch, Target, Traffic};

const WORKERS: usize = 4;
/// Requests a second of the second client.
const RATE: f64 = 300.0;
/// Its 99th percentile may be so many times the one without kept connections.
const MOST: f64 = 3.0;

/// What nginx's clients do meanwhile.
struct Row {
    name: &'static str,
    clients: usize,
    pause: Duration,
}

const ROWS: [Row; 3] = [
    Row { name: "64 kept connections, idle", clients: 0, pause: Duration::ZERO },
    Row { name: "64 kept connections, 50 requests/s", clients: 1, pause: Duration::from_millis(20) },
    Row { name: "64 kept connections, 64 clients without pause", clients: KEPT, pause: Duration::ZERO },
];

/// One server: the second client with and without kept connections, row by row.
struct Run {
    kept: usize,
    opened: [u64; 2],
    rows: Vec<Figures>,
}

struct Figures {
    without: Tally,
    with: Tally,
    /// Of nginx's clients: right answers, and others.
    others: [u64; 2],
}

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Section>, String> {
    let mut runs = Vec::new();
    for subject in &bench.subjects {
        eprintln!("starvation: {} …", subject.name);
        runs.push(run(bench, subject)?);
    }
    let [fpm, cornac] = &runs[..] else { return Ok(Vec::new()) };
    let opened = |run: &Run| format!("{} ({} of {KEPT} requests answered)", run.kept, run.opened[0]);
    let mut lines = vec![Line::new("connections that nginx has kept", opened(fpm), opened(cornac))];
    for (index, row) in ROWS.iter().enumerate() {
        lines.extend(rows(row, &fpm.rows[index], &cornac.rows[index]));
    }
    Ok(vec![Section { title: "starvation".into(), lines }])
}

fn run(bench: &Bench, subject: &Subject) -> Result<Run, String> {
    let socket = bench.dir.join(format!("starvation-{}.sock", subject.name));
    let address = Address::Unix(socket.clone());
    let mut master =
        Master::prepare(subject, bench.dir, "starvation", &pool("www", &address, &fixed(WORKERS)), None)?;
    master.start()?;
    let nginx = Nginx::start(bench.dir, &format!("starvation-nginx-{}", subject.name), &socket, bench.root)?;
    let requests = HELLO.requests(bench.root);
    let patience = Duration::from_secs(3);
    let target = Target { address: &address, requests: &requests, bodies: &[HELLO.body], kept: 0, patience };
    let length = Duration::from_secs(if bench.quick { 1 } else { 4 });
    let second = || Traffic::new(&target)?.run(&Stretch::plain(Pace::Open(RATE), length));
    let hello = (format!("/kept/{}", HELLO.file), format!("/new/{}", HELLO.file));

    // The same clients, but nginx opens a connection for every request.
    let mut without = vec![second()?];
    for row in &ROWS[1..] {
        let (tally, _) = nginx.under_load(row.clients, row.pause, (&hello.1, HELLO.body), second);
        without.push(tally?);
    }
    // Scripts that take a while make nginx open as many connections as there are clients. What it could not open it
    // will not have kept either.
    let nap = format!("/kept/{}", NAP.file);
    let opened = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..KEPT).map(|_| scope.spawn(|| nginx.ask(&nap, NAP.body))).collect();
        let right =
            clients.into_iter().filter_map(|client| client.join().ok()).filter(|right| *right).count();
        [right as u64, (KEPT - right) as u64]
    });
    let kept = connections_to(&socket);
    let mut rows = Vec::new();
    for (row, without) in ROWS.iter().zip(without) {
        let (with, others) = nginx.under_load(row.clients, row.pause, (&hello.0, HELLO.body), second);
        rows.push(Figures { without, with: with?, others });
    }
    Ok(Run { kept, opened, rows })
}

fn rows(row: &Row, fpm: &Figures, cornac: &Figures) -> Vec<Line> {
    let p99 = |figures: &Figures| {
        let [without, with] = [&figures.without, &figures.with].map(|tally| tally.percentile(0.99));
        let ratio = if with.is_nan() { String::new() } else { format!(", ×{:.2}", with / without) };
        format!("{} without, {} with{ratio}", milliseconds(without), milliseconds(with))
    };
    let ratio = cornac.with.percentile(0.99) / cornac.without.percentile(0.99);
    let failed = |figures: &Figures| figures.with.failed_in_words();
    let others = |figures: &Figures| format!("{} answered, {} not", figures.others[0], figures.others[1]);
    let mut lines = vec![
        Line::new(format!("{}: second client's p99", row.name), p99(fpm), p99(cornac))
            .target(format!("≤ ×{MOST}"), ratio <= MOST),
        Line::new("… its requests that failed", failed(fpm), failed(cornac))
            .target("0", cornac.with.failed() == 0),
    ];
    if row.clients > 0 {
        lines.push(
            Line::new("… requests of nginx's clients", others(fpm), others(cornac))
                .target("all answered", cornac.others[1] == 0),
        );
    }
    lines
}
