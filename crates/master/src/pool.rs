//! A pool as the master holds it: what its fork server needs, and what runs of it now.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

use board::scoreboard::{Board, Slot};
use sys::process::{Handle, Limit};
use sys::spawn::Rights;
use trace::Layout;

use crate::capture::{Capture, Style};
use crate::fork_server::ForkServer;
use crate::log::printable;
use crate::mailbox::Mailbox;
use crate::slow_log::Tracing;
use crate::socket::Socket;
use crate::socket_file::SocketFile;
use crate::supervisor::SIGQUIT;
use crate::wake::Wake;

/// One pool.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) config: config::Pool,
    /// Its name as log lines show it.
    pub(crate) name: String,
    /// The encoded `PoolSpec`.
    pub(crate) spec: Vec<u8>,
    /// User its workers run as.
    pub(crate) user: u32,
    /// Rights the fork server gets before exec.
    pub(crate) rights: Option<Rights>,
    /// The PHP executable.
    pub(crate) executable: PathBuf,
    /// The limit of open files we were started with: ours is higher, a pool's processes get the old one.
    pub(crate) inherited_files: Option<Limit>,
    /// Nice value of its processes.
    pub(crate) nice: Option<i32>,
    pub(crate) socket: Socket,
    /// The file of a unix socket.
    pub(crate) file: Option<SocketFile>,
    pub(crate) board_fd: OwnedFd,
    pub(crate) board: Board,
    /// The scoreboard of the pool whose status page this one serves.
    pub(crate) shown_board: Option<OwnedFd>,
    pub(crate) access_log: Option<File>,
    /// Workers wake us by it; from the first fork server on, unless there are always as many workers.
    pub(crate) wake: Option<Wake>,
    /// Kept connections go through it; all generations of the pool have the same one.
    pub(crate) mailbox: Rc<Mailbox>,
    /// It has been said that the queue's length cannot be found out.
    pub(crate) queue_unknown: bool,
    /// What PHP warned of when it started.
    pub(crate) warnings: Vec<String>,
    pub(crate) server: Option<ForkServer>,
    pub(crate) tracing: Tracing,
    /// By slot; from the order on.
    pub(crate) workers: BTreeMap<u32, Worker>,
}

/// A worker, ordered or alive.
#[derive(Debug)]
pub(crate) struct Worker {
    /// 0 until its birth is reported.
    pub(crate) pid: u32,
    /// Its fork server, or we.
    parent: u32,
    /// Empty where the process could not be identified as a child of its parent; then it gets no signals. That no
    /// descriptor was left may be over by the next attempt.
    handle: OnceCell<Handle>,
    pub(crate) capture: Option<Capture>,
    /// Where its backtraces are: the addresses are its own fork server's.
    pub(crate) layout: Layout,
}

/// How a pool's name looks in a log line.
pub(crate) fn shown_name(name: &[u8]) -> String {
    printable(&String::from_utf8_lossy(name))
}

impl Pool {
    /// How lines of this pool's workers are shown.
    pub(crate) fn style(&self) -> Style {
        Style {
            speaker: format!("[pool {}] child", self.name),
            decorated: self.config.decorate_workers_output,
        }
    }

    /// A worker was ordered into `slot`; its output, if it is caught, comes through these pipes.
    pub(crate) fn expect(&mut self, slot: u32, output: Option<(PipeReader, PipeReader)>) {
        let capture = output.map(|(stdout, stderr)| Capture::new(self.style(), Some(stdout), stderr));
        let layout = self.tracing.layout.clone();
        self.workers.insert(slot, Worker { pid: 0, parent: 0, handle: OnceCell::new(), capture, layout });
    }

    /// Signals a worker. SIGQUIT means to ask it: it arrives as a signal only where the worker waits, and interrupts no
    /// script.
    pub(crate) fn signal_worker(&self, slot: u32, signal: i32) {
        let Some(worker) = self.workers.get(&slot) else { return };
        let waits = || self.board.slots().get(slot as usize).is_some_and(Slot::ask);
        if signal != SIGQUIT || waits() {
            worker.signal(signal);
        }
    }
}

impl Worker {
    /// Its process id is known now. `parent` is who must have forked it.
    pub(crate) fn identify(&mut self, pid: u32, parent: u32) {
        (self.pid, self.parent, self.handle) = (pid, parent, OnceCell::new());
        self.handle();
    }

    fn handle(&self) -> Option<&Handle> {
        if self.handle.get().is_none()
            && let Ok(handle) = Handle::open_child_of(self.pid, self.parent)
        {
            let _ = self.handle.set(handle);
        }
        self.handle.get()
    }

    /// Sends a signal, if we are sure whom it would reach.
    pub(crate) fn signal(&self, signal: i32) {
        if let Some(handle) = self.handle() {
            let _ = handle.signal(signal);
        }
    }

    /// Its process id still means it, even if it has just ended.
    pub(crate) fn is_there(&self) -> bool {
        self.handle().is_some_and(|handle| handle.signal(0).is_ok())
    }

    /// It is the process it was said to be.
    pub(crate) fn is_identified(&self) -> bool {
        self.handle().is_some()
    }
}
