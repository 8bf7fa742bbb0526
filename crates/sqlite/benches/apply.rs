//! What an apply costs against bare upserts of the same rows in equal transactions, in one run.
//!
//! Ratios are what counts; the times beside them are this machine's. Run with `cargo bench -p harmonylite-sqlite`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark prints its figures")]

mod measure;

use std::path::Path;
use std::time::{Duration, Instant};

use harmonylite_core::effect::{PublishedPositions, ReceivedGroup};
use harmonylite_core::model::{Incarnation, LogPosition, NodeId, Shard};
use harmonylite_sqlite::{ClockSql, Limits, OpenOptions, Store};
use harmonylite_testkit::exchange;
use rusqlite::Connection;

const ROWS: i64 = 50_000;
const PER_TRANSACTION: i64 = 1_000;

const BARE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, amount INTEGER, note TEXT)";
const INDEXED: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, amount INTEGER, note TEXT); \
                       CREATE INDEX t_name ON t(name); CREATE INDEX t_amount ON t(amount)";
const UNIQUE: &str =
    "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT UNIQUE, amount INTEGER UNIQUE, note TEXT)";
/// The triggers of SQLite's documentation: the reference runs them, an apply its mirrored ones.
const FULL_TEXT: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, amount INTEGER, note TEXT);
    CREATE VIRTUAL TABLE f USING fts5(name, note, content='t', content_rowid='id');
    CREATE TRIGGER t_ai AFTER INSERT ON t BEGIN INSERT INTO f(rowid, name, note) VALUES(new.id, new.name, new.note); END;
    CREATE TRIGGER t_au AFTER UPDATE ON t BEGIN
      INSERT INTO f(f, rowid, name, note) VALUES('delete', old.id, old.name, old.note);
      INSERT INTO f(rowid, name, note) VALUES(new.id, new.name, new.note); END;";
const UPSERT: &str = "INSERT INTO t VALUES(?1, 'name ' || ((?1 * 7919) % 1000003), (?1 * 104729) % 1299709, ?2) \
                      ON CONFLICT(id) DO UPDATE SET name = excluded.name, amount = excluded.amount, note = excluded.note";

fn main() {
    println!(
        "apply: time of apply / bare upserts, {PER_TRANSACTION} rows per transaction, medians of {} pairs",
        measure::REPETITIONS
    );
    for (name, schema) in [
        ("bare table", BARE),
        ("two indexes", INDEXED),
        ("two unique indexes", UNIQUE),
        ("full-text index", FULL_TEXT),
    ] {
        let groups = [publish(schema, false), publish(schema, true)];
        let found = measure::compare(ROWS, || upserts(schema), || applies(schema, &groups));
        measure::print(name, ["insert", "update"], found);
    }
}

fn database(directory: &Path, schema: &str) -> Connection {
    let connection = Connection::open(directory.join("app.db")).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").unwrap();
    connection.execute_batch(schema).unwrap();
    connection
}

fn store(directory: &Path, node: u64) -> Store {
    let options = OpenOptions {
        node_id: NodeId::new(node).unwrap(),
        fresh_incarnation: Incarnation::new(1).unwrap(),
        shards: 1,
        publish: true,
        clock: ClockSql::default(),
    };
    Store::open(&directory.join("app.db"), &options).unwrap()
}

fn write(connection: &Connection, note: &str) {
    let mut statement = connection.prepare(UPSERT).unwrap();
    let mut id = 0;
    while id < ROWS {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for _ in 0..PER_TRANSACTION {
            statement.execute(rusqlite::params![id, note]).unwrap();
            id += 1;
        }
        connection.execute_batch("COMMIT").unwrap();
    }
}

fn upserts(schema: &str) -> [Duration; 2] {
    let directory = tempfile::tempdir().unwrap();
    let connection = database(directory.path(), schema);
    ["first", "second"].map(|note| {
        let started = Instant::now();
        write(&connection, note);
        started.elapsed()
    })
}

/// The groups of one pass over all rows; of the second pass when `second`.
fn publish(schema: &str, second: bool) -> Vec<ReceivedGroup> {
    let directory = tempfile::tempdir().unwrap();
    let connection = database(directory.path(), schema);
    let mut store = store(directory.path(), 1);
    store
        .set_limits(Limits { group_rows: PER_TRANSACTION.unsigned_abs() as usize, ..Limits::default() })
        .unwrap();
    let mut from = LogPosition::START;
    write(&connection, "first");
    if second {
        from = store_end(&connection);
        write(&connection, "second");
    }
    let mut published = PublishedPositions { settled: from, ..PublishedPositions::default() };
    let mut groups = Vec::new();
    loop {
        let read = exchange::read_log(&mut store, &published, true).unwrap();
        groups.extend(exchange::acknowledge(1, &store, &mut published, &read).unwrap());
        if read.remaining_rows == 0 {
            return groups;
        }
    }
}

fn store_end(connection: &Connection) -> LogPosition {
    let end =
        connection.query_row("SELECT max(id) FROM __harmonylite___change_log_global", [], |row| row.get(0));
    LogPosition::new(end.unwrap()).unwrap()
}

fn applies(schema: &str, passes: &[Vec<ReceivedGroup>; 2]) -> [Duration; 2] {
    let directory = tempfile::tempdir().unwrap();
    drop(database(directory.path(), schema));
    let mut store = store(directory.path(), 2);
    let mut position = LogPosition::START;
    [&passes[0], &passes[1]].map(|groups| {
        let mut spent = Duration::ZERO;
        for group in groups {
            // The passes come from two runs of the clock: their chains are joined here.
            let group = ReceivedGroup { prev: position, shard: Shard::FIRST, ..group.clone() };
            position = group.through;
            let batch = exchange::apply_batch(&[group], &PublishedPositions::default());
            let started = Instant::now();
            store.apply(&batch, 1).unwrap();
            spent += started.elapsed();
        }
        spent
    })
}
