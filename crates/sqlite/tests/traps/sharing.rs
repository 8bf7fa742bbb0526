//! One file, several connections: locks and snapshots of the application and of ours.

use rusqlite::{Connection, ErrorCode};

use crate::applications::Library;
use crate::nodes::{Cluster, Node};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";

/// Two nodes; the second one has published a row that the first one has not applied yet.
fn with_a_row_under_way() -> Cluster {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.run(2, "INSERT INTO t VALUES(900, 'theirs')");
    cluster.publish(2);
    cluster
}

/// Everything that the sidecar asks of a store, each followed by `look`.
fn every_request(cluster: &mut Cluster, mut look: impl FnMut(&str)) {
    let node = &mut cluster.nodes[0];
    node.store.read_schema().unwrap();
    look("read the schema");
    node.store.data_version().unwrap();
    node.store.state().unwrap();
    look("read the state");
    node.publish();
    look("read the log");
    node.housekeep();
    look("housekeeping");
    let own: Vec<_> = node.chain.iter().cloned().map(std::sync::Arc::new).collect();
    node.store.inspect_own_frames(&own).unwrap();
    look("inspect own frames");
    cluster.deliver(2, 1, 1);
    look("apply");
    let path = cluster.nodes[0].path();
    harmonylite_sqlite::plan(&path).unwrap();
    look("plan");
}

#[test]
fn publishing_leaves_a_transaction_that_has_read_free_to_write() {
    let mut node = Node::new(1, SCHEMA);
    node.run("INSERT INTO t VALUES(1, 'before')");
    node.run("BEGIN; SELECT count(*) FROM t");
    assert_eq!(node.publish().len(), 1);
    node.store.read_schema().unwrap();
    node.store.state().unwrap();
    node.run("INSERT INTO t VALUES(2, 'upgraded'); COMMIT");
    assert_eq!(node.publish().len(), 1);
}

#[test]
fn after_a_commit_of_ours_a_read_cannot_become_a_write_but_begin_immediate_works() {
    let mut cluster = with_a_row_under_way();
    cluster.run(1, "PRAGMA busy_timeout = 60000; BEGIN; SELECT count(*) FROM t");
    cluster.deliver(2, 1, 1);
    let refused = cluster.nodes[0].application.execute_batch("INSERT INTO t VALUES(1, 'late')").unwrap_err();
    assert_eq!(
        refused.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy),
        "at once, whatever the timeout: {refused}"
    );
    cluster.run(
        1,
        "ROLLBACK; BEGIN IMMEDIATE; SELECT count(*) FROM t; INSERT INTO t VALUES(1, 'in time'); COMMIT",
    );
    cluster.converge();
    assert_eq!(cluster.nodes[1].query("SELECT id FROM t"), ["1", "900"]);
}

#[test]
fn no_read_transaction_of_ours_outlives_a_request() {
    let mut cluster = with_a_row_under_way();
    cluster.run(1, "INSERT INTO t VALUES(1, 'a'), (2, 'b')");
    let other = Connection::open(cluster.nodes[0].path()).unwrap();
    every_request(&mut cluster, |what| {
        other.execute("UPDATE t SET v = v || '!' WHERE id = 1", []).unwrap();
        // A snapshot that somebody still reads keeps the WAL from being cut to nothing.
        let checkpoint = other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        });
        assert_eq!(checkpoint.unwrap(), (0, 0, 0), "{what}");
    });
}

#[test]
fn a_long_read_of_the_application_delays_no_apply_and_keeps_its_snapshot() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.run(1, "INSERT INTO t VALUES(1, 'old')");
    cluster.converge();
    cluster.run(1, "BEGIN; SELECT count(*) FROM t");
    let wal = cluster.nodes[0].path().with_extension("db-wal");
    for round in 0..20 {
        cluster.run(2, &format!("REPLACE INTO t VALUES({round}, hex(zeroblob(20000)))"));
        cluster.publish(2);
        assert_eq!(cluster.deliver(2, 1, 1).rows_applied.values().sum::<u64>(), 1);
    }
    assert_eq!(cluster.nodes[0].query("SELECT v FROM t"), ["'old'"]);
    assert!(std::fs::metadata(&wal).unwrap().len() > 20 * 40_000);
    cluster.run(1, "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
    assert_eq!(std::fs::metadata(&wal).unwrap().len(), 0);
    cluster.converge();
    assert_eq!(cluster.nodes[0].count("SELECT count(*) FROM t"), 20);
}

/// POSIX drops all locks of a process on a file when it closes any descriptor of it. Another process that finds no
/// lock takes the WAL away from under us.
#[test]
fn nothing_that_we_do_lets_go_of_our_locks_on_the_database() {
    let mut cluster = with_a_row_under_way();
    cluster.run(1, "INSERT INTO t VALUES(1, 'a')");
    cluster.nodes[0].application = Connection::open_in_memory().unwrap();
    let path = cluster.nodes[0].path();
    every_request(&mut cluster, |what| {
        for library in [Library::System, Library::Old] {
            let mode = library.try_run(&path, "PRAGMA journal_mode = DELETE");
            assert_ne!(mode, ["'delete'"], "{library:?}: {what}");
        }
    });
    let alone = cluster.nodes.remove(0).close().2;
    assert_eq!(
        Library::System.run(&alone.path().join("app.db"), "PRAGMA journal_mode = DELETE"),
        ["'delete'"]
    );
}
