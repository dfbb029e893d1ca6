//! Bodies and answers far larger than a worker may grow: everything has to flow through, nothing may pile up. The
//! worker's memory is the kernel's account of it (VmHWM, set back before each transfer). `CORNAC_TRANSFER_MB` sets
//! the size of the upload; the answer has twice that.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::Duration;

use cornac_tests::client::record;
use cornac_tests::nginx::{Nginx, Options};
use cornac_tests::processes::Process;
use cornac_tests::{Request, Server, Setup, Side};

/// What a worker may grow by, in KiB, whatever it transfers.
const GROWTH: u64 = 8 << 10;
/// Content of one record, and of one piece that the script writes.
const PIECE: usize = 65_528;
const END_REQUEST: u8 = 3;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;

/// One at a time: an upload is a temporary file of its size.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const RECEIVE: &str = "<?php
$hash = hash_init('fnv1a64');
$length = 0;
for ($input = fopen('php://input', 'r'); ($piece = fread($input, 65536)) !== ''; $length += strlen($piece)) {
    hash_update($hash, $piece);
}
echo $length, ' ', hash_final($hash);";

const STREAM: &str = "<?php
for ($i = 0; $i < (int)$_GET['pieces']; $i++) {
    echo str_repeat(chr(65 + $i % 26), 65528);
}";

#[test]
fn upload_through_fastcgi() {
    let _turn = ONE_AT_A_TIME.lock();
    let server = start();
    let worker = Memory::now(&server);
    let length = upload_size();
    let request = Request::post(&server, "/receive.php", "application/octet-stream", b"");
    let mut head = request.param("CONTENT_LENGTH", length.to_string()).encode();
    head.truncate(head.len() - 8); // the empty STDIN record
    let mut stream = connect(&server);
    stream.write_all(&head).expect("sent");
    let mut content = Content::new(length);
    while let Some(piece) = content.next() {
        stream.write_all(&record(STDIN, piece)).expect("sent");
    }
    stream.write_all(&record(STDIN, b"")).expect("sent");
    let mut answer = Vec::new();
    read_stdout(&mut stream, |piece| answer.extend_from_slice(piece));
    assert_eq!(body(&answer), content.summary());
    worker.expect_flat(&server);
    server.stop();
}

#[test]
fn upload_through_nginx() {
    let _turn = ONE_AT_A_TIME.lock();
    let server = start();
    let unbuffered = Options { location: "fastcgi_request_buffering off;".into(), ..Options::default() };
    let nginx = Nginx::start(&server, &unbuffered);
    let worker = Memory::now(&server);
    let length = upload_size();
    let mut stream = TcpStream::connect(("127.0.0.1", nginx.port())).expect("nginx");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("own socket");
    let head = format!("PUT /receive.php HTTP/1.0\r\nHost: example.test\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut content = Content::new(length);
    while let Some(piece) = content.next() {
        stream.write_all(piece).expect("sent");
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answer");
    assert!(
        answer.starts_with(b"HTTP/1.1 200 OK\r\n"),
        "{}{}",
        String::from_utf8_lossy(&answer),
        nginx.log()
    );
    assert_eq!(body(&answer), content.summary());
    worker.expect_flat(&server);
    drop(nginx);
    server.stop();
}

#[test]
fn answer_through_fastcgi() {
    let _turn = ONE_AT_A_TIME.lock();
    let server = start();
    let worker = Memory::now(&server);
    let pieces = 2 * upload_size() / PIECE + 1;
    let mut stream = connect(&server);
    let request = Request::get(&server, &format!("/stream.php?pieces={pieces}"));
    stream.write_all(&request.encode()).expect("sent");
    let mut check = Pieces { head: Vec::new(), in_body: false, offset: 0 };
    read_stdout(&mut stream, |piece| check.take(piece));
    assert_eq!(check.offset, pieces * PIECE);
    worker.expect_flat(&server);
    server.stop();
}

fn upload_size() -> usize {
    std::env::var("CORNAC_TRANSFER_MB").map_or(512, |number| number.parse().expect("a number")) << 20
}

/// One worker, which has served each script once, so that what it needs anyway is there.
fn start() -> Server {
    let pool = "php_admin_value[post_max_size] = 0\nphp_admin_value[memory_limit] = 32M\n\
                php_admin_value[max_execution_time] = 0\nphp_admin_value[upload_tmp_dir] = {dir}/tmp\n\
                php_admin_value[sys_temp_dir] = {dir}/tmp\n";
    let setup = Setup::new().www(pool).script("receive.php", RECEIVE).script("stream.php", STREAM);
    let server = Server::start(Side::Subject, &setup);
    let small = vec![b'x'; 200_000];
    for _ in 0..3 {
        server.send(&Request::post(&server, "/receive.php", "application/octet-stream", &small));
        server.get("/stream.php?pieces=10");
    }
    server
}

fn connect(server: &Server) -> UnixStream {
    let stream = UnixStream::connect(server.socket("www")).expect("listening socket");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("own socket");
    stream
}

/// Hands on STDOUT until END_REQUEST; anything else fails the test.
fn read_stdout(stream: &mut UnixStream, mut take: impl FnMut(&[u8])) {
    let mut reader = io::BufReader::with_capacity(1 << 20, stream);
    let mut content = vec![0; 1 << 17];
    loop {
        let mut header = [0; 8];
        reader.read_exact(&mut header).expect("record");
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let rest = &mut content[..length + usize::from(header[6])];
        reader.read_exact(rest).expect("record");
        match header[1] {
            STDOUT => take(&rest[..length]),
            END_REQUEST => return assert_eq!(rest[..5], [0; 5]),
            other => panic!("record of type {other}: {}", String::from_utf8_lossy(&rest[..length])),
        }
    }
}

/// What follows the header block.
fn body(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    text.split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_else(|| panic!("no header block: {text}"))
}

/// Content that never repeats, made as it is sent, with the hash of what was made.
struct Content {
    left: usize,
    length: usize,
    state: u64,
    hash: u64,
    piece: Vec<u8>,
}

impl Content {
    fn new(length: usize) -> Content {
        Content {
            left: length,
            length,
            state: 0x9e37_79b9_7f4a_7c15,
            hash: 0xcbf2_9ce4_8422_2325,
            piece: Vec::new(),
        }
    }

    fn next(&mut self) -> Option<&[u8]> {
        self.piece.clear();
        let length = self.left.min(PIECE);
        while self.piece.len() < length {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            self.piece.extend(self.state.to_le_bytes());
        }
        self.piece.truncate(length);
        self.left -= length;
        let fnv1a64 = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        self.hash = self.piece.iter().fold(self.hash, fnv1a64);
        (length > 0).then_some(&self.piece)
    }

    fn summary(&self) -> String {
        format!("{} {:016x}", self.length, self.hash)
    }
}

/// Checks the streamed answer byte by byte as it arrives.
struct Pieces {
    head: Vec<u8>,
    in_body: bool,
    offset: usize,
}

impl Pieces {
    fn take(&mut self, mut content: &[u8]) {
        if !self.in_body {
            self.head.extend_from_slice(content);
            let Some(end) = self.head.windows(4).position(|window| window == b"\r\n\r\n") else { return };
            self.in_body = true;
            let body = self.head.split_off(end + 4);
            return self.take(&body);
        }
        while !content.is_empty() {
            let letter = b'A' + (self.offset / PIECE % 26) as u8;
            let (same, rest) = content.split_at(content.len().min(PIECE - self.offset % PIECE));
            assert!(same.iter().all(|&byte| byte == letter), "not {} at {}", char::from(letter), self.offset);
            self.offset += same.len();
            content = rest;
        }
    }
}

/// The worker and what it uses before a transfer.
struct Memory {
    worker: Process,
    resident: u64,
}

impl Memory {
    fn now(server: &Server) -> Memory {
        let workers = server.workers("www");
        let [worker] = workers[..] else { panic!("one worker, not {workers:?}") };
        // Sets VmHWM back to VmRSS (proc(5)); where that is not allowed, VmHWM still bounds what comes.
        let _ = std::fs::write(format!("/proc/{}/clear_refs", worker.pid), "5");
        Memory { worker, resident: kilobytes(worker, "VmRSS") }
    }

    fn expect_flat(&self, server: &Server) {
        assert_eq!(server.workers("www"), [self.worker], "the worker ended:\n{}", server.log());
        let peak = kilobytes(self.worker, "VmHWM");
        let before = self.resident;
        assert!(peak <= before + GROWTH, "the worker grew from {before} to {peak} KiB");
    }
}

fn kilobytes(process: Process, name: &str) -> u64 {
    let line = process.status_line(name).unwrap_or_else(|| panic!("no {name}"));
    line.trim_end_matches(" kB").parse().expect("a number")
}
