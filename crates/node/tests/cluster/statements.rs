//! Every kind of statement on every kind of table, written on different nodes: all nodes end equal.

use harmonylite_testkit::{Cluster, Result};

use crate::support::{DEADLINE, following, no_panics};

const SCHEMA: &str = r#"
    CREATE TABLE plain(id INTEGER PRIMARY KEY, v);
    CREATE TABLE named(id INTEGER PRIMARY KEY, email TEXT UNIQUE, nick TEXT COLLATE NOCASE UNIQUE, v);
    CREATE TABLE pair(a TEXT, b INTEGER, v, PRIMARY KEY(a, b));
    CREATE TABLE bare(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
    CREATE TABLE strict(id INTEGER PRIMARY KEY, n INTEGER, r REAL, t TEXT, b BLOB, a ANY) STRICT;
    CREATE TABLE computed(id INTEGER PRIMARY KEY, n INTEGER, twice INTEGER AS (n * 2) VIRTUAL,
                          thrice INTEGER AS (n * 3) STORED);
    CREATE TABLE parent(id INTEGER PRIMARY KEY, v);
    CREATE TABLE child(id INTEGER PRIMARY KEY,
                       parent INTEGER REFERENCES parent(id) ON DELETE CASCADE ON UPDATE CASCADE);
    CREATE TABLE "we""ird. tähle [x]"("a ""key""" TEXT, "select" INT, "rowid" TEXT, "naïve col" BLOB,
                                      PRIMARY KEY("a ""key""", "select"));
    CREATE TABLE "order"("group" INTEGER PRIMARY KEY, "values" TEXT);
"#;

const TABLES: &[&str] = &[
    "plain",
    "named",
    "pair",
    "bare",
    "strict",
    "computed",
    "parent",
    "child",
    "we\"ird. tähle [x]",
    "order",
];

/// `(node, statements)` in order, each visible everywhere before the next.
fn written(steps: &[(usize, &str)]) -> Result<Cluster> {
    let cluster = following(3, SCHEMA)?;
    for (node, sql) in steps {
        cluster.nodes[node - 1].execute(sql)?;
        let same = cluster.nodes[node - 1].query::<i64>("SELECT count(*) FROM plain")?;
        let contents = cluster.wait_equal(TABLES, DEADLINE)?;
        assert_eq!(contents.rows("plain") as i64, same);
    }
    no_panics(&cluster)?;
    Ok(cluster)
}

#[test]
fn inserts_updates_deletes_and_upserts_of_different_nodes_make_equal_tables() -> Result<()> {
    let cluster = written(&[
        (1, "INSERT INTO plain VALUES(1, 'one'), (2, 'two'), (3, 'three')"),
        (2, "UPDATE plain SET v = v || '!' WHERE id < 3; INSERT INTO plain VALUES(4, 4)"),
        (
            3,
            "DELETE FROM plain WHERE id = 2; INSERT INTO plain VALUES(3, 'up') ON CONFLICT(id) DO UPDATE SET v = 'up'",
        ),
        (1, "INSERT OR IGNORE INTO plain VALUES(1, 'ignored'); INSERT INTO plain VALUES(2, 'back')"),
        (2, "DELETE FROM plain WHERE id > 3; UPDATE plain SET v = NULL WHERE id = 3"),
    ])?;
    let rows: String =
        cluster.nodes[2].query("SELECT group_concat(id || '=' || quote(v), ' ') FROM plain")?;
    assert_eq!(rows, "1='one!' 2='back' 3=NULL");
    Ok(())
}

#[test]
fn rows_that_replace_displaces_on_keys_and_unique_columns_are_gone_everywhere() -> Result<()> {
    let cluster = written(&[
        (1, "INSERT INTO named VALUES(1, 'a', 'A', 1), (2, 'b', 'B', 2), (3, 'c', 'C', 3), (4, 'd', 'D', 4)"),
        // On the key; on one UNIQUE column; on both, by a spelling that its collation takes for the same.
        (2, "INSERT OR REPLACE INTO named VALUES(1, 'a2', 'A2', 11)"),
        (3, "INSERT OR REPLACE INTO named VALUES(5, 'b', 'B5', 5)"),
        (1, "REPLACE INTO named VALUES(6, 'c', 'd', 6)"),
        (2, "INSERT INTO named VALUES(7, 'g', 'G', 7), (8, 'h', 'H', 8)"),
        (
            3,
            "UPDATE OR REPLACE named SET email = 'g' WHERE id = 8; UPDATE OR REPLACE named SET id = 1 WHERE id = 6",
        ),
        (
            1,
            "BEGIN; UPDATE named SET nick = 'x' WHERE id = 8; UPDATE named SET nick = 'h' WHERE id = 5; COMMIT",
        ),
    ])?;
    let rows: String = cluster.nodes[1]
        .query("SELECT group_concat(id || email || nick, ' ') FROM (SELECT * FROM named ORDER BY id)")?;
    assert_eq!(rows, "1cd 5bh 8gx");
    Ok(())
}

#[test]
fn key_changes_composite_keys_and_tables_without_rowid_make_equal_tables() -> Result<()> {
    let cluster = written(&[
        (1, "INSERT INTO pair VALUES('x', 1, 'x1'), ('x', 2, 'x2'), ('y', 1, 'y1')"),
        (2, "INSERT INTO bare VALUES('k1', 1), ('k2', 2), ('k3', 3)"),
        (3, "UPDATE pair SET a = 'z' WHERE a = 'x' AND b = 1; UPDATE bare SET k = 'k9' WHERE k = 'k1'"),
        (1, "UPDATE bare SET k = k || '+'; UPDATE pair SET b = b + 10; DELETE FROM pair WHERE a = 'y'"),
        (2, "INSERT OR REPLACE INTO bare VALUES('k2+', 'again'); INSERT INTO plain VALUES(5, 5)"),
        (3, "UPDATE plain SET rowid = 9 WHERE id = 5; UPDATE OR REPLACE bare SET k = 'k2+' WHERE k = 'k9+'"),
    ])?;
    let pairs: String =
        cluster.nodes[0].query("SELECT group_concat(a || b, ' ') FROM (SELECT * FROM pair ORDER BY a, b)")?;
    assert_eq!(pairs, "x12 z11");
    let bare: String =
        cluster.nodes[0].query("SELECT group_concat(k || v, ' ') FROM (SELECT * FROM bare ORDER BY k)")?;
    assert_eq!(bare, "k2+1 k3+3");
    assert_eq!(cluster.nodes[0].query::<i64>("SELECT id FROM plain")?, 9);
    Ok(())
}

#[test]
fn strict_tables_and_generated_columns_make_equal_tables() -> Result<()> {
    let cluster = written(&[
        (
            1,
            "INSERT INTO strict VALUES(1, 9223372036854775807, 0.1, 'text', x'00ff', 1.0), (2, NULL, NULL, NULL, NULL, NULL)",
        ),
        (2, "UPDATE strict SET a = 'any', n = -9223372036854775808 WHERE id = 2"),
        (3, "INSERT INTO computed(id, n) VALUES(1, 10), (2, 20)"),
        (1, "UPDATE computed SET n = n + 1; DELETE FROM computed WHERE id = 2"),
    ])?;
    assert_eq!(cluster.nodes[1].query::<i64>("SELECT twice + thrice FROM computed WHERE id = 1")?, 55);
    assert_eq!(cluster.nodes[0].query::<i64>("SELECT n FROM strict WHERE id = 2")?, i64::MIN);
    Ok(())
}

#[test]
fn foreign_key_cascades_arrive_as_the_rows_that_they_changed() -> Result<()> {
    let cluster = written(&[
        (
            1,
            "INSERT INTO parent VALUES(1, 'p'), (2, 'q'), (3, 'r'); \
             INSERT INTO child VALUES(10, 1), (11, 1), (20, 2), (30, 3)",
        ),
        (2, "PRAGMA foreign_keys = ON; DELETE FROM parent WHERE id = 1"),
        (3, "PRAGMA foreign_keys = ON; UPDATE parent SET id = 22 WHERE id = 2"),
    ])?;
    let children: String =
        cluster.nodes[0].query("SELECT group_concat(id || '/' || parent, ' ') FROM child")?;
    assert_eq!(children, "20/22 30/3");
    Ok(())
}

#[test]
fn any_identifier_travels() -> Result<()> {
    let cluster = written(&[
        (1, r#"INSERT INTO "we""ird. tähle [x]" VALUES('k', 1, 'r', x'01'), ('k', 2, 's', x'02')"#),
        (2, r#"UPDATE "we""ird. tähle [x]" SET "naïve col" = 'ü', "a ""key""" = 'kk' WHERE "select" = 2"#),
        (3, r#"INSERT INTO "order" VALUES(1, 'by'); DELETE FROM "we""ird. tähle [x]" WHERE "select" = 1"#),
    ])?;
    let key: String =
        cluster.nodes[0].query(r#"SELECT "a ""key""" || "naïve col" FROM "we""ird. tähle [x]""#)?;
    assert_eq!(key, "kkü");
    Ok(())
}
