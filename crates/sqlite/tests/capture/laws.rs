//! The law of capture, on random statements: what the log says is enough to know every row that differs.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::support::Database;

/// Shapes of one table with key `a` (and `b`): rowid alias, ordinary key, composite WITHOUT ROWID under NOCASE.
const SHAPES: [&str; 3] = [
    "CREATE TABLE t(a INTEGER PRIMARY KEY, b, u UNIQUE, v, w, UNIQUE(v, w))",
    "CREATE TABLE t(a PRIMARY KEY, b, u UNIQUE ON CONFLICT REPLACE, v, w, UNIQUE(w, v))",
    "CREATE TABLE t(a COLLATE NOCASE, b COLLATE NOCASE, u COLLATE NOCASE UNIQUE, v, w, PRIMARY KEY(b, a), UNIQUE(v, w)) WITHOUT ROWID",
];

/// Few values, so that rows collide all the time; -1 is what a key not given reads as.
fn value() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["NULL", "-1", "0", "1", "2", "'x'", "'X'"])
}

fn clause() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "OR REPLACE", "OR IGNORE", "OR FAIL"])
}

fn column() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "u", "v", "w"])
}

fn statement() -> impl Strategy<Value = String> {
    let values = || prop::collection::vec(value(), 5).prop_map(|values| values.join(", "));
    prop_oneof![
        4 => (clause(), values()).prop_map(|(clause, row)| format!("INSERT {clause} INTO t VALUES({row})")),
        1 => (clause(), values(), values())
            .prop_map(|(clause, one, two)| format!("INSERT {clause} INTO t VALUES({one}), ({two})")),
        1 => (values(), value())
            .prop_map(|(row, v)| format!("INSERT INTO t VALUES({row}) ON CONFLICT(u) DO UPDATE SET w = {v}")),
        4 => (clause(), column(), value(), column(), value())
            .prop_map(|(clause, set, to, by, is)| format!("UPDATE {clause} t SET {set} = {to} WHERE {by} IS {is}")),
        1 => (clause(), column(), column()).prop_map(|(clause, set, from)| format!("UPDATE {clause} t SET {set} = {from}")),
        1 => (column(), value()).prop_map(|(by, is)| format!("DELETE FROM t WHERE {by} IS {is}")),
    ]
}

/// Every row that has a key: the key in the log's spelling, the whole row.
fn rows(database: &Database, shape: usize) -> BTreeMap<String, String> {
    let key = if shape == 2 { ["b", "a"].as_slice() } else { ["a"].as_slice() };
    let not_null: Vec<String> = key.iter().map(|column| format!("{column} IS NOT NULL")).collect();
    let sql =
        |columns: &str| format!("SELECT {columns} FROM t WHERE {} ORDER BY a, b", not_null.join(" AND "));
    let keys = database.query(&sql(&key.join(", ")));
    let keys = keys.into_iter().map(|key| if shape == 2 { key.to_ascii_uppercase() } else { key });
    keys.map(|key| key.replace('|', ",")).zip(database.query(&sql("*"))).collect()
}

/// The log's entries by key: the types.
fn entries(database: &Database, shape: usize) -> BTreeMap<String, BTreeSet<String>> {
    let mut entries: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in database.take_log() {
        let mut words = line.split(' ').skip(1);
        let key = words.next().unwrap().to_owned();
        let key = if shape == 2 { key.to_ascii_uppercase() } else { key };
        entries.entry(key).or_default().insert(words.next().unwrap().to_owned());
    }
    entries
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn every_row_that_differs_is_in_the_log_and_maybe_alone_never_means_a_changed_row(
        shape in 0usize..3, statements in prop::collection::vec(statement(), 1..60),
    ) {
        let database = Database::captured(SHAPES[shape]);
        database.run("PRAGMA synchronous = OFF");
        let mut before = BTreeMap::new();
        for statement in &statements {
            // Constraints may refuse it: then nothing (or, with OR FAIL, a part) happened.
            let _ = database.application.execute_batch(statement);
            let (after, log) = (rows(&database, shape), entries(&database, shape));
            for key in before.keys().chain(after.keys()) {
                if before.get(key) != after.get(key) {
                    prop_assert!(log.contains_key(key), "{statement}: {key} is missing in {log:?}");
                }
            }
            for (key, types) in &log {
                let only_maybe = types.iter().all(|log_type| log_type == "maybe");
                if only_maybe && after.contains_key(key) {
                    prop_assert_eq!(before.get(key), after.get(key), "{}: {} changed (R2)", statement, key);
                }
            }
            before = after;
        }
    }
}
