//! A transaction of the application is seen on a replica wholly or not at all.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use harmonylite_testkit::{Context, Node, Result, ensure, wait};
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

/// One reader's progress.
#[derive(Default, Debug)]
struct Progress {
    observations: AtomicU64,
    /// The value in the rows when it looked last; -1 without rows.
    shown: AtomicI64,
}

/// Observes until told to stop; gives what was seen, each once.
fn reader(db: &Path, progress: &Progress, stop: &AtomicBool) -> Result<BTreeSet<Look>> {
    let connection = Connection::open(db)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    let mut seen = BTreeSet::new();
    while !stop.load(Ordering::Acquire) {
        let look = observe(&connection)?;
        progress.shown.store(look.1.unwrap_or(-1), Ordering::Release);
        progress.observations.fetch_add(1, Ordering::Relaxed);
        seen.insert(look);
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

/// Transactions until both readers have looked often enough. Of three, two run into one another.
fn write(node: &Node, progress: &[Progress; 2]) -> Result<()> {
    let enough = || progress.iter().all(|reader| reader.observations.load(Ordering::Relaxed) >= OBSERVATIONS);
    for number in (0..TRANSACTIONS_MAX).take_while(|number| *number < 14 || !enough()) {
        node.execute(&transaction(number))?;
        let value = if number % 7 == 6 { -1 } else { number };
        let shown = || progress.iter().all(|reader| reader.shown.load(Ordering::Acquire) == value);
        if number % 3 != 0 {
            wait(&format!("transaction {number} at both readers"), Duration::from_secs(60), shown)?;
        }
    }
    ensure!(enough(), "too few observations: {progress:?}");
    Ok(())
}

#[test]
fn a_transaction_of_10_000_rows_over_five_tables_never_shows_in_part() -> Result<()> {
    let cluster = following(3, &schema())?;
    let replicas = [cluster.nodes[1].db(), cluster.nodes[2].db()];
    let (progress, stop) = ([Progress::default(), Progress::default()], AtomicBool::new(false));
    std::thread::scope(|scope| {
        let ending = Stop(&stop);
        let readers: Vec<_> = replicas
            .iter()
            .zip(&progress)
            .map(|(db, progress)| scope.spawn(|| reader(db, progress, &stop)))
            .collect();
        let written = write(&cluster.nodes[0], &progress);
        drop(ending);
        for reader in readers {
            let seen = reader.join().expect("a reader panicked")?;
            ensure!(seen.len() >= 6, "too few transactions were observed: {seen:?}");
        }
        written
    })
    .with_context(|| cluster.logs())?;
    cluster.wait_equal(&TABLES, Duration::from_secs(60))?;
    no_panics(&cluster)
}
