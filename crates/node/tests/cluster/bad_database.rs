//! Databases that cannot be used: a clear error, never a panic, never data changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use harmonylite_testkit::{Context, Node, ProcessId, Result, bail, ensure, wait, wait_for};
use rusqlite::Connection;

use crate::support::{BINARY, DEADLINE, following, refusal, wait_number};

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

/// A command in a mount namespace of its own: `script` is run by sh there, with `$1` ..
fn in_own_mounts(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.arg(if rustix::process::geteuid().is_root() { "-m" } else { "-rm" });
    command.args(["sh", "-ec", script, "sh"]);
    command
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

/// A file system of 24 MB that is the folder `disk` of a node, seen only by processes of its namespace.
struct SmallDisk {
    holder: std::process::Child,
    path: PathBuf,
}

impl SmallDisk {
    fn mount(node: &Node) -> Result<SmallDisk> {
        let path = node.folder().join("disk");
        fs::create_dir(&path)?;
        let script = "mount -t tmpfs -o size=24m none \"$1\"; touch \"$1/ready\"; exec tail -f /dev/null";
        let holder = in_own_mounts(script).arg(&path).spawn().context("making a small disk")?;
        let disk = SmallDisk { holder, path };
        wait("the small disk", DEADLINE, || disk.seen("ready").exists())?;
        Ok(disk)
    }

    /// A file of it, as processes outside reach it.
    fn seen(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.path.strip_prefix("/").unwrap_or(&self.path)).join(name)
    }

    /// A program that runs `program` there.
    fn program(&self, folder: &Path, program: &str) -> Result<PathBuf> {
        let path = folder.join("program");
        let (user, pid) = (if rustix::process::geteuid().is_root() { "" } else { "-U" }, self.holder.id());
        fs::write(&path, format!("#!/bin/sh\nexec nsenter {user} -m -t {pid} {program} \"$@\"\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Fills the disk to its last byte; removing the file makes room again.
fn fill(disk: &SmallDisk) -> Result<PathBuf> {
    let filler = disk.seen("filler");
    let block = vec![0; 1 << 16];
    let mut file = fs::File::create(&filler)?;
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
    Ok(filler)
}

#[test]
fn a_full_disk_ends_neither_the_application_nor_the_sidecar_and_all_arrives_when_there_is_room() -> Result<()>
{
    let mut cluster = following(2, SCHEMA)?;
    ensure!(cluster.nodes[0].stop()?.success());
    let folder = tempfile::tempdir()?;
    let disk = SmallDisk::mount(&cluster.nodes[0])?;
    let program = disk.program(folder.path(), BINARY)?;
    let (url, peer) = (cluster.nodes[0].url(), cluster.nodes[1].url());
    ensure!(cluster.nodes[1].stop()?.success());

    // A node of its own on the small disk, in place of node 1.
    let mut cramped = Node::new(&program, 1, SCHEMA)?;
    let db = disk.seen("app.db");
    Connection::open(&db)?.execute_batch(&format!("PRAGMA journal_mode = WAL; {SCHEMA}"))?;
    cramped.set("db_path", format!("\"{}\"", disk.path.join("app.db").display()));
    cramped.set("cluster.listen", format!("\"{}\"", url.trim_start_matches("nats://")));
    cramped.set("replication_log.max_bytes", "\"256MiB\"");
    cramped.set_peers([peer.as_str()]);
    cramped.start()?;
    cluster.nodes[1].start()?;
    cluster.nodes[1].wait_ready()?;

    let application = Connection::open(&db)?;
    application.busy_timeout(Duration::from_secs(10))?;
    let captured = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'";
    wait_for("the triggers", DEADLINE, || {
        let triggers: i64 = application.query_row(captured, [], |row| row.get(0))?;
        ensure!(triggers > 0, "none");
        Ok(())
    })
    .with_context(|| cramped.log())?;
    application.execute("INSERT INTO t VALUES(2, 'before')", [])?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t WHERE id = 2", 1)
        .with_context(|| cramped.log())?;

    let filler = fill(&disk)?;
    let (mut written, mut refused) = (Vec::new(), 0);
    for id in 100..400 {
        match application.execute("INSERT INTO t VALUES(?1, hex(randomblob(500)))", [id]) {
            Ok(_) => written.push(id),
            Err(error) if is_full(&error) => refused += 1,
            Err(error) => bail!("the application got {error}"),
        }
    }
    ensure!(refused > 0, "the disk never got full");
    // The peer's rows cannot be applied now; they wait.
    cluster.nodes[1].execute("INSERT INTO t VALUES(9000, hex(randomblob(100000)))")?;
    let sidecar = cramped.process().context("it has ended")?;
    fs::remove_file(filler)?;
    application.execute("INSERT INTO t VALUES(3, 'after')", [])?;
    for id in [3, 9000] {
        let sql = format!("SELECT count(*) FROM t WHERE id = {id}");
        wait_number(&cluster.nodes[1], &sql, 1).with_context(|| cramped.log())?;
        wait_for("the row on the small disk", DEADLINE, || {
            let rows: i64 = application.query_row(&sql, [], |row| row.get(0))?;
            ensure!(rows == 1, "row {id} is missing");
            Ok(())
        })
        .with_context(|| cramped.log())?;
    }
    for id in written {
        wait_number(&cluster.nodes[1], &format!("SELECT count(*) FROM t WHERE id = {id}"), 1)?;
    }
    ensure!(sidecar.is_running() && ProcessId::of(sidecar.pid()) == Some(sidecar), "{}", cramped.log());
    ensure!(!fs::read_to_string(cramped.log_file())?.contains("panicked"), "{}", cramped.log());
    Ok(())
}

fn is_full(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DiskFull, SystemIoFailure};
    matches!(error.sqlite_error_code(), Some(DiskFull | SystemIoFailure))
}
