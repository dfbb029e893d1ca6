//! Closed-loop traffic: each connection is a thread that sends its next request when the last answer has been checked.
//! Only checked answers count; the first wrong one ends the run.

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::load::Load;
use crate::wire::{Connection, Request};

/// What to send where.
pub(crate) struct Traffic<'a> {
    /// The listening socket.
    pub(crate) socket: &'a Path,
    /// The document root.
    pub(crate) root: &'a Path,
    /// What is asked for, and the answer.
    pub(crate) load: &'a Load,
    /// Connections at the same time.
    pub(crate) connections: usize,
    /// Requests in total.
    pub(crate) requests: usize,
}

/// How long it took.
pub(crate) struct Timings {
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// Nanoseconds per request, connecting included, in ascending order.
    pub(crate) latencies: Vec<u64>,
}

/// What the connections share.
struct Shared {
    left: AtomicUsize,
    failed: AtomicBool,
    start: Barrier,
}

impl Traffic<'_> {
    /// Sends everything. `Err` describes the first answer that was wrong.
    pub(crate) fn run(&self) -> Result<Timings, String> {
        let shared = Shared {
            left: AtomicUsize::new(self.requests),
            failed: AtomicBool::new(false),
            start: Barrier::new(self.connections + 1),
        };
        thread::scope(|scope| {
            let threads: Vec<_> =
                (0..self.connections).map(|_| scope.spawn(|| self.connection(&shared))).collect();
            shared.start.wait();
            let started = Instant::now();
            let results: Vec<_> = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err("the load generator panicked".into())))
                .collect();
            let elapsed = started.elapsed();
            let mut latencies: Vec<u64> = results.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
            latencies.sort_unstable();
            Ok(Timings { elapsed, latencies })
        })
    }

    /// One thread's share: takes requests until none is left.
    fn connection(&self, shared: &Shared) -> Result<Vec<u64>, String> {
        let request = Request::get(&self.root.join(self.load.script), self.load.keep);
        let mut latencies = Vec::with_capacity(self.requests);
        let mut connection = Connection::new();
        shared.start.wait();
        while take_one(&shared.left) && !shared.failed.load(Ordering::Relaxed) {
            let started = Instant::now();
            let outcome = self.one(&mut connection, &request);
            latencies.push(started.elapsed().as_nanos() as u64);
            if let Err(why) = outcome {
                shared.failed.store(true, Ordering::Relaxed);
                return Err(why);
            }
        }
        Ok(latencies)
    }

    fn one(&self, connection: &mut Connection, request: &Request) -> Result<(), String> {
        connection.open(self.socket).map_err(|error| error.to_string())?;
        let stdout = connection.exchange(request).map_err(|error| error.to_string())?;
        check(stdout, self.load.body)?;
        if !self.load.keep {
            connection.close();
        }
        Ok(())
    }
}

fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// Status 200, and exactly this body.
pub(crate) fn check(stdout: &[u8], body: &[u8]) -> Result<(), String> {
    if body_of(stdout)? == body { Ok(()) } else { Err(wrong("wrong body", stdout)) }
}

/// The body of an answer with status 200.
pub(crate) fn body_of(stdout: &[u8]) -> Result<&[u8], String> {
    let end = stdout.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or_else(|| wrong("no header block", stdout))?;
    // A response head without this line means 200 (RFC 3875 §6.3.3).
    if stdout[..end].split(|&byte| byte == b'\n').any(|line| line.starts_with(b"Status:")) {
        return Err(wrong("not status 200", stdout));
    }
    Ok(&stdout[end + 4..])
}

fn wrong(what: &str, stdout: &[u8]) -> String {
    format!("{what}: {}", String::from_utf8_lossy(&stdout[..stdout.len().min(300)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_answer_counts() {
        let cases: [(&[u8], bool); 6] = [
            (b"Content-type: text/html\r\n\r\nyes", true),
            (b"Content-type: text/html\r\n\r\nyes!", false),
            (b"Content-type: text/html\r\n\r\nye", false),
            (b"Status: 404 Not Found\r\nContent-type: text/html\r\n\r\nyes", false),
            (b"Content-type: text/html\r\nyes", false),
            (b"", false),
        ];
        for (stdout, right) in cases {
            assert_eq!(check(stdout, b"yes").is_ok(), right, "{}", String::from_utf8_lossy(stdout));
        }
    }
}
