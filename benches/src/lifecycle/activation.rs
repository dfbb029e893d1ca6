//! Socket activation, again and again: somebody else holds the listening socket, as systemd does, starts the service when
//! somebody connects, and finds it stopped some time later. One client connects all the time.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::Bench;
use super::address::Address;
use super::arrivals::Pace;
use super::master::{Master, Processes, fixed, pool};
use super::report::{Line, Section, milliseconds};
use super::site::HELLO;
use super::tally::{Failure, Tally};
use super::traffic::{Stretch, Target, Traffic};
use crate::server::end_with_this_process;

/// How the service ends.
#[derive(Clone, Copy)]
struct End {
    name: &'static str,
    /// `None`: by itself, when it has been idle.
    signal: Option<Signal>,
    /// Lines of \[global\] that only cornac knows.
    global: &'static str,
    /// It ends at once, whatever it is doing: as many requests as it is running are lost.
    at_once: bool,
}

const ENDS: [End; 5] = [
    End { name: "QUIT", signal: Some(Signal::SIGQUIT), global: "", at_once: false },
    End { name: "TERM", signal: Some(Signal::SIGTERM), global: "", at_once: true },
    End {
        name: "graceful TERM",
        signal: Some(Signal::SIGTERM),
        global: "shutdown.sigterm = graceful\n",
        at_once: false,
    },
    End { name: "KILL of the master", signal: Some(Signal::SIGKILL), global: "", at_once: false },
    End { name: "idle exit", signal: None, global: "idle_exit = 1s\n", at_once: false },
];

/// How the service is told about its socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Announcement {
    ListenFds,
    FpmSockets,
}

/// What one server did in all rounds of one kind.
#[derive(Default)]
struct Run {
    tally: Tally,
    rounds: usize,
    wanted: usize,
    /// Rounds after which processes were left behind.
    leftovers: usize,
    /// Rounds in which it had to be killed.
    stuck: usize,
    /// Why there are not as many rounds as wanted.
    over: Option<&'static str>,
}

/// One server, one kind of socket, one announcement.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Case {
    cornac: bool,
    tcp: bool,
    announcement: Announcement,
}

pub(crate) fn measure(bench: &Bench) -> Result<Vec<Section>, String> {
    let rounds = if bench.quick { 4 } else { 50 };
    let mut lines = Vec::new();
    for end in ENDS {
        eprintln!("activation: {} …", end.name);
        let mut servers = vec![(true, Announcement::ListenFds), (true, Announcement::FpmSockets)];
        if end.global.is_empty() {
            servers.push((false, Announcement::FpmSockets));
        }
        let cases: Vec<Case> = servers
            .into_iter()
            .flat_map(|(cornac, announcement)| [false, true].map(|tcp| Case { cornac, tcp, announcement }))
            .collect();
        // Both kinds of sockets at the same time; a service that ends by itself costs nothing but time, so all at once.
        let mut runs = Vec::new();
        for cases in cases.chunks(if end.signal.is_some() { 2 } else { cases.len() }) {
            runs.extend(side_by_side(bench, end, cases, rounds)?);
        }
        let find = |case: Case| {
            cases.iter().zip(&runs).find(|(other, _)| **other == case).and_then(|(_, run)| run.as_ref())
        };
        for tcp in [false, true] {
            let kind = if tcp { "TCP" } else { "unix" };
            for (name, announcement) in
                [("LISTEN_FDS", Announcement::ListenFds), ("FPM_SOCKETS", Announcement::FpmSockets)]
            {
                let [fpm, cornac] = [false, true].map(|cornac| find(Case { cornac, tcp, announcement }));
                lines.extend(rows(&format!("{}, {kind}, {name}", end.name), end, fpm, cornac));
            }
        }
    }
    Ok(vec![Section { title: "re-activation".into(), lines }])
}

fn side_by_side(bench: &Bench, end: End, cases: &[Case], rounds: usize) -> Result<Vec<Option<Run>>, String> {
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            cases.iter().map(|case| scope.spawn(move || run(bench, end, *case, rounds))).collect();
        let joined =
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a client panicked".to_owned())?);
        joined.collect()
    })
}

fn rows(what: &str, end: End, fpm: Option<&Run>, cornac: Option<&Run>) -> Vec<Line> {
    let in_words = |run: Option<&Run>| run.map_or_else(String::new, Run::in_words);
    let longest =
        |run: Option<&Run>| run.map_or_else(String::new, |run| milliseconds(run.tally.percentile(1.0)));
    let target = if end.at_once { "all answered but the running one" } else { "every request answered" };
    let Some(run) = cornac else {
        return vec![Line::new(what, in_words(fpm), "not supported").target(target, false)];
    };
    vec![
        Line::new(what, in_words(fpm), run.in_words()).target(target, run.is_enough(end)),
        Line::new("… longest wait", longest(fpm), longest(cornac)),
    ]
}

impl Run {
    fn is_enough(&self, end: End) -> bool {
        let cut = [Failure::Reset, Failure::ClosedEarly]
            .map(|failure| self.tally.failures.get(&(failure, false)).copied().unwrap_or(0));
        let cut: u64 = cut.iter().sum();
        // There is one client, so one request at a time.
        let lost =
            if end.at_once { self.tally.failed() - cut.min(self.rounds as u64) } else { self.tally.failed() };
        lost == 0 && self.rounds == self.wanted && self.stuck == 0 && self.leftovers == 0
    }

    fn in_words(&self) -> String {
        let mut text = format!("{} rounds; failed {}", self.rounds, self.tally.failed_in_words());
        for (count, what) in [(self.leftovers, "× processes left behind"), (self.stuck, "× did not end")] {
            if count > 0 {
                text += &format!("; {count}{what}");
            }
        }
        if let Some(why) = self.over {
            text += "; ";
            text += why;
        }
        text
    }
}

/// `None` when this server has no such thing.
fn run(bench: &Bench, end: End, case: Case, rounds: usize) -> Result<Option<Run>, String> {
    let Case { cornac, tcp, announcement } = case;
    let subject = &bench.subjects[usize::from(cornac)];
    let by = if announcement == Announcement::ListenFds { "listen" } else { "fpm" };
    let label =
        format!("activation-{}-{}-{by}", end.name.replace(' ', "-"), if tcp { "tcp" } else { "unix" });
    let address = if tcp {
        Address::free_port()?
    } else {
        Address::Unix(bench.dir.join(format!("{label}-{}.sock", subject.name)))
    };
    let pool = pool("www", &address, &fixed(2));
    let mut master = Master::prepare(subject, bench.dir, &label, &format!("{}{pool}", end.global), None)?;
    if !end.global.is_empty() && master.check().is_err() {
        return Ok(None);
    }
    let holder = Holder { socket: address.listen()?, address: &address, announcement };
    let requests = HELLO.requests(bench.root);
    let target = Target {
        address: &address,
        requests: &requests,
        bodies: &[HELLO.body],
        kept: 0,
        patience: bench.patience,
    };
    let shared = Shared::default();
    let mut outcome = Run { wanted: rounds, ..Run::default() };
    std::thread::scope(|scope| {
        let client = scope.spawn(|| client(&target, end, &shared));
        let driven = holder.drive(&mut master, end, &shared, &mut outcome);
        shared.stop.store(true, Ordering::Relaxed);
        // The last requests need somebody to answer them.
        let served = driven.and_then(|()| holder.serve_the_rest(&mut master, || client.is_finished()));
        outcome.tally = client.join().map_err(|_| "the client panicked".to_owned())??;
        served
    })?;
    Ok(Some(outcome))
}

/// What client and holder know of each other.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Right answers so far.
    answered: AtomicU64,
    /// How often the service has ended.
    ended: AtomicU64,
}

/// So long before the moment at which an idle service is expected to leave a client may come.
const NEAR: Duration = Duration::from_millis(10);

/// Sends one request after the other, each on a connection of its own.
fn client(target: &Target, end: End, shared: &Shared) -> Result<Tally, String> {
    let mut traffic = Traffic::new(target)?;
    let stretch = |length| Stretch {
        stop: Some(&shared.stop),
        progress: Some(&shared.answered),
        ..Stretch::plain(Pace::Closed(1), length)
    };
    if end.signal.is_some() {
        return traffic.run(&stretch(Duration::from_secs(600)));
    }
    // A service that is to become idle has a client that pauses. It comes back in turns around the moment at which the
    // service leaves, and when it has left.
    let mut sum = Tally::default();
    let mut leaves_after = None;
    for turn in 0_u64.. {
        sum.add(traffic.run(&stretch(Duration::from_millis(150)))?);
        let (seen, began) = (shared.ended.load(Ordering::Relaxed), Instant::now());
        let jitter = Duration::from_millis(turn * 7 % 20);
        let near = leaves_after.filter(|_| turn % 2 == 0).map(|delay: Duration| delay + jitter - NEAR);
        let gone = || shared.ended.load(Ordering::Relaxed) > seen;
        while !gone() && near.is_none_or(|near| began.elapsed() < near) {
            if shared.stop.load(Ordering::Relaxed) {
                return Ok(sum);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        if gone() && near.is_none() {
            leaves_after = Some(began.elapsed().max(NEAR));
        }
    }
    Ok(sum)
}

/// Has the socket, and starts the service.
struct Holder<'a> {
    socket: OwnedFd,
    address: &'a Address,
    announcement: Announcement,
}

/// A client that connects all the time is seen within this.
const NOBODY: Duration = Duration::from_secs(2);

impl Holder<'_> {
    fn drive(&self, master: &mut Master, end: End, shared: &Shared, run: &mut Run) -> Result<(), String> {
        for round in 0..run.wanted {
            if !self.somebody_connects(NOBODY)? {
                run.over = Some("then nobody could connect any more");
                return Ok(());
            }
            let answered = || shared.answered.load(Ordering::Relaxed);
            let before = answered();
            self.start(master)?;
            let is_served = |master: &mut Master| answered() > before || master.ended().is_some();
            if !master.wait(Duration::from_secs(5), is_served) || master.ended().is_some() {
                run.over = Some("then it did not serve");
                master.signal(Signal::SIGKILL);
                return Ok(());
            }
            // Another moment of a request in every round.
            std::thread::sleep(Duration::from_micros(2000 + 137 * round as u64));
            let processes = Processes::of(master.pid());
            if let Some(signal) = end.signal {
                master.signal(signal);
            }
            let limit = Duration::from_secs(if end.signal.is_some() { 5 } else { 10 });
            if !master.wait(limit, |master| master.ended().is_some()) {
                run.stuck += 1;
                master.signal(Signal::SIGKILL);
                master.wait(limit, |master| master.ended().is_some());
            }
            shared.ended.fetch_add(1, Ordering::Relaxed);
            run.leftovers += usize::from(Master::end_leftovers(&processes) > 0);
            run.rounds += 1;
        }
        Ok(())
    }

    fn serve_the_rest(&self, master: &mut Master, done: impl Fn() -> bool) -> Result<(), String> {
        let began = Instant::now();
        while !done() && began.elapsed() < Duration::from_secs(15) {
            if self.somebody_connects(Duration::from_millis(20))? && master.ended().is_some() {
                self.start(master)?;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn somebody_connects(&self, limit: Duration) -> Result<bool, String> {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(limit).map_err(|error| error.to_string())?;
        poll(&mut fds, limit).map(|count| count > 0).map_err(|error| error.to_string())
    }

    /// The socket is descriptor 3 of the service. A shell puts it there, and knows its own process id.
    fn start(&self, master: &mut Master) -> Result<(), String> {
        let mut command = master.command("exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"");
        match self.announcement {
            Announcement::ListenFds => command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "www"),
            Announcement::FpmSockets => command.env("FPM_SOCKETS", format!("{}=3", self.address)),
        };
        command.stdin(self.socket.try_clone().map_err(|error| error.to_string())?);
        end_with_this_process(&mut command);
        master.adopt(command.spawn().map_err(|error| error.to_string())?);
        Ok(())
    }
}
