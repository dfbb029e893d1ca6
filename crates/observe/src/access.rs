//! The access log: its format, which the check of the configuration and the worker share (`format`), a line as it is
//! written (`line`), and which requests leave none.

mod format;
mod line;

pub use format::{Clock, Cpu, Field, Format, Piece, Size, Unit};
pub use line::{LIMIT, Line, Surroundings};

use std::net::IpAddr;

/// What a line can tell of a request, texts cut to php-fpm's lengths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// REQUEST_METHOD.
    pub method: &'a [u8],
    /// php-fpm's request URI, without the query.
    pub uri: &'a [u8],
    /// QUERY_STRING.
    pub query: &'a [u8],
    /// User of HTTP Basic authentication.
    pub user: &'a [u8],
    /// Path of the script.
    pub script: &'a [u8],
    /// Name of the pool.
    pub pool: &'a [u8],
    /// CONTENT_LENGTH.
    pub content_length: u64,
    /// Response code.
    pub status: i32,
    /// From the first byte to the end of the script.
    pub duration_us: u64,
    /// Peak memory in bytes.
    pub memory: u64,
    /// CPU time used, microseconds: user, then system.
    pub cpu_us: (u64, u64),
    /// The FastCGI peer's address, unless it is a unix socket.
    pub peer: Option<IpAddr>,
    /// When the first byte came, seconds since the epoch.
    pub received: u64,
    /// Now.
    pub now: u64,
    /// The worker's process id.
    pub pid: u32,
    /// The master's.
    pub parent_pid: u32,
}

/// Whether `access.suppress_path` keeps the request out of the log: a successful GET or HEAD of exactly one of the
/// paths, with neither query nor body.
pub fn is_suppressed(paths: &[Vec<u8>], request: &Request<'_>) -> bool {
    request.query.is_empty()
        && matches!(request.method, b"GET" | b"HEAD")
        && (200..300).contains(&request.status)
        && request.content_length == 0
        && paths.iter().any(|path| path == request.uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_successes_are_suppressed() {
        let paths = [b"/ping".to_vec(), b"/x".to_vec()];
        let plain = Request { method: b"HEAD", uri: b"/x", status: 299, ..Request::default() };
        assert!(is_suppressed(&paths, &plain));
        for other in [
            Request { uri: b"/x/", ..plain },
            Request { method: b"POST", ..plain },
            Request { query: b"a", ..plain },
            Request { status: 300, ..plain },
            Request { status: 199, ..plain },
            Request { content_length: 1, ..plain },
        ] {
            assert!(!is_suppressed(&paths, &other), "{other:?}");
        }
        assert!(!is_suppressed(&[], &plain));
    }
}
