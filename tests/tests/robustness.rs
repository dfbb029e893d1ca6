//! Peers that do not keep to FastCGI, or stop in the middle: whatever arrives, the worker that got it goes on serving,
//! with the same pid, the same descriptors and no more memory. `CORNAC_ROBUSTNESS_SEED` makes other conversations,
//! `CORNAC_ROBUSTNESS_CONVERSATIONS` more of them.

#[path = "robustness/conversations.rs"]
mod conversations;
#[path = "robustness/peer.rs"]
mod peer;
#[path = "robustness/pool.rs"]
mod pool;

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use cornac_tests::binary::same_on_both_sides;
use cornac_tests::client::record;
use cornac_tests::{Request, Server, Setup, Side};

use conversations::{
    ABORT_REQUEST, BEGIN_REQUEST, FALSE_LENGTHS, GET_VALUES, MUTATIONS, Random, STDIN, management, pair,
    records, valid,
};
use peer::{Leaving, read_to_end, talk};
use pool::{MEET, Pool};

const AT_ONCE: usize = 16;
/// Workers of each pool; `www` listens on a unix socket, `tcp` on a port.
const WORKERS: usize = 4;

/// Two pools with the same directives and scripts.
fn setup(pool: &str) -> Setup {
    Setup::new()
        .www(pool)
        .pool("tcp", &format!("{pool}listen = 127.0.0.1:{{port}}\n"))
        .script("meet.php", MEET)
        .script("body.php", "<?php echo md5(file_get_contents('php://input')), ' ', count($_POST);")
        .script("hello.php", "<?php echo 'hello ', $_SERVER['FCGI_ROLE'];")
        .script("large.php", "<?php for ($i = 0; $i < 64; $i++) { echo str_repeat('x', 1 << 20); }")
}

#[test]
fn malformed_conversations() {
    let server = Server::start(Side::Subject, &setup(&format!("pm.max_children = {WORKERS}\n")));
    let pools = [Pool::of(&server, "www"), Pool::of(&server, "tcp")];
    let setting = |name: &str| std::env::var(name).ok().map(|number| number.parse().expect("a number"));
    let seed = setting("CORNAC_ROBUSTNESS_SEED").unwrap_or(20_260_101);
    let count = setting("CORNAC_ROBUSTNESS_CONVERSATIONS").unwrap_or(1000) as usize;
    let next = AtomicUsize::new(0);
    let outcomes: Vec<Result<usize, String>> = thread::scope(|scope| {
        let talk = || {
            let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
            let numbers = numbers.take_while(|number| *number < count);
            numbers.map(|number| converse(&pools, seed, number)).collect::<Vec<_>>()
        };
        let peers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(talk)).collect();
        peers.into_iter().flat_map(|peer| peer.join().expect("peer")).collect()
    });
    let answered = outcomes.iter().filter(|outcome| matches!(outcome, Ok(1..))).count();
    say(&format!("robustness: {} conversations, {answered} of them answered\n", outcomes.len()));
    let failures: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(failures.is_empty(), "seed {seed}:\n{}\n{}", failures.join("\n"), server.log());
    pools.iter().for_each(Pool::expect_unharmed);
    server.stop();
}

/// One conversation: first the short request cut at every byte, then mutations of longer ones.
fn converse(pools: &[Pool; 2], seed: u64, number: usize) -> Result<usize, String> {
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
fn only_responders_are_served() {
    if same_on_both_sides() {
        return say("skipped, php-fpm runs the script in every role: refused roles\n");
    }
    let server = Server::start(Side::Subject, &setup(""));
    let unknown_role = Some((0, 3));
    for (role, body, end) in
        [(1, "hello RESPONDER", Some((0, 0))), (2, "", unknown_role), (3, "", unknown_role)]
    {
        let mut bytes = Request::get(&server, "/hello.php").encode();
        bytes[9] = role;
        let mut client = server.connect();
        client.write(&bytes).expect("sent");
        let reply = client.read_reply();
        assert_eq!((reply.body().as_str(), reply.end), (body, end));
    }
    server.stop();
}

#[test]
fn aborted_requests_are_ended() {
    let server = Server::start(Side::Subject, &setup(""));
    let post = Request::post(&server, "/body.php", "text/plain", b"01234").param("CONTENT_LENGTH", "10");
    let all = records(&post.keep().encode());
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
    let post =
        Request::post(&server, "/body.php", "text/plain", b"01234").param("CONTENT_LENGTH", "10").keep();
    let mut both = records(&post.encode());
    let end = both.len() - 1;
    both.splice(end..end, [second, record(STDIN, b"56789")]);
    client.write(&both.concat()).expect("sent");
    let ends = [client.read_reply(), client.read_reply()].map(|reply| reply.end);
    assert!(ends.contains(&Some((0, 1))) && ends.contains(&Some((0, 0))), "{ends:?}");
    server.stop();
}

/// Past the test runner's capture.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
