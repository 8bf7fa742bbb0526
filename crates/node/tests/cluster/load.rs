//! An application that writes for as long as a test lasts, and what its committed writes must have left everywhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harmonylite_testkit::{Cluster, Node, Result, Writer, ensure, wait, wait_for};
use rusqlite::{Connection, TransactionBehavior, params};

use crate::support::{DEADLINE, no_panics};

/// `event`: every write of every node leaves a row. `own`: rows that one node alone writes, and deletes. `shared`: rows
/// over which all nodes fight.
pub(crate) const SCHEMA: &str = "CREATE TABLE event(id INTEGER PRIMARY KEY, node INTEGER, n INTEGER);
    CREATE TABLE own(id INTEGER PRIMARY KEY, v INTEGER);
    CREATE TABLE shared(id INTEGER PRIMARY KEY, v TEXT);";

/// One transaction of 24 MB that no compression makes smaller.
pub(crate) const LARGE: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 24)
    INSERT INTO shared SELECT i, randomblob(1000000) FROM n";

pub(crate) const TABLES: &[&str] = &["event", "own", "shared"];

/// Writes a second, on every node.
pub(crate) const LOAD: u32 = 200;

/// Writes that every node makes while something is away.
pub(crate) const WRITES: u64 = 400;

const SLOTS: u64 = 17;
const SHARED: u64 = 50;

/// Writes at `node`, so many transactions a second, numbered from 0.
pub(crate) fn start(node: &Node, per_second: u32) -> Result<Writer> {
    start_at(node, per_second, 0)
}

/// The same, numbered from `first`.
pub(crate) fn start_at(node: &Node, per_second: u32, first: u64) -> Result<Writer> {
    let (id, connection) = (node.id(), node.connection()?);
    let interval = Duration::from_secs(1) / per_second;
    Ok(Writer::start(connection, interval, move |connection, number| write(connection, id, first + number)))
}

/// Writes at all nodes.
pub(crate) fn start_load(cluster: &Cluster) -> Result<Vec<Writer>> {
    cluster.nodes.iter().map(|node| start(node, LOAD)).collect()
}

/// Lets every node write, then ends the load: how many each wrote.
pub(crate) fn finish_load(writers: Vec<Writer>) -> Result<Vec<u64>> {
    let start = Instant::now();
    wait("the writes", DEADLINE, || writers.iter().all(|writer| writer.written() >= WRITES))?;
    // The pace was kept: nobody waited for the network.
    let limit = Duration::from_secs(20);
    ensure!(start.elapsed() < limit, "{WRITES} writes took {:?}", start.elapsed());
    writers.into_iter().map(Writer::stop).collect()
}

/// Every committed write is everywhere, and all nodes are equal.
pub(crate) fn all_arrives(cluster: &Cluster, written: &[u64]) -> Result<()> {
    wait_for("all writes everywhere", DEADLINE, || {
        for (of, written) in (1..).zip(written) {
            cluster.nodes.iter().try_for_each(|node| check_complete(node, of, *written))?;
        }
        cluster.equal_contents(TABLES)
    })
    .map_err(|error| error.context(cluster.logs()))?;
    no_panics(cluster)
}

/// One transaction of the load.
pub(crate) fn write(connection: &mut Connection, node: u64, number: u64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute(
        "INSERT INTO event VALUES(?1, ?2, ?3)",
        params![(node * 1_000_000_000 + number) as i64, node as i64, number as i64],
    )?;
    let slot = (node * 100 + number % SLOTS) as i64;
    match is_delete(number) {
        true => transaction.execute("DELETE FROM own WHERE id = ?1", [slot])?,
        false => transaction.execute(
            "INSERT INTO own VALUES(?1, ?2) ON CONFLICT(id) DO UPDATE SET v = excluded.v",
            [slot, number as i64],
        )?,
    };
    let shared = (number % SHARED) as i64;
    transaction.execute(
        "INSERT OR REPLACE INTO shared VALUES(?1, ?2)",
        params![shared, format!("{node}/{number}")],
    )?;
    transaction.commit()
}

/// `at` has every committed write of `node`, whose application committed so many.
pub(crate) fn check_complete(at: &Node, node: u64, written: u64) -> Result<()> {
    let events = format!("SELECT count(DISTINCT n) FROM event WHERE node = {node} AND n < {written}");
    let events: i64 = at.query(&events)?;
    ensure!(events == written as i64, "node {}: {events} of {written} events of node {node}", at.id());
    let expected = own_rows(node, written);
    for slot in 0..SLOTS {
        let id = node * 100 + slot;
        let found: Option<i64> = at.query(&format!("SELECT (SELECT v FROM own WHERE id = {id})"))?;
        let wanted = expected.get(&id).map(|&number| number as i64);
        ensure!(found == wanted, "node {}: own row {id} is {found:?}, not {wanted:?}", at.id());
    }
    Ok(())
}

/// What the writes leave in `own`: the last write of each row, by key.
fn own_rows(node: u64, written: u64) -> BTreeMap<u64, u64> {
    let mut rows = BTreeMap::new();
    for number in 0..written {
        let id = node * 100 + number % SLOTS;
        match is_delete(number) {
            true => rows.remove(&id),
            false => rows.insert(id, number),
        };
    }
    rows
}

const fn is_delete(number: u64) -> bool {
    number % 10 == 9
}
