//! Name-value pairs, the content of PARAMS, GET_VALUES and GET_VALUES_RESULT (FastCGI 1.0 §3.4).
//!
//! Names and values are bytes: never decoded, compared or made unique here.

/// The stream ends inside a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("name-value pairs end inside a pair")]
pub struct Malformed;

/// The pairs of one complete parameter stream, in their order, duplicates and empty names included.
///
/// PARAMS content of several records is one stream: put it together first, a pair may lie across two
/// records (php-fpm refuses those). After a [`Malformed`] the iterator is at its end.
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// The pairs in `stream`.
    pub const fn new(stream: &'a [u8]) -> Self {
        Self { rest: stream }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((name, value, rest)) = first_pair(self.rest) else {
            self.rest = &[];
            return Some(Err(Malformed));
        };
        self.rest = rest;
        Some(Ok((name, value)))
    }
}

impl std::iter::FusedIterator for Pairs<'_> {}

fn first_pair(stream: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name_length, rest) = length(stream)?;
    let (value_length, rest) = length(rest)?;
    let (name, rest) = rest.split_at_checked(name_length)?;
    let (value, rest) = rest.split_at_checked(value_length)?;
    Some((name, value, rest))
}

/// One byte below 128, else four with the high bit of the first set. Four bytes are taken for small
/// lengths too.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let (four, rest) = bytes.split_first_chunk::<4>()?;
    Some(((u32::from_be_bytes(*four) & MAX_LENGTH) as usize, rest))
}

/// The largest length of a name or a value.
const MAX_LENGTH: u32 = 0x7fff_ffff;

/// Appends one pair, with the short form of the lengths where it suffices.
///
/// # Panics
///
/// If name or value have 2³¹ bytes or more, which the format cannot express.
pub fn append_pair(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    append_length(out, name.len());
    append_length(out, value.len());
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

fn append_length(out: &mut Vec<u8>, length: usize) {
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        out.push(short);
        return;
    }
    let long = u32::try_from(length).ok().filter(|long| *long <= MAX_LENGTH);
    let long = long.expect("a name or value in FastCGI has fewer than 2^31 bytes");
    out.extend_from_slice(&(long | !MAX_LENGTH).to_be_bytes());
}

/// All of `pairs` as one stream.
pub fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: impl IntoIterator<Item = (N, V)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in pairs {
        append_pair(&mut out, name.as_ref(), value.as_ref());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pair<'a> = Result<(&'a [u8], &'a [u8]), Malformed>;

    fn check(stream: &[u8], expected: &[Pair<'_>]) {
        assert_eq!(Pairs::new(stream).collect::<Vec<_>>(), expected, "{stream:?}");
    }

    #[test]
    fn both_length_forms() {
        check(b"", &[]);
        check(b"\x00\x00", &[Ok((b"", b""))]);
        check(b"\x01\x01ab", &[Ok((b"a", b"b"))]);
        check(b"\x80\x00\x00\x01\x01ab", &[Ok((b"a", b"b"))]);
        check(b"\x01\x80\x00\x00\x01ab", &[Ok((b"a", b"b"))]);
        check(b"\x80\x00\x00\x01\x80\x00\x00\x01ab", &[Ok((b"a", b"b"))]);
        check(b"\x01\x00a\x00\x01b", &[Ok((b"a", b"")), Ok((b"", b"b"))]);
        check(b"\x01\x01ab\x01\x01ac", &[Ok((b"a", b"b")), Ok((b"a", b"c"))]);
        let long = [&b"\x01\x80\x00\x00\x80a"[..], &[b'v'; 128]].concat();
        check(&long, &[Ok((b"a", &[b'v'; 128]))]);
    }

    #[test]
    fn a_stream_that_ends_inside_a_pair() {
        for stream in [
            &b"\x01"[..],
            b"\x01\x01",
            b"\x01\x01a",
            b"\x80",
            b"\x80\x00\x00",
            b"\x80\x00\x00\x01",
            b"\x01\x80\x00\x00a",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xff\xff\xff\xff\x00a",
        ] {
            check(stream, &[Err(Malformed)]);
        }
        check(b"\x01\x01ab\x05", &[Ok((b"a", b"b")), Err(Malformed)]);
    }

    #[test]
    fn the_short_form_ends_at_127() {
        assert_eq!(encode([([b'n'; 127], "")])[..2], [127, 0]);
        assert_eq!(encode([([b'n'; 128], "")])[..5], [0x80, 0, 0, 128, 0]);
        assert_eq!(encode([("", vec![b'v'; 70000])])[..5], [0, 0x80, 1, 0x11, 0x70]);
    }
}
