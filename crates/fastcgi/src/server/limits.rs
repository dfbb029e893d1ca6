//! What a peer may make the application's side do, and what happens when it wants more.
//!
//! Every number bounds work or memory per request, never the request body: that is the worker's matter.

/// What one connection may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's PARAMS stream, all records together.
    pub params: usize,
    /// Records in a row that bring a request no further: empty, unknown or ignored ones, questions.
    pub idle_records: u32,
    /// Bytes of PARAMS, STDIN and DATA for a request that is not active, between two requests.
    pub ignored: u64,
    /// Bytes of content in a GET_VALUES record.
    pub get_values: u16,
    /// The roles a request may have.
    pub roles: Roles,
    /// Answers to GET_VALUES.
    pub values: Values,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            params: 1 << 20,
            idle_records: 1024,
            ignored: 64 << 20,
            get_values: 4096,
            roles: Roles::Responder,
            values: Values::default(),
        }
    }
}

/// The roles an application accepts; requests with others are answered with UNKNOWN_ROLE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Roles {
    /// The responder alone.
    #[default]
    Responder,
    /// Responder, authorizer and filter, all run like a responder, as php-fpm does. A filter's DATA is
    /// skipped.
    Standard,
}

/// What GET_VALUES is answered with (§4.1). `FCGI_MPXS_CONNS` is always 0: a connection has one request
/// at a time. The others are left out of the answer while `None`, as php-fpm does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Values {
    /// `FCGI_MAX_CONNS`: how many connections at the same time.
    pub max_conns: Option<u32>,
    /// `FCGI_MAX_REQS`: how many requests at the same time.
    pub max_reqs: Option<u32>,
}

/// Something a peer may not send. The connection cannot be read any further and has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Version 0. Others are read, as php-fpm does.
    #[error("FastCGI version 0")]
    Version,
    /// A BEGIN_REQUEST body that has not 8 bytes.
    #[error("BEGIN_REQUEST with {length} bytes of content instead of 8")]
    BeginLength {
        /// What the header said.
        length: u16,
    },
    /// A second BEGIN_REQUEST for the id of the active request.
    #[error("a second BEGIN_REQUEST for the active request {request_id}")]
    BeginAgain {
        /// The id of both.
        request_id: u16,
    },
    /// More than [`Limits::params`].
    #[error("more than {limit} bytes of parameters")]
    ParamsTooLong {
        /// The limit.
        limit: usize,
    },
    /// More than [`Limits::get_values`].
    #[error("GET_VALUES with more than {limit} bytes of content")]
    GetValuesTooLong {
        /// The limit.
        limit: u16,
    },
    /// Content of GET_VALUES that is no list of name-value pairs.
    #[error("malformed GET_VALUES")]
    MalformedGetValues,
    /// More than [`Limits::idle_records`].
    #[error("more than {limit} records in a row that bring no request further")]
    TooManyIdleRecords {
        /// The limit.
        limit: u32,
    },
    /// More than [`Limits::ignored`].
    #[error("more than {limit} bytes for requests that are not active")]
    IgnoredTooLong {
        /// The limit.
        limit: u64,
    },
}
