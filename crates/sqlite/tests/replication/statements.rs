//! Whatever statement the application uses, the other nodes end with the same rows.

use harmonylite_core::input::ApplyFailure;

use crate::support::{Cluster, Node};

/// Statements on one node, one publish per entry; afterwards all nodes are equal.
fn check(schema: &str, statements: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(2, schema);
    for statement in statements {
        cluster.run(1, statement);
        cluster.settle();
    }
    cluster.converge();
    cluster
}

#[test]
fn insert_update_delete_and_upsert_arrive() {
    let cluster = check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v)",
        &[
            "INSERT INTO t VALUES(1, 'a'), (2, 'b'), (3, 'c')",
            "UPDATE t SET v = 'B' WHERE id = 2; DELETE FROM t WHERE id = 3",
            "INSERT INTO t VALUES(1, 'x'), (4, 'd') ON CONFLICT(id) DO UPDATE SET v = excluded.v || '!'",
            "INSERT OR REPLACE INTO t VALUES(2, 'replaced'), (3, 'again')",
        ],
    );
    let rows = cluster.nodes[1].query("SELECT * FROM t");
    assert_eq!(rows, ["1|'x!'", "2|'replaced'", "3|'again'", "4|'d'"]);
}

#[test]
fn a_changed_key_is_a_delete_and_an_insert() {
    let cluster = check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE c(a, b TEXT, v, PRIMARY KEY(a, b))",
        &[
            "INSERT INTO t VALUES(1, 'a'), (2, 'b'); INSERT INTO c VALUES(1, 'x', 1), (1, 'y', 2)",
            "UPDATE t SET id = id + 10; UPDATE c SET b = 'z' WHERE b = 'y'",
            "UPDATE t SET rowid = 99 WHERE v = 'a'; UPDATE c SET a = a + 1",
        ],
    );
    assert_eq!(cluster.nodes[1].query("SELECT * FROM t"), ["12|'b'", "99|'a'"]);
    assert_eq!(cluster.nodes[1].query("SELECT * FROM c ORDER BY b"), ["2|'x'|1", "2|'z'|2"]);
}

#[test]
fn tables_of_every_kind_are_equal() {
    let schema = "CREATE TABLE w(a INTEGER, b TEXT, v, PRIMARY KEY(b, a)) WITHOUT ROWID; \
        CREATE TABLE s(id INTEGER PRIMARY KEY, i INT, a ANY) STRICT; \
        CREATE TABLE g(id INTEGER PRIMARY KEY, v, twice AS (v * 2) STORED, thrice AS (v * 3)); \
        CREATE TABLE \"od d.\"\"t'[\"(\"select\" TEXT PRIMARY KEY NOT NULL, \"a b\", \"q\"\"x\"); \
        CREATE TABLE only(a, b, PRIMARY KEY(a, b)) WITHOUT ROWID";
    let cluster = check(
        schema,
        &[
            "INSERT INTO w VALUES(1, 'x', 'v'), (2, 'x', 'w'); INSERT INTO s VALUES(1, 5, '5'), (2, 6, 6)",
            "INSERT INTO g(id, v) VALUES(1, 2), (2, 3); UPDATE g SET v = 10 WHERE id = 1",
            "INSERT INTO \"od d.\"\"t'[\" VALUES('k', 1, 2); UPDATE \"od d.\"\"t'[\" SET \"a b\" = 'new'",
            "INSERT INTO only VALUES(1, 2), (3, 4); DELETE FROM only WHERE a = 3; UPDATE w SET a = 7 WHERE a = 1",
        ],
    );
    let second = &cluster.nodes[1];
    assert_eq!(second.query("SELECT * FROM g WHERE id = 1"), ["1|10|20|30"]);
    assert_eq!(second.query("SELECT * FROM \"od d.\"\"t'[\""), ["'k'|'new'|2"]);
    assert_eq!(second.query("SELECT * FROM only"), ["1|2"]);
}

#[test]
fn cascades_of_the_origin_arrive_as_its_own_changes() {
    let schema = "CREATE TABLE parent(id INTEGER PRIMARY KEY, v); \
        CREATE TABLE child(id INTEGER PRIMARY KEY, \
          p REFERENCES parent(id) ON DELETE CASCADE ON UPDATE CASCADE); \
        CREATE TABLE loose(id INTEGER PRIMARY KEY, p REFERENCES parent(id) ON DELETE SET NULL)";
    let cluster = check(
        schema,
        &[
            "PRAGMA foreign_keys = ON; INSERT INTO parent VALUES(1, 'a'), (2, 'b'); \
             INSERT INTO child VALUES(1, 1), (2, 1), (3, 2); INSERT INTO loose VALUES(1, 1), (2, NULL)",
            "UPDATE parent SET id = 20 WHERE id = 2; DELETE FROM parent WHERE id = 1",
        ],
    );
    assert_eq!(cluster.nodes[1].query("SELECT * FROM child"), ["3|20"]);
    assert_eq!(cluster.nodes[1].query("SELECT * FROM loose"), ["1|null", "2|null"]);
}

#[test]
fn a_row_that_a_check_of_ours_forbids_is_applied() {
    let mut first = Node::new(
        1,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE u(id PRIMARY KEY NOT NULL, w UNIQUE)",
    );
    let mut second = Node::new(
        2,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v CHECK(v < 10)); \
         CREATE TABLE u(id PRIMARY KEY NOT NULL, w UNIQUE, CHECK(w <> id))",
    );
    first.run("INSERT INTO t VALUES(1, 5), (2, 50); INSERT INTO u VALUES(3, 3)");
    first.publish();
    assert_eq!(second.consume(&first, 1).dead_letters, 0);
    assert_eq!(second.query("SELECT * FROM t"), ["1|5", "2|50"]);
    assert_eq!(second.query("SELECT * FROM u"), ["3|3"]);
    // The application is held to it as before.
    assert!(second.application.execute("INSERT INTO t VALUES(3, 50)", []).is_err());
}

#[test]
fn foreign_keys_are_not_enforced_while_applying_and_cascades_do_not_run_again() {
    let schema = "CREATE TABLE parent(id INTEGER PRIMARY KEY); \
        CREATE TABLE child(id INTEGER PRIMARY KEY, p NOT NULL REFERENCES parent(id) ON DELETE CASCADE)";
    let mut cluster = Cluster::new(3, schema);
    cluster.run(1, "PRAGMA foreign_keys = ON; INSERT INTO parent VALUES(1)");
    cluster.run(2, "PRAGMA foreign_keys = ON");
    cluster.publish(1);
    cluster.deliver(1, 2, 1);
    // Node 3 hears of the child before it hears of the parent.
    cluster.run(2, "INSERT INTO child VALUES(1, 1)");
    cluster.publish(2);
    assert_eq!(cluster.deliver(2, 3, 1).dead_letters, 0);
    assert_eq!(cluster.nodes[2].query("SELECT * FROM child"), ["1|1"]);
    // Node 1 deletes the parent without knowing of the child: an orphan is left, the same on all nodes.
    cluster.run(1, "DELETE FROM parent");
    cluster.converge();
    for node in &cluster.nodes {
        assert_eq!(
            (node.count("SELECT count(*) FROM parent"), node.query("SELECT * FROM child")),
            (0, vec!["1|1".to_owned()])
        );
    }
    assert_eq!(cluster.nodes[0].query("PRAGMA foreign_key_check"), ["'child'|1|'parent'|0"]);
}

#[test]
fn triggers_of_the_application_do_not_run_again_where_rows_are_applied() {
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); \
        CREATE TABLE audit(id INTEGER PRIMARY KEY, what); \
        CREATE TRIGGER a AFTER INSERT ON t BEGIN INSERT INTO audit(what) VALUES(NEW.v); END";
    let cluster = check(schema, &["INSERT INTO t VALUES(1, 'a'), (2, 'b')"]);
    assert_eq!(cluster.nodes[1].query("SELECT * FROM audit"), ["1|'a'", "2|'b'"]);
}

#[test]
fn what_is_applied_is_not_captured_again() {
    let cluster = check("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", &["INSERT INTO t VALUES(1, 'a')"]);
    assert_eq!(cluster.nodes[1].count("SELECT count(*) FROM __harmonylite___change_log_global"), 0);
    assert!(cluster.nodes[1].chain.is_empty());
}

#[test]
fn columns_travel_by_name() {
    let mut first = Node::new(1, "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT)");
    let mut second = Node::new(2, "CREATE TABLE t(b TEXT, a TEXT, id INTEGER PRIMARY KEY)");
    first.run("INSERT INTO t VALUES(1, 'a', 'b')");
    first.publish();
    second.consume(&first, 1);
    assert_eq!(second.query("SELECT id, a, b FROM t"), ["1|'a'|'b'"]);
}

#[test]
fn rows_of_a_table_that_differs_stop_their_source_and_nothing_is_applied() {
    let mut first =
        Node::new(1, "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE u(id PRIMARY KEY)");
    let mut second =
        Node::new(2, "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); CREATE TABLE u(id PRIMARY KEY)");
    first.run("INSERT INTO u VALUES(1); INSERT INTO t VALUES(1, 'a')");
    first.publish();
    let failure = second.try_apply(&first.chain.clone()).unwrap_err();
    let ApplyFailure::Source { reason, schema: true, .. } = failure else { panic!("{failure:?}") };
    assert!(reason.contains("\"t\""), "{reason}");
    assert_eq!(second.count("SELECT count(*) FROM u"), 0);
    assert!(second.store.state().unwrap().positions.is_empty());
}

#[test]
fn a_schema_change_is_noticed_before_anything_is_read_or_applied() {
    let mut cluster = Cluster::new(2, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    cluster.run(1, "INSERT INTO t VALUES(1, 'a')");
    cluster.publish(1);
    cluster.run(2, "ALTER TABLE t ADD COLUMN w");
    let chain = cluster.nodes[0].chain.clone();
    assert_eq!(cluster.nodes[1].try_apply(&chain).unwrap_err(), ApplyFailure::SchemaChanged);
    cluster.nodes[1].store.read_schema().unwrap();
    let failure = cluster.nodes[1].try_apply(&chain).unwrap_err();
    assert!(matches!(failure, ApplyFailure::Source { schema: true, .. }), "{failure:?}");
    cluster.run(1, "ALTER TABLE t ADD COLUMN w");
    cluster.nodes[0].store.read_schema().unwrap();
    cluster.run(1, "UPDATE t SET w = 'new'");
    cluster.publish(1);
}
