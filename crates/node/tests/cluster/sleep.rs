//! `sleep_timeout`: a node with which nothing happens ends, and not before.

use harmonylite_testkit::{Cluster, Result, Writer, ensure, wait};

use crate::load;
use crate::support::{BINARY, DEADLINE, counter, no_panics};

const SLEEP_MS: u32 = 3000;

/// Until long after the time would have passed for the first time.
fn wait_long(writer: &Writer) -> Result<()> {
    let moment = writer.written() + 800;
    wait("eight seconds of writes", DEADLINE, || writer.written() >= moment)
}

#[test]
fn a_node_ends_with_success_when_nothing_happens_and_what_was_written_is_sent() -> Result<()> {
    let mut cluster = Cluster::new(BINARY, 2, load::SCHEMA)?;
    cluster.nodes[0].set("sleep_timeout", SLEEP_MS);
    cluster.nodes[1].start()?;
    cluster.nodes[1].wait_ready()?;
    cluster.start_all()?;
    let writer = load::start(&cluster.nodes[0], 100)?;
    wait_long(&writer)?;
    ensure!(cluster.nodes[0].is_running(), "it slept through writes\n{}", cluster.nodes[0].log());
    let written = writer.stop()?;
    let status = cluster.nodes[0].wait_exit(DEADLINE)?;
    let log = std::fs::read_to_string(cluster.nodes[0].log_file())?;
    ensure!(status.success() && log.contains("nothing happened for so long"), "{status}\n{log}");
    cluster.nodes[0].unset("sleep_timeout");
    cluster.start_all()?;
    harmonylite_testkit::wait_for("all writes on the other node", DEADLINE, || {
        load::check_complete(&cluster.nodes[1], 1, written)
    })?;
    // Nothing was left to be sent when it fell asleep.
    assert_eq!(counter(&cluster.nodes[0], "published_log_rows")?, 0);
    no_panics(&cluster)
}

#[test]
fn changes_of_another_node_keep_a_node_awake() -> Result<()> {
    let mut cluster = Cluster::new(BINARY, 2, load::SCHEMA)?;
    cluster.nodes[1].set("sleep_timeout", SLEEP_MS);
    cluster.nodes[0].start()?;
    cluster.nodes[0].wait_ready()?;
    let writer = load::start(&cluster.nodes[0], 100)?;
    cluster.start_all()?;
    wait_long(&writer)?;
    ensure!(cluster.nodes[1].is_running(), "it slept through changes\n{}", cluster.nodes[1].log());
    writer.stop()?;
    let status = cluster.nodes[1].wait_exit(DEADLINE)?;
    ensure!(status.success(), "{status}\n{}", cluster.nodes[1].log());
    no_panics(&cluster)
}
