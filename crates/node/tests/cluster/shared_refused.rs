//! Servers that refuse a node, streams that are not its own: it ends with the reason, and nothing is applied or sent.

use harmonylite_testkit::{Cluster, NatsServer, Node, Result, ensure};

use crate::support::{BINARY, DEADLINE, ensure_untouched, refusal, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
const STREAM: &str = "harmonylite-changes-1";

fn node(urls: &[&str]) -> Result<Node> {
    let mut node = Node::new(BINARY, 1, SCHEMA)?;
    node.set_urls(urls.iter().copied());
    Ok(node)
}

/// A node that has never run does not start, for that reason, and its database gets no triggers that nobody would read.
#[track_caller]
fn assert_refused(node: &mut Node, code: i32, parts: &[&str]) -> Result<()> {
    assert_ends(node, code, parts)?;
    ensure_untouched(node)
}

/// It does not start, for that reason.
#[track_caller]
fn assert_ends(node: &mut Node, code: i32, parts: &[&str]) -> Result<()> {
    let (found, log) = refusal(node)?;
    assert_eq!(found, code, "{log}");
    for part in parts {
        assert!(log.contains(part), "{part:?} is not in:\n{log}");
    }
    Ok(())
}

#[test]
fn a_wrong_password_is_refused_at_once_and_not_shown() -> Result<()> {
    let server = NatsServer::start_with("authorization { users: [{ user: me, password: right }] }")?;
    let url = server.url().replace("nats://", "nats://me:wr0ng@");
    let mut node = node(&[&url])?;
    assert_refused(&mut node, 3, &["wrong credentials", "me is refused", "nats.user_password"])?;
    ensure!(!node.log().contains("wr0ng"), "{}", node.log());
    node.set_urls([server.url().replace("nats://", "nats://me:right@").as_str()]);
    node.start()?;
    node.wait_ready()
}

#[test]
fn a_seed_that_the_server_does_not_know_is_refused() -> Result<()> {
    // Made for this test.
    const KNOWN: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
    const OTHER: &str = "SUANQDPB2RUOE4ETUA26CNX7FUKE5ZZKFCQIIW63OX225F2CO7UEXTM7ZY";
    let server = NatsServer::start_with(&format!("authorization {{ users: [{{ nkey: {PUBLIC} }}] }}"))?;
    let mut node = node(&[&server.url()])?;
    let seed = node.folder().join("seed");
    node.set("nats.seed_file", format!("\"{}\"", seed.display()));
    std::fs::write(&seed, OTHER)?;
    assert_refused(&mut node, 3, &["wrong credentials", "nats.seed_file"])?;
    ensure!(!node.log().contains(OTHER), "{}", node.log());
    std::fs::write(&seed, KNOWN)?;
    node.start()?;
    node.wait_ready()?;
    let told = format!("{}{}", node.log(), node.status()?);
    ensure!(!told.contains(KNOWN) && !told.contains(OTHER), "{told}");
    Ok(())
}

#[test]
fn a_node_of_another_cluster_is_refused_and_leaves_the_stream_alone() -> Result<()> {
    let server = NatsServer::start()?;
    let mut cluster = Cluster::sharing(BINARY, 2, SCHEMA, &[server.url()])?;
    cluster.nodes[1].set("cluster.name", "\"the-others\"");
    cluster.nodes[0].start()?;
    cluster.nodes[0].wait_ready()?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'one')")?;
    cluster.nodes[0].wait_status("one message", DEADLINE, |status| status["sources"][0]["last"] == 1)?;
    let reasons = ["belongs to cluster e-harmonylite, this node to the-others", "nats.stream_prefix"];
    assert_refused(&mut cluster.nodes[1], 6, &reasons)?;
    assert_eq!(cluster.nodes[1].query::<i64>("SELECT count(*) FROM t")?, 0);
    refused_by(&cluster.nodes[0], "the-others")?;
    // With streams of its own there is room for both.
    cluster.nodes[1].set("nats.stream_prefix", "\"others\"");
    cluster.nodes[1].set("nats.subject_prefix", "\"others\"");
    cluster.nodes[1].start()?;
    cluster.nodes[1].wait_ready()
}

#[test]
fn another_number_of_shards_is_refused() -> Result<()> {
    let server = NatsServer::start()?;
    let mut cluster = Cluster::sharing(BINARY, 2, SCHEMA, &[server.url()])?;
    cluster.nodes[1].set("replication_log.shards", 2);
    cluster.nodes[0].start()?;
    cluster.nodes[0].wait_ready()?;
    assert_refused(&mut cluster.nodes[1], 3, &["harmonylite-shards is 1, should be 2", "same on all nodes"])?;
    refused_by(&cluster.nodes[0], "shards")
}

/// The other side says so, too, and why.
fn refused_by(node: &Node, reason: &str) -> Result<()> {
    node.wait_status("the newcomer among the refused", DEADLINE, |status| {
        let refused = status["refused"].as_array().map(Vec::as_slice).unwrap_or_default();
        refused.iter().any(|caller| caller["reason"].as_str().is_some_and(|said| said.contains(reason)))
    })?;
    Ok(())
}

#[test]
fn a_stream_with_other_settings_is_refused_until_it_may_be_changed() -> Result<()> {
    let server = NatsServer::start()?;
    let mut cluster = Cluster::sharing(BINARY, 2, SCHEMA, &[server.url()])?;
    cluster.start_all()?;
    cluster.nodes[1].stop()?;
    cluster.nodes[1].set("replication_log.max_bytes", "\"8GiB\"");
    let reasons = ["max_bytes is 4294967296, should be 8589934592", "update_existing"];
    assert_ends(&mut cluster.nodes[1], 3, &reasons)?;
    cluster.nodes[1].set("replication_log.update_existing", true);
    cluster.start_all()?;
    let info = server.request(&format!("$JS.API.STREAM.INFO.{STREAM}"), "")?;
    assert_eq!(info["config"]["max_bytes"], 8_589_934_592_u64, "{info}");
    // The other one runs on: that somebody changed the stream is no reason to stop.
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'one')")?;
    cluster.nodes[1].execute("INSERT INTO t VALUES(2, 'two')")?;
    cluster.nodes.iter().try_for_each(|node| wait_number(node, "SELECT count(*) FROM t", 2))
}

#[test]
fn a_stream_that_is_not_ours_and_copies_that_cannot_be_are_refused() -> Result<()> {
    let server = NatsServer::start()?;
    let mut node = node(&[&server.url()])?;
    node.set("replication_log.replicas", 3);
    assert_refused(&mut node, 3, &["refuses stream harmonylite-changes-1", "replication_log.replicas"])?;
    node.set("replication_log.replicas", 1);
    let stream = r#"{"name":"harmonylite-changes-1","subjects":["something.else"],"storage":"file"}"#;
    server.request(&format!("$JS.API.STREAM.CREATE.{STREAM}"), stream)?;
    assert_refused(&mut node, 6, &["stream harmonylite-changes-1 is not ours"])
}

#[test]
fn a_server_without_jetstream_is_no_place_for_streams() -> Result<()> {
    let server = NatsServer::start_with("jetstream: disabled")?;
    let mut node = node(&[&server.url()])?;
    node.start()?;
    node.wait_ready()?;
    let explained = |status: &serde_json::Value| {
        status["sources"][0]["state"] == "lost"
            && status["sources"][0]["reason"].to_string().contains("JetStream")
    };
    node.wait_status("the reason", DEADLINE, explained).map(drop)
}
