//! The command line: how much to measure. Nothing here decides how it is measured.

use crate::lifecycle::MEASUREMENTS;

/// What to compare.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// What a request costs.
    Cost(Options),
    /// What a request notices of reloads and the like.
    Lifecycle(Lifecycle),
}

/// How much of the lifecycle to measure.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Lifecycle {
    /// A minute to try it out; no figure for anybody.
    pub(crate) quick: bool,
    /// Nothing but these.
    pub(crate) only: Option<Vec<String>>,
}

/// How much of the cost to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// How often each load runs on each server.
    pub(crate) rounds: usize,
    /// Requests per load, server and round.
    pub(crate) requests: usize,
    /// Connections open at the same time; more than the pools have workers would let kept connections starve.
    pub(crate) connections: usize,
}

pub(crate) const USAGE: &str = "usage: cornac-benches [--rounds N] [--requests N] [--connections N]
       cornac-benches lifecycle [--quick] [--only NAME,…]

  --rounds N        how often each load runs on each server, interleaved (default 31)
  --requests N      requests per load, server and round (default 3000)
  --connections N   connections open at the same time, at most one per worker (default 4)

  --quick           a minute instead of ten, to try it out; nothing is saved
  --only NAME,…     of reload, refused, activation, starvation, spike; nothing is saved

environment:
  CORNAC_BIN        the cornac to measure (default target/release/cornac)
  PHP_FPM_BIN       the php-fpm to measure against (default: the installed one)";

impl Default for Options {
    fn default() -> Options {
        Options { rounds: 31, requests: 3000, connections: crate::server::WORKERS }
    }
}

impl Command {
    /// Reads the words after the program's name. `Err` holds what is wrong.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Command, String> {
        let mut words = words.into_iter().peekable();
        if words.next_if(|word| word == "lifecycle").is_none() {
            return Options::parse(words).map(Command::Cost);
        }
        let mut options = Lifecycle::default();
        while let Some(word) = words.next() {
            let (name, value) =
                word.split_once('=').map_or((&*word, None), |(name, value)| (name, Some(value)));
            match name {
                "--quick" if value.is_none() => options.quick = true,
                "--only" => {
                    let value = value.map(str::to_owned).or_else(|| words.next());
                    let names = value.ok_or("--only: value missing")?;
                    let names: Vec<String> = names.split(',').map(str::to_owned).collect();
                    let known = |name: &&String| MEASUREMENTS.iter().any(|(known, _)| known == *name);
                    if let Some(unknown) = names.iter().find(|name| !known(name)) {
                        return Err(format!("--only: there is no {unknown}"));
                    }
                    options.only = Some(names);
                }
                _ => return Err(format!("{word}: unknown option")),
            }
        }
        Ok(Command::Lifecycle(options))
    }
}

impl Options {
    fn parse(words: impl IntoIterator<Item = String>) -> Result<Options, String> {
        let mut options = Options::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let (name, value) =
                word.split_once('=').map_or((&*word, None), |(name, value)| (name, Some(value)));
            let (target, most) = match name {
                "--rounds" => (&mut options.rounds, 1_000),
                "--requests" => (&mut options.requests, 10_000_000),
                "--connections" => (&mut options.connections, crate::server::WORKERS),
                _ => return Err(format!("{name}: unknown option")),
            };
            let value = value.map(str::to_owned).or_else(|| words.next());
            let value = value.ok_or_else(|| format!("{name}: value missing"))?;
            let number = value.parse().ok().filter(|number| (1..=most).contains(number));
            *target = number.ok_or_else(|| format!("{name}: a number from 1 to {most}, not {value}"))?;
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], expected: Result<(usize, usize, usize), &str>) {
        let parsed = Options::parse(words.iter().map(|word| (*word).to_owned()));
        let parsed = parsed.map(|o| (o.rounds, o.requests, o.connections));
        assert_eq!(parsed, expected.map_err(str::to_owned), "{words:?}");
    }

    #[test]
    fn words_become_options() {
        check(&[], Ok((31, 3000, 4)));
        check(&["--rounds", "3", "--requests=50"], Ok((3, 50, 4)));
        check(&["--rounds"], Err("--rounds: value missing"));
        check(&["--rounds", "0"], Err("--rounds: a number from 1 to 1000, not 0"));
        check(&["--connections", "5"], Err("--connections: a number from 1 to 4, not 5"));
        check(&["--speed"], Err("--speed: unknown option"));
    }

    #[test]
    fn the_lifecycle_has_words_of_its_own() {
        let check = |words: &[&str], expected: Result<Lifecycle, &str>| {
            let words = ["lifecycle"].iter().chain(words).map(|word| (*word).to_owned());
            let expected = expected.map(Command::Lifecycle).map_err(str::to_owned);
            assert_eq!(Command::parse(words), expected);
        };
        check(&[], Ok(Lifecycle::default()));
        let only = Some(vec!["reload".to_owned()]);
        check(&["--quick", "--only", "reload"], Ok(Lifecycle { quick: true, only }));
        check(&["--only=stop"], Err("--only: there is no stop"));
        check(&["--only"], Err("--only: value missing"));
        check(&["--rounds"], Err("--rounds: unknown option"));
    }
}
