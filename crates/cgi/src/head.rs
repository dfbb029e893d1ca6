//! The response head: PHP's header list written as the CGI head a web server
//! reads from FCGI_STDOUT, byte for byte as php-fpm 8.2 writes it.
//!
//! Never sorts, checks or completes headers; PHP has done so.

mod reason;

use crate::number::leading_integer;
pub use reason::reason;

/// The longest first line, without CRLF; what is beyond is cut off (PHP bug 80849).
const STATUS_LINE_MAX: usize = 1023;

/// What decides the first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// PHP's response code.
    pub code: i32,
    /// The line a script set itself, from `HTTP/1.1 …` to its end, without CRLF.
    pub line: Option<&'a [u8]>,
    /// `cgi.nph`: a status line for code 200, too.
    pub nph: bool,
    /// `cgi.rfc2616_headers`: the script's own line as it is, instead of `Status: …`.
    pub rfc2616_headers: bool,
}

/// Appends the head with the empty line that ends it to `out`.
///
/// `headers` are complete lines without CRLF, in PHP's order.
pub fn encode<'h, H>(status: Status<'_>, headers: H, out: &mut Vec<u8>)
where
    H: IntoIterator<Item = &'h [u8]>,
    H::IntoIter: Clone,
{
    let headers = headers.into_iter();
    let first = FirstLine::choose(status, headers.clone());
    let code = first.code(status);
    let mut status_written = first.write(status, out);
    for header in headers.filter(|header| !header.is_empty()) {
        if begins(header, b"Status:") {
            if std::mem::replace(&mut status_written, true) {
                continue;
            }
        } else if code == 304 && begins(header, b"Content-Type:") {
            continue;
        }
        write_line(out, header);
    }
    out.extend_from_slice(b"\r\n");
}

enum FirstLine<'a> {
    /// None at all, or the script's own `Status:` header in its place among the others.
    Absent,
    /// The script's line as it is.
    Verbatim(&'a [u8]),
    /// `Status:` and the script's line from its first blank on.
    Rewritten(&'a [u8]),
    /// `Status:` with the code's usual reason.
    Usual,
}

impl<'a> FirstLine<'a> {
    fn choose<'h>(status: Status<'a>, mut headers: impl Iterator<Item = &'h [u8]>) -> Self {
        if !status.nph && status.code == 200 {
            return FirstLine::Absent;
        }
        if let Some(line) = status.line {
            if status.rfc2616_headers {
                return FirstLine::Verbatim(line);
            }
            let blank = line.iter().position(|byte| *byte == b' ');
            if let Some(blank) = blank.filter(|blank| *blank >= 5 && has_prefix(line, b"HTTP/")) {
                return FirstLine::Rewritten(&line[blank..]);
            }
        }
        if headers.any(|header| begins(header, b"Status:")) { FirstLine::Absent } else { FirstLine::Usual }
    }

    /// The response code the web server will understand.
    fn code(&self, status: Status<'_>) -> i32 {
        let from_line = match self {
            FirstLine::Verbatim(line) => line.iter().position(|byte| *byte == b' ').map(|at| &line[at..]),
            FirstLine::Rewritten(rest) => Some(*rest),
            FirstLine::Absent | FirstLine::Usual => None,
        };
        // As atoi(3) does, which reads a long and keeps its lower half.
        from_line.map_or(status.code, |text| leading_integer(&text[1..]) as i32)
    }

    /// Returns whether there was a line to write.
    fn write(&self, status: Status<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        match self {
            FirstLine::Absent => return false,
            FirstLine::Verbatim(line) => out.extend_from_slice(&line[..line.len().min(STATUS_LINE_MAX)]),
            FirstLine::Rewritten(rest) => {
                out.extend_from_slice(b"Status:");
                out.extend_from_slice(&rest[..rest.len().min(STATUS_LINE_MAX)]);
            }
            FirstLine::Usual => write_usual(out, status.code),
        }
        out.truncate(start + STATUS_LINE_MAX);
        out.extend_from_slice(b"\r\n");
        true
    }
}

fn write_usual(out: &mut Vec<u8>, code: i32) {
    out.extend_from_slice(b"Status: ");
    write_decimal(out, code);
    if let Some(reason) = reason(code) {
        out.push(b' ');
        out.extend_from_slice(reason.as_bytes());
    }
}

fn write_decimal(out: &mut Vec<u8>, number: i32) {
    // Writing to a Vec cannot fail, and formats without an intermediate string.
    let _ = std::io::Write::write_fmt(out, format_args!("{number}"));
}

fn write_line(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(line);
    out.extend_from_slice(b"\r\n");
}

/// Whether the header has this name (with its colon) and anything behind it.
fn begins(header: &[u8], name: &[u8]) -> bool {
    header.len() > name.len() && has_prefix(header, name)
}

fn has_prefix(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}
