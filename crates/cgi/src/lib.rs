//! The CGI side of a request, as php-fpm 8.2 sees it: which script the
//! meta-variables mean, what the script finds in `$_SERVER`, and how the
//! response head is written.
//!
//! Nothing here opens a file, reads a clock or the environment, or knows PHP:
//! facts about files come in through a trait, decisions go out as values.
#![forbid(unsafe_code)]

pub mod head;
mod number;
pub mod script;

pub use number::content_length;
