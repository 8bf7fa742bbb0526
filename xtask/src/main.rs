//! Project tasks that are more than a line of shell: `cargo xtask <task>`.

mod chaos;
mod dependencies;
mod examples;
mod figures;
mod product;
mod tidy;
mod tour;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

/// Project tasks that are more than a line of shell.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Check what the compiler cannot hold: layers, owners, names, lengths, links.
    Tidy,
    /// Check licences, banned crates and sources of everything we build on, against deny.toml.
    Dependencies,
    /// Measure three nodes end to end: what they cost when idle, their memory with a backlog.
    Figures(figures::Options),
    /// Run the example applications on three nodes each and compare every table.
    Examples(examples::Options),
    /// Run the tours of the documentation: on this machine, and on hosts that are network namespaces.
    Tour,
    /// What `tour` runs in a sandbox of its own.
    #[command(hide = true)]
    TourInside {
        /// The program under test.
        binary: PathBuf,
        /// Which document.
        document: String,
        /// Which section of it.
        heading: String,
    },
    /// Kill, stop, cut off and fill up real nodes under load, as a seed decides; no write may be lost.
    Chaos(chaos::Options),
    /// The application of a node in a chaos run.
    #[command(hide = true)]
    ChaosApplication(chaos::application::Options),
}

fn main() -> ExitCode {
    let outcome = match Task::parse() {
        Task::Tidy => tidy::run(&workspace()),
        Task::Dependencies => dependencies::run(&workspace()),
        Task::Figures(options) => figures::run(&workspace(), &options),
        Task::Examples(options) => examples::run(&workspace(), &options),
        Task::Tour => tour::run(&workspace()),
        Task::TourInside { binary, document, heading } => {
            tour::run_on_hosts(&workspace(), &binary, (&document, &heading))
        }
        Task::Chaos(options) => chaos::run(&workspace(), &options),
        Task::ChaosApplication(options) => chaos::application::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[allow(clippy::print_stderr)]
            {
                eprintln!("{error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}
