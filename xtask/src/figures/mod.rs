//! What a cluster does when it is idle or given a hard time, for developers: `cargo xtask figures`.
//!
//! Real nodes (release build), real nats-servers, real files. Nothing is printed of nodes that did not end up with the
//! same rows. What users can measure, too, is `harmonylite bench`, and is not measured here again.

mod cores;
mod cutoff;
mod idle;
mod kindness;
mod machine;
mod memory;
mod neighbours;
mod process;
mod report;
mod workload;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};

use self::cores::Cores;
use self::report::Report;

/// What to measure, and how much of it.
#[derive(Args)]
pub(crate) struct Options {
    /// Print one JSON document instead of a table.
    #[arg(long)]
    json: bool,
    /// Measure only these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Subject>,
    /// Repetitions of what is cheap to repeat; medians are shown.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Rows of the backlog.
    #[arg(long, default_value_t = 1_000_000)]
    backlog: u64,
    /// Seconds of the quiet that is measured.
    #[arg(long, default_value_t = 60)]
    idle_s: u64,
    /// Seconds of each phase in which the application's writes are measured.
    #[arg(long, default_value_t = 5)]
    phase_s: u64,
    /// Kindness and cut-off: let the nodes and their applications run on all processors, instead of one for each node.
    #[arg(long)]
    share_cores: bool,
    /// Kindness: let the node that is written to keep its files on the same disk as the application, instead of in memory.
    #[arg(long)]
    share_disk: bool,
    /// Measure this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// Processor time and memory of a cluster that does nothing.
    Idle,
    /// Memory with a backlog.
    Memory,
    /// The application's own writes while another node's are applied.
    Kindness,
    /// Two nodes that did not reach one another while both wrote.
    Cutoff,
    /// Two databases on one machine.
    Neighbours,
}

/// Measures and prints.
///
/// # Errors
/// When something cannot be started, or when the nodes do not end up with the same rows.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let binary = match &options.binary {
        Some(binary) => binary.canonicalize().with_context(|| binary.display().to_string())?,
        None => build(root)?,
    };
    let mut report = Report::new(machine::describe());
    let cores = if options.share_cores { Cores::Shared } else { Cores::Own };
    let wanted = |subject| options.only.is_empty() || options.only.contains(&subject);
    if wanted(Subject::Idle) {
        idle::measure(&binary, options.idle_s, &mut report)?;
    }
    if wanted(Subject::Memory) {
        memory::measure(&binary, options.backlog, &mut report)?;
    }
    if wanted(Subject::Kindness) {
        let plan = kindness::Plan {
            cores,
            share_disk: options.share_disk,
            repeat: options.repeat,
            phase: Duration::from_secs(options.phase_s),
        };
        kindness::measure(&binary, plan, &mut report)?;
    }
    if wanted(Subject::Cutoff) {
        cutoff::measure(&binary, cores, options.backlog, &mut report)?;
    }
    if wanted(Subject::Neighbours) {
        neighbours::measure(&binary, options.repeat, options.phase_s, &mut report)?;
    }
    report.print(options.json)
}

fn build(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["build", "--release", "--locked", "--package", "harmonylite"];
    let status = Command::new(cargo).current_dir(root).args(arguments).status().context("running cargo")?;
    ensure!(status.success(), "cargo {} ended with {status}", arguments.join(" "));
    Ok(root.join("target/release/harmonylite"))
}
