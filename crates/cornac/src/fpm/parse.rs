//! Words to flags, by the rules of PHP's own option reader: joined short options, values attached, after `=` or in the
//! next word, long names in full, `--` and the first plain word end the options.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Short name, long name, takes a value.
const FLAGS: [(u8, &str, bool); 17] = [
    (b'c', "php-ini", true),
    (b'd', "define", true),
    (b'e', "profile-info", false),
    (b'h', "help", false),
    (b'i', "info", false),
    (b'm', "modules", false),
    (b'n', "no-php-ini", false),
    (b'?', "usage", false),
    (b'v', "version", false),
    (b't', "test", false),
    (b'p', "prefix", true),
    (b'g', "pid", true),
    (b'R', "allow-to-run-as-root", false),
    (b'D', "daemonize", false),
    (b'F', "nodaemonize", false),
    (b'O', "force-stderr", false),
    (b'y', "fpm-config", true),
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
        match FLAGS.iter().find(|(_, long, _)| long.as_bytes() == name) {
            Some((short, _, true)) => self.value(*short, attached),
            Some((short, _, false)) => Flag::Plain(*short),
            None => Flag::Unknown,
        }
    }

    fn short(&mut self) -> Flag {
        let Some((first, rest)) = self.joined.split_first() else { return Flag::Unknown };
        match FLAGS.iter().find(|(short, _, _)| short == first) {
            Some((short, _, true)) => {
                self.joined = &[];
                self.value(*short, rest.strip_prefix(b"=").unwrap_or(rest))
            }
            Some((short, _, false)) => {
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
