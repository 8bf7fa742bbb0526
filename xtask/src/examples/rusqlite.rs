//! The rusqlite example: a point of sale in Rust, with several threads in each of two stores.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harmonylite_testkit::{Node, Rng};

use super::instance::Instance;
use super::stage::Stage;

/// A virtual table holds no rows of its own.
const INDEX: &str = "product_search";

/// Runs the example.
pub(super) fn run(root: &Path, binary: &Path) -> Result<()> {
    let till = Till::build(root)?;
    let mut rng = Rng::from_environment();
    let open = |node: &Node| Instance::run(node, till.command(node, &["open"])).map(drop);
    let mut stage = Stage::prepare("rusqlite", binary, &[INDEX], open)?;
    let start = |node: &Node, writes: bool| {
        let store = node.id().to_string();
        let arguments = if writes { &["sell", "--store", &store][..] } else { &["watch"] };
        Instance::start(node, till.command(node, arguments))
    };
    let reports =
        stage.write_at_once(&start, "SELECT coalesce(sum(last_number), 0) / 10 FROM till", &mut rng)?;
    stage.nothing_is_lost(&reports, &|node, store| {
        Instance::run(node, till.command(node, &["check", "--store", &store.to_string()]))
    })?;
    stage.finish()
}

/// The program of the example.
struct Till {
    program: PathBuf,
}

impl Till {
    /// Builds it, as it would be built elsewhere: it is no member of our workspace.
    fn build(root: &Path) -> Result<Till> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let target = root.join("target/examples");
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--locked", "--target-dir"]).arg(&target);
        let status = command.current_dir(root.join("examples/rusqlite")).status().context("running cargo")?;
        ensure!(status.success(), "the example does not compile");
        Ok(Till { program: target.join("debug/till") })
    }

    fn command(&self, node: &Node, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(node.db()).args(arguments);
        command
    }
}
