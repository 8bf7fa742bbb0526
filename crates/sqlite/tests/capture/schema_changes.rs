//! The application's migrations succeed with our triggers in place, and capture goes on through them.

use harmonylite_core::input::SchemaRead;

use crate::support::{Database, refusal, replicated};

const TABLE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b UNIQUE, c)";

/// Runs `change` between a captured write and another one, then lets the store look.
fn migrate(schema: &str, before: &str, change: &str, after: &str) -> (Database, SchemaRead) {
    let database = Database::bare(schema);
    let mut store = database.open();
    database.run(before);
    database.run(change);
    database.run(after);
    let read = store.read_schema().unwrap();
    assert_eq!(store.read_schema().unwrap().repaired, 0, "the second look finds nothing to mend");
    (database, read)
}

#[test]
fn add_column_is_captured_at_once_and_needs_no_repair() {
    let (database, read) = migrate(
        TABLE,
        "INSERT INTO t VALUES(1, 0, 0, 0)",
        "ALTER TABLE t ADD COLUMN d DEFAULT 5",
        "UPDATE t SET d = 6",
    );
    assert_eq!(read.repaired, 0);
    assert_eq!(database.log(), ["t 1 insert", "t 1 update"]);
}

#[test]
fn drop_column_succeeds() {
    let (database, read) = migrate(
        TABLE,
        "INSERT INTO t VALUES(1, 0, 0, 0)",
        "ALTER TABLE t DROP COLUMN a",
        "UPDATE t SET c = 6",
    );
    assert_eq!(read.repaired, 0);
    assert_eq!(database.log(), ["t 1 insert", "t 1 update"]);
}

#[test]
fn dropping_a_column_of_a_dropped_unique_index_works_after_the_triggers_are_mended() {
    let database =
        Database::bare("CREATE TABLE t(id INTEGER PRIMARY KEY, a, b); CREATE UNIQUE INDEX i ON t(b)");
    let mut store = database.open();
    database.run("DROP INDEX i");
    database.application.execute_batch("ALTER TABLE t DROP COLUMN b").expect_err("our triggers name it");
    let read = store.read_schema().unwrap();
    assert!(read.repaired > 0 && read.uncaptured.is_empty(), "{read:?}");
    database.run("ALTER TABLE t DROP COLUMN b; INSERT INTO t VALUES(1, 2)");
    assert_eq!(database.log(), ["t 1 insert"]);
}

#[test]
fn rename_column_keeps_capture_and_pending_rows() {
    let (database, read) = migrate(
        TABLE,
        "INSERT INTO t VALUES(1, 0, 'x', 0)",
        "ALTER TABLE t RENAME COLUMN a TO aa; ALTER TABLE t RENAME COLUMN b TO bb",
        "REPLACE INTO t VALUES(2, 0, 'x', 0)",
    );
    assert!(read.uncaptured.is_empty(), "{read:?}");
    assert_eq!(database.log(), ["t 1 insert", "t 1 maybe", "t 2 insert"]);
}

#[test]
fn renaming_key_columns_takes_log_and_row_versions_along() {
    let schema = "CREATE TABLE t(a TEXT NOT NULL, b COLLATE NOCASE, v, PRIMARY KEY(b, a))";
    let database = Database::bare(schema);
    let mut store = database.open();
    database.run("INSERT INTO t VALUES('x', 'y', 0)");
    database.run("INSERT INTO __harmonylite__t_row_version VALUES('k', 'l', 5, 1, 0, 0, 0, NULL)");
    database.run("ALTER TABLE t RENAME COLUMN a TO \"a a\"; ALTER TABLE t RENAME COLUMN b TO a");
    database.run("UPDATE t SET v = 1");
    let read = store.read_schema().unwrap();
    assert!(read.uncaptured.is_empty() && read.repaired > 0, "{read:?}");
    assert_eq!(replicated(&read), ["t"]);
    database.run("UPDATE t SET v = 2");
    assert_eq!(database.log(), ["t 'y','x' insert", "t 'y','x' update", "t 'y','x' update"]);
    let versions = "SELECT \"val_a\", \"val_a a\", hlc FROM __harmonylite__t_row_version WHERE val_a = 'K'";
    assert_eq!(database.query(versions), ["'k'|'l'|5"]);
    assert_eq!(store.read_schema().unwrap().repaired, 0);
}

#[test]
fn renaming_a_table_takes_log_and_row_versions_along() {
    let database = Database::bare(TABLE);
    let mut store = database.open();
    database.run("INSERT INTO t VALUES(1, 0, 0, 0)");
    database.run("INSERT INTO __harmonylite__t_row_version VALUES(1, 5, 1, 0, 0, 0, NULL)");
    database.run("ALTER TABLE t RENAME TO \"u u\"");
    database.run("UPDATE \"u u\" SET a = 1");
    let read = store.read_schema().unwrap();
    assert!(read.uncaptured.is_empty() && read.dropped.is_empty(), "{read:?}");
    assert_eq!(database.log(), ["u u 1 insert", "u u 1 update"]);
    assert_eq!(database.query("SELECT hlc FROM \"__harmonylite__u u_row_version\""), ["5"]);
    assert_eq!(store.read_schema().unwrap().repaired, 0);
    assert_eq!(database.open().opened_schema().repaired, 0, "a restart agrees");
}

#[test]
fn renaming_a_table_to_another_case_of_its_name_works() {
    let (database, read) = migrate(
        TABLE,
        "INSERT INTO t VALUES(1, 0, 0, 0)",
        "ALTER TABLE t RENAME TO x; ALTER TABLE x RENAME TO T",
        "UPDATE t SET a = 1",
    );
    assert!(read.uncaptured.is_empty() && read.dropped.is_empty(), "{read:?}");
    assert_eq!(database.log(), ["T 1 insert", "T 1 update"]);
}

#[test]
fn tables_that_swap_names_swap_their_logs() {
    let (database, read) = migrate(
        "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE u(k TEXT PRIMARY KEY NOT NULL)",
        "INSERT INTO t VALUES(1); INSERT INTO u VALUES('x')",
        "ALTER TABLE t RENAME TO x; ALTER TABLE u RENAME TO t; ALTER TABLE x RENAME TO u",
        "INSERT INTO u VALUES(2); INSERT INTO t VALUES('y')",
    );
    assert!(read.uncaptured.is_empty() && read.dropped.is_empty(), "{read:?}");
    assert_eq!(database.log(), ["u 1 insert", "t 'x' insert", "u 2 insert", "t 'y' insert"]);
}

#[test]
fn a_dropped_table_takes_its_log_along_and_is_reported() {
    let (database, read) = migrate(
        "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE u(id INTEGER PRIMARY KEY)",
        "INSERT INTO u VALUES(1); INSERT INTO t VALUES(1)",
        "DROP TABLE t",
        "",
    );
    assert_eq!(read.dropped, ["t"]);
    assert_eq!(replicated(&read), ["u"]);
    assert_eq!(database.log(), ["u 1 insert"]);
    assert!(database.query("SELECT name FROM sqlite_schema WHERE name GLOB '__harmonylite__t_*'").is_empty());
}

#[test]
fn ids_go_on_rising_after_the_newest_log_rows_went_with_their_table() {
    let database =
        Database::bare("CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE u(id INTEGER PRIMARY KEY)");
    let mut store = database.open();
    let ahead = 5_000_000_000_000i64 << 16;
    database.run(&format!("UPDATE __harmonylite___clock SET observed = {ahead}; INSERT INTO t VALUES(1)"));
    database.run("UPDATE __harmonylite___clock SET observed = 0; DROP TABLE t");
    store.read_schema().unwrap();
    database.run("INSERT INTO u VALUES(1)");
    assert_eq!(database.query("SELECT id FROM __harmonylite__u_change_log"), [(ahead + 2).to_string()]);
}

#[test]
fn new_tables_are_captured_with_the_rows_that_came_first() {
    let (database, read) = migrate(
        TABLE,
        "INSERT INTO t VALUES(1, 1, 1, 1)",
        "CREATE TABLE empty(id INTEGER PRIMARY KEY); CREATE TABLE filled(a, b TEXT, PRIMARY KEY(b, a))",
        "INSERT INTO filled VALUES(1, 'x'), (2, 'y'), (3, NULL); INSERT INTO t VALUES(2, 2, 2, 2)",
    );
    assert!(read.uncaptured.is_empty(), "{read:?}");
    database.run("INSERT INTO empty VALUES(1); INSERT INTO filled VALUES(4, 'z')");
    let log = [
        "t 1 insert",
        "t 2 insert",
        "filled 'x',1 insert",
        "filled 'y',2 insert",
        "empty 1 insert",
        "filled 'z',4 insert",
    ];
    assert_eq!(database.log(), log);
}

#[test]
fn a_new_table_with_very_many_rows_is_reported_instead() {
    let database = Database::bare(TABLE);
    let mut store = database.open();
    database.run(
        "CREATE TABLE big(id INTEGER PRIMARY KEY);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100001) INSERT INTO big SELECT i FROM n",
    );
    assert_eq!(store.read_schema().unwrap().uncaptured, ["big"]);
    assert!(database.log().is_empty());
}

#[test]
fn a_table_rebuilt_in_one_transaction_gets_its_triggers_back_and_is_reported() {
    let (database, read) = migrate(
        TABLE,
        "INSERT INTO t VALUES(1, 0, 0, 0)",
        "BEGIN; CREATE TABLE n(id INTEGER PRIMARY KEY, a, extra); INSERT INTO n SELECT id, a, 1 FROM t;
         DROP TABLE t; ALTER TABLE n RENAME TO t; COMMIT",
        "",
    );
    assert_eq!(read.uncaptured, ["t"]);
    assert!(read.dropped.is_empty());
    database.run("INSERT INTO t VALUES(2, 0, 0)");
    assert_eq!(database.log(), ["t 1 insert", "t 2 insert"]);
}

#[test]
fn a_table_rebuilt_before_our_eyes_keeps_its_row_versions() {
    let database = Database::bare(TABLE);
    let mut store = database.open();
    database.run("INSERT INTO t VALUES(1, 0, 0, 0)");
    database.run("INSERT INTO __harmonylite__t_row_version VALUES(1, 5, 1, 0, 0, 0, NULL)");
    for step in [
        "CREATE TABLE n(id INTEGER PRIMARY KEY, a, extra)",
        "INSERT INTO n SELECT id, a, 1 FROM t",
        "DROP TABLE t",
        "ALTER TABLE n RENAME TO t",
    ] {
        database.run(step);
        store.read_schema().unwrap();
    }
    assert_eq!(database.query("SELECT hlc FROM __harmonylite__t_row_version"), ["5"]);
    assert_eq!(database.log(), ["t 1 insert"], "that of the copy");
    database.run("UPDATE t SET a = 1");
    assert_eq!(database.log(), ["t 1 insert", "t 1 update"]);
}

#[test]
fn a_rebuilt_table_that_takes_the_place_of_a_captured_one_keeps_both_logs() {
    let database = Database::bare(TABLE);
    let mut store = database.open();
    database.run("INSERT INTO t VALUES(1, 0, 0, 0); CREATE TABLE n(id INTEGER PRIMARY KEY, a)");
    store.read_schema().unwrap();
    database.run("BEGIN; INSERT INTO n SELECT id, a FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t; COMMIT");
    let read = store.read_schema().unwrap();
    assert!(read.dropped.is_empty() && read.uncaptured.is_empty(), "{read:?}");
    assert_eq!(database.log(), ["t 1 insert", "t 1 insert"]);
    assert_eq!(store.read_schema().unwrap().repaired, 0);
}

#[test]
fn a_table_rebuilt_with_another_key_is_refused_and_the_others_go_on() {
    for rebuilt in [
        "t(id TEXT PRIMARY KEY NOT NULL, a)",
        "t(other INTEGER PRIMARY KEY, a)",
        "t(id INTEGER, a, PRIMARY KEY(id, a))",
        "t(id INTEGER PRIMARY KEY DESC, a)",
    ] {
        let database = Database::bare(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE u(id INTEGER PRIMARY KEY)",
        );
        let mut store = database.open();
        database
            .run(&format!("INSERT INTO t VALUES(1, 0); BEGIN; DROP TABLE t; CREATE TABLE {rebuilt}; COMMIT"));
        let read = store.read_schema().unwrap();
        assert!(refusal(&read, "t").contains("harmonylite cleanup"), "{rebuilt}: {read:?}");
        assert_eq!(replicated(&read), ["u"], "{rebuilt}");
        database.run("INSERT INTO t VALUES(5, 5); INSERT INTO u VALUES(1)");
        assert_eq!(store.read_schema().unwrap().repaired, 0, "{rebuilt}");
    }
}

#[test]
fn a_new_unique_index_gets_its_triggers() {
    let (database, read) = migrate(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a)",
        "INSERT INTO t VALUES(1, 'x')",
        "CREATE UNIQUE INDEX i ON t(a)",
        "",
    );
    assert!(read.uncaptured.is_empty(), "{read:?}");
    database.run("REPLACE INTO t VALUES(2, 'x')");
    assert_eq!(database.log(), ["t 1 insert", "t 1 maybe", "t 2 insert"]);
}

/// What the statement wrote before `RAISE(IGNORE)` stays, and no trigger behind it fires.
#[test]
fn a_new_trigger_that_may_end_the_statement_has_ours_made_again_before_it_and_is_reported() {
    let database =
        Database::bare("CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE u(id INTEGER PRIMARY KEY)");
    let mut store = database.open();
    database.run(
        "INSERT INTO t VALUES(1, 'a'); INSERT INTO u VALUES(1);
         CREATE TRIGGER enough AFTER INSERT ON T BEGIN SELECT Raise ( Ignore ); END;
         CREATE TRIGGER fails AFTER INSERT ON u WHEN NEW.id < 0 BEGIN SELECT raise(ABORT, 'negative'); END",
    );
    let read = store.read_schema().unwrap();
    assert!(read.repaired > 0 && read.uncaptured == ["t"], "{read:?}");
    database.run("INSERT INTO t VALUES(2, 'b')");
    assert_eq!(database.log(), ["t 1 insert", "u 1 insert", "t 2 insert"]);
    assert_eq!(store.read_schema().unwrap().repaired, 0);
    assert_eq!(database.open().opened_schema().repaired, 0, "a restart agrees");
}

#[test]
fn views_and_triggers_of_the_application_that_do_not_resolve_are_no_obstacle() {
    let database = Database::bare(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE VIEW broken AS SELECT nix FROM nowhere;
         CREATE TRIGGER odd AFTER INSERT ON t WHEN NEW.a = 'odd' BEGIN SELECT no_such_function(NEW.a); END",
    );
    let mut store = database.open();
    database.run("UPDATE t SET a = 0; PRAGMA legacy_alter_table = ON; ALTER TABLE t RENAME TO u");
    let read = store.read_schema().unwrap();
    assert_eq!(replicated(&read), ["u"]);
    database.run("DELETE FROM u");
    assert_eq!(store.read_schema().unwrap().repaired, 0);
}
