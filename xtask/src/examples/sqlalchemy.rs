//! The SQLAlchemy example: bookkeeping of two branches, through an upgrade by Alembic, node after node.
//!
//! What is migrated writes at once; what is not migrated yet stops reading that node, and goes on when it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use harmonylite_testkit::{Node, Rng, wait_for};
use serde_json::Value;

use super::instance::Instance;
use super::python_packages;
use super::stage::{DEADLINE, Stage};

/// The only table that is left out: which migrations have been applied is the affair of each node.
const LOCAL_TABLE: &str = "alembic_version";

/// How much a branch does between its own migration and that of the others.
const ROUNDS: &str = "40";

/// Runs the example.
pub(super) fn run(root: &Path, binary: &Path) -> Result<()> {
    let books = Books::install(root)?;
    let mut rng = Rng::from_environment();
    let mut stage = Stage::prepare("sqlalchemy", binary, &[LOCAL_TABLE], |node| {
        books.alembic(node, &["upgrade", "0001"])?;
        books.run(node, Release::First, &["open"]).map(drop)
    })?;
    work_at_once(&mut stage, &books, Release::First, &mut rng)?;
    upgrade(&stage, &books)?;
    work_at_once(&mut stage, &books, Release::Second, &mut rng)?;
    // The models are what the migrations have made.
    books.alembic(&stage.cluster.nodes[0], &["check"])?;
    stage.finish()
}

fn work_at_once(stage: &mut Stage, books: &Books, release: Release, rng: &mut Rng) -> Result<()> {
    stage.say(&format!("two branches work at the same time, {release:?} release"));
    let seed = rng.below(1_000_000).to_string();
    let start = |node: &Node, writes: bool| {
        let branch = node.id().to_string();
        let arguments = if writes { &["work", "--branch", &branch, "--seed", &seed][..] } else { &["watch"] };
        Instance::start(node, books.command(node, release, arguments))
    };
    let reports = stage.write_at_once(&start, "SELECT count(*) FROM posting", rng)?;
    stage.nothing_is_lost(&reports, &|node, branch| books.audit(node, release, branch))
}

/// Everything is replicated when it begins. Nodes 1 and 2 write as soon as they are migrated.
fn upgrade(stage: &Stage, books: &Books) -> Result<()> {
    let mut reports = Vec::new();
    for (index, node) in stage.cluster.nodes.iter().enumerate() {
        stage.say(&format!("node {} is migrated to the second release", node.id()));
        books.alembic(node, &["upgrade", "head"])?;
        wait_for("triggers on the rebuilt table", DEADLINE, || stage.capture_is_complete(node))?;
        if index < 2 {
            let branch = node.id().to_string();
            books.run(node, Release::Second, &["fill-in", "--branch", &branch])?;
            let work = ["work", "--branch", &branch, "--rounds", ROUNDS];
            reports.push((node.id(), books.run(node, Release::Second, &work)?));
        }
        for other in &stage.cluster.nodes[index + 1..] {
            other.wait_status("a source that does not fit", DEADLINE, |status| stopped(status, node.id()))?;
            let found = books.audit(other, Release::First, 1);
            ensure!(found.is_ok(), "node {}, which is not migrated: {found:?}", other.id());
        }
    }
    stage.cluster.wait_following(DEADLINE)?;
    stage.settle()?;
    stage.nothing_is_lost(&reports, &|node, branch| books.audit(node, Release::Second, branch))?;
    for node in &stage.cluster.nodes {
        let unknown: i64 = node.query("SELECT count(*) FROM entry WHERE reference IS NULL")?;
        ensure!(unknown == 0, "node {}: {unknown} entries without reference", node.id());
    }
    Ok(())
}

/// Whether a node has stopped reading node `id`.
fn stopped(status: &Value, id: u64) -> bool {
    let prefix = format!("{id}/");
    let of_the_node = |source: &&Value| source["id"].as_str().is_some_and(|id| id.starts_with(&prefix));
    let mut sources = status["sources"].as_array().into_iter().flatten().filter(of_the_node);
    sources.any(|source| source["state"] == "stopped")
}

/// Which of the application's releases runs.
#[derive(Clone, Copy, Debug)]
enum Release {
    First = 1,
    Second = 2,
}

/// The program with its packages.
struct Books {
    folder: PathBuf,
    packages: PathBuf,
}

impl Books {
    fn install(root: &Path) -> Result<Books> {
        let folder = root.join("examples/sqlalchemy");
        let packages = python_packages::install(root, "sqlalchemy", &folder.join("requirements.txt"))?;
        Ok(Books { folder, packages })
    }

    fn audit(&self, node: &Node, release: Release, branch: u64) -> Result<Value> {
        self.run(node, release, &["audit", "--branch", &branch.to_string()])
    }

    fn run(&self, node: &Node, release: Release, arguments: &[&str]) -> Result<Value> {
        Instance::run(node, self.command(node, release, arguments))
    }

    fn alembic(&self, node: &Node, arguments: &[&str]) -> Result<()> {
        let quiet = [&["--quiet"], arguments].concat();
        Instance::run(node, self.module("alembic", node, Release::Second, &quiet)).map(drop)
    }

    fn command(&self, node: &Node, release: Release, arguments: &[&str]) -> Command {
        self.module("books", node, release, arguments)
    }

    fn module(&self, name: &str, node: &Node, release: Release, arguments: &[&str]) -> Command {
        let mut command = Command::new("python3");
        command.args(["-m", name]).args(arguments).current_dir(&self.folder);
        command.env("PYTHONPATH", &self.packages).env("BOOKS_DATABASE", node.db());
        command.env("BOOKS_RELEASE", (release as u8).to_string());
        command
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_source_of_the_migrated_node_counts() {
        let source = |id: &str, state: &str| json!({"sources": [{"id": id, "state": state}]});
        assert!(stopped(&source("1/changes-1", "stopped"), 1));
        assert!(!stopped(&source("12/changes-1", "stopped"), 1));
        assert!(!stopped(&source("1/changes-1", "following"), 1));
        assert!(!stopped(&json!({}), 1));
    }
}
