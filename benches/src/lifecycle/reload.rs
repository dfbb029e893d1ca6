//! Reloads under load: what a request notices of them. Every server runs at 80 % of what it was measured to be capable
//! of just before; stretches without and with reloads take turns, so that whatever disturbs the machine disturbs both.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::Bench;
use super::address::Address;
use super::arrivals::Pace;
use super::master::{Master, fixed, pool};
use super::processors::Processors;
use super::report::{Line, Section, change};
use super::site::{HELLO, NAP, Script};
use super::tally::Tally;
use super::traffic::{Stretch, Target, Traffic};
use crate::statistics::median;

/// Between two reloads: 100 of them in 60 s.
const INTERVAL: Duration = Duration::from_millis(600);
/// Share of the capacity.
const LOAD: f64 = 0.8;
/// Requests that take longer than this to be answered once no more come have piled up.
const PILE: Duration = Duration::from_millis(20);
/// The 99th percentile may be so many times the steady one.
const MOST: f64 = 1.5;
/// Answers that it takes for "none failed" to mean something.
const ENOUGH: u64 = 1_000_000;

/// One script on pools of its own.
struct Kind {
    name: &'static str,
    script: Script,
    workers: usize,
    kept: usize,
    /// Whether there is a pool with a unix socket, and one with a TCP socket. Each has a generator of its own.
    sockets: (bool, bool),
    /// Whether the load generator has a processor of its own. Without that it takes from the server what the server is
    /// to be measured by.
    apart: bool,
}

/// Waiting scripts cost no processor: both kinds of sockets fit into one run.
const KINDS: [Kind; 3] = [
    Kind { name: "hello, unix", script: HELLO, workers: 4, kept: 2, sockets: (true, false), apart: true },
    Kind { name: "hello, TCP", script: HELLO, workers: 4, kept: 2, sockets: (false, true), apart: true },
    Kind {
        name: "50 ms script, unix and TCP",
        script: NAP,
        workers: 16,
        kept: 8,
        sockets: (true, true),
        apart: false,
    },
];

/// How long, and how often. Each server has a steady stretch and one with reloads in every round.
struct Effort {
    rounds: usize,
    capacity: Duration,
    fpm: (Duration, u32),
    cornac: (Duration, u32),
}

const FULL: Effort = Effort {
    rounds: 5,
    capacity: Duration::from_secs(3),
    fpm: (Duration::from_secs(1), 3),
    cornac: (Duration::from_secs(3), 20),
};

const QUICK: Effort = Effort {
    rounds: 1,
    capacity: Duration::from_millis(2400),
    fpm: (Duration::from_secs(1), 2),
    cornac: (Duration::from_secs(2), 5),
};

/// One server with one setting, and what it did.
struct Run {
    master: Master,
    effort: (Duration, u32),
    reloads: usize,
    /// Requests a second, all sockets together.
    rate: f64,
    steady: Tally,
    reloading: Tally,
}

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Section>, String> {
    let effort = if bench.quick { QUICK } else { FULL };
    let mut sections = Vec::new();
    let mut sum = Tally::default();
    let mut reloads = 0;
    for (number, kind) in KINDS.iter().enumerate() {
        eprintln!("reload: {} …", kind.name);
        let runs = in_its_place(bench, &effort, number, kind)?;
        sections.push(section(kind, &runs));
        let [_, _, cornac] = runs;
        reloads += cornac.reloads;
        sum.add(cornac.reloading);
    }
    let all = Line::new("failed, all of them", "", sum.failed_in_words());
    let all = all.target(format!("0 of ≥ {ENOUGH}"), sum.failed() == 0 && sum.requests() >= ENOUGH);
    let lines = vec![all, Line::new("reloads", "", reloads.to_string())];
    sections.push(Section { title: "reload, sum".into(), lines });
    Ok(sections)
}

/// In a thread of its own, as that may be confined to a processor.
fn in_its_place(bench: &Bench, effort: &Effort, number: usize, kind: &Kind) -> Result<[Run; 3], String> {
    std::thread::scope(|scope| {
        let measured = scope.spawn(|| {
            let processors = if kind.apart { Processors::divide() } else { Processors::default() };
            processors.generate_here();
            measure_kind(bench, effort, processors, number, kind)
        });
        measured.join().map_err(|_| "the load generator panicked".to_owned())?
    })
}

/// php-fpm as it comes, php-fpm with time to finish, and cornac.
fn measure_kind(
    bench: &Bench,
    effort: &Effort,
    processors: Processors,
    number: usize,
    kind: &Kind,
) -> Result<[Run; 3], String> {
    let addresses = |variant: &str| -> Result<Vec<Address>, String> {
        let path = bench.dir.join(format!("reload-{number}-{variant}.sock"));
        let unix = kind.sockets.0.then_some(Ok(Address::Unix(path)));
        let tcp = kind.sockets.1.then(Address::free_port);
        unix.into_iter().chain(tcp).collect()
    };
    let [fpm, cornac] = &bench.subjects;
    let variants = [
        ("default", "", fpm, effort.fpm),
        ("patient", "process_control_timeout = 10\n", fpm, effort.fpm),
        ("own", "", cornac, effort.cornac),
    ];
    let mut runs = Vec::new();
    let mut places = Vec::new();
    for (variant, global, subject, effort) in variants {
        let addresses = addresses(variant)?;
        let pools: String =
            addresses.iter().map(|address| pool(address.kind(), address, &fixed(kind.workers))).collect();
        let label = format!("reload-{number}-{variant}");
        let mut master = Master::prepare(subject, bench.dir, &label, &format!("{global}{pools}"), None)?;
        master.processors = processors;
        master.start()?;
        runs.push(Run::new(master, effort));
        places.push(addresses);
    }
    let requests = kind.script.requests(bench.root);
    let bodies = [kind.script.body];
    let target = |address| Target {
        address,
        requests: &requests,
        bodies: &bodies,
        kept: kind.kept,
        patience: bench.patience,
    };
    let targets: Vec<Vec<Target>> = places.iter().map(|all| all.iter().map(target).collect()).collect();
    let mut traffics: Vec<Vec<Traffic>> = Vec::new();
    for targets in &targets {
        traffics.push(targets.iter().map(Traffic::new).collect::<Result<_, _>>()?);
    }
    for (run, traffic) in runs.iter_mut().zip(&mut traffics) {
        run.find_rate(kind, traffic, effort.capacity)?;
    }
    for _ in 0..effort.rounds {
        for (run, traffic) in runs.iter_mut().zip(&mut traffics) {
            run.round(traffic)?;
        }
    }
    runs.try_into().map_err(|_| "three runs".to_owned())
}

impl Run {
    fn new(master: Master, effort: (Duration, u32)) -> Run {
        let (steady, reloading) = (Tally::default(), Tally::default());
        Run { master, effort, reloads: 0, rate: 0.0, steady, reloading }
    }

    /// 80 % of what it is capable of.
    fn find_rate(&mut self, kind: &Kind, traffic: &mut [Traffic], length: Duration) -> Result<(), String> {
        let mut attempts = Vec::new();
        for attempt in 0..4 {
            let tally = self.expect_all(kind, together(traffic, &saturating(kind, length / 6))?)?;
            // The first one warms up.
            if attempt > 0 {
                attempts.push(tally.throughput() * traffic.len() as f64);
            }
        }
        let most = median(&attempts);
        self.rate = LOAD * if kind.apart { self.bearable(kind, traffic, most, length / 6)? } else { most };
        Ok(())
    }

    /// The highest rate of the mixture that is to come with which nothing piles up. It lies below what the server answers
    /// when there is always something waiting: kept connections are quicker, and have a larger share of that.
    fn bearable(
        &self,
        kind: &Kind,
        traffic: &mut [Traffic],
        most: f64,
        length: Duration,
    ) -> Result<f64, String> {
        let (mut bearable, mut unbearable) = (most * 0.3, most * 1.1);
        for _ in 0..7 {
            let rate = (bearable + unbearable) / 2.0;
            let mut bears = || -> Result<bool, String> {
                let tally = together(traffic, &Stretch::plain(Pace::Open(rate), length))?;
                Ok(self.expect_all(kind, tally)?.elapsed < length + PILE)
            };
            // Whatever disturbs the machine for a moment hardly does so twice.
            if bears()? || bears()? { bearable = rate } else { unbearable = rate }
        }
        Ok(bearable)
    }

    fn expect_all(&self, kind: &Kind, tally: Tally) -> Result<Tally, String> {
        if tally.failed() == 0 {
            return Ok(tally);
        }
        Err(format!("{}: {}: failed at rest: {}", self.master.name, kind.name, tally.failed_in_words()))
    }

    fn round(&mut self, traffic: &mut [Traffic]) -> Result<(), String> {
        let pace = Pace::Open(self.rate / traffic.len() as f64);
        self.steady.add(together(traffic, &Stretch::plain(pace, self.effort.0))?);
        let before = self.ready_lines();
        let pid = self.master.pid();
        let signals: Vec<_> =
            (0..self.effort.1).map(|turn| (INTERVAL * turn + INTERVAL / 4, Signal::SIGUSR2, pid)).collect();
        let stretch = Stretch { signals: &signals, ..Stretch::plain(pace, INTERVAL * self.effort.1) };
        self.reloading.add(together(traffic, &stretch)?);
        // The last reload may not be through yet.
        let all = before + signals.len();
        self.master
            .wait(Duration::from_secs(3), |master| master.ended().is_some() || master.logged(READY) >= all);
        self.reloads += self.ready_lines() - before;
        Ok(())
    }

    fn ready_lines(&self) -> usize {
        self.master.logged(READY)
    }
}

/// Written once a start or reload is through.
const READY: &str = "ready to handle connections";

/// There is always something waiting.
fn saturating(kind: &Kind, length: Duration) -> Stretch<'static> {
    Stretch::plain(Pace::Closed(kind.workers), length)
}

/// The same stretch on all generators at once; signals are sent by the first.
fn together(traffic: &mut [Traffic], stretch: &Stretch) -> Result<Tally, String> {
    let [first, others @ ..] = traffic else { return Ok(Tally::default()) };
    let silent = &Stretch::plain(stretch.pace, stretch.length);
    std::thread::scope(|scope| {
        let others: Vec<_> =
            others.iter_mut().map(|traffic| scope.spawn(move || traffic.run(silent))).collect();
        let mut sum = first.run(stretch)?;
        for other in others {
            sum.add(other.join().map_err(|_| "the load generator panicked")??);
        }
        Ok(sum)
    })
}

fn section(kind: &Kind, [fpm, patient, cornac]: &[Run; 3]) -> Section {
    let percentile = |run: &Run, share| change(run.steady.percentile(share), run.reloading.percentile(share));
    let row = |what, share| Line::new(what, percentile(fpm, share), percentile(cornac, share));
    let on_kept =
        |run: &Run| change(run.steady.percentile_on_kept(0.99), run.reloading.percentile_on_kept(0.99));
    let ratio = cornac.reloading.percentile(0.99) / cornac.steady.percentile(0.99);
    let failed = |run: &Run| run.reloading.failed_in_words();
    let rate = |run: &Run| format!("{:.0}", run.rate);
    let generator = |run: &Run| {
        let share = run.reloading.generator_share() * 100.0;
        format!("{share:.0} % of a processor, p99 {:.2} ms late", run.reloading.lateness(0.99))
    };
    let mut lines = vec![
        Line::new("failed", failed(fpm), failed(cornac)).target("0", cornac.reloading.failed() == 0),
        row("p99", 0.99).target(format!("≤ ×{MOST}"), ratio <= MOST),
        Line::new("p99 on kept connections", on_kept(fpm), on_kept(cornac)),
        row("p50", 0.5),
        row("p99.9", 0.999),
        row("max", 1.0),
        Line::new("failed, process_control_timeout = 10", failed(patient), ""),
        Line::new("p99, process_control_timeout = 10", percentile(patient, 0.99), ""),
        Line::new("max, process_control_timeout = 10", percentile(patient, 1.0), ""),
        Line::new("requests/s (80 % of capacity)", rate(fpm), rate(cornac)),
        Line::new("reloads", fpm.reloads.to_string(), cornac.reloads.to_string()),
        Line::new("failed without reloads", fpm.steady.failed_in_words(), cornac.steady.failed_in_words()),
        Line::new("load generator", generator(fpm), generator(cornac)),
        Line::new("processors", "", cornac.master.processors.in_words()),
    ];
    let complaint = |run: &Run| run.master.complaint(0).unwrap_or_default();
    if [fpm, cornac].iter().any(|run| run.master.complaint(0).is_some()) {
        lines.push(Line::new("first warning in the log", complaint(fpm), complaint(cornac)));
    }
    for run in [fpm, patient, cornac] {
        if let Some(text) = run.reloading.example.as_ref().or(run.steady.example.as_ref()) {
            let (name, text) = (run.master.name, text.clone());
            let cells = if name == "cornac" { [String::new(), text] } else { [text, String::new()] };
            let [fpm, cornac] = cells;
            lines.push(Line::new("first wrong answer", fpm, cornac));
        }
    }
    Section { title: format!("reload: {}", kind.name), lines }
}
