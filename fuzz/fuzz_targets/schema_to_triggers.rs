//! Gives libFuzzer's bytes to `schema_to_triggers` of crates/fuzzing.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harmonylite_fuzzing::run("schema_to_triggers", data));
