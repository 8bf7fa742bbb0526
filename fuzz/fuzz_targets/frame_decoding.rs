//! Gives libFuzzer's bytes to `frame_decoding` of crates/fuzzing.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harmonylite_fuzzing::run("frame_decoding", data));
