//! Chaos with real processes: `cargo xtask chaos`.
//!
//! Nodes of a scenario's topology under the load of real applications, while processes are killed and stand still, links
//! are cut, disks get full and clocks jump, as a seed decides. Then everything is healed, and all nodes must come to rest
//! with equal tables, without a lost write. [docs/testing.md](../../../docs/testing.md) says how to read what it prints.

pub(crate) mod application;
mod application_process;
mod clock;
mod faults;
mod final_state;
mod journal;
mod judge;
mod memory;
mod mounts;
mod plan;
mod run;
mod scenario;
mod servers;
mod stage;
mod timeline;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use self::run::{Run, Seen};
use self::scenario::Scenario;
use crate::product;

/// So often, in all runs of a command together, a fault must have been planned before it counts that it never happened: a
/// server that was to be paused may be away for good reasons.
const OFTEN: u64 = 3;

/// What to run, how long, and how often.
#[derive(Args)]
pub(crate) struct Options {
    /// A scenario: the name of a file in xtask/scenarios, without its ending. May be given several times.
    #[arg(long, value_name = "NAME", required_unless_present = "all")]
    scenario: Vec<String>,
    /// All of them.
    #[arg(long, conflicts_with = "scenario")]
    all: bool,
    /// The seed of the first run; each further run takes the next number. Without it, one of the clock.
    #[arg(long)]
    seed: Option<u64>,
    /// Seconds of load and faults of each run.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    duration: u64,
    /// Runs of each scenario.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Run this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Runs scenarios, one after the other; stops at the first violation.
///
/// # Errors
/// At a violation, with the command that repeats it.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    mounts::enter()?;
    let scenarios = read(root, options)?;
    let binary = match &options.binary {
        Some(binary) => binary.canonicalize().with_context(|| binary.display().to_string())?,
        None => product::build(root)?,
    };
    if scenarios.iter().any(Scenario::moves_clocks) {
        mounts::mount(Path::new("/dev/shm"), 64)?;
    }
    let first = options.seed.unwrap_or_else(seed_of_clock);
    let (mut planned, mut happened) = (BTreeMap::<_, u64>::new(), BTreeMap::<_, u64>::new());
    let duration = Duration::from_secs(options.duration);
    for scenario in &scenarios {
        for seed in first..first + options.runs {
            say(&format!("{} seed {seed}, {} s", scenario.name, options.duration));
            let run = Run { root, binary: &binary, scenario, seed, duration };
            let seen = run.perform().with_context(|| {
                let (name, seconds) = (&scenario.name, options.duration);
                format!("violation: cargo xtask chaos --scenario {name} --seed {seed} --duration {seconds}")
            })?;
            say(&told(&seen));
            seen.planned.iter().for_each(|(kind, count)| *planned.entry(*kind).or_default() += count);
            seen.tally.faults.iter().for_each(|(kind, count)| *happened.entry(*kind).or_default() += count);
        }
    }
    let missing = planned.iter().find(|(kind, count)| **count >= OFTEN && !happened.contains_key(kind));
    let missing = missing.map(|(kind, count)| format!("{} was planned {count} times", kind.name()));
    ensure!(missing.is_none(), "{missing:?} and never happened: the scenario does not fit");
    Ok(())
}

fn read(root: &Path, options: &Options) -> Result<Vec<Scenario>> {
    let folder = root.join("xtask/scenarios");
    let mut names = options.scenario.clone();
    if options.all {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            names.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
        names.sort();
    }
    ensure!(!names.is_empty(), "there is no scenario in {}", folder.display());
    names.iter().map(|name| Scenario::read(&folder.join(format!("{name}.toml")))).collect()
}

fn told(seen: &Seen) -> String {
    let (faults, rest) = (seen.tally.faults_text(), seen.rest.as_secs_f64());
    let exits: String =
        seen.tally.exits.iter().map(|(code, count)| format!("; exit {code}: {count}")).collect();
    format!(
        "  passed: {} transactions, {} conflicts logged; {faults}{exits}; at rest after {rest:.1} s; \
         at most {} MB a sidecar, {} MB a server",
        seen.transactions, seen.conflicts, seen.tally.sidecar_mb, seen.tally.server_mb
    )
}

/// A line on what is going on.
#[allow(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}

fn seed_of_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_secs() % 1_000_000)
}
