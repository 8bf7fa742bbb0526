//! The application's schema changes with our triggers in place, by three versions of SQLite.

use harmonylite_sqlite::ClockSql;

use crate::applications::Library;
use crate::libraries::Step::{Fails, Migrate, Write};
use crate::libraries::{check, replicated};
use crate::nodes::{Cluster, Node};

/// The sidecar of node 1 ends and starts again.
fn restart(cluster: &mut Cluster) {
    let (chain, consumed, folder) = cluster.nodes.remove(0).close();
    let mut node = Node::open_with(1, folder, |options| options.clock = ClockSql::default());
    node.published = node.store.state().unwrap().published;
    (node.chain, node.consumed) = (chain, consumed);
    cluster.nodes.insert(0, node);
}

#[test]
fn alter_table_succeeds_with_triggers_in_place_and_capture_goes_on() {
    let outcome = check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b UNIQUE, c); CREATE TABLE k(x TEXT, y INT, v, PRIMARY KEY(x, y));
         CREATE TABLE gone(id INTEGER PRIMARY KEY); CREATE VIEW shown AS SELECT id, b FROM t",
        &[
            Write("INSERT INTO t VALUES(1, 'a', 'b', 'c'), (2, 'd', 'e', 'f'); INSERT INTO k VALUES('x', 1, 'v')"),
            Migrate("ALTER TABLE t ADD COLUMN d DEFAULT 5; ALTER TABLE t ADD COLUMN e AS (a || c)"),
            Write("UPDATE t SET d = 6 WHERE id = 1; INSERT INTO t(id, a, b) VALUES(3, 'x', 'y')"),
            Migrate("ALTER TABLE t RENAME COLUMN b TO \"b b\"; ALTER TABLE k RENAME COLUMN y TO yy"),
            Write("REPLACE INTO t(id, \"b b\") VALUES(4, 'e'); UPDATE k SET yy = 2; UPDATE t SET a = 'z' WHERE id = 1"),
            Migrate("ALTER TABLE t DROP COLUMN e; ALTER TABLE t DROP COLUMN c"),
            Write("INSERT INTO t VALUES(5, 'five', 'f', 5); DELETE FROM t WHERE id = 3"),
            Migrate("ALTER TABLE t RENAME TO \"t t\"; ALTER TABLE k RENAME TO t; DROP TABLE gone"),
            Write("REPLACE INTO \"t t\" VALUES(6, 'six', 'f', 6); INSERT INTO t VALUES('new', 1, 'row'); DELETE FROM t WHERE x = 'x'"),
            Migrate("CREATE TABLE gone(id TEXT PRIMARY KEY NOT NULL, v); CREATE UNIQUE INDEX u ON \"t t\"(a)"),
            Write("INSERT INTO gone VALUES('back', 1); REPLACE INTO \"t t\" VALUES(7, 'six', 'seven', 7)"),
        ],
    );
    let rows = [
        "gone: 'back'|1",
        "t: 'new'|1|'row'",
        "t t: 1|'z'|'b'|6",
        "t t: 4|null|'e'|5",
        "t t: 7|'six'|'seven'|7",
    ];
    assert_eq!(outcome.rows, rows);
}

#[test]
fn a_migration_that_is_rolled_back_leaves_capture_as_it_was() {
    check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b UNIQUE)",
        &[
            Write(
                "BEGIN; ALTER TABLE t ADD COLUMN c; INSERT INTO t VALUES(1, 1, 1, 1); ALTER TABLE t RENAME TO u; ROLLBACK",
            ),
            Write("INSERT INTO t VALUES(2, 2, 2); REPLACE INTO t VALUES(3, 3, 2)"),
            Fails(
                "BEGIN; INSERT INTO t VALUES(4, 4, 4); ALTER TABLE t RENAME COLUMN a TO aa; DROP TABLE nowhere",
            ),
            Write("UPDATE t SET a = 'last'"),
        ],
    );
}

#[test]
fn inserts_after_add_column_and_a_restart_succeed_and_arrive() {
    for library in Library::ALL {
        let mut cluster = replicated(library, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
        let path = cluster.nodes[0].path();
        library.run(&path, "INSERT INTO t VALUES(1, 'before')");
        cluster.converge();
        library
            .run(&path, "ALTER TABLE t ADD COLUMN w DEFAULT 'w'; INSERT INTO t VALUES(2, 'at once', 'new')");
        restart(&mut cluster);
        library.run(&path, "INSERT INTO t VALUES(3, 'after the restart', 3); INSERT INTO t(id) VALUES(4)");
        cluster.run(2, "ALTER TABLE t ADD COLUMN w DEFAULT 'w'");
        cluster.nodes[1].store.read_schema().unwrap();
        cluster.converge();
        let rows = ["1|'before'|'w'", "2|'at once'|'new'", "3|'after the restart'|3", "4|null|'w'"];
        assert_eq!(cluster.nodes[1].query("SELECT * FROM t ORDER BY id"), rows, "{library:?}");
    }
}
