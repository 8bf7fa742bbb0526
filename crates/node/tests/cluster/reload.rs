//! Settings that change while a node runs: SIGHUP, `harmonylite reload`, `harmonylite log-level`.

use std::fs;
use std::process::Output;

use harmonylite_testkit::{Cluster, Context, Node, Result, ensure, wait, wait_for};
use serde_json::Value;

use crate::support::{BINARY, DEADLINE, following, no_panics, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";

fn alone() -> Result<Cluster> {
    let mut cluster = Cluster::new(BINARY, 1, SCHEMA)?;
    cluster.start_all()?;
    Ok(cluster)
}

/// A command of the node on its own configuration: exit code and what it printed.
fn command(node: &Node, arguments: &[&str]) -> Result<(i32, String)> {
    let config = node.config_file().display().to_string();
    let output = node.command_output(&[arguments, &["--config", &config]].concat())?;
    let Output { status, stdout, stderr } = &output;
    let code = status.code().with_context(|| format!("{arguments:?} ended with {status}"))?;
    Ok((code, format!("{}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr))))
}

fn filter(node: &Node) -> Result<String> {
    let (code, document) = command(node, &["log-level", "--json"])?;
    ensure!(code == 0, "{code}: {document}");
    let document: Value = serde_json::from_str(&document)?;
    Ok(document["filter"].as_str().context("no filter")?.to_owned())
}

fn wait_log(node: &Node, what: &str) -> Result<()> {
    wait_for(&format!("{what:?} in the log"), DEADLINE, || {
        ensure!(fs::read_to_string(node.log_file())?.contains(what), "it is not there");
        Ok(())
    })
    .with_context(|| node.log())
}

#[test]
fn a_reload_takes_what_can_change_and_names_what_needs_a_restart() -> Result<()> {
    let mut cluster = alone()?;
    let node = &mut cluster.nodes[0];
    ensure!(command(node, &["reload"])? == (0, "in effect now: nothing\n".to_owned()), "{}", node.log());
    node.set("logging.verbose", true);
    node.set("cleanup_interval", 200);
    node.set("nats.user_name", "\"ada\"");
    node.set("nats.user_password", "\"hush-hush\"");
    node.write_config()?;
    // What needs a restart is named until there was one.
    for now in ["cleanup_interval, logging.verbose", "nothing"] {
        let (code, said) = command(node, &["reload"])?;
        let wanted = format!("in effect now: {now}\nneeds a restart: nats.user_name, nats.user_password\n");
        ensure!((code, said.as_str()) == (11, wanted.as_str()), "{code}: {said}\n{}", node.log());
    }
    ensure!(filter(node)?.contains("harmonylite=debug"), "{}", filter(node)?);
    let log = fs::read_to_string(node.log_file())?;
    ensure!(log.contains("their new values need a restart") && !log.contains("hush-hush"), "{log}");
    ensure!(node.stop()?.success(), "{}", node.log());
    node.start()?;
    node.wait_ready()?;
    ensure!(command(node, &["reload"])?.0 == 0, "{}", node.log());
    no_panics(&cluster)
}

#[test]
fn a_broken_file_changes_nothing_and_the_log_says_why() -> Result<()> {
    let mut cluster = alone()?;
    let node = &mut cluster.nodes[0];
    let process = node.process().context("it does not run")?;
    let before = filter(node)?;
    fs::write(node.config_file(), "db_path = \"/nowhere\"\nverbos = true\n[logging]\nverbose = true\n")?;
    process.hang_up();
    wait_log(node, "the configuration stays as it was")?;
    wait_log(node, "unknown key `verbos`")?;
    let config = node.config_file().display().to_string();
    let by_socket = node.command_output(&["reload", "--db", &node.db().display().to_string()])?;
    let said = String::from_utf8_lossy(&by_socket.stderr).into_owned();
    ensure!(by_socket.status.code() == Some(3) && said.contains(&config), "{said}");
    node.set("logging.verbose", true);
    node.set("node_id", 1);
    node.write_config()?;
    ensure!(filter(node)? == before, "{}", filter(node)?);
    process.hang_up();
    wait_log(node, "configuration read again")?;
    wait("the new level", DEADLINE, || {
        filter(node).is_ok_and(|filter| filter.contains("harmonylite=debug"))
    })?;
    ensure!(process.is_running(), "it has ended");
    no_panics(&cluster)
}

#[test]
fn the_log_says_more_from_the_moment_it_is_asked_to_until_the_configuration_is_read_again() -> Result<()> {
    let mut cluster = alone()?;
    let node = &mut cluster.nodes[0];
    let configured = filter(node)?;
    ensure!(!fs::read_to_string(node.log_file())?.contains("DEBUG"), "{}", node.log());
    let (code, said) = command(node, &["log-level", "trace", "async_nats"])?;
    ensure!(code == 0 && said == format!("{configured},async_nats=trace\n"), "{code}: {said}");
    ensure!(command(node, &["log-level", "debug"])?.0 == 0, "{}", node.log());
    node.kill9_server()?;
    wait_log(node, "DEBUG")?;
    let (code, said) = command(node, &["log-level", "loud"])?;
    ensure!(code == 2 && said.contains("no level"), "{code}: {said}");
    ensure!(command(node, &["reload"])?.0 == 0, "{}", node.log());
    ensure!(filter(node)? == configured, "{}", filter(node)?);
    no_panics(&cluster)
}

#[test]
fn the_bounds_of_the_conflict_log_hold_from_the_reload_on() -> Result<()> {
    let mut cluster = following(2, SCHEMA)?;
    ensure!(cluster.nodes[1].stop()?.success());
    for id in 0..5 {
        cluster.nodes[1].execute(&format!("INSERT INTO t VALUES({id}, 'loses')"))?;
    }
    for id in 0..5 {
        cluster.nodes[0].execute(&format!("INSERT INTO t VALUES({id}, 'wins')"))?;
    }
    cluster.start_all()?;
    let logged = "SELECT count(*) FROM __harmonylite___conflict_log";
    wait_number(&cluster.nodes[1], logged, 5)?;
    let node = &mut cluster.nodes[1];
    node.set("conflict.log_max_entries", 2);
    node.set("cleanup_interval", 100);
    node.write_config()?;
    let (code, said) = command(node, &["reload"])?;
    ensure!(
        code == 0 && said == "in effect now: cleanup_interval, conflict.log_max_entries\n",
        "{code}: {said}"
    );
    node.execute("INSERT INTO t VALUES(9, 'something to keep house for')")?;
    wait_number(node, logged, 2)?;
    no_panics(&cluster)
}
