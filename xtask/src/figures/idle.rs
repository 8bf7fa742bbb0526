//! What a cluster costs that does nothing: processor time and memory of node and server.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use harmonylite_testkit::Cluster;

use super::process::{processor_time, resident_mb};
use super::report::{Expected, Report};
use super::workload::{self, INSERT, ensure_equal, settle, write};

/// A little work first: a node that has never done anything has no caches.
const ROWS: u64 = 2000;
/// After the last write: until timers and housekeeping have come to rest.
const REST: Duration = Duration::from_secs(12);
/// Percent of one core.
const PROCESSOR: f64 = 0.5;
const MEMORY_MB: f64 = 40.0;

pub(super) fn measure(binary: &Path, seconds: u64, report: &mut Report) -> Result<()> {
    let cluster = workload::cluster(binary)?;
    write(&cluster.nodes[0].connection()?, INSERT, 1..ROWS + 1, 100)?;
    ensure_equal(&cluster, "item", ROWS)?;
    settle(&cluster)?;
    thread::sleep(REST);
    let (nodes, servers) = pids(&cluster)?;
    let before = times(&nodes, &servers)?;
    let start = Instant::now();
    thread::sleep(Duration::from_secs(seconds));
    let elapsed = start.elapsed().as_secs_f64();
    let after = times(&nodes, &servers)?;
    let used: Vec<f64> =
        before.iter().zip(&after).map(|(a, b)| (*b - *a).as_secs_f64() / elapsed * 100.0).collect();
    let (of_nodes, of_servers) = used.split_at(nodes.len());
    let memory = |pids: &[u32]| pids.iter().map(|&pid| resident_mb(pid)).collect::<Result<Vec<_>>>();
    let subject = "idle";
    report.add(subject, "processor, node", "% of a core", of_nodes.to_vec(), Expected::Below(PROCESSOR));
    report.add(subject, "processor, its nats-server", "% of a core", of_servers.to_vec(), Expected::Nothing);
    report.add(subject, "resident, node", "MB", memory(&nodes)?, Expected::Below(MEMORY_MB));
    report.add(subject, "resident, its nats-server", "MB", memory(&servers)?, Expected::Nothing);
    Ok(())
}

fn pids(cluster: &Cluster) -> Result<(Vec<u32>, Vec<u32>)> {
    let mut pids = (Vec::new(), Vec::new());
    for node in &cluster.nodes {
        pids.0.push(node.process().context("a node does not run")?.pid());
        pids.1.push(node.server()?.pid());
    }
    Ok(pids)
}

fn times(nodes: &[u32], servers: &[u32]) -> Result<Vec<Duration>> {
    nodes.iter().chain(servers).map(|&pid| processor_time(pid)).collect()
}
