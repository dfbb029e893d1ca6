//! The web server's side of one connection: the answer as events (FastCGI 1.0 §5.3, §5.5), and a
//! request as bytes.
//!
//! Never decides what belongs to which request: [`Client::request_id`] says it, the caller compares.

mod request;
#[cfg(test)]
mod tests;

pub use request::{Request, Split, abort, begin, get_values};

use crate::framing::{Body, Framing, Stage};
use crate::record::{BODY_LEN, Header, ProtocolStatus, RecordType};

/// What the application sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// The next piece of the response.
    Stdout(&'a [u8]),
    /// The response is closed. php-fpm goes without.
    StdoutEnd,
    /// The next piece of the error stream.
    Stderr(&'a [u8]),
    /// The error stream is closed. php-fpm goes without.
    StderrEnd,
    /// The request is over.
    End {
        /// Which request.
        request_id: u16,
        /// What a CGI program would have exited with.
        app_status: u32,
        /// How it ended on the level of the protocol.
        protocol_status: ProtocolStatus,
    },
    /// The answer to GET_VALUES, for [`crate::params::Pairs`].
    Values(Vec<u8>),
    /// The application does not know management records of this type.
    UnknownType(u8),
}

/// Something an application may not send. The connection cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Version 0.
    #[error("FastCGI version 0")]
    Version,
    /// END_REQUEST or UNKNOWN_TYPE with a body that has not 8 bytes.
    #[error("{kind:?} with {length} bytes of content instead of 8")]
    BodyLength {
        /// Which of the two.
        kind: RecordType,
        /// What the header said.
        length: u16,
    },
    /// A record that only web servers send, or of no known type.
    #[error("{kind:?} from an application")]
    Unexpected {
        /// Its type.
        kind: RecordType,
    },
}

/// What the content of the current record is for.
#[derive(Debug, Clone, Copy)]
enum Content {
    Stdout,
    Stderr,
    End,
    Values,
    UnknownType,
}

/// Reads one connection. Keeps a partial header or body, and a GET_VALUES_RESULT of at most 64 KiB.
#[derive(Debug, Clone)]
pub struct Client {
    framing: Framing,
    content: Content,
    request_id: u16,
    body: Body,
    values: Vec<u8>,
    violation: Option<Violation>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A connection on which nothing has been answered yet.
    pub fn new() -> Self {
        Self {
            framing: Framing::default(),
            content: Content::Stdout,
            request_id: 0,
            body: Body::default(),
            values: Vec::new(),
            violation: None,
        }
    }

    /// The id in the record that the last event came from.
    pub fn request_id(&self) -> u16 {
        self.request_id
    }

    /// No part of a record is missing.
    pub fn between_records(&self) -> bool {
        self.framing.between_records()
    }

    /// Bytes of earlier inputs that are kept: less than a header, a body, or one GET_VALUES_RESULT.
    pub fn kept(&self) -> usize {
        self.framing.kept() + self.body.kept() + self.values.len()
    }

    /// Reads from the front of `input` up to the next event: how many bytes were used, and the event.
    /// Without an event all bytes were used and more are needed. An error is final.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Event<'a>>), Violation> {
        if let Some(violation) = self.violation {
            return Err(violation);
        }
        self.advance(input).inspect_err(|violation| self.violation = Some(*violation))
    }

    fn advance<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Event<'a>>), Violation> {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            let event = match self.framing.stage() {
                Stage::Header => {
                    let Some(header) = self.framing.peek_header(rest) else {
                        self.framing.keep_partial_header(rest);
                        return Ok((input.len(), None));
                    };
                    used += self.framing.enter(header);
                    self.on_header(header)?
                }
                Stage::Content | Stage::Padding if rest.is_empty() => return Ok((used, None)),
                Stage::Content => {
                    let piece = self.framing.take_content(rest);
                    used += piece.len();
                    self.on_content(piece)
                }
                Stage::Padding => None,
            };
            used += self.framing.skip_padding(&input[used..]);
            if event.is_some() {
                return Ok((used, event));
            }
        }
    }

    fn on_header<'a>(&mut self, header: Header) -> Result<Option<Event<'a>>, Violation> {
        if header.version == 0 {
            return Err(Violation::Version);
        }
        self.request_id = header.request_id;
        let empty = header.content_length == 0;
        self.content = match header.kind {
            RecordType::Stdout if empty => return Ok(Some(Event::StdoutEnd)),
            RecordType::Stdout => Content::Stdout,
            RecordType::Stderr if empty => return Ok(Some(Event::StderrEnd)),
            RecordType::Stderr => Content::Stderr,
            RecordType::GetValuesResult if empty => return Ok(Some(Event::Values(Vec::new()))),
            RecordType::GetValuesResult => Content::Values,
            RecordType::EndRequest => body_content(header, Content::End)?,
            RecordType::UnknownType => body_content(header, Content::UnknownType)?,
            kind => return Err(Violation::Unexpected { kind }),
        };
        Ok(None)
    }

    fn on_content<'a>(&mut self, piece: &'a [u8]) -> Option<Event<'a>> {
        match self.content {
            Content::Stdout => Some(Event::Stdout(piece)),
            Content::Stderr => Some(Event::Stderr(piece)),
            Content::Values => {
                self.values.extend_from_slice(piece);
                let complete = self.framing.content_left() == 0;
                complete.then(|| Event::Values(std::mem::take(&mut self.values)))
            }
            Content::End => {
                let [a3, a2, a1, a0, protocol_status, ..] = self.body.add(piece)?;
                Some(Event::End {
                    request_id: self.request_id,
                    app_status: u32::from_be_bytes([a3, a2, a1, a0]),
                    protocol_status: ProtocolStatus::from_number(protocol_status),
                })
            }
            Content::UnknownType => {
                let [number, ..] = self.body.add(piece)?;
                Some(Event::UnknownType(number))
            }
        }
    }
}

fn body_content(header: Header, content: Content) -> Result<Content, Violation> {
    if usize::from(header.content_length) == BODY_LEN {
        Ok(content)
    } else {
        Err(Violation::BodyLength { kind: header.kind, length: header.content_length })
    }
}
