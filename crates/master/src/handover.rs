//! What a master hands on to the program that it becomes: everything that runs, by numbers of descriptors that stay open.
//! The next image finds it in an anonymous file that CORNAC_HANDOVER names, and lets it run until its own workers serve
//! (`remains`).
//!
//! The file begins with the version of its own format. A trial (`trial`) says up to which one the other program reads;
//! one that reads none gets the listening sockets alone.

use std::env;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{OwnedFd, RawFd};

use board::message::{decode, encode};
use serde::{Deserialize, Serialize};
use sys::{inherited, shm};

/// `PID:DESCRIPTOR`.
pub(crate) const VARIABLE: &str = "CORNAC_HANDOVER";
/// Of the format.
pub(crate) const VERSION: u32 = 1;
/// More is not read.
const LONGEST: u64 = 64 << 20;

/// Everything.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handover {
    /// Of the messages and scoreboards that the generations know.
    pub(crate) messages: u32,
    /// The control socket's path and descriptor.
    pub(crate) control: Option<(Vec<u8>, RawFd)>,
    /// Commands that wait for the outcome.
    pub(crate) waiting: Vec<RawFd>,
    pub(crate) generations: Vec<Generation>,
}

/// A generation of a pool.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Generation {
    pub(crate) pool: Vec<u8>,
    /// How its workers' output is logged.
    pub(crate) decorated: bool,
    pub(crate) server: Option<Server>,
    pub(crate) board: Option<RawFd>,
    /// Where its workers wake the master.
    pub(crate) wake: Option<RawFd>,
    /// Ends of the fork server and of the workers; generations of a pool have the same.
    pub(crate) mailbox: Option<(RawFd, RawFd)>,
    pub(crate) workers: Vec<Worker>,
}

/// Its fork server.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    pub(crate) pid: u32,
    pub(crate) channel: Option<RawFd>,
    pub(crate) stderr: Option<RawFd>,
}

/// One of its workers.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Worker {
    pub(crate) slot: u32,
    pub(crate) pid: u32,
    pub(crate) stdout: Option<RawFd>,
    pub(crate) stderr: Option<RawFd>,
}

impl Handover {
    /// The file, at its start.
    pub(crate) fn write(&self) -> io::Result<OwnedFd> {
        let bytes = [VERSION.to_le_bytes().as_slice(), &encode(self)].concat();
        let mut file = File::from(shm::create(c"cornac-handover", bytes.len())?);
        file.write_all(&bytes)?;
        file.rewind()?;
        Ok(file.into())
    }

    /// What the image of this process before us left, if it left something.
    pub(crate) fn find() -> Option<Handover> {
        let number = parse(&env::var(VARIABLE).ok()?, std::process::id())?;
        let mut bytes = Vec::new();
        File::from(inherited::take(number).ok()?).take(LONGEST).read_to_end(&mut bytes).ok()?;
        read(&bytes)
    }
}

/// The variable of another process, that came down by inheritance, means nothing.
fn parse(text: &str, own: u32) -> Option<RawFd> {
    let (pid, number) = text.split_once(':')?;
    (pid.parse() == Ok(own)).then(|| number.parse().ok())?
}

fn read(bytes: &[u8]) -> Option<Handover> {
    let (version, rest) = bytes.split_first_chunk()?;
    (u32::from_le_bytes(*version) == VERSION).then(|| decode(rest).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_as_it_was() {
        let worker = Worker { slot: 1, pid: 7, stdout: Some(8), stderr: None };
        let server = Server { pid: 6, channel: Some(4), stderr: Some(5) };
        let generation = Generation {
            pool: b"www\xff".to_vec(),
            server: Some(server),
            board: Some(9),
            mailbox: Some((10, 11)),
            workers: vec![worker],
            ..Generation::default()
        };
        let all = Handover {
            messages: 3,
            control: Some((b"/c".to_vec(), 12)),
            waiting: vec![13],
            generations: vec![generation],
        };
        let mut bytes = Vec::new();
        File::from(all.write().unwrap()).read_to_end(&mut bytes).unwrap();
        assert_eq!(read(&bytes), Some(all));
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), None, "{cut}");
        }
        bytes[0] += 1;
        assert_eq!(read(&bytes), None);
    }

    #[test]
    fn only_our_own_is_taken() {
        assert_eq!(parse("5:3", 5), Some(3));
        for text in ["6:3", "5", "5:", "5:x", "", "x:3"] {
            assert_eq!(parse(text, 5), None, "{text}");
        }
    }
}
