//! Gives libFuzzer's bytes to `member_records` of crates/fuzzing.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harmonylite_fuzzing::run("member_records", data));
