//! Members on shared servers: all hear all, nobody is dialled.

use harmonylite_testkit::{Cluster, NatsServer, Node, Result, ensure};
use serde_json::Value;

use crate::members::{cluster_status, forget, wait_member};
use crate::support::{BINARY, DEADLINE, no_panics, refusal, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";

fn sharing(server: &NatsServer) -> Result<Cluster> {
    let mut cluster = Cluster::sharing(BINARY, 3, SCHEMA, &[server.url()])?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    Ok(cluster)
}

fn is_alive_and_complete(member: &Value) -> bool {
    let lag = member["lag"].as_array().map_or(&[][..], Vec::as_slice);
    member["state"] == "alive" && lag.len() == 2 && lag.iter().all(|lag| lag["rows"] == 0 && lag["ms"] == 0)
}

#[test]
fn nodes_on_shared_servers_know_one_another_and_who_left() -> Result<()> {
    let server = NatsServer::start()?;
    let mut cluster = sharing(&server)?;
    for node in &cluster.nodes {
        node.execute(&format!("INSERT INTO t VALUES({}, 'x')", node.id()))?;
    }
    cluster.wait_equal(&["t"], DEADLINE)?;
    for node in &cluster.nodes {
        for id in 1..=3 {
            wait_member(node, id, is_alive_and_complete)?;
        }
    }
    ensure!(cluster_status(&cluster.nodes[0])?["mode"] == "shared");
    ensure!(cluster.nodes[2].stop()?.success());
    for node in &cluster.nodes[..2] {
        wait_member(node, 3, |third| third["state"] == "stopped" && third["since"].is_string())?;
    }
    let (code, said) = forget(&cluster.nodes[0], 3)?;
    ensure!(code == Some(0), "{said}");
    wait_member(&cluster.nodes[1], 3, Value::is_null)?;
    cluster.nodes[1].kill9()?;
    let killed = wait_member(&cluster.nodes[0], 2, |second| second["state"] == "unreachable")?;
    ensure!(killed["since"].is_string(), "{killed:#}");
    cluster.start_all()?;
    for id in 1..=3 {
        wait_member(&cluster.nodes[0], id, is_alive_and_complete)?;
    }
    no_panics(&cluster)
}

#[test]
fn a_second_node_with_a_live_nodes_id_does_not_start_on_shared_servers_and_a_restart_does() -> Result<()> {
    let server = NatsServer::start()?;
    let mut cluster = sharing(&server)?;
    let mut second = Node::new(BINARY, 1, SCHEMA)?;
    second.unset("cluster.listen");
    second.set_urls([server.url().as_str()]);
    let (code, log) = refusal(&mut second)?;
    ensure!(code == 13 && log.contains("node id 1"), "{code}: {log}");
    ensure!(second.query::<i64>("SELECT count(*) FROM sqlite_schema WHERE name <> 't'")? == 0);
    cluster.nodes[0].kill9()?;
    cluster.nodes[0].start()?;
    cluster.nodes[0].wait_ready()?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'x')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 1)?;
    no_panics(&cluster)
}

#[test]
fn at_a_hub_the_others_may_say_who_they_are() -> Result<()> {
    let mut cluster = Cluster::new(BINARY, 3, SCHEMA)?;
    let hub = cluster.nodes[0].url();
    cluster.nodes[0].set("nats.mode", "\"shared\"");
    cluster.nodes[0].unset("cluster.peers");
    cluster.nodes[1..].iter_mut().for_each(|node| node.set_urls([hub.as_str()]));
    cluster.start_all()?;
    for node in &cluster.nodes {
        for id in 1..=3 {
            wait_member(node, id, |member| member["state"] == "alive")?;
        }
    }
    no_panics(&cluster)
}
