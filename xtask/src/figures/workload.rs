//! The application: its table, its writes, and whether the nodes hold the same rows afterwards.

use std::hash::{DefaultHasher, Hasher as _};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harmonylite_testkit::{Cluster, wait, wait_for};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

/// Small rows of about 60 bytes, and large ones.
pub(super) const SCHEMA: &str = "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount INTEGER NOT NULL, \
     note TEXT); CREATE TABLE document(id INTEGER PRIMARY KEY, body BLOB NOT NULL)";
pub(super) const INSERT: &str = "INSERT INTO item(id, name, amount, note) VALUES(?1, ?2, ?3, ?4)";
/// Rows per transaction of a load at full speed.
const LOAD_BATCH: u64 = 100;
/// A kilobyte that no compression makes smaller.
const INSERT_DOCUMENT: &str = "INSERT INTO document(id, body) VALUES(?1, randomblob(1000))";
/// Long enough for a machine that does something else besides.
pub(super) const DEADLINE: Duration = Duration::from_secs(300);
const FOLLOWING_DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at a replica that is catching up.
const LOOK: Duration = Duration::from_millis(2);

/// A cluster of three that is ready to replicate.
pub(super) fn cluster(binary: &std::path::Path) -> Result<Cluster> {
    let cluster = Cluster::start(binary, 3, SCHEMA)?;
    cluster.wait_following(FOLLOWING_DEADLINE)?;
    Ok(cluster)
}

/// Writes the rows `ids` by `sql`, `batch` in a transaction; gives the time from the first statement to the last commit.
pub(super) fn write(connection: &Connection, sql: &str, ids: Range<u64>, batch: u64) -> Result<Duration> {
    let start = Instant::now();
    let mut next = ids.start;
    while next < ids.end {
        let end = ids.end.min(next + batch);
        if batch == 1 {
            write_row(connection, sql, next)?;
        } else {
            let transaction = connection.unchecked_transaction()?;
            (next..end).try_for_each(|id| write_row(connection, sql, id))?;
            transaction.commit()?;
        }
        next = end;
    }
    Ok(start.elapsed())
}

/// Writes rows after `from` as fast as it goes until told to stop; gives the last one.
pub(super) fn write_until(connection: &Connection, from: u64, stop: &AtomicBool) -> Result<u64> {
    let mut last = from;
    while !stop.load(Ordering::Relaxed) {
        write(connection, INSERT, last + 1..last + 1 + LOAD_BATCH, LOAD_BATCH)?;
        last += LOAD_BATCH;
    }
    Ok(last)
}

fn write_row(connection: &Connection, sql: &str, id: u64) -> Result<()> {
    let (id, amount) = (id.cast_signed(), (id.wrapping_mul(2_654_435_761) >> 8).cast_signed());
    let row = params![id, format!("name of item {id}"), amount, "a note of some thirty characters"];
    connection.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Writes the documents `ids`, 1000 in a transaction.
pub(super) fn write_documents(connection: &Connection, ids: Range<u64>) -> Result<()> {
    let mut statement = connection.prepare(INSERT_DOCUMENT)?;
    for first in ids.clone().step_by(1000) {
        let transaction = connection.unchecked_transaction()?;
        for id in first..ids.end.min(first + 1000) {
            statement.execute([id.cast_signed()])?;
        }
        transaction.commit()?;
    }
    Ok(())
}

/// Waits until the row `last` of `table`, and with it every row before it, is there.
pub(super) fn wait_visible(connection: &Connection, table: &str, last: u64) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    let mut statement = connection.prepare(&format!("SELECT count(*) FROM {table} WHERE id = ?1"))?;
    while statement.query_row([last.cast_signed()], |row| row.get::<_, i64>(0))? == 0 {
        ensure!(Instant::now() < deadline, "row {last} did not come within {DEADLINE:?}");
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// The nodes hold the same rows, as many as `rows` in `table`: only then do figures of them mean anything.
pub(super) fn ensure_equal(cluster: &Cluster, table: &str, rows: u64) -> Result<()> {
    wait_for("equal nodes", DEADLINE, || {
        let found: Vec<_> =
            cluster.nodes.iter().map(|node| digest(&node.connection()?, table)).collect::<Result<_>>()?;
        ensure!(found.iter().all(|node| *node == found[0]), "the nodes differ: {found:?}");
        ensure!(found[0].0 == rows, "{} rows instead of {rows}", found[0].0);
        Ok(())
    })
}

/// Nothing is under way any more, housekeeping included.
pub(super) fn settle(cluster: &Cluster) -> Result<()> {
    cluster.wait_published(DEADLINE)?;
    let log = "SELECT count(*) FROM __harmonylite___change_log_global";
    wait("trimmed logs", DEADLINE, || {
        cluster.nodes.iter().all(|node| node.query::<i64>(log).is_ok_and(|rows| rows == 0))
    })
}

/// Number of rows, and a digest of all of them in the order of their keys.
fn digest(connection: &Connection, table: &str) -> Result<(u64, u64)> {
    let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY id"))?;
    let columns = statement.column_count();
    let (mut rows, mut count, mut hasher) = (statement.query([])?, 0, DefaultHasher::new());
    while let Some(row) = rows.next()? {
        count += 1;
        for column in 0..columns {
            match row.get_ref(column)? {
                ValueRef::Integer(number) => hasher.write_i64(number),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => hasher.write(bytes),
                other => hasher.write(format!("{other:?}").as_bytes()),
            }
            hasher.write_u8(0xff);
        }
    }
    Ok((count, hasher.finish()))
}
