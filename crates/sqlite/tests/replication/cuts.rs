//! Where a reading of the log is cut into change sets: whole transactions, whatever the sizes (G4).

use std::collections::BTreeMap;
use std::time::Duration;

use harmonylite_core::model::LogPosition;
use harmonylite_sqlite::{Limits, LogEndsWatch};
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
fn write(node: &mut Node, sql: &str) -> i64 {
    node.run(&format!("BEGIN; {sql}; COMMIT"));
    node.store.note_log_ends().unwrap();
    node.count(END)
}

#[test]
fn a_change_set_ends_where_a_transaction_ended() {
    let mut node = Node::new(1, SCHEMA);
    node.store.set_limits(sets_of(2)).unwrap();
    let first = write(&mut node, "INSERT INTO t VALUES(1, 'a'), (2, 'b')");
    let _small = write(&mut node, "INSERT INTO t VALUES(3, 'c')");
    let third = write(&mut node, "INSERT INTO u VALUES('x', 1, 1), ('y', 2, 2)");
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
    let first = write(&mut node, "INSERT INTO t VALUES(1, 'a')");
    // Row 2 as it was then cannot be read any more: cut here, row 3 would come before it.
    let _passed = write(&mut node, "INSERT INTO t VALUES(2, 'b'), (3, 'c')");
    let third = write(&mut node, "UPDATE t SET v = 'B' WHERE id = 2");
    assert_eq!(ends(&mut node), [first, third]);
}

#[test]
fn what_is_above_the_limits_is_cut_between_transactions_where_one_is_known_to_end() {
    let mut node = Node::new(1, SCHEMA);
    node.store.set_limits(Limits { group_rows: 5, ..sets_of(100) }).unwrap();
    let first = write(&mut node, "INSERT INTO t VALUES(1, 'a'), (2, 'b')");
    let second = write(&mut node, "INSERT INTO t VALUES(3, 'c'), (4, 'd')");
    write(&mut node, "INSERT INTO t VALUES(5, 'e'), (6, 'f'), (7, 'g')");
    let read = node.read_log();
    assert_eq!(read.sets.iter().map(|set| set.through.get()).collect::<Vec<_>>(), [second]);
    assert_eq!((read.remaining_rows, read.closed_early), (3, false));
    // Row 3 changes again beyond what is read: what is whole before it goes.
    write(&mut node, "UPDATE t SET v = 'C' WHERE id = 3");
    let read = node.read_log();
    assert_eq!(read.sets.iter().map(|set| set.through.get()).collect::<Vec<_>>(), [first]);
    assert_eq!((read.remaining_rows, read.closed_early), (6, false));
    // Row 1, too: there is no such place.
    write(&mut node, "UPDATE t SET v = 'A' WHERE id = 1");
    let read = node.read_log();
    assert_eq!((read.log_rows(), read.remaining_rows, read.closed_early), (5, 4, true));
}

#[test]
fn what_is_finished_when_the_bytes_are_too_many_goes() {
    let mut node = Node::new(1, SCHEMA);
    node.store.set_limits(Limits { group_bytes: 5_000, ..sets_of(2) }).unwrap();
    let whole = "INSERT INTO t VALUES(1, zeroblob(1000)), (2, zeroblob(1000)), (3, zeroblob(1000)), (4, zeroblob(1000))";
    let first = write(&mut node, whole);
    let second = write(&mut node, "INSERT INTO t VALUES(5, zeroblob(2000)), (6, zeroblob(2000))");
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
    write(&mut node, "INSERT INTO u VALUES('x', 1, 1)");
    node.run("DROP TABLE u");
    node.store.read_schema().unwrap();
    let left = write(&mut node, "INSERT INTO t VALUES(1, 'a')");
    assert_eq!(ends(&mut node), [left]);
}

/// Somebody looks, and all of what comes after is known.
fn seen(rows: usize) -> Node {
    let mut node = Node::new(1, SCHEMA);
    node.store.set_limits(sets_of(rows)).unwrap();
    write(&mut node, "INSERT INTO t VALUES(0, 0)");
    node.publish();
    node
}

/// One transaction, and the end of the log behind it; nobody looks.
fn commit(node: &Node, sql: &str) -> i64 {
    node.run(&format!("BEGIN; {sql}; COMMIT"));
    node.count(END)
}

/// What looks in the place of the store.
fn watch(node: &Node) -> LogEndsWatch {
    node.store.open_log_ends_watch().unwrap();
    node.store.log_ends_watch()
}

/// What the write-ahead log has of the transactions since the last look.
fn ends_by_wal(node: &mut Node) -> Vec<i64> {
    node.store.note_log_ends().unwrap();
    ends(node)
}

#[test]
fn every_transaction_that_the_write_ahead_log_has_ends_a_set() {
    let mut node = seen(1);
    let first = commit(&node, "INSERT INTO t VALUES(1, 'a'), (2, 'b')");
    let second = commit(&node, "INSERT INTO u VALUES('x', 1, 1); INSERT INTO t VALUES(3, 'c')");
    node.run("BEGIN; INSERT INTO t VALUES(4, 'd'); ROLLBACK");
    let third = commit(&node, "INSERT INTO t VALUES(5, 'e')");
    assert_eq!(ends_by_wal(&mut node), [first, second, third]);
}

/// Pages of them are in the write-ahead log before they commit, and stay there when they do not.
#[test]
fn a_transaction_that_does_not_fit_into_memory_ends_once_or_never() {
    let mut node = seen(1);
    node.run("PRAGMA cache_size = 5");
    let rows = |from: u32, to: u32| {
        format!(
            "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to}) \
             SELECT i, hex(zeroblob(100)) FROM n"
        )
    };
    let first = commit(&node, &rows(1, 2000));
    node.run(&format!("BEGIN; {}; ROLLBACK", rows(3001, 6000)));
    let second = commit(&node, &rows(6001, 6500));
    node.run(&format!(
        "BEGIN; SAVEPOINT s; {}; ROLLBACK TO s; {}; COMMIT",
        rows(7001, 9000),
        rows(7001, 7300)
    ));
    let third = node.count(END);
    assert_eq!(ends_by_wal(&mut node), [first, second, third]);
}

/// Its first frames are those of others then. What nobody has read yet stands behind them; but the last commit there may have
/// been none.
#[test]
fn a_write_ahead_log_that_starts_over_is_read_where_nobody_has_overwritten_it() {
    let mut node = seen(1);
    let first = commit(&node, "INSERT INTO t VALUES(1, 'a')");
    node.store.note_log_ends().unwrap();
    let second = commit(&node, "INSERT INTO t VALUES(2, 'b')");
    commit(&node, "INSERT INTO t VALUES(3, 'c')");
    node.run("PRAGMA wal_checkpoint(RESTART)");
    let fourth = commit(&node, "INSERT INTO t VALUES(4, 'd')");
    let fifth = commit(&node, "INSERT INTO t VALUES(5, 'e')");
    assert_eq!(ends_by_wal(&mut node), [first, second, fourth, fifth]);
    let sixth = commit(&node, "INSERT INTO t VALUES(6, 'f')");
    assert_eq!(ends_by_wal(&mut node), [first, second, fourth, fifth, sixth]);
}

#[test]
fn what_is_overwritten_in_the_write_ahead_log_is_one_set() {
    let mut node = seen(1);
    let first = commit(&node, "INSERT INTO t VALUES(1, 'a')");
    node.store.note_log_ends().unwrap();
    commit(&node, "INSERT INTO t VALUES(2, 'b')");
    node.run("PRAGMA wal_checkpoint(RESTART)");
    commit(&node, "INSERT INTO t VALUES(3, 'c')");
    let fourth = commit(&node, "INSERT INTO t VALUES(4, zeroblob(400000))");
    assert_eq!(ends_by_wal(&mut node), [first, fourth]);
    let fifth = commit(&node, "INSERT INTO t VALUES(5, 'e')");
    let sixth = commit(&node, "INSERT INTO t VALUES(6, 'f')");
    assert_eq!(ends_by_wal(&mut node), [first, fourth, fifth, sixth]);
    node.run("PRAGMA wal_checkpoint(TRUNCATE)");
    assert_eq!(ends_by_wal(&mut node), [first, fourth, fifth, sixth]);
}

/// The store may be at work for longer than the write-ahead log keeps what was committed.
#[test]
fn what_somebody_saw_before_it_was_overwritten_are_sets() {
    let mut node = seen(1);
    let watch = watch(&node);
    let mut wanted = Vec::new();
    for id in 1..=8 {
        for sql in [format!("{id}, 'a'"), format!("{id} * 100, zeroblob(400000)")] {
            wanted.push(commit(&node, &format!("INSERT INTO t VALUES({sql})")));
            watch.note_unless(Duration::ZERO).unwrap();
        }
        node.run("PRAGMA wal_checkpoint(RESTART)");
    }
    assert_eq!(ends_by_wal(&mut node), wanted);
}

/// Two that look in turns do not take commits from one another.
#[test]
fn the_store_and_who_looks_in_its_place_go_on_from_one_another() {
    let mut node = seen(1);
    let watch = watch(&node);
    let mut wanted = Vec::new();
    for id in 1..=20 {
        wanted.push(commit(&node, &format!("INSERT INTO t VALUES({id}, 'a')")));
        match id % 8 {
            3 => node.store.note_log_ends().unwrap(),
            1 | 5 => watch.note_unless(Duration::ZERO).unwrap(),
            // The last one before the file starts over is told when somebody saw it.
            7 => {
                node.store.note_log_ends().unwrap();
                node.run("PRAGMA wal_checkpoint(RESTART)");
            }
            _ => {}
        }
    }
    assert_eq!(ends_by_wal(&mut node), wanted);
}

/// The last connection that closes writes the log back and removes it; one that only reads could not.
#[test]
fn the_watch_ends_with_the_store() {
    let node = seen(1);
    let watch = watch(&node);
    let database = node.path();
    let log = database.with_file_name("app.db-wal");
    let (_, _, directory) = node.close();
    assert!(!log.exists() && database.exists());
    watch.note_unless(Duration::ZERO).unwrap();
    assert!(!log.exists() && directory.path().exists());
}

#[test]
fn nobody_looks_where_the_store_looked_just_before() {
    let mut node = seen(1);
    let watch = watch(&node);
    commit(&node, "INSERT INTO t VALUES(1, 'a')");
    watch.note_unless(Duration::from_hours(1)).unwrap();
    node.run("PRAGMA wal_checkpoint(RESTART)");
    let second = commit(&node, "INSERT INTO t VALUES(2, zeroblob(400000))");
    assert_eq!(ends_by_wal(&mut node), [second]);
}

/// Pages in the middle of the log are written then, and their last rows are in the middle of transactions.
#[test]
fn a_page_of_the_log_that_moves_ends_no_set() {
    let schema = format!("PRAGMA auto_vacuum = FULL; {SCHEMA}; CREATE TABLE ballast(v)");
    let mut node = Node::new(1, &schema);
    node.store.set_limits(sets_of(1)).unwrap();
    node.run("INSERT INTO ballast VALUES(zeroblob(400000))");
    node.store.note_log_ends().unwrap();
    let many = "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i, i FROM n";
    let first = commit(&node, many);
    let second = commit(&node, "INSERT INTO t SELECT id + 4000, v FROM t WHERE id <= 30");
    node.run("DELETE FROM ballast");
    assert_eq!(ends_by_wal(&mut node), [first, second]);
    // The same once nobody knows the commits of before.
    let third = commit(&node, "INSERT INTO t SELECT id + 5000, v FROM t");
    node.run(
        "INSERT INTO ballast VALUES(zeroblob(400000)); PRAGMA wal_checkpoint(RESTART); DELETE FROM ballast",
    );
    assert_eq!(ends_by_wal(&mut node), [first, second, third]);
}

#[test]
fn rows_of_an_application_that_look_like_log_rows_are_none() {
    let mut node = Node::new(1, &format!("{SCHEMA}; CREATE TABLE seen(id INTEGER PRIMARY KEY, name TEXT)"));
    node.store.set_limits(sets_of(1)).unwrap();
    node.run("INSERT INTO t VALUES(0, 0)");
    node.store.note_log_ends().unwrap();
    let mut wanted = vec![node.count(END)];
    for (seen, id) in [(i64::MAX, 1), (1, 2), (i64::MAX - 1, 3)] {
        let sql = format!("INSERT INTO seen VALUES({seen}, 't'); INSERT INTO t VALUES({id}, 'b')");
        wanted.push(commit(&node, &sql));
    }
    assert_eq!(ends_by_wal(&mut node), wanted);
}

/// The log is over many small pages, with free ones beside it.
fn with_small_pages(observed: i64) -> Node {
    let mut node = Node::new(1, &format!("PRAGMA page_size = 512; {SCHEMA}"));
    node.store.set_limits(sets_of(1)).unwrap();
    // From now on ids count from here, whatever the clock says: those that were rolled back are given again.
    node.run(&format!("UPDATE __harmonylite___clock SET observed = {observed}"));
    commit(&node, &numbers("t", 1, 1000));
    node.publish();
    while node.housekeep().trimmed > 0 {}
    commit(&node, "INSERT INTO t VALUES(-1, 0)");
    node.store.note_log_ends().unwrap();
    node
}

fn numbers(table: &str, from: i64, to: i64) -> String {
    format!(
        "INSERT INTO {table}(id, v) WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to}) \
         SELECT i, i FROM n"
    )
}

/// Its log rows stand in pages that were free, which a commit writes all the same, although nothing leads to them.
#[test]
fn rows_of_a_statement_that_failed_make_no_end() {
    let mut node = with_small_pages(1 << 40);
    let before = node.count(END);
    node.run("BEGIN; INSERT INTO t VALUES(-2, 0)");
    let failing = numbers("t", 2001, 3000) + " UNION ALL SELECT -2, 0";
    node.application.execute_batch(&failing).unwrap_err();
    node.run("COMMIT");
    let first = node.count(END);
    let second = commit(&node, &numbers("t", 4001, 6000));
    let third = commit(&node, "INSERT INTO t VALUES(-3, 0)");
    let found = ends_by_wal(&mut node);
    assert_eq!((first - before, second - before, third - before), (1, 2001, 2002));
    // Which of them are places to cut depends on the number of keys.
    assert!(found.iter().all(|end| [before, first, second, third].contains(end)), "{found:?} {before}");
    assert!(found.contains(&second));
}

/// A page in the middle of the log is written then, whose last row is in the middle of a transaction.
#[test]
fn what_is_trimmed_before_a_look_ends_no_set() {
    let mut node = with_small_pages(1 << 40);
    commit(&node, &numbers("t", 2001, 2300));
    node.publish();
    let many = commit(&node, &numbers("t", 3001, 4000));
    while node.housekeep().trimmed > 0 {}
    assert_eq!(ends_by_wal(&mut node), [many]);
}

#[test]
fn beside_a_rollback_journal_sets_end_where_somebody_looked() {
    let node = Node::new(1, SCHEMA);
    let id = node.id;
    let (_, _, directory) = node.close();
    let application = rusqlite::Connection::open(directory.path().join("app.db")).unwrap();
    application.execute_batch("PRAGMA journal_mode = DELETE").unwrap();
    drop(application);
    let mut node = Node::open(id, directory);
    node.store.set_limits(sets_of(1)).unwrap();
    commit(&node, "INSERT INTO t VALUES(1, 'a')");
    let second = commit(&node, "INSERT INTO t VALUES(2, 'b')");
    watch(&node).note_unless(Duration::ZERO).unwrap();
    let third = write(&mut node, "INSERT INTO t VALUES(3, 'c')");
    assert_eq!(ends(&mut node), [second, third]);
}

/// A statement of an application over few rows.
fn statement() -> impl Strategy<Value = String> {
    let (id, value) = (1..9_i64, 0..100_i64);
    (0..11_u8, id, 1..9_i64, value).prop_map(|(kind, id, other, value)| match kind {
        8 => numbers("t", 100 * id, 100 * id + value),
        // Fails when it is nearly done.
        9 => {
            numbers("t", 1000 + 100 * id, 1000 + 100 * id + value)
                + " UNION ALL SELECT 1, 1 UNION ALL SELECT 1, 1"
        }
        10 => {
            format!("SAVEPOINT s; {}; ROLLBACK TO s", numbers("t", 1000 + 100 * id, 1000 + 100 * id + value))
        }
        0 | 1 => format!("INSERT INTO t VALUES({id}, {value}) ON CONFLICT DO UPDATE SET v = excluded.v"),
        2 => format!("UPDATE t SET v = {value} WHERE id IN ({id}, {other})"),
        3 => format!("DELETE FROM t WHERE id = {id}"),
        4 => format!("UPDATE OR REPLACE t SET id = {other} WHERE id = {id}"),
        5 => format!("INSERT OR REPLACE INTO u VALUES('{id}', {other}, {value})"),
        6 => format!("UPDATE u SET v = {value}"),
        _ => format!("DELETE FROM u WHERE code = {other}"),
    })
}

/// What happens behind a transaction.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    /// Somebody looks.
    Look,
    /// The write-ahead log starts over with the next one.
    StartOver,
    /// All of it is read, sent and applied.
    Publish,
    /// What is published is trimmed.
    Trim,
}

fn then() -> impl Strategy<Value = Then> {
    prop::sample::select(vec![
        Then::Nothing,
        Then::Nothing,
        Then::Look,
        Then::StartOver,
        Then::Publish,
        Then::Trim,
    ])
}

fn transactions() -> impl Strategy<Value = Vec<(Vec<String>, Then)>> {
    prop::collection::vec((prop::collection::vec(statement(), 1..4), then()), 1..14)
}

fn contents(node: &Node) -> [Vec<String>; 2] {
    ["SELECT * FROM t ORDER BY id", "SELECT * FROM u ORDER BY id"].map(|sql| node.query(sql))
}

/// What a replica gets, and what its origin showed.
struct Delivery {
    replica: Node,
    /// After each transaction.
    shown: BTreeMap<LogPosition, [Vec<String>; 2]>,
    /// From then on a transaction is in parts: of its rows those that changed again come later.
    closed_early: bool,
}

impl Delivery {
    fn deliver(&mut self, origin: &mut Node) -> Result<(), TestCaseError> {
        loop {
            origin.store.note_log_ends().unwrap();
            let read = origin.read_log();
            self.closed_early |= read.closed_early;
            for group in exchange::acknowledge(1, &origin.store, &mut origin.published, &read).unwrap() {
                let through = group.through;
                self.replica.apply(&[group]);
                if !self.closed_early {
                    prop_assert_eq!(
                        Some(&contents(&self.replica)),
                        self.shown.get(&through),
                        "at {}",
                        through
                    );
                }
            }
            if read.remaining_rows == 0 {
                return Ok(());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// After each set a replica shows what a snapshot of its origin showed at that place.
    #[test]
    fn a_replica_shows_only_what_its_origin_showed(
        transactions in transactions(),
        set_rows in 1_usize..4,
        group_rows in prop::sample::select(vec![3_usize, 6, 12, 1000, 1000]),
        counting in any::<bool>(),
    ) {
        let mut origin = Node::new(1, &format!("PRAGMA page_size = 512; {SCHEMA}"));
        origin.store.set_limits(Limits { group_rows, ..sets_of(set_rows) }).unwrap();
        if counting {
            origin.run(&format!("UPDATE __harmonylite___clock SET observed = {}", 1_i64 << 40));
        }
        let mut delivery = Delivery { replica: Node::new(2, SCHEMA), shown: BTreeMap::new(), closed_early: false };
        origin.store.note_log_ends().unwrap();
        for (statements, then) in transactions {
            origin.run("BEGIN");
            for statement in statements {
                // One that fails is undone, and the transaction goes on.
                let _failed = origin.application.execute_batch(&statement);
            }
            origin.run("COMMIT");
            delivery.shown.insert(LogPosition::new(origin.count(END)).unwrap(), contents(&origin));
            match then {
                Then::Nothing => {}
                Then::Look => origin.store.note_log_ends().unwrap(),
                Then::StartOver => origin.run("PRAGMA wal_checkpoint(RESTART)"),
                Then::Publish => delivery.deliver(&mut origin)?,
                Then::Trim => drop(origin.housekeep()),
            }
        }
        delivery.deliver(&mut origin)?;
        let replica = delivery.replica;
        prop_assert_eq!(contents(&replica), contents(&origin));
    }
}
