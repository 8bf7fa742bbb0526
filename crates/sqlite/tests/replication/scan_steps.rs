//! The steps of a scan: bounded, resumed, beside an application that goes on, and without a commit when nothing differs.

use harmonylite_core::input::Found;
use harmonylite_sqlite::Limits;

use crate::support::{Cluster, Node};

const TABLE: &str = "CREATE TABLE t(k TEXT PRIMARY KEY COLLATE NOCASE, v) WITHOUT ROWID";
const FILL: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
                    INSERT INTO t SELECT CASE i % 2 WHEN 0 THEN 'Key ' ELSE 'kEY ' END || i, i FROM n";

fn filled() -> Cluster {
    let mut cluster = Cluster::new(2, TABLE);
    cluster.run(1, FILL);
    cluster.converge();
    cluster
}

#[test]
fn thousands_of_rows_are_found_in_small_steps() {
    let mut cluster = filled();
    let node = &mut cluster.nodes[0];
    node.run_unseen("UPDATE t SET v = -v; DELETE FROM t WHERE v % 3 = 0");
    let (mut found, mut steps) = (Found::NONE, 0);
    loop {
        let scanned = node.scan_step(true);
        assert!(scanned.found.rows() <= 256, "{scanned:?}");
        found.add(scanned.found);
        steps += 1;
        if !scanned.more {
            break;
        }
    }
    assert_eq!(found, Found { new: 0, changed: 4000, deleted: 2000 });
    assert!(steps >= (4000 + 6000) / 256, "{steps}");
    cluster.converge();
}

#[test]
fn the_application_goes_on_between_steps() {
    let mut cluster = filled();
    cluster.nodes[0].store.set_limits(Limits { scan_rows: 100, ..Limits::default() }).unwrap();
    let (mut found, mut round) = (Found::NONE, 0);
    loop {
        let scanned = cluster.nodes[0].scan_step(true);
        found.add(scanned.found);
        round += 1;
        let (ahead, behind) = (6000 - round, round);
        cluster.run(
            1,
            &format!(
                "UPDATE t SET v = 'now' WHERE k IN ('key {ahead}', 'key {behind}');
                 DELETE FROM t WHERE k = 'KEY {}'; INSERT OR REPLACE INTO t VALUES('other {round}', 0)",
                ahead - 1000
            ),
        );
        if round % 7 == 0 {
            cluster.run(
                2,
                &format!(
                    "UPDATE t SET v = 'theirs' WHERE k IN ('key {}', 'key {}')",
                    ahead - 2000,
                    behind + 2000
                ),
            );
            cluster.publish(2);
            cluster.deliver(2, 1, usize::MAX);
        }
        if round % 5 == 0 {
            cluster.publish(1);
            cluster.nodes[0].housekeep();
        }
        if !scanned.more {
            break;
        }
    }
    assert!(round > 100);
    assert_eq!(found, Found::NONE, "the triggers saw everything");
    cluster.converge();
}

#[test]
fn a_scan_that_finds_nothing_commits_nothing() {
    let mut cluster = filled();
    let node = &mut cluster.nodes[0];
    let before = node.count("PRAGMA data_version");
    let (found, steps) = node.scan(true);
    assert!(found == Found::NONE && steps > 20);
    assert_eq!(node.count("PRAGMA data_version"), before);
}

#[test]
fn a_scan_cut_off_by_a_restart_begins_again() {
    let mut cluster = filled();
    let mut node = cluster.nodes.remove(0);
    node.run("DROP TRIGGER __harmonylite__t_change_log_on_update");
    node.run("UPDATE t SET v = 'changed'");
    assert_eq!(node.store.read_schema().unwrap().uncaptured, ["t"]);
    let first = node.scan_step(false).found.changed;
    assert!(first > 0 && first <= 256);
    let (chain, consumed, directory) = node.close();
    let mut node = Node::open(1, directory);
    (node.chain, node.consumed) = (chain, consumed);
    node.published = node.store.state().unwrap().published;
    assert!(node.store.opened_schema().uncaptured.is_empty());
    assert_eq!(node.scan(false).0, Found { new: 0, changed: 6000 - first, deleted: 0 });
    cluster.nodes.insert(0, node);
    cluster.converge();
}

#[test]
fn a_change_of_the_schema_begins_the_pass_anew() {
    let mut cluster = filled();
    let node = &mut cluster.nodes[0];
    node.scan_step(true);
    node.run_unseen("DELETE FROM t WHERE k = 'key 10'");
    node.run("CREATE TABLE a(id INTEGER PRIMARY KEY)");
    let waits = node.scan_step(true);
    assert!(waits.more && waits.table.is_empty(), "not before the schema is read: {waits:?}");
    node.store.read_schema().unwrap();
    assert_eq!(node.scan_step(true).table, "a");
    assert_eq!(node.scan(true).0.deleted, 1);
}

#[test]
fn a_long_unstamped_log_is_stamped_first() {
    let mut cluster = filled();
    cluster.nodes[0].store.set_limits(Limits { housekeeping_rows: 100, ..Limits::default() }).unwrap();
    cluster.run(1, "UPDATE t SET v = 'more' WHERE v <= 250");
    let node = &mut cluster.nodes[0];
    for _ in 0..2 {
        let scanned = node.scan_step(true);
        assert!(scanned.more && scanned.table.is_empty(), "{scanned:?}");
    }
    assert_eq!(node.scan(true).0, Found::NONE);
}

#[test]
fn large_rows_make_small_steps() {
    let mut node = Node::new(1, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    node.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10)
         INSERT INTO t SELECT i, randomblob(3000000) FROM n",
    );
    let (found, steps) = node.scan(true);
    assert_eq!(found, Found::NONE);
    assert!(steps > 4, "{steps}");
}
