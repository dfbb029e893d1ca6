//! The comparison with php-fpm: both servers at the same time on the same machine, the same traffic to each in turn,
//! every answer checked. A figure without checked answers is not printed. Exit code 0 when every load has its figures,
//! 1 when something is missing, an answer was wrong or a target is missed, 2 for a wrong command line.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command that prints a report")]

mod comparison;
mod cost;
mod generator;
mod idle_pools;
mod lifecycle;
mod load;
mod machine;
mod options;
mod report;
mod server;
mod settings;
mod statistics;
mod wire;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use crate::comparison::{Outcome, compare};
use crate::load::{LOADS, SETTINGS_SCRIPT};
use crate::machine::Ticks;
use crate::options::{Command, Options, USAGE};
use crate::server::{Server, Shape, find_cornac, find_php_fpm};
use crate::settings::Settings;

fn main() -> ExitCode {
    if std::env::args().skip(1).any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let command = match Command::parse(std::env::args().skip(1)) {
        Ok(command) => command,
        Err(why) => {
            eprintln!("cornac-benches: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let outcome = match &command {
        Command::Cost(options) => run(options),
        Command::Lifecycle(options) => lifecycle::run(options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("cornac-benches: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Starts both servers, runs all loads, prints and saves the report. `false` if a load has no figure.
fn run(options: &Options) -> Result<bool, String> {
    let binaries = (find_php_fpm()?, find_cornac()?);
    let dir =
        tempfile::Builder::new().prefix("cornac-bench-").tempdir().map_err(|error| error.to_string())?;
    let root = write_scripts(dir.path()).map_err(|error| format!("scripts: {error}"))?;
    let servers = [
        Server::start("php-fpm", &binaries.0, dir.path(), Shape::Workers)?,
        Server::start("cornac", &binaries.1, dir.path(), Shape::Workers)?,
    ];
    let settings = Settings::ask(servers[0].name, &servers[0].socket, &root.join(SETTINGS_SCRIPT.0))?;
    settings.expect_equal(&Settings::ask(
        servers[1].name,
        &servers[1].socket,
        &root.join(SETTINGS_SCRIPT.0),
    )?)?;
    let before = Ticks::now();
    let mut outcomes: Vec<Outcome> = LOADS
        .iter()
        .map(|load| {
            eprintln!("{} …", load.name);
            compare(load, &servers, &root, dir.path(), options)
        })
        .collect();
    eprintln!("idle pools …");
    let binaries = [("php-fpm", &*binaries.0), ("cornac", &*binaries.1)];
    outcomes.push(idle_pools::compare(binaries, &root, dir.path()));
    let others = Ticks::now().share_of_others(before);
    let report = report::report(&servers, &settings, options, others, &outcomes);
    println!("\n{report}");
    let complete = outcomes.iter().all(|outcome| outcome.figures.is_ok());
    if complete {
        save("", &report).map_err(|error| format!("the report could not be saved: {error}"))?;
    }
    Ok(complete)
}

/// The document root of both servers, readable by the pools' user.
fn write_scripts(dir: &Path) -> std::io::Result<std::path::PathBuf> {
    let root = dir.join("www");
    fs::create_dir(&root)?;
    for folder in [dir, &root] {
        fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    }
    for (name, code) in LOADS.iter().map(|load| (load.script, load.code)).chain([SETTINGS_SCRIPT]) {
        let path = root.join(name);
        fs::write(&path, code)?;
        // opcache does not cache a file that is seconds old.
        let past = SystemTime::now() - Duration::from_secs(3600);
        File::options().append(true).open(&path)?.set_modified(past)?;
    }
    Ok(root)
}

/// One file per title, day and kind of machine, next to the source.
fn save(title: &str, report: &str) -> std::io::Result<()> {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let kind = format!("{}-{}-cores", machine::slug(&machine::processor()), machine::cores());
    let path = results.join(format!("{title}{}-{kind}.md", report::today()));
    fs::create_dir_all(&results)?;
    fs::write(&path, report)?;
    println!("saved to {}", path.display());
    Ok(())
}
