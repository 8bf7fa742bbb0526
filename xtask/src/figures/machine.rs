//! The machine that the figures are of.

use std::collections::BTreeMap;
use std::fs;

/// Names and values, for people.
pub(super) fn describe() -> BTreeMap<&'static str, String> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    BTreeMap::from([
        ("cores", cores.to_string()),
        ("processor", value_in("/proc/cpuinfo", "model name")),
        ("memory", value_in("/proc/meminfo", "MemTotal")),
        ("system", read("/proc/sys/kernel/osrelease")),
        ("load at start", read("/proc/loadavg")),
        ("temporary folder", std::env::temp_dir().display().to_string()),
        ("SQLite of the application", rusqlite::version().to_owned()),
    ])
}

fn value_in(file: &str, name: &str) -> String {
    let text = read(file);
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}
