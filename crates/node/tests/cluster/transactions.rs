//! A transaction of the application is seen on a replica wholly or not at all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use harmonylite_testkit::{Result, ensure, wait_for};
use rusqlite::Connection;

use crate::support::{following, no_panics};

const TABLES: [&str; 5] = ["a", "b", "c", "d", "e"];
const ROWS_PER_TABLE: i64 = 2000;
const OBSERVATIONS: u64 = 1000;
const TRANSACTIONS_MAX: i64 = 200;

fn schema() -> String {
    TABLES
        .map(|table| format!("CREATE TABLE {table}(id INTEGER PRIMARY KEY, v INTEGER, text TEXT);"))
        .concat()
}

/// 10,000 rows in one transaction: `number` 0 inserts them, later ones change every row; every seventh deletes all.
fn transaction(number: i64) -> String {
    let of_table = |table| match number % 7 {
        0 => format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS_PER_TABLE}) \
             INSERT INTO {table} SELECT i, {number}, 'row ' || i FROM n;"
        ),
        6 => format!("DELETE FROM {table};"),
        _ => format!("UPDATE {table} SET v = {number};"),
    };
    format!("BEGIN IMMEDIATE; {} COMMIT", TABLES.map(of_table).concat())
}

/// What one look saw of a table: rows, least and greatest value.
type Look = (i64, Option<i64>, Option<i64>);

/// Looks at all tables in one read transaction: they must all show the same transaction.
fn observe(connection: &Connection) -> Result<Look> {
    let snapshot = connection.unchecked_transaction()?;
    let look = |table: &str| -> Result<Look> {
        let sql = format!("SELECT count(*), min(v), max(v) FROM {table}");
        Ok(snapshot.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
    };
    let first = look(TABLES[0])?;
    ensure!(first.0 == 0 || first.0 == ROWS_PER_TABLE, "a part of the rows: {first:?}");
    ensure!(first.1 == first.2, "two values in one table: {first:?}");
    for table in TABLES {
        ensure!(look(table)? == first, "{table} shows {:?}, {} shows {first:?}", look(table)?, TABLES[0]);
    }
    Ok(first)
}

/// Observes until told to stop; gives what was seen, each once.
fn reader(db: &Path, count: &AtomicU64, stop: &AtomicBool) -> Result<BTreeSet<Look>> {
    let connection = Connection::open(db)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    let mut seen = BTreeSet::new();
    while !stop.load(Ordering::Acquire) {
        seen.insert(observe(&connection)?);
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(seen)
}

/// Ends the readers also when a step fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn a_transaction_of_10_000_rows_over_five_tables_never_shows_in_part() -> Result<()> {
    let cluster = following(3, &schema())?;
    let replicas: [PathBuf; 2] = [cluster.nodes[1].db(), cluster.nodes[2].db()];
    let (counts, stop) = ([AtomicU64::new(0), AtomicU64::new(0)], AtomicBool::new(false));
    std::thread::scope(|scope| {
        let start = |index: usize| {
            let (db, count, stop) = (&replicas[index], &counts[index], &stop);
            scope.spawn(move || reader(db, count, stop))
        };
        let readers = [start(0), start(1)];
        let stop = Stop(&stop);
        let enough = || counts.iter().all(|count| count.load(Ordering::Relaxed) >= OBSERVATIONS);
        let mut number = 0;
        while number < 14 || (!enough() && number < TRANSACTIONS_MAX) {
            cluster.nodes[0].execute(&transaction(number))?;
            // Several may be under way, yet most are to be seen one by one.
            wait_for("the transaction before", Duration::from_secs(60), || {
                let value = cluster.nodes[1].query::<Option<i64>>("SELECT max(v) FROM a")?;
                ensure!(value.is_none_or(|value| value + 1 >= number), "it shows {value:?}");
                Ok(())
            })?;
            number += 1;
        }
        cluster.wait_equal(&TABLES, Duration::from_secs(60))?;
        drop(stop);
        for reader in readers {
            let seen = reader.join().expect("a reader panicked")?;
            ensure!(seen.len() >= 6, "too few transactions were observed: {seen:?}");
        }
        ensure!(enough(), "too few observations: {counts:?}");
        Ok(())
    })?;
    no_panics(&cluster)
}
