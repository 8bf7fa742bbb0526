//! Writes that no trigger saw: they are found, and they are the only ones that are.

use harmonylite_core::input::Found;

use crate::convergence::{Dice, SCHEMA, statement};
use crate::support::{Cluster, Node};

const TABLE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
const DROP_TRIGGERS: &str = "DROP TRIGGER __harmonylite__t_change_log_on_insert; \
                             DROP TRIGGER __harmonylite__t_change_log_on_update; \
                             DROP TRIGGER __harmonylite__t_change_log_on_delete; \
                             DROP TRIGGER __harmonylite__t_change_log_on_rekey;";

fn found(new: u64, changed: u64, deleted: u64) -> Found {
    Found { new, changed, deleted }
}

#[test]
fn what_was_written_while_triggers_were_missing_reaches_the_others() {
    let cases = [
        (TABLE, "(1, 1), (2, 2), (3, 3)", "id = 1", "id = 2", "(4, 4)"),
        (
            "CREATE TABLE t(k TEXT PRIMARY KEY COLLATE NOCASE, v)",
            "('a', 1), ('B', 2), ('c', 3)",
            "k = 'A'",
            "k = 'b'",
            "('Z', 4)",
        ),
        (
            "CREATE TABLE t(a, b TEXT NOT NULL COLLATE NOCASE, v, PRIMARY KEY(b, a DESC)) WITHOUT ROWID",
            "(1, 'x', 1), (1.5, 'X', 2), (x'01', 'y', 3)",
            "a = 1",
            "b = 'y'",
            "('text', 'x', 4)",
        ),
        (
            "CREATE TABLE t(n, m REAL, v BLOB, PRIMARY KEY(n, m))",
            "(1, 1, 1), ('1', 2, 3)",
            "n = 1",
            "n = '1'",
            "(x'', 3, NULL), (NULL, 3, 4), (9, NULL, 0)",
        ),
    ];
    for (schema, rows, change, delete, insert) in cases {
        let mut cluster = Cluster::new(2, schema);
        cluster.run(1, &format!("INSERT INTO t VALUES{rows}"));
        cluster.converge();
        let node = &mut cluster.nodes[0];
        node.run(DROP_TRIGGERS);
        node.run(&format!(
            "UPDATE t SET v = 'changed' WHERE {change}; DELETE FROM t WHERE {delete}; INSERT INTO t VALUES{insert}"
        ));
        assert_eq!(node.store.read_schema().unwrap().uncaptured, ["t"]);
        assert_eq!(node.scan(false).0, found(1, 1, 1), "{schema}");
        assert_eq!(node.scan(false), (Found::NONE, 1), "the mark is gone: {schema}");
        assert_eq!(node.scan(true).0, Found::NONE, "found once: {schema}");
        cluster.settle();
        // Rows with NULL in the key stay where they are.
        if schema.contains("n, m") {
            cluster.run(1, "DELETE FROM t WHERE n IS NULL OR m IS NULL");
        }
        cluster.converge();
        assert_eq!(cluster.nodes[1].count("SELECT count(*) FROM t WHERE v = 'changed'"), 1, "{schema}");
    }
}

#[test]
fn rows_from_before_the_first_start_are_not_sent_and_yet_watched() {
    let schema = format!("{TABLE}; INSERT INTO t VALUES(1, 'one'), (2, 'two'), (3, 'three')");
    let mut cluster = Cluster::new(2, &schema);
    for node in &mut cluster.nodes {
        assert_eq!(node.scan(false).0, Found::NONE, "they are on every node");
        assert_eq!(node.count("SELECT count(*) FROM __harmonylite___change_log_global"), 0);
        assert_eq!(node.count("SELECT count(*) FROM __harmonylite__t_row_version WHERE hlc = 0"), 3);
    }
    cluster.nodes[0].run_unseen("UPDATE t SET v = 'new' WHERE id = 1; DELETE FROM t WHERE id = 2");
    cluster.nodes[0].run_unseen("INSERT INTO t VALUES(4, 'four')");
    assert_eq!(cluster.nodes[0].scan(true).0, found(1, 1, 1));
    let sent = cluster.publish(1);
    assert_eq!(sent.len(), 3, "{sent:?}");
    cluster.converge();
    assert_eq!(cluster.nodes[1].query("SELECT * FROM t"), ["1|'new'", "3|'three'", "4|'four'"]);
}

#[test]
fn before_the_first_pass_a_row_without_version_is_taken_for_an_old_one() {
    let mut node = Node::new(1, &format!("{TABLE}; INSERT INTO t VALUES(1, 1)"));
    node.run_unseen("INSERT INTO t VALUES(2, 2)");
    assert_eq!(node.scan(false).0, Found::NONE);
    node.run_unseen("INSERT INTO t VALUES(3, 3)");
    assert_eq!(node.scan(true).0, found(1, 0, 0));
    // A table without rows has nothing to be taken for.
    let mut node = Node::new(1, TABLE);
    node.run_unseen("INSERT INTO t VALUES(2, 2)");
    assert_eq!(node.scan(true).0, found(1, 0, 0));
}

#[test]
fn a_row_from_before_still_loses_to_any_version_without_a_conflict() {
    let schema = format!("{TABLE}; INSERT INTO t VALUES(1, 'old')");
    let mut cluster = Cluster::new(2, &schema);
    cluster.nodes[1].scan(false);
    cluster.run(1, "UPDATE t SET v = 'first' WHERE id = 1");
    cluster.converge();
    assert_eq!(cluster.nodes[1].query("SELECT v FROM t"), ["'first'"]);
    assert!(cluster.nodes[1].conflicts().is_empty());
}

#[test]
fn an_incremental_blob_write_is_found_even_right_after_its_row_was_published() {
    for stamped in [false, true] {
        let mut cluster = Cluster::new(2, TABLE);
        cluster.run(1, "INSERT INTO t VALUES(1, zeroblob(4))");
        cluster.publish(1);
        if stamped {
            cluster.nodes[0].housekeep();
        }
        let mut blob = cluster.nodes[0].application.blob_open("main", "t", "v", 1, false).unwrap();
        blob.write_at(b"abcd", 0).unwrap();
        blob.close().unwrap();
        assert_eq!(cluster.nodes[0].scan(true).0, found(0, 1, 0), "stamped: {stamped}");
        cluster.converge();
        assert_eq!(cluster.nodes[1].query("SELECT v FROM t"), ["x:abcd"]);
    }
}

#[test]
fn a_row_that_goes_or_comes_between_publish_and_stamp_is_found() {
    let mut cluster = Cluster::new(2, TABLE);
    cluster.run(1, "INSERT INTO t VALUES(1, 1), (2, 2); DELETE FROM t WHERE id = 2");
    cluster.publish(1);
    cluster.nodes[0].run_unseen("DELETE FROM t WHERE id = 1; INSERT INTO t VALUES(2, 'again')");
    assert_eq!(cluster.nodes[0].scan(true).0, found(1, 0, 1));
    cluster.converge();
    assert_eq!(cluster.nodes[1].query("SELECT * FROM t"), ["2|'again'"]);
}

#[test]
fn a_row_that_replace_spared_or_removed_stays_as_it_was_published() {
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE)";
    // A `maybe` that was read while the row was there is no delete, whatever becomes of the row before the stamp.
    for stamped in [false, true] {
        let mut cluster = Cluster::new(2, schema);
        cluster.run(1, "INSERT INTO t VALUES(1, 'a')");
        if stamped {
            cluster.settle();
        }
        cluster.run(1, "INSERT OR IGNORE INTO t VALUES(2, 'a')");
        cluster.publish(1);
        cluster.nodes[0].run_unseen("DELETE FROM t WHERE id = 1");
        assert_eq!(cluster.nodes[0].scan(true).0, found(0, 0, 1), "stamped: {stamped}");
        cluster.converge();
        assert_eq!(cluster.nodes[1].count("SELECT count(*) FROM t"), 0, "stamped: {stamped}");
    }
    // One that was read while the row was gone is a delete.
    for stamped in [false, true] {
        let mut cluster = Cluster::new(2, schema);
        cluster.run(1, "INSERT INTO t VALUES(1, 'a')");
        if stamped {
            cluster.settle();
        }
        cluster.run(1, "INSERT OR REPLACE INTO t VALUES(2, 'a')");
        cluster.publish(1);
        cluster.nodes[0].run_unseen("DELETE FROM t WHERE id = 2; INSERT INTO t VALUES(1, 'a')");
        assert_eq!(cluster.nodes[0].scan(true).0, found(1, 0, 1), "stamped: {stamped}");
        cluster.converge();
        assert_eq!(cluster.nodes[1].query("SELECT * FROM t"), ["1|'a'"], "stamped: {stamped}");
    }
}

#[test]
fn a_row_removed_by_replace_over_a_partial_index_is_found() {
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, u, live); CREATE UNIQUE INDEX p ON t(u) WHERE live;
                  CREATE UNIQUE INDEX e ON t(u || live)";
    let mut cluster = Cluster::new(2, schema);
    cluster.run(1, "INSERT INTO t VALUES(1, 'a', 1), (2, 'b', 1), (3, 'c', 0)");
    cluster.converge();
    // The first goes over the partial index, the third over the one on an expression.
    cluster.run(1, "INSERT OR REPLACE INTO t VALUES(4, 'a', 1)");
    cluster.run(1, "UPDATE OR REPLACE t SET u = 'c', live = 0 WHERE id = 2");
    assert_eq!(cluster.nodes[0].scan(true).0, found(0, 0, 2));
    cluster.converge();
    assert_eq!(cluster.nodes[1].query("SELECT id FROM t ORDER BY id"), ["2", "4"]);
}

#[test]
fn changes_that_wait_for_their_stamp_are_no_finding() {
    let mut cluster = Cluster::new(2, TABLE);
    cluster.run(1, "INSERT INTO t VALUES(1, 1), (2, 2), (3, 3)");
    assert_eq!(cluster.nodes[0].scan(true).0, Found::NONE);
    let first = cluster.nodes[0].scan_step(true);
    assert!(first.more, "in the middle of a pass");
    cluster.run(1, "UPDATE t SET v = 'later'; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES(4, 4)");
    assert_eq!(cluster.nodes[0].scan(true).0, Found::NONE);
    assert_eq!(cluster.publish(1).len(), 4);
    cluster.converge();
}

#[test]
fn tombstones_of_displaced_rows_are_no_finding() {
    let mut cluster = Cluster::new(2, "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE)");
    cluster.run(1, "INSERT INTO t VALUES(1, 'same')");
    cluster.run(2, "INSERT INTO t VALUES(2, 'same')");
    cluster.converge();
    for node in &mut cluster.nodes {
        assert_eq!(node.count("SELECT count(*) FROM __harmonylite__t_row_version WHERE flags & 1"), 1);
        assert_eq!(node.scan(true).0, Found::NONE);
    }
}

#[test]
fn a_displaced_row_whose_entry_is_not_published_yet_is_no_finding_until_somebody_writes_it() {
    let mut cluster = Cluster::new(2, "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE)");
    cluster.run(1, "INSERT INTO t VALUES(1, 'same')");
    cluster.run(2, "INSERT INTO t VALUES(2, 'same')");
    cluster.publish(2);
    assert_eq!(cluster.deliver(2, 1, 1).displaced, 1);
    let first = &mut cluster.nodes[0];
    assert_eq!(first.scan(true).0, Found::NONE);
    first.run_unseen("INSERT INTO t VALUES(1, 'other')");
    assert_eq!(first.scan(true).0, found(1, 0, 0));
    cluster.converge();
    assert_eq!(cluster.nodes[1].query("SELECT * FROM t"), ["1|'other'", "2|'same'"]);
}

#[test]
fn a_row_from_before_is_displaced_alike_whether_it_is_watched_yet_or_not() {
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE)";
    let with_row = format!("{schema}; INSERT INTO t VALUES(1, 'same')");
    let nodes = vec![Node::new(1, &with_row), Node::new(2, schema), Node::new(3, &with_row)];
    let mut cluster = Cluster { nodes };
    assert_eq!(cluster.nodes[0].scan(false).0, Found::NONE);
    cluster.run(2, "INSERT INTO t VALUES(4, 'same')");
    cluster.converge();
    for node in &mut cluster.nodes {
        assert_eq!(node.query("SELECT * FROM t"), ["4|'same'"]);
        let tombstone = "SELECT count(*) FROM __harmonylite__t_row_version WHERE hlc = 0 AND flags = 3";
        assert_eq!(node.scan(true).0, Found::NONE);
        assert_eq!(node.count(tombstone), 1);
    }
}

#[test]
fn nothing_is_scanned_while_nothing_is_published() {
    let mut node = Node::with(1, TABLE, |options| options.publish = false);
    node.run(DROP_TRIGGERS);
    node.run("INSERT INTO t VALUES(1, 1)");
    assert_eq!(node.store.read_schema().unwrap().uncaptured, ["t"]);
    assert_eq!(node.scan(false), (Found::NONE, 1));
    let (_, _, directory) = node.close();
    let mut node = Node::open(1, directory);
    assert_eq!(node.scan(false).0, found(1, 0, 0), "the mark has stayed");
}

#[test]
fn a_write_that_was_found_is_after_everything_seen() {
    let mut cluster = Cluster::new(2, TABLE);
    cluster.run(2, "INSERT INTO t VALUES(1, 'theirs'), (2, 'theirs')");
    cluster.converge();
    cluster.nodes[0].run_unseen("UPDATE t SET v = 'ours' WHERE id = 1");
    assert_eq!(cluster.nodes[0].scan(true).0, found(0, 1, 0), "a row that nobody touched is not sent");
    cluster.converge();
    assert_eq!(cluster.nodes[1].query("SELECT v FROM t"), ["'ours'", "'theirs'"]);
    assert!(cluster.nodes.iter().all(|node| node.conflicts().is_empty()));
}

#[test]
fn a_write_that_was_found_keeps_what_it_beats() {
    let mut cluster = Cluster::new(2, TABLE);
    cluster.run(1, "INSERT INTO t VALUES(1, 'first')");
    cluster.converge();
    cluster.run(2, "UPDATE t SET v = 'theirs'");
    cluster.publish(2);
    // The clock of node 1 is ahead of that of node 2.
    cluster.run(1, "INSERT INTO t VALUES(8, 8), (9, 9)");
    cluster.nodes[0].run_unseen("UPDATE t SET v = 'ours' WHERE id = 1");
    assert_eq!(cluster.nodes[0].scan(true).0, found(0, 1, 0));
    cluster.converge();
    assert_eq!(cluster.nodes[1].query("SELECT v FROM t WHERE id = 1"), ["'ours'"]);
    let lost: Vec<_> = cluster.nodes.iter().flat_map(Node::conflicts).collect();
    assert!(lost.len() == 1 && lost[0].contains("theirs"), "{lost:?}");
}

#[test]
fn other_columns_are_no_other_content() {
    let mut cluster = Cluster::new(2, TABLE);
    cluster.run(1, "INSERT INTO t VALUES(1, 1), (2, 2)");
    cluster.converge();
    for node in &mut cluster.nodes {
        node.run("ALTER TABLE t ADD COLUMN w DEFAULT 'filled'");
        node.store.read_schema().unwrap();
    }
    let node = &mut cluster.nodes[0];
    assert_eq!(node.scan(true).0, Found::NONE);
    node.run_unseen("UPDATE t SET w = 'changed' WHERE id = 2");
    assert_eq!(node.scan(true).0, found(0, 1, 0), "the content is remembered anew");
    cluster.settle();
    assert_eq!(cluster.nodes[1].scan(true).0, Found::NONE);
    cluster.converge();
    assert_eq!(cluster.nodes[1].query("SELECT w FROM t"), ["'filled'", "'changed'"]);
}

#[test]
fn a_migration_that_rebuilds_the_table_and_goes_on_writing_loses_nothing() {
    let mut cluster = Cluster::new(2, TABLE);
    cluster.run(1, "INSERT INTO t VALUES(1, 1), (2, 2), (3, 3)");
    cluster.converge();
    let node = &mut cluster.nodes[0];
    node.run(
        "BEGIN; CREATE TABLE n(id INTEGER PRIMARY KEY, v); INSERT INTO n SELECT * FROM t; DROP TABLE t;
         ALTER TABLE n RENAME TO t; UPDATE t SET v = 'changed' WHERE id = 1; DELETE FROM t WHERE id = 2;
         INSERT INTO t VALUES(4, 4); COMMIT",
    );
    assert_eq!(node.store.read_schema().unwrap().uncaptured, ["t"]);
    node.run("UPDATE t SET v = 'captured' WHERE id = 3");
    assert_eq!(node.scan(false).0, found(1, 1, 1));
    cluster.converge();
    assert_eq!(cluster.nodes[1].query("SELECT * FROM t"), ["1|'changed'", "3|'captured'", "4|4"]);
}

#[test]
fn a_renamed_table_takes_its_mark_along() {
    let mut node = Node::new(1, &format!("{TABLE}; INSERT INTO t VALUES(1, 1)"));
    node.scan(false);
    node.run("ALTER TABLE t RENAME TO \"u u\"");
    node.store.read_schema().unwrap();
    node.run_unseen("INSERT INTO \"u u\" VALUES(2, 2)");
    assert_eq!(node.scan(true).0, found(1, 0, 0), "rows without version are still known to be new");
}

#[test]
fn rows_whose_versions_were_dropped_are_taken_for_old_ones() {
    let mut node = Node::new(1, TABLE);
    node.run("INSERT INTO t VALUES(1, 1), (2, 2)");
    node.publish();
    node.housekeep();
    node.run("DROP TABLE __harmonylite__t_row_version");
    node.store.read_schema().unwrap();
    assert_eq!(node.scan(false).0, Found::NONE);
    assert!(node.publish().is_empty(), "what others may have changed since is not sent as new");
    node.run_unseen("UPDATE t SET v = 3 WHERE id = 1");
    assert_eq!(node.scan(true).0, found(0, 1, 0));
}

/// Captured and unseen writes, publishing, applying, stamping and steps of scans in any order.
fn run(seed: u64) {
    let mut dice = Dice(seed);
    let mut cluster = Cluster::new(2, SCHEMA);
    for node in &mut cluster.nodes {
        let limits = harmonylite_sqlite::Limits { scan_rows: 3, ..Default::default() };
        node.store.set_limits(limits).unwrap();
    }
    for _ in 0..150 {
        let (node, other) = if dice.below(2) == 0 { (1, 2) } else { (2, 1) };
        match dice.below(12) {
            0..=2 => cluster.run(node, &statement(&mut dice)),
            3 | 4 => cluster.nodes[node - 1].run_unseen(&statement(&mut dice)),
            5 | 6 => drop(cluster.publish(node)),
            7 => drop(cluster.nodes[node - 1].housekeep()),
            8 | 9 => drop(cluster.nodes[node - 1].scan_step(true)),
            _ => drop(cluster.deliver(other, node, 2)),
        }
    }
    for node in &mut cluster.nodes {
        node.scan(true);
    }
    // What was under way in the middle of a pass is found by the next one.
    for node in &mut cluster.nodes {
        node.scan(true);
    }
    cluster.converge();
    for node in &mut cluster.nodes {
        assert_eq!(node.scan(true).0, Found::NONE, "found once");
    }
}

#[test]
fn random_writes_that_no_trigger_saw_end_equal() {
    for seed in 0..40 {
        println!("seed {seed}");
        run(seed);
    }
}
