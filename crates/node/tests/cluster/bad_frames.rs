//! A peer's stream with messages that nobody should trust: counted, logged, skipped; the database stays as it is.

use std::time::Duration;

use harmonylite::nats::{Auth, ConnectSettings, Connection, StreamIdentity, StreamSettings, ensure_stream};
use harmonylite_core::codec::{GroupPlace, encode_group};
use harmonylite_core::model::{Incarnation, LogPosition, NodeId, Origin, Shard};
use harmonylite_testkit::{Cluster, Context, NatsServer, Result, ensure};

use crate::fake_member::FakeMember;
use crate::support::{BINARY, DEADLINE, counter, no_panics, source_of, wait_number, wait_source};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'mine')";
const STREAM: &str = "harmonylite-changes-1";
const SUBJECT: &str = "harmonylite-change-log-1";

/// Where the byte of the format version stands in a message: docs/format.md.
const AT_VERSION: usize = 4;

/// A message of node 9 that moves its chain and carries no rows.
fn empty_frame(cluster: &str, prev: i64, through: i64) -> Result<Vec<u8>> {
    let position = |value| LogPosition::new(value).context("not a position");
    let place = GroupPlace {
        cluster: cluster.into(),
        origin: Origin::new(NodeId::new(9).context("node")?, Incarnation::new(1).context("incarnation")?),
        shard: Shard::FIRST,
        prev: position(prev)?,
        through: position(through)?,
    };
    let message = encode_group(&place, Vec::new(), 1_000_000).pop().context("no message")?;
    Ok(message.bytes)
}

fn bad_messages() -> Result<Vec<Vec<u8>>> {
    let good = empty_frame("e-harmonylite", 0, 5)?;
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    Ok(vec![
        b"garbage".to_vec(),
        Vec::new(),
        vec![0xff; 100_000],
        changed(good.len() - 1, good[good.len() - 1] ^ 1),
        good[..good.len() - 3].to_vec(),
        empty_frame("another-cluster", 0, 5)?,
    ])
}

/// Makes node 9's stream on that server and fills it.
async fn publish(server: &NatsServer, messages: Vec<Vec<u8>>) -> Result<()> {
    let settings = ConnectSettings {
        name: "test".into(),
        servers: vec![server.url()],
        auth: Auth::Anonymous,
        tls: None,
    };
    let connection = Connection::open(&settings).await?;
    connection.ready(DEADLINE).await?;
    let stream = StreamSettings {
        name: STREAM.into(),
        subject: SUBJECT.into(),
        replicas: 1,
        max_bytes: None,
        max_age: Duration::ZERO,
        max_messages: 0,
        update_existing: false,
    };
    let identity = StreamIdentity {
        cluster: "e-harmonylite".into(),
        node: NodeId::new(9),
        shard: Shard::FIRST,
        shards: 1,
        baseline: [].into(),
    };
    ensure_stream(&connection, &stream, &identity).await?;
    let client = async_nats::connect(server.url()).await?;
    let jetstream = async_nats::jetstream::new(client);
    for message in messages {
        jetstream.publish(SUBJECT, message.into()).await?.await?;
    }
    Ok(())
}

/// A node whose peers are another node and a server where node 9 seems to be.
fn with_fake_peer(fake: &NatsServer) -> Result<(Cluster, FakeMember)> {
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    let peers = [cluster.nodes[1].url(), fake.url()];
    cluster.nodes[0].set_peers(peers.iter().map(String::as_str));
    let member = FakeMember::start(9, fake)?;
    cluster.start_all()?;
    Ok((cluster, member))
}

fn publish_blocking(server: &NatsServer, messages: Vec<Vec<u8>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(publish(server, messages))
}

#[test]
fn garbage_and_frames_of_other_clusters_are_rejected_one_by_one() -> Result<()> {
    let fake = NatsServer::start_with("server_name: harmonylite-node-9")?;
    let bad = bad_messages()?;
    let count = bad.len() as u64;
    publish_blocking(&fake, bad)?;
    publish_blocking(&fake, vec![empty_frame("e-harmonylite", 0, 3)?])?;
    let (cluster, _member) = with_fake_peer(&fake)?;
    let node = &cluster.nodes[0];
    let rejected = |wanted: u64| {
        node.wait_status("the rejections", DEADLINE, move |status| {
            status["counters"]["messages_rejected"] == wanted
                && source_of(status, 9).is_some_and(|source| source["checkpoint"] == source["last"])
        })
    };
    let status = rejected(count)?;
    ensure!(source_of(&status, 9).is_some_and(|source| source["state"] == "following"), "{status:#}");
    let log = std::fs::read_to_string(node.log_file())?;
    ensure!(log.matches("message rejected").count() as u64 == count, "{}", node.log());
    for reason in ["not a harmonylite frame", "damaged", "another-cluster"] {
        ensure!(log.contains(reason), "{reason:?} is not in:\n{}", node.log());
    }
    // What is good is taken, and so are the other node's rows; what is bad is still bad.
    publish_blocking(&fake, vec![b"garbage again".to_vec(), empty_frame("e-harmonylite", 3, 7)?])?;
    let status = rejected(count + 1)?;
    let positions = status["positions"].to_string();
    ensure!(positions.contains("9/"), "the good frame was not taken: {positions}");
    cluster.nodes[1].execute("INSERT INTO t VALUES(2, 'theirs')")?;
    wait_number(node, "SELECT count(*) FROM t", 2)?;
    assert_eq!(node.query::<String>("SELECT v FROM t WHERE id = 1")?, "mine");
    assert_eq!((counter(node, "rows_applied")?, counter(node, "dead_letters")?), (1, 0));
    no_panics(&cluster)
}

#[test]
fn a_frame_of_a_newer_format_stops_its_source_until_the_node_is_upgraded_and_no_other() -> Result<()> {
    let fake = NatsServer::start_with("server_name: harmonylite-node-9")?;
    let mut newer = empty_frame("e-harmonylite", 0, 5)?;
    newer[AT_VERSION] = 2;
    publish_blocking(&fake, vec![b"garbage".to_vec(), newer, empty_frame("e-harmonylite", 5, 7)?])?;
    let (cluster, _member) = with_fake_peer(&fake)?;
    let node = &cluster.nodes[0];
    let status = wait_source(node, 9, "stopped")?;
    let source = source_of(&status, 9).cloned().unwrap_or_default();
    ensure!(source["reason"].to_string().contains("format version 2 is newer than 1"), "{source:#}");
    cluster.nodes[1].execute("INSERT INTO t VALUES(2, 'theirs')")?;
    wait_number(node, "SELECT count(*) FROM t", 2)?;
    // Nothing behind it was taken.
    ensure!(!node.status()?["positions"].to_string().contains("9/"), "{status:#}");
    no_panics(&cluster)
}
