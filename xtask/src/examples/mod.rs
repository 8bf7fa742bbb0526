//! The example applications, run against real nodes: what they teach has to be true.

mod django;

use std::path::Path;

use anyhow::{Context, Result};

use crate::product;

/// Runs all examples.
///
/// # Errors
/// When one cannot be run, or its nodes do not end up equal: with the rows that differ and the logs.
pub(crate) fn run(root: &Path) -> Result<()> {
    let binary = product::build(root)?;
    django::run(root, &binary).context("examples/django")
}

/// A line on what is going on.
#[allow(clippy::print_stdout)]
fn say(text: &str) {
    println!("{text}");
}
