//! Hundreds of ondemand pools that nobody asks: how long they take to start, what they cost while idle, and how long the
//! first request to one of them takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::comparison::{Figure, Outcome, figure};
use crate::cost::tree;
use crate::generator::check;
use crate::load::LOADS;
use crate::server::{Server, Shape};
use crate::wire::{Connection, Request};

const POOLS: usize = 300;
const ROUNDS: usize = 5;

/// One value per round.
#[derive(Default)]
struct Series {
    start: Vec<f64>,
    memory: Vec<f64>,
    processes: Vec<f64>,
    first: Vec<f64>,
}

/// Starts either server some times, in turn.
pub(crate) fn compare(binaries: [(&'static str, &Path); 2], root: &Path, dir: &Path) -> Outcome {
    Outcome { load: "300 idle ondemand pools", figures: measure(binaries, root, dir) }
}

fn measure(binaries: [(&'static str, &Path); 2], root: &Path, dir: &Path) -> Result<Vec<Figure>, String> {
    let mut series = [Series::default(), Series::default()];
    for round in 0..ROUNDS {
        for server in [round % 2, 1 - round % 2] {
            let (name, binary) = binaries[server];
            let dir = round_folder(dir, round, name)?;
            series[server].add(name, binary, root, &dir).map_err(|why| format!("{name}: {why}"))?;
        }
    }
    let [one, other] = &series;
    Ok(vec![
        figure("start ms", &one.start, &other.start),
        figure("memory MB (PSS)", &one.memory, &other.memory),
        figure("processes", &one.processes, &other.processes),
        figure("first request ms", &one.first, &other.first),
    ])
}

fn round_folder(dir: &Path, round: usize, name: &str) -> Result<PathBuf, String> {
    let dir = dir.join(format!("idle-{round}-{name}"));
    fs::create_dir(&dir).map_err(|error| error.to_string())?;
    Ok(dir)
}

impl Series {
    fn add(&mut self, name: &'static str, binary: &Path, root: &Path, dir: &Path) -> Result<(), String> {
        let began = Instant::now();
        let server = Server::start(name, binary, dir, Shape::IdlePools(POOLS))?;
        self.start.push(began.elapsed().as_secs_f64() * 1e3);
        let processes = tree(server.pid());
        self.processes.push(processes.len() as f64);
        let memory = processes.iter().map(|pid| proportional_set(*pid)).sum::<Option<u64>>();
        self.memory.push(memory.ok_or("a process without smaps_rollup")? as f64 / 1024.0);
        let load = &LOADS[0];
        let request = Request::get(&root.join(load.script), false);
        let mut connection = Connection::new();
        let began = Instant::now();
        let reply = connection.open(&server.socket).and_then(|()| connection.exchange(&request));
        let reply = reply.map_err(|error| error.to_string())?;
        check(reply, load.body)?;
        self.first.push(began.elapsed().as_secs_f64() * 1e3);
        Ok(())
    }
}

/// Kilobytes, shared pages in proportion.
fn proportional_set(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
