//! The machine that the figures are of, as its kernel describes it.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// What figures of two machines differ by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Machine {
    /// Processors that we may use.
    pub(super) cores: usize,
    /// Their model.
    pub(super) processor: String,
    /// Memory of the machine, in MB.
    pub(super) memory_mb: u64,
    /// The release of Linux.
    pub(super) kernel: String,
    /// Of the folder with the databases and streams: `ext4`, `tmpfs`, ...
    pub(super) file_system: String,
    /// What else ran at the start: averages of 1, 5 and 15 minutes, as `uptime` shows them.
    pub(super) load_at_start: String,
    /// The same at the end, our own load included.
    pub(super) load_at_end: String,
    /// Of this program: `release` or `debug`, whose figures say nothing.
    pub(super) build: &'static str,
    /// The SQLite inside.
    pub(super) sqlite: &'static str,
    /// The version of the nats-server.
    pub(super) nats_server: String,
}

impl Machine {
    /// Describes it, for databases in `folder`.
    pub(super) fn read(folder: &Path, nats_server: String) -> Self {
        let kilobytes = value_in("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse::<u64>();
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: value_in("/proc/cpuinfo", "model name"),
            memory_mb: kilobytes.unwrap_or_default() * 1024 / 1_000_000,
            kernel: read("/proc/sys/kernel/osrelease"),
            file_system: file_system(&read("/proc/self/mountinfo"), folder).unwrap_or_default().to_owned(),
            load_at_start: load(),
            load_at_end: String::new(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            sqlite: harmonylite_sqlite::Store::sqlite_version(),
            nats_server,
        }
    }

    /// Notes what else ran at the end.
    pub(super) fn at_end(&mut self) {
        self.load_at_end = load();
    }

    /// What makes its figures worth less, for whoever waits for them.
    pub(super) fn doubts(&self) -> Vec<&'static str> {
        let mut doubts = Vec::new();
        if self.build == "debug" {
            doubts.push("this is a debug build: its figures say nothing about what is shipped");
        }
        if matches!(self.file_system.as_str(), "tmpfs" | "ramfs") {
            doubts.push(
                "the databases are in memory: waiting for a disk costs nothing there; --dir names a folder",
            );
        }
        doubts
    }
}

fn load() -> String {
    read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// The type of the file system that `folder` is on; the last of those that are mounted over one another counts.
fn file_system<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let mount = |line: &'a str| {
        // proc_pid_mountinfo(5): the mount point is the fifth field, the type the first after a lone dash.
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        folder.starts_with(point).then_some((point.len(), after.split(' ').next()?))
    };
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

fn value_in(file: &str, name: &str) -> String {
    let text = read(file);
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
25 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
26 25 0:22 / /data rw,nosuid - tmpfs tmpfs rw
30 25 0:30 / /data rw - xfs /dev/vdb rw
27 25 0:23 / /data2 rw - btrfs /dev/vdc rw";

    #[test]
    fn the_file_system_is_that_of_the_deepest_and_last_mount() {
        let of = |folder: &str| file_system(MOUNTS, Path::new(folder));
        assert_eq!(
            (of("/home/ada"), of("/data/x"), of("/data2")),
            (Some("ext4"), Some("xfs"), Some("btrfs"))
        );
    }

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::read(Path::new("/"), "2.15.1".to_owned());
        assert!(machine.cores > 0 && machine.memory_mb > 0, "{machine:?}");
        assert!(!machine.kernel.is_empty() && !machine.file_system.is_empty(), "{machine:?}");
        assert_eq!(machine.load_at_start.split(' ').count(), 3);
        assert!(machine.doubts().iter().any(|doubt| doubt.contains("debug build")));
    }
}
