//! Cuts a stream of bytes into headers, content and padding, for both sides.
//!
//! Keeps at most the 7 bytes of an incomplete header; content and padding are only counted.

use crate::record::{BODY_LEN, HEADER_LEN, Header};

/// Where in a record the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Header,
    Content,
    Padding,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Framing {
    partial: [u8; HEADER_LEN],
    partial_len: usize,
    content_left: usize,
    padding_left: usize,
}

impl Framing {
    pub(crate) fn stage(&self) -> Stage {
        if self.content_left > 0 {
            Stage::Content
        } else if self.padding_left > 0 {
            Stage::Padding
        } else {
            Stage::Header
        }
    }

    /// No byte of the next record has been seen, and none of the last one is missing.
    pub(crate) fn between_records(&self) -> bool {
        self.stage() == Stage::Header && self.partial_len == 0
    }

    /// Bytes of an incomplete header that are kept, at most 7.
    pub(crate) fn kept(&self) -> usize {
        self.partial_len
    }

    /// The header that kept and given bytes make together, if they suffice. Consumes nothing.
    pub(crate) fn peek_header(&self, input: &[u8]) -> Option<Header> {
        let mut bytes = self.partial;
        let missing = bytes.get_mut(self.partial_len..)?;
        missing.copy_from_slice(input.get(..missing.len())?);
        Some(Header::decode(bytes))
    }

    /// Keeps an input that is too short to complete the header.
    pub(crate) fn keep_partial_header(&mut self, input: &[u8]) {
        let end = self.partial_len + input.len();
        self.partial[self.partial_len..end].copy_from_slice(input);
        self.partial_len = end;
    }

    /// Goes past a header that [`Framing::peek_header`] found; says how much of the input was its.
    pub(crate) fn enter(&mut self, header: Header) -> usize {
        let consumed = HEADER_LEN - self.partial_len;
        self.partial_len = 0;
        self.content_left = usize::from(header.content_length);
        self.padding_left = usize::from(header.padding_length);
        consumed
    }

    pub(crate) fn content_left(&self) -> usize {
        self.content_left
    }

    /// The content at the front of the input, which may be a part of what the record has.
    pub(crate) fn take_content<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        let content = &input[..self.content_left.min(input.len())];
        self.content_left -= content.len();
        content
    }

    /// Skips padding at the front of the input, if the content is through; says how much.
    pub(crate) fn skip_padding(&mut self, input: &[u8]) -> usize {
        if self.content_left > 0 {
            return 0;
        }
        let skipped = self.padding_left.min(input.len());
        self.padding_left -= skipped;
        skipped
    }
}

/// The fixed 8-byte body of BEGIN_REQUEST, END_REQUEST and UNKNOWN_TYPE, in whatever pieces it arrives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    bytes: [u8; BODY_LEN],
    len: usize,
}

impl Body {
    /// Bytes of an incomplete body that are kept, at most 7.
    pub(crate) fn kept(&self) -> usize {
        self.len
    }

    /// Adds a piece; gives the body once it is complete, and is empty again then.
    pub(crate) fn add(&mut self, piece: &[u8]) -> Option<[u8; BODY_LEN]> {
        let taken = piece.len().min(BODY_LEN - self.len);
        self.bytes[self.len..self.len + taken].copy_from_slice(&piece[..taken]);
        self.len += taken;
        if self.len < BODY_LEN {
            return None;
        }
        self.len = 0;
        Some(self.bytes)
    }
}
