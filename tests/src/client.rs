//! A blocking FastCGI client: one connection, requests built as a web server builds them, replies as they came. It can
//! also write raw bytes, and it never repairs what the server sent: records are read by hand here, so that empty ones
//! and their order can be compared.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use fastcgi::record::Role;

use crate::server::Server;

const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// Parameters in the order they are sent, and the body.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Name and value, in order; names may repeat.
    pub params: Vec<(String, Vec<u8>)>,
    /// What goes into STDIN records.
    pub body: Vec<u8>,
    /// FCGI_KEEP_CONN.
    pub keep: bool,
}

/// What came back for one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The STDOUT stream: header block and body.
    pub stdout: Vec<u8>,
    /// The STDERR stream.
    pub stderr: Vec<u8>,
    /// The record types in order, repetitions collapsed.
    pub order: Vec<u8>,
    /// App status and protocol status; `None` if the connection ended before END_REQUEST.
    pub end: Option<(u32, u8)>,
    /// The server neither answered nor closed the connection in time.
    pub silent: bool,
}

impl Request {
    /// No parameters at all.
    pub fn empty() -> Request {
        Request::default()
    }

    /// GET of `script`, which may carry a query, with the parameters nginx sends in its usual order.
    pub fn get(server: &Server, script: &str) -> Request {
        Request::new(server, "GET", script, b"")
    }

    /// POST of a body of a type.
    pub fn post(server: &Server, script: &str, content_type: &str, body: &[u8]) -> Request {
        Request::new(server, "POST", script, body).param("CONTENT_TYPE", content_type)
    }

    /// Any method with a body.
    pub fn new(server: &Server, method: &str, script: &str, body: &[u8]) -> Request {
        let (name, query) = script.split_once('?').unwrap_or((script, ""));
        let length = if body.is_empty() { String::new() } else { body.len().to_string() };
        let file = server.www(name.trim_start_matches('/'));
        let name = format!("/{}", name.trim_start_matches('/'));
        let uri = if query.is_empty() { name.clone() } else { format!("{name}?{query}") };
        let root = server.www("");
        let params = [
            ("SCRIPT_FILENAME", file.as_str()),
            ("QUERY_STRING", query),
            ("REQUEST_METHOD", method),
            ("CONTENT_TYPE", ""),
            ("CONTENT_LENGTH", &length),
            ("SCRIPT_NAME", &name),
            ("REQUEST_URI", &uri),
            ("DOCUMENT_URI", &name),
            ("DOCUMENT_ROOT", root.trim_end_matches('/')),
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
        ];
        let params =
            params.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        Request { params, body: body.to_vec(), keep: false }
    }

    /// Sets a parameter: in place if it was there, else at the end.
    pub fn param(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        let value = value.as_ref().to_vec();
        match self.params.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.params.push((name.into(), value)),
        }
        self
    }

    /// Appends a parameter even if one of this name is there already.
    pub fn repeat(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        self.params.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// Removes a parameter.
    pub fn without(mut self, name: &str) -> Request {
        self.params.retain(|(known, _)| known != name);
        self
    }

    /// Asks the server to keep the connection open.
    pub fn keep(mut self) -> Request {
        self.keep = true;
        self
    }

    /// The complete request as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = fastcgi::client::begin(1, Role::Responder, self.keep).to_vec();
        let mut block = Vec::new();
        for (name, value) in &self.params {
            let pair = fastcgi::params::encode([(name.as_bytes(), value.as_slice())]);
            // A pair must not be split over two records: php-fpm takes that for malformed.
            if block.len() + pair.len() > 65_000 {
                bytes.extend(record(PARAMS, &block));
                block.clear();
            }
            block.extend(pair);
        }
        if !block.is_empty() {
            bytes.extend(record(PARAMS, &block));
        }
        bytes.extend(record(PARAMS, b""));
        for chunk in self.body.chunks(65_528) {
            bytes.extend(record(STDIN, chunk));
        }
        bytes.extend(record(STDIN, b""));
        bytes
    }
}

/// One record of request 1, padded to a multiple of eight.
pub fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let padding = (8 - content.len() % 8) % 8;
    let [high, low] = (content.len() as u16).to_be_bytes();
    let mut bytes = vec![1, kind, 0, 1, high, low, padding as u8, 0];
    bytes.extend(content);
    bytes.extend(vec![0; padding]);
    bytes
}

trait Stream: Read + Write + Send {
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}

impl Stream for UnixStream {
    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        UnixStream::shutdown(self, how)
    }
}

impl Stream for TcpStream {
    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        TcpStream::shutdown(self, how)
    }
}

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(15);

/// A connection to a pool.
pub struct Client {
    stream: Box<dyn Stream>,
    silent: bool,
}

impl Client {
    /// Connects to a unix socket.
    pub fn unix(path: &Path) -> Client {
        Client::try_unix(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Connects to a unix socket that may be gone.
    pub fn try_unix(path: &Path) -> io::Result<Client> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(Client { stream: Box::new(stream), silent: false })
    }

    /// Connects to a TCP address.
    pub fn tcp(address: SocketAddr) -> io::Result<Client> {
        Client::tcp_within(address, SILENCE)
    }

    /// Connects to a TCP address that may not answer.
    pub fn tcp_within(address: SocketAddr, patience: Duration) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(Client { stream: Box::new(stream), silent: false })
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Closes the writing half: the server reads an end of file.
    pub fn end_writing(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends a request and reads its reply.
    pub fn send(&mut self, request: &Request) -> Reply {
        // A server may answer and close before it has read everything: the reply counts, not the write.
        let _ = self.write(&request.encode());
        self.read_reply()
    }

    /// Reads records until END_REQUEST or until the connection ends.
    pub fn read_reply(&mut self) -> Reply {
        let mut reply = Reply::default();
        while let Some((kind, content)) = self.read_record() {
            if reply.order.last() != Some(&kind) {
                reply.order.push(kind);
            }
            match kind {
                STDOUT => reply.stdout.extend(content),
                STDERR => reply.stderr.extend(content),
                END_REQUEST if content.len() >= 5 => {
                    let app = u32::from_be_bytes([content[0], content[1], content[2], content[3]]);
                    reply.end = Some((app, content[4]));
                    break;
                }
                _ => {}
            }
        }
        reply.silent = self.silent;
        reply
    }

    /// One record: type and content; `None` at the end of the connection, or when the server stays silent.
    pub fn read_record(&mut self) -> Option<(u8, Vec<u8>)> {
        let header: [u8; 8] = self.read_exactly(8)?.try_into().ok()?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let mut content = self.read_exactly(length + usize::from(header[6]))?;
        content.truncate(length);
        Some((header[1], content))
    }

    /// Whether the server has closed the connection: waits for that or for more bytes.
    pub fn at_end(&mut self) -> bool {
        self.read_exactly(1).is_none() && !self.silent
    }

    fn read_exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        match self.stream.read_exact(&mut bytes) {
            Ok(()) => Some(bytes),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                self.silent = true;
                None
            }
            Err(_) => None,
        }
    }
}
