//! The web server's end of a connection: one request out, the STDOUT stream of its answer in. Everything that is not
//! the plain, complete answer to that request is an error; nothing is repaired or tried again.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use fastcgi::client::{self, Client, Event, Split};
use fastcgi::record::{ProtocolStatus, Role};

/// The bytes of a request; every connection sends the same ones.
pub(crate) struct Request(Vec<u8>);

/// No answer takes longer than this, or it does not come at all.
const PATIENCE: Duration = Duration::from_secs(10);

impl Request {
    /// GET of a script with the parameters nginx sends.
    pub(crate) fn get(script: &Path, keep: bool) -> Request {
        Request::with_query(script, keep, "")
    }

    /// The same with a query.
    pub(crate) fn with_query(script: &Path, keep: bool, query: &str) -> Request {
        let file = script.to_string_lossy();
        let root = script.parent().unwrap_or(Path::new("/")).to_string_lossy();
        let name = file.strip_prefix(&*root).unwrap_or_default();
        let params = [
            ("SCRIPT_FILENAME", &*file),
            ("QUERY_STRING", query),
            ("REQUEST_METHOD", "GET"),
            ("CONTENT_TYPE", ""),
            ("CONTENT_LENGTH", ""),
            ("SCRIPT_NAME", name),
            ("REQUEST_URI", name),
            ("DOCUMENT_URI", name),
            ("DOCUMENT_ROOT", &root),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REQUEST_SCHEME", "http"),
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("SERVER_SOFTWARE", "nginx/1.22.1"),
            ("REMOTE_ADDR", "192.0.2.7"),
            ("REMOTE_PORT", "40000"),
            ("SERVER_ADDR", "192.0.2.1"),
            ("SERVER_PORT", "80"),
            ("SERVER_NAME", "example.test"),
            ("REDIRECT_STATUS", "200"),
            ("HTTP_HOST", "example.test"),
            ("HTTP_USER_AGENT", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
            ("HTTP_ACCEPT", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            ("HTTP_ACCEPT_LANGUAGE", "en-US,en;q=0.5"),
            ("HTTP_ACCEPT_ENCODING", "gzip, deflate"),
        ];
        let params = params.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let request = client::Request {
            request_id: 1,
            role: Role::Responder,
            keep_connection: keep,
            params: &params,
            stdin: b"",
            split: Split::default(),
        };
        Request(request.encode())
    }

    /// What goes over the wire.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A connection to a pool. Its buffers serve every request, also after it was closed and opened again.
pub(crate) struct Connection {
    stream: Option<UnixStream>,
    received: Vec<u8>,
    stdout: Vec<u8>,
}

impl Connection {
    /// Not yet open.
    pub(crate) fn new() -> Connection {
        Connection { stream: None, received: vec![0; 128 * 1024], stdout: Vec::new() }
    }

    /// Connects, unless it is open.
    pub(crate) fn open(&mut self, socket: &Path) -> io::Result<()> {
        if self.stream.is_none() {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// Closes, as a web server does when it has the whole answer.
    pub(crate) fn close(&mut self) {
        self.stream = None;
    }

    /// Sends a request and returns the complete STDOUT stream of its answer. An error message on STDERR, another end
    /// than a complete request, or bytes behind it are errors.
    pub(crate) fn exchange(&mut self, request: &Request) -> io::Result<&[u8]> {
        self.send(request)?;
        self.receive()
    }

    /// The first half of [`Connection::exchange`].
    pub(crate) fn send(&mut self, request: &Request) -> io::Result<()> {
        self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?.write_all(&request.0)
    }

    /// The second half.
    pub(crate) fn receive(&mut self) -> io::Result<&[u8]> {
        self.stdout.clear();
        let mut stream = self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let mut answer = Client::new();
        loop {
            let read = stream.read(&mut self.received)?;
            if read == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "closed before the end of the answer",
                ));
            }
            if take(&mut answer, &self.received[..read], &mut self.stdout)? {
                return Ok(&self.stdout);
            }
        }
    }
}

/// Takes in what was received. `true` when the answer is complete.
pub(crate) fn take(answer: &mut Client, mut received: &[u8], stdout: &mut Vec<u8>) -> io::Result<bool> {
    let invalid = |text: String| Err(io::Error::new(io::ErrorKind::InvalidData, text));
    loop {
        let (used, event) =
            answer.next(received).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        received = &received[used..];
        match event {
            None => return Ok(false),
            Some(Event::Stdout(piece)) => stdout.extend_from_slice(piece),
            Some(Event::StdoutEnd | Event::StderrEnd) => {}
            Some(Event::End {
                request_id: 1,
                app_status: 0,
                protocol_status: ProtocolStatus::RequestComplete,
            }) => {
                return if received.is_empty() {
                    Ok(true)
                } else {
                    invalid("bytes behind the answer".into())
                };
            }
            Some(Event::Stderr(piece)) => {
                return invalid(format!("STDERR: {}", String::from_utf8_lossy(piece)));
            }
            Some(event) => return invalid(format!("unexpected {event:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: [u8; 16] = fastcgi::response::end_request(1, 0, ProtocolStatus::RequestComplete);

    fn check(stdout: &[u8], rest: &[u8], expected: Option<bool>) {
        let mut bytes = Vec::new();
        fastcgi::response::append_stream(&mut bytes, fastcgi::response::Stream::Stdout, 1, stdout);
        bytes.extend(rest);
        let mut taken = Vec::new();
        let result = take(&mut Client::new(), &bytes, &mut taken).ok();
        assert_eq!(result, expected, "{stdout:?} {rest:?}");
        assert!(result.is_none() || taken == stdout);
    }

    #[test]
    fn only_complete_answers_are_answers() {
        check(b"yes", &END, Some(true));
        check(b"yes", b"", Some(false));
        check(b"yes", &END[..15], Some(false));
        check(b"yes", &[END, END].concat(), None);
        check(b"yes", &fastcgi::response::end_request(1, 1, ProtocolStatus::RequestComplete), None);
        check(b"yes", &fastcgi::response::end_request(1, 0, ProtocolStatus::Overloaded), None);
        check(b"yes", &fastcgi::response::end_request(2, 0, ProtocolStatus::RequestComplete), None);
    }
}
