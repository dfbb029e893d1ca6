//! What may stand in a stream of name-value pairs, judged by the rules of the crate's tests.
#![no_main]

#[path = "../../crates/fastcgi/tests/checks/mod.rs"]
#[allow(dead_code)]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::params(data));
