//! Reading the log: what is published, with which version, how it is cut, when it is trimmed.

use harmonylite_core::model::RowContent;
use harmonylite_sqlite::Limits;
use harmonylite_testkit::exchange;

use crate::support::{Cluster, Node, rows_of};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
const UNIQUE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v)";

#[test]
fn a_read_takes_whole_transactions_and_coalesces_keys() {
    let mut node = Node::new(1, SCHEMA);
    node.run("INSERT INTO t VALUES(1, 'a'), (2, 'b'); UPDATE t SET v = 'c' WHERE id = 1; DELETE FROM t WHERE id = 2");
    node.run("BEGIN; INSERT INTO t VALUES(3, 'not committed')");
    let read = node.read_log();
    assert_eq!((read.log_rows(), read.remaining_rows), (4, 0));
    node.run("ROLLBACK");
    let rows = node.publish();
    let deletes = rows.iter().filter(|(_, row)| matches!(row.content, RowContent::Delete(_))).count();
    assert_eq!((rows.len(), deletes), (2, 1));
}

#[test]
fn a_quiet_log_gives_nothing_and_reading_writes_nothing() {
    let mut node = Node::new(1, SCHEMA);
    node.run("INSERT INTO t VALUES(1, 'a')");
    let before = node.count("PRAGMA data_version");
    assert_eq!(node.publish().len(), 1);
    assert!(node.publish().is_empty());
    assert_eq!(node.count("PRAGMA data_version"), before);
}

#[test]
fn a_maybe_alone_is_never_published_as_a_touch() {
    let mut cluster = Cluster::new(2, UNIQUE);
    cluster.run(1, "INSERT INTO t VALUES(1, 'a', 'x')");
    cluster.settle();
    cluster.run(1, "INSERT OR IGNORE INTO t VALUES(2, 'a', 'ignored')");
    assert!(cluster.nodes[0].count("SELECT count(*) FROM __harmonylite___change_log_global") > 0);
    assert!(cluster.publish(1).is_empty());
    cluster.nodes[0].housekeep();
    assert!(cluster.publish(1).is_empty());
    // Nor does it lend its clock: a remote write made before it still wins.
    cluster.run(2, "UPDATE t SET v = 'remote'");
    cluster.run(1, "INSERT OR IGNORE INTO t VALUES(2, 'a', 'ignored')");
    cluster.converge();
    assert_eq!(cluster.nodes[0].query("SELECT v FROM t"), ["'remote'"]);
}

#[test]
fn a_maybe_is_a_delete_when_the_row_is_gone() {
    let mut node = Node::new(1, UNIQUE);
    node.run("INSERT INTO t VALUES(1, 'a', 'x')");
    node.publish();
    node.run("REPLACE INTO t VALUES(2, 'a', 'y')");
    let rows = node.publish();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().any(|(_, row)| matches!(row.content, RowContent::Delete(_))));
}

#[test]
fn an_image_never_travels_under_a_version_that_is_not_its_own() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.run(1, "INSERT INTO t VALUES(1, 'mine')");
    cluster.run(2, "INSERT INTO t VALUES(1, 'x'); UPDATE t SET v = 'theirs'");
    cluster.publish(2);
    // Not yet published, stamped by the apply, and overwritten there.
    cluster.deliver(2, 1, 1);
    assert_eq!(cluster.nodes[0].query("SELECT v FROM t"), ["'theirs'"]);
    assert!(cluster.publish(1).is_empty());
}

#[test]
fn a_stamped_row_is_published_with_its_stored_version() {
    let mut node = Node::new(1, SCHEMA);
    node.run("INSERT INTO t VALUES(1, 'a'); DELETE FROM t; INSERT INTO t VALUES(2, 'b')");
    let fresh = node.read_log();
    node.housekeep();
    let stamped = node.read_log();
    assert_eq!(fresh, stamped);
}

#[test]
fn the_cut_leaves_a_key_with_later_entries_to_the_next_group() {
    let mut cluster = Cluster::new(2, SCHEMA);
    for node in &mut cluster.nodes {
        node.store.set_limits(Limits { group_rows: 3, ..Limits::default() }).unwrap();
    }
    cluster.run(
        1,
        "INSERT INTO t VALUES(1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'); UPDATE t SET v = 'A' WHERE id = 1",
    );
    let read = cluster.nodes[0].read_log();
    assert_eq!((read.log_rows(), read.remaining_rows), (3, 2));
    cluster.publish(1);
    let groups: Vec<_> = cluster.nodes[0].chain.iter().map(|group| rows_of(group).len()).collect();
    assert_eq!(groups, [2, 2]);
    cluster.converge();
    assert_eq!(cluster.nodes[1].count("SELECT count(*) FROM t"), 4);
}

#[test]
fn a_maybe_beyond_the_cut_does_not_take_its_row_along() {
    let mut cluster = Cluster::new(2, UNIQUE);
    cluster.nodes[0].store.set_limits(Limits { group_rows: 2, ..Limits::default() }).unwrap();
    cluster.run(
        1,
        "INSERT INTO t VALUES(1, 'a', 'x'), (2, 'b', 'y'); INSERT OR IGNORE INTO t VALUES(3, 'a', 'z')",
    );
    cluster.converge();
    assert_eq!(cluster.nodes[1].count("SELECT count(*) FROM t"), 2);
}

#[test]
fn bytes_close_a_group_too() {
    let mut node = Node::new(1, SCHEMA);
    node.store.set_limits(Limits { group_bytes: 5_000, body_size: 1_500, ..Limits::default() }).unwrap();
    node.run("INSERT INTO t VALUES(1, zeroblob(2000)), (2, zeroblob(2000)), (3, zeroblob(2000)), (4, zeroblob(9000))");
    let rows = node.publish();
    assert_eq!(rows.len(), 4);
    assert!(node.chain.len() > 1);
    assert!(node.chain.windows(2).all(|pair| pair[0].through == pair[1].prev));
}

#[test]
fn rows_are_divided_among_shards_and_each_has_its_chain() {
    let mut cluster = Cluster::with(2, SCHEMA, |options| options.shards = 4);
    cluster.run(1, "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100) SELECT i, i FROM n");
    cluster.publish(1);
    assert_eq!(cluster.nodes[0].chain.len(), 4);
    cluster.run(1, "UPDATE t SET v = 'x' WHERE id = 1");
    cluster.publish(1);
    assert_eq!(cluster.nodes[0].chain.len(), 5);
    cluster.converge();
    assert_eq!(cluster.nodes[1].count("SELECT count(*) FROM t"), 100);
}

#[test]
fn the_log_is_trimmed_only_when_published_everywhere_and_stamped() {
    let mut node = Node::new(1, SCHEMA);
    node.run("INSERT INTO t VALUES(1, 'a'), (2, 'b')");
    let done = node.housekeep();
    assert_eq!((done.stamped, done.trimmed), (2, 0));
    node.publish();
    node.run("INSERT INTO t VALUES(3, 'c')");
    let done = node.housekeep();
    assert_eq!((done.stamped, done.trimmed, done.remaining_rows), (1, 2, 0));
    assert_eq!(node.query("SELECT val_id FROM __harmonylite__t_change_log"), ["3"]);
    node.publish();
    node.housekeep();
    let observed = node.count("SELECT observed FROM __harmonylite___clock");
    assert_eq!(observed, node.published.settled.get());
    // The clock goes on above what was trimmed.
    node.run("UPDATE t SET v = 'x'");
    assert!(node.count("SELECT min(id) FROM __harmonylite___change_log_global") > observed);
}

#[test]
fn housekeeping_with_nothing_to_do_commits_nothing() {
    let mut node = Node::new(1, SCHEMA);
    node.run("INSERT INTO t VALUES(1, 'a')");
    node.publish();
    node.housekeep();
    let before = node.count("PRAGMA data_version");
    assert_eq!(node.housekeep(), harmonylite_core::input::Housekept::default());
    assert_eq!(node.count("PRAGMA data_version"), before);
}

#[test]
fn housekeeping_goes_step_by_step() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.nodes[0].store.set_limits(Limits { housekeeping_rows: 2, ..Limits::default() }).unwrap();
    cluster.run(1, "INSERT INTO t VALUES(1, 'a'), (2, 'b'); UPDATE t SET v = 'c' WHERE id = 1");
    assert_eq!(cluster.nodes[0].housekeep().stamped, 2);
    // The first entry of row 1 is stamped, its image is already that of the second one.
    let rows = cluster.publish(1);
    assert_eq!(rows.len(), 2);
    let newest = cluster.nodes[0].published.settled;
    assert!(rows.iter().any(|(_, row)| row.hlc() == newest.hlc()));
    let done = cluster.nodes[0].housekeep();
    assert_eq!((done.stamped, done.trimmed, done.remaining_rows), (1, 2, 1));
    cluster.converge();
}

#[test]
fn an_apply_stamps_a_long_log_before_it_compares() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.nodes[1].store.set_limits(Limits { housekeeping_rows: 2, ..Limits::default() }).unwrap();
    cluster.run(1, "INSERT INTO t VALUES(7, 'older')");
    cluster.publish(1);
    cluster.run(2, "INSERT INTO t VALUES(1, ''), (2, ''), (3, ''), (4, ''), (5, ''), (6, ''), (7, 'newer')");
    cluster.deliver(1, 2, 1);
    assert_eq!(cluster.nodes[1].query("SELECT v FROM t WHERE id = 7"), ["'newer'"]);
}

#[test]
fn rows_of_one_table_stand_together() {
    let mut node =
        Node::new(1, "CREATE TABLE a(id INTEGER PRIMARY KEY); CREATE TABLE b(id INTEGER PRIMARY KEY)");
    node.run(
        "INSERT INTO a VALUES(1); INSERT INTO b VALUES(1); INSERT INTO a VALUES(2); INSERT INTO b VALUES(2)",
    );
    node.publish();
    assert_eq!(exchange::sections(&node.chain[0]).unwrap().len(), 2);
}

#[test]
fn the_state_tells_what_is_remembered() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.run(1, "INSERT INTO t VALUES(1, 'a')");
    assert_eq!(cluster.nodes[0].store.state().unwrap().pending_rows, 1);
    cluster.converge();
    let first = cluster.nodes[0].store.state().unwrap();
    assert_eq!((first.pending_rows, &first.published), (0, &cluster.nodes[0].published));
    let second = cluster.nodes[1].store.state().unwrap();
    let positions: Vec<_> = second.positions.iter().collect();
    assert_eq!(positions.len(), 1);
    assert_eq!((positions[0].0.0, *positions[0].1), (first.origin, cluster.nodes[0].chain[0].through));
    let checkpoint = &second.checkpoints.values().next().unwrap();
    assert_eq!((checkpoint.rows_applied, checkpoint.mark.0), (1, u64::MAX));
}
