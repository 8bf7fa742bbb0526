//! Logs: for programs line by line, and never with a secret in them.

use std::fs;

use harmonylite_testkit::{Cluster, ProcessId, Result, ensure};
use serde_json::Value;

use crate::support::{BINARY, DEADLINE, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE keyless(v)";
const PASSWORD: &str = "hush-hush-4711";

fn command_line(process: ProcessId) -> Result<String> {
    let bytes = fs::read(format!("/proc/{}/cmdline", process.pid()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn talkative() -> Result<Cluster> {
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    for node in &mut cluster.nodes {
        node.set("logging.format", "\"json\"");
        node.set("logging.verbose", true);
        node.set("nats.user_name", "\"cluster\"");
        node.set("nats.user_password", format!("\"{PASSWORD}\""));
    }
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'one')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 1)?;
    Ok(cluster)
}

#[test]
fn json_logs_are_one_object_a_line_with_time_level_and_message() -> Result<()> {
    let mut cluster = talkative()?;
    cluster.nodes[0].kill9_server()?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(2, 'two')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 2)?;
    cluster.stop_all()?;
    for node in &cluster.nodes {
        let log = fs::read_to_string(node.log_file())?;
        ensure!(log.lines().count() > 5, "{log}");
        for line in log.lines() {
            let object: Value = serde_json::from_str(line)
                .map_err(|error| harmonylite_testkit::anyhow::anyhow!("{error} in {line:?}"))?;
            for field in ["timestamp", "level"] {
                ensure!(object[field].is_string(), "no {field} in {line}");
            }
            ensure!(
                object["message"].is_string() || object["fields"]["message"].is_string(),
                "no message in {line}"
            );
        }
    }
    Ok(())
}

#[test]
fn passwords_are_in_no_log_no_status_and_no_command_line() -> Result<()> {
    let mut cluster = talkative()?;
    for node in &cluster.nodes {
        let server = node.server()?;
        let mut shown = vec![node.status()?.to_string(), command_line(server)?];
        shown.extend(node.process().map(command_line).transpose()?);
        let people = node.command_output(&["status", "--db", &node.db().display().to_string()])?;
        shown.push(String::from_utf8_lossy(&people.stdout).into_owned());
        for text in shown {
            ensure!(text.len() > 10 && !text.contains(PASSWORD), "{text}");
        }
    }
    cluster.stop_all()?;
    for node in &cluster.nodes {
        let log = fs::read_to_string(node.log_file())?;
        ensure!(log.contains("peer reached") && !log.contains(PASSWORD), "{log}");
    }
    Ok(())
}
