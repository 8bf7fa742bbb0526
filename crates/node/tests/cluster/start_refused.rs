//! What cannot work is refused at start, with an exit code of its own and a message that says what to do.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use harmonylite_testkit::{Image, Node, Port, Result, ensure};

use crate::support::{BINARY, ensure_untouched, refusal};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'mine')";

/// Refused with that code, saying all of this, and without a panic.
fn expect_refusal(node: &mut Node, code: i32, words: &[&str]) -> Result<()> {
    let (found, log) = refusal(node)?;
    ensure!(found == code, "exit code {found}, not {code}:\n{log}");
    for word in words {
        ensure!(log.contains(word), "{word:?} is not in:\n{log}");
    }
    ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}

#[test]
fn another_node_id_than_the_databases_own_is_refused() -> Result<()> {
    let mut node = Node::new(BINARY, 1, SCHEMA)?;
    node.start()?;
    node.wait_ready()?;
    node.stop()?;
    let image = Image::take(&node.db())?;
    let mut other = Node::new(BINARY, 2, SCHEMA)?;
    image.put_back(&other.db())?;
    expect_refusal(&mut other, 6, &["node", "1", "2"])
}

#[test]
fn a_second_sidecar_on_one_database_is_refused_and_names_the_first() -> Result<()> {
    let mut first = Node::new(BINARY, 1, SCHEMA)?;
    first.start()?;
    first.wait_ready()?;
    let pid = first.process().map(|process| process.pid().to_string()).unwrap_or_default();
    let mut second = Node::new(BINARY, 1, SCHEMA)?;
    second.set("db_path", format!("\"{}\"", first.db().display()));
    expect_refusal(&mut second, 5, &[&pid])?;
    ensure!(first.is_running() && first.status().is_ok(), "the first is hurt:\n{}", first.log());
    first.execute("INSERT INTO t VALUES(2, 'still captured')")?;
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_refused() -> Result<()> {
    let port = Port::reserve()?;
    let _listener = TcpListener::bind(port.address())?;
    let mut node = Node::new(BINARY, 1, SCHEMA)?;
    node.set("cluster.listen", format!("\"{}\"", port.address()));
    expect_refusal(&mut node, 9, &[&port.number().to_string()])
}

#[test]
fn a_nats_server_that_is_missing_is_refused() -> Result<()> {
    let mut node = Node::new(BINARY, 1, SCHEMA)?;
    node.set("nats.server_binary", "\"/nowhere/nats-server\"");
    expect_refusal(&mut node, 3, &["/nowhere/nats-server"])?;
    ensure_untouched(&node)
}

#[test]
fn without_any_nats_server_the_places_where_it_was_looked_for_are_named() -> Result<()> {
    let mut node = Node::new(BINARY, 1, SCHEMA)?;
    node.unset("nats.server_binary");
    fs::write(node.config_file(), node.config_text())?;
    let mut command = Command::new(BINARY);
    // Nothing but its own folder, where it has been built: no server there.
    let output =
        command.args(["run", "--config"]).arg(node.config_file()).env("PATH", node.folder()).output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(7), "{}:\n{log}", output.status);
    for word in ["nats.server_binary", "PATH"] {
        ensure!(log.contains(word), "{word:?} is not in:\n{log}");
    }
    ensure_untouched(&node)
}

/// A program that says it is that nats-server.
fn impostor(node: &Node, script: &str) -> Result<String> {
    let path = node.folder().join("nats-server");
    fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(format!("\"{}\"", path.display()))
}

#[test]
fn a_nats_server_that_is_too_old_is_refused_with_the_version_found() -> Result<()> {
    let mut node = Node::new(BINARY, 1, SCHEMA)?;
    let binary = impostor(&node, "echo 'nats-server: v2.9.10'")?;
    node.set("nats.server_binary", binary);
    expect_refusal(&mut node, 7, &["2.9.10", "2.12.8"])
}

#[test]
fn a_nats_server_that_is_something_else_is_refused() -> Result<()> {
    let mut node = Node::new(BINARY, 1, SCHEMA)?;
    let binary = impostor(&node, "echo 'I am a teapot'; exit 3")?;
    node.set("nats.server_binary", binary);
    expect_refusal(&mut node, 7, &["nats-server"])
}

#[test]
fn a_nats_server_that_ends_at_once_is_refused() -> Result<()> {
    let mut node = Node::new(BINARY, 1, SCHEMA)?;
    let binary = impostor(
        &node,
        "case \"$*\" in *-v*) echo 'nats-server: v2.15.1';; *) echo 'no disk today' >&2; exit 1;; esac",
    )?;
    node.set("nats.server_binary", binary);
    expect_refusal(&mut node, 7, &["no disk today"])
}

#[test]
fn unknown_keys_and_bad_values_are_all_named_at_once_and_nothing_is_touched() -> Result<()> {
    let mut node = Node::new(BINARY, 1, SCHEMA)?;
    node.set("replication_log.shard", 1);
    node.set("cluster.peeers", "[]");
    node.set("scan_max_changes", 0);
    expect_refusal(&mut node, 3, &["replication_log.shard", "peeers", "scan_max_changes"])?;
    ensure_untouched(&node)
}
