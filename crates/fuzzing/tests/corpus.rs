//! Fuzzing's short form: every kept input, and inputs made up from them with a seed, without libFuzzer.
//!
//! `HARMONYLITE_TEST_SEED` makes up others. An input that fails is put into `fuzz/artifacts/`, where libFuzzer puts its own:
//! `make fuzz TARGET=<name> INPUT=<file>` runs it again.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and says where it was"
)]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use harmonylite_fuzzing::{TARGETS, Target};
use harmonylite_testkit::Rng;

/// Kept inputs of one target: more would only take time.
const KEPT_MAX: usize = 64;
/// The seed when none is given: continuous integration does the same each time.
const SEED: u64 = 1;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap()
}

/// The kept inputs of a target with their names, in the order of these.
fn kept(target: &Target) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(fuzz().join("corpus").join(target.name)).unwrap();
    let mut inputs: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

fn names(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(fuzz().join(folder)).unwrap();
    let name = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    entries.map(|entry| name(entry.unwrap().path())).collect()
}

#[test]
fn every_target_has_a_program_and_a_small_corpus() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
    for target in &TARGETS {
        let inputs = kept(target);
        assert!((1..=KEPT_MAX).contains(&inputs.len()), "{}: {} inputs", target.name, inputs.len());
        for (name, input) in inputs {
            assert!(input.len() <= target.size_max, "{}/{name}: {} bytes", target.name, input.len());
        }
    }
}

/// Runs all kept inputs.
fn replay(name: &str) {
    for (file, input) in kept(target(name)) {
        println!("fuzz/corpus/{name}/{file}");
        harmonylite_fuzzing::run(name, &input);
    }
}

/// Runs inputs that are kept ones with changes.
fn make_up(name: &str) {
    let target = target(name);
    let seed = std::env::var("HARMONYLITE_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(SEED);
    println!("HARMONYLITE_TEST_SEED={seed}");
    let mut rng = Rng::new(seed);
    let inputs: Vec<Vec<u8>> = kept(target).into_iter().map(|(_, input)| input).collect();
    for number in 0..target.inputs {
        let input = changed(&mut rng, &inputs, target.size_max);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(&input))) {
            let folder = fuzz().join("artifacts").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            let file = folder.join(format!("made-up-{seed}-{number}"));
            std::fs::write(&file, &input).unwrap();
            println!("input {number} failed: {}", file.display());
            resume_unwind(panic);
        }
    }
}

/// One of `inputs`, or two joined, with a few bytes changed, put in, taken out or repeated.
fn changed(rng: &mut Rng, inputs: &[Vec<u8>], size_max: usize) -> Vec<u8> {
    let mut input = rng.pick(inputs).unwrap().clone();
    if rng.chance(20) {
        let other = rng.pick(inputs).unwrap();
        input.truncate(place(rng, &input));
        input.extend_from_slice(&other[place(rng, other)..]);
    }
    for _ in 0..=rng.below(6) {
        let at = place(rng, &input);
        let end = at + place(rng, &input[at..]).min(16);
        match rng.below(6) {
            0 => input.insert(at, rng.next_u64() as u8),
            1 => drop(input.drain(at..end)),
            2 => {
                let piece = input[at..end].to_vec();
                let to = place(rng, &input);
                input.splice(to..to, piece);
            }
            3 => input.splice(at..at, rng.next_u64().to_be_bytes()).for_each(drop),
            4 => input.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << rng.below(8)),
            _ => input.get_mut(at).into_iter().for_each(|byte| *byte = rng.next_u64() as u8),
        }
    }
    input.truncate(size_max);
    input
}

/// A place in `bytes`, or their end.
fn place(rng: &mut Rng, bytes: &[u8]) -> usize {
    rng.below(bytes.len() as u64 + 1) as usize
}

/// Both forms for each target, each a test of its own: they run side by side.
macro_rules! forms {
    ($($target:ident),*) => {
        mod kept_inputs_hold {
            $(#[test] fn $target() { super::replay(stringify!($target)); })*
        }
        mod made_up_inputs_hold {
            $(#[test] fn $target() { super::make_up(stringify!($target)); })*
        }
        /// Those that have tests.
        const FORMS: &[&str] = &[$(stringify!($target)),*];
    };
}

forms!(
    frame_decoding,
    member_records,
    body_round_trip,
    schema_to_triggers,
    apply_against_model,
    configuration
);

#[test]
fn every_target_has_its_tests() {
    assert_eq!(FORMS, TARGETS.map(|target| target.name));
}
