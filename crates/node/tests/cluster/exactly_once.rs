//! Nothing is echoed and nothing is applied twice: the counters are exact.

use harmonylite_testkit::{Node, Result, Writer, ensure};
use std::time::Duration;

use crate::support::{DEADLINE, counter, following, rows_applied, source_of, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";

/// Inserts rows of its own, one a time.
fn insert(node: &Node) -> Result<Writer> {
    let first = node.id() * 1_000_000;
    Ok(Writer::start(node.connection()?, Duration::from_millis(5), move |connection, number| {
        let id = (first + number) as i64;
        connection.execute("INSERT INTO t VALUES(?1, 'row')", [id]).map(drop)
    }))
}

fn published_groups(node: &Node) -> Result<u64> {
    counter(node, "published_groups")
}

#[test]
fn rows_applied_is_exact_through_kills_and_restarts_under_load() -> Result<()> {
    let mut cluster = following(3, SCHEMA)?;
    let writers = [insert(&cluster.nodes[0])?, insert(&cluster.nodes[1])?];
    for round in 0..8 {
        let moment = writers[0].written() + 60;
        harmonylite_testkit::wait("more writes", DEADLINE, || writers[0].written() >= moment)?;
        let killed = [2, 0, 2, 1][round % 4];
        cluster.nodes[killed].kill9()?;
        cluster.nodes[killed].start()?;
    }
    let written: Vec<i64> =
        writers.into_iter().map(|writer| Ok(writer.stop()? as i64)).collect::<Result<_>>()?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM t", written.iter().sum())?;
    }
    cluster.wait_equal(&["t"], DEADLINE)?;
    let exact = |cluster: &harmonylite_testkit::Cluster| -> Result<()> {
        for (node, of) in [(1, 0), (2, 0), (0, 1), (2, 1)] {
            let applied = rows_applied(&cluster.nodes[node], of as u64 + 1)?;
            ensure!(applied == written[of], "node {}: {applied} of {}", node + 1, written[of]);
        }
        Ok(())
    };
    exact(&cluster)?;
    cluster.stop_all()?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    cluster.wait_published(DEADLINE)?;
    exact(&cluster)?;
    // The third node only received: it has published nothing, in all its lives.
    assert_eq!(published_groups(&cluster.nodes[2])?, 0);
    let status = cluster.nodes[0].status()?;
    let last = source_of(&status, 3).map(|source| source["last"].clone());
    assert_eq!(last, Some(0.into()));
    Ok(())
}

#[test]
fn a_stream_that_is_delivered_again_changes_nothing() -> Result<()> {
    let mut cluster = following(2, SCHEMA)?;
    for id in 1..=50 {
        cluster.nodes[0].execute(&format!("INSERT INTO t VALUES({id}, 'row')"))?;
    }
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 50)?;
    // Deleted elsewhere: a second apply would bring it back.
    cluster.nodes[1].execute("DELETE FROM t WHERE id = 7; UPDATE t SET v = 'changed' WHERE id = 8")?;
    let before = cluster.wait_equal(&["t"], DEADLINE)?;
    cluster.wait_published(DEADLINE)?;

    // First only the place in the stream is forgotten, then the place in the chain, too.
    for forget in ["", "DELETE FROM __harmonylite___position;"] {
        let replica = &mut cluster.nodes[1];
        ensure!(replica.stop()?.success(), "{}", replica.log());
        replica.execute(&format!(
            "UPDATE __harmonylite___checkpoint SET sequence = 0, mark = 0 WHERE source GLOB '1/*'; {forget}"
        ))?;
        replica.start()?;
        replica.wait_ready()?;
        let replica = &cluster.nodes[1];
        replica.wait_status("the stream read again", DEADLINE, |status| {
            let read = source_of(status, 1).is_some_and(|source| {
                source["state"] == "following" && source["behind"] == 0 && source["last"] != 0
            });
            let counters = &status["counters"];
            let again =
                counters["rows_skipped"].as_u64() > Some(0) || counters["groups_dropped"].as_u64() > Some(0);
            read && again
        })?;
        assert_eq!(counter(replica, "rows_applied")?, 0);
        assert_eq!(rows_applied(replica, 1)?, 50);
        assert_eq!(published_groups(replica)?, 0);
        assert_eq!(cluster.equal_contents(&["t"])?, before);
    }
    Ok(())
}

#[test]
fn a_write_travels_once_and_is_not_echoed() -> Result<()> {
    let cluster = following(3, SCHEMA)?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'a')")?;
    cluster.wait_equal(&["t"], DEADLINE)?;
    cluster.nodes[1].execute("UPDATE t SET v = 'b'")?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM t WHERE v = 'b'", 1)?;
    }
    cluster.wait_published(DEADLINE)?;
    let groups: Vec<u64> = cluster.nodes.iter().map(published_groups).collect::<Result<_>>()?;
    assert_eq!(groups, [1, 1, 0]);
    for (node, of) in [(0, 2), (1, 1), (2, 1), (2, 2)] {
        assert_eq!(rows_applied(&cluster.nodes[node], of)?, 1, "node {} of {of}", node + 1);
    }
    for node in &cluster.nodes {
        assert_eq!((counter(node, "rows_skipped")?, counter(node, "conflicts")?), (0, 0));
    }
    Ok(())
}
