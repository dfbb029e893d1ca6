//! The slow log: backtraces of requests that run too long, read while they go on running (crate `trace`), written in
//! php-fpm's format. The file is opened for each entry, so that it may be moved away at any time.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use board::message::{Order, encode};
use config::Level;
use nix::errno::Errno;
use plan::PoolId;
use sys::memory;
use trace::{Layout, Piece, Trace, slow_log_entry};

use crate::allowance::Allowance;
use crate::heartbeat::limits;
use crate::log::errno_text;
use crate::log_file;
use crate::pool::Pool;
use crate::supervisor::Supervisor;

/// How a pool's workers are read. Known once the fork server's PHP is up.
#[derive(Debug, Default)]
pub(crate) struct Tracing {
    /// For the workers that are forked from now on.
    pub(crate) layout: Layout,
    /// The fork server reads for us: we may not.
    by_server: bool,
    /// By slot: the workers it has been asked about, and what it has told.
    asked: BTreeMap<u32, (u32, Trace)>,
    /// Our time: a worker that means harm can make its backtrace as long a work as the limits of `trace` let it be.
    allowance: Allowance,
}

impl Supervisor {
    /// The fork server `pid` has PHP started. What we may do with it we may do with its workers.
    pub(crate) fn prepare_traces(&mut self, pool: PoolId, pid: u32, layout: Layout) {
        let Pool { config, name, tracing, .. } = &mut self.pools[pool];
        if limits(config).slow == 0 {
            return;
        }
        let seen = memory::read(pid, &[(layout.current_frame, 8)], &mut Vec::new());
        let by_server = seen.is_err_and(|error| error.raw_os_error() != Some(Errno::EFAULT as i32));
        *tracing = Tracing {
            layout,
            by_server,
            asked: BTreeMap::new(),
            allowance: std::mem::take(&mut tracing.allowance),
        };
        if by_server {
            self.order(pool, &Order::PrepareTraces);
        } else {
            self.log
                .write(Level::Debug, format!("[pool {name}] backtraces of workers are read by the master"));
        }
    }

    /// Puts the backtrace of a request into the slow log.
    pub(crate) fn trace(&mut self, pool: PoolId, slot: u32, request: u64) {
        let Some(pid) = self.pools[pool].workers.get(&slot).map(|worker| worker.pid) else { return };
        self.pools[pool].board.header().slow_requests.fetch_add(1, Relaxed);
        self.log.write(Level::Notice, format!("about to trace {pid}"));
        if self.pools[pool].tracing.by_server {
            self.ask_for_trace(pool, slot, pid, request);
        } else {
            let trace = read_within_allowance(&mut self.pools[pool], slot, pid, request);
            self.write_trace(pool, pid, trace);
        }
    }

    fn ask_for_trace(&mut self, pool: PoolId, slot: u32, pid: u32, request: u64) {
        let depth = u32::try_from(depth(&self.pools[pool])).unwrap_or(u32::MAX);
        if self.order(pool, &Order::Trace { slot, pid, request, depth }) {
            self.pools[pool].tracing.asked.insert(slot, (pid, Trace::default()));
        } else {
            // It has ended, and its workers are children of ours now.
            self.write_trace(pool, pid, Err(Errno::EPERM.into()));
        }
    }

    fn order(&self, pool: PoolId, order: &Order) -> bool {
        let channel = self.pools[pool].server.as_ref().and_then(|server| server.channel.as_ref());
        channel.is_some_and(|channel| channel.try_send(&encode(order), &[]).is_ok())
    }

    /// A part of what a fork server has read.
    pub(crate) fn traced(
        &mut self,
        pool: PoolId,
        slot: u32,
        pid: u32,
        outcome: Result<Trace, i32>,
        more: bool,
    ) {
        let target = &mut self.pools[pool];
        let most = depth(target);
        let Some((asked, told)) = target.tracing.asked.get_mut(&slot).filter(|asked| asked.0 == pid) else {
            return;
        };
        let trace = match outcome {
            Ok(part) => {
                let mut frames = std::mem::take(&mut told.frames);
                frames.extend(part.frames);
                frames.truncate(most);
                *told = Trace { frames, ..part };
                if more {
                    return;
                }
                Ok(std::mem::take(told))
            }
            Err(errno) => Err(io::Error::from_raw_os_error(errno)),
        };
        let pid = *asked;
        target.tracing.asked.remove(&slot);
        self.write_trace(pool, pid, trace);
    }

    fn write_trace(&mut self, pool: PoolId, pid: u32, trace: io::Result<Trace>) {
        let pool = &self.pools[pool];
        let complaint = match (trace, &pool.config.slowlog) {
            (Ok(trace), Some(path)) => {
                let entry = slow_log_entry(&self.log.stamp(), &pool.name, pid, &trace);
                log_file::append(path, &entry).map_err(|error| {
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

fn read_within_allowance(pool: &mut Pool, slot: u32, pid: u32, request: u64) -> io::Result<Trace> {
    let begun = Instant::now();
    if !pool.tracing.allowance.is_left(begun) {
        return Err(Errno::ETIMEDOUT.into());
    }
    let trace = read(pool, slot, pid, request);
    pool.tracing.allowance.take(begun.elapsed());
    trace
}

/// Reads the worker in `slot`, provided that it still is the one with this process id, at this request.
fn read(pool: &Pool, slot: u32, pid: u32, request: u64) -> io::Result<Trace> {
    let read = |pieces: &[Piece], into: &mut Vec<u8>| memory::read(pid, pieces, into);
    let worker = pool.workers.get(&slot).filter(|worker| worker.pid == pid).ok_or(Errno::ESRCH)?;
    let trace = trace::take(&read, &worker.layout, depth(pool))?;
    if !worker.is_there() {
        // The number may have meant another process all the time.
        return Err(Errno::ESRCH.into());
    }
    let runs = pool.board.slots().get(slot as usize).is_some_and(|place| place.runs(request));
    // Of another request by now.
    Ok(if runs { trace } else { Trace::default() })
}

fn depth(pool: &Pool) -> usize {
    usize::try_from(pool.config.request_slowlog_trace_depth).unwrap_or(0)
}
