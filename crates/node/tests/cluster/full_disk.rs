//! The disk gets full: the application goes on as far as SQLite lets it, the sidecar waits, and all arrives when there is
//! room again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use harmonylite_testkit::{Context, Node, Result, ensure, wait, wait_for};

use crate::support::{BINARY, DEADLINE, in_own_mounts, run, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";

/// A file system of 24 MB that is the folder `disk` of a node, seen only by processes of its namespace.
struct SmallDisk {
    holder: Child,
    path: PathBuf,
}

impl SmallDisk {
    fn mount(node: &Node) -> Result<SmallDisk> {
        let path = node.folder().join("disk");
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
    let disk = SmallDisk::mount(&place)?;
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
    wait_for("the trouble in the log", DEADLINE, || {
        let log = fs::read_to_string(first.log_file())?;
        ensure!(
            log.contains("full") || log.contains("No space") || log.contains("no space"),
            "nothing of it"
        );
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
    ensure!(sidecar.is_running(), "it has ended:\n{}", first.log());
    ensure!(!fs::read_to_string(first.log_file())?.contains("panicked"), "{}", first.log());
    Ok(())
}
