//! Runs every load on both servers, round by round and in alternating order, so that whatever disturbs the machine
//! disturbs both. Reads the cost of each run from the kernel.

use std::path::Path;

use crate::cost::{CpuTimes, system_calls};
use crate::generator::Traffic;
use crate::load::Load;
use crate::options::Options;
use crate::server::Server;
use crate::statistics::{median, middle_half, percentile};

/// Values of one server in one load, one per round.
#[derive(Default)]
pub(crate) struct Series {
    /// CPU time of all its processes, microseconds per request.
    pub(crate) cpu: Vec<f64>,
    /// Requests per second.
    pub(crate) throughput: Vec<f64>,
    /// Half of the requests took no longer, microseconds.
    pub(crate) p50: Vec<f64>,
    /// 99 of 100 requests took no longer, microseconds.
    pub(crate) p99: Vec<f64>,
    /// System calls per request; counted once, in a run of its own.
    pub(crate) system_calls: Vec<f64>,
}

/// Both servers in one load, or why there is no figure.
pub(crate) struct Outcome {
    /// Name of the load.
    pub(crate) load: &'static str,
    /// Its lines of the report.
    pub(crate) figures: Result<Vec<Figure>, String>,
}

/// One line of the report.
pub(crate) struct Figure {
    /// What was measured, with its unit.
    pub(crate) what: &'static str,
    /// Medians over the rounds, in the order of the servers.
    pub(crate) medians: [f64; 2],
    /// Second server's median over the first one's.
    pub(crate) ratio: f64,
    /// Half of the rounds had a ratio between these two.
    pub(crate) spread: (f64, f64),
}

/// Runs one load: warms up, then all rounds. A wrong answer on either side leaves no figure.
pub(crate) fn compare(
    load: &Load,
    servers: &[Server; 2],
    root: &Path,
    dir: &Path,
    options: &Options,
) -> Outcome {
    let series = measure(load, servers, root, dir, options);
    Outcome { load: load.name, figures: series.map(|series| figures(&series)) }
}

fn measure(
    load: &Load,
    servers: &[Server; 2],
    root: &Path,
    dir: &Path,
    options: &Options,
) -> Result<[Series; 2], String> {
    let mut series = [Series::default(), Series::default()];
    let traffic = |server: usize, requests: usize| Traffic {
        socket: &servers[server].socket,
        root,
        load,
        connections: options.connections,
        requests,
    };
    let blame = |server: usize, why: String| format!("{}: {why}", servers[server].name);
    for server in 0..servers.len() {
        traffic(server, (options.requests / 4).max(400)).run().map_err(|why| blame(server, why))?;
    }
    for round in 0..options.rounds {
        for server in [round % 2, 1 - round % 2] {
            let run = traffic(server, options.requests);
            series[server].add(&run, servers[server].pid()).map_err(|why| blame(server, why))?;
        }
    }
    for (server, series) in series.iter_mut().enumerate() {
        const REQUESTS: usize = 400;
        let mut result = Ok(());
        let count = system_calls(servers[server].pid(), dir, REQUESTS, || {
            result = traffic(server, REQUESTS).run().map(|_| ());
        });
        result.map_err(|why| blame(server, why))?;
        series.system_calls.extend(count);
    }
    Ok(series)
}

impl Series {
    /// One run with its cost.
    fn add(&mut self, traffic: &Traffic, pid: i32) -> Result<(), String> {
        let before = CpuTimes::at_rest(pid);
        let timings = traffic.run()?;
        let nanoseconds = CpuTimes::at_rest(pid).since(&before)?;
        let requests = traffic.requests as f64;
        self.cpu.push(nanoseconds as f64 / 1e3 / requests);
        self.throughput.push(requests / timings.elapsed.as_secs_f64());
        self.p50.push(percentile(&timings.latencies, 0.50) as f64 / 1e3);
        self.p99.push(percentile(&timings.latencies, 0.99) as f64 / 1e3);
        Ok(())
    }
}

/// The lines of the report for one load; what was not measured has none.
fn figures([one, other]: &[Series; 2]) -> Vec<Figure> {
    let all = [
        ("CPU µs/request", &one.cpu, &other.cpu),
        ("requests/s", &one.throughput, &other.throughput),
        ("p50 µs", &one.p50, &other.p50),
        ("p99 µs", &one.p99, &other.p99),
        ("system calls/request", &one.system_calls, &other.system_calls),
    ];
    let measured = all.into_iter().filter(|(_, one, other)| !one.is_empty() && one.len() == other.len());
    measured.map(|(what, one, other)| figure(what, one, other)).collect()
}

/// One line, from one value per round and server.
pub(crate) fn figure(what: &'static str, one: &[f64], other: &[f64]) -> Figure {
    let medians = [median(one), median(other)];
    let ratios: Vec<f64> = one.iter().zip(other).map(|(one, other)| other / one).collect();
    let spread = middle_half(&ratios);
    Figure { what, medians, ratio: medians[1] / medians[0], spread }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_second_over_first() {
        let figure = figure("x", &[10.0, 20.0, 40.0, 50.0], &[5.0, 12.0, 24.0, 40.0]);
        assert_eq!((figure.medians, figure.ratio, figure.spread), ([30.0, 18.0], 0.6, (0.5, 0.6)));
    }

    #[test]
    fn what_was_not_measured_on_both_sides_is_left_out() {
        let one = Series { cpu: vec![1.0], system_calls: vec![1.0], ..Series::default() };
        let other = Series { cpu: vec![1.0], ..Series::default() };
        let names: Vec<_> = figures(&[one, other]).iter().map(|figure| figure.what).collect();
        assert_eq!(names, ["CPU µs/request"]);
    }
}
