//! Memory with a backlog: rows that could not be sent, and rows that were missed.

use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use harmonylite_testkit::{Cluster, Node};
use rusqlite::Connection;

use super::process::{forget_peak, peak_mb, resident_mb};
use super::report::{Expected, Report};
use super::workload::{self, INSERT, ensure_equal, settle, wait_visible, write, write_documents};

const MEMORY_MB: f64 = 150.0;
const BATCH: u64 = 1000;

/// Rows that wait.
struct Backlog {
    subject: String,
    table: &'static str,
    rows: u64,
    write: fn(&Connection, Range<u64>) -> Result<()>,
}

pub(super) fn measure(binary: &Path, rows: u64, report: &mut Report) -> Result<()> {
    let small = Backlog {
        subject: format!("backlog of {rows} small rows"),
        table: "item",
        rows,
        write: |connection, ids| write(connection, INSERT, ids, BATCH).map(drop),
    };
    let documents = rows / 5;
    let large = Backlog {
        subject: format!("backlog of {documents} rows of 1 KB"),
        table: "document",
        rows: documents,
        write: write_documents,
    };
    for backlog in [small, large] {
        backlog.measure(workload::cluster(binary)?, report)?;
    }
    Ok(())
}

impl Backlog {
    fn measure(&self, mut cluster: Cluster, report: &mut Report) -> Result<()> {
        // The third node misses everything, the first one cannot send anything.
        cluster.nodes[2].stop()?;
        let server = cluster.nodes[0].server()?.pid();
        signal("-STOP", server)?;
        (self.write)(&cluster.nodes[0].connection()?, 1..self.rows + 1)?;
        self.send(&cluster, server, report)?;
        self.catch_up(&mut cluster, report)?;
        settle(&cluster)?;
        let resident =
            cluster.nodes.iter().map(|node| resident_mb(pid(node)?)).collect::<Result<Vec<_>>>()?;
        report.add(&self.subject, "resident afterwards", "MB", resident, Expected::Nothing);
        Ok(())
    }

    /// The server is there again: everything is sent to the second node.
    fn send(&self, cluster: &Cluster, server: u32, report: &mut Report) -> Result<()> {
        let (publisher, consumer) = (pid(&cluster.nodes[0])?, pid(&cluster.nodes[1])?);
        let away = peak_mb(publisher)?;
        forget_peak(publisher)?;
        forget_peak(consumer)?;
        let start = Instant::now();
        signal("-CONT", server)?;
        wait_visible(&cluster.nodes[1].connection()?, self.table, self.rows)?;
        let sent = start.elapsed().as_secs_f64();
        let (subject, below) = (&self.subject, Expected::Below(MEMORY_MB));
        report.add(subject, "peak, publisher, its server away", "MB", vec![away], below);
        report.add(subject, "peak, publisher, sending them", "MB", vec![peak_mb(publisher)?], below);
        report.add(subject, "peak, consumer, receiving them", "MB", vec![peak_mb(consumer)?], below);
        report.add(subject, "from the server's return to visible", "s", vec![sent], Expected::Nothing);
        Ok(())
    }

    /// The third node comes back and reads everything from the stream.
    fn catch_up(&self, cluster: &mut Cluster, report: &mut Report) -> Result<()> {
        let node = &mut cluster.nodes[2];
        node.start()?;
        node.wait_ready()?;
        wait_visible(&node.connection()?, self.table, self.rows)?;
        let peak = peak_mb(pid(node)?)?;
        ensure_equal(cluster, self.table, self.rows)?;
        let below = Expected::Below(MEMORY_MB);
        report.add(&self.subject, "peak, node that was off, catching up", "MB", vec![peak], below);
        Ok(())
    }
}

fn pid(node: &Node) -> Result<u32> {
    Ok(node.process().context("a node does not run")?.pid())
}

fn signal(name: &str, pid: u32) -> Result<()> {
    let status = Command::new("kill").args([name, &pid.to_string()]).status().context("running kill")?;
    ensure!(status.success(), "kill {name} ended with {status}");
    Ok(())
}
