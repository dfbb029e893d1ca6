//! The 8-byte record header and the numbers of the protocol (FastCGI 1.0 §3.3 and §8).
//!
//! Never looks at content: what a record's content means is decided in [`crate::server`] and
//! [`crate::client`].

/// Bytes of a record header.
pub const HEADER_LEN: usize = 8;

/// The protocol version this crate writes. Any version but 0 is read, as php-fpm does.
pub const VERSION: u8 = 1;

/// The request id of management records.
pub const NULL_REQUEST_ID: u16 = 0;

/// The most content one record can carry.
pub const MAX_CONTENT: usize = 0xffff;

/// `FCGI_KEEP_CONN`: bit of the flags in a BEGIN_REQUEST body.
pub const KEEP_CONN: u8 = 1;

/// Bytes of the bodies of BEGIN_REQUEST, END_REQUEST and UNKNOWN_TYPE.
pub const BODY_LEN: usize = 8;

/// Type of a record; [`RecordType::Other`] are the numbers FastCGI 1.0 does not define.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordType {
    /// 1, web server to application: a request begins.
    BeginRequest,
    /// 2, web server to application: the request is not wanted any more.
    AbortRequest,
    /// 3, application to web server: the request is over.
    EndRequest,
    /// 4, stream to the application: meta-variables as name-value pairs.
    Params,
    /// 5, stream to the application: the request body.
    Stdin,
    /// 6, stream to the web server: the response.
    Stdout,
    /// 7, stream to the web server: error messages.
    Stderr,
    /// 8, stream to the application: the file for a filter.
    Data,
    /// 9, management: the web server asks for limits.
    GetValues,
    /// 10, management: the application's answer to [`RecordType::GetValues`].
    GetValuesResult,
    /// 11, management: the application does not know this type of management record.
    UnknownType,
    /// Anything else.
    Other(u8),
}

impl RecordType {
    /// The type with this number.
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::BeginRequest,
            2 => Self::AbortRequest,
            3 => Self::EndRequest,
            4 => Self::Params,
            5 => Self::Stdin,
            6 => Self::Stdout,
            7 => Self::Stderr,
            8 => Self::Data,
            9 => Self::GetValues,
            10 => Self::GetValuesResult,
            11 => Self::UnknownType,
            other => Self::Other(other),
        }
    }

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::BeginRequest => 1,
            Self::AbortRequest => 2,
            Self::EndRequest => 3,
            Self::Params => 4,
            Self::Stdin => 5,
            Self::Stdout => 6,
            Self::Stderr => 7,
            Self::Data => 8,
            Self::GetValues => 9,
            Self::GetValuesResult => 10,
            Self::UnknownType => 11,
            Self::Other(number) => number,
        }
    }
}

/// What the web server wants the application to be (§6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// 1: answers the request, like a CGI program.
    Responder,
    /// 2: says whether the request may go on.
    Authorizer,
    /// 3: a responder that also gets a file to filter.
    Filter,
    /// A role FastCGI 1.0 does not define.
    Other(u16),
}

impl Role {
    /// The role with this number.
    pub const fn from_number(number: u16) -> Self {
        match number {
            1 => Self::Responder,
            2 => Self::Authorizer,
            3 => Self::Filter,
            other => Self::Other(other),
        }
    }

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        match self {
            Self::Responder => 1,
            Self::Authorizer => 2,
            Self::Filter => 3,
            Self::Other(number) => number,
        }
    }
}

/// How the application ended a request, on the level of the protocol (§5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolStatus {
    /// 0: the request was carried out.
    RequestComplete,
    /// 1: a second request on a connection that takes one at a time.
    CantMpxConn,
    /// 2: the application is out of some resource.
    Overloaded,
    /// 3: the application does not have this role.
    UnknownRole,
    /// A status FastCGI 1.0 does not define.
    Other(u8),
}

impl ProtocolStatus {
    /// The status with this number.
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::RequestComplete,
            1 => Self::CantMpxConn,
            2 => Self::Overloaded,
            3 => Self::UnknownRole,
            other => Self::Other(other),
        }
    }

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::RequestComplete => 0,
            Self::CantMpxConn => 1,
            Self::Overloaded => 2,
            Self::UnknownRole => 3,
            Self::Other(number) => number,
        }
    }
}

/// The header in front of every record (§3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Version of the protocol, [`VERSION`].
    pub version: u8,
    /// What the record is.
    pub kind: RecordType,
    /// The request it belongs to, [`NULL_REQUEST_ID`] for management records.
    pub request_id: u16,
    /// Bytes of content behind the header.
    pub content_length: u16,
    /// Bytes of padding behind the content.
    pub padding_length: u8,
}

impl Header {
    /// A header of our version, padded to a multiple of 8 bytes as php-fpm does.
    pub const fn new(kind: RecordType, request_id: u16, content_length: u16) -> Self {
        let padding_length = (content_length.wrapping_neg() & 7) as u8;
        Self { version: VERSION, kind, request_id, content_length, padding_length }
    }

    /// The bytes on the wire; the reserved byte is zero.
    pub const fn encode(self) -> [u8; HEADER_LEN] {
        let [id1, id0] = self.request_id.to_be_bytes();
        let [length1, length0] = self.content_length.to_be_bytes();
        [self.version, self.kind.number(), id1, id0, length1, length0, self.padding_length, 0]
    }

    /// Reads the bytes of the wire. Every 8 bytes are some header; the reserved byte is not looked at.
    pub const fn decode(bytes: [u8; HEADER_LEN]) -> Self {
        let [version, kind, id1, id0, length1, length0, padding_length, _reserved] = bytes;
        Self {
            version,
            kind: RecordType::from_number(kind),
            request_id: u16::from_be_bytes([id1, id0]),
            content_length: u16::from_be_bytes([length1, length0]),
            padding_length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_layout_is_that_of_the_specification() {
        let header = Header {
            version: 1,
            kind: RecordType::Stdin,
            request_id: 0x0102,
            content_length: 0x0304,
            padding_length: 5,
        };
        assert_eq!(header.encode(), [1, 5, 1, 2, 3, 4, 5, 0]);
        assert_eq!(Header::decode([1, 5, 1, 2, 3, 4, 5, 99]), header);
    }

    #[test]
    fn padding_fills_up_to_eight() {
        for (content, padding) in [(0, 0), (1, 7), (7, 1), (8, 0), (9, 7), (65528, 0), (65529, 7), (65535, 1)]
        {
            assert_eq!(Header::new(RecordType::Stdout, 1, content).padding_length, padding, "{content}");
        }
    }

    #[test]
    fn numbers_round_trip() {
        for number in 0..=u8::MAX {
            assert_eq!(RecordType::from_number(number).number(), number);
            assert_eq!(ProtocolStatus::from_number(number).number(), number);
            assert_eq!(Role::from_number(number.into()).number(), number.into());
        }
    }
}
