//! Dead letters of a node that runs: looked at beside it, tried again and dropped by it over its control socket.

use harmonylite_testkit::{Context, Node, Result, ensure, wait_for};
use serde_json::Value;

use crate::support::{DEADLINE, following, no_panics, rows_applied};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v)";

/// Runs a command that speaks JSON; its exit code and its document.
fn json(node: &Node, arguments: &[&str]) -> Result<(Option<i32>, Value)> {
    let database = node.db();
    let database = database.to_str().context("a path that is no text")?;
    let output = node.command_output(&[arguments, &["--db", database]].concat())?;
    let document = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "{arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    Ok((output.status.code(), document))
}

#[test]
fn a_running_node_tries_its_dead_letters_again_and_drops_them() -> Result<()> {
    let cluster = following(2, SCHEMA)?;
    let [first, second] = &cluster.nodes[..] else { unreachable!() };
    // `abs()` overflows for one integer, so an index of node 2 alone keeps the rows out.
    second.execute("CREATE INDEX broken ON t(abs(v))")?;
    let broken = "-9223372036854775808";
    first.execute(&format!(
        "INSERT INTO t VALUES(1, 'a', {broken}), (2, 'b', {broken}), (3, 'c', {broken})"
    ))?;
    second.wait_status("three dead letters", DEADLINE, |status| status["dead_letters"] == 3)?;

    let (code, list) = json(second, &["dead-letters", "list", "--json"])?;
    let ids: Vec<i64> = list["dead_letters"]
        .as_array()
        .context("no list")?
        .iter()
        .filter_map(|letter| letter["id"].as_i64())
        .collect();
    assert_eq!((code, ids.len(), &list["dead_letters"][0]["node_id"]), (Some(0), 3, &first.id().into()));
    let (code, failed) = json(second, &["dead-letters", "retry", &ids[0].to_string(), "--json"])?;
    assert_eq!((code, &failed["outcomes"][0]["outcome"]), (Some(1), &"failed".into()));

    let (code, dropped) = json(second, &["dead-letters", "drop", &ids[2].to_string(), "--json"])?;
    assert_eq!((code, &dropped["outcomes"][0]["outcome"]), (Some(0), &"dropped".into()));
    second.execute("DROP INDEX broken; INSERT INTO t VALUES(5, 'e', 5)")?;
    wait_for("the letters tried again", DEADLINE, || {
        let (code, done) = json(second, &["dead-letters", "retry", "--all", "--json"])?;
        // The node may not have read the schema yet.
        ensure!(code == Some(0), "{code:?} {done}");
        Ok(())
    })?;
    let (_, list) = json(second, &["dead-letters", "list", "--json"])?;
    assert_eq!(list["dead_letters"], Value::Array(vec![]));
    // Of row 3 nothing was written; row 5 is node 2's own.
    assert_eq!(
        second.query::<String>("SELECT group_concat(id) FROM (SELECT id FROM t ORDER BY id)")?,
        "1,2,5"
    );
    assert_eq!(rows_applied(second, first.id())?, 2);
    let told = |status: &Value| status["dead_letters"] == 0 && status["counters"]["rows_applied"] == 2;
    second.wait_status("no dead letters, two rows applied", DEADLINE, told)?;
    let (code, conflicts) = json(second, &["conflicts", "list", "--json"])?;
    assert_eq!((code, &conflicts["total"]), (Some(0), &0.into()));
    // A write to the row that was given up heals it.
    first.execute("UPDATE t SET v = 3")?;
    cluster.wait_equal(&["t"], DEADLINE)?;
    no_panics(&cluster)
}

#[test]
fn who_connects_and_says_nothing_keeps_nobody_waiting() -> Result<()> {
    let cluster = following(1, SCHEMA)?;
    let node = &cluster.nodes[0];
    let _silent = std::os::unix::net::UnixStream::connect(harmonylite::status::socket_path(&node.db()))?;
    ensure!(node.status()?["node_id"] == node.id(), "no status");
    let (code, list) = json(node, &["dead-letters", "retry", "7", "--json"])?;
    assert_eq!((code, &list["outcomes"][0]["outcome"]), (Some(2), &"missing".into()));
    Ok(())
}
