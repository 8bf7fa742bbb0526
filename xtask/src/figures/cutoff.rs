//! Two nodes that do not reach one another while both write, and then do: how long until they are equal, what memory that
//! takes, and what the application's own writes take meanwhile.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use harmonylite_testkit::{Cluster, Node, Proxy};
use rusqlite::Connection;

use super::cores::Cores;
use super::kindness::{NOTE, Pace, write_notes};
use super::process::{forget_peak, peak_mb};
use super::report::{Expected, Report};
use super::workload::{self, INSERT, SCHEMA, ensure_equal, settle, wait_visible, write};

const MEMORY_MB: f64 = 150.0;
/// Rows per transaction of the two applications that make the backlog.
const BATCH: u64 = 100;
/// The second node's rows begin here.
const SECOND: u64 = 1_000_000_000;
/// The node beside which an application writes all the time.
const APPLICATION: usize = 1;
/// Of the undisturbed writes, for comparison.
const UNDISTURBED: Duration = Duration::from_secs(5);
/// Times the undisturbed 99th percentile.
const TARGET: f64 = 3.0;

/// `rows` on both sides together.
pub(super) fn measure(binary: &Path, cores: Cores, rows: u64, report: &mut Report) -> Result<()> {
    let mut cluster = Cluster::new(binary, 2, &format!("{SCHEMA}; {NOTE}"))?;
    let proxies: Vec<Proxy> =
        cluster.nodes.iter().map(|node| Proxy::start(&node.address())).collect::<Result<_>>()?;
    cluster.nodes[0].set_peers([proxies[1].address().as_str()]);
    cluster.nodes[1].set_peers([proxies[0].address().as_str()]);
    // Members tell one another where they are: behind the proxy.
    for (node, proxy) in cluster.nodes.iter_mut().zip(&proxies) {
        node.set("cluster.advertise", format!("\"{}\"", proxy.address()));
    }
    cores.start_all(&mut cluster)?;
    cluster.wait_following(workload::DEADLINE)?;
    let application = cluster.nodes[APPLICATION].connection()?;
    let never = AtomicBool::new(false);
    let pace = Pace::Interval { for_time: UNDISTURBED };
    let before = cores.with(APPLICATION, || write_notes(&application, pace, "NORMAL", 1, &never))?;
    proxies.iter().for_each(Proxy::cut);
    for (node, first) in cluster.nodes.iter().zip([1, SECOND]) {
        write(&node.connection()?, INSERT, first..first + rows / 2, BATCH)?;
        forget_peak(pid(node)?)?;
    }
    let start = Instant::now();
    proxies.iter().for_each(Proxy::resume);
    let (meanwhile, took) = catch_up(&cluster, cores, application, rows, before.next, start)?;
    settle(&cluster)?;
    ensure_equal(&cluster, "item", rows)?;
    let peaks = cluster.nodes.iter().map(|node| peak_mb(pid(node)?)).collect::<Result<Vec<_>>>()?;
    let subject = format!("cut off for {rows} rows, half on each side");
    let mut add = |name: &str, unit, sample, expected| report.add(&subject, name, unit, sample, expected);
    add("from the link's return to all rows on both", "s", vec![took.as_secs_f64()], Expected::Nothing);
    add("peak memory, either node", "MB", peaks, Expected::Below(MEMORY_MB));
    for (when, phase) in [("before", &before.phase), ("meanwhile", &meanwhile)] {
        add(&format!("writes {when}, p50"), "ms", vec![phase.p50], Expected::Nothing);
        add(&format!("writes {when}, p99"), "ms", vec![phase.p99], Expected::Nothing);
        add(&format!("writes {when}, most"), "ms", vec![phase.most], Expected::Nothing);
    }
    add("p99, meanwhile / before", "x", vec![meanwhile.p99 / before.phase.p99], Expected::Below(TARGET));
    Ok(())
}

/// The application writes until both nodes have everything.
fn catch_up(
    cluster: &Cluster,
    cores: Cores,
    application: Connection,
    rows: u64,
    next: u64,
    start: Instant,
) -> Result<(super::kindness::Phase, Duration)> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let told = &stop;
        let writing = scope.spawn(move || {
            let pace = Pace::Interval { for_time: workload::DEADLINE };
            cores.with(APPLICATION, || write_notes(&application, pace, "NORMAL", next, told))
        });
        let visible = wait_visible(&cluster.nodes[1].connection()?, "item", rows / 2)
            .and_then(|()| wait_visible(&cluster.nodes[0].connection()?, "item", SECOND + rows / 2 - 1));
        let took = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        let written = writing.join().map_err(|_| anyhow!("the application panicked"))??;
        visible.map(|()| (written.phase, took))
    })
}

fn pid(node: &Node) -> Result<u32> {
    Ok(node.process().context("a node does not run")?.pid())
}
