//! Where a reading of the log is cut into change sets: whole transactions, whatever the sizes (G4).

use std::collections::BTreeMap;

use harmonylite_core::model::LogPosition;
use harmonylite_sqlite::Limits;
use harmonylite_testkit::exchange;
use proptest::prelude::*;

use crate::support::Node;

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v);
    CREATE TABLE u(id TEXT PRIMARY KEY, code INTEGER UNIQUE, v) WITHOUT ROWID";

const END: &str = "SELECT coalesce(max(id), 0) FROM __harmonylite___change_log_global";

fn sets_of(rows: usize) -> Limits {
    Limits { set_rows: rows, ..Limits::default() }
}

/// Where the sets of one reading end.
fn ends(node: &mut Node) -> Vec<i64> {
    node.read_log().sets.iter().map(|set| set.through.get()).collect()
}

/// One transaction, and the end of the log behind it, which is noted.
fn write(node: &Node, sql: &str) -> i64 {
    node.run(&format!("BEGIN; {sql}; COMMIT"));
    node.store.note_log_end().unwrap();
    node.count(END)
}

#[test]
fn a_change_set_ends_where_a_transaction_ended() {
    let mut node = Node::new(1, SCHEMA);
    node.store.set_limits(sets_of(2)).unwrap();
    let first = write(&node, "INSERT INTO t VALUES(1, 'a'), (2, 'b')");
    let _small = write(&node, "INSERT INTO t VALUES(3, 'c')");
    let third = write(&node, "INSERT INTO u VALUES('x', 1, 1), ('y', 2, 2)");
    node.run("INSERT INTO t VALUES(4, 'd')");
    let last = node.count(END);
    assert_eq!(ends(&mut node), [first, third, last]);
    let read = node.read_log();
    let rows: Vec<_> = read.sets.iter().map(|set| set.log_rows).collect();
    assert_eq!((rows, read.log_rows(), read.remaining_rows, read.closed_early), (vec![2, 3, 1], 6, 0, false));
    node.publish();
    assert_eq!(node.chain.iter().map(|group| group.prev.get()).collect::<Vec<_>>(), [0, first, third]);
    assert!(ends(&mut node).is_empty());
}

#[test]
fn no_change_set_ends_between_two_changes_of_one_row() {
    let mut node = Node::new(1, SCHEMA);
    node.store.set_limits(sets_of(1)).unwrap();
    let first = write(&node, "INSERT INTO t VALUES(1, 'a')");
    // Row 2 as it was then cannot be read any more: cut here, row 3 would come before it.
    let _passed = write(&node, "INSERT INTO t VALUES(2, 'b'), (3, 'c')");
    let third = write(&node, "UPDATE t SET v = 'B' WHERE id = 2");
    assert_eq!(ends(&mut node), [first, third]);
}

#[test]
fn what_is_above_the_limits_is_cut_between_transactions_where_one_is_known_to_end() {
    let mut node = Node::new(1, SCHEMA);
    node.store.set_limits(Limits { group_rows: 5, ..sets_of(100) }).unwrap();
    let first = write(&node, "INSERT INTO t VALUES(1, 'a'), (2, 'b')");
    let second = write(&node, "INSERT INTO t VALUES(3, 'c'), (4, 'd')");
    write(&node, "INSERT INTO t VALUES(5, 'e'), (6, 'f'), (7, 'g')");
    let read = node.read_log();
    assert_eq!(read.sets.iter().map(|set| set.through.get()).collect::<Vec<_>>(), [second]);
    assert_eq!((read.remaining_rows, read.closed_early), (3, false));
    // Row 3 changes again beyond what is read: what is whole before it goes.
    write(&node, "UPDATE t SET v = 'C' WHERE id = 3");
    let read = node.read_log();
    assert_eq!(read.sets.iter().map(|set| set.through.get()).collect::<Vec<_>>(), [first]);
    assert_eq!((read.remaining_rows, read.closed_early), (6, false));
    // Row 1, too: there is no such place.
    write(&node, "UPDATE t SET v = 'A' WHERE id = 1");
    let read = node.read_log();
    assert_eq!((read.log_rows(), read.remaining_rows, read.closed_early), (5, 4, true));
}

#[test]
fn what_is_finished_when_the_bytes_are_too_many_goes() {
    let mut node = Node::new(1, SCHEMA);
    node.store.set_limits(Limits { group_bytes: 5_000, ..sets_of(2) }).unwrap();
    let whole = "INSERT INTO t VALUES(1, zeroblob(1000)), (2, zeroblob(1000)), (3, zeroblob(1000)), (4, zeroblob(1000))";
    let first = write(&node, whole);
    let second = write(&node, "INSERT INTO t VALUES(5, zeroblob(2000)), (6, zeroblob(2000))");
    let read = node.read_log();
    assert_eq!(read.sets.iter().map(|set| set.through.get()).collect::<Vec<_>>(), [first]);
    assert_eq!((read.remaining_rows, read.closed_early), (2, false));
    exchange::acknowledge(1, &node.store, &mut node.published, &read).unwrap();
    assert_eq!(ends(&mut node), [second]);
}

#[test]
fn a_place_whose_log_row_is_gone_is_none() {
    let mut node = Node::new(1, SCHEMA);
    node.store.set_limits(sets_of(1)).unwrap();
    write(&node, "INSERT INTO u VALUES('x', 1, 1)");
    node.run("DROP TABLE u");
    node.store.read_schema().unwrap();
    let left = write(&node, "INSERT INTO t VALUES(1, 'a')");
    assert_eq!(ends(&mut node), [left]);
}

#[test]
fn whoever_looks_from_another_thread_notes_what_the_store_does_not_see() {
    let mut node = Node::new(1, SCHEMA);
    node.store.set_limits(sets_of(1)).unwrap();
    let mut watch = node.store.watch_log_ends().unwrap().unwrap();
    watch.look().unwrap();
    node.run("INSERT INTO t VALUES(1, 'a')");
    let first = node.count(END);
    assert!(watch.look().unwrap());
    assert!(!watch.look().unwrap(), "nobody wrote");
    node.run("INSERT INTO t VALUES(2, 'b')");
    let second = node.count(END);
    assert_eq!(ends(&mut node), [first, second]);
}

#[test]
fn nobody_looks_beside_a_rollback_journal() {
    let node = Node::new(1, SCHEMA);
    let id = node.id;
    let (_, _, directory) = node.close();
    let application = rusqlite::Connection::open(directory.path().join("app.db")).unwrap();
    application.execute_batch("PRAGMA journal_mode = DELETE").unwrap();
    drop(application);
    let node = Node::open(id, directory);
    assert!(node.store.watch_log_ends().unwrap().is_none());
}

/// A statement of an application over few rows.
fn statement() -> impl Strategy<Value = String> {
    let (id, value) = (1..9_i64, 0..100_i64);
    (0..8_u8, id, 1..9_i64, value).prop_map(|(kind, id, other, value)| match kind {
        0 | 1 => format!("INSERT INTO t VALUES({id}, {value}) ON CONFLICT DO UPDATE SET v = excluded.v"),
        2 => format!("UPDATE t SET v = {value} WHERE id IN ({id}, {other})"),
        3 => format!("DELETE FROM t WHERE id = {id}"),
        4 => format!("UPDATE OR REPLACE t SET id = {other} WHERE id = {id}"),
        5 => format!("INSERT OR REPLACE INTO u VALUES('{id}', {other}, {value})"),
        6 => format!("UPDATE u SET v = {value}"),
        _ => format!("DELETE FROM u WHERE code = {other}"),
    })
}

/// Transactions, each with whether somebody looks behind it.
fn transactions() -> impl Strategy<Value = Vec<(Vec<String>, bool)>> {
    prop::collection::vec((prop::collection::vec(statement(), 1..4), any::<bool>()), 1..14)
}

fn contents(node: &Node) -> [Vec<String>; 2] {
    ["SELECT * FROM t ORDER BY id", "SELECT * FROM u ORDER BY id"].map(|sql| node.query(sql))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// After each set a replica shows what a snapshot of its origin showed at that place.
    #[test]
    fn a_replica_shows_only_what_its_origin_showed(
        transactions in transactions(),
        set_rows in 1_usize..4,
        group_rows in prop::sample::select(vec![3_usize, 6, 12, 1000]),
    ) {
        let mut origin = Node::new(1, SCHEMA);
        origin.store.set_limits(Limits { group_rows, ..sets_of(set_rows) }).unwrap();
        let mut shown = BTreeMap::new();
        for (statements, looked_at) in transactions {
            origin.run(&format!("BEGIN; {}; COMMIT", statements.join(";")));
            shown.insert(LogPosition::new(origin.count(END)).unwrap(), contents(&origin));
            if looked_at {
                origin.store.note_log_end().unwrap();
            }
        }
        let mut replica = Node::new(2, SCHEMA);
        let mut closed_early = false;
        loop {
            let read = origin.read_log();
            // From then on a transaction is in parts: of its rows those that changed again come later.
            closed_early |= read.closed_early;
            for group in exchange::acknowledge(1, &origin.store, &mut origin.published, &read).unwrap() {
                let through = group.through;
                replica.apply(&[group]);
                if !closed_early {
                    prop_assert_eq!(Some(&contents(&replica)), shown.get(&through), "at {}", through);
                }
            }
            if read.remaining_rows == 0 {
                break;
            }
        }
        prop_assert_eq!(contents(&replica), contents(&origin));
    }
}
