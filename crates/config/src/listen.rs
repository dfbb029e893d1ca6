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

/// php-fpm looks at the number the text begins with, then the C library at the whole text.
fn parse_port(text: &[u8]) -> Result<u16, Diagnostic> {
    const HINT: &str = "a port is a number from 1 to 65535";
    let (number, rest) = leading_number(text);
    let port = u16::try_from(number).ok().filter(|port| *port != 0).ok_or_else(|| {
        Diagnostic::new(Level::Error, [b"invalid port value '", text, b"'"].concat()).hint(HINT)
    })?;
    match rest {
        [] => Ok(port),
        _ => {
            let sentence = b"getaddrinfo: Servname not supported for ai_socktype\n";
            Err(Diagnostic::new(Level::Error, sentence.to_vec()).hint(HINT))
        }
    }
}

/// As C reads numbers: blanks, a sign, digits; and what follows.
fn leading_number(text: &[u8]) -> (i64, &[u8]) {
    let unsigned = text.trim_ascii_start();
    let (sign, digits) = match unsigned {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = digits[..length]
        .iter()
        .fold(0_i64, |value, digit| value.saturating_mul(10).saturating_add((digit - b'0').into()));
    (sign * value, &digits[length..])
}
