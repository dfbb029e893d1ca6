//! What the web server wants, one value per step.
//!
//! Never owns content: pieces of the streams borrow the input.

use super::Answer;
#[cfg(doc)]
use super::{Limits, Server};
use crate::record::Role;

/// What the web server wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A request begins; it is active until [`Server::end_request`].
    Begin(Begin),
    /// The next piece of the parameter stream, for [`crate::params::Pairs`] once it is complete.
    Params(&'a [u8]),
    /// All parameters are there.
    ParamsEnd,
    /// The next piece of the request body.
    Stdin(&'a [u8]),
    /// The request body is complete. Read on only after [`Server::end_request`], or for an
    /// abort: a web server may have sent its next request already, which is refused while this one is
    /// active.
    StdinEnd,
    /// The web server does not want the active request any more; it is still to be ended.
    Abort {
        /// The active request.
        request_id: u16,
    },
    /// Bytes to be sent right away.
    Answer(Answer),
}

/// A request that begins (§5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The id to answer with. It may be 0, as with php-fpm.
    pub request_id: u16,
    /// One of [`Limits::roles`].
    pub role: Role,
    /// The connection stays open after END_REQUEST.
    pub keep_connection: bool,
}
