//! A server under load through a real nginx: 64 clients at once, half of them through a front that keeps its FastCGI
//! connections. Every answer is checked: its status, and its content by a hash that script and client compute each for
//! itself. Not one may be wrong, and no worker may have ended. `CORNAC_LOAD_REQUESTS` sets the number of requests.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use cornac_tests::http::{Answer, Http};
use cornac_tests::nginx::{Nginx, Options};
use cornac_tests::{Server, Setup, Side};

const CLIENTS: usize = 64;
const WORKERS: usize = 8;
/// Fewer than there are workers: a worker of php-fpm serves nobody else while nginx keeps its connection.
const KEPT: usize = 4;
/// After so many failures the rest tells nothing new.
const ENOUGH: usize = 20;

/// Sends `n`, and the hash of what follows.
const HASHED: &str = "function hashed($n, $text) { header('X-Hash: ' . hash('fnv1a64', $text)); header(\"X-N: $n\"); echo $text; }";

/// One kind of request. `n` makes each one different.
struct Kind {
    name: &'static str,
    /// How many of 100 requests.
    share: usize,
    script: &'static str,
    code: &'static str,
    status: u16,
    /// What the answer has to be.
    expect: fn(n: usize, answer: &Answer, sent: &[u8]) -> bool,
}

const KINDS: [Kind; 8] = [
    Kind {
        name: "page",
        share: 40,
        script: "page.php",
        code: "$text = ''; for ($i = 0; $i < 20 + $n % 300; $i++) { $text .= md5(\"$n $i\") . \"\\n\"; } hashed($n, $text);",
        status: 200,
        expect: |n, answer, _| own_hash(n, answer) && answer.body.len() == 33 * (20 + n % 300),
    },
    Kind {
        name: "post",
        share: 25,
        script: "post.php",
        code: "echo $n, ' ', $_SERVER['CONTENT_LENGTH'], ' ', hash_file('fnv1a64', 'php://input');",
        status: 200,
        expect: |n, answer, sent| answer.text() == format!("{n} {} {:016x}", sent.len(), fnv1a64(sent)),
    },
    Kind {
        name: "1 MB answer",
        share: 5,
        script: "large.php",
        code: "hashed($n, substr(str_repeat(\"answer $n \", 1 << 17), 0, 1 << 20));",
        status: 200,
        expect: |n, answer, _| {
            own_hash(n, answer)
                && answer.body.len() == 1 << 20
                && answer.body.starts_with(format!("answer {n} ").as_bytes())
        },
    },
    Kind {
        name: "404",
        share: 6,
        script: "missing.php",
        code: "",
        status: 404,
        expect: |_, answer, _| answer.body == b"File not found.\n",
    },
    Kind {
        name: "403",
        share: 6,
        script: "plain.txt/x.php",
        code: "",
        status: 403,
        expect: |_, answer, _| answer.body == b"Access denied.\n",
    },
    Kind {
        name: "uncaught exception",
        share: 6,
        script: "throw.php",
        code: "throw new Exception(\"thrown $n\");",
        status: 500,
        expect: |_, answer, _| answer.body.is_empty(),
    },
    Kind {
        name: "exit",
        share: 6,
        script: "exit.php",
        code: "register_shutdown_function(function () use ($n) { echo 'shut down ', $n; }); echo 'exit '; exit(3);",
        status: 200,
        expect: |n, answer, _| answer.text() == format!("exit shut down {n}"),
    },
    Kind {
        name: "die",
        share: 6,
        script: "die.php",
        code: "http_response_code(503); die(\"died $n\");",
        status: 503,
        expect: |n, answer, _| answer.text() == format!("died {n}"),
    },
];

/// What nginx writes when a server did not do its part; a script's own messages are not among it.
const COMPLAINTS: [&str; 6] = [
    "upstream prematurely closed",
    "upstream sent",
    "connect() to",
    "recv() failed",
    "writev() failed",
    "[alert]",
];

#[test]
fn no_answer_is_wrong() {
    let requests =
        std::env::var("CORNAC_LOAD_REQUESTS").map_or(6000, |number| number.parse().expect("a number"));
    let server = Server::start(Side::Subject, &setup());
    let kept = Options { keep: Some(KEPT), ..Options::default() };
    let fronts = [Nginx::start(&server, &Options::default()), Nginx::start(&server, &kept)];
    let workers = server.workers("www");
    assert_eq!(workers.len(), WORKERS);

    let started = Instant::now();
    let load = &Load { fronts: &fronts, requests, next: AtomicUsize::new(0), failures: AtomicUsize::new(0) };
    let results: Vec<Sent> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || load.client(client))).collect();
        clients.into_iter().map(|client| client.join().expect("client")).collect()
    });
    let sent = Sent::sum(results);
    say(&sent.summary(started.elapsed().as_secs_f64()));

    assert!(sent.wrong.is_empty(), "{}\n{}", sent.wrong.join("\n"), server.log());
    assert_eq!(sent.counts.values().sum::<usize>(), requests);
    assert_eq!(server.workers("www"), workers, "workers ended:\n{}", server.log());
    for front in &fronts {
        let log = front.log();
        let complaints =
            log.lines().filter(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)));
        assert_eq!(complaints.collect::<Vec<_>>(), [""; 0]);
    }
    server.stop();
}

fn setup() -> Setup {
    let pool = format!(
        "pm.max_children = {WORKERS}\nphp_admin_value[post_max_size] = 16M\nphp_admin_flag[display_errors] = off\n\
         php_admin_flag[log_errors] = on\nphp_admin_value[upload_tmp_dir] = {{dir}}/tmp\n"
    );
    let setup = Setup::new().www(&pool).script("plain.txt", "no script");
    KINDS.iter().filter(|kind| !kind.code.is_empty()).fold(setup, |setup, kind| {
        let code = format!("<?php {HASHED} $n = (int)$_GET['n']; {}", kind.code);
        setup.script(kind.script, &code)
    })
}

/// What the clients share.
struct Load<'a> {
    fronts: &'a [Nginx; 2],
    requests: usize,
    next: AtomicUsize,
    failures: AtomicUsize,
}

/// What came of the requests of one client, or of all.
#[derive(Default)]
struct Sent {
    counts: BTreeMap<&'static str, usize>,
    bytes_sent: usize,
    bytes_received: usize,
    wrong: Vec<String>,
}

impl Load<'_> {
    /// Takes requests until none is left.
    fn client(&self, client: usize) -> Sent {
        let (http, front) = (Http::default(), &self.fronts[client % 2]);
        let mut sent = Sent::default();
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if n >= self.requests || self.failures.load(Ordering::Relaxed) >= ENOUGH {
                return sent;
            }
            if let Err(why) = sent.request(n, &http, front) {
                self.failures.fetch_add(1, Ordering::Relaxed);
                sent.wrong.push(why);
            }
        }
    }
}

impl Sent {
    fn request(&mut self, n: usize, http: &Http, front: &Nginx) -> Result<(), String> {
        let kind = kind_of(n);
        let body = if kind.name == "post" { body_of(n) } else { Vec::new() };
        let method = if body.is_empty() { "GET" } else { "POST" };
        let headers = [("Content-Type", "application/octet-stream")];
        let url = front.url(&format!("/{}?n={n}", kind.script));
        let answer = http.try_send(method, &url, &headers[..usize::from(!body.is_empty())], &body);
        let answer = answer.map_err(|error| format!("{n} {}: {error}", kind.name))?;
        *self.counts.entry(kind.name).or_default() += 1;
        self.bytes_sent += body.len();
        self.bytes_received += answer.body.len();
        if answer.status == kind.status && (kind.expect)(n, &answer, &body) {
            return Ok(());
        }
        let text: String = answer.text().chars().take(200).collect();
        Err(format!("{n} {} ({} bytes sent): {} {text}", kind.name, body.len(), answer.status))
    }

    fn sum(all: Vec<Sent>) -> Sent {
        all.into_iter().fold(Sent::default(), |mut sum, one| {
            one.counts.into_iter().for_each(|(name, count)| *sum.counts.entry(name).or_default() += count);
            sum.bytes_sent += one.bytes_sent;
            sum.bytes_received += one.bytes_received;
            sum.wrong.extend(one.wrong);
            sum
        })
    }

    fn summary(&self, seconds: f64) -> String {
        let total: usize = self.counts.values().sum();
        let kinds = self
            .counts
            .iter()
            .map(|(name, count)| format!("{count} × {name}"))
            .collect::<Vec<_>>()
            .join(", ");
        format!(
            "load: {total} requests in {seconds:.1} s, {CLIENTS} clients, {WORKERS} workers, {} wrong: {kinds}; {} MB \
             sent, {} MB received\n",
            self.wrong.len(),
            self.bytes_sent >> 20,
            self.bytes_received >> 20
        )
    }
}

/// Spread over all requests, not in runs.
fn kind_of(n: usize) -> &'static Kind {
    let mut place = n * 37 % 100;
    KINDS
        .iter()
        .find(|kind| {
            place < kind.share || {
                place -= kind.share;
                false
            }
        })
        .expect("shares make 100")
}

/// 1 KB to 64 KB; one in 50 is larger, up to 8 MB.
fn body_of(n: usize) -> Vec<u8> {
    let length = match n % 50 {
        7 => 8 << 20 >> (n / 50 % 8),
        _ => 1 << 10 << (n % 7),
    };
    let mut state = n as u64 | 1 << 40;
    let mut body = Vec::with_capacity(length);
    while body.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        body.extend(state.to_le_bytes());
    }
    body
}

/// The answer belongs to this request, and is what the script sent.
fn own_hash(n: usize, answer: &Answer) -> bool {
    answer.header("x-n") == Some(&n.to_string())
        && answer.header("x-hash") == Some(&format!("{:016x}", fnv1a64(&answer.body)))
}

fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Past the test runner's capture.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
