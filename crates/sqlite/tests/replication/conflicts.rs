//! The conflict log: what an entry says, when it is marked as restored, how it is bounded, how it is looked at.

use harmonylite_core::model::{Hlc, Origin};
use harmonylite_sqlite::{Conflict, ConflictRetention, StoreErrorKind, conflict, conflicts, dead_letters};

use crate::support::{Cluster, NOW_MS, Node};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
const UNIQUE: &str = "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, u UNIQUE, v)";

/// All entries of a node, oldest first.
fn entries(node: &Node) -> Vec<Conflict> {
    let mut entries = conflicts(node.store.path(), None, 1000).unwrap().entries;
    entries.reverse();
    entries
}

fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn origin(node: &Node) -> Origin {
    node.store.state().unwrap().origin
}

/// `rows` rows that node 1 wrote and node 2 overwrote without having seen them: node 1 logs as many losses.
fn losses(cluster: &mut Cluster, rows: i64) {
    let all = format!("WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})");
    cluster
        .run(1, &format!("{all} INSERT INTO t SELECT i, 'loses' FROM n WHERE true ON CONFLICT DO NOTHING"));
    cluster.run(1, "UPDATE t SET v = 'loses'");
    for _ in 0..3 {
        cluster.run(
            2,
            &format!(
                "{all} INSERT INTO t SELECT i, 'x' FROM n WHERE true ON CONFLICT(id) DO UPDATE SET v = 'wins'"
            ),
        );
    }
    cluster.publish(2);
    cluster.deliver(2, 1, usize::MAX);
}

#[test]
fn an_entry_has_both_versions_both_nodes_and_the_row_that_lost() {
    let mut cluster = Cluster::new(2, SCHEMA);
    losses(&mut cluster, 1);
    let [first, second] = &cluster.nodes[..] else { panic!() };
    let found = entries(first);
    let [entry] = &found[..] else { panic!("{found:?}") };
    assert_eq!((entry.reason.as_str(), entry.table.as_str(), entry.at_ms), ("overwritten", "t", NOW_MS));
    assert_eq!(entry.key, fields(&[("id", "1")]));
    assert_eq!(entry.row, Some(fields(&[("id", "1"), ("v", "'loses'")])));
    assert_eq!((entry.loser.origin, entry.winner.origin), (origin(first), origin(second)));
    assert!(Hlc::ZERO < entry.loser.hlc && entry.loser < entry.winner);
    assert!(!entry.loser.displaced && !entry.winner.displaced && entry.restored_ms.is_none());
    assert_eq!(conflict(first.store.path(), entry.id).unwrap().as_ref(), Some(entry));
    assert_eq!(conflict(first.store.path(), entry.id + 1).unwrap(), None);
}

#[test]
fn a_delete_that_lost_is_an_entry_without_row() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.run(1, "INSERT INTO t VALUES(1, 'x')");
    cluster.settle();
    cluster.run(1, "DELETE FROM t");
    cluster.run(2, "UPDATE t SET v = 'y'; UPDATE t SET v = 'stays'");
    cluster.converge();
    let found = entries(&cluster.nodes[0]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].reason.as_str(), &found[0].row), ("overwritten", &None));
    assert!(entries(&cluster.nodes[1]).is_empty());
}

/// Two nodes wrote a row each with one UNIQUE value; node 1's is displaced, everywhere.
fn displaced() -> Cluster {
    let mut cluster = Cluster::new(2, UNIQUE);
    cluster.run(1, "INSERT INTO t VALUES('Lost', 'same', 1)");
    cluster.run(2, "INSERT INTO t VALUES('kept', 'same', 2)");
    cluster.converge();
    for node in &cluster.nodes {
        assert_eq!(node.query("SELECT k FROM t"), ["'kept'"]);
    }
    cluster
}

/// Reason and mark of the entries of each node that logged the displacement.
fn marks(cluster: &Cluster) -> Vec<(String, Option<u64>)> {
    let all = cluster.nodes.iter().flat_map(entries).filter(|entry| entry.reason == "displaced");
    all.map(|entry| (entry.table, entry.restored_ms)).collect()
}

fn marks_of(node: &Node) -> Vec<Option<u64>> {
    let all = entries(node).into_iter().filter(|entry| entry.reason == "displaced");
    all.map(|entry| entry.restored_ms).collect()
}

#[test]
fn a_displaced_row_that_comes_back_marks_its_entry_on_every_node() {
    let mut cluster = displaced();
    let before = marks(&cluster);
    assert!(!before.is_empty() && before.iter().all(|(_, mark)| mark.is_none()), "{before:?}");
    let entry = entries(&cluster.nodes[0]).into_iter().find(|entry| entry.reason == "displaced").unwrap();
    assert_eq!((entry.key, entry.loser.origin), (fields(&[("k", "'Lost'")]), origin(&cluster.nodes[0])));
    // Another spelling is the same row: node 2 stamps it, node 1 applies it.
    cluster.run(2, "INSERT INTO t VALUES('LOST', 'other', 3)");
    cluster.converge();
    assert_eq!(cluster.nodes[0].query("SELECT k FROM t ORDER BY v"), ["'kept'", "'LOST'"]);
    let after = marks(&cluster);
    assert_eq!(after.len(), before.len());
    assert!(after.iter().all(|(_, mark)| *mark == Some(NOW_MS)), "{after:?}");
}

#[test]
fn an_entry_is_marked_by_what_was_published_and_not_by_what_is_there_when_it_is_stamped() {
    // Back, published, and gone past the triggers: it came back.
    let mut cluster = displaced();
    cluster.run(1, "INSERT INTO t VALUES('lost', 'other', 3)");
    cluster.publish(1);
    cluster.nodes[0].run_unseen("DELETE FROM t WHERE k = 'lost'");
    cluster.nodes[0].housekeep();
    assert_eq!(marks_of(&cluster.nodes[0]), [Some(NOW_MS)]);
    // Back and gone, published, and back past the triggers: it comes back when that is found.
    let mut cluster = displaced();
    cluster.run(1, "INSERT INTO t VALUES('lost', 'other', 3); DELETE FROM t WHERE k = 'lost'");
    cluster.publish(1);
    cluster.nodes[0].run_unseen("INSERT INTO t VALUES('lost', 'other', 4)");
    cluster.nodes[0].housekeep();
    assert_eq!(marks_of(&cluster.nodes[0]), [None]);
    cluster.nodes[0].scan(true);
    cluster.converge();
    assert_eq!(cluster.nodes[1].query("SELECT v FROM t WHERE k = 'lost'"), ["4"]);
    assert!(marks(&cluster).iter().all(|(_, mark)| *mark == Some(NOW_MS)), "{:?}", marks(&cluster));
}

#[test]
fn a_displaced_row_without_further_unique_indexes_is_marked_when_it_is_applied_again() {
    // The table loses its UNIQUE index on both nodes: rows are applied one by one from then on.
    let mut cluster =
        Cluster::new(2, "CREATE TABLE t(k INTEGER PRIMARY KEY, u); CREATE UNIQUE INDEX i ON t(u)");
    cluster.run(1, "INSERT INTO t VALUES(1, 'same')");
    cluster.run(2, "INSERT INTO t VALUES(2, 'same')");
    cluster.converge();
    for id in 1..=2 {
        cluster.run(id, "DROP INDEX i");
        cluster.nodes[id - 1].store.read_schema().unwrap();
    }
    cluster.run(1, "INSERT INTO t VALUES(1, 'same')");
    cluster.converge();
    let all = marks(&cluster);
    assert!(!all.is_empty() && all.iter().all(|(_, mark)| mark.is_some()), "{all:?}");
}

#[test]
fn neither_another_row_nor_a_delete_nor_an_overwritten_entry_is_marked() {
    let mut cluster = displaced();
    cluster.run(1, "INSERT INTO t VALUES('else', 'else', 3); DELETE FROM t WHERE k = 'else'");
    cluster.run(2, "UPDATE t SET v = 4");
    cluster.converge();
    cluster.run(1, "INSERT INTO t VALUES('else', 'again', 5)");
    cluster.run(1, "UPDATE t SET v = 6 WHERE k = 'kept'");
    cluster.run(2, "DELETE FROM t WHERE k = 'kept'");
    cluster.converge();
    cluster.run(2, "INSERT OR REPLACE INTO t VALUES('kept', 'new', 7)");
    cluster.converge();
    let all: Vec<_> = cluster.nodes.iter().flat_map(entries).collect();
    assert!(all.iter().any(|entry| entry.reason == "overwritten"), "{all:?}");
    assert!(all.iter().all(|entry| entry.restored_ms.is_none()), "{all:?}");
}

#[test]
fn the_log_is_bounded_by_count_and_the_newest_entries_stay() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.nodes[0]
        .store
        .set_conflict_retention(ConflictRetention { entries_max: Some(5), age_ms_max: None });
    losses(&mut cluster, 12);
    let kept: Vec<_> = entries(&cluster.nodes[0]).into_iter().map(|entry| entry.key[0].1.clone()).collect();
    assert_eq!(kept, ["8", "9", "10", "11", "12"]);
    assert!(!cluster.nodes[0].housekeep().conflicts_remain);
}

#[test]
fn the_log_is_bounded_by_age() {
    let mut cluster = Cluster::new(2, SCHEMA);
    losses(&mut cluster, 3);
    let first = &mut cluster.nodes[0];
    first.store.set_conflict_retention(ConflictRetention { entries_max: None, age_ms_max: Some(5_000) });
    first.housekeep_at(NOW_MS + 5_000);
    assert_eq!(entries(first).len(), 3, "as old as allowed");
    first.housekeep_at(NOW_MS + 5_001);
    assert!(entries(first).is_empty());
}

#[test]
fn trimming_is_done_in_steps_and_says_when_there_is_more() {
    let mut cluster = Cluster::new(2, SCHEMA);
    losses(&mut cluster, 1500);
    let first = &mut cluster.nodes[0];
    first.housekeep();
    first.store.set_conflict_retention(ConflictRetention { entries_max: Some(100), age_ms_max: None });
    assert!(first.housekeep().conflicts_remain);
    assert_eq!(conflicts(first.store.path(), None, 1).unwrap().total, 500);
    assert!(!first.housekeep().conflicts_remain);
    assert_eq!(conflicts(first.store.path(), None, 1).unwrap().total, 100);
    let commits = first.count("PRAGMA data_version");
    assert!(!first.housekeep().conflicts_remain);
    assert_eq!(first.count("PRAGMA data_version"), commits, "nothing to do is no commit");
}

#[test]
fn large_rows_are_trimmed_fewer_at_a_time() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.run(1, "INSERT INTO t SELECT value, zeroblob(1000000) FROM json_each('[1, 2, 3, 4, 5, 6]')");
    losses_of_what_is_there(&mut cluster);
    let first = &mut cluster.nodes[0];
    assert_eq!(conflicts(first.store.path(), None, 1).unwrap().total, 6);
    first.store.set_conflict_retention(ConflictRetention { entries_max: Some(0), age_ms_max: None });
    // A row in the log is two hex digits for each byte: three of them are above 4 MiB.
    assert!(first.housekeep().conflicts_remain);
    assert_eq!(conflicts(first.store.path(), None, 1).unwrap().total, 3);
}

fn losses_of_what_is_there(cluster: &mut Cluster) {
    for _ in 0..8 {
        cluster.run(
            2,
            "INSERT INTO t SELECT value, 'wins' FROM json_each('[1, 2, 3, 4, 5, 6]') WHERE true \
                        ON CONFLICT(id) DO UPDATE SET v = 'wins'",
        );
    }
    cluster.publish(2);
    cluster.deliver(2, 1, usize::MAX);
}

#[test]
fn the_log_is_looked_at_while_the_application_and_the_node_write() {
    let mut cluster = Cluster::new(2, SCHEMA);
    losses(&mut cluster, 3);
    cluster
        .run(1, "CREATE TABLE other(id INTEGER PRIMARY KEY); BEGIN IMMEDIATE; INSERT INTO other VALUES(1)");
    let first = &cluster.nodes[0];
    let found = conflicts(first.store.path(), Some("t"), 2).unwrap();
    let keys: Vec<_> = found.entries.iter().map(|entry| entry.key[0].1.as_str()).collect();
    assert_eq!((found.total, keys), (3, vec!["3", "2"]));
    assert_eq!(conflicts(first.store.path(), Some("other"), 2).unwrap().total, 0);
}

#[test]
fn a_database_that_no_node_ran_on_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(SCHEMA).unwrap();
    assert_eq!(conflicts(&path, None, 1).unwrap_err().kind, StoreErrorKind::NeverStarted);
    assert_eq!(dead_letters(&path).unwrap_err().kind, StoreErrorKind::NeverStarted);
}
