//! What the plan decided, done. Nothing here decides; what fails becomes an event or a log line.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use board::message::{Order, encode};
use config::Level;
use plan::{Action, Event, FINISHING, PoolId, Why};
use sys::process;

use crate::capture::{self, Stream};
use crate::pid_file::PidFile;
use crate::poller::Source;
use crate::supervisor::{SIGKILL, Supervisor};
use crate::{exit_code, fork_server};

impl Supervisor {
    pub(crate) fn apply(&mut self, action: Action) {
        match action {
            Action::Log(level, text) => {
                if level >= Level::Error {
                    self.note_error(&text);
                }
                self.log.write(level, text);
            }
            Action::StartServer(pool) => self.start_server(pool),
            Action::CloseServer(pool) => self.close_server(pool),
            Action::KillServer(pool) => self.kill_server(pool),
            Action::ForkWorker { pool, slot } => self.order_worker(pool, slot),
            Action::SignalWorker { pool, slot, signal } => self.pools[pool].signal_worker(slot, signal),
            Action::Look { pool, why } => {
                if why == Why::Tick {
                    self.sample_queue(pool);
                    self.look_at_file(pool);
                }
                self.look(pool, why);
            }
            Action::Survey => self.survey(),
            Action::Arm { pool, occupied } => self.arm(pool, occupied),
            Action::WatchQueue(pool) => self.watch_queue(pool),
            Action::Drain(pool) => self.drain(pool),
            Action::CountQueue(pool) => self.count_queue(pool),
            Action::CountSaturation(pool) => self.count_saturation(pool),
            Action::Trace { pool, slot, request } => self.trace(pool, slot, request),
            Action::Announce => self.announce(),
            Action::TellReady => {
                self.tell_systemd_ready();
                self.hear_workers();
                self.reload_serves();
                self.upgrade_serves();
            }
            Action::TellStopping(how) => {
                self.systemd_stopping(how);
                self.stop_remains(how == FINISHING, Instant::now());
            }
            Action::CheckReload => self.check_reload(),
            Action::AwaitParting => self.await_parting(Instant::now()),
            Action::CommitReload => self.commit_reload(),
            Action::AbandonReload => self.abandon_reload(),
            Action::Unwatch(pool) => self.unwatch(pool),
            Action::Retire(pool) => self.retire(pool),
            Action::Forget(pool) => self.forget(pool),
            Action::TryProgram => self.try_program(),
            Action::HandOver => self.hand_over(),
            Action::Execute | Action::Exit if !self.remains.is_empty() => {
                self.remains.last_action = Some(action);
            }
            Action::Execute => self.execute_anew(),
            Action::ReopenLogs => self.reopen_logs(),
            Action::Fail { configuration } => {
                let code = if configuration { exit_code::CONFIGURATION } else { exit_code::SOFTWARE };
                self.fail(code);
            }
            Action::Exit => self.leave(),
        }
    }

    fn start_server(&mut self, pool: PoolId) {
        let mut complaints = Vec::new();
        let server = self
            .prepare_wake(pool)
            .and_then(|()| fork_server::start(&self.pools[pool], &self.engine, &mut complaints));
        for complaint in complaints {
            self.log.write(Level::Error, format!("[pool {}] {complaint}", self.pools[pool].name));
        }
        let started = server.and_then(|server| {
            let watched = || -> io::Result<()> {
                if let Some(last_steps) = &server.last_steps {
                    self.poller.watch(last_steps, Source::LastSteps(pool))?;
                }
                if let Some(channel) = &server.channel {
                    self.poller.watch(channel, Source::Channel(pool))?;
                }
                if let Some(stderr) = server.stderr.reader(Stream::Stderr) {
                    self.poller.watch(stderr, Source::ServerOutput(pool))?;
                }
                Ok(())
            };
            match watched() {
                Ok(()) => Ok(server),
                Err(error) => {
                    let _ = process::signal_child(server.pid, SIGKILL);
                    process::wait_for(server.pid);
                    Err(format!("cannot watch the fork server: {error}"))
                }
            }
        });
        match started {
            Ok(mut server) => {
                if !self.hears_workers {
                    server.stderr.hold();
                }
                self.pools[pool].server = Some(server);
                self.stand_back(pool);
            }
            Err(reason) => self.events.push_back(Event::ServerNotStarted { pool, reason }),
        }
    }

    fn close_server(&mut self, pool: PoolId) {
        let channel = self.pools[pool].server.as_mut().and_then(|server| server.channel.take());
        if let Some(channel) = channel {
            self.poller.forget(&channel);
        }
    }

    /// The parked connections of this generation go to the next one of the pool, whose fork server is up.
    pub(crate) fn retire_server(&mut self, pool: PoolId) {
        self.tell_server(pool, &Order::Retire);
    }

    /// The parked connections of the pool have no future.
    pub(crate) fn drain_server_parking(&mut self, pool: PoolId) {
        self.tell_server(pool, &Order::Drain);
    }

    fn tell_server(&mut self, pool: PoolId, order: &Order) {
        let server = self.pools[pool].server.as_ref();
        if let Some(channel) = server.and_then(|server| server.channel.as_ref()) {
            // One whose channel is full hangs; its parked connections end with it.
            let _ = channel.try_send(&encode(order), &[]);
        }
    }

    pub(crate) fn kill_server(&mut self, pool: PoolId) {
        if let Some(server) = self.pools[pool].server.as_ref().filter(|server| !server.ended) {
            let _ = process::signal_child(server.pid, SIGKILL);
        }
    }

    /// Sends the order, with the writing ends of two pipes where the worker's output is to be caught.
    fn order_worker(&mut self, pool: PoolId, slot: u32) {
        let target = &mut self.pools[pool];
        let pipes = || Ok((capture::pipe()?, capture::pipe()?));
        let output = match target.config.catch_workers_output.then(pipes).transpose() {
            Ok(output) => output,
            Err(error) => return self.order_failed(pool, slot, &error),
        };
        let (readers, writers) = output
            .map(|((out_reader, out), (err_reader, err))| ((out_reader, err_reader), [out, err]))
            .unzip();
        let fds: Vec<_> = writers.iter().flatten().map(AsFd::as_fd).collect();
        target.expect(slot, readers);
        let Some(channel) = target.server.as_ref().and_then(|server| server.channel.as_ref()) else { return };
        match channel.try_send(&encode(&Order::Fork { slot }), &fds) {
            Ok(()) => {}
            // The fork server has just died; its end voids all orders.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
            Err(error) => self.order_failed(pool, slot, &error),
        }
    }

    fn order_failed(&mut self, pool: PoolId, slot: u32, error: &io::Error) {
        self.pools[pool].workers.remove(&slot);
        let cause = crate::log::errno_text(error);
        self.events.push_back(Event::ForkFailed { pool, slot, cause });
    }

    /// All fork servers are up: from here on we are "running".
    fn announce(&mut self) {
        if let Some(path) = self.pid_path.clone() {
            match PidFile::write(path) {
                Ok(file) => self.pid_file = Some(file),
                Err(diagnostic) => {
                    self.log.diagnose(&diagnostic);
                    return self.fail(exit_code::CONFIGURATION);
                }
            }
        }
        self.open_control();
        self.log.announce();
        self.tie_stderr();
        self.log.write(Level::Notice, format!("fpm is running, pid {}", std::process::id()));
        if let Some(launcher) = self.launcher.take() {
            self.log.write(Level::Debug, "Sending \"1\" (OK) to parent");
            launcher.tell(exit_code::OK);
        }
        if let Some(action) = self.timeouts.begin(Instant::now()) {
            self.apply(action);
        }
        self.feed(Event::Announced);
    }

    pub(crate) fn tie_stderr(&mut self) {
        if let Err(error) = self.log.tie_stderr() {
            let cause = crate::log::errno_text(&error);
            self.log
                .write(Level::Warning, format!("failed to tie stderr fd with error_log fd: dup2(): {cause}"));
        }
    }

    fn reopen_logs(&mut self) {
        self.log.restore_stderr();
        match self.log.reopen() {
            Ok(()) => self.log.write(Level::Notice, "error log file re-opened"),
            Err(diagnostic) => {
                self.log.diagnose(&diagnostic);
                self.log.write(Level::Error, "unable to re-opened error log file");
            }
        }
        self.reopen_access_logs();
        self.tie_stderr();
    }

    /// The start failed: nothing is left running, and nothing of ours stays behind.
    fn fail(&mut self, code: u8) {
        for pool in self.pools.ids() {
            self.kill_server(pool);
            if let Some(server) = self.pools[pool].server.take() {
                if !server.ended {
                    process::wait_for(server.pid);
                }
                server.stderr.finish(server.pid, &mut self.log);
            }
        }
        self.sockets.unlink();
        self.log.write(Level::Error, "FPM initialization failed");
        self.end(code);
    }

    fn leave(&mut self) {
        if let Some(Err(diagnostic)) = self.pid_file.take().map(PidFile::remove) {
            self.log.diagnose(&diagnostic);
        }
        self.sockets.unlink();
        self.sockets.make_blocking();
        self.end(exit_code::OK);
    }

    pub(crate) fn end(&mut self, code: u8) {
        self.close_control();
        self.end_trial();
        if let Some(file) = self.pid_file.take() {
            let _ = file.remove();
        }
        if let Some(launcher) = self.launcher.take() {
            self.log.write(Level::Debug, "Sending \"0\" (error) to parent");
            launcher.tell(code);
        }
        self.outcome = Some(code);
    }
}
