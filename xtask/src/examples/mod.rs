//! The example applications, run against real nodes: what they teach has to be true.

mod better_sqlite3;
mod django;
mod instance;
mod python_packages;
mod rusqlite;
mod sqlalchemy;
mod stage;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::product;

/// Runs an example: the root of the workspace, and the program under test.
type Run = fn(&Path, &Path) -> Result<()>;

/// All of them, as their folders are called.
const EXAMPLES: &[(&str, Run)] = &[
    ("better-sqlite3", better_sqlite3::run),
    ("django", django::run),
    ("rusqlite", rusqlite::run),
    ("sqlalchemy", sqlalchemy::run),
];

/// Which examples to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Folders of `examples/`; all of them when none is named.
    names: Vec<String>,
}

/// Runs the examples that are named, or all.
///
/// # Errors
/// When one cannot be run, or its nodes do not end up equal: with the rows that differ and the logs.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let known: Vec<&str> = EXAMPLES.iter().map(|(name, _)| *name).collect();
    for name in &options.names {
        ensure!(known.contains(&name.as_str()), "no example {name:?}: there are {}", known.join(", "));
    }
    let binary = product::build(root)?;
    for (name, run) in EXAMPLES {
        if options.names.is_empty() || options.names.iter().any(|wanted| wanted == name) {
            let start = Instant::now();
            run(root, &binary).with_context(|| format!("examples/{name}"))?;
            say(&format!("{name}: done in {} s", start.elapsed().as_secs()));
        }
    }
    Ok(())
}

/// A line on what is going on.
#[allow(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_of_examples_is_run() -> Result<()> {
        let folders = std::fs::read_dir(crate::workspace().join("examples"))?;
        let mut names: Vec<String> = folders
            .map(|folder| Ok(folder?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        names.sort();
        let mut run: Vec<&str> = EXAMPLES.iter().map(|(name, _)| *name).collect();
        run.sort_unstable();
        assert_eq!(names, run);
        Ok(())
    }
}
