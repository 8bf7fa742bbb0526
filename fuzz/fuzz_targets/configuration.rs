//! Gives libFuzzer's bytes to `configuration` of crates/fuzzing.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harmonylite_fuzzing::run("configuration", data));
