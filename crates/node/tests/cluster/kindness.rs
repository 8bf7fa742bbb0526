//! What the application notices of us while other nodes' changes are applied: nothing fails, and the log of its database
//! stays short (G1).

use std::collections::BTreeMap;
use std::time::Duration;

use harmonylite_testkit::{Cluster, Context as _, Node, Proxy, Result, Writer, ensure, wait};
use rusqlite::TransactionBehavior;
use serde_json::Value;

use crate::support::{BINARY, DEADLINE, counter, following, no_panics, rows_applied, wait_number};

const SCHEMA: &str =
    "CREATE TABLE item(id INTEGER PRIMARY KEY, body BLOB); CREATE TABLE note(id INTEGER PRIMARY KEY, n);";

/// How long the application waits for a lock. We promise to spare it from a second on; here the disk may be as busy as the
/// machine, and its syncs are under the lock of a rollback journal.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes `count` rows of `size` bytes from `first` on, in one transaction.
fn write_items(node: &Node, first: u64, count: u64, size: u64) -> Result<()> {
    node.execute(&format!(
        "WITH RECURSIVE i(id) AS (SELECT {first} UNION ALL SELECT id + 1 FROM i WHERE id + 1 < {}) \
         INSERT INTO item SELECT id, randomblob({size}) FROM i",
        first + count
    ))
}

/// An application that reads and writes its own table 100 times a second, and waits for locks as long as it must be able
/// to.
fn application(node: &Node) -> Result<Writer> {
    let connection = node.connection()?;
    connection.busy_timeout(PATIENCE)?;
    Ok(Writer::start(connection, Duration::from_millis(10), |connection, number| {
        connection.query_row("SELECT count(*) FROM note", [], |row| row.get::<_, i64>(0))?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("INSERT INTO note VALUES(?1, ?1)", [number as i64])?;
        transaction.commit()
    }))
}

#[test]
fn an_application_with_a_rollback_journal_that_waits_for_locks_is_never_refused() -> Result<()> {
    const GROUPS: u64 = 30;
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    cluster.nodes[1].query::<String>("PRAGMA journal_mode = DELETE")?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    let application = application(&cluster.nodes[1])?;
    for group in 0..GROUPS {
        write_items(&cluster.nodes[0], 1 + 100 * group, 100, 30)?;
    }
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM item", 100 * GROUPS as i64)?;
    wait("writes of the application", DEADLINE, || application.written() >= 100)?;
    let written = application.stop()?;
    wait_number(&cluster.nodes[0], "SELECT count(*) FROM note", written as i64)?;
    cluster.wait_equal(&["item", "note"], DEADLINE)?;
    no_panics(&cluster)
}

#[test]
fn nodes_that_were_cut_off_for_a_large_backlog_on_both_sides_become_equal_by_themselves() -> Result<()> {
    const ROWS: u64 = 10_000;
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    let proxies: Vec<Proxy> =
        cluster.nodes.iter().map(|node| Proxy::start(&node.address())).collect::<Result<_>>()?;
    cluster.nodes[0].set_peers([proxies[1].address().as_str()]);
    cluster.nodes[1].set_peers([proxies[0].address().as_str()]);
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    proxies.iter().for_each(Proxy::cut);
    for (node, first) in cluster.nodes.iter().zip([1, 1_000_000]) {
        for batch in 0..ROWS / 500 {
            write_items(node, first + 500 * batch, 500, 40)?;
        }
    }
    let application = application(&cluster.nodes[1])?;
    proxies.iter().for_each(Proxy::resume);
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM item", 2 * ROWS as i64)?;
    }
    let written = application.stop()?;
    wait_number(&cluster.nodes[0], "SELECT count(*) FROM note", written as i64)?;
    cluster.wait_equal(&["item", "note"], DEADLINE)?;
    ensure!(rows_applied(&cluster.nodes[1], 1)? == ROWS as i64);
    no_panics(&cluster)
}

/// How the kernel schedules the threads of a process: their names, and the policy of sched.h.
fn policies(pid: u32) -> Result<BTreeMap<String, i32>> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))?;
    let policy = |thread: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(thread?.path().join("stat"))?;
        // The name stands in brackets, and the policy in the 41st field (proc_pid_stat(5)).
        let (name, rest) = stat.rsplit_once(')').context("a name")?;
        let name = name.split_once('(').context("a name")?.1.to_owned();
        Ok((name, rest.split_whitespace().nth(41 - 3).context("a policy")?.parse()?))
    };
    threads.map(policy).collect()
}

#[test]
fn an_application_goes_first_on_the_processor_but_before_who_holds_its_lock_while_the_disk_syncs()
-> Result<()> {
    const BATCH: i32 = 3;
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    cluster.nodes[1].query::<String>("PRAGMA journal_mode = DELETE")?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    for (node, store) in cluster.nodes.iter().zip([BATCH, 0]) {
        let pid = node.process().context("it runs")?.pid();
        wait("the policy of the store's thread", DEADLINE, || {
            policies(pid).is_ok_and(|all| all.get("store") == Some(&store))
        })?;
        let others: Vec<_> = policies(pid)?.into_iter().filter(|(name, _)| name != "store").collect();
        ensure!(!others.is_empty() && others.iter().all(|(_, policy)| *policy == BATCH), "{others:?}");
    }
    no_panics(&cluster)
}

/// As one, they would hold the lock of the other node for as long as all of them together.
#[test]
fn transactions_that_nobody_saw_commit_are_change_sets_of_their_own() -> Result<()> {
    const TRANSACTIONS: u64 = 40;
    let cluster = following(2, SCHEMA)?;
    let writer = &cluster.nodes[0];
    for first in [1, 2] {
        write_items(writer, first, 1, 30)?;
        cluster.wait_published(DEADLINE)?;
    }
    let before = counter(writer, "published_groups")?;
    pause_without_lock(writer)?;
    for transaction in 1..=TRANSACTIONS {
        write_items(writer, 100 * transaction, 100, 30)?;
    }
    writer.process().context("it runs")?.resume();
    cluster.wait_equal(&["item"], DEADLINE)?;
    cluster.wait_published(DEADLINE)?;
    assert_eq!(counter(writer, "published_groups")? - before, TRANSACTIONS);
    no_panics(&cluster)
}

/// Stops the node where it stands, but not within a transaction that writes.
fn pause_without_lock(node: &Node) -> Result<()> {
    let process = node.process().context("it runs")?;
    let application = node.connection()?;
    application.busy_timeout(Duration::ZERO)?;
    wait("a moment in which it has no lock", DEADLINE, || {
        process.pause();
        let free = application.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok();
        if !free {
            process.resume();
        }
        free
    })
}

/// Bytes of the write-ahead log that are still to be written back, as the status has it.
fn waiting_bytes(status: &Value) -> Option<u64> {
    Some(status["wal"]["bytes"].as_u64()? - status["wal"]["checkpointed_bytes"].as_u64()?)
}

#[test]
fn a_write_ahead_log_that_a_long_read_makes_grow_is_in_the_status_and_comes_back() -> Result<()> {
    const GROWN: u64 = 4 << 20;
    let cluster = following(2, SCHEMA)?;
    let (writer, replica) = (&cluster.nodes[0], &cluster.nodes[1]);
    let reader = replica.connection()?;
    reader.execute_batch("BEGIN; SELECT count(*) FROM item")?;
    for batch in 0..4 {
        write_items(writer, 1 + 500 * batch, 500, 4000)?;
    }
    replica.wait_status("a log that has grown", DEADLINE, |status| waiting_bytes(status) > Some(GROWN))?;
    // What is applied after the reader would begin another log, and wait in it for more.
    cluster.wait_equal(&["item"], DEADLINE)?;
    reader.execute_batch("COMMIT")?;
    replica.wait_status("a log that is written back", DEADLINE, |status| {
        waiting_bytes(status) < Some(GROWN / 4)
    })?;
    no_panics(&cluster)
}
