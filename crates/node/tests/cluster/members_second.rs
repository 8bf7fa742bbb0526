//! Two nodes with one id: the second does not start, a restart does, and two that meet later agree on who ends.

use harmonylite_testkit::{Cluster, Node, Result, ensure};

use crate::support::{BINARY, DEADLINE, following, no_panics, refusal, wait_number, wait_source};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
/// The exit code: docs/exit-codes.md.
const DUPLICATE: i32 = 13;
/// What a node logs that has to see whether the other one is still alive.
const WAITING: &str = "waiting whether it still is";

/// Another node that has the id of the first node of `cluster`, and knows the second.
fn second_first(cluster: &Cluster) -> Result<Node> {
    let mut second = Node::new(BINARY, 1, SCHEMA)?;
    second.set_peers([cluster.nodes[1].url().as_str()]);
    Ok(second)
}

#[test]
fn a_second_node_with_a_live_nodes_id_does_not_start_and_hurts_nobody() -> Result<()> {
    let cluster = following(2, SCHEMA)?;
    let mut second = second_first(&cluster)?;
    second.execute("INSERT INTO t VALUES(99, 'of the second')")?;
    let (code, log) = refusal(&mut second)?;
    ensure!(code == DUPLICATE, "{code}: {log}");
    for word in ["node id 1", &cluster.nodes[0].address(), "since", "node_id"] {
        ensure!(log.contains(word), "{word:?} is not in {log}");
    }
    // Its database was not touched, and the others go on.
    ensure!(second.query::<i64>("SELECT count(*) FROM sqlite_schema WHERE name <> 't'")? == 0);
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'x')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 1)?;
    // Asked directly, the first one answers for itself, at once.
    second.set_peers([cluster.nodes[0].url().as_str()]);
    let (code, _) = refusal(&mut second)?;
    ensure!(code == DUPLICATE);
    no_panics(&cluster)
}

#[test]
fn a_node_that_was_killed_starts_again_at_once() -> Result<()> {
    let mut cluster = following(2, SCHEMA)?;
    for round in 1..=3 {
        cluster.nodes[0].kill9()?;
        cluster.nodes[0].start()?;
        cluster.nodes[0].wait_ready()?;
        wait_source(&cluster.nodes[0], 2, "following")?;
        cluster.nodes[0].execute(&format!("INSERT INTO t VALUES({round}, 'x')"))?;
        wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", round)?;
    }
    // It did not wait until the others thought it silent.
    let log = std::fs::read_to_string(cluster.nodes[0].log_file())?;
    ensure!(!log.contains(WAITING), "it waited: {log}");
    no_panics(&cluster)
}

#[test]
fn a_node_moves_to_another_machine_when_the_old_one_is_silent() -> Result<()> {
    let mut cluster = following(2, SCHEMA)?;
    let mut moved = second_first(&cluster)?;
    cluster.nodes[0].kill9()?;
    moved.start()?;
    moved.wait_ready()?;
    wait_source(&moved, 2, "following")?;
    moved.execute("INSERT INTO t VALUES(1, 'from the new machine')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 1)?;
    let log = std::fs::read_to_string(moved.log_file())?;
    ensure!(log.contains(WAITING), "it did not wait: {log}");
    no_panics(&cluster)
}

#[test]
fn of_two_nodes_with_one_id_that_meet_later_the_one_that_started_later_ends() -> Result<()> {
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    let (witness, mut second) = (1, Node::new(BINARY, 1, SCHEMA)?);
    cluster.nodes[0].unset("cluster.peers");
    cluster.nodes[0].start()?;
    cluster.nodes[0].wait_ready()?;
    second.start()?;
    second.wait_ready()?;
    let both = [second.url(), cluster.nodes[0].url()];
    cluster.nodes[witness].set_peers(both.iter().map(String::as_str));
    cluster.start_all()?;
    let status = second.wait_exit(DEADLINE)?;
    ensure!(status.code() == Some(DUPLICATE), "{status}: {}", second.log());
    ensure!(second.log().contains(&cluster.nodes[0].address()), "{}", second.log());
    // The first goes on, and what the second did in the witness's eyes is gone.
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'of the first')")?;
    wait_number(&cluster.nodes[witness], "SELECT count(*) FROM t WHERE v = 'of the first'", 1)?;
    ensure!(cluster.nodes[0].is_running(), "{}", cluster.nodes[0].log());
    no_panics(&cluster)
}
