//! Members find one another: one known peer is enough, addresses follow their nodes, who leaves is said to have left.

use harmonylite_testkit::{Cluster, Context, Node, Port, Result, ensure, wait_for};
use serde_json::Value;

use crate::support::{BINARY, DEADLINE, no_panics, source_of, wait_number, wait_source};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";

/// Three nodes of which 1 and 3 know nobody but 2, and 2 knows nobody.
fn strangers() -> Result<Cluster> {
    let mut cluster = Cluster::new(BINARY, 3, SCHEMA)?;
    let middle = cluster.nodes[1].url();
    cluster.nodes[0].set_peers([middle.as_str()]);
    cluster.nodes[1].unset("cluster.peers");
    cluster.nodes[2].set_peers([middle.as_str()]);
    Ok(cluster)
}

fn all_write(cluster: &Cluster, round: u64) -> Result<()> {
    for node in &cluster.nodes {
        node.execute(&format!("INSERT INTO t VALUES({}, 'x')", round * 10 + node.id()))?;
    }
    Ok(())
}

/// What `status --cluster --json` says at `node`.
pub(crate) fn cluster_status(node: &Node) -> Result<Value> {
    let db = node.db().display().to_string();
    let output = node.command_output(&["status", "--cluster", "--json", "--db", &db])?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "status --cluster ended with {}: {complaint}", output.status);
    serde_json::from_slice(&output.stdout).context("reading the cluster status")
}

fn member(status: &Value, id: u64) -> Option<&Value> {
    status["members"].as_array()?.iter().find(|member| member["node_id"] == id)
}

/// Waits until `holds` for what `node` says of the member `id` (null when it knows none).
pub(crate) fn wait_member(node: &Node, id: u64, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    let found = wait_for(&format!("member {id} at node {}", node.id()), DEADLINE, || {
        let status = cluster_status(node)?;
        let found = member(&status, id).cloned().unwrap_or_default();
        ensure!(holds(&found), "the last status was {status:#}");
        Ok(found)
    });
    found.with_context(|| node.log())
}

#[test]
fn nodes_that_know_one_other_at_most_find_all_of_them() -> Result<()> {
    let mut cluster = strangers()?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    all_write(&cluster, 1)?;
    let contents = cluster.wait_equal(&["t"], DEADLINE)?;
    ensure!(contents.rows("t") == 3);
    // What nobody was told stands in no configuration.
    let status = cluster.nodes[0].status()?;
    let peers = status["peers"].as_array().context("peers")?;
    let to_third = peers.iter().find(|peer| peer["node_id"] == 3).context("no way to node 3")?;
    ensure!(to_third["configured"] == false && to_third["url"] == cluster.nodes[2].address(), "{peers:?}");
    no_panics(&cluster)
}

#[test]
fn a_node_that_changes_its_address_is_found_again() -> Result<()> {
    let mut cluster = strangers()?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    ensure!(cluster.nodes[2].stop()?.success());
    let port = Port::reserve()?;
    cluster.nodes[2].set("cluster.listen", format!("\"{}\"", port.address()));
    all_write(&cluster, 1)?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    all_write(&cluster, 2)?;
    ensure!(cluster.wait_equal(&["t"], DEADLINE)?.rows("t") == 6);
    for node in &cluster.nodes[..2] {
        wait_member(node, 3, |third| third["address"] == port.address() && third["state"] == "alive")?;
    }
    // Nobody dials the old address any more.
    let old = cluster.nodes[2].address();
    cluster.nodes[0].wait_status("no way to the old address", DEADLINE, |status| {
        let mut peers = status["peers"].as_array().into_iter().flatten();
        peers.all(|peer| peer["url"] != old.as_str())
    })?;
    no_panics(&cluster)
}

#[test]
fn a_node_whose_only_configured_peer_is_dead_finds_the_others_after_a_restart() -> Result<()> {
    let mut cluster = strangers()?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    // What it learnt is in its database.
    let learnt = "SELECT count(*) FROM __harmonylite___meta WHERE name = 'members'";
    wait_number(&cluster.nodes[0], learnt, 1)?;
    cluster.nodes[1].kill9()?;
    ensure!(cluster.nodes[0].stop()?.success());
    cluster.nodes[0].start()?;
    cluster.nodes[0].wait_ready()?;
    wait_source(&cluster.nodes[0], 3, "following")?;
    cluster.nodes[2].execute("INSERT INTO t VALUES(1, 'x')")?;
    wait_number(&cluster.nodes[0], "SELECT count(*) FROM t", 1)?;
    // The address comes from the member; node 3 did not have to call first.
    let status = cluster.nodes[0].status()?;
    ensure!(source_of(&status, 2).is_none(), "node 2 is away: {status:#}");
    no_panics(&cluster)
}

#[test]
fn every_node_says_who_is_alive_and_how_far_everybody_is() -> Result<()> {
    let mut cluster = strangers()?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    all_write(&cluster, 1)?;
    cluster.wait_equal(&["t"], DEADLINE)?;
    for node in &cluster.nodes {
        for id in 1..=3 {
            let complete = |member: &Value| {
                let lag = member["lag"].as_array().map_or(&[][..], Vec::as_slice);
                member["state"] == "alive"
                    && member["this_node"] == (id == node.id())
                    && member["pending_rows"] == 0
                    && member["dead_letters"] == 0
                    && member["published"][0]["position"].as_i64() > Some(0)
                    && member["positions"].as_array().is_some_and(|positions| positions.len() >= 2)
                    && lag.len() == 2
                    && lag.iter().all(|lag| lag["rows"] == 0 && lag["ms"] == 0)
            };
            let found = wait_member(node, id, complete)?;
            ensure!(found["version"] == env!("CARGO_PKG_VERSION") && found["since"].is_null(), "{found:#}");
        }
    }
    // Without --json it is for people.
    let db = cluster.nodes[0].db().display().to_string();
    let shown = cluster.nodes[0].command_output(&["status", "--cluster", "--db", &db])?;
    let shown = String::from_utf8(shown.stdout)?;
    ensure!(shown.contains("alive, this node") && shown.matches("nothing").count() == 3, "{shown}");
    no_panics(&cluster)
}

#[test]
fn who_stops_is_said_to_have_stopped_who_is_killed_is_unreachable_and_both_fall_behind() -> Result<()> {
    let mut cluster = strangers()?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    all_write(&cluster, 1)?;
    cluster.wait_equal(&["t"], DEADLINE)?;
    ensure!(cluster.nodes[2].stop()?.success());
    let stopped = wait_member(&cluster.nodes[0], 3, |third| third["state"] == "stopped")?;
    ensure!(stopped["since"].is_string() && stopped["heard"].is_string(), "{stopped:#}");
    cluster.nodes[1].kill9()?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(91, 'x'), (92, 'x')")?;
    let behind = |member: &Value| {
        let lag = member["lag"].as_array().into_iter().flatten().find(|lag| lag["node_id"] == 1);
        lag.is_some_and(|lag| {
            (2..=3).contains(&lag["rows"].as_u64().unwrap_or_default()) && lag["ms"].as_u64() > Some(0)
        })
    };
    wait_member(&cluster.nodes[0], 3, |third| third["state"] == "stopped" && behind(third))?;
    let killed =
        wait_member(&cluster.nodes[0], 2, |second| second["state"] == "unreachable" && behind(second))?;
    ensure!(killed["since"].is_string() && killed["reason"].is_string(), "{killed:#}");
    // The health of the node that goes on says so, too.
    let status = cluster.nodes[0].status()?;
    let peers = status["peers"].as_array().context("peers")?;
    ensure!(peers.iter().all(|peer| peer["connected"] == false && peer["error"].is_string()), "{peers:?}");
    cluster.start_all()?;
    cluster.wait_equal(&["t"], DEADLINE)?;
    for id in [2, 3] {
        wait_member(&cluster.nodes[0], id, |member| member["state"] == "alive" && member["since"].is_null())?;
    }
    no_panics(&cluster)
}

/// Runs `node forget ID` at `node`: its exit code and what it said.
pub(crate) fn forget(node: &Node, id: u64) -> Result<(Option<i32>, String)> {
    let (db, id) = (node.db().display().to_string(), id.to_string());
    let output = node.command_output(&["node", "forget", &id, "--db", &db])?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn a_member_that_is_gone_for_good_is_forgotten_by_all_and_one_that_comes_back_is_a_member() -> Result<()> {
    let mut cluster = strangers()?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    let (code, said) = forget(&cluster.nodes[0], 3)?;
    ensure!(code == Some(1) && said.contains("alive"), "{code:?} {said}");
    let (code, said) = forget(&cluster.nodes[0], 9)?;
    ensure!(code == Some(2) && said.contains("no such member"), "{code:?} {said}");
    ensure!(cluster.nodes[2].stop()?.success());
    wait_member(&cluster.nodes[0], 3, |third| third["state"] == "stopped")?;
    let (code, said) = forget(&cluster.nodes[0], 3)?;
    ensure!(code == Some(0), "{said}");
    for node in &cluster.nodes[..2] {
        wait_member(node, 3, Value::is_null)?;
        node.wait_status("no source of node 3", DEADLINE, |status| source_of(status, 3).is_none())?;
    }
    // Also after a restart.
    ensure!(cluster.nodes[0].stop()?.success());
    cluster.nodes[0].start()?;
    cluster.nodes[0].wait_ready()?;
    wait_source(&cluster.nodes[0], 2, "following")?;
    ensure!(member(&cluster_status(&cluster.nodes[0])?, 3).is_none());
    // Without a process there is nobody to ask.
    let (code, said) = forget(&cluster.nodes[2], 1)?;
    ensure!(code == Some(8) && said.contains("no harmonylite process"), "{code:?} {said}");
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    all_write(&cluster, 1)?;
    ensure!(cluster.wait_equal(&["t"], DEADLINE)?.rows("t") == 3);
    no_panics(&cluster)
}

#[test]
fn node_list_names_the_members_for_people_and_for_programs() -> Result<()> {
    let mut cluster = strangers()?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    let node = &cluster.nodes[1];
    let db = node.db().display().to_string();
    wait_member(node, 1, |first| first["state"] == "alive")?;
    let shown = String::from_utf8(node.command_output(&["node", "list", "--db", &db])?.stdout)?;
    let address = cluster.nodes[0].address();
    ensure!(shown.lines().count() == 4 && shown.contains(&address), "{shown}");
    let output = node.command_output(&["node", "list", "--json", "--db", &db])?;
    let listed: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(member(&listed, 3).is_some() && listed["node_id"] == 2, "{listed:#}");
    Ok(())
}
