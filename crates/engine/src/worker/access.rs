//! The worker's access log: what it keeps of the current request, and its line, written at once to a file that the
//! master opened.

use std::ffi::CStr;
use std::net::IpAddr;
use std::os::fd::RawFd;

use board::message::PoolSpec;
use board::scoreboard::RequestInfo;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use observe::access::{Field, Format, LIMIT, Line, Request, Surroundings, is_suppressed};

use super::clock;
use super::params::Params;
use crate::log::{self, Level};
use crate::php::Text;

pub(super) struct AccessLog {
    fd: RawFd,
    format: Format,
    suppressed: &'static [Vec<u8>],
    pool: &'static [u8],
    master_pid: u32,
    pid: u32,
    line: Line,
    peer: Option<IpAddr>,
    /// When the current request began, seconds since the epoch.
    received: u64,
    texts: Texts,
    content_length: u64,
    /// The begin of a line has been written and its end has not: the disk is full.
    torn: bool,
    /// A line tells CPU time: what was used up to the last one, by user and system.
    cpu: Option<(u64, u64)>,
}

/// Texts of the current request; their room is used again.
#[derive(Default)]
struct Texts {
    method: Vec<u8>,
    uri: Vec<u8>,
    query: Vec<u8>,
    user: Vec<u8>,
    script: Vec<u8>,
}

/// How a request ended.
pub(super) struct Ended<'a> {
    pub(super) status: i32,
    pub(super) duration: u64,
    pub(super) peak_memory: u64,
    pub(super) params: &'a Params,
    pub(super) headers: &'a [Text],
}

impl AccessLog {
    /// `None` if the pool has none.
    pub(super) fn new(fd: RawFd, spec: &'static PoolSpec, pid: u32) -> Option<AccessLog> {
        let log = spec.access_log.as_ref()?;
        let format = Format::parse(&log.format).ok()?; // the master has checked it
        let shows_cpu = format.has(|field| matches!(field, Field::Cpu(_)));
        Some(AccessLog {
            fd,
            format,
            suppressed: &log.suppressed,
            pool: &spec.pool[..spec.pool.len().min(31)],
            master_pid: spec.master_pid,
            pid,
            line: Line::default(),
            peer: None,
            received: 0,
            texts: Texts::default(),
            content_length: 0,
            torn: false,
            cpu: shows_cpu.then(cpu_times),
        })
    }

    /// Lines hold the peer's address.
    pub(super) fn shows_peer(&self) -> bool {
        self.format.has(|field| matches!(field, Field::Peer))
    }

    /// Lines hold headers of the response.
    pub(super) fn shows_headers(&self) -> bool {
        self.format.has(|field| matches!(field, Field::Header(_)))
    }

    pub(super) fn new_connection(&mut self, peer: Option<IpAddr>) {
        self.peer = peer;
    }

    /// A request's first bytes are here.
    pub(super) fn begin(&mut self) {
        self.received = clock::epoch_seconds();
        let Texts { method, uri, query, user, script } = &mut self.texts;
        [method, uri, query, user, script].into_iter().for_each(Vec::clear);
        self.content_length = 0;
    }

    /// What the request is, is known.
    pub(super) fn remember(&mut self, info: &RequestInfo<'_>) {
        let info = info.cut();
        let Texts { method, uri, query, user, script } = &mut self.texts;
        let texts = [method, uri, query, user, script];
        for (kept, text) in texts.into_iter().zip([info.method, info.uri, info.query, info.user, info.script])
        {
            kept.extend_from_slice(text);
        }
        self.content_length = info.content_length;
    }

    /// Writes the request's line, unless it is to be left out.
    pub(super) fn write(&mut self, ended: &Ended<'_>) {
        let request = Request {
            method: &self.texts.method,
            uri: &self.texts.uri,
            query: &self.texts.query,
            user: &self.texts.user,
            script: &self.texts.script,
            pool: self.pool,
            content_length: self.content_length,
            status: ended.status,
            duration_us: ended.duration,
            memory: ended.peak_memory,
            cpu_us: cpu_used(&mut self.cpu),
            peer: self.peer,
            received: self.received,
            now: clock::epoch_seconds(),
            pid: self.pid,
            parent_pid: self.master_pid,
        };
        if is_suppressed(self.suppressed, &request) {
            return;
        }
        if let Some(line) = self.line.write(&self.format, &request, ended) {
            self.torn = write(self.fd, self.torn, line);
        }
        if self.line.is_cut() {
            let text =
                format!("the log buffer is full ({LIMIT}). The access log request has been truncated.");
            log::write(Level::Notice, text.as_bytes());
        }
    }
}

/// In one call, so that lines of several workers do not mix; a full disk is no reason to fail a request. True if only a
/// part has been written: the next line ends that one.
fn write(fd: RawFd, torn: bool, line: &[u8]) -> bool {
    let gap: &[u8] = if torn { b"\n" } else { b"" };
    let parts =
        [gap, line].map(|part| libc::iovec { iov_base: part.as_ptr() as *mut _, iov_len: part.len() });
    let written = match torn {
        // SAFETY: the descriptor is the log's, and the line that many bytes.
        false => unsafe { libc::write(fd, line.as_ptr().cast(), line.len()) },
        // SAFETY: as above; the parts are only read.
        true => unsafe { libc::writev(fd, parts.as_ptr(), 2) },
    };
    match usize::try_from(written) {
        Ok(written) => written < gap.len() + line.len() && (torn || written > 0),
        Err(_) => torn,
    }
}

impl Surroundings for Ended<'_> {
    fn param(&self, name: &[u8]) -> Option<&[u8]> {
        self.params.value(name)
    }

    fn headers(&self) -> impl Iterator<Item = &[u8]> {
        // SAFETY: as `write`'s caller made sure, each is a header that PHP holds until the request's end.
        self.headers.iter().map(|header| unsafe { header.bytes() }.unwrap_or_default())
    }

    fn local_time(&self, format: &CStr, epoch_seconds: u64, out: &mut [u8]) -> usize {
        sys::local_time::format(format, epoch_seconds, out)
    }
}

/// User and system time since the last call, with that of children that have been waited for, as php-fpm counts.
fn cpu_used(before: &mut Option<(u64, u64)>) -> (u64, u64) {
    let Some(before) = before else { return (0, 0) };
    let now = cpu_times();
    let (user, system) = std::mem::replace(before, now);
    (now.0.saturating_sub(user), now.1.saturating_sub(system))
}

fn cpu_times() -> (u64, u64) {
    let used = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN].map(|who| {
        let usage = getrusage(who).ok();
        let micros = |time: nix::sys::time::TimeVal| u64::try_from(time.num_microseconds()).unwrap_or(0);
        usage.map_or((0, 0), |usage| (micros(usage.user_time()), micros(usage.system_time())))
    });
    (used[0].0 + used[1].0, used[0].1 + used[1].1)
}
