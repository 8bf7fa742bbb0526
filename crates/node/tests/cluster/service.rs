//! Under a service manager: what it is told, and that a node that hangs is not told to be alive. A socket of the test
//! stands for systemd.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harmonylite_testkit::{Cluster, Context, Node, Result, ensure, wait_for};

use crate::support::{BINARY, DEADLINE, no_panics, run};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";

/// What the node is told of the watchdog: it looks four times within that.
const WATCHDOG: Duration = Duration::from_millis(400);

/// Stands for systemd: reads what a node says.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// Of `node`, from its next start on.
    fn of(node: &mut Node) -> Result<Manager> {
        let path = node.folder().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        node.set_variable("NOTIFY_SOCKET", path);
        node.set_variable("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        Ok(Manager { socket })
    }

    /// The next message, when one comes within `time`.
    fn next(&self, time: Duration) -> Result<Option<String>> {
        self.socket.set_read_timeout(Some(time))?;
        let mut buffer = [0; 4096];
        match self.socket.recv(&mut buffer) {
            Ok(size) => Ok(Some(String::from_utf8_lossy(&buffer[..size]).into_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The messages up to the first one that begins with `wanted`.
    fn until(&self, wanted: &str) -> Result<Vec<String>> {
        let end = Instant::now() + DEADLINE;
        let mut messages = Vec::new();
        while Instant::now() < end {
            if let Some(message) = self.next(Duration::from_secs(1))? {
                let found = message.starts_with(wanted);
                messages.push(message);
                if found {
                    return Ok(messages);
                }
            }
        }
        ensure!(false, "{wanted} never came, but {messages:?}");
        Ok(messages)
    }

    /// Waits until no sign of life has come for five times the watchdog's time.
    fn until_silent(&self) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        let mut heard = Instant::now();
        while heard.elapsed() < 5 * WATCHDOG {
            ensure!(Instant::now() < end, "it goes on telling that it lives");
            if self.next(WATCHDOG)?.is_some_and(|message| message == "WATCHDOG=1") {
                heard = Instant::now();
            }
        }
        Ok(())
    }
}

#[test]
fn the_service_manager_is_told_when_the_node_operates_how_it_is_and_that_it_ends() -> Result<()> {
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    let manager = Manager::of(&mut cluster.nodes[0])?;
    cluster.start_all()?;
    let before = manager.until("READY=1")?;
    ensure!(!before.contains(&"WATCHDOG=1".to_owned()), "{before:?}");
    cluster.wait_following(DEADLINE)?;
    manager.until("STATUS=following 1 of 1 sources")?;
    manager.until("WATCHDOG=1")?;
    let server = cluster.nodes[0].server()?;
    let environment = fs::read(format!("/proc/{}/environ", server.pid()))?;
    let environment = String::from_utf8_lossy(&environment);
    ensure!(!environment.contains("NOTIFY_SOCKET") && !environment.contains("WATCHDOG"), "{environment}");
    cluster.nodes[0].process().context("it has ended")?.hang_up();
    let reloading = manager.until("RELOADING=1")?.pop().unwrap_or_default();
    let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").context(reloading.clone())?;
    ensure!(usec.parse::<u64>()? > 0, "{reloading}");
    manager.until("READY=1")?;
    cluster.nodes[1].process().context("it has ended")?.kill9();
    manager.until("STATUS=following 0 of 1 sources")?;
    ensure!(cluster.nodes[0].stop()?.success(), "{}", cluster.nodes[0].log());
    manager.until("STOPPING=1")?;
    no_panics(&cluster)
}

/// A library that makes the store's thread hang in its next write for as long as a file is there.
fn hanging_writes(folder: &Path) -> Result<PathBuf> {
    let (source, library) = (folder.join("hang.c"), folder.join("hang.so"));
    fs::write(
        &source,
        r#"
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/prctl.h>
        #include <sys/types.h>
        #include <unistd.h>
        static void hang(void) {
            char name[16] = "";
            prctl(PR_GET_NAME, name);
            while (!strcmp(name, "store") && !access(getenv("HANG_WHILE"), F_OK)) usleep(1000);
        }
        ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
            ssize_t (*next)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
            hang();
            return next(fd, bytes, size, at);
        }
        ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) { return pwrite64(fd, bytes, size, at); }
        "#,
    )?;
    run(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl"))?;
    Ok(library)
}

#[test]
fn a_store_that_hangs_in_a_disk_is_not_told_to_be_alive_until_the_disk_answers() -> Result<()> {
    let mut cluster = Cluster::new(BINARY, 1, SCHEMA)?;
    let node = &mut cluster.nodes[0];
    let manager = Manager::of(node)?;
    let hang = node.folder().join("hang");
    node.set("cleanup_interval", 100);
    node.set_variable("LD_PRELOAD", hanging_writes(node.folder())?);
    node.set_variable("HANG_WHILE", &hang);
    node.start()?;
    node.wait_ready()?;
    manager.until("READY=1")?;
    manager.until("WATCHDOG=1")?;
    fs::write(&hang, "")?;
    // To be stamped by the next housekeeping.
    node.execute("INSERT INTO t VALUES(1, 'one')")?;
    manager.until_silent()?;
    // The loop itself goes on: it is the store that is missed.
    wait_for("a status", DEADLINE, || node.status())?;
    fs::remove_file(&hang)?;
    manager.until("WATCHDOG=1")?;
    no_panics(&cluster)
}
