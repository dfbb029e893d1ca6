//! A request as bytes (FastCGI 1.0 §5.1–5.4).
//!
//! Takes any split into records, also those no web server makes, so that tests can send them.

use crate::params::encode;
use crate::record::{
    BODY_LEN, HEADER_LEN, Header, KEEP_CONN, MAX_CONTENT, NULL_REQUEST_ID, RecordType, Role,
};
use crate::response::append_record;

/// One request, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// The id of all its records.
    pub request_id: u16,
    /// What the application is to be.
    pub role: Role,
    /// The connection stays open afterwards.
    pub keep_connection: bool,
    /// The meta-variables.
    pub params: &'a [(&'a [u8], &'a [u8])],
    /// The body. `CONTENT_LENGTH` is the caller's matter.
    pub stdin: &'a [u8],
    /// The sizes of the records.
    pub split: Split,
}

/// How streams are cut into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Most bytes of content of a PARAMS record; 0 counts as 1, beyond [`MAX_CONTENT`] as that. Pairs are
    /// cut anywhere, which php-fpm refuses.
    pub params: usize,
    /// The same for STDIN.
    pub stdin: usize,
}

impl Default for Split {
    /// As few records as can be.
    fn default() -> Self {
        Self { params: MAX_CONTENT, stdin: MAX_CONTENT }
    }
}

impl Request<'_> {
    /// Appends all records, each stream closed by an empty one.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&begin(self.request_id, self.role, self.keep_connection));
        let params = encode(self.params.iter().copied());
        append_records(out, RecordType::Params, self.request_id, &params, self.split.params);
        append_record(out, RecordType::Params, self.request_id, &[]);
        append_records(out, RecordType::Stdin, self.request_id, self.stdin, self.split.stdin);
        append_record(out, RecordType::Stdin, self.request_id, &[]);
    }

    /// All records.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.append_to(&mut out);
        out
    }
}

/// BEGIN_REQUEST.
pub const fn begin(request_id: u16, role: Role, keep_connection: bool) -> [u8; 16] {
    let [v, t, i1, i0, l1, l0, p, r] =
        Header::new(RecordType::BeginRequest, request_id, BODY_LEN as u16).encode();
    let [role1, role0] = role.number().to_be_bytes();
    let flags = if keep_connection { KEEP_CONN } else { 0 };
    [v, t, i1, i0, l1, l0, p, r, role1, role0, flags, 0, 0, 0, 0, 0]
}

/// ABORT_REQUEST.
pub const fn abort(request_id: u16) -> [u8; HEADER_LEN] {
    Header::new(RecordType::AbortRequest, request_id, 0).encode()
}

/// GET_VALUES for these names; what one record cannot carry is left out.
pub fn get_values(names: &[&[u8]]) -> Vec<u8> {
    let mut content = Vec::new();
    for name in names {
        let pair = encode([(name, b"")]);
        if content.len() + pair.len() <= MAX_CONTENT {
            content.extend_from_slice(&pair);
        }
    }
    let mut out = Vec::new();
    append_record(&mut out, RecordType::GetValues, NULL_REQUEST_ID, &content);
    out
}

/// Appends `content` as records of at most `size` bytes; no record for no content, as that would close
/// the stream.
fn append_records(out: &mut Vec<u8>, kind: RecordType, request_id: u16, content: &[u8], size: usize) {
    for piece in content.chunks(size.clamp(1, MAX_CONTENT)) {
        append_record(out, kind, request_id, piece);
    }
}
