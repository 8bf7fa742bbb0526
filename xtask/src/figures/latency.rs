//! From a commit to the row being visible on another node, at 100 writes per second.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use harmonylite_testkit::Cluster;
use rusqlite::Connection;

use super::report::{Expected, Report, quantile};
use super::workload::{self, DEADLINE, INSERT, ensure_equal, write_row};

const INTERVAL: Duration = Duration::from_millis(10);
/// 20 seconds.
const WRITES: u64 = 2000;
/// Between two looks at the replica: an error of half of this, for a twentieth of a core.
const LOOK: Duration = Duration::from_micros(200);
const MEDIAN_MS: f64 = 10.0;

pub(super) fn measure(binary: &Path, repeat: usize, report: &mut Report) -> Result<()> {
    let cluster = workload::cluster(binary)?;
    let (mut p50, mut p99, mut most, mut commits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for repetition in 0..repeat as u64 {
        let first = 1 + repetition * WRITES;
        let (latencies, commit_times) = repetition_from(&cluster, first)?;
        ensure_equal(&cluster, "item", first + WRITES - 1)?;
        p50.push(quantile(&latencies, 0.5));
        p99.push(quantile(&latencies, 0.99));
        most.push(quantile(&latencies, 1.0));
        commits.push(quantile(&commit_times, 0.5));
    }
    let subject = "latency at 100 writes/s";
    report.add(subject, "the commit itself, p50", "ms", commits, Expected::Nothing);
    report.add(subject, "commit to visible, p50", "ms", p50, Expected::Below(MEDIAN_MS));
    report.add(subject, "commit to visible, p99", "ms", p99, Expected::Nothing);
    report.add(subject, "commit to visible, most", "ms", most, Expected::Nothing);
    Ok(())
}

/// Milliseconds from commit to visible of each row, and those of each commit.
fn repetition_from(cluster: &Cluster, first: u64) -> Result<(Vec<f64>, Vec<f64>)> {
    let (application, replica) = (cluster.nodes[0].connection()?, cluster.nodes[1].connection()?);
    application.execute_batch("PRAGMA synchronous = NORMAL")?;
    let start = Instant::now();
    // In nanoseconds since `start`; 0 is not yet.
    let committed: Vec<AtomicU64> = (0..WRITES).map(|_| AtomicU64::new(0)).collect();
    let (seen, commits) = thread::scope(|scope| {
        let watcher = scope.spawn(move || watch(&replica, first, start));
        let mut commits = Vec::new();
        for number in 0..WRITES {
            thread::sleep((INTERVAL * number as u32).saturating_sub(start.elapsed()));
            let before = Instant::now();
            write_row(&application, INSERT, first + number)?;
            commits.push(before.elapsed().as_secs_f64() * 1e3);
            committed[number as usize].store(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
        let seen = watcher.join().map_err(|_| anyhow!("the watcher panicked"))??;
        anyhow::Ok((seen, commits))
    })?;
    let latency = |(seen, committed): (&u64, &AtomicU64)| {
        seen.saturating_sub(committed.load(Ordering::Relaxed)) as f64 / 1e6
    };
    Ok((seen.iter().zip(&committed).map(latency).collect(), commits))
}

/// When each row was first seen, in nanoseconds since `start`.
fn watch(replica: &Connection, first: u64, start: Instant) -> Result<Vec<u64>> {
    let mut version = replica.prepare("PRAGMA data_version")?;
    let mut last = replica.prepare("SELECT coalesce(max(id), 0) FROM item")?;
    let (mut seen, mut known) = (Vec::new(), 0);
    while (seen.len() as u64) < WRITES {
        let now: i64 = version.query_row([], |row| row.get(0))?;
        if std::mem::replace(&mut known, now) == now {
            ensure!(start.elapsed() < DEADLINE, "{} of {WRITES} rows came", seen.len());
            thread::sleep(LOOK);
            continue;
        }
        let last: i64 = last.query_row([], |row| row.get(0))?;
        let there = (last.cast_unsigned() + 1).saturating_sub(first) as usize;
        seen.resize(there.max(seen.len()), start.elapsed().as_nanos() as u64);
    }
    Ok(seen)
}
