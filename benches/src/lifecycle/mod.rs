//! The lifecycle comparison: what requests notice of reload, refused reload, stop and start, kept connections and
//! spikes, cornac beside php-fpm in the same run. Every figure is printed with its target.

mod activation;
mod address;
mod arrivals;
mod master;
mod nginx;
mod processors;
mod refused;
mod reload;
mod report;
mod site;
mod spike;
mod starvation;
mod tally;
mod traffic;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::prctl::{set_child_subreaper, set_timerslack};

use self::master::{Master, Subject, fixed, pool};
use self::report::{Section, missed, table};
use crate::load::SETTINGS_SCRIPT;
use crate::machine::{self, Ticks};
use crate::options::Lifecycle;
use crate::report::{others_in_words, php, today};
use crate::server::{find_cornac, find_php_fpm, version};
use crate::settings::Settings;

/// What every measurement is given.
pub(crate) struct Bench<'a> {
    pub(crate) subjects: [Subject; 2],
    pub(crate) root: &'a Path,
    pub(crate) dir: &'a Path,
    pub(crate) quick: bool,
    /// A request without its answer after this has failed.
    pub(crate) patience: Duration,
    /// The installed php.ini.
    pub(crate) php_ini: PathBuf,
}

/// Every measurement, by the name that `--only` takes.
type Measure = fn(&Bench) -> Result<Vec<Section>, String>;
pub(crate) const MEASUREMENTS: [(&str, Measure); 5] = [
    ("reload", reload::measure),
    ("refused", refused::measure),
    ("activation", activation::measure),
    ("starvation", starvation::measure),
    ("spike", spike::measure),
];

/// Runs the measurements, prints and saves the report. `false` if a target is missed or a figure could not be had.
pub(crate) fn run(options: &Lifecycle) -> Result<bool, String> {
    // Masters that are killed leave processes behind, which become children of this one then.
    set_child_subreaper(true).map_err(|error| error.to_string())?;
    set_timerslack(1).map_err(|error| error.to_string())?;
    let subjects = [
        Subject { name: "php-fpm", binary: find_php_fpm()? },
        Subject { name: "cornac", binary: find_cornac()? },
    ];
    let dir =
        tempfile::Builder::new().prefix("cornac-bench-").tempdir().map_err(|error| error.to_string())?;
    let root = site::write(dir.path()).map_err(|error| format!("scripts: {error}"))?;
    let patience = Duration::from_secs(10);
    let mut bench = Bench {
        subjects,
        root: &root,
        dir: dir.path(),
        quick: options.quick,
        patience,
        php_ini: PathBuf::new(),
    };
    let (settings, versions) = compare_settings(&bench)?;
    bench.php_ini = settings.value("php.ini").unwrap_or_default().replace("\\/", "/").into();
    let before = Ticks::now();
    let began = std::time::Instant::now();
    let mut sections = Vec::new();
    let mut complete = true;
    for (name, measure) in MEASUREMENTS {
        if options.only.as_ref().is_some_and(|only| !only.iter().any(|one| one == name)) {
            continue;
        }
        match measure(&bench) {
            Ok(more) => sections.extend(more),
            Err(why) => {
                complete = false;
                eprintln!("{name}: no figures: {why}");
            }
        }
    }
    let facts = [
        ("date", today()),
        (
            "machine",
            format!("{}, {} cores, Linux {}", machine::processor(), machine::cores(), machine::kernel()),
        ),
        ("php-fpm", versions[0].clone()),
        ("cornac", versions[1].clone()),
        ("PHP", php(&settings)),
        ("pools", "same workers, php.ini, user and command line; no access log".to_owned()),
        ("other processes", others_in_words(Ticks::now().share_of_others(before))),
        (
            "run",
            format!("{:.0} s{}", began.elapsed().as_secs_f64(), if options.quick { ", quick" } else { "" }),
        ),
    ];
    let facts: String = facts.iter().map(|(name, value)| format!("- {name}: {value}\n")).collect();
    let missed = missed(&sections);
    let verdict = if missed == 0 {
        "Every target is reached.".to_owned()
    } else {
        format!("Targets missed: {missed}.")
    };
    let report = format!(
        "# Lifecycle of cornac and php-fpm, side by side\n\n{facts}\n{}\n{verdict} {LEGEND}",
        table(&sections)
    );
    println!("\n{report}");
    if complete && !options.quick && options.only.is_none() {
        crate::save("lifecycle-", &report)
            .map_err(|error| format!("the report could not be saved: {error}"))?;
    }
    Ok(complete && missed == 0)
}

const LEGEND: &str = "Latency counts from the moment a request was due, whatever became of the ones before it. A → B: \
steady, then while reloading.\n";

/// Both servers have to run the same PHP with the same settings.
fn compare_settings(bench: &Bench) -> Result<(Settings, [String; 2]), String> {
    let script = bench.root.join(SETTINGS_SCRIPT.0);
    let ask = |subject: &Subject| {
        let socket = bench.dir.join(format!("settings-{}.sock", subject.name));
        let address = address::Address::Unix(socket.clone());
        let pool = pool("www", &address, &fixed(1));
        let mut master = Master::prepare(subject, bench.dir, "settings", &pool, None)?;
        master.start()?;
        Settings::ask(subject.name, &socket, &script)
    };
    let settings = ask(&bench.subjects[0])?;
    settings.expect_equal(&ask(&bench.subjects[1])?)?;
    let version = |subject: &Subject| {
        version(&bench.dir.join(format!("settings-{}/php-fpm", subject.name)))
            .map_err(|error| format!("{} -v: {error}", subject.name))
    };
    Ok((settings, [version(&bench.subjects[0])?, version(&bench.subjects[1])?]))
}
