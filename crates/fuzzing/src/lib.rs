//! What fuzzing runs: any bytes into one part of HarmonyLite, and what must hold whatever they are. A claim that does
//! not hold is a panic.
//!
//! The folder `fuzz/` gives these functions to libFuzzer, `tests/corpus.rs` runs them over the kept inputs. Nothing here
//! knows who chooses the bytes; nothing asks a clock or a source of randomness, so that an input does the same again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a claim that does not hold is a panic"
)]

mod apply_against_model;
mod body_round_trip;
mod configuration;
mod frame_decoding;
mod member_records;
mod nodes;
mod schema_script;
mod schema_to_triggers;
mod twins;

/// One thing to try with any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its folder in `fuzz/corpus/`.
    pub name: &'static str,
    /// Tries it.
    pub run: fn(&[u8]),
    /// Longer inputs find nothing that shorter ones would not, in bytes.
    pub size_max: usize,
    /// Inputs that a run of `make test` makes up, so that all targets take about as long.
    pub inputs: u32,
}

/// All targets.
pub const TARGETS: [Target; 6] = [
    Target { name: "frame_decoding", run: frame_decoding::run, size_max: 4096, inputs: 20_000 },
    Target { name: "member_records", run: member_records::run, size_max: 4096, inputs: 20_000 },
    Target { name: "body_round_trip", run: body_round_trip::run, size_max: 4096, inputs: 5_000 },
    Target { name: "schema_to_triggers", run: schema_to_triggers::run, size_max: 2048, inputs: 100 },
    Target { name: "apply_against_model", run: apply_against_model::run, size_max: 1024, inputs: 100 },
    Target { name: "configuration", run: configuration::run, size_max: 16_384, inputs: 1_000 },
];

/// Runs the target called `name`.
///
/// # Panics
///
/// When there is no such target, and when a claim does not hold.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of that name").run)(data);
}
