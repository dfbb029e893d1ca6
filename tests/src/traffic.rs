//! Traffic: closed-loop clients that send one request after the other until they are told to end, check every answer
//! down to its last byte, and count what became of each request, with the reason of every failure.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::{Client, Reply, Request};
use crate::server::{Server, Side};
use crate::setup::Setup;
use crate::wait;

/// The script that traffic asks for: sleeps as long as it is told, then says a long text that only this request has.
const SCRIPT: &str = "<?php usleep((int)$_GET['us']); echo str_repeat($_GET['n'] . ',', 200);";
/// Requests of one traffic at most.
const MOST: usize = 2_000_000;

/// A setup with what traffic needs.
pub fn served(setup: Setup) -> Setup {
    setup.script("traffic.php", SCRIPT)
}

/// Where the clients connect to.
#[derive(Clone, Debug)]
pub enum Address {
    /// The path of a socket.
    Unix(PathBuf),
    /// Address and port.
    Tcp(SocketAddr),
}

impl Address {
    fn connect(&self) -> io::Result<Client> {
        match self {
            Address::Unix(path) => Client::try_unix(path),
            Address::Tcp(address) => Client::tcp(*address),
        }
    }
}

/// What the clients do.
#[derive(Clone, Debug)]
pub struct Manner {
    /// So many at once.
    pub clients: usize,
    /// How long each request sleeps.
    pub sleeps: Duration,
    /// One connection for many requests.
    pub kept: bool,
    /// The time a client takes before its next request.
    pub pause: Duration,
}

impl Default for Manner {
    fn default() -> Manner {
        let pause = Duration::from_millis(1);
        Manner { clients: 4, sleeps: Duration::ZERO, kept: false, pause }
    }
}

/// Clients at work.
pub struct Traffic {
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Tally>>,
}

/// What became of the requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests begun.
    pub sent: usize,
    /// Those whose answer was right.
    pub answered: usize,
    /// How many of the others failed for which reason.
    pub failed: BTreeMap<String, usize>,
    /// The longest an answer took.
    pub longest: Duration,
}

impl Traffic {
    /// Begins at the pool `www` of a server whose setup is [`served`].
    pub fn begin(server: &Server, manner: Manner) -> Traffic {
        Traffic::at(server, Address::Unix(server.socket("www")), manner)
    }

    /// Begins at any address of the server.
    pub fn at(server: &Server, address: Address, manner: Manner) -> Traffic {
        let (ends, answered, next) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let client = |_| {
            let mut client = OneClient {
                address: address.clone(),
                manner: manner.clone(),
                request: Request::get(server, "/traffic.php"),
                kept: None,
            };
            let (ends, answered, next) = (ends.clone(), answered.clone(), next.clone());
            thread::spawn(move || client.work(&ends, &answered, &next))
        };
        let clients = (0..manner.clients).map(client).collect();
        Traffic { ends, answered, clients }
    }

    /// Requests answered so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Relaxed)
    }

    /// Waits until so many more have been answered; false if they are not.
    pub fn flows(&self, more: usize) -> bool {
        let target = self.answered() + more;
        wait::until(|| (self.answered() >= target).then_some(())).is_some()
    }

    /// As [`Traffic::flows`]; panics if the server does not answer.
    pub fn go_on(&self, server: &Server, more: usize) {
        let before = self.answered();
        let flows = self.flows(more);
        let found = self.answered() - before;
        assert!(flows, "{:?}: {found} answers, not {more}\n{}", server.side, server.log());
    }

    /// Has the clients end what they are at, and sums up.
    pub fn end(self) -> Tally {
        self.ends.store(true, Relaxed);
        let tallies = self.clients.into_iter().map(|client| client.join().expect("a client"));
        tallies.fold(Tally::default(), Tally::add)
    }
}

struct OneClient {
    address: Address,
    manner: Manner,
    request: Request,
    kept: Option<Client>,
}

impl OneClient {
    fn work(&mut self, ends: &AtomicBool, answered: &AtomicUsize, next: &AtomicUsize) -> Tally {
        let mut tally = Tally::default();
        while !ends.load(Relaxed) {
            let number = next.fetch_add(1, Relaxed);
            if number >= MOST {
                break;
            }
            tally.sent += 1;
            let begun = Instant::now();
            match self.exchange(number) {
                Ok(()) => {
                    tally.answered += 1;
                    answered.fetch_add(1, Relaxed);
                }
                Err(reason) => *tally.failed.entry(reason).or_default() += 1,
            }
            tally.longest = tally.longest.max(begun.elapsed());
            thread::sleep(self.manner.pause);
        }
        tally
    }

    fn exchange(&mut self, number: usize) -> Result<(), String> {
        let query = format!("n={number}&us={}", self.manner.sleeps.as_micros());
        let mut request = self.request.clone().param("QUERY_STRING", query);
        request.keep = self.manner.kept;
        let mut client = match self.kept.take() {
            Some(client) => client,
            None => self.address.connect().map_err(|error| format!("connect: {error}"))?,
        };
        let reply = client.send(&request);
        check(&reply, number)?;
        self.kept = self.manner.kept.then_some(client);
        Ok(())
    }
}

fn check(reply: &Reply, number: usize) -> Result<(), String> {
    if reply.silent {
        return Err("no answer in time".into());
    }
    if !matches!(reply.end, Some((_, 0))) {
        let began = if reply.stdout.is_empty() { "before" } else { "within" };
        return Err(reply
            .end
            .map_or(format!("connection ended {began} the answer"), |end| format!("{end:?}")));
    }
    if reply.status() != 200 {
        return Err(format!("status {}", reply.status()));
    }
    if reply.body() != format!("{number},").repeat(200) {
        return Err("wrong body".into());
    }
    Ok(())
}

impl Tally {
    fn add(mut self, other: Tally) -> Tally {
        self.sent += other.sent;
        self.answered += other.answered;
        other.failed.into_iter().for_each(|(reason, count)| *self.failed.entry(reason).or_default() += count);
        self.longest = self.longest.max(other.longest);
        self
    }

    /// Requests that got no right answer.
    pub fn lost(&self) -> usize {
        self.failed.values().sum()
    }

    /// Panics, with the server's log, unless at least so many were sent and every one was answered.
    pub fn expect_none_lost(&self, server: &Server, least: usize) {
        assert!(self.sent >= least, "only {self}");
        assert!(self.lost() == 0 && self.sent == self.answered, "{self}\n{}", server.log());
    }
}

/// One line about a traffic, past the test runner's capture.
pub fn say(what: &str, side: Side, tally: &Tally) {
    let name = if side == Side::Reference { "php-fpm" } else { "cornac" };
    let _ = io::stderr().write_all(format!("faults: {what}: {name}: {tally}\n").as_bytes());
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { sent, answered, failed, longest } = self;
        write!(f, "{sent} requests, {answered} answered, the slowest in {} ms", longest.as_millis())?;
        failed.iter().try_for_each(|(reason, count)| write!(f, "; {count} × {reason}"))
    }
}
