//! Shared mode: all nodes publish to the streams of one NATS server or cluster, whatever becomes of it meanwhile.

use std::time::{Duration, Instant};

use harmonylite_testkit::{
    Cluster, Context as _, NatsCluster, NatsServer, Node, Proxy, Result, ensure, wait, wait_for,
};
use serde_json::Value;

use crate::load::{self, all_arrives, finish_load, start_load};
use crate::support::{BINARY, DEADLINE, counter, wait_number};

const STREAM: &str = "harmonylite-changes-1";

/// Three nodes that share the streams of these servers and follow them.
fn sharing(urls: &[String]) -> Result<Cluster> {
    let mut cluster = Cluster::sharing(BINARY, 3, load::SCHEMA, urls)?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    Ok(cluster)
}

/// How the only stream of a node is.
fn state(status: &Value) -> &str {
    status["sources"][0]["state"].as_str().unwrap_or_default()
}

#[test]
fn nodes_that_share_a_server_of_others_become_equal() -> Result<()> {
    let server = NatsServer::start()?;
    let cluster = sharing(&[server.url()])?;
    let written = finish_load(start_load(&cluster)?)?;
    all_arrives(&cluster, &written)?;
    let status = cluster.nodes[0].status()?;
    assert_eq!((&status["mode"], &status["sources"][0]["id"]), (&"shared".into(), &STREAM.into()));
    assert_eq!((&status["nats"]["pid"], &status["listen"]), (&Value::Null, &Value::Null));
    ensure!(cluster.nodes[0].process().is_some_and(|node| node.children().is_empty()), "it has a child");
    Ok(())
}

#[test]
fn a_large_transaction_goes_to_the_servers_over_a_slow_link() -> Result<()> {
    let server = NatsServer::start()?;
    let link = Proxy::start(&server.address())?;
    let mut cluster = Cluster::sharing(BINARY, 2, load::SCHEMA, &[server.url()])?;
    let through_link = server.url().replace(&server.address(), &link.address());
    cluster.nodes[0].set_urls([through_link.as_str()]);
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    // 64 KiB every 80 ms: some 6 Mbit/s.
    link.delay(Duration::from_millis(80));
    cluster.nodes[0].execute(load::LARGE)?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM shared", 24)?;
    cluster.wait_equal(load::TABLES, DEADLINE).map(drop)
}

/// Capture does not wait for the network (G1), not even at a restart after which triggers are missing.
#[test]
fn a_restart_mends_its_triggers_while_the_servers_are_away() -> Result<()> {
    let server = NatsServer::start()?;
    let link = Proxy::start(&server.address())?;
    let mut cluster = Cluster::sharing(BINARY, 1, load::SCHEMA, &[])?;
    let node = &mut cluster.nodes[0];
    node.set_urls([link.address().as_str()]);
    node.set("nats.connect_retries", 1000);
    node.start()?;
    node.wait_ready()?;
    ensure!(node.stop()?.success(), "{}", node.log());
    let triggers = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'shared'";
    let wanted = node.query::<i64>(triggers)?;
    let name: String = node.query(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'shared' AND name GLOB '*insert'",
    )?;
    node.execute(&format!("DROP TRIGGER \"{name}\""))?;
    link.cut();
    node.start()?;
    wait_number(node, triggers, wanted)?;
    ensure!(!node.log().contains("starting without the streams"), "{}", node.log());
    Ok(())
}

#[test]
fn several_shards_are_as_many_shared_streams() -> Result<()> {
    let server = NatsServer::start()?;
    let mut cluster = Cluster::sharing(BINARY, 2, load::SCHEMA, &[server.url()])?;
    cluster.nodes.iter_mut().for_each(|node| node.set("replication_log.shards", 3));
    cluster.start_all()?;
    let written = finish_load(start_load(&cluster)?)?;
    all_arrives(&cluster, &written)
}

#[test]
fn one_nodes_server_serves_as_the_hub_of_the_others() -> Result<()> {
    let mut cluster = Cluster::new(BINARY, 3, load::SCHEMA)?;
    let hub = cluster.nodes[0].url().replace("nats://", "nats://star:s3cret@");
    cluster.nodes[0].set("nats.mode", "\"shared\"");
    cluster.nodes[0].unset("cluster.peers");
    cluster.nodes[0].set("nats.user_name", "\"star\"");
    cluster.nodes[0].set("nats.user_password", "\"s3cret\"");
    cluster.nodes[1..].iter_mut().for_each(|node| node.set_urls([hub.as_str()]));
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    let writers = start_load(&cluster)?;
    wait("writes", DEADLINE, || writers.iter().all(|writer| writer.written() >= 100))?;
    cluster.nodes[0].kill9_server()?;
    let written = finish_load(writers)?;
    all_arrives(&cluster, &written)?;
    shows_nowhere(&cluster, "s3cret")
}

fn shows_nowhere(cluster: &Cluster, secret: &str) -> Result<()> {
    for node in &cluster.nodes {
        let log = std::fs::read_to_string(node.log_file())?;
        let process = node.process().context("it has ended")?;
        let arguments = std::fs::read_to_string(format!("/proc/{}/cmdline", process.pid()))?;
        ensure!(!format!("{log}{}{arguments}", node.status()?).contains(secret), "a password is shown");
    }
    Ok(())
}

#[test]
fn nodes_whose_servers_are_leaf_nodes_of_a_cluster_share_its_streams() -> Result<()> {
    let leaf_port = harmonylite_testkit::Port::reserve()?;
    let (leaf, store) = (leaf_port.address(), "jetstream { domain: hub }");
    let users = "authorization { users: [{ user: me, password: s3cret }] }";
    let mut hub = NatsServer::start_with(&format!("leafnodes {{ listen: \"{leaf}\" }}\n{users}\n{store}"))?;
    let mut cluster = Cluster::new(BINARY, 3, load::SCHEMA)?;
    for node in &mut cluster.nodes {
        node.unset("cluster.listen");
        node.unset("cluster.peers");
        node.set("cluster.leaf_servers", format!("[\"nats-leaf://me:s3cret@{leaf}\"]"));
        node.set("nats.jetstream_domain", "\"hub\"");
    }
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    let writers = start_load(&cluster)?;
    wait("writes", DEADLINE, || writers.iter().all(|writer| writer.written() >= 100))?;
    cluster.nodes[0].kill9_server()?;
    hub.restart()?;
    let written = finish_load(writers)?;
    all_arrives(&cluster, &written)?;
    shows_nowhere(&cluster, "s3cret")
}

#[test]
fn messages_stay_below_the_limit_of_the_server() -> Result<()> {
    let server = NatsServer::start_with("max_payload: 64KB")?;
    let mut cluster = Cluster::sharing(BINARY, 2, load::SCHEMA, &[server.url()])?;
    cluster.start_all()?;
    let blob = "INSERT INTO shared VALUES(1, hex(randomblob(400000)))";
    cluster.nodes[0].execute(blob)?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM shared WHERE length(v) = 800000", 1)?;
    cluster.wait_equal(load::TABLES, DEADLINE).map(drop)
}

#[test]
fn killed_nodes_go_on_from_where_they_were() -> Result<()> {
    let server = NatsServer::start()?;
    let mut cluster = sharing(&[server.url()])?;
    let writers = start_load(&cluster)?;
    for round in 0..12 {
        let moment = 30 * (round + 1);
        wait("writes meanwhile", DEADLINE, || writers.iter().all(|writer| writer.written() >= moment))?;
        let node = &mut cluster.nodes[round as usize % 3];
        node.kill9()?;
        node.start()?;
    }
    let written = finish_load(writers)?;
    cluster.nodes.iter_mut().try_for_each(Node::wait_ready)?;
    all_arrives(&cluster, &written)
}

#[test]
fn leaders_that_are_killed_under_load_lose_nothing() -> Result<()> {
    let mut nats = NatsCluster::start_with(3, "")?;
    let mut cluster = Cluster::sharing(BINARY, 3, load::SCHEMA, &nats.urls())?;
    cluster.nodes.iter_mut().for_each(|node| node.set("replication_log.replicas", 3));
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    let writers = start_load(&cluster)?;
    for round in 0..3 {
        let moment = 120 * (round + 1);
        wait("writes meanwhile", DEADLINE, || writers.iter().all(|writer| writer.written() >= moment))?;
        let leader = nats.leader_of(STREAM)?;
        nats.server(leader).kill9()?;
        // Another one leads before this one is back: the stream really changes hands.
        wait_for("another leader", DEADLINE, || {
            let now = nats.leader_of(STREAM)?;
            ensure!(now != leader, "still {leader}");
            Ok(())
        })?;
        nats.server(leader).restart()?;
    }
    let written = finish_load(writers)?;
    all_arrives(&cluster, &written)?;
    let info = nats.servers()[0].request(&format!("$JS.API.STREAM.INFO.{STREAM}"), "")?;
    assert_eq!(info["config"]["num_replicas"], 3, "{info}");
    Ok(())
}

#[test]
fn answers_that_get_lost_on_the_way_are_neither_lost_nor_repeated_writes() -> Result<()> {
    let server = NatsServer::start()?;
    let mut cluster = Cluster::sharing(BINARY, 3, load::SCHEMA, &[])?;
    let links: Vec<Proxy> = (0..3).map(|_| Proxy::start(&server.address())).collect::<Result<_>>()?;
    for (node, link) in cluster.nodes.iter_mut().zip(&links) {
        node.set_urls([link.address().as_str()]);
    }
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    let writers = start_load(&cluster)?;
    for round in 0..24 {
        let moment = 15 * (round + 1);
        wait("writes meanwhile", DEADLINE, || writers.iter().all(|writer| writer.written() >= moment))?;
        // Whatever is under way is stored or not: nobody is told.
        links[round as usize % 3].cut();
        links[round as usize % 3].resume();
    }
    // Whether a cut meets a publish is chance: as many more as it takes, while there is something to publish.
    for (node, link) in cluster.nodes.iter().zip(&links) {
        wait_for("an answer that got lost", DEADLINE, || {
            link.cut();
            link.resume();
            let uncertain = counter(node, "publishes_uncertain")?;
            ensure!(uncertain > 0, "none did");
            Ok(())
        })?;
    }
    let written = finish_load(writers)?;
    all_arrives(&cluster, &written)
}

/// A node in whose world the names of hosts come from `hosts`.
fn node_with_hosts(hosts: &std::path::Path, folder: &std::path::Path) -> Result<Node> {
    use std::os::unix::fs::PermissionsExt;
    let program = folder.join("harmonylite");
    let flags = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let script = format!(
        "#!/bin/sh\nexec unshare {flags} sh -ec 'mount --bind \"$0\" /etc/hosts; exec \"$@\"' '{}' '{BINARY}' \"$@\"\n",
        hosts.display()
    );
    std::fs::write(&program, script)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    Node::new(program, 1, load::SCHEMA)
}

#[test]
fn a_name_is_looked_up_at_every_connect_and_all_of_its_addresses_are_tried() -> Result<()> {
    let server = NatsServer::start()?;
    let folder = tempfile::tempdir()?;
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.2 nats.test\n127.0.0.3 nats.test\n")?;
    let mut node = node_with_hosts(&hosts, folder.path())?;
    node.set_urls([format!("dns://nats.test:{}", server.port()).as_str()]);
    node.set("nats.connect_retries", 0);
    node.start()?;
    node.wait_ready()?;
    node.wait_status("nobody at the old addresses", DEADLINE, |status| state(status) == "lost")?;
    std::fs::write(&hosts, "127.0.0.2 nats.test\n127.0.0.3 nats.test\n127.0.0.1 nats.test\n")?;
    node.wait_status("the new address", DEADLINE, |status| state(status) == "following").map(drop)
}

#[test]
fn a_server_that_is_away_for_a_while_is_not_noticed_by_the_application_and_said_in_the_status() -> Result<()>
{
    const AWAY: Duration = Duration::from_secs(10);
    let mut server = NatsServer::start()?;
    let mut cluster = sharing(&[server.url()])?;
    let writers = start_load(&cluster)?;
    server.kill9()?;
    let gone = Instant::now();
    wait_for("everybody to have noticed", DEADLINE, || {
        ensure!(gone.elapsed() > AWAY, "it is not away for long enough");
        for node in &cluster.nodes {
            let status = node.status()?;
            ensure!(state(&status) == "lost" && status["nats"]["connected"] == false, "{status:#}");
        }
        Ok(())
    })?;
    // A node that starts meanwhile runs, and takes its part as soon as it can.
    cluster.nodes[2].stop()?;
    cluster.nodes[2].set("nats.connect_retries", 0);
    cluster.nodes[2].start()?;
    cluster.nodes[2].wait_ready()?;
    server.restart()?;
    let written = finish_load(writers)?;
    all_arrives(&cluster, &written)?;
    cluster.wait_following(DEADLINE)
}
