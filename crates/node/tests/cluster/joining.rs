//! Nodes that come late, that began with other rows, or that only give or only take.

use std::fs;

use harmonylite_testkit::{Cluster, Result, ensure};

use crate::support::{
    BINARY, DEADLINE, counter, following, no_panics, rows_applied, wait_number, wait_source,
};

const SCHEMA: &str =
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'equal'), (2, 'equal')";

#[test]
fn a_node_that_starts_late_reads_the_streams_from_their_start() -> Result<()> {
    let mut cluster = Cluster::new(BINARY, 3, SCHEMA)?;
    for node in &mut cluster.nodes[..2] {
        node.start()?;
        node.wait_ready()?;
    }
    cluster.nodes[0].execute("INSERT INTO t VALUES(3, 'one'), (4, 'one'); DELETE FROM t WHERE id = 1")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 3)?;
    cluster.nodes[1].execute("UPDATE t SET v = 'two' WHERE id = 3; DELETE FROM t WHERE id = 4")?;
    wait_number(&cluster.nodes[0], "SELECT count(*) FROM t", 2)?;
    // Written before it ever ran: not captured, and older than whatever the others have written.
    cluster.nodes[2].execute("UPDATE t SET v = 'before the first start' WHERE id = 1")?;
    cluster.start_all()?;
    cluster.nodes[2].execute("INSERT INTO t VALUES(5, 'three')")?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM t WHERE id IN (2, 3, 5)", 3)?;
    }
    assert_eq!(cluster.wait_equal(&["t"], DEADLINE)?.rows("t"), 3);
    no_panics(&cluster)
}

#[test]
fn rows_from_before_the_first_start_are_not_sent_and_a_difference_is_told() -> Result<()> {
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(10, 'only at one')")?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(11, 'sent')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 3)?;
    let log = fs::read_to_string(cluster.nodes[1].log_file())?;
    ensure!(log.contains("rows from before the first start differ"), "{log}");
    // A change of such a row is sent as any other.
    cluster.nodes[0].execute("UPDATE t SET v = 'changed' WHERE id = 10")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t WHERE v = 'changed'", 1)?;
    cluster.wait_equal(&["t"], DEADLINE)?;
    no_panics(&cluster)
}

#[test]
fn a_node_that_does_not_publish_takes_and_keeps_its_own_changes_until_it_does() -> Result<()> {
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    cluster.nodes[0].set("publish", false);
    cluster.start_all()?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(3, 'kept')")?;
    cluster.nodes[1].execute("INSERT INTO t VALUES(4, 'taken')")?;
    wait_number(&cluster.nodes[0], "SELECT count(*) FROM t", 4)?;
    assert_eq!(counter(&cluster.nodes[0], "published_groups")?, 0);
    assert_eq!(cluster.nodes[1].query::<i64>("SELECT count(*) FROM t")?, 3);
    ensure!(cluster.nodes[0].stop()?.success());
    cluster.nodes[0].unset("publish");
    cluster.start_all()?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t WHERE v = 'kept'", 1)?;
    cluster.wait_equal(&["t"], DEADLINE)?;
    no_panics(&cluster)
}

#[test]
fn a_node_that_does_not_replicate_gives_and_takes_later() -> Result<()> {
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    cluster.nodes[0].set("replicate", false);
    cluster.start_all()?;
    cluster.nodes[1].execute("INSERT INTO t VALUES(4, 'later')")?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(3, 'given')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 4)?;
    cluster.wait_published(DEADLINE)?;
    assert_eq!(cluster.nodes[0].query::<i64>("SELECT count(*) FROM t")?, 3);
    ensure!(cluster.nodes[0].stop()?.success());
    cluster.nodes[0].unset("replicate");
    cluster.start_all()?;
    wait_number(&cluster.nodes[0], "SELECT count(*) FROM t", 4)?;
    assert_eq!(rows_applied(&cluster.nodes[0], 2)?, 1);
    no_panics(&cluster)
}

#[test]
fn a_node_that_names_no_peers_learns_of_those_that_name_it() -> Result<()> {
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    cluster.nodes[0].unset("cluster.peers");
    cluster.start_all()?;
    wait_source(&cluster.nodes[1], 1, "following")?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(3, 'here')")?;
    cluster.nodes[1].execute("INSERT INTO t VALUES(4, 'there')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 4)?;
    wait_number(&cluster.nodes[0], "SELECT count(*) FROM t", 4)
}

#[test]
fn a_transaction_above_the_limit_of_a_group_arrives_whole_in_the_end_and_is_told() -> Result<()> {
    const ROWS: i64 = 130_000;
    let cluster = following(2, "CREATE TABLE big(id INTEGER PRIMARY KEY, v)")?;
    cluster.nodes[0].execute(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
         INSERT INTO big SELECT i, i FROM n"
    ))?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM big", ROWS)?;
    cluster.wait_equal(&["big"], DEADLINE)?;
    assert_eq!(rows_applied(&cluster.nodes[1], 1)?, ROWS);
    let log = fs::read_to_string(cluster.nodes[0].log_file())?;
    ensure!(log.contains("above the limits"), "{log}");
    no_panics(&cluster)
}
