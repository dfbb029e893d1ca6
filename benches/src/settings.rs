//! Whether both servers run the same PHP with the same settings. A comparison of unequal ones is none.

use std::path::Path;

use crate::wire::{Connection, Request};

/// What the settings script answered, line by line.
pub(crate) struct Settings(Vec<String>);

impl Settings {
    /// Asks a server that has just started.
    pub(crate) fn ask(name: &str, socket: &Path, script: &Path) -> Result<Settings, String> {
        let request = Request::get(script, false);
        let mut connection = Connection::new();
        let reply = connection.open(socket).and_then(|()| connection.exchange(&request));
        let reply = reply.map_err(|error| format!("{}: {error}", name))?;
        let text = String::from_utf8_lossy(reply);
        let (_, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("{}: no answer: {text}", name))?;
        let settings = Settings(body.lines().map(str::to_owned).collect());
        match settings.value("opcache") {
            Some("on") => Ok(settings),
            _ => Err(format!("{}: opcache is not on:\n{text}", name)),
        }
    }

    /// The value of one line, without quotes.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix('=')?.trim_matches('"')))
    }

    /// `Err` lists what differs.
    pub(crate) fn expect_equal(&self, other: &Settings) -> Result<(), String> {
        let missing_in = |one: &Settings, other: &Settings, sign: &str| -> Vec<String> {
            let lines = other.0.iter().filter(|line| !one.0.contains(line));
            lines.map(|line| format!("  {sign} {line}")).collect()
        };
        let lines = [missing_in(other, self, "-"), missing_in(self, other, "+")].concat();
        if lines.is_empty() { Ok(()) } else { Err(format!("the settings differ:\n{}", lines.join("\n"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(lines: &[&str]) -> Settings {
        Settings(lines.iter().map(|line| (*line).to_owned()).collect())
    }

    #[test]
    fn differences_are_named() {
        let (one, other) = (settings(&["a=1", "b=\"x\""]), settings(&["a=2", "b=\"x\""]));
        assert_eq!(one.expect_equal(&one), Ok(()));
        assert_eq!(one.expect_equal(&other), Err("the settings differ:\n  - a=1\n  + a=2".into()));
        assert_eq!(one.value("b"), Some("x"));
    }
}
