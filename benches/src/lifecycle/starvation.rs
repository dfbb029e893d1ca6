//! Kept connections against new ones: nginx has kept 64 connections to a pool of four workers, and a second client comes
//! with a new connection for each of its requests.

use std::path::PathBuf;
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

/// A request of the second client without its answer after this has failed.
const PATIENCE: Duration = Duration::from_secs(3);

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
    /// Requests that were answered while they were opened.
    opened: usize,
    rows: Vec<Figures>,
}

#[derive(Default)]
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
    let opened = |run: &Run| format!("{} ({} of {KEPT} requests answered)", run.kept, run.opened);
    let mut lines = vec![Line::new("connections that nginx has kept", opened(fpm), opened(cornac))];
    for (index, row) in ROWS.iter().enumerate() {
        lines.extend(rows(row, &fpm.rows[index], &cornac.rows[index]));
    }
    Ok(vec![Section { title: "starvation".into(), lines }])
}

/// The same server twice, each behind an nginx of its own: one whose connections are kept, one without. They are asked in
/// turn, so that whatever disturbs the machine disturbs both.
fn run(bench: &Bench, subject: &Subject) -> Result<Run, String> {
    let [plain, crowded] = [Stack::start(bench, subject, "plain")?, Stack::start(bench, subject, "crowded")?];
    let (turns, length) = if bench.quick { (1, 1000) } else { (3, 1200) };
    let requests = HELLO.requests(bench.root);
    let second = |stack: &Stack, stop: Duration| {
        let address = &stack.address;
        let target =
            Target { address, requests: &requests, bodies: &[HELLO.body], kept: 0, patience: PATIENCE };
        Traffic::new(&target)?.run(&Stretch::plain(Pace::Open(RATE), stop))
    };
    for stack in [&plain, &crowded] {
        second(stack, Duration::from_millis(200))?;
    }
    // Scripts that take a while make nginx open as many connections as there are clients. What it could not open it
    // will not have kept either.
    let nap = format!("/kept/{}", NAP.file);
    let opened = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..KEPT).map(|_| scope.spawn(|| crowded.nginx.ask(&nap, NAP.body))).collect();
        clients.into_iter().filter_map(|client| client.join().ok()).filter(|right| *right).count()
    });
    let kept = connections_to(&crowded.socket);
    let uris = ["new", "kept"].map(|location| format!("/{location}/{}", HELLO.file));
    let mut rows = Vec::new();
    for row in &ROWS {
        let mut figures = Figures::default();
        for _ in 0..turns {
            for (stack, uri) in [&plain, &crowded].into_iter().zip(&uris) {
                let work = || second(stack, Duration::from_millis(length));
                let (tally, others) = stack.nginx.under_load(row.clients, row.pause, (uri, HELLO.body), work);
                figures.add(tally?, others, stack.is_crowded);
            }
        }
        rows.push(figures);
    }
    Ok(Run { kept, opened, rows })
}

/// A pool behind an nginx.
struct Stack {
    socket: PathBuf,
    address: Address,
    is_crowded: bool,
    // Ended in this order.
    nginx: Nginx,
    _master: Master,
}

impl Stack {
    fn start(bench: &Bench, subject: &Subject, name: &str) -> Result<Stack, String> {
        let label = format!("starvation-{name}");
        let socket = bench.dir.join(format!("{label}-{}.sock", subject.name));
        let address = Address::Unix(socket.clone());
        let pool = pool("www", &address, &fixed(WORKERS));
        let mut master = Master::prepare(subject, bench.dir, &label, &pool, None)?;
        master.start()?;
        let nginx = Nginx::start(bench.dir, &format!("{label}-nginx-{}", subject.name), &socket, bench.root)?;
        Ok(Stack { socket, address, is_crowded: name == "crowded", nginx, _master: master })
    }
}

impl Figures {
    fn add(&mut self, tally: Tally, [right, wrong]: [u64; 2], is_crowded: bool) {
        if is_crowded {
            self.with.add(tally);
            self.others = [self.others[0] + right, self.others[1] + wrong];
        } else {
            self.without.add(tally);
        }
    }
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
