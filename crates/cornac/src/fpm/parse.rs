//! Words to flags, by the rules of PHP's own option reader: joined short options, values attached, after `=` or in the
//! next word, long names in full, `--` and the first plain word end the options.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// A row of the table of options.
pub(crate) struct Switch {
    /// After one dash.
    pub(crate) short: u8,
    /// After two dashes.
    pub(crate) long: &'static str,
    /// What its value is; `None` where it takes none.
    pub(crate) value: Option<&'static str>,
    /// What it does, for the man page.
    pub(crate) doc: &'static str,
}

const fn plain(short: u8, long: &'static str, doc: &'static str) -> Switch {
    Switch { short, long, value: None, doc }
}

const fn valued(short: u8, long: &'static str, value: &'static str, doc: &'static str) -> Switch {
    Switch { short, long, value: Some(value), doc }
}

/// All options.
pub(crate) const SWITCHES: [Switch; 17] = [
    valued(b'c', "php-ini", "path", "Look for php.ini in this folder, or read this file instead."),
    plain(b'n', "no-php-ini", "Read no php.ini."),
    valued(b'd', "define", "name[=value]", "Set a php.ini setting; may be repeated."),
    plain(b'e', "profile-info", "Compile scripts with extra information for debuggers and profilers."),
    valued(b'y', "fpm-config", "file", "The configuration file."),
    valued(b'p', "prefix", "folder", "What relative paths of the configuration are relative to."),
    valued(
        b'g',
        "pid",
        "file",
        "Write the master's process id to this file, unless the configuration names one.",
    ),
    plain(b't', "test", "Test the configuration and exit; given twice, show it as well."),
    plain(b'D', "daemonize", "Run in the background, whatever the configuration says."),
    plain(b'F', "nodaemonize", "Stay in the foreground, whatever the configuration says."),
    plain(b'O', "force-stderr", "In the foreground, write the log to stderr even where that is no terminal."),
    plain(b'R', "allow-to-run-as-root", "Let pools run as root."),
    plain(b'i', "info", "Show phpinfo() and exit."),
    plain(b'm', "modules", "List PHP's modules and exit."),
    plain(b'v', "version", "Show PHP's version and exit."),
    plain(b'h', "help", "Show php-fpm's usage text and exit."),
    plain(b'?', "usage", "The same."),
];

/// One option.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    Plain(u8),
    Valued(u8, Vec<u8>),
    /// No such option, or its value is missing.
    Unknown,
}

/// Reads options one after the other.
#[derive(Debug)]
pub(crate) struct Parser<'a> {
    words: &'a [OsString],
    /// What is left of a word of joined short options.
    joined: &'a [u8],
    ended: bool,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(words: &'a [OsString]) -> Parser<'a> {
        Parser { words, joined: &[], ended: false }
    }

    /// Whether words follow the options.
    pub(crate) fn words_left(&self) -> bool {
        !self.words.is_empty()
    }

    /// The next option; `None` at the end of the options.
    pub(crate) fn next(&mut self) -> Option<Flag> {
        if !self.joined.is_empty() {
            return Some(self.short());
        }
        let word = self.words.first().filter(|_| !self.ended)?.as_bytes();
        match word {
            b"--" => {
                self.words = &self.words[1..];
                self.ended = true;
                None
            }
            [b'-', b'-', long @ ..] => {
                self.words = &self.words[1..];
                Some(self.long(long))
            }
            [b'-', joined @ ..] if !joined.is_empty() => {
                self.words = &self.words[1..];
                self.joined = joined;
                Some(self.short())
            }
            _ => None,
        }
    }

    fn long(&mut self, text: &[u8]) -> Flag {
        let (name, attached) = match text.iter().position(|byte| *byte == b'=') {
            Some(equals) => (&text[..equals], &text[equals + 1..]),
            None => (text, &[][..]),
        };
        match SWITCHES.iter().find(|switch| switch.long.as_bytes() == name) {
            Some(Switch { short, value: Some(_), .. }) => self.value(*short, attached),
            Some(Switch { short, .. }) => Flag::Plain(*short),
            None => Flag::Unknown,
        }
    }

    fn short(&mut self) -> Flag {
        let Some((first, rest)) = self.joined.split_first() else { return Flag::Unknown };
        match SWITCHES.iter().find(|switch| switch.short == *first) {
            Some(Switch { short, value: Some(_), .. }) => {
                self.joined = &[];
                match rest.strip_prefix(b"=") {
                    // Only here may a value be empty.
                    Some(value) => Flag::Valued(*short, value.to_vec()),
                    None => self.value(*short, rest),
                }
            }
            Some(Switch { short, .. }) => {
                self.joined = rest;
                Flag::Plain(*short)
            }
            None => {
                self.joined = rest;
                Flag::Unknown
            }
        }
    }

    /// The value attached to the option, else the next word.
    fn value(&mut self, short: u8, attached: &[u8]) -> Flag {
        if !attached.is_empty() {
            return Flag::Valued(short, attached.to_vec());
        }
        let Some((next, rest)) = self.words.split_first() else { return Flag::Unknown };
        self.words = rest;
        Flag::Valued(short, next.as_bytes().to_vec())
    }
}
