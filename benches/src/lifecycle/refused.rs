//! Reloads that cannot work: what becomes of the requests, who answers them, and whether the way back is a reload again.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::Bench;
use super::address::Address;
use super::arrivals::Pace;
use super::master::{Master, Subject, fixed, pool};
use super::report::{Line, Section};
use super::site::GENERATION;
use super::tally::Tally;
use super::traffic::{Stretch, Target, Traffic};

/// What somebody has broken.
struct Fault {
    name: &'static str,
    /// Lines added to the pool.
    pool: &'static str,
    /// Lines added to php.ini. `{dir}` is the folder of the run.
    php_ini: &'static str,
}

const FAULTS: [Fault; 4] = [
    Fault { name: "broken pool file", pool: "pm.max_children = many\n", php_ini: "" },
    Fault { name: "preloading a missing file", pool: "", php_ini: "opcache.preload={dir}/missing.php\n" },
    Fault { name: "preloading a syntax error", pool: "", php_ini: "opcache.preload={dir}/broken.php\n" },
    Fault { name: "missing extension", pool: "", php_ini: "extension=no_such_thing.so\n" },
];

const BODIES: [&[u8]; 3] = [b"generation 1", b"generation 2", b"generation 3"];
const RATE: f64 = 1000.0;

/// One server: what it did when the reload was asked for, and then when everything was in order again.
struct Run {
    refused: Tally,
    repaired: Tally,
    /// What it says about the fault.
    error: String,
    ended: bool,
}

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Section>, String> {
    let mut lines = Vec::new();
    for (number, fault) in FAULTS.iter().enumerate() {
        eprintln!("refused: {} …", fault.name);
        let [fpm, cornac] = &bench.subjects;
        let [fpm, cornac] = [run(bench, fpm, number, fault)?, run(bench, cornac, number, fault)?];
        lines.extend(rows(fault, &fpm, &cornac));
    }
    Ok(vec![Section { title: "reload refused".into(), lines }])
}

fn run(bench: &Bench, subject: &Subject, number: usize, fault: &Fault) -> Result<Run, String> {
    let address = Address::Unix(bench.dir.join(format!("refused-{number}-{}.sock", subject.name)));
    let php_ini = bench.dir.join(format!("refused-{number}-{}.ini", subject.name));
    let configuration = |generation: usize, fault: &str| {
        let manager = fixed(4);
        pool("www", &address, &format!("{manager}env[GENERATION] = {generation}\n{fault}"))
    };
    write_ini(bench, &php_ini, "")?;
    fs::write(bench.dir.join("broken.php"), "<?php this is no PHP\n").map_err(|error| error.to_string())?;
    let label = format!("refused-{number}");
    let mut master = Master::prepare(subject, bench.dir, &label, &configuration(1, ""), Some(&php_ini))?;
    master.start()?;

    let requests = GENERATION.requests(bench.root);
    let target =
        Target { address: &address, requests: &requests, bodies: &BODIES, kept: 2, patience: bench.patience };
    let mut traffic = Traffic::new(&target)?;
    let length = Duration::from_millis(if bench.quick { 700 } else { 2000 });
    let before = traffic.run(&Stretch::plain(Pace::Open(RATE), length / 4))?;
    if before.failed() > 0 {
        return Err(format!("{}: failed at rest: {}", subject.name, before.failed_in_words()));
    }
    let reload = [(length / 8, Signal::SIGUSR2, master.pid())];
    let stretch = Stretch { signals: &reload, ..Stretch::plain(Pace::Open(RATE), length) };

    master.configure(&configuration(2, fault.pool))?;
    write_ini(bench, &php_ini, &fault.php_ini.replace("{dir}", &bench.dir.display().to_string()))?;
    let logged = master.logged("");
    let refused = traffic.run(&stretch)?;
    let ended = master.ended().is_some();
    let error = master.complaint(logged).unwrap_or_default();

    master.configure(&configuration(3, ""))?;
    write_ini(bench, &php_ini, "")?;
    let repaired = traffic.run(&stretch)?;
    Ok(Run { refused, repaired, error, ended })
}

/// The installed php.ini and some lines more.
fn write_ini(bench: &Bench, path: &Path, lines: &str) -> Result<(), String> {
    let installed: &PathBuf = &bench.php_ini;
    let mut text =
        fs::read_to_string(installed).map_err(|error| format!("{}: {error}", installed.display()))?;
    let _ = write!(text, "\n{lines}");
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn rows(fault: &Fault, fpm: &Run, cornac: &Run) -> Vec<Line> {
    let failed = |run: &Run| run.refused.failed_in_words();
    let served = |tally: &Tally, generation: usize| tally.bodies.get(generation - 1).copied().unwrap_or(0);
    let answers = |run: &Run| {
        let [first, second] = [1, 2].map(|generation| served(&run.refused, generation));
        match (run.ended, second) {
            (true, _) => "the master has ended".to_owned(),
            (false, 0) => "the old generation".to_owned(),
            (false, _) => format!("the old generation {first}, one with the fault {second}"),
        }
    };
    let old_only = !cornac.ended && served(&cornac.refused, 2) == 0 && served(&cornac.refused, 1) > 0;
    let back = |run: &Run| {
        let failed = run.repaired.failed_in_words();
        if served(&run.repaired, 3) > 0 {
            format!("by reload; failed {failed}")
        } else {
            format!("none; failed {failed}")
        }
    };
    let is_back = cornac.repaired.failed() == 0 && served(&cornac.repaired, 3) > 0;
    vec![
        Line::new(format!("{}: failed", fault.name), failed(fpm), failed(cornac))
            .target("0", cornac.refused.failed() == 0),
        Line::new("… who answers", answers(fpm), answers(cornac)).target("the old generation", old_only),
        Line::new("… the way back", back(fpm), back(cornac)).target("by reload; failed 0", is_back),
        Line::new("… what it says", fpm.error.clone(), cornac.error.clone()),
    ]
}
