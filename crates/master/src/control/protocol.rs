//! What is said on the control socket: text lines, so that a command and a master of different versions understand each
//! other as far as they can. Bytes in, values out, and back.
//!
//! ```text
//! command ─► cornac/1 reload [changed] [wait] [pool=NAME]…        one line, at most LONGEST_REQUEST bytes
//!         ─► cornac/1 upgrade [wait]
//! master  ◄─ taken                                                it is going to be done
//!         ◄─ note TEXT | error TEXT                               any number, with `wait` only
//!         ◄─ done | refused                                       the last line; without `wait`, `taken` is the last
//! ```
//!
//! Bytes of a name other than letters, digits and `-_.` are written `%XX`. A request with a word that the master does not
//! know is refused, for to do less than was asked would be wrong; an answer that the command does not know is passed over.

/// Longest request with its end of line.
pub const LONGEST_REQUEST: usize = 64 * 1024;
/// Longest line of an answer.
pub const LONGEST_ANSWER: usize = 2048;
/// Notes and errors of one answer.
pub const MOST_LINES: usize = 64;

/// Begins every request.
const GREETING: &str = "cornac/1";

/// What a command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Go on with the configuration as it is now.
    Reload {
        /// Names of pools; none: all, and the global settings.
        pools: Vec<Vec<u8>>,
        /// Those that would be the same afterwards are left alone.
        only_changed: bool,
        /// Say how it ended.
        wait: bool,
    },
    /// Go on with the executable as it is now.
    Upgrade {
        /// Say how it ended.
        wait: bool,
    },
}

/// A line of the master's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is going to be done.
    Taken,
    /// Worth knowing.
    Note(String),
    /// Why it was refused.
    Error(String),
    /// It has been done.
    Done,
    /// Everything is as it was.
    Refused,
}

impl Request {
    /// Whether the outcome is waited for.
    pub fn waits(&self) -> bool {
        match self {
            Request::Reload { wait, .. } | Request::Upgrade { wait } => *wait,
        }
    }

    /// The line, with its end.
    pub fn encode(&self) -> Vec<u8> {
        let mut words = vec![GREETING.to_owned()];
        match self {
            Request::Reload { pools, only_changed, .. } => {
                words.push("reload".to_owned());
                words.extend(only_changed.then(|| "changed".to_owned()));
                words.extend(pools.iter().map(|pool| format!("pool={}", escaped(pool))));
            }
            Request::Upgrade { .. } => words.push("upgrade".to_owned()),
        }
        words.extend(self.waits().then(|| "wait".to_owned()));
        (words.join(" ") + "\n").into_bytes()
    }

    /// A line without its end. `Err`: what is wrong with it.
    pub fn parse(line: &[u8]) -> Result<Request, String> {
        let line = std::str::from_utf8(line).map_err(|_| "it is no text".to_owned())?;
        let mut words = line.trim_end_matches('\r').split(' ').filter(|word| !word.is_empty());
        match words.next() {
            Some(GREETING) => {}
            Some(other) if other.starts_with("cornac/") => {
                return Err(format!("it speaks {other}, not {GREETING}"));
            }
            _ => return Err("it is no request".to_owned()),
        }
        let mut request = match words.next() {
            Some("reload") => Request::Reload { pools: Vec::new(), only_changed: false, wait: false },
            Some("upgrade") => Request::Upgrade { wait: false },
            other => return Err(unknown(other.unwrap_or_default())),
        };
        words.try_for_each(|word| request.take(word)).map(|()| request)
    }

    fn take(&mut self, word: &str) -> Result<(), String> {
        match (self, word) {
            (Request::Reload { wait, .. } | Request::Upgrade { wait }, "wait") => *wait = true,
            (Request::Reload { only_changed, .. }, "changed") => *only_changed = true,
            (Request::Reload { pools, .. }, word) => {
                let name = word.strip_prefix("pool=").and_then(unescaped).filter(|name| !name.is_empty());
                pools.push(name.ok_or_else(|| unknown(word))?);
            }
            _ => return Err(unknown(word)),
        }
        Ok(())
    }
}

fn unknown(word: &str) -> String {
    let shown: String = word.chars().take(32).map(|c| if c.is_control() { '?' } else { c }).collect();
    format!("this master does not know '{shown}'")
}

impl Answer {
    /// The line, with its end.
    pub fn encode(&self) -> Vec<u8> {
        let told = |word: &str, text: &str| {
            let mut line = format!("{word} {}", text.replace(|c: char| c.is_control(), " "));
            while line.len() >= LONGEST_ANSWER {
                line.pop();
            }
            line
        };
        let line = match self {
            Answer::Taken => "taken".to_owned(),
            Answer::Note(text) => told("note", text),
            Answer::Error(text) => told("error", text),
            Answer::Done => "done".to_owned(),
            Answer::Refused => "refused".to_owned(),
        };
        (line + "\n").into_bytes()
    }

    /// A line without its end; `None` for what a later master may say.
    pub fn parse(line: &[u8]) -> Option<Answer> {
        let line = String::from_utf8_lossy(line);
        let (word, text) = line.split_once(' ').unwrap_or((&line, ""));
        let text = || text.chars().filter(|c| !c.is_control()).collect();
        match word {
            "taken" => Some(Answer::Taken),
            "note" => Some(Answer::Note(text())),
            "error" => Some(Answer::Error(text())),
            "done" => Some(Answer::Done),
            "refused" => Some(Answer::Refused),
            _ => None,
        }
    }
}

fn escaped(name: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let one = |byte: &u8| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    name.iter().map(one).collect()
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok().filter(|text| !text.starts_with('+'))?;
                u8::from_str_radix(digits, 16).ok()?
            }
            byte => byte,
        });
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reload(pools: &[&[u8]], only_changed: bool, wait: bool) -> Request {
        Request::Reload { pools: pools.iter().map(|pool| pool.to_vec()).collect(), only_changed, wait }
    }

    #[test]
    fn requests_come_back_as_they_were() {
        for (request, line) in [
            (reload(&[], false, false), "cornac/1 reload\n"),
            (reload(&[], true, true), "cornac/1 reload changed wait\n"),
            (
                reload(&[b"www", b"a b%\n\xff="], false, true),
                "cornac/1 reload pool=www pool=a%20b%25%0A%FF%3D wait\n",
            ),
            (Request::Upgrade { wait: false }, "cornac/1 upgrade\n"),
            (Request::Upgrade { wait: true }, "cornac/1 upgrade wait\n"),
        ] {
            let encoded = request.encode();
            assert_eq!(std::str::from_utf8(&encoded).unwrap(), line);
            assert_eq!(Request::parse(encoded.strip_suffix(b"\n").unwrap()), Ok(request));
        }
        assert_eq!(Request::parse(b"cornac/1  reload  wait\r"), Ok(reload(&[], false, true)));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (line, reason) in [
            (&b""[..], "it is no request"),
            (b"GET / HTTP/1.0", "it is no request"),
            (b"reload", "it is no request"),
            (b"\xff\xfe", "it is no text"),
            (b"cornac/2 reload", "it speaks cornac/2, not cornac/1"),
            (b"cornac/1", "this master does not know ''"),
            (b"cornac/1 dance", "this master does not know 'dance'"),
            (b"cornac/1 \x1b[31m", "this master does not know '?[31m'"),
            (b"cornac/1 reload gently", "this master does not know 'gently'"),
            (b"cornac/1 reload pool=", "this master does not know 'pool='"),
            (b"cornac/1 reload pool=%4", "this master does not know 'pool=%4'"),
            (b"cornac/1 reload pool=%+4", "this master does not know 'pool=%+4'"),
            (b"cornac/1 upgrade changed", "this master does not know 'changed'"),
        ] {
            assert_eq!(Request::parse(line), Err(reason.to_owned()), "{:?}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn answers_are_lines_whatever_they_say() {
        for answer in [
            Answer::Taken,
            Answer::Done,
            Answer::Refused,
            Answer::Note("a".into()),
            Answer::Error("b c".into()),
        ] {
            let line = answer.encode();
            assert_eq!(Answer::parse(line.strip_suffix(b"\n").unwrap()), Some(answer));
        }
        assert_eq!(Answer::Error("two\nlines\0".into()).encode(), b"error two lines \n");
        let long = Answer::Note("é".repeat(LONGEST_ANSWER)).encode();
        assert!(long.len() <= LONGEST_ANSWER && long.ends_with("é\n".as_bytes()));
        assert_eq!(Answer::parse(b"sing a song"), None);
        assert_eq!(Answer::parse(b"error \x1b[31m"), Some(Answer::Error("[31m".into())));
    }
}
