//! What may stand in configuration files, judged by the rules of the crate's tests.
#![no_main]

#[path = "../../crates/config/tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    checks::configuration(data);
    checks::defines(data);
});
