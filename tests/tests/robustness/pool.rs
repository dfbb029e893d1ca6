//! A pool before and after: the same workers, all of them serving, with no more descriptors and memory than they had.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use cornac_tests::processes::Process;
use cornac_tests::{Client, Request, Server, wait};

/// What a worker may grow by, in KiB, whatever it was sent.
const GROWTH: u64 = 8 << 10;

/// The script `meet.php`: waits until `of` workers are in it, so that each of them has to come.
pub(crate) const MEET: &str = "<?php
$file = __DIR__ . '/../tmp/' . $_GET['meeting'];
file_put_contents($file, getmypid() . \"\\n\", FILE_APPEND | LOCK_EX);
for ($i = 0; $i < 2000 && count(array_unique(file($file))) < (int)$_GET['of']; $i++) { usleep(5000); }
echo getmypid();";

/// A pool and what its workers were like before.
pub(crate) struct Pool<'a> {
    pub(crate) server: &'a Server,
    pub(crate) name: &'static str,
    workers: Vec<(Process, usize, u64)>,
}

impl<'a> Pool<'a> {
    pub(crate) fn of(server: &'a Server, name: &'static str) -> Pool<'a> {
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

    pub(crate) fn connect(&self) -> io::Result<UnixStream> {
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
    pub(crate) fn expect_unharmed(&self) {
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
