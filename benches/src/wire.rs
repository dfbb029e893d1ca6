//! The web server's end of a connection: one request out, the STDOUT stream of its answer in. Everything that is not
//! the plain, complete answer to that request is an error; nothing is repaired or tried again.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use fastcgi::params;
use fastcgi::record::{HEADER_LEN, Header, RecordType};

/// The bytes of a request; every connection sends the same ones.
pub(crate) struct Request(Vec<u8>);

/// No answer takes longer than this, or it does not come at all.
const PATIENCE: Duration = Duration::from_secs(10);

impl Request {
    /// GET of a script with the parameters nginx sends.
    pub(crate) fn get(script: &Path, keep: bool) -> Request {
        let file = script.to_string_lossy();
        let root = script.parent().unwrap_or(Path::new("/")).to_string_lossy();
        let name = file.strip_prefix(&*root).unwrap_or_default();
        let params = [
            ("SCRIPT_FILENAME", &*file),
            ("QUERY_STRING", ""),
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
        let content = params::encode(params);
        let mut bytes = record(RecordType::BeginRequest, &[0, 1, u8::from(keep), 0, 0, 0, 0, 0]);
        bytes.extend(record(RecordType::Params, &content));
        bytes.extend(record(RecordType::Params, b""));
        bytes.extend(record(RecordType::Stdin, b""));
        Request(bytes)
    }
}

fn record(kind: RecordType, content: &[u8]) -> Vec<u8> {
    let header = Header::new(kind, 1, content.len() as u16);
    [&header.encode(), content, &[0; 7][..usize::from(header.padding_length)]].concat()
}

/// A connection to a pool. Its buffers serve every request, also after it was closed and opened again.
pub(crate) struct Connection {
    stream: Option<UnixStream>,
    received: Vec<u8>,
    filled: usize,
    stdout: Vec<u8>,
}

impl Connection {
    /// Not yet open.
    pub(crate) fn new() -> Connection {
        Connection { stream: None, received: vec![0; 128 * 1024], filled: 0, stdout: Vec::new() }
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
        self.stdout.clear();
        self.filled = 0;
        let mut stream = self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        stream.write_all(&request.0)?;
        while !self.take_records()? {
            let mut stream = self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?;
            let read = stream.read(&mut self.received[self.filled..])?;
            if read == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "closed before the end of the answer",
                ));
            }
            self.filled += read;
        }
        Ok(&self.stdout)
    }

    /// Takes the complete records out of what was received. `true` after END_REQUEST.
    fn take_records(&mut self) -> io::Result<bool> {
        let mut start = 0;
        let mut over = false;
        while let Some((header, rest)) = self.received[start..self.filled].split_first_chunk::<HEADER_LEN>() {
            let header = Header::decode(*header);
            let (length, padding) = (usize::from(header.content_length), usize::from(header.padding_length));
            if rest.len() < length + padding {
                break;
            }
            let content = &rest[..length];
            match (header.kind, content) {
                (RecordType::Stdout, _) if !over => self.stdout.extend_from_slice(content),
                (RecordType::Stderr, []) if !over => {}
                (RecordType::EndRequest, [0, 0, 0, 0, 0, _, _, _]) if !over => over = true,
                (kind, _) => {
                    let text = format!("unexpected {kind:?}: {}", String::from_utf8_lossy(content));
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
            }
            start += HEADER_LEN + length + padding;
        }
        self.received.copy_within(start..self.filled, 0);
        self.filled -= start;
        Ok(over)
    }
}
