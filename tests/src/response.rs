//! A FastCGI reply as text to compare: header lines in order, body, STDERR, end status. Bytes that are no text are
//! escaped, nothing is left out.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::client::Reply;

impl Reply {
    /// Everything before the empty line, one header per item.
    pub fn headers(&self) -> Vec<String> {
        let (head, _) = self.split();
        head.split("\r\n").filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// The value of the first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers().iter().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    /// The number of the Status header, 200 without one.
    pub fn status(&self) -> u16 {
        self.header("Status").and_then(|value| value.split(' ').next()?.parse().ok()).unwrap_or(200)
    }

    /// Everything after the empty line.
    pub fn body(&self) -> String {
        self.split().1
    }

    fn split(&self) -> (String, String) {
        let text = readable(&self.stdout);
        match text.split_once("\r\n\r\n") {
            Some((head, body)) => (head.to_owned(), body.to_owned()),
            None => (text, String::new()),
        }
    }

    /// Length and hash of the STDOUT stream, for outputs too large to be compared as text.
    pub fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.stdout.hash(&mut hasher);
        format!("{} bytes, {:016x}, {:?}", self.stdout.len(), hasher.finish(), self.end)
    }

    /// The whole reply as text.
    pub fn to_text(&self) -> String {
        let (head, body) = self.split();
        let stderr = readable(&self.stderr);
        let missing = if self.silent { "server silent" } else { "connection closed" };
        let end = self.end.map_or_else(|| missing.to_owned(), |(app, protocol)| format!("{app} {protocol}"));
        format!("{}\n\n{body}\n-- stderr: {stderr}\n-- end: {end}", head.replace("\r\n", "\n"))
    }
}

/// Bytes as text; what is not UTF-8 becomes `\xNN`.
pub fn readable(bytes: &[u8]) -> String {
    bytes.utf8_chunks().fold(String::with_capacity(bytes.len()), |mut text, chunk| {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
        text
    })
}
