//! One line of the access log, put together in a buffer of php-fpm's length. Nothing is allocated.

use std::ffi::CStr;
use std::fmt::{self, Write};

use super::Request;
use super::format::{Clock, Cpu, Field, Format, Piece, Size, Unit};

/// Longest line in bytes, without its newline.
pub const LIMIT: usize = 1024;
/// Longest time php-fpm has room for.
const LONGEST_TIME: usize = 128;

/// What has to be asked for while a line is written.
pub trait Surroundings {
    /// A FastCGI parameter.
    fn param(&self, name: &[u8]) -> Option<&[u8]>;
    /// The response's headers, `Name: value`.
    fn headers(&self) -> impl Iterator<Item = &[u8]>;
    /// `strftime` of a local time: how many bytes of `out` it took, 0 if they are too few.
    fn local_time(&self, format: &CStr, epoch_seconds: u64, out: &mut [u8]) -> usize;
}

/// A line in the making.
#[derive(Debug)]
pub struct Line {
    bytes: [u8; LIMIT + 1],
    length: usize,
    full: bool,
}

impl Default for Line {
    fn default() -> Line {
        Line { bytes: [0; LIMIT + 1], length: 0, full: false }
    }
}

impl Line {
    /// Writes a request's line in place of the last one. It ends with a newline; `None` if there is nothing in it.
    pub fn write(
        &mut self,
        format: &Format,
        request: &Request<'_>,
        around: &impl Surroundings,
    ) -> Option<&[u8]> {
        (self.length, self.full) = (0, false);
        for piece in &format.pieces {
            match piece {
                Piece::Literal(text) => self.literal(text),
                Piece::Field(_) if self.length >= LIMIT => self.full = true,
                Piece::Field(field) => show(field, request, around, &mut Cell { line: self }),
            }
            if self.full {
                break;
            }
        }
        if self.length == 0 {
            return None;
        }
        self.bytes[self.length] = b'\n';
        Some(&self.bytes[..=self.length])
    }

    /// The line was too long and has been cut.
    pub fn is_cut(&self) -> bool {
        self.full
    }

    fn literal(&mut self, text: &[u8]) {
        let taken = text.len().min(LIMIT - self.length);
        self.append(&text[..taken]);
        self.full = taken < text.len();
    }

    fn append(&mut self, text: &[u8]) {
        self.bytes[self.length..self.length + text.len()].copy_from_slice(text);
        self.length += text.len();
    }
}

/// Where a field goes: unlike a literal it leaves the last byte free, as php-fpm's needs it for a NUL.
struct Cell<'a> {
    line: &'a mut Line,
}

impl Cell<'_> {
    /// A text ends at its first NUL.
    fn text(&mut self, text: &[u8]) {
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        let taken = end.min((LIMIT - 1).saturating_sub(self.line.length));
        self.line.append(&text[..taken]);
        self.line.full |= taken < end;
    }

    fn text_or_dash(&mut self, text: &[u8]) {
        self.text(if text.is_empty() { b"-" } else { text });
    }

    fn shown(&mut self, value: fmt::Arguments<'_>) {
        let _ = self.write_fmt(value); // never fails: what does not fit is cut
    }
}

impl Write for Cell<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text(text.as_bytes());
        Ok(())
    }
}

fn show(field: &Field, request: &Request<'_>, around: &impl Surroundings, cell: &mut Cell<'_>) {
    match field {
        Field::Percent => cell.line.literal(b"%"),
        Field::Cpu(cpu) => show_cpu(*cpu, request, cell),
        Field::Duration(unit) => show_duration(*unit, request.duration_us, cell),
        Field::Param(name) => cell.text(around.param(name).unwrap_or(b"-")),
        Field::Script => cell.text_or_dash(request.script),
        Field::ContentLength => cell.shown(format_args!("{}", request.content_length)),
        Field::Method => cell.text_or_dash(request.method),
        Field::Memory(size) => {
            let unit = match size {
                Size::Bytes => 1,
                Size::Kilobytes => 1024,
                Size::Megabytes => 1024 * 1024,
            };
            cell.shown(format_args!("{}", request.memory / unit));
        }
        Field::Pool => cell.text_or_dash(request.pool),
        Field::Header(name) => {
            cell.text_or_dash(around.headers().find_map(|line| value_of(line, name)).unwrap_or_default());
        }
        Field::Pid => cell.shown(format_args!("{}", request.pid)),
        Field::ParentPid => cell.shown(format_args!("{}", request.parent_pid)),
        Field::Query => cell.text(request.query),
        Field::QuestionMark => cell.text(if request.query.is_empty() { b"" } else { b"?" }),
        Field::Uri => cell.text(request.uri),
        Field::Peer => match request.peer {
            Some(address) => cell.shown(format_args!("{address}")),
            None => cell.text(b"-"),
        },
        Field::Status => cell.shown(format_args!("{}", request.status)),
        Field::Time(clock, format) => {
            let moment = match clock {
                Clock::Received => request.received,
                Clock::Written => request.now,
            };
            let mut text = [0; LONGEST_TIME];
            let length = around.local_time(format, moment, &mut text);
            cell.text(&text[..length.min(LONGEST_TIME)]);
        }
        Field::User => cell.text(request.user),
    }
}

fn show_cpu(cpu: Cpu, request: &Request<'_>, cell: &mut Cell<'_>) {
    let (user, system) = request.cpu_us;
    let used = match cpu {
        Cpu::Total => user + system,
        Cpu::User => user,
        Cpu::System => system,
    };
    let percent =
        if request.duration_us == 0 { 0.0 } else { used as f64 * 100.0 / request.duration_us as f64 };
    cell.shown(format_args!("{percent:.2}"));
}

fn show_duration(unit: Unit, micros: u64, cell: &mut Cell<'_>) {
    match unit {
        Unit::Seconds => cell.shown(format_args!("{:.3}", micros as f64 / 1_000_000.0)),
        Unit::Milliseconds => cell.shown(format_args!("{:.3}", micros as f64 / 1_000.0)),
        Unit::Microseconds => cell.shown(format_args!("{micros}")),
    }
}

/// The value if the line is a header of this name, in this spelling; as php-fpm finds it, which first looks for the
/// name anywhere in the line and then for the colon behind as many bytes.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.get(name.len()..)?.strip_prefix(b": ").filter(|value| !value.is_empty())?;
    line.windows(name.len()).any(|part| part == name).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Surroundings for Fixed {
        fn param(&self, name: &[u8]) -> Option<&[u8]> {
            (name == b"SET").then_some(b"value\0unseen")
        }

        fn headers(&self) -> impl Iterator<Item = &[u8]> {
            [&b"X-Empty: "[..], b"X-Own: one", b"X-Own: two", b"AAAA: BBBB"].into_iter()
        }

        fn local_time(&self, format: &CStr, epoch_seconds: u64, out: &mut [u8]) -> usize {
            let text = format!("{epoch_seconds}@{}", format.to_str().unwrap());
            out[..text.len()].copy_from_slice(text.as_bytes());
            text.len()
        }
    }

    fn request() -> Request<'static> {
        Request {
            method: b"GET",
            uri: b"/a",
            pool: b"www",
            content_length: 7,
            status: 404,
            duration_us: 1_234_567,
            memory: 2 << 20,
            cpu_us: (100_000, 23_456),
            received: 11,
            now: 12,
            pid: 3,
            parent_pid: 2,
            ..Request::default()
        }
    }

    fn written(format: &str, request: &Request<'_>) -> (String, bool) {
        let format = Format::parse(format.as_bytes()).unwrap();
        let mut line = Line::default();
        let text = line.write(&format, request, &Fixed).unwrap_or_default().to_vec();
        (String::from_utf8(text).unwrap(), line.is_cut())
    }

    #[test]
    fn every_specifier() {
        let full = Request {
            query: b"x=1",
            user: b"joe",
            script: b"/s.php",
            peer: Some("::ffff:1".parse().unwrap()),
            ..request()
        };
        let check = |format: &str, empty: &str, with: &str| {
            assert_eq!(written(format, &request()).0, format!("{empty}\n"), "{format}");
            assert_eq!(written(format, &full).0, format!("{with}\n"), "{format}");
        };
        check("%%|%m|%r|%l|%n|%s", "%|GET|/a|7|www|404", "%|GET|/a|7|www|404");
        check("%f|%q|%Q|%u|%R|", "-||||-|", "/s.php|x=1|?|joe|::ffff:1|");
        check("%d %{milli}d %{micro}d", "1.235 1234.567 1234567", "1.235 1234.567 1234567");
        check("%M %{kilo}M %{mega}M", "2097152 2048 2", "2097152 2048 2");
        check("%C %{user}C %{system}C", "10.00 8.10 1.90", "10.00 8.10 1.90");
        check("%p %P %{SET}e %{UNSET}e", "3 2 value -", "3 2 value -");
        check("%{X-Own}o %{x-own}o %{X-Empty}o %{BBBB}o %{X-No}o", "one - - BBBB -", "one - - BBBB -");
        check("%t %{%s}T", "11@%d/%b/%Y:%H:%M:%S %z 12@%s", "11@%d/%b/%Y:%H:%M:%S %z 12@%s");
    }

    #[test]
    fn nothing_is_no_line() {
        assert_eq!(written("%q%u", &request()), (String::new(), false));
        assert_eq!(written("", &request()), (String::new(), false));
    }

    #[test]
    fn long_lines_are_cut() {
        let query = [b'q'; 511];
        let long = Request { query: &query, ..request() };
        let (text, cut) = written("%q%q%q tail", &long);
        assert_eq!((text.len(), cut), (LIMIT, true));
        assert!(text.ends_with("qq\n"));
        let literal = |count: usize| "x".repeat(count);
        assert_eq!(written(&literal(LIMIT), &long), (format!("{}\n", literal(LIMIT)), false));
        assert_eq!(written(&literal(LIMIT + 1), &long), (format!("{}\n", literal(LIMIT)), true));
        assert!(written(&format!("{}%m", literal(LIMIT)), &long).1);
        assert_eq!(written(&format!("{}%m", literal(LIMIT - 3)), &long).0.len(), LIMIT);
        assert_eq!(
            written(&format!("{}%m", literal(LIMIT - 4)), &long),
            (format!("{}GET\n", literal(LIMIT - 4)), false)
        );
    }

    #[test]
    fn a_line_allocates_nothing() {
        let format = Format::parse(b"%R - %u \"%m %r%Q%q\" %s %{milli}d %{SET}e %{X-Own}o %C").unwrap();
        let mut line = Line::default();
        let request = request();
        let counted = allocation_counter::measure(|| {
            let _ = std::hint::black_box(line.write(&format, &request, &Fixed));
        });
        assert_eq!(counted.count_total, 0);
    }

    proptest::proptest! {
        #[test]
        fn no_format_and_no_text_panics(format: Vec<u8>, texts: [Vec<u8>; 3], numbers: [u64; 3]) {
            if let Ok(format) = Format::parse(&format) {
                let request = Request {
                    method: &texts[0],
                    uri: &texts[1],
                    query: &texts[2],
                    duration_us: numbers[0],
                    memory: numbers[1],
                    content_length: numbers[2],
                    ..Request::default()
                };
                let mut line = Line::default();
                struct Nothing;
                impl Surroundings for Nothing {
                    fn param(&self, _name: &[u8]) -> Option<&[u8]> { None }
                    fn headers(&self) -> impl Iterator<Item = &[u8]> { std::iter::empty() }
                    fn local_time(&self, _: &CStr, _: u64, _: &mut [u8]) -> usize { usize::MAX }
                }
                let text = line.write(&format, &request, &Nothing);
                proptest::prop_assert!(text.is_none_or(|text| text.ends_with(b"\n") && text.len() <= LIMIT + 1));
            }
        }
    }
}
