//! What capture costs the application: each operation with our triggers against the same without, in one run.
//!
//! Ratios are what counts; the times beside them are this machine's. Run with `cargo bench -p harmonylite-sqlite`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints its figures")]

mod measure;

use std::path::Path;
use std::time::{Duration, Instant};

use harmonylite_core::model::{Incarnation, NodeId};
use harmonylite_sqlite::{ClockSql, OpenOptions, Store};
use rusqlite::Connection;

struct Case {
    name: &'static str,
    schema: String,
    insert: String,
    update: &'static str,
    rows: i64,
    per_transaction: i64,
}

fn main() {
    let wide: Vec<_> = (0..20).map(|n| format!("c{n}")).collect();
    let values: Vec<_> = (0..20).map(|n| format!("printf('%.100c', char(65 + {n}))")).collect();
    let small = "CREATE TABLE t(id INTEGER PRIMARY KEY, c0 TEXT)";
    let cases = [
        Case {
            name: "small row, autocommit",
            schema: small.to_owned(),
            insert: "INSERT INTO t VALUES(?1, 'some text')".to_owned(),
            update: "UPDATE t SET c0 = 'other text' WHERE id = ?1",
            rows: 4_000,
            per_transaction: 1,
        },
        Case {
            name: "small row, 1000 per transaction",
            schema: small.to_owned(),
            insert: "INSERT INTO t VALUES(?1, 'some text')".to_owned(),
            update: "UPDATE t SET c0 = 'other text' WHERE id = ?1",
            rows: 50_000,
            per_transaction: 1000,
        },
        Case {
            name: "2 KB row of 20 columns, 1000 per transaction",
            schema: format!("CREATE TABLE t(id INTEGER PRIMARY KEY, {})", wide.join(", ")),
            insert: format!("INSERT INTO t VALUES(?1, {})", values.join(", ")),
            update: "UPDATE t SET c0 = 'other text' WHERE id = ?1",
            rows: 10_000,
            per_transaction: 1000,
        },
    ];
    println!("capture: time with triggers / without, medians of {} pairs", measure::REPETITIONS);
    for case in &cases {
        report(case);
    }
}

fn report(case: &Case) {
    let found = measure::compare(case.rows, || run(case, false), || run(case, true));
    measure::print(case.name, ["insert", "update", "delete"], found);
}

fn run(case: &Case, captured: bool) -> [Duration; 3] {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").unwrap();
    connection.execute_batch(&case.schema).unwrap();
    if captured {
        install(&path);
    }
    [case.insert.as_str(), case.update, "DELETE FROM t WHERE id = ?1"]
        .map(|sql| timed(&connection, sql, case.rows, case.per_transaction))
}

fn install(path: &Path) {
    let options = OpenOptions {
        node_id: NodeId::new(1).unwrap(),
        fresh_incarnation: Incarnation::new(1).unwrap(),
        shards: 1,
        publish: true,
        clock: ClockSql::default(),
    };
    drop(Store::open(path, &options).unwrap());
}

fn timed(connection: &Connection, sql: &str, rows: i64, per_transaction: i64) -> Duration {
    let mut statement = connection.prepare(sql).unwrap();
    let started = Instant::now();
    let mut id = 0;
    while id < rows {
        if per_transaction > 1 {
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        }
        for _ in 0..per_transaction {
            statement.execute([id]).unwrap();
            id += 1;
        }
        if per_transaction > 1 {
            connection.execute_batch("COMMIT").unwrap();
        }
    }
    started.elapsed()
}
