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
        match self {
            FirstLine::Absent => return false,
            FirstLine::Verbatim(line) => out.extend_from_slice(&line[..line.len().min(STATUS_LINE_MAX)]),
            FirstLine::Rewritten(rest) => {
                out.extend_from_slice(b"Status:");
                out.extend_from_slice(&rest[..rest.len().min(STATUS_LINE_MAX - b"Status:".len())]);
            }
            FirstLine::Usual => write_usual(out, status.code),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Status<'_> = Status { code: 200, line: None, nph: false, rfc2616_headers: false };

    #[track_caller]
    fn check(status: Status<'_>, headers: &[&str], expected: &str) {
        let mut out = b"before".to_vec();
        encode(status, headers.iter().map(|header| header.as_bytes()), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("before{}\r\n\r\n", expected.replace('|', "\r\n")));
    }

    fn with_code(code: i32) -> Status<'static> {
        Status { code, ..PLAIN }
    }

    fn with_line(code: i32, line: &str) -> Status<'_> {
        Status { code, line: Some(line.as_bytes()), ..PLAIN }
    }

    #[test]
    fn the_code_makes_a_status_line_unless_it_is_200() {
        check(PLAIN, &["X: 1", "Content-type: a"], "X: 1|Content-type: a");
        check(with_code(302), &["Location: /x"], "Status: 302 Found|Location: /x");
        check(with_code(299), &["X: 1"], "Status: 299|X: 1");
        check(with_code(306), &[], "Status: 306");
        check(with_code(-5), &[], "Status: -5");
        check(Status { nph: true, ..PLAIN }, &["X: 1"], "Status: 200 OK|X: 1");
    }

    #[test]
    fn the_scripts_own_line_is_rewritten() {
        check(with_line(202, "HTTP/1.1 202 Acc"), &[], "Status: 202 Acc");
        check(with_line(304, "HTTP/1.1  304 two"), &[], "Status:  304 two");
        check(with_line(404, "http/2 404"), &[], "Status: 404");
        check(with_line(404, "HTTP/ 404 x"), &[], "Status: 404 x");
        check(with_line(0, "HTTP/1.1 abc"), &[], "Status: abc");
        // PHP keeps the line when a later http_response_code() changes the code.
        check(with_line(404, "HTTP/1.1 202 Acc"), &[], "Status: 202 Acc");
        check(with_line(200, "HTTP/1.1 202 Acc"), &["X: 1"], "X: 1");
        check(with_line(404, "HTTP/1.1"), &[], "Status: 404 Not Found");
        check(with_line(404, "HTTP 404 x"), &[], "Status: 404 Not Found");
    }

    #[test]
    fn rfc2616_headers_keep_the_line() {
        let status = |code, line| Status { rfc2616_headers: true, ..with_line(code, line) };
        check(status(202, "HTTP/1.1 202 Acc"), &["Status: 404", "X: 1"], "HTTP/1.1 202 Acc|X: 1");
        check(status(404, "HTTP/1.1"), &[], "HTTP/1.1");
        check(status(200, "HTTP/1.1 200 Fine"), &["X: 1"], "X: 1");
        check(Status { rfc2616_headers: true, ..with_code(404) }, &[], "Status: 404 Not Found");
    }

    #[test]
    fn one_status_header_of_the_script_counts() {
        let headers = ["X: 1", "status: 202 A", "Status: 203 B", "Y: 2"];
        check(PLAIN, &headers, "X: 1|status: 202 A|Y: 2");
        check(with_code(404), &headers, "X: 1|status: 202 A|Y: 2");
        check(with_line(404, "HTTP/1.1 404 N"), &headers, "Status: 404 N|X: 1|Y: 2");
        check(with_code(404), &["Status:", "Status:"], "Status: 404 Not Found|Status:|Status:");
        check(PLAIN, &["Status:1", ""], "Status:1");
    }

    #[test]
    fn not_modified_has_no_content_type() {
        check(with_code(304), &["content-type: a", "X: 1"], "Status: 304 Not Modified|X: 1");
        check(with_line(200, "HTTP/1.1 304 N"), &["Content-Type: a"], "Content-Type: a");
        // Where the line is sent, the code in it decides.
        check(with_line(404, "HTTP/1.1 304 N"), &["Content-Type: a"], "Status: 304 N");
        check(with_line(304, "HTTP/1.1 404 N"), &["Content-Type: a"], "Status: 404 N|Content-Type: a");
        check(with_line(404, "HTTP/1.1 4294967600 N"), &["Content-Type: a"], "Status: 4294967600 N");
        check(with_code(304), &["Content-Type:"], "Status: 304 Not Modified|Content-Type:");
        // A Status: header of the script decides nothing.
        check(PLAIN, &["Status: 304", "Content-Type: a"], "Status: 304|Content-Type: a");
    }

    #[test]
    fn a_long_status_line_is_cut() {
        let line = format!("HTTP/1.1 404 {}", "r".repeat(2000));
        let rest = "r".repeat(1023 - "Status: 404 ".len());
        check(with_line(404, &line), &["X: 1"], &format!("Status: 404 {rest}|X: 1"));
        let status = Status { rfc2616_headers: true, ..with_line(404, &line) };
        check(status, &["X: 1"], &format!("{}|X: 1", &line[..1023]));
        check(with_code(200), &[&line], &line);
    }
}
