//! Nodes that know one another by certificates of `harmonylite certs`: they replicate; who has others is refused on
//! both sides, with the reason, and nothing of it is applied.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harmonylite::exit::ExitCode;
use harmonylite::tls::{Authority, Validity};
use harmonylite_testkit::{Cluster, Node, Result, ensure, wait};
use serde_json::Value;

use crate::support::{BINARY, DEADLINE, no_panics, refusal, run, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
const COUNT: &str = "SELECT count(*) FROM t";

fn certs(folder: &Path, arguments: &[&str]) -> Result<String> {
    run(Command::new(BINARY).arg("certs").args(arguments).current_dir(folder))
}

/// A folder with an authority.
fn authority() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    certs(folder.path(), &["init", "--cluster", "shop"])?;
    Ok(folder)
}

/// Makes a certificate for `node` and names it in its configuration; gives the folder of its files.
fn equip(node: &mut Node, authority: &Path) -> Result<PathBuf> {
    let id = node.id().to_string();
    certs(authority, &["node", "--node-id", &id, "--host", "127.0.0.1"])?;
    let folder = authority.join(format!("certs/node-{id}"));
    name_files(node, &folder);
    Ok(folder)
}

fn name_files(node: &mut Node, folder: &Path) {
    for (key, file) in [("ca_file", "ca.pem"), ("cert_file", "node.pem"), ("key_file", "node.key")] {
        node.set(&format!("nats.{key}"), format!("'{}'", folder.join(file).display()));
    }
}

#[test]
fn nodes_with_certificates_replicate_through_kills_and_renewals() -> Result<()> {
    let authority = authority()?;
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    for node in &mut cluster.nodes {
        equip(node, authority.path())?;
    }
    // Its server's own words are in the log then.
    cluster.nodes[0].set("logging.verbose", "true");
    cluster.start_all()?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'one')")?;
    cluster.nodes[1].execute("INSERT INTO t VALUES(2, 'two')")?;
    cluster.wait_equal(&["t"], DEADLINE)?;
    wait_number(&cluster.nodes[0], COUNT, 2)?;
    let certificate = cluster.nodes[0].status()?["nats"]["certificate"].clone();
    let days = certificate["days_left"].as_i64().unwrap_or_default();
    ensure!(certificate["state"] == "valid" && (729..=730).contains(&days), "{certificate}");

    certs(authority.path(), &["node", "--node-id", "1", "--force"])?;
    cluster.nodes[0].kill9_server()?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(3, 'three')")?;
    wait_number(&cluster.nodes[1], COUNT, 3)?;
    certs(authority.path(), &["node", "--node-id", "1", "--force"])?;
    let told =
        cluster.nodes[0].command_output(&["reload", "--db", &cluster.nodes[0].db().display().to_string()])?;
    ensure!(told.status.success(), "{told:?}");
    // What new connections are shown after that is tested beside the server (nats/tls.rs).
    wait("a server that has read its certificates again", DEADLINE, || {
        fs::read_to_string(cluster.nodes[0].log_file())
            .is_ok_and(|log| log.contains("Reloaded server configuration"))
    })?;
    ensure!(cluster.nodes[1].stop()?.success());
    cluster.nodes[0].execute("INSERT INTO t VALUES(4, 'four')")?;
    cluster.start_all()?;
    cluster.nodes[1].execute("INSERT INTO t VALUES(5, 'five')")?;
    for node in &cluster.nodes {
        wait_number(node, COUNT, 5)?;
        let warned = fs::read_to_string(node.log_file())?;
        ensure!(!warned.contains("any process on this machine"), "{warned}");
    }
    no_panics(&cluster)
}

/// Waits until both nodes say in the status why they do not reach the other, then that a write of each stays there.
fn assert_strangers(cluster: &mut Cluster, reasons: [&str; 2]) -> Result<()> {
    for (node, reason) in cluster.nodes.iter().zip(reasons) {
        let explained = |status: &Value| {
            let peer = &status["peers"][0];
            let error = peer["error"].as_str().unwrap_or_default();
            peer["node_id"].is_null() && error.contains(reason)
        };
        node.wait_status(reason, DEADLINE, explained)?;
        node.execute(&format!("INSERT INTO t VALUES({}, 'mine')", node.id()))?;
    }
    cluster.wait_published(DEADLINE)?;
    for (node, reason) in cluster.nodes.iter().zip(reasons) {
        let log = fs::read_to_string(node.log_file())?;
        ensure!(log.contains("peer not reached") && log.contains(reason), "{log}");
        let followed = node.status()?["sources"].as_array().map_or(0, Vec::len);
        ensure!(followed == 1, "only the own stream is a source, but {followed} are");
        assert_eq!(node.query::<i64>(COUNT)?, 1);
    }
    cluster.stop_all()?;
    no_panics(cluster)
}

#[test]
fn nodes_of_two_authorities_refuse_one_another() -> Result<()> {
    let (authority, foreign) = (authority()?, authority()?);
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    equip(&mut cluster.nodes[0], authority.path())?;
    equip(&mut cluster.nodes[1], foreign.path())?;
    cluster.start_all()?;
    let reason = "its certificate is not signed by an authority that we know";
    assert_strangers(&mut cluster, [reason, reason])?;
    // The one that is asked logs who was refused, too.
    for node in &cluster.nodes {
        wait("the server's reason", DEADLINE, || {
            fs::read_to_string(node.log_file()).is_ok_and(|log| log.contains("TLS handshake error"))
        })?;
    }
    Ok(())
}

#[test]
fn a_node_in_clear_text_and_one_with_tls_refuse_one_another() -> Result<()> {
    let authority = authority()?;
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    equip(&mut cluster.nodes[0], authority.path())?;
    for node in &mut cluster.nodes {
        node.set("nats.user_name", "'cluster'");
        node.set("nats.user_password", "'the same'");
    }
    cluster.start_all()?;
    assert_strangers(
        &mut cluster,
        ["it does not answer in TLS", "its certificate is not signed by an authority that we know"],
    )
}

#[test]
fn a_node_whose_own_certificate_ended_or_is_not_of_its_authority_does_not_start() -> Result<()> {
    let (authority, foreign) = (authority()?, authority()?);
    let mut node = Node::new(BINARY, 1, SCHEMA)?;
    let files = equip(&mut node, authority.path())?;
    let key = fs::read_to_string(authority.path().join("certs/ca.key"))?;
    let signer = Authority { certificate: fs::read_to_string(files.join("ca.pem"))?, key };
    let past = Validity { now_s: 1_000_000_000, end_s: 1_100_000_000 };
    let ended = signer.issue("node-1", "shop", &[], past)?;
    fs::write(files.join("node.pem"), ended.certificate)?;
    fs::write(files.join("node.key"), ended.key)?;
    let (code, log) = refusal(&mut node)?;
    assert_eq!(code, i32::from(ExitCode::Configuration.number()));
    ensure!(log.contains("`nats.cert_file`: the certificate ended") && log.contains("certs node"), "{log}");

    fs::remove_file(node.log_file())?;
    let files = equip(&mut node, foreign.path())?;
    fs::copy(authority.path().join("certs/ca.pem"), files.join("ca.pem"))?;
    let (code, log) = refusal(&mut node)?;
    assert_eq!(code, i32::from(ExitCode::Configuration.number()));
    ensure!(log.contains("none of them has signed it"), "{log}");
    assert_eq!(node.query::<i64>("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%harmonylite%'")?, 0);
    node.hide_log();
    Ok(())
}
