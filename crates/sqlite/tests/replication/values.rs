//! Values arrive as they were written: storage class and bytes.

use harmonylite_core::input::Found;

use crate::support::{Cluster, Node};

/// A table of one row of `values`, inserted on one node, as the other node has it.
fn replicated(schema: &str, insert: &str) -> (Vec<String>, Vec<String>) {
    let mut cluster = Cluster::new(2, schema);
    cluster.run(1, insert);
    cluster.converge();
    let all = |node: &Node| node.query("SELECT * FROM t ORDER BY id");
    (all(&cluster.nodes[0]), all(&cluster.nodes[1]))
}

#[test]
fn every_storage_class_keeps_its_bytes() {
    let values = [
        "9223372036854775807",
        "-9223372036854775808",
        "9e999",
        "-9e999",
        "-0.0",
        "1.0",
        "0.1",
        "5e-324",
        "NULL",
        "''",
        "x''",
        "x'00ff'",
        "'1'",
        "CAST(x'610062' AS TEXT)",
        "CAST(x'ff41fe' AS TEXT)",
        "'\u{1F600}'",
    ];
    let rows: Vec<_> = values.iter().enumerate().map(|(id, value)| format!("({id}, {value})")).collect();
    let insert = format!("INSERT INTO t VALUES {}", rows.join(", "));
    let (written, arrived) = replicated("CREATE TABLE t(id INTEGER PRIMARY KEY, v)", &insert);
    assert_eq!(written.len(), values.len());
    assert_eq!(arrived, written);
    assert_eq!(arrived[13], "13|'a\\0b'");
    assert_eq!(arrived[14], "14|text:\\xffA\\xfe");
    assert_eq!(arrived[1], "1|-9223372036854775808");
}

#[test]
fn values_keep_their_class_in_columns_with_affinity() {
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, i INTEGER, r REAL, n NUMERIC, x TEXT, b BLOB)";
    let insert = "INSERT INTO t VALUES(1, '12', 12, '12.5', 12, 12), (2, 'twelve', 'x', 'y', x'31', '12'), \
                  (3, 1.5, -0.0, 1e300, 1.5, 1.5), (4, 9007199254740993, 9007199254740993, 3.0, 3.0, 3.0)";
    let (written, arrived) = replicated(schema, insert);
    assert_eq!(arrived, written);
    assert_eq!(arrived[0], "1|12|real:12.0|real:12.5|'12'|12");
}

#[test]
fn a_large_blob_arrives_whole() {
    let mut cluster = Cluster::new(2, "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)");
    cluster.run(1, "INSERT INTO t VALUES(1, randomblob(20000000)), (2, zeroblob(1000000))");
    cluster.converge();
    assert_eq!(cluster.nodes[1].count("SELECT length(v) FROM t WHERE id = 1"), 20_000_000);
}

#[test]
fn a_utf16_database_exchanges_text_with_a_utf8_one() {
    let plain = "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, v)";
    let mut narrow = Node::new(1, plain);
    let mut wide = Node::new(2, &format!("PRAGMA encoding = 'UTF-16le'; {plain}"));
    assert_eq!(wide.query("PRAGMA encoding"), ["'UTF-16le'"]);
    narrow.run("INSERT INTO t VALUES('k\u{e9}', 'v\u{1F600}' || char(0) || 'x')");
    narrow.publish();
    wide.consume(&narrow, 1);
    assert_eq!(wide.query("SELECT * FROM t"), narrow.query("SELECT * FROM t"));
    wide.run("UPDATE t SET v = 'back'");
    wide.publish();
    narrow.consume(&wide, 1);
    assert_eq!(narrow.query("SELECT v FROM t"), ["'back'"]);
}

#[test]
fn text_that_utf16_cannot_hold_is_not_sent_back_as_a_write_of_ours() {
    for unique in ["", " UNIQUE"] {
        let plain = format!("CREATE TABLE t(id INTEGER PRIMARY KEY, v{unique})");
        let mut narrow = Node::new(1, &plain);
        let mut wide = Node::new(2, &format!("PRAGMA encoding = 'UTF-16le'; {plain}"));
        narrow.run("INSERT INTO t VALUES(1, CAST(x'61ff' AS TEXT))");
        narrow.publish();
        wide.consume(&narrow, 1);
        assert_ne!(wide.query("SELECT v FROM t"), narrow.query("SELECT v FROM t"));
        assert_eq!(wide.scan(true).0, Found::NONE);
        wide.run_unseen("UPDATE t SET v = 'written'");
        assert_eq!(wide.scan(true).0.changed, 1, "it is watched all the same");
    }
}

#[test]
fn keys_of_every_class_name_the_same_row_everywhere() {
    let mut cluster = Cluster::new(2, "CREATE TABLE t(k NOT NULL PRIMARY KEY, v) WITHOUT ROWID");
    cluster.run(
        1,
        "INSERT INTO t VALUES(1, 'a'), (1.5, 'b'), ('1', 'c'), (x'31', 'd'), (CAST(x'ff' AS TEXT), 'e'), \
         (9e999, 'f'), (CAST(x'6100' AS TEXT), 'g'), ('', 'h'), (x'', 'i')",
    );
    cluster.converge();
    cluster.run(2, "UPDATE t SET v = v || '2'");
    cluster.run(2, "DELETE FROM t WHERE k = CAST(x'ff' AS TEXT)");
    cluster.converge();
    assert_eq!(cluster.nodes[0].count("SELECT count(*) FROM t WHERE v LIKE '_2'"), 8);
}

#[test]
fn a_key_spelled_otherwise_keeps_its_new_bytes() {
    let schema = "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, v); \
                  CREATE TABLE w(k COLLATE RTRIM NOT NULL PRIMARY KEY, v) WITHOUT ROWID; \
                  CREATE TABLE n(k NOT NULL PRIMARY KEY, v); \
                  CREATE TABLE p(a TEXT NOT NULL, v, PRIMARY KEY(a COLLATE NOCASE))";
    let mut cluster = Cluster::new(2, schema);
    cluster.run(
        1,
        "INSERT INTO t VALUES('Ab', 1); INSERT INTO w VALUES('a ', 1); INSERT INTO n VALUES(1, 1); \
         INSERT INTO p VALUES('Ab', 1)",
    );
    cluster.converge();
    cluster.run(
        2,
        "UPDATE t SET k = 'aB'; UPDATE w SET k = 'a'; UPDATE n SET k = 1.0; UPDATE p SET a = 'AB', v = 2",
    );
    cluster.converge();
    let first = &cluster.nodes[0];
    assert_eq!(first.query("SELECT * FROM t"), ["'aB'|1"]);
    assert_eq!(first.query("SELECT * FROM w"), ["'a'|1"]);
    assert_eq!(first.query("SELECT * FROM n"), ["real:1.0|1"]);
    assert_eq!(first.query("SELECT * FROM p"), ["'AB'|2"]);
}
