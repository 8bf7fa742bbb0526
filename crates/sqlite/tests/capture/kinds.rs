//! Every kind of table, key and name.

use crate::support::{Database, refusal, replicated};

#[test]
fn composite_keys_are_logged_column_by_column() {
    let database = Database::captured("CREATE TABLE t(b, v, a, PRIMARY KEY(a, b))");
    database.run("INSERT INTO t VALUES(2, 'x', 1)");
    database.run("UPDATE t SET b = 3");
    let mut log = database.log();
    log.sort();
    assert_eq!(log, ["t 1,2 delete", "t 1,2 insert", "t 1,3 update"]);
}

#[test]
fn tables_without_rowid_are_captured() {
    let database = Database::captured("CREATE TABLE t(k TEXT PRIMARY KEY, u UNIQUE, v) WITHOUT ROWID");
    database.run("INSERT INTO t VALUES('a', 1, 0); REPLACE INTO t VALUES('b', 1, 0)");
    assert_eq!(database.log(), ["t 'a' insert", "t 'a' maybe", "t 'b' insert"]);
}

#[test]
fn strict_tables_are_captured() {
    let database = Database::captured("CREATE TABLE t(k BLOB PRIMARY KEY, v INT) STRICT");
    database.run("INSERT INTO t VALUES(x'00ff', 1)");
    assert_eq!(database.log(), ["t x'00ff' insert"]);
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND sql LIKE '%IS NOT NULL%'";
    assert_eq!(database.query(sql), ["0"], "a key of a STRICT table is never NULL");
}

#[test]
fn generated_columns_are_left_out_and_their_unique_index_has_no_triggers() {
    let database = Database::captured(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a, low AS (lower(a)) UNIQUE, high AS (upper(a)) STORED)",
    );
    database.run("INSERT INTO t(id, a) VALUES(1, 'X')");
    database.run("UPDATE t SET a = 'Y'");
    assert_eq!(database.log(), ["t 1 insert", "t 1 update"]);
    let schema = database.open().read_schema().unwrap();
    assert!(schema.tables[0].notes.iter().any(|note| note.contains("sqlite_autoindex_t_1")), "{schema:?}");
}

#[test]
fn rows_with_null_in_the_key_are_not_logged_until_they_have_one() {
    let database = Database::captured("CREATE TABLE t(k TEXT PRIMARY KEY, u UNIQUE)");
    database.run("INSERT INTO t VALUES(NULL, 1), (NULL, 2), ('a', 3)");
    assert_eq!(database.take_log(), ["t 'a' insert"]);
    database.run("UPDATE t SET k = 'b' WHERE u = 1");
    assert_eq!(database.take_log(), ["t 'b' update"]);
    database.run("UPDATE t SET k = NULL WHERE u = 1");
    assert_eq!(database.take_log(), ["t 'b' delete"]);
    database.run("REPLACE INTO t VALUES('c', 2)");
    assert_eq!(database.take_log(), ["t 'c' insert"], "the displaced row had no key");
    database.run("DELETE FROM t WHERE k IS NULL");
    assert!(database.log().is_empty());
}

#[test]
fn a_key_re_spelled_under_its_collation_is_the_same_row() {
    let database = Database::captured("CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, v)");
    database.run("INSERT INTO t VALUES('Ab', 0)");
    database.run("UPDATE t SET k = 'AB'");
    assert_eq!(database.take_log(), ["t 'Ab' insert", "t 'AB' update"]);
    database.run("UPDATE t SET k = 'cd'");
    let mut log = database.log();
    log.sort();
    assert_eq!(log, ["t 'AB' delete", "t 'cd' update"]);
}

#[test]
fn the_collation_of_the_key_s_index_counts_not_the_column_s() {
    let database = Database::captured("CREATE TABLE t(k TEXT NOT NULL, v, PRIMARY KEY(k COLLATE NOCASE))");
    database.run("INSERT INTO t VALUES('Ab', 0); UPDATE t SET k = 'AB'");
    assert_eq!(database.log(), ["t 'Ab' insert", "t 'AB' update"]);
}

#[test]
fn rivals_are_found_under_the_index_s_collation() {
    let database = Database::captured(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT); CREATE UNIQUE INDEX i ON t(u COLLATE NOCASE)",
    );
    database.run("INSERT INTO t VALUES(1, 'a'); REPLACE INTO t VALUES(2, 'A')");
    assert_eq!(database.log(), ["t 1 insert", "t 1 maybe", "t 2 insert"]);
}

#[test]
fn an_integer_key_that_is_not_the_rowid_is_an_ordinary_column() {
    let database = Database::captured("CREATE TABLE t(id INTEGER PRIMARY KEY DESC, v)");
    database.run("INSERT INTO t VALUES(NULL, 'a'), (7, 'b')");
    assert_eq!(database.log(), ["t 7 insert"]);
}

#[test]
fn columns_named_like_the_rowid_hide_nothing() {
    for name in ["rowid", "_rowid_", "oid"] {
        let database = Database::captured(&format!("CREATE TABLE t({name} TEXT PRIMARY KEY, v)"));
        database.run("INSERT INTO t VALUES('k', 0); UPDATE t SET v = 1");
        assert_eq!(database.log(), ["t 'k' insert", "t 'k' update"], "{name}");
        let database = Database::captured(&format!("CREATE TABLE t(id INTEGER PRIMARY KEY, {name} UNIQUE)"));
        database.run("INSERT INTO t VALUES(5, 1); REPLACE INTO t VALUES(6, 1)");
        assert_eq!(database.log(), ["t 5 insert", "t 5 maybe", "t 6 insert"], "{name}");
    }
}

#[test]
fn names_of_any_spelling_are_captured() {
    let names = [
        "select",
        "new",
        "old",
        "two words",
        "dotted.name",
        "quo\"te",
        "apo'strophe",
        "[bracket]",
        "`tick`",
        "ünïcödé 表 🙂",
        "semi;colon--",
        "x",
        "",
        "%_",
        "a\nb",
        "__harmonylite_",
        "_change_log_on_insert",
    ];
    for name in names {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let database = Database::captured(&format!(
            "CREATE TABLE {quoted}({quoted} TEXT NOT NULL PRIMARY KEY, u UNIQUE)"
        ));
        database.run(&format!("INSERT INTO {quoted} VALUES('k', 1); REPLACE INTO {quoted} VALUES('l', 1)"));
        database.run(&format!("UPDATE {quoted} SET {quoted} = 'm'; DELETE FROM {quoted}"));
        let mut log = database.log();
        log[3..5].sort();
        let expected = ["'k' insert", "'k' maybe", "'l' insert", "'l' delete", "'m' update", "'m' delete"];
        assert_eq!(log, expected.map(|entry| format!("{name} {entry}")), "{name:?}");
    }
}

#[test]
fn tables_that_resemble_ours_are_the_application_s() {
    let database = Database::captured("CREATE TABLE \"__harmonyliteXXt\"(id INTEGER PRIMARY KEY)");
    database.run("INSERT INTO \"__harmonyliteXXt\" VALUES(1)");
    assert_eq!(database.log(), ["__harmonyliteXXt 1 insert"]);
}

#[test]
fn virtual_shadow_and_temporary_tables_and_views_are_left_alone() {
    let database = Database::bare(
        "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v); CREATE VIEW w AS SELECT * FROM t;
         CREATE VIRTUAL TABLE f USING fts5(body); CREATE VIRTUAL TABLE r USING rtree(id, a, b);",
    );
    let mut store = database.open();
    database.run("CREATE TEMP TABLE passing(id INTEGER PRIMARY KEY); INSERT INTO passing VALUES(1)");
    database.run("INSERT INTO f VALUES('word'); INSERT INTO t(v) VALUES(1)");
    assert_eq!(database.log(), ["t 1 insert"]);
    let schema = store.read_schema().unwrap();
    assert_eq!(replicated(&schema), ["t"]);
    assert_eq!(schema.tables.len(), 3, "{schema:?}");
    assert!(refusal(&schema, "f").contains("virtual table"));
}

#[test]
fn tables_of_a_virtual_table_with_an_unknown_module_are_refused() {
    let database = Database::bare(
        "CREATE TABLE v_data(id INTEGER PRIMARY KEY, block); CREATE TABLE vocal(id INTEGER PRIMARY KEY);
         PRAGMA writable_schema = ON;
         INSERT INTO sqlite_schema VALUES('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING nowhere(x)');
         PRAGMA writable_schema = RESET",
    );
    let schema = database.open().read_schema().unwrap();
    assert_eq!(replicated(&schema), ["vocal"]);
    assert!(refusal(&schema, "v_data").contains("whose module is not known"));
}

#[test]
fn a_table_without_primary_key_is_refused_and_the_others_go_on() {
    let database = Database::bare("CREATE TABLE keyless(a, b); CREATE TABLE t(id INTEGER PRIMARY KEY)");
    let schema = database.open().read_schema().unwrap();
    assert_eq!(replicated(&schema), ["t"]);
    assert!(refusal(&schema, "keyless").contains("no primary key"));
    database.run("INSERT INTO keyless VALUES(1, 2); INSERT INTO t VALUES(1)");
    assert_eq!(database.log(), ["t 1 insert"]);
}

#[test]
fn tables_that_need_the_application_s_collations_or_functions_are_refused() {
    let database = Database::bare("");
    database.python(
        "db.create_collation('alphabet', lambda a, b: (a > b) - (a < b))
db.create_function('norm', 1, lambda v: 1, deterministic=True)
db.executescript('''
CREATE TABLE key_collation(k TEXT COLLATE alphabet PRIMARY KEY);
CREATE TABLE column_collation(id INTEGER PRIMARY KEY, v COLLATE alphabet);
CREATE TABLE index_collation(id INTEGER PRIMARY KEY, v);
CREATE INDEX collated ON index_collation(v COLLATE alphabet);
CREATE TABLE index_function(id INTEGER PRIMARY KEY, v);
CREATE INDEX computed ON index_function(norm(v));
CREATE TABLE partial_function(id INTEGER PRIMARY KEY, v);
CREATE INDEX partial ON partial_function(v) WHERE norm(v) = 1;
CREATE TABLE stored_function(id INTEGER PRIMARY KEY, v, g AS (norm(v)) STORED);
CREATE TABLE checked(id INTEGER PRIMARY KEY, v CHECK(norm(v) = 1));
CREATE TABLE fine(id INTEGER PRIMARY KEY, v);
''')",
    );
    let schema = database.open().read_schema().unwrap();
    assert_eq!(
        replicated(&schema),
        ["checked", "fine"],
        "checks are not enforced while applying: {schema:?}"
    );
    for table in ["key_collation", "column_collation", "index_collation"] {
        assert!(refusal(&schema, table).contains("alphabet"), "{table}: {}", refusal(&schema, table));
    }
    for table in ["index_function", "partial_function", "stored_function"] {
        assert!(refusal(&schema, table).contains("norm"), "{table}: {}", refusal(&schema, table));
    }
    database.python(
        "db.create_function('norm', 1, lambda v: 1, deterministic=True)
db.executescript('INSERT INTO index_function VALUES(1, 1); INSERT INTO fine VALUES(1, 1)')",
    );
    assert_eq!(database.log(), ["fine 1 insert"]);
}

#[test]
fn a_utf16_database_is_captured() {
    let database =
        Database::with_settings("PRAGMA encoding = 'UTF-16'", "CREATE TABLE \"tä\"(k TEXT PRIMARY KEY)");
    database.open();
    database.run("INSERT INTO \"tä\" VALUES('ü')");
    assert_eq!(database.log(), ["tä 'ü' insert"]);
}
