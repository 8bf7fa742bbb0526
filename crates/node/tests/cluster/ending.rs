//! SIGTERM and SIGINT: the end comes within seconds, with success, and everything is saved.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use harmonylite_testkit::{Cluster, Context, Node, Result, ensure};

use crate::load;
use crate::support::{DEADLINE, counter, following, no_panics, source_of, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";

type Stop = fn(&mut Node) -> Result<std::process::ExitStatus>;

fn stop_in_order(node: &mut Node, stop: Stop) -> Result<()> {
    let server = node.server()?;
    let start = Instant::now();
    let status = stop(node)?;
    ensure!(status.success(), "{status}\n{}", node.log());
    ensure!(start.elapsed() < Duration::from_secs(8), "it took {:?}\n{}", start.elapsed(), node.log());
    ensure!(!server.is_running(), "the server outlived it");
    Ok(())
}

/// How far node 1's stream reaches, as node 2 sees it.
fn last_of_first(cluster: &Cluster) -> Result<u64> {
    let status = cluster.nodes[1].status()?;
    let last = source_of(&status, 1).and_then(|source| source["last"].as_u64());
    Ok(last.unwrap_or_default())
}

fn nothing_is_sent_again_after(stop: Stop) -> Result<()> {
    let mut cluster = following(2, SCHEMA)?;
    // Housekeeping that never comes by itself: only the end saves.
    ensure!(cluster.nodes[0].stop()?.success());
    cluster.nodes[0].set("cleanup_interval", 3_600_000);
    cluster.start_all()?;
    for id in 0..30 {
        cluster.nodes[0].execute(&format!("INSERT INTO t VALUES({id}, 'row')"))?;
    }
    cluster.wait_published(DEADLINE)?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 30)?;
    let last = last_of_first(&cluster)?;
    stop_in_order(&mut cluster.nodes[0], stop)?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    // One more write, so that everything before it would have been seen.
    cluster.nodes[0].execute("INSERT INTO t VALUES(100, 'after')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 31)?;
    assert_eq!(last_of_first(&cluster)?, last + 1);
    assert_eq!(counter(&cluster.nodes[0], "published_log_rows")?, 1);
    assert_eq!(
        (counter(&cluster.nodes[1], "rows_skipped")?, counter(&cluster.nodes[1], "groups_dropped")?),
        (0, 0)
    );
    no_panics(&cluster)
}

#[test]
fn sigterm_ends_with_success_and_nothing_is_sent_again() -> Result<()> {
    nothing_is_sent_again_after(Node::stop)
}

#[test]
fn sigint_ends_with_success_and_nothing_is_sent_again() -> Result<()> {
    nothing_is_sent_again_after(Node::interrupt)
}

#[test]
fn a_stop_in_the_middle_of_a_load_takes_seconds_and_loses_nothing() -> Result<()> {
    let mut cluster = following(2, load::SCHEMA)?;
    let writers = [load::start(&cluster.nodes[0], 200)?, load::start(&cluster.nodes[1], 200)?];
    for round in 0..6 {
        let moment = writers[0].written() + 80;
        harmonylite_testkit::wait("more writes", DEADLINE, || writers[0].written() >= moment)?;
        let stop: Stop = if round % 3 == 0 { Node::interrupt } else { Node::stop };
        stop_in_order(&mut cluster.nodes[round % 2], stop)?;
        cluster.nodes[round % 2].start()?;
        cluster.nodes[round % 2].wait_ready()?;
    }
    let written: Vec<u64> =
        writers.into_iter().map(harmonylite_testkit::Writer::stop).collect::<Result<_>>()?;
    harmonylite_testkit::wait_for("all writes everywhere", DEADLINE, || {
        for node in &cluster.nodes {
            load::check_complete(node, 1, written[0])?;
            load::check_complete(node, 2, written[1])?;
        }
        cluster.equal_contents(load::TABLES)
    })
    .map_err(|error| error.context(cluster.logs()))?;
    no_panics(&cluster)
}

#[test]
fn an_end_comes_although_the_application_holds_the_write_lock() -> Result<()> {
    let mut cluster = following(2, SCHEMA)?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'before')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 1)?;
    let application = cluster.nodes[0].connection()?;
    application.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES(2, 'held')")?;
    cluster.nodes[1].execute("INSERT INTO t VALUES(3, 'waits')")?;
    cluster.wait_published(DEADLINE)?;
    let start = Instant::now();
    let status = cluster.nodes[0].stop()?;
    ensure!(start.elapsed() < Duration::from_secs(15), "it took {:?}", start.elapsed());
    ensure!(status.success(), "{status}\n{}", cluster.nodes[0].log());
    application.execute_batch("COMMIT")?;
    cluster.start_all()?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM t", 3)?;
    }
    cluster.wait_equal(&["t"], DEADLINE)?;
    no_panics(&cluster)
}

/// Its server hangs, and the row is on its way there: a node that has not seen it yet has nothing to wait for.
fn write_what_is_not_published(node: &Node) -> Result<()> {
    node.execute("INSERT INTO t VALUES(1, 'not published')")?;
    node.wait_status("publishing", DEADLINE, |status| status["publisher"]["state"] == "publishing")?;
    Ok(())
}

#[test]
fn an_end_comes_although_the_server_hangs() -> Result<()> {
    let mut cluster = following(2, SCHEMA)?;
    let server = cluster.nodes[0].server()?;
    server.pause();
    write_what_is_not_published(&cluster.nodes[0])?;
    let status = cluster.nodes[0].stop()?;
    // Not in order, and said so: what was under way is unknown, and found out at the next start.
    ensure!(status.code() == Some(1), "{status}\n{}", cluster.nodes[0].log());
    ensure!(!server.is_running(), "the server outlived it");
    cluster.start_all()?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 1)?;
    no_panics(&cluster)
}

#[test]
fn a_second_signal_ends_it_at_once_and_nothing_is_lost() -> Result<()> {
    let mut cluster = following(2, SCHEMA)?;
    let server = cluster.nodes[0].server()?;
    server.pause();
    write_what_is_not_published(&cluster.nodes[0])?;
    let process = cluster.nodes[0].process().context("it does not run")?;
    process.terminate();
    harmonylite_testkit::wait("the first one", DEADLINE, || {
        cluster.nodes[0].log().contains("ending in order")
    })?;
    process.terminate();
    let status = cluster.nodes[0].wait_exit(DEADLINE)?;
    ensure!(status.signal() == Some(9), "{status}\n{}", cluster.nodes[0].log());
    cluster.start_all()?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 1)?;
    no_panics(&cluster)
}

#[test]
fn a_stop_right_after_the_start_is_obeyed() -> Result<()> {
    let mut cluster = Cluster::new(crate::support::BINARY, 1, SCHEMA)?;
    let node = &mut cluster.nodes[0];
    let mut rng = harmonylite_testkit::Rng::from_environment();
    for _ in 0..15 {
        let logged = std::fs::read(node.log_file()).map_or(0, |log| log.len());
        node.start()?;
        let looks = rng.below(12);
        let mut looked = 0;
        harmonylite_testkit::wait("a moment", DEADLINE, || {
            looked += 1;
            looked > looks
        })?;
        let status = node.stop()?;
        // Before it has said a word it may not listen for signals yet: nothing has begun then.
        let early = std::fs::read(node.log_file())?.len() == logged;
        ensure!(status.success() || early, "{status} after {looks} looks\n{}", node.log());
    }
    cluster.start_all()?;
    no_panics(&cluster)
}
