//! The application's side of one connection: what the web server sends, as events (FastCGI 1.0 §4–§5).
//!
//! Never keeps content: PARAMS and STDIN are handed on as slices of the input in whatever pieces arrive.
//! Kept are only a partial header, a partial BEGIN_REQUEST body and a partial GET_VALUES.
//!
//! ```text
//!            Begin              ParamsEnd            StdinEnd
//!   no request ──► Parameters ────────────► Body ──────────────► Complete
//!       ▲               │                    │                      │
//!       └───────────────┴── end_request() ───┴──────────────────────┘
//! ```
//!
//! Without a request, records of all ids are skipped until the next BEGIN_REQUEST, which may come though
//! the last request's STDIN was never closed: the web server sends it once it is through with the old
//! request, and an id that END_REQUEST set free may be used again (§3.3). php-fpm instead counts
//! CONTENT_LENGTH and takes what else arrives for a broken request. Apache stops a request body where it
//! stands when END_REQUEST comes; nginx closes the body or the connection.

mod answer;
mod event;
mod limits;
#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use event::{Begin, Event};
pub use limits::{Limits, Roles, Values, Violation};

use crate::framing::{Body, Framing, Stage};
use crate::record::{BODY_LEN, Header, KEEP_CONN, NULL_REQUEST_ID, ProtocolStatus, RecordType, Role};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Parameters,
    Body,
    Complete,
}

/// What the content of the current record is for.
#[derive(Debug, Clone, Copy)]
enum Content {
    Skipped,
    Begin { request_id: u16 },
    Params,
    Stdin,
    GetValues,
}

/// Reads one connection.
#[derive(Debug, Clone)]
pub struct Server {
    limits: Limits,
    framing: Framing,
    content: Content,
    begin_body: Body,
    get_values: Vec<u8>,
    request: Option<(Begin, Phase)>,
    params_len: usize,
    idle_records: u32,
    ignored: u64,
    violation: Option<Violation>,
}

impl Server {
    /// A connection that has sent nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            framing: Framing::default(),
            content: Content::Skipped,
            begin_body: Body::default(),
            get_values: Vec::new(),
            request: None,
            params_len: 0,
            idle_records: 0,
            ignored: 0,
            violation: None,
        }
    }

    /// Reads from the front of `input` up to the next event: how many bytes were used, and the event.
    /// Without an event all bytes were used and more are needed. With one it may be that none was, once
    /// and then not again for the same bytes. An error is final.
    ///
    /// However the bytes are split over calls, the events are the same, put together.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Event<'a>>), Violation> {
        if let Some(violation) = self.violation {
            return Err(violation);
        }
        self.advance(input).inspect_err(|violation| self.violation = Some(*violation))
    }

    /// The request between [`Event::Begin`] and [`Server::end_request`].
    pub fn request(&self) -> Option<Begin> {
        self.request.map(|(begin, _)| begin)
    }

    /// The active request's parameters are complete.
    pub fn params_ended(&self) -> bool {
        matches!(self.request, Some((_, Phase::Body | Phase::Complete)))
    }

    /// The active request's body is complete.
    pub fn stdin_ended(&self) -> bool {
        matches!(self.request, Some((_, Phase::Complete)))
    }

    /// No part of a record is missing. With no request active, the connection is idle then.
    pub fn between_records(&self) -> bool {
        self.framing.between_records()
    }

    /// Bytes of earlier inputs that are kept: less than a header, a body, or [`Limits::get_values`].
    pub fn kept(&self) -> usize {
        self.framing.kept() + self.begin_body.kept() + self.get_values.len()
    }

    /// The application has sent END_REQUEST: what still comes of the request is skipped, and the next
    /// BEGIN_REQUEST is accepted. Without an active request nothing happens.
    pub fn end_request(&mut self) {
        self.request = None;
        if matches!(self.content, Content::Params | Content::Stdin) {
            self.content = Content::Skipped;
        }
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
                    if self.ends_params(header) {
                        return Ok((used, Some(Event::ParamsEnd)));
                    }
                    used += self.framing.enter(header);
                    self.on_header(header)?
                }
                Stage::Content if rest.is_empty() => return Ok((used, None)),
                Stage::Content => {
                    let piece = self.framing.take_content(rest);
                    used += piece.len();
                    self.on_content(piece)?
                }
                Stage::Padding if rest.is_empty() => return Ok((used, None)),
                Stage::Padding => None,
            };
            used += self.framing.skip_padding(&input[used..]);
            if event.is_some() {
                return Ok((used, event));
            }
        }
    }

    /// STDIN while the parameter stream is still open ends it, like with php-fpm (which then loses that
    /// record). Its header stays in the input, so that it is an event of its own.
    fn ends_params(&mut self, header: Header) -> bool {
        let Some((begin, phase @ Phase::Parameters)) = &mut self.request else { return false };
        let ends =
            header.kind == RecordType::Stdin && header.request_id == begin.request_id && header.version != 0;
        if ends {
            *phase = Phase::Body;
            self.idle_records = 0;
        }
        ends
    }

    fn on_header<'a>(&mut self, header: Header) -> Result<Option<Event<'a>>, Violation> {
        if header.version == 0 {
            return Err(Violation::Version);
        }
        self.content = Content::Skipped;
        let active = self.request.filter(|(begin, _)| begin.request_id == header.request_id);
        match (header.kind, active) {
            (RecordType::BeginRequest, active) => self.on_begin_header(header, active.is_some()),
            (RecordType::GetValues, _) => self.on_get_values_header(header),
            (RecordType::Params, Some((_, Phase::Parameters))) => self.on_params_header(header),
            (RecordType::Stdin, Some((_, Phase::Body))) => self.on_stdin_header(header),
            (RecordType::AbortRequest, Some(_)) => {
                self.count_idle_record()?;
                Ok(Some(Event::Abort { request_id: header.request_id }))
            }
            (RecordType::Other(number), _) if header.request_id == NULL_REQUEST_ID => {
                self.count_idle_record()?;
                Ok(Some(Event::Answer(Answer::unknown_type(number))))
            }
            _ => self.on_ignored_header(header),
        }
    }

    fn on_begin_header<'a>(&mut self, header: Header, active: bool) -> Result<Option<Event<'a>>, Violation> {
        if usize::from(header.content_length) != BODY_LEN {
            return Err(Violation::BeginLength { length: header.content_length });
        }
        if active {
            return Err(Violation::BeginAgain { request_id: header.request_id });
        }
        self.content = Content::Begin { request_id: header.request_id };
        Ok(None)
    }

    fn on_get_values_header<'a>(&mut self, header: Header) -> Result<Option<Event<'a>>, Violation> {
        self.count_idle_record()?;
        if header.content_length > self.limits.get_values {
            return Err(Violation::GetValuesTooLong { limit: self.limits.get_values });
        }
        self.content = Content::GetValues;
        if header.content_length == 0 { self.answer_values(&[]) } else { Ok(None) }
    }

    fn on_params_header<'a>(&mut self, header: Header) -> Result<Option<Event<'a>>, Violation> {
        self.idle_records = 0;
        if header.content_length == 0 {
            self.enter_phase(Phase::Body);
            return Ok(Some(Event::ParamsEnd));
        }
        self.params_len = self.params_len.saturating_add(header.content_length.into());
        if self.params_len > self.limits.params {
            return Err(Violation::ParamsTooLong { limit: self.limits.params });
        }
        self.content = Content::Params;
        Ok(None)
    }

    fn on_stdin_header<'a>(&mut self, header: Header) -> Result<Option<Event<'a>>, Violation> {
        self.idle_records = 0;
        if header.content_length == 0 {
            self.enter_phase(Phase::Complete);
            return Ok(Some(Event::StdinEnd));
        }
        self.content = Content::Stdin;
        Ok(None)
    }

    /// Left-overs of a request that was ended or refused come in any number of records, so their bytes
    /// are counted; all else that is ignored counts as a record.
    fn on_ignored_header<'a>(&mut self, header: Header) -> Result<Option<Event<'a>>, Violation> {
        let stream = matches!(header.kind, RecordType::Params | RecordType::Stdin | RecordType::Data);
        if !stream || header.content_length == 0 {
            self.count_idle_record()?;
            return Ok(None);
        }
        self.ignored = self.ignored.saturating_add(header.content_length.into());
        if self.ignored > self.limits.ignored {
            return Err(Violation::IgnoredTooLong { limit: self.limits.ignored });
        }
        Ok(None)
    }

    fn on_content<'a>(&mut self, piece: &'a [u8]) -> Result<Option<Event<'a>>, Violation> {
        match self.content {
            Content::Skipped => Ok(None),
            Content::Params => Ok(Some(Event::Params(piece))),
            Content::Stdin => Ok(Some(Event::Stdin(piece))),
            Content::Begin { request_id } => match self.begin_body.add(piece) {
                Some(body) => self.on_begin(request_id, body).map(Some),
                None => Ok(None),
            },
            Content::GetValues => self.on_get_values(piece),
        }
    }

    fn on_begin<'a>(&mut self, request_id: u16, body: [u8; BODY_LEN]) -> Result<Event<'a>, Violation> {
        let [role1, role0, flags, ..] = body;
        let role = Role::from_number(u16::from_be_bytes([role1, role0]));
        let keep_connection = flags & KEEP_CONN != 0;
        if self.request.is_some() {
            self.count_idle_record()?;
            return Ok(Event::Answer(Answer::refused(request_id, ProtocolStatus::CantMpxConn, false)));
        }
        let accepted = match role {
            Role::Responder => true,
            Role::Authorizer | Role::Filter => self.limits.roles == Roles::Standard,
            Role::Other(_) => false,
        };
        if !accepted {
            self.count_idle_record()?;
            let status = ProtocolStatus::UnknownRole;
            return Ok(Event::Answer(Answer::refused(request_id, status, !keep_connection)));
        }
        let begin = Begin { request_id, role, keep_connection };
        self.request = Some((begin, Phase::Parameters));
        self.params_len = 0;
        self.idle_records = 0;
        self.ignored = 0;
        Ok(Event::Begin(begin))
    }

    fn on_get_values<'a>(&mut self, piece: &[u8]) -> Result<Option<Event<'a>>, Violation> {
        if self.framing.content_left() > 0 {
            self.get_values.extend_from_slice(piece);
            return Ok(None);
        }
        if self.get_values.is_empty() {
            return self.answer_values(piece);
        }
        let mut asked = std::mem::take(&mut self.get_values);
        asked.extend_from_slice(piece);
        self.answer_values(&asked)
    }

    fn answer_values<'a>(&self, asked: &[u8]) -> Result<Option<Event<'a>>, Violation> {
        let answer = Answer::values(asked, self.limits.values).map_err(|_| Violation::MalformedGetValues)?;
        Ok(Some(Event::Answer(answer)))
    }

    fn enter_phase(&mut self, next: Phase) {
        if let Some((_, phase)) = &mut self.request {
            *phase = next;
        }
    }

    fn count_idle_record(&mut self) -> Result<(), Violation> {
        self.idle_records += 1;
        if self.idle_records > self.limits.idle_records {
            return Err(Violation::TooManyIdleRecords { limit: self.limits.idle_records });
        }
        Ok(())
    }
}
