//! Every kind of table, key, index and name, by applications with three versions of SQLite.

use crate::applications::Library;
use crate::libraries::Step::Write;
use crate::libraries::{check, check_since, replicated, rows};
use crate::nodes::Cluster;

#[test]
fn tables_without_rowid_composite_and_descending_keys_are_equal() {
    let outcome = check(
        "CREATE TABLE w(a INTEGER, b TEXT, v, PRIMARY KEY(b DESC, a)) WITHOUT ROWID;
         CREATE TABLE only(a, b, PRIMARY KEY(a, b)) WITHOUT ROWID;
         CREATE TABLE c(v, b TEXT NOT NULL, a NOT NULL, PRIMARY KEY(a, b));
         CREATE TABLE d(id INTEGER PRIMARY KEY DESC, v)",
        &[
            Write(
                "INSERT INTO w VALUES(1, 'x', 'v'), (2, 'x', 'w'), (1, 'y', 'z'); INSERT INTO only VALUES(1, 2), (3, 4);
                 INSERT INTO c VALUES('v', 'x', 1), ('w', 'y', 1); INSERT INTO d VALUES(5, 'five'), (6, 'six')",
            ),
            Write(
                "UPDATE w SET a = a + 1 WHERE b = 'x' AND a = 2; UPDATE w SET v = 'new', b = 'q' WHERE b = 'y';
                 DELETE FROM only WHERE a = 3; UPDATE only SET b = 9; REPLACE INTO c VALUES('r', 'x', 1);
                 UPDATE c SET a = 2 WHERE b = 'y'; UPDATE d SET id = 7 WHERE id = 5; UPDATE d SET rowid = rowid + 1000",
            ),
        ],
    );
    let w: Vec<_> = outcome.rows.iter().filter(|row| row.starts_with("w:")).collect();
    assert_eq!(w, ["w: 1|'q'|'new'", "w: 1|'x'|'v'", "w: 3|'x'|'w'"]);
}

#[test]
fn strict_tables_keep_their_classes() {
    const STRICT: u32 = 3_037_000;
    let outcome = check_since(
        STRICT,
        "CREATE TABLE s(id INTEGER PRIMARY KEY, i INT, r REAL, x TEXT, b BLOB, a ANY) STRICT;
         CREATE TABLE k(k ANY PRIMARY KEY, u INT UNIQUE) STRICT, WITHOUT ROWID",
        &[
            Write("INSERT INTO s VALUES(1, '5', 5, 5, x'05', '5'), (2, NULL, 1e300, '', x'', 5.0)"),
            Write("INSERT INTO k VALUES('1', 1), (1, 2), (x'31', 3); UPDATE s SET a = x'00' WHERE id = 2"),
            Write("REPLACE INTO k VALUES('new', 2); INSERT OR IGNORE INTO k VALUES('no', 1)"),
        ],
    );
    assert!(outcome.rows.contains(&"s: 1|5|real:5.0|'5'|x:\\x05|'5'".to_owned()), "{outcome:?}");
}

#[test]
fn generated_columns_are_computed_on_the_replica_and_never_written() {
    let outcome = check(
        "CREATE TABLE g(id INTEGER PRIMARY KEY, v, twice AS (v * 2) STORED, low AS (lower(v)) VIRTUAL,
             UNIQUE(twice));
         CREATE INDEX by_low ON g(low);
         CREATE TABLE amid(first AS (k || v), k TEXT PRIMARY KEY NOT NULL, middle AS (v + 1) STORED, v)",
        &[
            Write(
                "INSERT INTO g(id, v) VALUES(1, 2), (2, 3), (3, 'X'); INSERT INTO amid(k, v) VALUES('k', 1)",
            ),
            Write(
                "UPDATE g SET v = 10 WHERE id = 1; REPLACE INTO g(id, v) VALUES(4, 3); DELETE FROM g WHERE id = 3",
            ),
            Write("UPDATE OR REPLACE g SET v = 10 WHERE id = 4; UPDATE amid SET v = v + 1, k = 'l'"),
        ],
    );
    assert_eq!(outcome.rows, ["amid: 'l2'|'l'|3|2", "g: 4|10|20|'10'"]);
}

#[test]
fn rows_replaced_over_partial_and_expression_indexes_are_gone_everywhere() {
    let outcome = check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, mail TEXT, state TEXT, n INT);
         CREATE UNIQUE INDEX one_active ON t(mail) WHERE state = 'active';
         CREATE UNIQUE INDEX folded ON t(lower(mail) || state); CREATE INDEX plain ON t(n) WHERE n > 5;
         CREATE INDEX computed ON t(n * 2, abs(n))",
        &[
            Write(
                "INSERT INTO t VALUES(1, 'a', 'active', 1), (2, 'a', 'old', 6), (3, 'b', 'active', 7),
                     (4, 'C', 'x', 8), (5, 'd', 'active', 9)",
            ),
            Write("INSERT OR REPLACE INTO t VALUES(10, 'a', 'active', 10)"),
            Write("INSERT OR REPLACE INTO t VALUES(11, 'c', 'x', 11)"),
            Write(
                "UPDATE OR REPLACE t SET mail = 'b' WHERE id = 5; UPDATE t SET n = -n; DELETE FROM t WHERE n = -6",
            ),
            Write(
                "BEGIN; UPDATE t SET mail = 'tmp' WHERE id = 10; UPDATE t SET mail = 'a' WHERE id = 5;
                 UPDATE t SET mail = 'b' WHERE id = 10; COMMIT",
            ),
        ],
    );
    assert_eq!(outcome.rows, ["t: 10|'b'|'active'|-10", "t: 11|'c'|'x'|-11", "t: 5|'a'|'active'|-9"]);
}

#[test]
fn utf16_databases_are_captured_and_equal() {
    for encoding in ["UTF-16le", "UTF-16be"] {
        let schema = format!(
            "PRAGMA encoding = '{encoding}'; CREATE TABLE \"t\u{e4}\"(k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, u UNIQUE)"
        );
        let outcome = check(
            &schema,
            &[
                Write(
                    "SELECT encoding FROM pragma_encoding; INSERT INTO \"tä\" VALUES('ü\u{1F600}', 'é'), ('B', 'z')",
                ),
                Write("REPLACE INTO \"tä\" VALUES('q', 'é'); UPDATE \"tä\" SET k = 'b' WHERE k = 'B'"),
                Write("UPDATE \"tä\" SET u = 'a' || char(0) || 'ß' WHERE k = 'q'"),
            ],
        );
        assert_eq!(outcome.printed, [format!("'{encoding}'")]);
        assert_eq!(outcome.rows, ["tä: 'b'|'z'", "tä: 'q'|'a\\0ß'"]);
    }
}

#[test]
fn names_of_any_spelling_are_replicated() {
    check(
        r#"CREATE TABLE "od d.""t'["("select" TEXT PRIMARY KEY NOT NULL, "a b", "q""x" UNIQUE, "[y]");
           CREATE TABLE "order"("group" INTEGER PRIMARY KEY, "values", "naïve 🙂" UNIQUE);
           CREATE TABLE [new](old INTEGER PRIMARY KEY, [new] UNIQUE);
           CREATE TABLE "1; DROP TABLE x --"("%_" INTEGER, "" TEXT, PRIMARY KEY("", "%_")) WITHOUT ROWID;
           CREATE TABLE x(x INTEGER PRIMARY KEY, id UNIQUE, type, table_name, val_x)"#,
        &[
            Write(
                r#"INSERT INTO "od d.""t'[" VALUES('k', 1, 2, 3), ('l', 4, 5, 6);
                   REPLACE INTO "od d.""t'[" VALUES('m', 7, 5, 8);
                   UPDATE "od d.""t'[" SET "select" = 'n', "a b" = 'ö' WHERE "q""x" = 2"#,
            ),
            Write(
                r#"INSERT INTO "order" VALUES(1, 'by', 'a'), (2, 'x', 'b'); REPLACE INTO "order" VALUES(3, 'y', 'a')"#,
            ),
            Write(
                r#"INSERT INTO [new] VALUES(1, 'a'); REPLACE INTO [new] VALUES(2, 'a'); UPDATE [new] SET old = 3"#,
            ),
            Write(
                r#"INSERT INTO "1; DROP TABLE x --" VALUES(1, 'a'), (2, 'b'); DELETE FROM "1; DROP TABLE x --" WHERE "" = 'a'"#,
            ),
            Write("INSERT INTO x VALUES(1, 2, 3, 4, 5); REPLACE INTO x VALUES(2, 2, 6, 7, 8)"),
        ],
    );
}

#[test]
fn columns_named_like_the_rowid_hide_no_row() {
    for name in ["rowid", "_rowid_", "oid"] {
        let schema = format!(
            "CREATE TABLE key({name} TEXT PRIMARY KEY NOT NULL, v); CREATE TABLE u(id INTEGER PRIMARY KEY, {name} UNIQUE);
             CREATE TABLE alias({name} INTEGER PRIMARY KEY, v); CREATE TABLE all_three(rowid, _rowid_ INT, oid PRIMARY KEY NOT NULL)"
        );
        let outcome = check(
            &schema,
            &[
                Write(
                    "INSERT INTO key VALUES('k', 0), ('l', 1); INSERT INTO u VALUES(5, 1); REPLACE INTO u VALUES(6, 1)",
                ),
                Write(
                    "INSERT INTO alias VALUES(1, 'a'), (2, 'b'); INSERT INTO all_three VALUES(9, 8, 7), (9, 8, 6)",
                ),
                Write(
                    "UPDATE key SET v = 2; UPDATE u SET id = 7; DELETE FROM all_three WHERE oid = 7; DELETE FROM alias WHERE v = 'a'",
                ),
            ],
        );
        let rows = ["alias: 2|'b'", "all_three: 9|8|6", "key: 'k'|2", "key: 'l'|2", "u: 7|1"];
        assert_eq!(outcome.rows, rows, "{name}");
    }
}

#[test]
fn spellings_that_the_keys_collation_calls_equal_are_one_row() {
    check(
        "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, v);
         CREATE TABLE p(a TEXT NOT NULL, b COLLATE RTRIM NOT NULL, v, PRIMARY KEY(a COLLATE NOCASE, b)) WITHOUT ROWID;
         CREATE TABLE u(id INTEGER PRIMARY KEY, n TEXT COLLATE NOCASE UNIQUE, r TEXT); CREATE UNIQUE INDEX i ON u(r COLLATE RTRIM)",
        &[
            Write("INSERT INTO t VALUES('Ab', 1), ('c', 1); INSERT INTO p VALUES('Ab', 'x ', 1)"),
            Write("INSERT INTO t VALUES('AB', 2) ON CONFLICT DO UPDATE SET v = 3; REPLACE INTO t VALUES('C', 4)"),
            Write("UPDATE t SET k = 'aB' WHERE k = 'ab'; REPLACE INTO p VALUES('aB', 'x', 2)"),
            Write("INSERT INTO u VALUES(1, 'a', 'r'), (2, 'b', 's '); REPLACE INTO u VALUES(3, 'A', 's')"),
        ],
    );
    let mut cluster = Cluster::new(2, "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, v)");
    cluster.run(1, "INSERT INTO t VALUES('Ab', 'first')");
    cluster.run(2, "INSERT INTO t VALUES('AB', 'second')");
    cluster.converge();
    assert_eq!(cluster.nodes[0].query("SELECT * FROM t"), ["'AB'|'second'"]);
}

#[test]
fn rows_whose_key_is_null_stay_on_their_node_until_they_have_one() {
    for library in Library::ALL {
        let mut cluster = replicated(library, "CREATE TABLE t(k TEXT PRIMARY KEY, u UNIQUE, v)");
        let path = cluster.nodes[0].path();
        let mut step = |sql: &str| {
            library.run(&path, sql);
            cluster.settle();
            rows(&cluster.nodes[1], &cluster.tables())
        };
        let inserted =
            "INSERT INTO t VALUES(NULL, 1, 'a'), (NULL, 2, 'b'), ('k', 3, 'c'); UPDATE t SET v = upper(v)";
        assert_eq!(step(inserted), ["t: 'k'|3|'C'"], "{library:?}");
        let keyed = "UPDATE t SET k = 'now' WHERE u = 1; REPLACE INTO t VALUES('l', 2, 'over NULL')";
        assert_eq!(step(keyed), ["t: 'k'|3|'C'", "t: 'l'|2|'over NULL'", "t: 'now'|1|'A'"], "{library:?}");
        let lost = "UPDATE t SET k = NULL WHERE u = 1; DELETE FROM t WHERE k = 'l'; REPLACE INTO t VALUES(NULL, 3, 'd')";
        assert_eq!(step(lost), [""; 0], "{library:?}");
        assert_eq!(cluster.nodes[0].count("SELECT count(*) FROM t WHERE k IS NULL"), 2);
    }
}

#[test]
fn an_applied_id_raises_the_autoincrement_counter_of_the_replica() {
    let mut cluster = Cluster::new(2, "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v)");
    cluster.run(
        1,
        "INSERT INTO t VALUES(700, 'theirs'); DELETE FROM t WHERE id = 700; INSERT INTO t(v) VALUES('kept')",
    );
    cluster.settle();
    cluster.run(2, "INSERT INTO t(v) VALUES('ours')");
    cluster.converge();
    assert_eq!(cluster.nodes[0].query("SELECT * FROM t"), ["701|'kept'", "702|'ours'"]);
}

#[test]
fn only_ordinary_tables_of_the_main_database_are_captured_whatever_they_are_called() {
    for library in Library::ALL {
        let mut cluster = replicated(
            library,
            "CREATE TABLE f_config(id INTEGER PRIMARY KEY, v); CREATE TABLE words_extra(id INTEGER PRIMARY KEY, v);
             CREATE TABLE __harmonyliteXt(id INTEGER PRIMARY KEY, v); CREATE TABLE sqlitetable(id INTEGER PRIMARY KEY, v);
             CREATE VIRTUAL TABLE words USING fts5(body); CREATE VIEW v AS SELECT * FROM f_config;
             CREATE VIRTUAL TABLE area USING rtree(id, low, high)",
        );
        let schema = cluster.nodes[0].store.read_schema().unwrap();
        let taken: Vec<_> = schema.tables.iter().filter(|table| table.refused.is_none()).collect();
        let mut names: Vec<_> = taken.iter().map(|table| table.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["__harmonyliteXt", "f_config", "sqlitetable", "words_extra"], "{library:?}");
        library.run(
            &cluster.nodes[0].path(),
            "INSERT INTO f_config VALUES(1, 'f'); INSERT INTO words_extra VALUES(1, 'w'); INSERT INTO words VALUES('text');
             INSERT INTO __harmonyliteXt VALUES(1, 'h'); INSERT INTO sqlitetable VALUES(1, 's'); INSERT INTO area VALUES(1, 0, 1);
             CREATE TEMP TABLE passing(id INTEGER PRIMARY KEY); INSERT INTO passing VALUES(1)",
        );
        cluster.settle();
        for table in names {
            assert_eq!(
                cluster.nodes[1].count(&format!("SELECT count(*) FROM {table}")),
                1,
                "{library:?}: {table}"
            );
        }
        assert_eq!(cluster.nodes[1].count("SELECT count(*) FROM words"), 0, "{library:?}");
    }
}

#[test]
fn double_quoted_text_in_the_schema_is_no_obstacle() {
    check(
        r#"CREATE TABLE t(id INTEGER PRIMARY KEY, v DEFAULT "none", state CHECK(state <> "bad"), u);
           CREATE UNIQUE INDEX i ON t(u) WHERE state = "active""#,
        &[
            Write(r#"INSERT INTO t(id, state, u) VALUES(1, 'active', 'x'), (2, "old", 'x')"#),
            Write(
                r#"REPLACE INTO t VALUES(3, "three", 'active', 'x'); UPDATE t SET v = "text" WHERE id = 2"#,
            ),
        ],
    );
}
