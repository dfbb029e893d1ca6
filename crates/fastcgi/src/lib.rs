//! FastCGI 1.0: bytes <-> records <-> requests, both sides.
//!
//! Sans-IO: the caller owns sockets and buffers, this crate only looks at slices. It never blocks, never
//! keeps content, and nothing a peer sends makes it panic, spin or grow.
//!
//! | module       | what it is                                                            |
//! |--------------|-----------------------------------------------------------------------|
//! | [`record`]   | the 8-byte header and the protocol's numbers (§3.3, §8)               |
//! | [`params`]   | name-value pairs (§3.4)                                               |
//! | [`server`]   | the application's side: what a web server sends, as events            |
//! | [`response`] | the application's side: headers around the output                     |
//! | [`client`]   | the web server's side: a request as bytes, the answer as events       |
//!
//! # Fuzzing
//!
//! The fuzz targets live in `fuzz/` at the root of the repository, outside the workspace, and need
//! `cargo install cargo-fuzz` and a nightly toolchain:
//!
//! ```text
//! cargo +nightly fuzz run server fuzz/corpus/server fuzz/corpus-seed/server
//! cargo +nightly fuzz run client fuzz/corpus/client fuzz/corpus-seed/client
//! cargo +nightly fuzz run params fuzz/corpus/params fuzz/corpus-seed/params
//! ```
//!
//! `cargo test -p fastcgi` replays the seeds under `fuzz/corpus-seed` with the same checks.
#![forbid(unsafe_code)]

mod framing;

pub mod client;
pub mod params;
pub mod record;
pub mod response;
pub mod server;
