//! The master: reads the configuration, opens logs and sockets, starts a fork server for each pool, and then only
//! waits, asks the plan, and applies what it says. One thread, no PHP, no network input.
//!
//! `start` is the way up, `supervisor` the loop, `children` what comes in, `apply` the actions; the other modules are
//! what they act with.
#![forbid(unsafe_code)]

mod access_log;
mod activation;
mod allowance;
mod apply;
mod build_id;
mod capture;
mod children;
pub mod control;
mod drain;
mod examine;
pub mod exit_code;
mod fork_server;
mod handover;
mod heartbeat;
mod identity;
mod inheritance;
mod load;
mod log;
mod log_file;
mod look;
mod mailbox;
mod open;
pub mod php;
mod pid_file;
mod poller;
mod pool;
mod queue;
mod reexec;
mod reload;
mod remains;
mod settings;
mod slow_log;
mod socket;
mod socket_file;
mod spec;
mod start;
mod supervisor;
mod systemd;
mod trial;
mod upgrade;
mod wake;

use std::path::PathBuf;

use board::message::PhpOptions;

pub use examine::examine;
pub use load::check;
pub use start::run;
pub use trial::{is_asked_for as is_trial, try_out};

/// What the command line asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Invocation {
    /// The configuration file.
    pub config: PathBuf,
    /// How it is to be read.
    pub options: config::Options,
    /// PHP's own options.
    pub php: PhpOptions,
    /// `-O`: log to stderr in the foreground although it is no terminal.
    pub force_stderr: bool,
    /// After an error say where in the configuration it comes from, and what to do; php-fpm does not.
    pub explain: bool,
}

impl Invocation {
    /// What `-d` sets a php.ini setting to.
    pub fn defined(&self, name: &[u8]) -> Option<Vec<u8>> {
        config::defined(&self.php.defines, name, &config::System)
    }
}
