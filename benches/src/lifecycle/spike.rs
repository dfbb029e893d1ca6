//! A spike on a `dynamic` pool with two spare workers: both are occupied at once, and a third request waits in the queue.
//! How long until the first extra worker has accepted it and begun its script.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::Bench;
use super::address::Address;
use super::master::{Master, Subject, pool};
use super::report::{Line, Section, milliseconds};
use super::site::{MOMENT, OCCUPY};
use super::traffic::now;
use crate::generator::body_of;
use crate::statistics::median;
use crate::wire::{Connection, Request};

const SPARE: usize = 2;
/// Milliseconds from the queue forming to the extra worker accepting.
const MOST: f64 = 20.0;

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Section>, String> {
    eprintln!("spike …");
    let rounds = if bench.quick { 4 } else { 20 };
    let mut waits = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        let mut masters = Vec::new();
        for subject in &bench.subjects {
            masters.push(start(bench, subject, round)?);
        }
        // Another moment of php-fpm's look once a second in every round.
        sleep(Duration::from_millis(1000 / rounds as u64 * round as u64 + 50));
        for ((master, socket), waits) in masters.iter().zip(&mut waits) {
            let wait = spike(bench, socket, round).map_err(|why| format!("{}: {why}", master.name))?;
            waits.push(wait);
        }
    }
    let [fpm, cornac] = waits;
    let most = |values: &[f64]| values.iter().copied().fold(f64::NAN, f64::max);
    let row = |what, value: fn(&[f64]) -> f64| {
        Line::new(what, milliseconds(value(&fpm)), milliseconds(value(&cornac)))
    };
    let lines = vec![
        row("longest", most).target(format!("≤ {MOST} ms"), most(&cornac) <= MOST),
        row("median", median),
        Line::new("rounds", fpm.len().to_string(), cornac.len().to_string()),
    ];
    Ok(vec![Section { title: "spike: first extra worker".into(), lines }])
}

/// A pool at rest. The master is new every round, as php-fpm takes seconds to become this small again.
fn start(bench: &Bench, subject: &Subject, round: usize) -> Result<(Master, PathBuf), String> {
    let socket = bench.dir.join(format!("spike-{round}-{}.sock", subject.name));
    let manager = format!(
        "pm = dynamic\npm.max_children = 20\npm.start_servers = {SPARE}\npm.min_spare_servers = {SPARE}\n\
         pm.max_spare_servers = {SPARE}\n"
    );
    let pool = pool("www", &Address::Unix(socket.clone()), &manager);
    let mut master = Master::prepare(subject, bench.dir, &format!("spike-{round}"), &pool, None)?;
    master.start()?;
    if !master.wait(Duration::from_secs(5), |master| master.workers().len() == SPARE) {
        return Err(format!("{}: not {SPARE} workers", subject.name));
    }
    Ok((master, socket))
}

/// Milliseconds that a request waits for which no worker is there.
fn spike(bench: &Bench, socket: &Path, round: usize) -> Result<f64, String> {
    let token = bench.dir.join(format!("occupied-{round}"));
    fs::write(&token, "").map_err(|error| error.to_string())?;
    let occupy = Request::with_query(&bench.root.join(OCCUPY.file), false, &token.to_string_lossy());
    let moment = Request::get(&bench.root.join(MOMENT.file), false);
    let mut connections: Vec<Connection> = (0..=SPARE).map(|_| Connection::new()).collect();
    for (index, connection) in connections.iter_mut().enumerate() {
        let request = if index < SPARE { &occupy } else { &moment };
        let sent = connection.open(socket).and_then(|()| connection.send(request));
        sent.map_err(|error| error.to_string())?;
    }
    let queued = now();
    let began = connections.last_mut().map_or(Ok(0), answer);
    fs::remove_file(&token).map_err(|error| error.to_string())?;
    for connection in &mut connections[..SPARE] {
        let occupied = answer(connection)?;
        if occupied > queued + 50_000_000 {
            return Err("the spare workers were not there when the spike came".to_owned());
        }
    }
    Ok(began?.saturating_sub(queued) as f64 / 1e6)
}

/// The moment at which the script began.
fn answer(connection: &mut Connection) -> Result<u64, String> {
    let stdout = connection.receive().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(body_of(stdout)?);
    text.trim().parse().map_err(|_| format!("not a moment: {text}"))
}
