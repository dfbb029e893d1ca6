//! The slow log: backtraces of requests that run too long, read while they go on running (crate `trace`), written in
//! php-fpm's format. The file is opened for each entry, so that it may be moved away at any time.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use board::scoreboard::Stage;
use config::Level;
use nix::fcntl::OFlag;
use plan::PoolId;
use sys::memory;
use trace::{Layout, Piece, Trace, slow_log_entry};

use crate::log::errno_text;
use crate::pool::Pool;
use crate::supervisor::Supervisor;

/// How a pool's workers are read.
#[derive(Debug, Default)]
pub(crate) struct Tracing {
    /// Known once the fork server's PHP is up.
    layout: Layout,
}

impl Supervisor {
    /// The fork server `pid` has PHP started.
    pub(crate) fn prepare_traces(&mut self, pool: PoolId, _pid: u32, layout: Layout) {
        self.pools[pool].tracing.layout = layout;
    }

    /// Puts the backtrace of a request into the slow log.
    pub(crate) fn trace(&mut self, pool: PoolId, slot: u32, request: u64) {
        let Some(pid) = self.pools[pool].workers.get(&slot).map(|worker| worker.pid) else { return };
        self.pools[pool].board.header().slow_requests.fetch_add(1, Relaxed);
        self.log.write(Level::Notice, format!("about to trace {pid}"));
        let trace = read(&self.pools[pool], slot, pid, request);
        self.write_trace(pool, pid, trace);
    }

    fn write_trace(&mut self, pool: PoolId, pid: u32, trace: io::Result<Trace>) {
        let pool = &self.pools[pool];
        let complaint = match (trace, &pool.config.slowlog) {
            (Ok(trace), Some(path)) => {
                let entry = slow_log_entry(&self.log.stamp(), &pool.name, pid, &trace);
                append(path, &entry).map_err(|error| {
                    format!("unable to open slowlog ({}): {}", path.display(), errno_text(&error))
                })
            }
            (Ok(_), None) => Ok(()),
            (Err(error), _) => {
                Err(format!("failed to read the memory of child {pid}: {}", errno_text(&error)))
            }
        };
        if let Err(complaint) = complaint {
            self.log.write(Level::Error, complaint);
        }
        self.log.write(Level::Notice, format!("finished trace of {pid}"));
    }
}

/// Reads the worker in `slot`, provided that it still is the one with this process id, at this request.
fn read(pool: &Pool, slot: u32, pid: u32, request: u64) -> io::Result<Trace> {
    let read = |pieces: &[Piece], into: &mut Vec<u8>| memory::read(pid, pieces, into);
    let trace = trace::take(&read, &pool.tracing.layout, depth(pool))?;
    if !pool.workers.get(&slot).is_some_and(|worker| worker.pid == pid && worker.is_there()) {
        // The number may have meant another process all the time.
        return Err(nix::errno::Errno::ESRCH.into());
    }
    Ok(if runs(pool, slot, request) { trace } else { Trace::default() })
}

/// The request has not ended meanwhile.
fn runs(pool: &Pool, slot: u32, request: u64) -> bool {
    let place = pool.board.slots().get(slot as usize);
    place.is_some_and(|place| place.stage() == Stage::Running && place.view().request_started == request)
}

fn depth(pool: &Pool) -> usize {
    usize::try_from(pool.config.request_slowlog_trace_depth).unwrap_or(0)
}

/// Appends in one piece. Opened for reading too, and without waiting: a FIFO without a reader must not hold us up.
fn append(path: &Path, entry: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    options.read(true).append(true).create(true).mode(0o600).custom_flags(OFlag::O_NONBLOCK.bits());
    // A file system that is full is no reason to stop serving.
    options.open(path).map(|mut file| drop(file.write_all(entry)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn entries_follow_each_other_and_the_files_name() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("slow.log"), folder.path().join("slow.log.1"));
        append(&path, b"one\n").unwrap();
        append(&path, b"two\n").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        append(&path, b"three\n").unwrap();
        assert_eq!(std::fs::read(&moved).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"three\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(append(&folder.path().join("no/where"), b"x").is_err());
    }

    #[test]
    fn a_fifo_without_a_reader_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        append(&path, &[b'x'; 1 << 20]).unwrap();
    }
}
