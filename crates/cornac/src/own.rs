//! cornac's own sub-commands.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use master::{Invocation, exit_code};

use crate::docs::{self, Page};
use crate::{base_options, fpm};

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
    /// Configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// Write the log to stderr even where that is no terminal.
    #[arg(long)]
    log_to_stderr: bool,
}

#[derive(Debug, Args)]
struct Check {
    /// Configuration file.
    #[arg(value_name = "FILE")]
    config: Option<PathBuf>,
    /// The same, as with `run`.
    #[arg(short = 'c', long = "config", value_name = "FILE", conflicts_with = "config")]
    named: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// Show every directive with its value.
    #[arg(long)]
    dump: bool,
}

#[derive(Debug, Args)]
struct Reading {
    /// A second file with the same sections, read after the first.
    #[arg(long, value_name = "FILE")]
    overlay: Option<PathBuf>,
    /// Base of relative paths.
    #[arg(long, value_name = "FOLDER")]
    prefix: Option<PathBuf>,
    /// Let pools run as root.
    #[arg(long)]
    allow_root: bool,
}

/// Carries out our own command line; returns the exit code.
pub(crate) fn run(arguments: &[OsString]) -> u8 {
    match Own::try_parse_from(arguments) {
        Ok(Own { command: Command::Run(run) }) => {
            let mut invocation = match invocation(run.config, run.reading) {
                Ok(invocation) => invocation,
                Err(code) => return code,
            };
            invocation.force_stderr = run.log_to_stderr;
            master::run(&invocation)
        }
        Ok(Own { command: Command::Check(check) }) => {
            let invocation = invocation(check.config.or(check.named), check.reading);
            invocation.map_or_else(|code| code, |invocation| master::examine(&invocation, check.dump))
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
fn invocation(config: Option<PathBuf>, reading: Reading) -> Result<Invocation, u8> {
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
    let config = config.unwrap_or_else(|| fpm::default_path(&options));
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
