//! Backtraces that the fork server reads for a master that may not: itself where the kernel allows it (workers that
//! are dumpable), else through the companions that its workers then start with.

use std::io;

use board::message::Report;
use board::scoreboard::Slot;
use nix::errno::Errno;
use nix::unistd::{ForkResult, Uid, fork};
use sys::{memory, process};
use trace::{Frame, Layout, Memory, Piece, Trace};

use crate::companion::Companion;
use crate::log::{self, Level};
use crate::php;

/// Texts of frames that a message has room for beside the script's, with what belongs to each frame.
const ROOM: usize = 60 * 1024;
const FRAME: usize = 32;

/// Who reads the workers, in the order of preference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The master, or nobody has asked.
    #[default]
    Master,
    /// This process.
    ForkServer,
    /// Each worker's companion.
    Companion,
    /// Nobody may.
    Nobody,
}

/// The master cannot read our workers: finds out who can, and says so.
pub(crate) fn choose() -> Reader {
    let (reader, who) = if may_read_children() {
        (Reader::ForkServer, "by their fork server")
    } else if Uid::effective().is_root() {
        // A script that gives up being root must not leave anything behind that did not.
        (Reader::Nobody, "by nobody: the workers run as root, which the master may not read")
    } else {
        (Reader::Companion, "through a companion task in each of them")
    };
    log::write(Level::Debug, format!("backtraces of workers are read {who}").as_bytes());
    reader
}

/// Tried with a child that is as our workers are.
fn may_read_children() -> bool {
    // SAFETY: this process has one thread; the child only asks the kernel for its end and waits for it.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { child }) => {
            let pid = child.as_raw() as u32;
            let readable = memory::read(pid, &[(php::layout().current_frame, 8)], &mut Vec::new()).is_ok();
            let _ = process::signal_child(pid, libc::SIGKILL);
            process::wait_for(pid);
            readable
        }
        Ok(ForkResult::Child) => {
            // SAFETY: PR_SET_PDEATHSIG takes a signal number.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            loop {
                // SAFETY: pause has no preconditions.
                unsafe { libc::pause() };
            }
        }
        Err(_) => false,
    }
}

/// What the master is told about a worker, in as many messages as it takes.
pub(crate) fn reports(slot: u32, pid: u32, outcome: io::Result<Trace>) -> Vec<Report> {
    let report = |outcome, more| Report::Trace { slot, pid, outcome, more };
    let mut rest = match outcome {
        Ok(trace) => trace,
        Err(error) => return vec![report(Err(error.raw_os_error().unwrap_or(Errno::EIO as i32)), false)],
    };
    let mut reports = Vec::new();
    loop {
        let mut part = rest.clone();
        part.frames.truncate(fitting(&rest.frames));
        rest.frames.drain(..part.frames.len());
        let more = !rest.frames.is_empty();
        reports.push(report(Ok(part), more));
        if !more {
            return reports;
        }
    }
}

/// How many of these frames a message can carry; at least one of any.
fn fitting(frames: &[Frame]) -> usize {
    let mut used = 0;
    let fits = frames.iter().take_while(|frame| {
        used += FRAME + frame.function.len() + frame.file.len();
        used <= ROOM
    });
    fits.count()
}

/// Reads the request that runs in a worker, unless it has ended meanwhile.
pub(crate) fn take(
    reader: Reader,
    pid: u32,
    companion: Option<&Companion>,
    place: &Slot,
    request: u64,
    depth: u32,
) -> io::Result<Trace> {
    let layout = php::layout();
    let trace = match (reader, companion) {
        (Reader::ForkServer, _) => {
            let read = |pieces: &[Piece], into: &mut Vec<u8>| memory::read(pid, pieces, into);
            walk(&read, &layout, depth)
        }
        (Reader::Companion, Some(companion)) => walk(&companion.memory(depth), &layout, depth),
        _ => Err(Errno::EPERM.into()),
    }?;
    Ok(if place.runs(request) { trace } else { Trace::default() })
}

fn walk(memory: &impl Memory, layout: &Layout, depth: u32) -> io::Result<Trace> {
    trace::take(memory, layout, depth as usize)
}
