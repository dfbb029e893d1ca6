//! Records the protocol itself answers with, without asking the application (FastCGI 1.0 §4, §5.5).
//!
//! Fixed size, whatever the peer asked: no name is answered twice.

use crate::params::{Malformed, Pairs, append_pair};
use crate::record::{Header, NULL_REQUEST_ID, ProtocolStatus, RecordType};
use crate::response::{append_record, end_request};
use crate::server::Values;

/// One record to be sent right away, before anything else goes out on the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    bytes: Vec<u8>,
    close: bool,
}

impl Answer {
    /// The record; at most 80 bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the connection is to be closed after sending: a request was refused that did not ask to
    /// keep it.
    pub fn close(&self) -> bool {
        self.close
    }

    /// END_REQUEST for a request that never reaches the application.
    pub(super) fn refused(request_id: u16, status: ProtocolStatus, close: bool) -> Self {
        Self { bytes: end_request(request_id, 0, status).to_vec(), close }
    }

    pub(super) fn unknown_type(number: u8) -> Self {
        let header = Header::new(RecordType::UnknownType, NULL_REQUEST_ID, 8).encode();
        Self { bytes: [header, [number, 0, 0, 0, 0, 0, 0, 0]].concat(), close: false }
    }

    /// GET_VALUES_RESULT with what is known of the names asked for.
    pub(super) fn values(asked: &[u8], values: Values) -> Result<Self, Malformed> {
        let known: [(&[u8], Option<u32>); 3] = [
            (b"FCGI_MAX_CONNS", values.max_conns),
            (b"FCGI_MAX_REQS", values.max_reqs),
            (b"FCGI_MPXS_CONNS", Some(0)),
        ];
        let mut wanted = [false; 3];
        for pair in Pairs::new(asked) {
            let (name, _empty) = pair?;
            if let Some(index) = known.iter().position(|(known, _)| *known == name) {
                wanted[index] = true;
            }
        }
        let mut content = Vec::new();
        for ((name, value), _) in known.iter().zip(wanted).filter(|(_, wanted)| *wanted) {
            if let Some(value) = value {
                append_pair(&mut content, name, value.to_string().as_bytes());
            }
        }
        let mut bytes = Vec::new();
        append_record(&mut bytes, RecordType::GetValuesResult, NULL_REQUEST_ID, &content);
        Ok(Self { bytes, close: false })
    }
}
