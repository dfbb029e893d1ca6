//! What a pool tells about itself, byte for byte as php-fpm 8.2 does: the status page in its forms (`status`) and the
//! lines of the access log (`access`).
//!
//! Facts in, text out: nothing here reads a clock, a scoreboard or a file; local time is asked from the caller.
#![forbid(unsafe_code)]

pub mod access;
pub mod status;
