//! Peers that are not of this cluster, or do not show the right credentials: said in the status, nothing applied.

use harmonylite_testkit::{Cluster, Node, Result, ensure};
use serde_json::Value;

use crate::support::{BINARY, DEADLINE, no_panics, source_of, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";

fn rows(node: &Node) -> Result<i64> {
    node.query("SELECT count(*) FROM t")
}

fn set_credentials(node: &mut Node, user: &str, password: &str) {
    node.set("nats.user_name", format!("\"{user}\""));
    node.set("nats.user_password", format!("\"{password}\""));
}

/// `node` was refused by the node `of` and refused it, says why, and follows nothing of it.
fn refused_on_both_sides(node: &Node, of: u64, words: &[&str]) -> Result<()> {
    let said = |reason: &Value| words.iter().all(|word| reason.as_str().unwrap_or_default().contains(word));
    let status = node.wait_status("the refusal", DEADLINE, |status| {
        let mut called = status["peers"].as_array().into_iter().flatten();
        let mut callers = status["refused"].as_array().into_iter().flatten();
        called.any(|peer| peer["node_id"] == of && said(&peer["error"]))
            && callers.any(|caller| caller["node_id"] == of && said(&caller["reason"]))
    })?;
    ensure!(source_of(&status, of).is_none(), "node {of} is followed: {status:#}");
    let log = std::fs::read_to_string(node.log_file())?;
    ensure!(words.iter().all(|word| log.contains(word)), "{}", node.log());
    Ok(())
}

#[test]
fn nodes_with_different_passwords_say_so_and_exchange_nothing_until_they_agree() -> Result<()> {
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    set_credentials(&mut cluster.nodes[0], "cluster", "right-secret");
    set_credentials(&mut cluster.nodes[1], "cluster", "wrong-secret");
    cluster.start_all()?;
    for node in &cluster.nodes {
        let refused = |status: &Value| {
            let peer = &status["peers"][0];
            let error = peer["error"].as_str().unwrap_or_default().to_lowercase();
            peer["connected"] == false
                && ["credential", "password", "authori"].iter().any(|word| error.contains(word))
        };
        let status = node.wait_status("the reason", DEADLINE, refused)?;
        ensure!(!status.to_string().contains("-secret"), "a password is in the status");
    }
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'one')")?;
    cluster.nodes[1].execute("INSERT INTO t VALUES(2, 'two')")?;
    cluster.wait_published(DEADLINE)?;
    assert_eq!((rows(&cluster.nodes[0])?, rows(&cluster.nodes[1])?), (1, 1));
    ensure!(cluster.nodes[1].stop()?.success());
    set_credentials(&mut cluster.nodes[1], "cluster", "right-secret");
    cluster.start_all()?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM t", 2)?;
    }
    no_panics(&cluster)
}

#[test]
fn a_node_of_another_cluster_is_refused_with_a_reason_on_both_sides_and_nothing_of_it_is_applied()
-> Result<()> {
    let mut cluster = Cluster::new(BINARY, 3, SCHEMA)?;
    cluster.nodes[2].set("cluster.name", "\"the-others\"");
    cluster.start_all()?;
    for (node, of) in [(0, 3), (1, 3), (2, 1), (2, 2)] {
        refused_on_both_sides(&cluster.nodes[node], of, &["cluster.name", "the-others", "e-harmonylite"])?;
    }
    for (number, node) in cluster.nodes.iter().enumerate() {
        node.execute(&format!("INSERT INTO t VALUES({number}, 'x')"))?;
    }
    for node in &cluster.nodes[..2] {
        wait_number(node, "SELECT count(*) FROM t", 2)?;
    }
    assert_eq!(rows(&cluster.nodes[2])?, 1);
    no_panics(&cluster)
}

#[test]
fn a_node_with_another_number_of_shards_is_refused_with_a_reason_on_both_sides() -> Result<()> {
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    cluster.nodes[1].set("replication_log.shards", 3);
    cluster.start_all()?;
    for (node, of) in [(0, 2), (1, 1)] {
        refused_on_both_sides(&cluster.nodes[node], of, &["replication_log.shards", "has 3", "has 1"])?;
        cluster.nodes[node].execute(&format!("INSERT INTO t VALUES({node}, 'x')"))?;
    }
    cluster.wait_published(DEADLINE)?;
    assert_eq!((rows(&cluster.nodes[0])?, rows(&cluster.nodes[1])?), (1, 1));
    no_panics(&cluster)
}

#[test]
fn an_address_where_no_node_of_ours_answers_is_named_and_hurts_nobody() -> Result<()> {
    let stranger = harmonylite_testkit::NatsServer::start()?;
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    let peers = [cluster.nodes[1].url(), stranger.url(), "nats://127.0.0.1:1".to_owned()];
    cluster.nodes[0].set_peers(peers.iter().map(String::as_str));
    cluster.start_all()?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'one')")?;
    cluster.nodes[1].execute("INSERT INTO t VALUES(2, 'two')")?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM t", 2)?;
    }
    let explained = |status: &Value| {
        let peers = status["peers"].as_array().into_iter().flatten();
        peers.filter(|peer| peer["node_id"].is_null() && peer["error"].is_string()).count() == 2
    };
    cluster.nodes[0].wait_status("two peers with errors", DEADLINE, explained)?;
    no_panics(&cluster)
}
