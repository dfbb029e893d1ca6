//! What the application puts around its output: headers, padding, END_REQUEST (FastCGI 1.0 §5.3, §5.5).
//!
//! Pure functions on numbers, so that the worker can send content with `writev` where it lies. Never
//! splits or copies content, but for [`append_stream`], which is for what is small.

use crate::record::{BODY_LEN, HEADER_LEN, Header, ProtocolStatus, RecordType};

/// The most content to put into one record: the largest that needs no padding, php-fpm's choice too.
pub const MAX_CONTENT: usize = 0xfff8;

/// Which of the two streams to the web server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The response.
    Stdout,
    /// Error messages.
    Stderr,
}

impl Stream {
    const fn record_type(self) -> RecordType {
        match self {
            Self::Stdout => RecordType::Stdout,
            Self::Stderr => RecordType::Stderr,
        }
    }
}

/// Header of a STDOUT record; `content_len` bytes of content and [`padding`] have to follow it.
///
/// A length of 0 says that the stream is at its end (§3.3); php-fpm and its web servers do without.
pub const fn stdout_header(request_id: u16, content_len: u16) -> [u8; HEADER_LEN] {
    stream_header(Stream::Stdout, request_id, content_len)
}

/// Header of a record of either stream, see [`stdout_header`].
pub const fn stream_header(stream: Stream, request_id: u16, content_len: u16) -> [u8; HEADER_LEN] {
    Header::new(stream.record_type(), request_id, content_len).encode()
}

/// The padding that belongs behind `content_len` bytes of content: zeros up to a multiple of 8.
pub fn padding(content_len: u16) -> &'static [u8] {
    const ZEROS: [u8; 7] = [0; 7];
    let length = Header::new(RecordType::Stdout, 0, content_len).padding_length;
    &ZEROS[..usize::from(length)]
}

/// Appends content as records with header and padding, as many as it takes; nothing for no content.
pub fn append_stream(out: &mut Vec<u8>, stream: Stream, request_id: u16, content: &[u8]) {
    for content in content.chunks(MAX_CONTENT) {
        append_record(out, stream.record_type(), request_id, content);
    }
}

/// END_REQUEST: the request is over. The reserved bytes are zero.
pub const fn end_request(request_id: u16, app_status: u32, protocol_status: ProtocolStatus) -> [u8; 16] {
    let [v, t, i1, i0, l1, l0, p, r] =
        Header::new(RecordType::EndRequest, request_id, BODY_LEN as u16).encode();
    let [a3, a2, a1, a0] = app_status.to_be_bytes();
    [v, t, i1, i0, l1, l0, p, r, a3, a2, a1, a0, protocol_status.number(), 0, 0, 0]
}

/// Appends one record; content beyond what one record can carry is the caller's mistake and left out.
pub(crate) fn append_record(out: &mut Vec<u8>, kind: RecordType, request_id: u16, content: &[u8]) {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&Header::new(kind, request_id, length).encode());
    out.extend_from_slice(&content[..usize::from(length)]);
    out.extend_from_slice(padding(length));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_pad_to_eight_bytes() {
        assert_eq!(stdout_header(1, 11), [1, 6, 0, 1, 0, 11, 5, 0]);
        assert_eq!(stdout_header(0x0203, 0xfff8), [1, 6, 2, 3, 0xff, 0xf8, 0, 0]);
        assert_eq!(stream_header(Stream::Stderr, 1, 0), [1, 7, 0, 1, 0, 0, 0, 0]);
        for length in 0..=u16::MAX {
            assert_eq!((usize::from(length) + padding(length).len()) % 8, 0);
        }
    }

    #[test]
    fn end_request_reserves_zeros() {
        let bytes = end_request(1, 0x0102_0304, ProtocolStatus::CantMpxConn);
        assert_eq!(bytes, [1, 3, 0, 1, 0, 8, 0, 0, 1, 2, 3, 4, 1, 0, 0, 0]);
    }

    #[test]
    fn long_content_takes_several_records() {
        for (length, expected) in [(0, 0), (1, 16), (8, 16), (0xfff8, 0x10000), (0xfff9, 0x10010)] {
            let mut out = Vec::new();
            append_stream(&mut out, Stream::Stdout, 1, &vec![b'x'; length]);
            assert_eq!(out.len(), expected, "{length}");
        }
    }
}
