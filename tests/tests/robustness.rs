//! Peers that do not keep to FastCGI, or stop in the middle: whatever arrives, the worker that got it goes on serving,
//! with the same pid, the same descriptors and no more memory. `CORNAC_ROBUSTNESS_SEED` makes other conversations,
//! `CORNAC_ROBUSTNESS_CONVERSATIONS` more of them.

#[path = "robustness/conversations.rs"]
mod conversations;

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::client::record;
use cornac_tests::processes::Process;
use cornac_tests::{Client, Request, Server, Setup, Side, wait};
use nix::sys::socket::{setsockopt, sockopt};

use conversations::{
    ABORT_REQUEST, BEGIN_REQUEST, FALSE_LENGTHS, GET_VALUES, MUTATIONS, Random, management, pair, records,
    valid,
};

const AT_ONCE: usize = 16;
/// Workers of each pool; `www` listens on a unix socket, `tcp` on a port.
const WORKERS: usize = 4;
/// What a worker may grow by, in KiB, whatever it was sent.
const GROWTH: u64 = 8 << 10;

/// Waits until `of` workers are in it, so that each of them has to come.
const MEET: &str = "<?php
$file = __DIR__ . '/../tmp/' . $_GET['meeting'];
file_put_contents($file, getmypid() . \"\\n\", FILE_APPEND | LOCK_EX);
for ($i = 0; $i < 2000 && count(array_unique(file($file))) < (int)$_GET['of']; $i++) { usleep(5000); }
echo getmypid();";

fn setup(pool: &str) -> Setup {
    Setup::new()
        .www(pool)
        .pool("tcp", &format!("{pool}listen = 127.0.0.1:{{port}}\n"))
        .script("meet.php", MEET)
        .script("body.php", "<?php echo md5(file_get_contents('php://input')), ' ', count($_POST);")
        .script("hello.php", "<?php echo 'hello ', $_SERVER['FCGI_ROLE'];")
        .script("large.php", "<?php for ($i = 0; $i < 64; $i++) { echo str_repeat('x', 1 << 20); }")
}

/// How the peer leaves.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    /// Closes at once, whatever was to come.
    Close,
    /// Closes its writing half and expects an end: an answer, or a closed connection.
    HalfClose,
    /// Reads until the server waits for more, then closes.
    Read,
    /// Resets the connection (TCP), or reads no more (unix socket).
    Reset,
}

#[test]
fn malformed_conversations() {
    let server = Server::start(Side::Subject, &setup(&format!("pm.max_children = {WORKERS}\n")));
    let pools = [Pool::of(&server, "www"), Pool::of(&server, "tcp")];
    let setting = |name: &str| std::env::var(name).ok().map(|number| number.parse().expect("a number"));
    let seed = setting("CORNAC_ROBUSTNESS_SEED").unwrap_or(20_260_101);
    let count = setting("CORNAC_ROBUSTNESS_CONVERSATIONS").unwrap_or(1000) as usize;
    let next = AtomicUsize::new(0);
    let failures: Vec<String> = thread::scope(|scope| {
        let talk = || {
            let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
            let numbers = numbers.take_while(|number| *number < count);
            numbers.filter_map(|number| converse(&pools, seed, number).err()).collect::<Vec<_>>()
        };
        let peers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(talk)).collect();
        peers.into_iter().flat_map(|peer| peer.join().expect("peer")).collect()
    });
    assert!(failures.is_empty(), "seed {seed}:\n{}\n{}", failures.join("\n"), server.log());
    pools.iter().for_each(Pool::expect_unharmed);
    server.stop();
}

/// One conversation: first the short request cut at every byte, then mutations of longer ones.
fn converse(pools: &[Pool; 2], seed: u64, number: usize) -> Result<(), String> {
    let mut random = Random::new(seed, number);
    let pool = &pools[usize::from(number % 4 == 3)];
    let short = short_request(pool.server).encode();
    let (what, bytes) = match number.checked_sub(short.len()) {
        None => ("cut", short[..number].to_vec()),
        Some(number) => mutated(&mut random, pool.server, number),
    };
    let leaving = random.one_of(&[Leaving::Close, Leaving::HalfClose, Leaving::Read, Leaving::Reset]);
    let pieces = 1 + random.below(3);
    let outcome = pool.connect().and_then(|stream| talk(stream, &bytes, pieces, leaving));
    outcome.map_err(|error| {
        format!("conversation {number}, {what}, {} bytes, then {leaving:?}: {error}", bytes.len())
    })
}

/// As few parameters as a body needs.
fn short_request(server: &Server) -> Request {
    let request = Request { body: b"12345".to_vec(), ..Request::empty() };
    let request = request.param("SCRIPT_FILENAME", server.www("body.php")).param("REQUEST_METHOD", "POST");
    request.param("SCRIPT_NAME", "/body.php").param("CONTENT_LENGTH", "5")
}

fn mutated(random: &mut Random, server: &Server, number: usize) -> (&'static str, Vec<u8>) {
    let get = Request::get(server, "/hello.php");
    let form = "application/x-www-form-urlencoded";
    let post = Request::post(server, "/body.php", form, "name=value".repeat(500).as_bytes());
    let Some((what, mutate)) = MUTATIONS.get(number % (MUTATIONS.len() + 1)) else {
        let length = random.one_of(&FALSE_LENGTHS);
        return ("false CONTENT_LENGTH", post.param("CONTENT_LENGTH", length).encode());
    };
    let mut all = valid(random, &get, &post);
    mutate(random, &mut all);
    (what, all.concat())
}

/// Sends everything in so many pieces and leaves. `Err` if the server neither answers nor closes.
fn talk(mut stream: UnixStream, bytes: &[u8], pieces: usize, leaving: Leaving) -> io::Result<()> {
    for piece in bytes.chunks(bytes.len().div_ceil(pieces).max(1)) {
        match stream.write_all(piece) {
            Ok(()) => {}
            Err(error) if is_silence(&error) => return Err(error),
            Err(_closed) => break,
        }
    }
    match leaving {
        Leaving::Close => Ok(()),
        Leaving::HalfClose => {
            let _ = stream.shutdown(std::net::Shutdown::Write);
            read_to_end(&mut stream)
        }
        Leaving::Read => {
            stream.set_read_timeout(Some(Duration::from_millis(20)))?;
            let _ = read_to_end(&mut stream);
            Ok(())
        }
        Leaving::Reset => {
            // Only TCP sends a reset; a unix socket just refuses what the server still writes.
            let _ = setsockopt(&stream, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 });
            let _ = stream.shutdown(std::net::Shutdown::Read);
            Ok(())
        }
    }
}

/// Reads until the server closes. `Err` when it is silent instead.
fn read_to_end(stream: &mut UnixStream) -> io::Result<()> {
    let mut buffer = [0; 1 << 16];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if is_silence(&error) => return Err(error),
            Err(_reset) => return Ok(()),
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A pool and what its workers were like before.
struct Pool<'a> {
    server: &'a Server,
    name: &'static str,
    workers: Vec<(Process, usize, u64)>,
}

impl<'a> Pool<'a> {
    fn of(server: &'a Server, name: &'static str) -> Pool<'a> {
        let mut pool = Pool { server, name, workers: Vec::new() };
        // What a first request needs and keeps is there after this.
        (0..2).for_each(|_| pool.expect_all_serve());
        let workers = server.workers(name);
        for worker in &workers {
            // Sets VmHWM back to VmRSS (proc(5)), where that is allowed.
            let _ = std::fs::write(format!("/proc/{}/clear_refs", worker.pid), "5");
        }
        pool.workers =
            workers.into_iter().map(|one| (one, descriptors(one), kilobytes(one, "VmRSS"))).collect();
        assert!(!pool.workers.is_empty());
        pool
    }

    fn connect(&self) -> io::Result<UnixStream> {
        let stream = match self.name {
            // Nothing is done with it that a unix socket does not do too.
            "tcp" => UnixStream::from(OwnedFd::from(TcpStream::connect(self.address())?)),
            _ => UnixStream::connect(self.server.socket(self.name))?,
        };
        stream.set_read_timeout(Some(wait::PATIENCE))?;
        stream.set_write_timeout(Some(wait::PATIENCE))?;
        Ok(stream)
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.server.port(0)).into()
    }

    fn client(&self) -> Client {
        match self.name {
            "tcp" => Client::tcp(self.address()).expect("connection"),
            _ => Client::unix(&self.server.socket(self.name)),
        }
    }

    /// As many requests at once as there are workers, each in another worker.
    fn expect_all_serve(&self) {
        static MEETINGS: AtomicUsize = AtomicUsize::new(0);
        let meeting = MEETINGS.fetch_add(1, Ordering::Relaxed);
        let workers: BTreeSet<String> =
            self.server.workers(self.name).iter().map(|worker| worker.pid.to_string()).collect();
        let script = format!("/meet.php?meeting=meeting-{meeting}&of={}", workers.len());
        let request = Request::get(self.server, &script);
        let answers: BTreeSet<String> = thread::scope(|scope| {
            let peers: Vec<_> =
                workers.iter().map(|_| scope.spawn(|| self.client().send(&request).body())).collect();
            peers.into_iter().map(|peer| peer.join().expect("peer")).collect()
        });
        assert_eq!(answers, workers, "{}", self.server.log());
    }

    /// The same workers as before, all serving, with what they had before.
    fn expect_unharmed(&self) {
        self.expect_all_serve();
        let before: Vec<Process> = self.workers.iter().map(|(worker, ..)| *worker).collect();
        assert_eq!(self.server.workers(self.name), before, "workers ended:\n{}", self.server.log());
        for &(worker, open, resident) in &self.workers {
            let closed = wait::until(|| (descriptors(worker) <= open).then_some(()));
            assert!(closed.is_some(), "{open} descriptors were open, now {}", descriptors(worker));
            let peak = kilobytes(worker, "VmHWM");
            assert!(peak <= resident + GROWTH, "a worker grew from {resident} to {peak} KiB");
        }
    }
}

fn descriptors(process: Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.pid)).map_or(0, Iterator::count)
}

fn kilobytes(process: Process, name: &str) -> u64 {
    let line = process.status_line(name).unwrap_or_else(|| panic!("no {name}"));
    line.trim_end_matches(" kB").parse().expect("a number")
}

/// A peer that stops, after these bytes.
struct Stalling {
    name: &'static str,
    bytes: Vec<u8>,
    reads: bool,
}

/// Where a peer can stop, and whether it goes on reading.
fn stalling_peers(server: &Server) -> Vec<Stalling> {
    let body = Request::post(server, "/body.php", "text/plain", b"0123456789").encode();
    let ignored = Request::post(server, "/hello.php", "text/plain", b"0123456789").encode();
    let large = Request::get(server, "/large.php").encode();
    let kept = Request::get(server, "/hello.php").keep().encode();
    // The last two records are the body (8 + 16 bytes) and its end (8 bytes).
    let without_end = |bytes: &[u8]| bytes[..bytes.len() - 8].to_vec();
    let within_body = |bytes: &[u8]| bytes[..bytes.len() - 8 - 12].to_vec();
    let without_body = |bytes: &[u8]| bytes[..bytes.len() - 8 - 24].to_vec();
    let peer = |name, bytes: Vec<u8>| Stalling { name, bytes, reads: true };
    vec![
        peer("no byte", vec![]),
        peer("half a header", body[..3].to_vec()),
        peer("no parameters", body[..16].to_vec()),
        peer("half of the parameters", body[..100].to_vec()),
        peer("end of the parameters missing", without_end(&without_body(&body))),
        peer("no body", without_body(&body)),
        peer("half of the body", within_body(&body)),
        peer("half of a body nobody reads", within_body(&ignored)),
        peer("half of a second request", [&kept[..], &kept[..50]].concat()),
        Stalling { name: "answer not read", bytes: large, reads: false },
    ]
}

/// php-fpm waits for such peers for ever and cannot pass this.
#[test]
fn stalled_peers_are_let_go() {
    if same_on_both_sides() {
        return say("skipped, php-fpm waits for ever: stalled peers\n");
    }
    let server = Server::start(Side::Subject, &setup("pm.max_children = 10\nrequest_read_timeout = 2s\n"));
    for pool in [Pool::of(&server, "www"), Pool::of(&server, "tcp")] {
        let pool = &pool;
        let streams: Vec<UnixStream> = thread::scope(|scope| {
            let peers =
                stalling_peers(&server).into_iter().map(|peer| scope.spawn(move || stall(pool, &peer)));
            let peers: Vec<_> = peers.collect();
            peers.into_iter().map(|peer| peer.join().expect("peer")).collect()
        });
        // Whoever does not read cannot see the end of the connection, but the worker must be free again.
        pool.expect_unharmed();
        drop(streams);
    }
    server.stop();
}

/// Stops, and waits until the server closes the connection.
fn stall(pool: &Pool, peer: &Stalling) -> UnixStream {
    let mut stream = pool.connect().expect("connection");
    stream.write_all(&peer.bytes).expect("sent");
    if peer.reads {
        let end = read_to_end(&mut stream);
        assert!(end.is_ok(), "{}, {}: still open", pool.name, peer.name);
    }
    stream
}

#[test]
fn values_are_answered() {
    let server = Server::start(Side::Subject, &setup(""));
    let names = [pair("FCGI_MAX_CONNS", ""), pair("FCGI_MPXS_CONNS", ""), pair("FCGI_UNKNOWN", "")];
    let mut client = server.connect();
    client.write(&management(GET_VALUES, &names.concat())).expect("sent");
    let (kind, content) = client.read_record().expect("GET_VALUES_RESULT");
    let expected = pair("FCGI_MPXS_CONNS", "0");
    assert_eq!(kind, 10);
    assert!(content.windows(expected.len()).any(|window| window == expected), "{content:?}");
    assert!(!content.windows(7).any(|window| window == b"UNKNOWN"), "{content:?}");
    assert_eq!(client.send(&Request::get(&server, "/hello.php")).body(), "hello RESPONDER");
    server.stop();
}

#[test]
fn roles_run_the_script() {
    let server = Server::start(Side::Subject, &setup(""));
    for (role, name) in [(1, "RESPONDER"), (2, "AUTHORIZER"), (3, "FILTER")] {
        let mut bytes = Request::get(&server, "/hello.php").encode();
        bytes[9] = role;
        let mut client = server.connect();
        client.write(&bytes).expect("sent");
        let reply = client.read_reply();
        assert_eq!((reply.body(), reply.end), (format!("hello {name}"), Some((0, 0))));
    }
    server.stop();
}

#[test]
fn aborted_requests_are_ended() {
    let server = Server::start(Side::Subject, &setup(""));
    let all = records(&Request::post(&server, "/body.php", "text/plain", b"0123456789").keep().encode());
    // After BEGIN_REQUEST, after the parameters, after a part of the body.
    for kept in [1, 3, 4] {
        let mut client = server.connect();
        client.write(&[all[..kept].concat(), record(ABORT_REQUEST, b"")].concat()).expect("sent");
        assert!(client.read_reply().end.is_some(), "after {kept} records");
    }
    assert_eq!(server.get("/hello.php").body(), "hello RESPONDER");
    server.stop();
}

/// FastCGI 1.0 §4.2, §5.5 and §5.4. php-fpm closes the connection without any of these answers.
#[test]
fn what_is_not_served_is_answered() {
    if same_on_both_sides() {
        return say("skipped, php-fpm closes without an answer: unknown types and roles\n");
    }
    let server = Server::start(Side::Subject, &setup(""));
    let hello = Request::get(&server, "/hello.php").keep();

    let mut client = server.connect();
    client.write(&management(99, b"content")).expect("sent");
    assert_eq!(client.read_record(), Some((11, vec![99, 0, 0, 0, 0, 0, 0, 0])));
    client.write(&record(ABORT_REQUEST, b"")).expect("sent");
    assert_eq!(client.send(&hello).body(), "hello RESPONDER");

    let mut unknown_role = hello.encode();
    unknown_role[9] = 9;
    client.write(&unknown_role).expect("sent");
    assert_eq!(client.read_reply().end, Some((0, 3)));
    assert_eq!(client.send(&hello).body(), "hello RESPONDER");

    let mut second = record(BEGIN_REQUEST, &[0, 1, 1, 0, 0, 0, 0, 0]);
    second[3] = 2;
    let mut both = records(&Request::post(&server, "/body.php", "text/plain", b"0123456789").keep().encode());
    let end = both.len() - 1;
    both.insert(end, second);
    client.write(&both.concat()).expect("sent");
    let ends = [client.read_reply(), client.read_reply()].map(|reply| reply.end);
    assert!(ends.contains(&Some((0, 1))) && ends.contains(&Some((0, 0))), "{ends:?}");
    server.stop();
}

/// Past the test runner's capture.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
