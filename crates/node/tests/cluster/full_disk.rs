//! The disk gets full: the application goes on as far as SQLite lets it, the sidecar waits, and all arrives when there is
//! room again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use harmonylite_testkit::{Cluster, Context, Node, Result, ensure, wait, wait_for};
use serde_json::{Value, json};

use crate::support::{BINARY, DEADLINE, in_own_mounts, refusal, run, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";

/// A file system of 24 MB that is the folder `disk` of a node, seen only by processes of its namespace.
struct SmallDisk {
    holder: Child,
    path: PathBuf,
}

impl SmallDisk {
    fn mount(path: PathBuf) -> Result<SmallDisk> {
        fs::create_dir(&path)?;
        let script = "mount -t tmpfs -o size=24m none \"$1\"; touch \"$1/ready\"; exec tail -f /dev/null";
        let holder = in_own_mounts(script).arg(&path).spawn().context("making a small disk")?;
        let disk = SmallDisk { holder, path };
        wait("the small disk", DEADLINE, || {
            disk.enter("test")
                .args(["-e"])
                .arg(disk.file("ready"))
                .status()
                .is_ok_and(|status| status.success())
        })?;
        Ok(disk)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A program in the namespace.
    fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        if !rustix::process::geteuid().is_root() {
            command.arg("-U");
        }
        command.args(["-m", "-t", &self.holder.id().to_string(), program]);
        command
    }

    /// The application: the sqlite3 shell. A statement that fails is an error with what it says.
    fn sql(&self, sql: &str) -> Result<String> {
        run(self.enter("sqlite3").arg("-bail").arg(self.file("app.db")).args([".timeout 5000", sql]))
    }

    /// A file that runs the sidecar there.
    fn sidecar(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join("sidecar");
        let user = if rustix::process::geteuid().is_root() { "" } else { "-U" };
        let pid = self.holder.id();
        fs::write(&path, format!("#!/bin/sh\nexec nsenter {user} -m -t {pid} {BINARY} \"$@\"\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// Fills it to its last byte.
    fn fill(&self) -> Result<()> {
        let filled = self
            .enter("dd")
            .args(["if=/dev/zero", "bs=64k"])
            .arg(format!("of={}", self.file("filler").display()))
            .output()?;
        ensure!(!filled.status.success(), "the disk has no end");
        Ok(())
    }

    fn make_room(&self) -> Result<()> {
        run(self.enter("rm").arg(self.file("filler"))).map(drop)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Node 1 on a small disk and node 2 on the usual one, following one another.
fn start(disk: &SmallDisk, first: &mut Node, second: &mut Node) -> Result<()> {
    disk.sql(&format!("PRAGMA journal_mode = WAL; {SCHEMA}"))?;
    first.set("db_path", format!("{:?}", disk.file("app.db")));
    first.set("replication_log.max_bytes", "\"256MiB\"");
    let (first_url, second_url) = (first.url(), second.url());
    first.set_peers([second_url.as_str()]);
    second.set_peers([first_url.as_str()]);
    first.start()?;
    second.start()?;
    second.wait_ready()?;
    wait_for("the triggers", DEADLINE, || {
        let triggers = disk.sql("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'")?;
        ensure!(triggers.trim() != "0", "there are none");
        Ok(())
    })
    .with_context(|| first.log())?;
    disk.sql("INSERT INTO t VALUES(1, 'before')")?;
    wait_number(second, "SELECT count(*) FROM t WHERE id = 1", 1).with_context(|| first.log())
}

#[test]
fn a_full_disk_ends_neither_application_nor_sidecar_and_all_arrives_when_there_is_room() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut second = Node::new(BINARY, 2, SCHEMA)?;
    let place = Node::new(BINARY, 1, SCHEMA)?;
    let disk = SmallDisk::mount(place.folder().join("disk"))?;
    let mut first = Node::new(disk.sidecar(folder.path())?, 1, SCHEMA)?;
    start(&disk, &mut first, &mut second)?;
    let sidecar = first.process().context("it has ended")?;

    disk.fill()?;
    let written: Vec<u32> = (100..160)
        .filter(|id| disk.sql(&format!("INSERT INTO t VALUES({id}, hex(randomblob(20000)))")).is_ok())
        .collect();
    ensure!(written.len() < 60, "the disk never got full");
    // The peer's rows cannot be applied now; they wait.
    second.execute("INSERT INTO t VALUES(9000, hex(randomblob(100000)))")?;
    status_of(&first, &disk, "its trouble", |status| {
        let troubles = status["troubles"].as_array().map(Vec::as_slice).unwrap_or_default();
        troubles.iter().any(|trouble| trouble["what"] == "apply")
    })?;
    let said = || {
        Ok::<_, std::io::Error>(fs::read_to_string(first.log_file())?.matches("the database refused").count())
    };
    wait_for("the trouble in the log", DEADLINE, || {
        ensure!(said()? > 0, "nothing of it");
        Ok(())
    })
    .with_context(|| first.log())?;
    disk.make_room()?;
    disk.sql("INSERT INTO t VALUES(2, 'after')")?;
    for id in written.iter().copied().chain([2]) {
        wait_number(&second, &format!("SELECT count(*) FROM t WHERE id = {id}"), 1)
            .with_context(|| first.log())?;
    }
    wait_for("the row on the small disk", DEADLINE, || {
        let rows = disk.sql("SELECT count(*) FROM t WHERE id = 9000")?;
        ensure!(rows.trim() == "1", "it is missing");
        Ok(())
    })
    .with_context(|| first.log())?;
    status_of(&first, &disk, "no trouble any more", |status| status["troubles"] == json!([]))?;
    // Once for each kind of work, and not at every try.
    ensure!(said()? < 8, "{}", first.log());
    ensure!(sidecar.is_running(), "it has ended:\n{}", first.log());
    ensure!(!fs::read_to_string(first.log_file())?.contains("panicked"), "{}", first.log());
    Ok(())
}

/// Waits for a status of the node whose database is on the small disk.
fn status_of(node: &Node, disk: &SmallDisk, what: &str, holds: impl Fn(&Value) -> bool) -> Result<()> {
    wait_for(what, DEADLINE, || {
        let database = disk.file("app.db");
        let text = run(disk.enter(BINARY).args(["status", "--json", "--db"]).arg(database))?;
        let status: Value = serde_json::from_str(&text)?;
        ensure!(holds(&status), "the last status was {status:#}");
        Ok(())
    })
    .with_context(|| node.log())
}

#[test]
fn a_full_disk_of_the_streams_holds_up_what_is_sent_and_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("sidecar");
    let (mut first, mut second) = (Node::new(program, 1, SCHEMA)?, Node::new(BINARY, 2, SCHEMA)?);
    let disk = SmallDisk::mount(first.folder().join("nats"))?;
    disk.sidecar(folder.path())?;
    first.set("replication_log.max_bytes", "\"256MiB\"");
    let (first_url, second_url) = (first.url(), second.url());
    first.set_peers([second_url.as_str()]);
    second.set_peers([first_url.as_str()]);
    for node in [&mut first, &mut second] {
        node.start()?;
        node.wait_ready()?;
    }
    first.execute("INSERT INTO t VALUES(1, 'before')")?;
    wait_number(&second, "SELECT count(*) FROM t", 1)?;
    let (sidecar, server) = (first.process().context("it has ended")?, disk_server(&first)?);

    disk.fill()?;
    for id in 100..140 {
        first.execute(&format!("INSERT INTO t VALUES({id}, hex(randomblob(20000)))"))?;
    }
    first.wait_status("the trouble of its server", DEADLINE, |status| {
        status["nats"]["trouble"].is_string() && status["publisher"]["pending_rows"] != 0
    })?;
    // Its own disk has room: what others write arrives.
    second.execute("INSERT INTO t VALUES(9000, 'from the other node')")?;
    wait_number(&first, "SELECT count(*) FROM t WHERE id = 9000", 1)?;
    disk.make_room()?;
    wait_number(&second, "SELECT count(*) FROM t WHERE id BETWEEN 100 AND 139", 40)
        .with_context(|| first.log())?;
    first.wait_status("no trouble any more", DEADLINE, |status| {
        status["nats"]["trouble"].is_null() && status["troubles"] == json!([])
    })?;
    ensure!(sidecar.is_running(), "it has ended:\n{}", first.log());
    ensure!(
        disk_server(&first)? != server,
        "a server whose disk was full stores nothing until it is started again"
    );
    ensure!(!fs::read_to_string(first.log_file())?.contains("panicked"), "{}", first.log());
    Ok(())
}

/// What SQLite would put into temporary files stays in memory.
#[test]
fn a_full_disk_for_temporary_files_holds_up_nothing() -> Result<()> {
    const ROWS: i64 = 30_000;
    let folder = tempfile::tempdir()?;
    let disk = SmallDisk::mount(folder.path().join("disk"))?;
    disk.fill()?;
    let schema = format!("{SCHEMA}; CREATE UNIQUE INDEX v_once ON t(v)");
    let mut cluster = Cluster::new(disk.sidecar(folder.path())?, 2, &schema)?;
    for node in &mut cluster.nodes {
        // Where SQLite looks, in this order.
        ["SQLITE_TMPDIR", "TMPDIR"].iter().for_each(|name| node.set_variable(name, disk.path.clone()));
    }
    cluster.start_all()?;
    let rows = format!(
        "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
         SELECT i, hex(randomblob(50)) FROM n"
    );
    cluster.nodes[0].execute(&rows)?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", ROWS)?;
    cluster.nodes[1].execute("UPDATE t SET v = v || 'x'")?;
    wait_number(&cluster.nodes[0], "SELECT count(*) FROM t WHERE v LIKE '%x'", ROWS)
}

/// The process of the node's server; it is a grandchild here.
fn disk_server(node: &Node) -> Result<u64> {
    node.status()?["nats"]["pid"].as_u64().context("no server")
}

#[test]
fn a_start_on_a_full_disk_is_refused_as_one_that_may_work_later_and_then_works() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = Node::new(BINARY, 1, SCHEMA)?;
    let disk = SmallDisk::mount(place.folder().join("disk"))?;
    let mut node = Node::new(disk.sidecar(folder.path())?, 1, SCHEMA)?;
    disk.sql(&format!("PRAGMA journal_mode = WAL; {SCHEMA}; INSERT INTO t VALUES(1, 'one')"))?;
    node.set("db_path", format!("{:?}", disk.file("app.db")));
    // The first start writes tables and triggers, a later one the files of the server.
    for id in [2, 3] {
        disk.fill()?;
        let (code, log) = refusal(&mut node)?;
        ensure!(code == 10, "{code}: {log}");
        disk.make_room()?;
        node.start()?;
        status_of(&node, &disk, "an answer", |status| status["publisher"]["state"] == "idle")?;
        disk.sql(&format!("INSERT INTO t VALUES({id}, 'sent')"))?;
        status_of(&node, &disk, "what was written is sent", |status| {
            status["counters"]["published_log_rows"] == 1 && status["troubles"] == json!([])
        })?;
        node.kill9()?;
    }
    Ok(())
}
