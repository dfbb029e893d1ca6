//! What became of the requests of one stretch of traffic: only complete and right answers count, everything else is a
//! failure of a kind.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::errno::Errno;

use crate::statistics::percentile;

/// Why a request has no answer, as a web server would tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// Nobody listens: no such file, or connection refused.
    Refused,
    /// The listening socket's queue was full.
    QueueFull,
    /// Connection reset by peer, or broken pipe.
    Reset,
    /// Closed before the end of the answer.
    ClosedEarly,
    /// Another status than 200.
    Status,
    /// Not the bytes that the script writes, or no FastCGI answer to this request.
    Body,
    /// No complete answer within the limit.
    Timeout,
}

impl Failure {
    /// What the end of a connection by an error means.
    pub(crate) fn of(error: Errno) -> Failure {
        match error {
            Errno::ECONNREFUSED | Errno::ENOENT => Failure::Refused,
            Errno::EAGAIN => Failure::QueueFull,
            _ => Failure::Reset,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Failure::Refused => "refused",
            Failure::QueueFull => "queue full",
            Failure::Reset => "reset",
            Failure::ClosedEarly => "closed early",
            Failure::Status => "error status",
            Failure::Body => "wrong answer",
            Failure::Timeout => "timed out",
        }
    }
}

/// The sum of one stretch, or of several.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    /// Nanoseconds from the moment a request was due to its complete answer.
    pub(crate) latencies: Vec<u64>,
    /// Those of them that came on kept connections.
    pub(crate) on_kept: Vec<u64>,
    /// How often each accepted body came, in the order in which the target lists them.
    pub(crate) bodies: Vec<u64>,
    /// Failed requests by what happened and by whether their connection was a kept one.
    pub(crate) failures: BTreeMap<(Failure, bool), u64>,
    /// The first failure whose kind does not say everything.
    pub(crate) example: Option<String>,
    /// Nanoseconds by which the generator itself was late to send what was due.
    pub(crate) lateness: Vec<u64>,
    /// CPU time of the generator.
    pub(crate) cpu: Duration,
    /// How long it took, last answers included.
    pub(crate) elapsed: Duration,
}

impl Tally {
    /// Requests with a right answer.
    pub(crate) fn answered(&self) -> u64 {
        self.latencies.len() as u64
    }

    /// Requests without.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// All of them.
    pub(crate) fn requests(&self) -> u64 {
        self.answered() + self.failed()
    }

    /// Answers a second.
    pub(crate) fn throughput(&self) -> f64 {
        self.answered() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Milliseconds that so large a share of the answers did not exceed. Not a number without answers.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        milliseconds(&self.latencies, share)
    }

    /// The same of those on kept connections.
    pub(crate) fn percentile_on_kept(&self, share: f64) -> f64 {
        milliseconds(&self.on_kept, share)
    }

    /// The same of the generator's own lateness.
    pub(crate) fn lateness(&self, share: f64) -> f64 {
        milliseconds(&self.lateness, share)
    }

    /// Share of one processor that the generator used.
    pub(crate) fn generator_share(&self) -> f64 {
        self.cpu.as_secs_f64() / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Takes in another stretch.
    pub(crate) fn add(&mut self, other: Tally) {
        self.latencies.extend(other.latencies);
        self.on_kept.extend(other.on_kept);
        self.lateness.extend(other.lateness);
        self.bodies.resize(self.bodies.len().max(other.bodies.len()), 0);
        self.bodies.iter_mut().zip(&other.bodies).for_each(|(own, more)| *own += more);
        other.failures.into_iter().for_each(|(what, count)| *self.failures.entry(what).or_default() += count);
        self.example = self.example.take().or(other.example);
        self.cpu += other.cpu;
        self.elapsed += other.elapsed;
    }

    /// One more without an answer.
    pub(crate) fn fail(&mut self, failure: Failure, kept: bool) {
        *self.failures.entry((failure, kept)).or_default() += 1;
    }

    /// `0 of 1234`, or `12 of 1234 (7 reset, 5 reset on kept connections)`.
    pub(crate) fn failed_in_words(&self) -> String {
        let kinds = self.failures.iter().map(|((failure, kept), count)| {
            format!("{count} {}{}", failure.words(), if *kept { " on kept connections" } else { "" })
        });
        let kinds: Vec<_> = kinds.collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
        format!("{} of {}{kinds}", self.failed(), self.requests())
    }
}

fn milliseconds(values: &[u64], share: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    percentile(&sorted, share) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_add_up() {
        let stretch = |latency, failure, count| Tally {
            latencies: vec![latency],
            bodies: vec![1],
            failures: BTreeMap::from([((failure, count > 4), count)]),
            ..Tally::default()
        };
        let mut sum = stretch(1_000_000, Failure::Reset, 2);
        sum.add(stretch(3_000_000, Failure::Reset, 1));
        sum.add(stretch(2_000_000, Failure::Refused, 5));
        assert_eq!(sum.failed_in_words(), "8 of 11 (5 refused on kept connections, 3 reset)");
        assert_eq!((sum.bodies[0], sum.percentile(0.5), sum.percentile(1.0)), (3, 2.0, 3.0));
        assert_eq!(Tally::default().failed_in_words(), "0 of 0");
    }
}
