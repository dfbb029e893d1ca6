//! The PHP engine of cornac: a library that is preloaded into a stock PHP executable, takes over its
//! `main`, runs PHP's start-up once and then forks workers that serve FastCGI requests.
//!
//! Never loaded into the master. One thread; of a companion's PHP and Rust know nothing. No Rust frame ever
//! lies between a PHP `setjmp` and its `longjmp`: C drives (`shim/`), Rust answers (`worker/upcalls.rs`). A
//! panic aborts the one process.

mod companion;
mod confine;
mod entry;
mod fork_server;
mod ini_files;
mod log;
mod orphan;
mod parking;
mod php;
mod sources;
mod task;
mod title;
mod tracing;
mod worker;
