//! `access.format`, parsed in php-fpm's order and refused in its words.

use std::ffi::CString;

/// A format, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// Texts and fields in their order.
    pub pieces: Vec<Piece>,
}

/// A part of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes as they are.
    Literal(Vec<u8>),
    /// Something about the request.
    Field(Field),
}

/// What a specifier stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// `%%`
    Percent,
    /// `%C`
    Cpu(Cpu),
    /// `%d`
    Duration(Unit),
    /// `%e`: a FastCGI parameter.
    Param(Vec<u8>),
    /// `%f`
    Script,
    /// `%l`
    ContentLength,
    /// `%m`
    Method,
    /// `%M`
    Memory(Size),
    /// `%n`
    Pool,
    /// `%o`: a header of the response.
    Header(Vec<u8>),
    /// `%p`
    Pid,
    /// `%P`
    ParentPid,
    /// `%q`
    Query,
    /// `%Q`
    QuestionMark,
    /// `%r`
    Uri,
    /// `%R`
    Peer,
    /// `%s`
    Status,
    /// `%t` and `%T`, as `strftime` shows it.
    Time(Clock, CString),
    /// `%u`
    User,
}

/// Which CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// Both.
    Total,
    /// In user mode.
    User,
    /// In the kernel.
    System,
}

/// Unit of a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// With three decimals.
    Seconds,
    /// With three decimals.
    Milliseconds,
    /// Whole.
    Microseconds,
}

/// Unit of a size, always whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Bytes.
    Bytes,
    /// 1024 bytes.
    Kilobytes,
    /// 1024 kilobytes.
    Megabytes,
}

/// Which moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The request's first byte.
    Received,
    /// When the line is written.
    Written,
}

/// How a time is shown without a modifier.
const TIME: &std::ffi::CStr = c"%d/%b/%Y:%H:%M:%S %z";
/// Longest modifier that is kept, as php-fpm's buffer for it has 129 bytes.
const MAX_MODIFIER: usize = 128;

impl Format {
    /// Parses a format. The error is php-fpm's warning about its first problem.
    pub fn parse(format: &[u8]) -> Result<Format, Vec<u8>> {
        let mut pieces = Vec::new();
        let mut rest = format;
        while !rest.is_empty() {
            let literal = rest.iter().position(|byte| *byte == b'%').unwrap_or(rest.len());
            if literal > 0 {
                pieces.push(Piece::Literal(rest[..literal].to_vec()));
            }
            rest = rest[literal..].strip_prefix(b"%").unwrap_or_default();
            let (field, after) = token(rest)?;
            pieces.extend(field.map(Piece::Field));
            rest = after;
        }
        Ok(Format { pieces })
    }

    /// Whether a line needs this kind of field.
    pub fn has(&self, wanted: impl Fn(&Field) -> bool) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Field(field) if wanted(field)))
    }
}

/// One specifier, behind its `%`, and what follows it. A lone `%` at the end is let pass and stands for nothing.
fn token(mut rest: &[u8]) -> Result<(Option<Field>, &[u8]), Vec<u8>> {
    let mut modifier: &[u8] = b"";
    loop {
        let Some((&letter, after)) = rest.split_first() else { return Ok((None, rest)) };
        if letter != b'{' {
            return Ok((Some(field(letter, modifier)?), after));
        }
        let end = after.iter().position(|byte| *byte == b'}').filter(|end| end + 1 < after.len());
        let end = end.ok_or(&b"missing closing embrace in the access.format"[..])?;
        modifier = &after[..end.min(MAX_MODIFIER)];
        rest = &after[end + 1..];
    }
}

fn field(letter: u8, modifier: &[u8]) -> Result<Field, Vec<u8>> {
    let plain = match letter {
        b'C' => return choose(modifier, &CPU, "'total', 'user' or 'system'", letter).map(Field::Cpu),
        b'd' => return choose(modifier, &UNITS, UNITS_ALLOWED, letter).map(Field::Duration),
        b'M' => return choose(modifier, &SIZES, SIZES_ALLOWED, letter).map(Field::Memory),
        b'e' => return named(modifier, "environment variable", letter).map(Field::Param),
        b'o' => return named(modifier, "header", letter).map(Field::Header),
        b't' => return Ok(Field::Time(Clock::Received, time(modifier))),
        b'T' => return Ok(Field::Time(Clock::Written, time(modifier))),
        b'%' => Field::Percent,
        b'f' => Field::Script,
        b'l' => Field::ContentLength,
        b'm' => Field::Method,
        b'n' => Field::Pool,
        b'p' => Field::Pid,
        b'P' => Field::ParentPid,
        b'q' => Field::Query,
        b'Q' => Field::QuestionMark,
        b'r' => Field::Uri,
        b'R' => Field::Peer,
        b's' => Field::Status,
        b'u' => Field::User,
        _ => return Err([&b"Invalid token in the access.format (%"[..], &[letter], b")"].concat()),
    };
    if modifier.is_empty() {
        return Ok(plain);
    }
    Err([&b"embrace is not allowed for modifier %"[..], &[letter]].concat())
}

/// The first row of each table is the default.
const CPU: [(&str, Cpu); 3] = [("total", Cpu::Total), ("user", Cpu::User), ("system", Cpu::System)];
const UNITS: [(&str, Unit); 7] = [
    ("seconds", Unit::Seconds),
    ("milliseconds", Unit::Milliseconds),
    ("milli", Unit::Milliseconds),
    ("miliseconds", Unit::Milliseconds),
    ("mili", Unit::Milliseconds),
    ("microseconds", Unit::Microseconds),
    ("micro", Unit::Microseconds),
];
const UNITS_ALLOWED: &str = "'seconds', 'milli', 'milliseconds', 'micro' or 'microseconds'";
const SIZES: [(&str, Size); 5] = [
    ("bytes", Size::Bytes),
    ("kilobytes", Size::Kilobytes),
    ("kilo", Size::Kilobytes),
    ("megabytes", Size::Megabytes),
    ("mega", Size::Megabytes),
];
const SIZES_ALLOWED: &str = "'bytes', 'kilo', 'kilobytes', 'mega' or 'megabytes'";

fn choose<T: Copy>(modifier: &[u8], table: &[(&str, T)], allowed: &str, letter: u8) -> Result<T, Vec<u8>> {
    let row =
        table.iter().find(|(word, _)| modifier.is_empty() || word.as_bytes().eq_ignore_ascii_case(modifier));
    row.map(|(_, choice)| *choice).ok_or_else(|| {
        let start = format!("only {allowed} are allowed as a modifier for %{} ('", char::from(letter));
        [start.as_bytes(), modifier, b"')"].concat()
    })
}

fn named(modifier: &[u8], what: &str, letter: u8) -> Result<Vec<u8>, Vec<u8>> {
    if modifier.is_empty() {
        let letter = char::from(letter);
        return Err(format!("the name of the {what} must be set between embraces for %{letter}").into_bytes());
    }
    Ok(modifier.to_vec())
}

fn time(modifier: &[u8]) -> CString {
    let end = modifier.iter().position(|byte| *byte == 0).unwrap_or(modifier.len());
    match CString::new(&modifier[..end]) {
        Ok(format) if end > 0 => format,
        _ => TIME.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_in_php_fpms_words() {
        for (format, expected) in [
            ("%R - %u %t \"%m %r%Q%q\" %s %f %{milli}d %{kilo}M %C%%", ""),
            ("100%", ""),
            ("%{a}%", "embrace is not allowed for modifier %%"),
            ("%{x}", "missing closing embrace in the access.format"),
            ("%{x", "missing closing embrace in the access.format"),
            ("%}", "Invalid token in the access.format (%})"),
            ("%e", "the name of the environment variable must be set between embraces for %e"),
            ("%{}e", "the name of the environment variable must be set between embraces for %e"),
            ("%o", "the name of the header must be set between embraces for %o"),
            ("%{a}{b}e", ""),
            ("%{x}C", "only 'total', 'user' or 'system' are allowed as a modifier for %C ('x')"),
            (
                "%{x}d",
                "only 'seconds', 'milli', 'milliseconds', 'micro' or 'microseconds' are allowed as a modifier for %d ('x')",
            ),
            (
                "%{x}M",
                "only 'bytes', 'kilo', 'kilobytes', 'mega' or 'megabytes' are allowed as a modifier for %M ('x')",
            ),
        ] {
            let outcome = Format::parse(format.as_bytes())
                .map_or_else(|e| String::from_utf8(e).unwrap(), |_| String::new());
            assert_eq!(outcome, expected, "{format}");
        }
    }

    #[test]
    fn pieces_in_their_order() {
        let format = Format::parse(b"a%{MICRO}d %{a}{X-B}o%{%H}T%").unwrap();
        assert_eq!(
            format.pieces,
            [
                Piece::Literal(b"a".to_vec()),
                Piece::Field(Field::Duration(Unit::Microseconds)),
                Piece::Literal(b" ".to_vec()),
                Piece::Field(Field::Header(b"X-B".to_vec())),
                Piece::Field(Field::Time(Clock::Written, c"%H".to_owned())),
            ]
        );
        assert!(format.has(|field| matches!(field, Field::Header(_))));
        assert!(!format.has(|field| matches!(field, Field::Peer)));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(format: Vec<u8>) {
            let _ = Format::parse(&format);
        }
    }
}
