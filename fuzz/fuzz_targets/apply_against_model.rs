//! Gives libFuzzer's bytes to `apply_against_model` of crates/fuzzing.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harmonylite_fuzzing::run("apply_against_model", data));
