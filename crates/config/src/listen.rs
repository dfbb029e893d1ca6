//! Listening addresses: php-fpm's way of telling paths, ports and `host:port` apart.

use std::path::PathBuf;

use crate::model::bytes_path;
use crate::{Diagnostic, Level};

/// A listening address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A unix socket.
    Unix(PathBuf),
    /// A name or address (without brackets) and a port.
    Tcp {
        /// Name or address as written; may need resolving.
        host: Vec<u8>,
        /// Port, never 0.
        port: u16,
    },
    /// A port on every address: `::` first, else `0.0.0.0`.
    Port(u16),
}

impl Listen {
    /// Takes an address apart: with a colon it is `host:port` (the last colon counts), digits only are a port, all
    /// else is a path. A bad port is php-fpm's error of the moment it opens the socket, so `-t` does not see it.
    pub fn parse(address: &[u8]) -> Result<Listen, Diagnostic> {
        match address.iter().rposition(|b| *b == b':') {
            Some(colon) => {
                let host = &address[..colon];
                let host = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")).unwrap_or(host);
                Ok(Listen::Tcp { host: host.to_vec(), port: parse_port(&address[colon + 1..])? })
            }
            None if is_port(address) => Ok(Listen::Port(parse_port(address)?)),
            None => Ok(Listen::Unix(bytes_path(address))),
        }
    }
}

fn is_port(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn parse_port(text: &[u8]) -> Result<u16, Diagnostic> {
    let port = std::str::from_utf8(text).ok().and_then(|t| t.parse::<u16>().ok()).filter(|p| *p != 0);
    port.ok_or_else(|| {
        Diagnostic::new(Level::Error, [b"invalid port value '", text, b"'"].concat())
            .hint("a port is a number from 1 to 65535")
    })
}
