//! Reload: the configuration is read and checked while everything goes on, new sockets are bound, and PHP of the new
//! generation starts beside the old one. Only when all of that has succeeded does anything change; who serves goes on
//! until its successors do.
//!
//! ```text
//! Ask ─► CheckReload ─► check ─► choose ─► prepare ─► ReloadPrepared ─(PHP of all pools is up)─► CommitReload
//!                         └─ an error: refused ◄──┘        └─(one cannot start)─► AbandonReload: refused
//! ```
//!
//! php-fpm checks nothing before and is gone if the new configuration is wrong.

mod choice;
pub(crate) mod parting;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use board::message::{Order, encode};
use config::{Config, Diagnostic, Level};
use plan::{Event, Next, PoolId};
use sys::{process, users};

use crate::control::Ticket;
use crate::load::{Read, error};
use crate::log::printable;
use crate::open::{Opening, open_pools};
use crate::pid_file::PidFile;
use crate::pool::shown_name;
use crate::reexec::announcement;
use crate::settings::{pool_settings, settings};
use crate::start::{find_parts, limit_master};
use crate::supervisor::Supervisor;
use crate::{examine, socket};
use choice::{Choice, choose, merged, unknown};

/// What the log says after the errors.
const GIVEN_UP: &str = "reload is given up; everything goes on with the configuration it has";

/// What a reload shall cover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Names of pools; none: all, and the global settings.
    pub(crate) pools: Vec<Vec<u8>>,
    /// Those that would be the same afterwards are left alone.
    pub(crate) only_changed: bool,
    /// Who wants to know how it ended.
    pub(crate) tickets: Vec<Ticket>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The new generation serves; what has become of which pool.
    Done(Vec<String>),
    /// Everything is as it was; why.
    Refused(Vec<String>),
}

/// How long fork servers may take to look at the files of PHP's start-up; who takes longer counts as changed.
const LOOKING: Duration = Duration::from_secs(2);

/// How long PHP's start-up beside those who serve takes only what they leave over.
const STANDING_BACK: Duration = Duration::from_secs(1);

/// A reload under way.
#[derive(Debug, Default)]
pub(crate) struct Reload {
    /// Everything that has been asked for since the one before.
    asks: Vec<Ask>,
    /// All of it as one.
    ask: Ask,
    /// Fork servers that still look whether their PHP would start from the same files, and until when.
    asked: BTreeSet<PoolId>,
    patience: Option<Instant>,
    /// Those that have found the same.
    unchanged: BTreeSet<PoolId>,
    read: Option<Read>,
    config: Option<Config>,
    choice: Choice,
    /// What the log said of it that is an error.
    errors: Vec<String>,
    /// What has become of which pool.
    notes: Vec<String>,
}

impl Supervisor {
    /// Carried out when those before it are.
    pub(crate) fn ask_reload(&mut self, ask: Ask, signal: Option<i32>) {
        self.asks.push(ask);
        self.feed(Event::Asked(plan::Request::Reload(signal)));
    }

    /// What was asked for is looked at, and as far as that can be done beside what serves, prepared.
    pub(crate) fn check_reload(&mut self) {
        self.systemd_reloading();
        let asks = std::mem::take(&mut self.asks);
        let ask = merged(&asks);
        let only_changed = ask.only_changed;
        self.reload = Some(Reload { asks, ask, ..Reload::default() });
        if only_changed {
            self.ask_for_changes();
        }
        self.prepare_when_known();
    }

    /// Each fork server looks at its own files: some may lie where their pool's user can hold a reader up.
    fn ask_for_changes(&mut self) {
        let running = self.roster.values().copied().filter(|id| {
            let channel = self.pools[*id].server.as_ref().and_then(|server| server.channel.as_ref());
            channel.is_some_and(|channel| channel.try_send(&encode(&Order::CheckSources), &[]).is_ok())
        });
        let asked: BTreeSet<PoolId> = running.collect();
        if let Some(reload) = &mut self.reload {
            (reload.asked, reload.patience) = (asked, Some(Instant::now() + LOOKING));
        }
    }

    /// A fork server has looked.
    pub(crate) fn sources_checked(&mut self, pool: PoolId, changed: bool) {
        let Some(reload) = self.reload.as_mut().filter(|reload| reload.asked.contains(&pool)) else { return };
        reload.asked.remove(&pool);
        if !changed {
            reload.unchanged.insert(pool);
        }
        self.prepare_when_known();
    }

    /// When to go on without those that have not answered.
    pub(crate) fn reload_deadline(&self) -> Option<Instant> {
        let patience = self.reload.as_ref().and_then(|reload| reload.patience);
        patience.into_iter().chain(self.step_forward_at).min()
    }

    pub(crate) fn hurry_reload(&mut self, now: Instant) {
        if self.step_forward_at.is_some_and(|at| now >= at) {
            self.step_forward_at = None;
            self.pools.ids().into_iter().for_each(|pool| self.step_forward(pool));
        }
        if let Some(reload) = &mut self.reload
            && reload.patience.is_some_and(|until| now >= until)
        {
            reload.asked.clear();
            self.prepare_when_known();
            self.work_off();
        }
    }

    fn prepare_when_known(&mut self) {
        match &mut self.reload {
            Some(reload) if reload.asked.is_empty() => reload.patience = None,
            _ => return,
        }
        // A stop has begun while files were looked at.
        let stops = self.plan.is_stopping();
        let prepared = if stops { Err(vec![error("the master is stopping")]) } else { self.prepare_reload() };
        match prepared {
            Ok(next) => self.events.push_back(Event::ReloadPrepared(next)),
            Err(problems) => {
                problems.into_iter().for_each(|problem| self.diagnose_logged(problem));
                self.refuse_reload();
                self.events.push_back(Event::ReloadRefused);
            }
        }
    }

    fn prepare_reload(&mut self) -> Result<Next, Vec<Diagnostic>> {
        let (read, config) = examine::look_over(&self.origin.invocation)?;
        let one = |problem| vec![problem];
        let parts = find_parts(&config).map_err(one)?;
        self.turn_away(&config)?;
        let Some(reload) = &self.reload else { return Err(Vec::new()) };
        self.sockets.begin_round();
        self.sockets.note_addresses(&config.pools);
        let same_globals = config.global.is_like(&self.global);
        let same = |index: usize, id: PoolId| {
            let pool = &self.pools[id];
            same_globals
                && reload.unchanged.contains(&id)
                && config.pools[index].is_like(&pool.config)
                && !self.sockets.is_lost(&pool.socket.fd)
        };
        let choice = choose(&reload.ask, &config, &self.roster, same);
        let chosen: Vec<usize> = choice.renewed.iter().map(|(index, _)| *index).collect();
        for id in choice.kept.iter().filter_map(|id| self.pools.get(*id)) {
            self.sockets.keep(&id.socket.fd);
        }
        let opening = Opening {
            invocation: &self.origin.invocation,
            config: &config,
            parts: &parts,
            inherited_files: self.inherited_files,
            binds: true,
        };
        let opened = open_pools(&opening, &chosen, &mut self.sockets, &mut self.log);
        let opened = opened.and_then(|pools| self.sockets.check_idle_exit(&config.global).map(|()| pools));
        let opened = opened.inspect_err(|_| self.sockets.undo_round()).map_err(one)?;
        let mut next =
            Next { settings: settings(&config, false), removed: choice.removed.clone(), ..Next::default() };
        next.settings.pools = chosen.iter().map(|index| pool_settings(&config.pools[*index])).collect();
        for (mut pool, (_, replaces)) in opened.into_iter().zip(&choice.renewed) {
            // What the user before has left running must not get hold of the next one's connections.
            if let Some(before) =
                replaces.and_then(|id| self.pools.get(id)).filter(|old| old.user == pool.user)
            {
                pool.mailbox = before.mailbox.clone();
            }
            let id = self.pools.reserve();
            self.pools.insert(id, pool);
            self.limit_requests(id);
            next.arrivals.push((id, *replaces));
        }
        let Some(reload) = &mut self.reload else { return Err(Vec::new()) };
        (reload.read, reload.config, reload.choice) = (Some(read), Some(config), choice);
        Ok(next)
    }

    /// Who asks for a pool that is neither there nor going to be gets an answer of his own: the others are served.
    fn turn_away(&mut self, config: &Config) -> Result<(), Vec<Diagnostic>> {
        let Some(reload) = &mut self.reload else { return Ok(()) };
        let problem = |ask: &Ask| unknown(ask, config, &self.roster);
        let problems: Vec<String> = reload.asks.iter().filter_map(problem).collect();
        if problems.len() == reload.asks.len() && !problems.is_empty() {
            return Err(problems.into_iter().map(error).collect());
        }
        let (wrong, asks): (Vec<Ask>, Vec<Ask>) =
            std::mem::take(&mut reload.asks).into_iter().partition(|ask| problem(ask).is_some());
        reload.ask = merged(&asks);
        reload.asks = asks;
        for (ask, problem) in wrong.into_iter().zip(problems) {
            self.log.diagnose(&error(problem.clone()));
            self.answer(&ask.tickets, &Outcome::Refused(vec![problem]));
        }
        Ok(())
    }

    fn diagnose_logged(&mut self, mut problem: Diagnostic) {
        problem.logged = true;
        self.note_error(&String::from_utf8_lossy(&problem.text));
        self.log.diagnose(&problem);
    }

    /// Why an arriving pool shall not serve although its PHP has started: an extension is missing that the generation
    /// before had, or something of that kind.
    pub(crate) fn new_warning(&mut self, pool: PoolId, warnings: Vec<String>) -> Option<String> {
        let serving = self.roster.get(&self.pools[pool].config.name).copied();
        let before = serving.and_then(|id| self.pools.get(id)).map_or(&[][..], |pool| &pool.warnings);
        let new = warnings.iter().find(|warning| !before.contains(warning)).cloned();
        self.pools[pool].warnings = warnings;
        new.filter(|_| self.arrives(pool))
            .map(|warning| format!("PHP has started, but: {}", printable(&warning)))
    }

    /// Whoever waits for the reload is told as well.
    pub(crate) fn note_error(&mut self, text: &str) {
        if let Some(reload) = &mut self.reload {
            reload.errors.push(printable(text));
        }
    }

    /// Everything goes on as it was.
    fn refuse_reload(&mut self) {
        self.log.write(Level::Error, GIVEN_UP);
        self.systemd_reloaded();
        if let Some(reload) = self.reload.take() {
            self.conclude_reload(&reload.asks, &Outcome::Refused(reload.errors));
        }
    }

    /// A pool could not start: its fork server is gone, or about to be.
    pub(crate) fn abandon_reload(&mut self) {
        self.sockets.undo_round();
        self.refuse_reload();
    }

    /// PHP of all new pools is up.
    pub(crate) fn commit_reload(&mut self) {
        let Some(Reload { asks, ask, read: Some(read), config: Some(config), choice, .. }) =
            self.reload.take()
        else {
            return;
        };
        self.log.write(Level::Notice, announcement(&self.origin.words));
        if ask.pools.is_empty() {
            self.log.restore_stderr();
            self.log.begin_anew();
            read.settle(&self.origin.invocation, &mut self.log);
        }
        for line in self.sockets.kept() {
            self.log.write(Level::Notice, line);
        }
        self.bring_sockets_in_line(&config, &choice);
        self.sockets.close_unused();
        let notes = self.summary(&config, &choice);
        self.renew_roster(&config, &choice);
        if ask.pools.is_empty() {
            self.adopt_globals(&config);
        }
        if let Some(action) = self.timeouts.begin(Instant::now()) {
            self.apply(action);
        }
        self.log.announce();
        self.tie_stderr();
        self.log.write(Level::Notice, format!("fpm is running, pid {}", std::process::id()));
        self.reload = Some(Reload { asks, ask, notes, ..Reload::default() });
    }

    /// The new workers are there.
    pub(crate) fn reload_serves(&mut self) {
        if let Some(reload) = self.reload.take() {
            self.conclude_reload(&reload.asks, &Outcome::Done(reload.notes));
        }
    }

    fn conclude_reload(&mut self, asks: &[Ask], outcome: &Outcome) {
        let tickets: Vec<Ticket> = asks.iter().flat_map(|ask| ask.tickets.clone()).collect();
        self.answer(&tickets, outcome);
        let text = match outcome {
            Outcome::Done(_) => "reload is done".to_owned(),
            Outcome::Refused(errors) => format!("reload was refused for {} reason(s)", errors.len()),
        };
        self.log.write(Level::Debug, text);
    }

    /// Rights and queue of the sockets that stay, as the configuration has them now.
    fn bring_sockets_in_line(&mut self, config: &Config, choice: &Choice) {
        for (index, _) in &choice.renewed {
            let pool = &config.pools[*index];
            for problem in socket::bring_in_line(pool, &self.sockets, &mut self.log) {
                self.log.diagnose(&problem);
            }
        }
    }

    /// What becomes of which pool, for whoever waits for the outcome.
    fn summary(&self, config: &Config, choice: &Choice) -> Vec<String> {
        let renewed: Vec<usize> = choice.renewed.iter().map(|(index, _)| *index).collect();
        let names = |wanted: bool| {
            let here = |(index, pool): &(usize, &config::Pool)| {
                pool.status_of.is_none() && renewed.contains(index) == wanted
            };
            config.pools.iter().enumerate().filter(here).map(|(_, pool)| shown_name(&pool.name)).collect()
        };
        let gone = choice.removed.iter().filter_map(|id| self.pools.get(*id)).map(|pool| pool.name.clone());
        let groups: [(&str, Vec<String>); 3] =
            [("new workers", names(true)), ("left alone", names(false)), ("removed", gone.collect())];
        let told = groups.into_iter().filter(|(_, names)| !names.is_empty());
        told.map(|(what, names)| format!("{what}: {}", names.join(", "))).collect()
    }

    fn renew_roster(&mut self, config: &Config, choice: &Choice) {
        self.roster.retain(|_, id| !choice.removed.contains(id));
        let ids = self.pools.ids();
        let arrived = &ids[ids.len() - choice.renewed.len()..];
        for ((index, _), id) in choice.renewed.iter().zip(arrived) {
            self.roster.insert(config.pools[*index].name.clone(), *id);
        }
    }

    fn adopt_globals(&mut self, config: &Config) {
        let global = &config.global;
        self.global = global.clone();
        self.systemd.configure(global);
        if let Err(problem) = limit_master(global) {
            self.log.diagnose(&problem);
        }
        self.open_control();
        let path = global.pid.clone().filter(|path| !path.as_os_str().is_empty());
        if path == self.pid_path && self.pid_file.is_some() {
            return;
        }
        if let Some(Err(problem)) = self.pid_file.take().map(PidFile::remove) {
            self.log.diagnose(&problem);
        }
        self.pid_path = path;
        match self.pid_path.clone().map(PidFile::write).transpose() {
            Ok(file) => self.pid_file = file,
            Err(problem) => self.log.diagnose(&problem),
        }
    }

    /// The pool's workers are about to be asked to finish.
    pub(crate) fn retire(&mut self, pool: PoolId) {
        match self.is_left_alone(pool) {
            true => self.drain(pool),
            false => self.count_queue(pool),
        }
        let mailbox = &self.pools[pool].mailbox;
        let has_successor =
            self.pools.iter().any(|(id, other)| id != pool && Rc::ptr_eq(&other.mailbox, mailbox));
        match has_successor {
            true => self.retire_server(pool),
            false => self.drain_server_parking(pool),
        }
    }

    /// Nothing of the pool runs any more.
    pub(crate) fn forget(&mut self, pool: PoolId) {
        self.drop_wake(pool);
        self.pools.remove(pool);
        self.timeouts.remove(pool);
    }

    /// PHP's start-up of a generation that arrives takes what those who serve leave over. Only root can take that back.
    pub(crate) fn stand_back(&mut self, pool: PoolId) {
        if users::is_root() && self.arrives(pool) {
            self.run_only_when_idle(pool, true);
            self.step_forward_at = Some(Instant::now() + STANDING_BACK);
        }
    }

    /// Its PHP is up, or takes too long: from here on it is like the others.
    pub(crate) fn step_forward(&mut self, pool: PoolId) {
        if users::is_root() && self.arrives(pool) {
            self.run_only_when_idle(pool, false);
        }
    }

    fn run_only_when_idle(&self, pool: PoolId, only: bool) {
        if let Some(server) = self.pools[pool].server.as_ref().filter(|server| !server.ended) {
            let _ = process::only_when_idle(server.pid, only);
        }
    }

    fn arrives(&self, pool: PoolId) -> bool {
        self.roster.values().all(|id| *id != pool)
    }

    /// Nobody needs to be told of connections that wait there.
    pub(crate) fn unwatch(&mut self, pool: PoolId) {
        self.poller.forget(&self.pools[pool].socket.fd);
    }
}
