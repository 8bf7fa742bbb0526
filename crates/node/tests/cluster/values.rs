//! Values arrive with their storage class and their bytes, whatever they are.

use std::time::Duration;

use harmonylite_testkit::Result;

use crate::support::{DEADLINE, counter, following};

const SCHEMA: &str =
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE k(k PRIMARY KEY, v) WITHOUT ROWID;";

/// Storage class and literal of every row.
const LITERALS: &str = "SELECT group_concat(typeof(v) || ' ' || quote(v), char(10)) FROM (SELECT v FROM t WHERE id < 100 ORDER BY id)";

const VALUES: &[(&str, &str)] = &[
    ("9223372036854775807", "integer 9223372036854775807"),
    ("-9223372036854775808", "integer -9223372036854775808"),
    ("9007199254740993", "integer 9007199254740993"),
    ("9e999", "real 9.0e+999"),
    ("-9e999", "real -9.0e+999"),
    ("1.0", "real 1.0"),
    ("5e-324", "real 4.9406564584124654e-324"),
    ("NULL", "null NULL"),
    ("''", "text ''"),
    ("x''", "blob X''"),
    ("'1'", "text '1'"),
    ("x'31'", "blob X'31'"),
    ("'ünï🦀'", "text 'ünï🦀'"),
];

#[test]
fn values_keep_storage_class_and_bytes() -> Result<()> {
    let cluster = following(3, SCHEMA)?;
    for (index, (literal, _)) in VALUES.iter().enumerate() {
        cluster.nodes[index % 3].execute(&format!("INSERT INTO t VALUES({index}, {literal})"))?;
    }
    // What a literal does not show: the sign of zero, text with NUL, text that is not UTF-8.
    cluster.nodes[0].execute("INSERT INTO t VALUES(100, -0.0), (101, 'a' || char(0) || 'b')")?;
    cluster.nodes[1].execute("INSERT INTO t VALUES(102, CAST(x'fffe00c328' AS TEXT)), (103, 0.1 + 0.2)")?;
    let contents = cluster.wait_equal(&["t"], DEADLINE)?;
    assert_eq!(contents.rows("t"), VALUES.len() + 4);
    for node in &cluster.nodes {
        let found: String = node.query(LITERALS)?;
        for ((_, wanted), found) in VALUES.iter().zip(found.lines()) {
            assert_eq!(*wanted, found);
        }
        let bytes: String = node.query("SELECT typeof(v) || hex(v) FROM t WHERE id = 102")?;
        assert_eq!(bytes, "textFFFE00C328");
        assert_eq!(node.query::<String>("SELECT typeof(v) || hex(v) FROM t WHERE id = 101")?, "text610062");
        assert_eq!(node.query::<f64>("SELECT v FROM t WHERE id = 103")?.to_bits(), (0.1_f64 + 0.2).to_bits());
    }
    Ok(())
}

#[test]
fn keys_of_every_storage_class_are_told_apart() -> Result<()> {
    let cluster = following(2, SCHEMA)?;
    cluster.nodes[0].execute(
        "INSERT INTO k VALUES(1, 'integer'), ('1', 'text'), (x'31', 'blob'), (1.5, 'real'), ('', 'empty'), \
         (CAST(x'ff' AS TEXT), 'not UTF-8'), ('a' || char(0) || 'b', 'NUL'), (9e999, 'infinite')",
    )?;
    assert_eq!(cluster.wait_equal(&["k"], DEADLINE)?.rows("k"), 8);
    cluster.nodes[1].execute("DELETE FROM k WHERE typeof(k) = 'text'; UPDATE k SET v = v || '!'")?;
    assert_eq!(cluster.wait_equal(&["k"], DEADLINE)?.rows("k"), 4);
    Ok(())
}

#[test]
fn a_blob_of_20_megabytes_is_split_over_messages_and_arrives_whole() -> Result<()> {
    let cluster = following(3, SCHEMA)?;
    // Random, so that it does not shrink below the size of one message.
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, randomblob(20000000)), (2, 'after')")?;
    let long = Duration::from_secs(120);
    assert_eq!(cluster.wait_equal(&["t"], long)?.rows("t"), 2);
    cluster.nodes[1]
        .execute("UPDATE t SET v = CAST(v AS TEXT) WHERE id = 1; UPDATE t SET v = 'later' WHERE id = 2")?;
    cluster.wait_equal(&["t"], long)?;
    for node in &cluster.nodes {
        assert_eq!(node.query::<i64>("SELECT length(CAST(v AS BLOB)) FROM t WHERE id = 1")?, 20_000_000);
        assert_eq!(node.query::<String>("SELECT v FROM t WHERE id = 2")?, "later");
        assert_eq!(counter(node, "messages_rejected")?, 0);
    }
    // More messages than groups: it was split.
    let status = cluster.nodes[2].status()?;
    let last = crate::support::source_of(&status, 1).map(|source| source["last"].clone());
    assert!(last.as_ref().and_then(serde_json::Value::as_u64) >= Some(20), "{last:?}");
    Ok(())
}
