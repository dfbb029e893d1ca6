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
//! The fuzz targets `server`, `client` and `params` live in `fuzz/` at the root of the repository, outside
//! the workspace, and need `cargo install cargo-fuzz` and a nightly toolchain. From the root:
//!
//! ```text
//! cargo +nightly fuzz run server   # without the seeds
//! mkdir -p fuzz/corpus/server
//! cargo +nightly fuzz run server fuzz/corpus/server fuzz/corpus-seed/server -- -runs=1000000
//! ```
//!
//! `--sanitizer none` is faster and misses little, as there is no unsafe code. The targets and
//! `cargo test -p fastcgi`, which replays the seeds, judge by the same rules: `tests/checks`.
#![forbid(unsafe_code)]

mod framing;

pub mod client;
pub mod params;
pub mod record;
pub mod response;
pub mod server;
