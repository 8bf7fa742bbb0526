//! What most tests here need: a started cluster, numbers of a status, the end of a node that refuses to run.

use std::process::Command;
use std::time::Duration;

use harmonylite_testkit::{Cluster, Context, Node, Result, ensure, wait_for};
use serde_json::Value;

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_harmonylite");

/// For what takes a second or two on a quiet machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Nodes that run and follow one another.
pub(crate) fn following(size: usize, schema: &str) -> Result<Cluster> {
    let cluster = Cluster::start(BINARY, size, schema)?;
    cluster.wait_following(DEADLINE)?;
    Ok(cluster)
}

/// The source that `node` has of the node `of`, in its status.
pub(crate) fn source_of(status: &Value, of: u64) -> Option<&Value> {
    let prefix = format!("{of}/");
    let mut sources = status["sources"].as_array()?.iter();
    sources.find(|source| source["id"].as_str().is_some_and(|id| id.starts_with(&prefix)))
}

/// A counter of the running process.
pub(crate) fn counter(node: &Node, name: &str) -> Result<u64> {
    node.status()?["counters"][name].as_u64().with_context(|| format!("no counter {name}"))
}

/// Rows of the node `of` that ever changed the database of `node`.
pub(crate) fn rows_applied(node: &Node, of: u64) -> Result<i64> {
    node.query(&format!(
        "SELECT coalesce(sum(rows_applied), 0) FROM __harmonylite___checkpoint WHERE source GLOB '{of}/*'"
    ))
}

/// Waits until a query of one number gives `wanted` at `node`.
pub(crate) fn wait_number(node: &Node, sql: &str, wanted: i64) -> Result<()> {
    let reached = wait_for(&format!("{wanted} of {sql}"), DEADLINE, || {
        let found = node.query::<i64>(sql)?;
        ensure!(found == wanted, "it is {found}");
        Ok(())
    });
    reached.with_context(|| node.log())
}

/// Waits until node `of` is followed by `node`.
pub(crate) fn wait_source(node: &Node, of: u64, state: &str) -> Result<Value> {
    let found = |status: &Value| source_of(status, of).is_some_and(|source| source["state"] == state);
    node.wait_status(&format!("node {of} {state}"), DEADLINE, found)
}

/// Starts `node`, which must end by itself: its exit code and its log.
pub(crate) fn refusal(node: &mut Node) -> Result<(i32, String)> {
    node.start()?;
    let status = node.wait_exit(DEADLINE)?;
    let code = status.code().with_context(|| format!("ended by a signal: {status}\n{}", node.log()))?;
    Ok((code, std::fs::read_to_string(node.log_file())?))
}

/// No node has panicked: a panic is a bug whatever else happened.
pub(crate) fn no_panics(cluster: &Cluster) -> Result<()> {
    for node in &cluster.nodes {
        let log = std::fs::read(node.log_file())?;
        let log = String::from_utf8_lossy(&log);
        ensure!(!log.contains("panicked"), "{}", node.log());
    }
    Ok(())
}

/// Runs a command of the application's side to its end.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {complaint}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A command in a mount namespace of its own: `script` is run by sh there, with `$1` ..
pub(crate) fn in_own_mounts(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.arg(if rustix::process::geteuid().is_root() { "-m" } else { "-rm" });
    command.args(["sh", "-ec", script, "sh"]);
    command
}

/// Nothing of ours was made in the database, whose only table is `t`.
pub(crate) fn ensure_untouched(node: &Node) -> Result<()> {
    let made = node.query::<i64>("SELECT count(*) FROM sqlite_schema WHERE name <> 't'")?;
    ensure!(made == 0, "{made} new objects in the schema");
    Ok(())
}
