//! Databases that cannot be used: a clear error, never a panic, never data changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use harmonylite_testkit::{Context, Node, Result, ensure};

use crate::support::{BINARY, in_own_mounts, refusal};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'mine')";

/// The user nobody.
const NOBODY: u32 = 65_534;

fn expect_database_error(node: &mut Node, words: &[&str]) -> Result<()> {
    let (code, log) = refusal(node)?;
    ensure!(code == 4, "exit code {code}:\n{log}");
    ensure_says(&log, words)
}

fn ensure_says(log: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(log.contains(word), "{word:?} is not in:\n{log}");
    }
    ensure!(!log.contains("panicked"), "{log}");
    Ok(())
}

#[test]
fn a_database_that_is_missing_is_an_error_and_is_not_made() -> Result<()> {
    let mut node = Node::new(BINARY, 1, SCHEMA)?;
    let missing = node.folder().join("none.db");
    node.set("db_path", format!("\"{}\"", missing.display()));
    expect_database_error(&mut node, &["none.db"])?;
    ensure!(!missing.exists(), "it was made");
    Ok(())
}

#[test]
fn a_file_that_is_no_sqlite_database_is_left_as_it_is() -> Result<()> {
    // Text; and what an encrypted database looks like: whole pages of noise.
    let noise: Vec<u8> = {
        let mut rng = harmonylite_testkit::Rng::new(1);
        (0..8192).map(|_| rng.next_u64() as u8).collect()
    };
    for bytes in [b"this is not a database, but it is long enough to have a header\n".repeat(100), noise] {
        let mut node = Node::new(BINARY, 1, SCHEMA)?;
        let file = node.folder().join("other.db");
        fs::write(&file, &bytes)?;
        node.set("db_path", format!("\"{}\"", file.display()));
        expect_database_error(&mut node, &["other.db", "not"])?;
        ensure!(fs::read(&file)? == bytes, "the file was changed");
    }
    Ok(())
}

#[test]
fn a_database_that_the_application_has_for_itself_is_an_error_with_the_reason() -> Result<()> {
    let mut node = Node::new(BINARY, 1, SCHEMA)?;
    let application = node.connection()?;
    application.execute_batch("PRAGMA locking_mode = EXCLUSIVE; UPDATE t SET v = 'locked'")?;
    expect_database_error(&mut node, &["locking_mode", "another process holds the database for itself"])?;
    application.execute_batch("UPDATE t SET v = 'goes on'")?;
    Ok(())
}

#[test]
fn a_folder_in_place_of_the_database_is_an_error() -> Result<()> {
    let mut node = Node::new(BINARY, 1, SCHEMA)?;
    let folder = node.folder().join("folder.db");
    fs::create_dir(&folder)?;
    node.set("db_path", format!("\"{}\"", folder.display()));
    expect_database_error(&mut node, &["folder.db"])
}

/// Runs the node to its end as a user who is not root. Its folder is opened for everybody first.
fn run_as_nobody(node: &Node) -> Result<Output> {
    fs::set_permissions(node.folder(), fs::Permissions::from_mode(0o777))?;
    fs::write(node.config_file(), node.config_text())?;
    let mut command = Command::new(BINARY);
    command.args(["run", "--config"]).arg(node.config_file());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().context("running as nobody")
}

fn complaint(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[test]
fn a_database_that_the_user_may_not_read_is_an_error() -> Result<()> {
    let node = Node::new(BINARY, 1, SCHEMA)?;
    fs::set_permissions(node.db(), fs::Permissions::from_mode(0o000))?;
    let output = run_as_nobody(&node)?;
    let complaint = complaint(&output);
    ensure!(output.status.code() == Some(4), "{}:\n{complaint}", output.status);
    ensure_says(&complaint, &["app.db"])
}

#[test]
fn a_database_that_the_user_may_only_read_is_an_error_and_stays_as_it_is() -> Result<()> {
    let node = Node::new(BINARY, 1, SCHEMA)?;
    fs::set_permissions(node.db(), fs::Permissions::from_mode(0o444))?;
    let output = run_as_nobody(&node)?;
    fs::set_permissions(node.db(), fs::Permissions::from_mode(0o644))?;
    let complaint = complaint(&output);
    ensure!(output.status.code() == Some(4), "{}:\n{complaint}", output.status);
    ensure_says(&complaint, &["app.db"])?;
    ensure!(node.query::<i64>("SELECT count(*) FROM sqlite_schema")? == 1, "the database was changed");
    Ok(())
}

#[test]
fn a_database_on_a_read_only_mount_is_an_error() -> Result<()> {
    let node = Node::new(BINARY, 1, SCHEMA)?;
    fs::write(node.config_file(), node.config_text())?;
    let script =
        "mount --bind \"$1\" \"$1\"; mount -o remount,ro,bind \"$1\"; exec \"$2\" run --config \"$3\"";
    let mut command = in_own_mounts(script);
    let output = command.arg(node.folder()).arg(BINARY).arg(node.config_file()).output()?;
    let complaint = complaint(&output);
    ensure!(matches!(output.status.code(), Some(4 | 10)), "{}:\n{complaint}", output.status);
    ensure_says(&complaint, &["app.db"])?;
    ensure!(node.query::<i64>("SELECT count(*) FROM sqlite_schema")? == 1, "the database was changed");
    Ok(())
}
