//! cornac's own sub-commands.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use master::control::protocol::Request;
use master::{Invocation, exit_code};

use crate::docs::{self, Page};
use crate::{ask, base_options, fpm};

/// FastCGI process manager for PHP, in php-fpm's place.
#[derive(Debug, Parser)]
#[command(name = "cornac", version, after_help = "See cornac(8), or docs/ in the sources.")]
struct Own {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve in the foreground.
    Run(Run),
    /// Say whether a configuration can be started from: all that `-t` tests, and PHP, sockets and names.
    Check(Check),
    /// Have the running master go on with the configuration as it is now, for these pools or for all.
    Reload(Reload),
    /// Have the running master become the executable that lies now where it was started from, with its process id and sockets.
    Upgrade(Reach),
    /// Print a page of the documentation.
    #[command(hide = true)]
    Docs {
        /// Which one.
        page: Page,
    },
    /// Take php-fpm's command line: `cornac fpm -h` shows it.
    #[command(disable_help_flag = true)]
    Fpm {
        /// php-fpm's options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    reading: Reading,
    /// Write the log to stderr even where that is no terminal.
    #[arg(long)]
    log_to_stderr: bool,
    /// What a master adds that tries this executable.
    #[arg(short = 't', hide = true)]
    trial: bool,
}

#[derive(Debug, Args)]
struct Check {
    /// Configuration file, as with --config.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// Show every directive with its value.
    #[arg(long)]
    dump: bool,
}

#[derive(Debug, Args)]
struct Reload {
    /// Only these pools; the global settings stay as they are.
    #[arg(value_name = "POOL")]
    pools: Vec<OsString>,
    /// Leave pools alone that would be the same afterwards: configuration, php.ini and its folder, socket file.
    #[arg(long)]
    changed: bool,
    #[command(flatten)]
    reach: Reach,
}

/// How to find the master, and how long to wait for it.
#[derive(Debug, Args)]
struct Reach {
    /// Say how it ended: status 0 when it is done, 1 when it was refused, with the reasons on stderr.
    #[arg(long)]
    wait: bool,
    // What is read says where the control socket is.
    #[command(flatten)]
    reading: Reading,
    /// The master's pid file, if its command line names one.
    #[arg(short = 'g', long, value_name = "FILE")]
    pid: Option<PathBuf>,
    /// The control socket itself; no configuration is read.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Give up after this time; else after 10, with --wait after 300.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: Option<u64>,
}

impl Reach {
    fn resolve(self) -> Result<ask::Reach, u8> {
        let Reach { wait, reading, pid, socket, timeout } = self;
        let mut invocation = invocation(reading)?;
        invocation.options.pid = pid;
        let patience = Duration::from_secs(timeout.unwrap_or(if wait { 300 } else { 10 }));
        Ok(ask::Reach { socket, invocation, patience })
    }
}

#[derive(Debug, Args)]
struct Reading {
    /// Configuration file; -y FILE does the same, as with php-fpm.
    #[arg(short, long, short_alias = 'y', alias = "fpm-config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// A second file with the same sections, read after the first.
    #[arg(long, value_name = "FILE")]
    overlay: Option<PathBuf>,
    /// Base of relative paths.
    #[arg(short, long, value_name = "FOLDER")]
    prefix: Option<PathBuf>,
    /// Let pools run as root.
    #[arg(long)]
    allow_root: bool,
}

/// Carries out our own command line; returns the exit code.
pub(crate) fn run(arguments: &[OsString]) -> u8 {
    match Own::try_parse_from(arguments) {
        Ok(Own { command: Command::Run(run) }) => {
            let mut invocation = match invocation(run.reading) {
                Ok(invocation) => invocation,
                Err(code) => return code,
            };
            invocation.force_stderr = run.log_to_stderr;
            match run.trial && master::is_trial() {
                true => master::try_out(&invocation),
                false if run.trial => {
                    let text = "cornac: -t is for the trial of an upgrade; `cornac check` looks at a configuration\n";
                    let _ = std::io::stderr().write_all(text.as_bytes());
                    exit_code::USAGE
                }
                false => master::run(&invocation),
            }
        }
        Ok(Own { command: Command::Check(check) }) => {
            let mut reading = check.reading;
            reading.config = check.file.or(reading.config);
            invocation(reading)
                .map_or_else(|code| code, |invocation| master::examine(&invocation, check.dump))
        }
        Ok(Own { command: Command::Reload(Reload { pools, changed, reach }) }) => {
            let pools = pools.into_iter().map(OsStringExt::into_vec).collect();
            let request = Request::Reload { pools, only_changed: changed, wait: reach.wait };
            reach.resolve().map_or_else(|code| code, |reach| ask::carry_out(&reach, &request))
        }
        Ok(Own { command: Command::Upgrade(reach) }) => {
            let request = Request::Upgrade { wait: reach.wait };
            reach.resolve().map_or_else(|code| code, |reach| ask::carry_out(&reach, &request))
        }
        Ok(Own { command: Command::Docs { page } }) => docs::print(page),
        // Reached only with options before the word; `main` takes `cornac fpm …` itself.
        Ok(Own { command: Command::Fpm { options } }) => fpm::run("cornac fpm", "cornac".as_ref(), &options),
        Err(error) => {
            let _ = error.print();
            if error.use_stderr() { exit_code::USAGE } else { exit_code::OK }
        }
    }
}

/// The sub-commands with their options, for the documentation.
pub(crate) fn command() -> clap::Command {
    Own::command()
}

/// `Err`: an exit code, and it has been said why.
fn invocation(reading: Reading) -> Result<Invocation, u8> {
    let mut options = base_options();
    options.daemonize = Some(false);
    options.allow_root = reading.allow_root;
    options.prefix = reading.prefix;
    // The usual overlay need not exist; one that was asked for has to.
    if let Some(named) = &reading.overlay
        && let Err(error) = named.metadata()
    {
        let text = format!("cornac: the overlay {} cannot be used: {error}\n", named.display());
        let _ = std::io::stderr().write_all(text.as_bytes());
        return Err(exit_code::CONFIGURATION);
    }
    options.overlay = reading.overlay.or(options.overlay);
    let config = reading.config.unwrap_or_else(|| fpm::default_path(&options));
    Ok(Invocation { config, options, explain: true, ..Invocation::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Own::command().debug_assert();
    }
}
