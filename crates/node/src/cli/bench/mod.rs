//! `harmonylite bench`: what replication costs on this machine, each figure beside a reference of the same run.
//!
//! It measures from outside, as an application would: this program again as three processes, their real servers, real
//! files. Nothing is printed of nodes that do not hold the same rows in the end.

mod arguments;
mod capture;
mod catch_up;
mod cluster;
mod figure;
mod latency;
mod machine;
mod machines;
mod node;
mod own_writes;
mod pace;
mod process;
mod report;
mod throughput;

use std::path::PathBuf;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub(super) use self::arguments::BenchArguments;

use self::arguments::{Plan, Subject};
use self::figure::Figure;
use self::machine::Machine;
use self::report::Report;
use super::run::block_on;
use super::{print, print_error, to_json};
use crate::config::Environment;
use crate::exit::{ExitCode, ExitError};
use crate::nats::find_server_binary;
use crate::runtime::signals;

/// Of the folders that are made for a run.
const FOLDER_PREFIX: &str = "harmonylite-bench-";

/// What all measurements share.
struct Bench {
    plan: Plan,
    folder: TempDir,
    server_binary: PathBuf,
    /// Variables of ours that this shell has set.
    variables: Vec<String>,
    stop: CancellationToken,
}

pub(super) fn bench(arguments: &BenchArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    block_on(async {
        let stop = signals::stop().map_err(|error| failed("cannot listen for signals", &error))?;
        let (asked, environment) = (arguments.clone(), environment.clone());
        // A thread that lives until everything is measured: the nodes die with the one that starts them.
        let measured = tokio::task::spawn_blocking(move || measure(&asked, &environment, stop));
        let report = joined(measured.await)?;
        print(&match (arguments.json, arguments.markdown) {
            (true, _) => to_json(&report)?,
            (_, true) => report.markdown(),
            _ => report.text(),
        })
    })?;
    Ok(ExitCode::Ok)
}

fn measure(
    arguments: &BenchArguments,
    environment: &Environment,
    stop: CancellationToken,
) -> Result<Report, ExitError> {
    let configured = environment.variable("HARMONYLITE_NATS_SERVER_BINARY").map(PathBuf::from);
    let (server_binary, version) = find_server_binary(configured.as_deref())?;
    let folder = folder(arguments)?;
    let mut machine = Machine::read(folder.path(), version.to_string());
    machine.doubts().into_iter().for_each(|doubt| print_error(&format!("note: {doubt}")));
    let variables = environment.names().map(str::to_owned).collect();
    let bench = Bench { plan: arguments.plan(), folder, server_binary, variables, stop };
    let mut figures = Vec::new();
    for subject in arguments.subjects() {
        figures.extend(bench.measure(subject)?);
    }
    machine.at_end();
    Ok(Report { harmonylite: env!("CARGO_PKG_VERSION"), machine, plan: bench.plan, figures })
}

fn folder(arguments: &BenchArguments) -> Result<TempDir, ExitError> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(FOLDER_PREFIX);
    let folder = match &arguments.dir {
        Some(parent) => std::path::absolute(parent).and_then(|parent| builder.tempdir_in(parent)),
        None => builder.tempdir(),
    };
    folder.map_err(|error| {
        failed("cannot make a folder for the databases", &error).with_hint("--dir names another place")
    })
}

impl Bench {
    fn measure(&self, subject: Subject) -> Result<Vec<Figure>, ExitError> {
        match subject {
            Subject::Throughput => throughput::measure(self),
            Subject::Latency => latency::measure(self),
            Subject::Application => own_writes::measure(self),
            Subject::CatchUp => catch_up::measure(self),
            Subject::Capture => capture::measure(self),
        }
    }

    /// A folder of its own for something, gone when dropped.
    fn subfolder(&self) -> Result<TempDir, ExitError> {
        tempfile::tempdir_in(self.folder.path()).map_err(|error| failed("cannot make a folder", &error))
    }

    /// Tells whoever waits what is measured now.
    fn say(&self, subject: Subject, what: &str, round: u32) {
        print_error(&format!("{}, {what}: round {round} of {}", subject.name(), self.plan.rounds));
    }

    /// An error when somebody wants to end this.
    fn check(&self) -> Result<(), ExitError> {
        if self.stop.is_cancelled() {
            return Err(ExitError::new(ExitCode::Unexpected, "no figures: it was interrupted"));
        }
        Ok(())
    }
}

/// What a thread or task gave back. None of ours panics; one that does is a bug, told as an error.
fn joined<T, E>(result: Result<Result<T, ExitError>, E>) -> Result<T, ExitError> {
    result.unwrap_or_else(|_| Err(ExitError::new(ExitCode::Unexpected, "a thread of the bench panicked")))
}

fn failed(what: &str, error: &std::io::Error) -> ExitError {
    ExitError::new(ExitCode::Storage, format!("{what}: {error}"))
}
