//! Memory with a backlog: rows that could not be sent, and rows that were missed.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use harmonylite_testkit::{Cluster, Node};

use super::process::{forget_peak, peak_mb, resident_mb};
use super::report::{Expected, Report};
use super::workload::{self, DEADLINE, INSERT, ensure_equal, settle, wait_visible, write};

const MEMORY_MB: f64 = 150.0;
const BATCH: u64 = 1000;

pub(super) fn measure(binary: &Path, rows: u64, report: &mut Report) -> Result<()> {
    let mut cluster = workload::cluster(binary)?;
    // The third node misses everything, the first one cannot send anything.
    cluster.nodes[2].stop()?;
    let server = cluster.nodes[0].server()?.pid();
    signal("-STOP", server)?;
    write(&cluster.nodes[0].connection()?, INSERT, 1..rows + 1, BATCH)?;
    let (publisher, consumer) = (pid(&cluster.nodes[0])?, pid(&cluster.nodes[1])?);
    let while_away = peak_mb(publisher)?;
    forget_peak(publisher)?;
    forget_peak(consumer)?;
    signal("-CONT", server)?;
    let start = Instant::now();
    cluster.nodes[0]
        .wait_status("an empty outbox", DEADLINE, |status| status["publisher"]["pending_rows"] == 0)?;
    wait_visible(&cluster.nodes[1].connection()?, rows)?;
    let sent = start.elapsed().as_secs_f64();
    let subject = format!("backlog of {rows} rows");
    let below = Expected::Below(MEMORY_MB);
    report.add(&subject, "peak, publisher, its server away", "MB", vec![while_away], below);
    report.add(&subject, "peak, publisher, sending them", "MB", vec![peak_mb(publisher)?], below);
    report.add(&subject, "peak, consumer meanwhile", "MB", vec![peak_mb(consumer)?], below);
    report.add(&subject, "sent and applied, after the server is back", "s", vec![sent], Expected::Nothing);
    catch_up(&mut cluster, rows, report, &subject)?;
    settle(&cluster)?;
    let resident = [publisher, consumer].map(resident_mb).into_iter().collect::<Result<Vec<_>>>()?;
    report.add(&subject, "resident afterwards", "MB", resident, Expected::Nothing);
    Ok(())
}

/// The third node comes back and reads everything from the stream.
fn catch_up(cluster: &mut Cluster, rows: u64, report: &mut Report, subject: &str) -> Result<()> {
    let start = Instant::now();
    let node = &mut cluster.nodes[2];
    node.start()?;
    node.wait_ready()?;
    wait_visible(&node.connection()?, rows)?;
    let took = start.elapsed().as_secs_f64();
    let peak = peak_mb(pid(node)?)?;
    ensure_equal(cluster, rows)?;
    report.add(
        subject,
        "peak, node that missed them, catching up",
        "MB",
        vec![peak],
        Expected::Below(MEMORY_MB),
    );
    report.add(subject, "caught up after its start", "s", vec![took], Expected::Nothing);
    Ok(())
}

fn pid(node: &Node) -> Result<u32> {
    Ok(node.process().context("a node does not run")?.pid())
}

fn signal(name: &str, pid: u32) -> Result<()> {
    let status = Command::new("kill").args([name, &pid.to_string()]).status().context("running kill")?;
    ensure!(status.success(), "kill {name} ended with {status}");
    Ok(())
}
