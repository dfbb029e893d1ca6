//! The master's loop: wait for signals, reports, output and deadlines; turn them into events for the plan; apply what
//! comes back (`apply`). What children do and say is read in `children`.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Instant;

use config::{Global, Level};
use plan::timeouts::Timeouts;
use plan::{Event, Plan, PoolId, Pools, Request, Why};
use sys::daemon::Launcher;
use sys::process::Limit;
use sys::signals::Signals;

use crate::control::Control;
use crate::fork_server::Engine;
use crate::inheritance::Sockets;
use crate::log::Log;
use crate::pid_file::PidFile;
use crate::poller::{Poller, Source};
use crate::pool::Pool;
use crate::reexec::Origin;
use crate::reload::{Ask, Reload};
use crate::remains::Remains;
use crate::systemd::Systemd;
use crate::upgrade::Upgrade;

/// Signals the master answers to.
pub(crate) const SIGNALS: [i32; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGCHLD];
/// Those among them that must not kill the master before it listens to them; they wait.
pub(crate) const EARLY_SIGNALS: [i32; 4] = [SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD];
const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
pub(crate) const SIGQUIT: i32 = 3;
const SIGUSR1: i32 = 10;
const SIGUSR2: i32 = 12;
pub(crate) const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;
pub(crate) const SIGKILL: i32 = 9;

/// Everything the running master holds.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) log: Log,
    pub(crate) plan: Plan,
    pub(crate) timeouts: Timeouts,
    pub(crate) pools: Pools<Pool>,
    /// The generation of each pool that serves, by the pool's name.
    pub(crate) roster: BTreeMap<Vec<u8>, PoolId>,
    pub(crate) sockets: Sockets,
    /// The limit of open files we were started with: ours is higher.
    pub(crate) inherited_files: Option<Limit>,
    /// Reloads that were asked for and not begun.
    pub(crate) asks: Vec<Ask>,
    /// As the last start or reload has it.
    pub(crate) global: Global,
    pub(crate) reload: Option<Reload>,
    /// How long old workers have to hear that they are to finish.
    pub(crate) parting_until: Option<Instant>,
    /// When fork servers that start in the background get their share.
    pub(crate) step_forward_at: Option<Instant>,
    /// What a reload starts again.
    pub(crate) origin: Origin,
    pub(crate) systemd: Systemd,
    pub(crate) control: Control,
    pub(crate) upgrade: Upgrade,
    /// What the image before us left running.
    pub(crate) remains: Remains,
    pub(crate) engine: Engine,
    pub(crate) signals: Signals,
    pub(crate) poller: Poller,
    /// Where the pid file goes.
    pub(crate) pid_path: Option<PathBuf>,
    pub(crate) pid_file: Option<PidFile>,
    pub(crate) launcher: Option<Launcher>,
    /// Ready, and the output of workers is read.
    pub(crate) hears_workers: bool,
    pub(crate) events: VecDeque<Event>,
    /// The exit code, once the end is reached.
    pub(crate) outcome: Option<u8>,
}

impl Supervisor {
    /// Runs until the plan says that it is over; returns the exit code.
    pub(crate) fn run(mut self) -> u8 {
        self.feed(Event::Begin);
        while self.outcome.is_none() {
            let deadline = self.plan.next_deadline();
            let others = [
                self.timeouts.deadline(),
                self.systemd.deadline(),
                self.reload_deadline(),
                self.parting_deadline(Instant::now()),
                self.control.deadline(),
                self.upgrade.deadline(),
                self.remains.deadline(),
            ];
            let others = others.into_iter().flatten();
            let ready = match self.poller.wait(deadline.into_iter().chain(others).min()) {
                Ok(ready) => ready,
                Err(error) => {
                    self.log.write(Level::Error, format!("epoll_wait: {error}"));
                    Vec::new()
                }
            };
            // Signals first: what children do because of a Ctrl-C is no surprise then.
            self.take_signals();
            for source in ready {
                self.handle(source);
                self.work_off();
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.feed(Event::DeadlineReached);
            }
            self.hurry_reload(Instant::now());
            self.look_at_parting(Instant::now());
            self.work_off();
            self.beat(Instant::now());
            self.serve_systemd(Instant::now());
            self.serve_control(Instant::now());
            self.hurry_trial(Instant::now());
            self.see_off_remains(Instant::now());
        }
        self.outcome.unwrap_or(crate::exit_code::SOFTWARE)
    }

    /// Gives an event to the plan and applies what it decides, and what follows from that.
    pub(crate) fn feed(&mut self, event: Event) {
        self.events.push_back(event);
        self.work_off();
    }

    pub(crate) fn work_off(&mut self) {
        while let Some(event) = self.events.pop_front() {
            if self.outcome.is_some() {
                return;
            }
            for action in self.plan.on_event(event, Instant::now()) {
                self.apply(action);
            }
        }
    }

    fn handle(&mut self, source: Source) {
        // What became ready together with the end of a pool's last process finds no pool any more.
        if source.pool().is_some_and(|pool| self.pools.get(pool).is_none()) {
            return;
        }
        match source {
            Source::Signals => {}
            Source::LastSteps(pool) => self.hear_last_steps(pool),
            Source::Channel(pool) => self.take_reports(pool),
            Source::ServerOutput(pool) => self.drain_server(pool),
            Source::WorkerOutput(pool, slot, stream) => self.drain_worker(pool, slot, stream),
            Source::Wake(pool) => self.woken(pool),
            Source::Queue(pool) => self.look(pool, Why::Queue),
            Source::Control => self.take_peers(),
            Source::Peer(ticket) => self.hear_peer(ticket),
            Source::Trial => self.hear_trial(),
            Source::Remnant(id) => self.hear_remnant(id),
        }
    }

    fn take_signals(&mut self) {
        let mut children = false;
        while let Ok(Some(signal)) = self.signals.next() {
            if signal != SIGCHLD {
                // What workers said before somebody signalled us stands before it in the log.
                self.drain_workers();
            }
            match signal {
                SIGCHLD => children = true,
                SIGTERM | SIGINT => self.feed(Event::Asked(Request::Terminate(signal))),
                SIGQUIT => self.feed(Event::Asked(Request::Finish)),
                SIGUSR1 => self.feed(Event::Asked(Request::Reopen)),
                _ if self.global.reload_follows && self.has_new_program() => self.ask_upgrade(Vec::new()),
                _ => self.ask_reload(Ask::default(), Some(signal)),
            }
        }
        if children {
            self.log.write(Level::Debug, "received SIGCHLD");
            self.collect();
        }
    }
}
