//! Requests that run too long: php-fpm's heartbeat, `request_slowlog_timeout` and `request_terminate_timeout`.
//! Facts about running requests in, actions out. The facts come from memory that workers write: nothing here
//! trusts them beyond deciding what happens to those workers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use config::Level;

use crate::{Action, Exit, PoolId, Pools, SIGKILL};

const SIGTERM: i32 = 15;
/// How long after the first SIGTERM a worker that is still there is killed: a signal has stopped it.
const GRACE: Duration = Duration::from_secs(1);
/// The shortest heartbeat.
const SHORTEST: Duration = Duration::from_millis(130);

/// The limits of a pool, in whole seconds; 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `request_slowlog_timeout`.
    pub slow: u64,
    /// `request_terminate_timeout`.
    pub terminate: u64,
    /// `request_terminate_timeout_track_finished`.
    pub track_finished: bool,
}

impl Limits {
    /// Some limit is set.
    pub fn any(&self) -> bool {
        self.slow > 0 || self.terminate > 0
    }
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is read, its script is looked for.
    Beginning,
    /// Its script runs.
    Running,
    /// Its answer is complete; shutdown functions may still run.
    Finished,
}

/// A request that has begun and is not over, as its worker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ongoing {
    /// The worker's slot.
    pub slot: u32,
    /// The worker's process id.
    pub pid: u32,
    /// Tells this request from others of the same worker.
    pub request: u64,
    /// How far it is.
    pub progress: Progress,
    /// How long it has taken since its first byte.
    pub elapsed: Duration,
    /// `REQUEST_METHOD`.
    pub method: Vec<u8>,
    /// The request's URI.
    pub uri: Vec<u8>,
    /// The query string.
    pub query: Vec<u8>,
    /// The script's path.
    pub script: Vec<u8>,
}

/// What is remembered between heartbeats.
#[derive(Debug, Default)]
pub struct Timeouts {
    limits: Pools<(String, Limits)>,
    period: Option<Duration>,
    next: Option<Instant>,
    /// The last request of each worker that the slow log has.
    logged: BTreeMap<(PoolId, u32), u64>,
    /// The request that each worker was to be ended for, and how long it had taken by then.
    ended: BTreeMap<(PoolId, u32), (u64, Duration)>,
}

impl Timeouts {
    /// A pool with its name and limits.
    pub fn insert(&mut self, pool: PoolId, name: String, limits: Limits) {
        self.limits.insert(pool, (name, limits));
    }

    /// Nothing of the pool runs any more.
    pub fn remove(&mut self, pool: PoolId) {
        self.limits.remove(pool);
        self.logged.retain(|(of, _), _| *of != pool);
        self.ended.retain(|(of, _), _| *of != pool);
    }

    /// The start or a reload is announced: the heartbeat begins, if any pool needs one.
    pub fn begin(&mut self, now: Instant) -> Option<Action> {
        self.period = period(self.limits.values().map(|(_, limits)| limits));
        self.next = self.period.map(|period| now + period);
        let text = format!("heartbeat have been set up with a timeout of {}ms", self.period?.as_millis());
        Some(Action::Log(Level::Debug, text))
    }

    /// When to look at the requests.
    pub fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// The pools whose requests are to be looked at now; none before the deadline.
    pub fn due(&mut self, now: Instant) -> Vec<PoolId> {
        let (Some(period), Some(next)) = (self.period, self.next) else { return Vec::new() };
        if now < next {
            return Vec::new();
        }
        // A beat that comes late does not make the following ones come faster.
        self.next = Some((next + period).max(now));
        self.limits.iter().filter(|(_, (_, limits))| limits.any()).map(|(pool, _)| pool).collect()
    }

    /// What to do about the requests of a pool; `ongoing` holds all of them.
    pub fn check(&mut self, pool: PoolId, ongoing: &[Ongoing]) -> Vec<Action> {
        let goes_on = |(of, slot): (PoolId, u32), request: u64| {
            of != pool || ongoing.iter().any(|one| one.slot == slot && one.request == request)
        };
        self.logged.retain(|place, request| goes_on(*place, *request));
        self.ended.retain(|place, (request, _)| goes_on(*place, *request));
        ongoing.iter().flat_map(|request| self.judge(pool, request)).collect()
    }

    fn judge(&mut self, pool: PoolId, request: &Ongoing) -> Vec<Action> {
        let (name, limits) = &self.limits[pool];
        if request.progress == Progress::Finished && !limits.track_finished {
            return Vec::new();
        }
        let over = |limit: u64| limit > 0 && request.elapsed.as_secs() >= limit;
        let (slot, place) = (request.slot, (pool, request.slot));
        let is_new = !self.logged.contains_key(&place);
        if is_new && request.progress == Progress::Running && over(limits.slow) {
            let line = line(name, request, "executing too slow", "logging");
            self.logged.insert(place, request.request);
            return vec![line, Action::Trace { pool, slot, request: request.request }];
        }
        if over(limits.terminate) {
            let (_, since) = *self.ended.entry(place).or_insert((request.request, request.elapsed));
            let (signal, measure) = match request.elapsed.saturating_sub(since) < GRACE {
                true => (SIGTERM, "terminating"),
                false => (SIGKILL, "killing"),
            };
            let line = line(name, request, "execution timed out", measure);
            return vec![Action::SignalWorker { pool, slot, signal }, line];
        }
        Vec::new()
    }
}

/// A third of the shortest limit.
fn period<'a>(limits: impl Iterator<Item = &'a Limits>) -> Option<Duration> {
    let seconds = limits.flat_map(|limits| [limits.terminate, limits.slow]).filter(|limit| *limit > 0);
    let shortest = seconds.min()?;
    Some(Duration::from_millis(shortest.saturating_mul(1000) / 3).max(SHORTEST))
}

fn line(pool: &str, request: &Ongoing, complaint: &str, measure: &str) -> Action {
    let (pid, what, time) = (request.pid, what(request), time(request));
    Action::Log(Level::Warning, format!("[pool {pool}] child {pid}, {what} {complaint} ({time}), {measure}"))
}

/// What to say of a worker that ended, not by our doing, while it had this request; `None` if it is no surprise.
pub fn at_work(request: &Ongoing, exit: Exit) -> Option<String> {
    let expected = matches!(exit, Exit::Signal { number: SIGTERM, .. });
    let (pid, what, time) = (request.pid, what(request), time(request));
    (!expected).then(|| format!("child {pid} was at work when it ended: {what}, {time}"))
}

fn what(Ongoing { method, uri, query, script, .. }: &Ongoing) -> String {
    let (method, uri, query, script) = (harmless(method), harmless(uri), harmless(query), ascii(script));
    let mark = if query.is_empty() { "" } else { "?" };
    format!("script '{script}' (request: \"{method} {uri}{mark}{query}\")")
}

fn time(Ongoing { elapsed, .. }: &Ongoing) -> String {
    format!("{}.{:06} sec", elapsed.as_secs(), elapsed.subsec_micros())
}

/// A script's path as php-fpm shows it.
fn ascii(path: &[u8]) -> String {
    path.iter().map(|byte| if (b' '..=0x7f).contains(byte) { char::from(*byte) } else { '.' }).collect()
}

/// What the web server passed on, shown so that it can neither end the line nor drive a terminal.
fn harmless(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER, ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(progress: Progress, ms: u64) -> Ongoing {
        Ongoing {
            slot: 4,
            pid: 99,
            request: 7,
            progress,
            elapsed: Duration::from_millis(ms),
            method: b"GET".to_vec(),
            uri: b"/a.php".to_vec(),
            query: b"b=c".to_vec(),
            script: b"/srv/a.php".to_vec(),
        }
    }

    fn timeouts(slow: u64, terminate: u64, track_finished: bool) -> Timeouts {
        let mut timeouts = Timeouts::default();
        timeouts.insert(0, "www".to_owned(), Limits { slow, terminate, track_finished });
        timeouts
    }

    fn shown(actions: Vec<Action>) -> Vec<String> {
        let show = |action| match action {
            Action::Log(level, text) => format!("{} {text}", level.word()),
            Action::SignalWorker { pool, slot, signal } => format!("signal {pool}.{slot} {signal}"),
            Action::Trace { pool, slot, request } => format!("trace {pool}.{slot} {request}"),
            other => format!("{other:?}"),
        };
        actions.into_iter().map(show).collect()
    }

    #[test]
    fn the_heartbeat_is_a_third_of_the_shortest_limit() {
        let period = |slow, terminate| {
            let limits = Limits { slow, terminate, track_finished: false };
            period([Limits { slow: 0, terminate: 60, track_finished: false }, limits].iter())
                .map(|period| period.as_millis())
        };
        assert_eq!(period(0, 0), Some(20_000));
        assert_eq!(period(1, 10), Some(333));
        assert_eq!(period(5, 2), Some(666));
        assert_eq!(super::period([Limits::default()].iter()), None);
        let mut none = timeouts(0, 0, true);
        assert_eq!((none.begin(Instant::now()), none.deadline()), (None, None));
    }

    #[test]
    fn beats_keep_their_rhythm() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timeouts = timeouts(1, 0, false);
        assert!(timeouts.due(at(5000)).is_empty());
        let told = timeouts.begin(start).into_iter().collect();
        assert_eq!(shown(told), ["DEBUG heartbeat have been set up with a timeout of 333ms"]);
        assert!(timeouts.due(at(332)).is_empty());
        assert_eq!((timeouts.due(at(340)), timeouts.deadline()), (vec![0], Some(at(666))));
        assert_eq!((timeouts.due(at(5000)), timeouts.deadline()), (vec![0], Some(at(5000))));
    }

    #[test]
    fn a_slow_request_is_logged_once_and_ended_later() {
        let mut timeouts = timeouts(2, 3, false);
        let what = "WARNING [pool www] child 99, script '/srv/a.php' (request: \"GET /a.php?b=c\")";
        assert!(timeouts.check(0, &[request(Progress::Running, 1999)]).is_empty());
        let slow = format!("{what} executing too slow (2.000000 sec), logging");
        let first = timeouts.check(0, &[request(Progress::Running, 2000)]);
        assert_eq!(shown(first), [slow.as_str(), "trace 0.4 7"]);
        assert!(timeouts.check(0, &[request(Progress::Running, 2999)]).is_empty());
        for ms in [3001, 3501] {
            let micros = ms % 1000 * 1000;
            let late = format!("{what} execution timed out (3.{micros:06} sec), terminating");
            let actions = timeouts.check(0, &[request(Progress::Running, ms)]);
            assert_eq!(shown(actions), ["signal 0.4 15".to_owned(), late]);
        }
        let late = format!("{what} execution timed out (4.001000 sec), killing");
        let actions = timeouts.check(0, &[request(Progress::Running, 4001)]);
        assert_eq!(shown(actions), ["signal 0.4 9".to_owned(), late]);
        let another = Ongoing { request: 8, ..request(Progress::Running, 2500) };
        assert_eq!(timeouts.check(0, &[another]).len(), 2);
    }

    #[test]
    fn each_limit_has_its_stages() {
        let (long, beginning) = (9000, Progress::Beginning);
        assert!(timeouts(1, 0, true).check(0, &[request(beginning, long)]).is_empty());
        assert!(timeouts(1, 0, true).check(0, &[request(Progress::Finished, long)]).is_empty());
        assert_eq!(timeouts(1, 1, false).check(0, &[request(beginning, long)]).len(), 2);
        assert!(timeouts(1, 1, false).check(0, &[request(Progress::Finished, long)]).is_empty());
        assert_eq!(timeouts(1, 1, true).check(0, &[request(Progress::Finished, long)]).len(), 2);
        assert!(timeouts(0, 0, true).check(0, &[request(Progress::Running, long)]).is_empty());
    }

    #[test]
    fn a_request_cannot_forge_lines() {
        let hostile = Ongoing {
            method: b"G\nT".to_vec(),
            uri: b"/\r\n[21-Nov-2026 00:00:00] NOTICE: \x1b[0m".to_vec(),
            query: b"\xff\xc2\x9b\xc3\xa9".to_vec(),
            script: b"/\xc3\xa9\n.php".to_vec(),
            ..request(Progress::Running, 1500)
        };
        let lines = shown(timeouts(0, 1, false).check(0, &[hostile]));
        let expected = "script '/....php' (request: \"G.T /..[21-Nov-2026 00:00:00] NOTICE: .[0m?..é\")";
        assert!(lines[1].contains(expected), "{}", lines[1]);
    }

    #[test]
    fn a_worker_that_ends_at_work_is_told_with_its_request() {
        let segfault = Exit::Signal { number: 11, core: false };
        let text = at_work(&request(Progress::Running, 1500), segfault).unwrap();
        assert!(text.starts_with("child 99 was at work when it ended: script '"), "{text}");
        assert!(text.ends_with(", 1.500000 sec"), "{text}");
        assert_eq!(at_work(&request(Progress::Running, 1), Exit::Signal { number: 15, core: false }), None);
    }
}
