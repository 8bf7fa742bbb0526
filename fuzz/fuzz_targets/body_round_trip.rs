//! Gives libFuzzer's bytes to `body_round_trip` of crates/fuzzing.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harmonylite_fuzzing::run("body_round_trip", data));
