//! What the kernel says of a process: processor time and resident memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Ticks per second of the times in `/proc`: `sysconf(_SC_CLK_TCK)`, 100 on every Linux of today.
const TICKS: u64 = 100;

/// Processor time of all its threads so far.
pub(super) fn processor_time(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // proc(5): user and system time are the fields 14 and 15; the name in parentheses, the second, may hold spaces.
    let fields = text.rsplit_once(')').context("no name in stat")?.1;
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|t| t.parse().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

/// Resident memory now, in MB.
pub(super) fn resident_mb(pid: u32) -> Result<f64> {
    status_mb(pid, "VmRSS:")
}

/// The most resident memory since it was started or [`forget_peak`], in MB.
pub(super) fn peak_mb(pid: u32) -> Result<f64> {
    status_mb(pid, "VmHWM:")
}

/// The peak is what is resident now.
pub(super) fn forget_peak(pid: u32) -> Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("resetting the peak of resident memory")
}

fn status_mb(pid: u32, name: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("reading a size")?;
    Ok(kib * 1024.0 / 1e6)
}
