//! Applications of every kind: other libraries, other versions of SQLite, other settings.

use std::process::Command;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::applications::{Library, output};
use crate::support::Database;

const TABLES: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v);
    CREATE TABLE k(a TEXT, b, v, PRIMARY KEY(a, b));
    CREATE TABLE w(k TEXT COLLATE NOCASE PRIMARY KEY, v) WITHOUT ROWID;";
const WRITES: &str = "INSERT INTO t VALUES(1, 'a', 0); REPLACE INTO t VALUES(2, 'a', 0); UPDATE t SET v = 1;
    INSERT INTO k VALUES(NULL, 1, 1), ('x', 2, 2);
    INSERT INTO w VALUES('q', 1) ON CONFLICT(k) DO UPDATE SET v = 2;
    INSERT INTO w VALUES('Q', 1) ON CONFLICT(k) DO UPDATE SET v = 2;
    UPDATE t SET id = 3; DELETE FROM w;";

/// What the log says after [`WRITES`]. The two triggers of a key change fire in an order that SQLite chooses.
fn check_log(database: &Database) {
    let mut log = database.log();
    log[7..9].sort();
    let expected = [
        "t 1 insert",
        "t 1 maybe",
        "t 2 insert",
        "t 2 update",
        "k 'x',2 insert",
        "w 'q' insert",
        "w 'q' update",
        "t 2 delete",
        "t 3 update",
        "w 'q' delete",
    ];
    assert_eq!(log, expected);
}

#[test]
fn an_application_with_sqlite_3_35_is_captured() {
    let database = Database::captured(TABLES);
    Library::Old.run(&database.path(), WRITES);
    assert_eq!(Library::Old.version() / 1000, 3035);
    check_log(&database);
}

#[test]
fn an_application_with_sqlite_3_35_migrates_captured_tables() {
    let database = Database::bare(TABLES);
    let mut store = database.open();
    let migration =
        "INSERT INTO t VALUES(1, 'a', 0); ALTER TABLE t ADD COLUMN d; ALTER TABLE t RENAME COLUMN id TO i;
        ALTER TABLE t DROP COLUMN v; ALTER TABLE t RENAME TO tt; UPDATE tt SET d = 1; DROP TABLE k;";
    Library::Old.run(&database.path(), migration);
    let read = store.read_schema().unwrap();
    assert!(read.uncaptured.is_empty() && read.dropped == ["k"], "{read:?}");
    Library::Old.run(&database.path(), "UPDATE tt SET i = 1");
    assert_eq!(database.log(), ["tt 1 insert", "tt 1 update", "tt 1 update"]);
}

#[test]
fn an_application_in_python_is_captured() {
    let database = Database::captured(TABLES);
    let printed =
        database.python(&format!("db.executescript('''{WRITES}''')\nprint(sqlite3.sqlite_version)"));
    assert!(printed.starts_with("3."), "{printed}");
    check_log(&database);
}

#[test]
fn the_sqlite_shell_is_captured() {
    let database = Database::captured(TABLES);
    output(Command::new("sqlite3").arg("-batch").arg("-bail").arg(database.path()), WRITES);
    check_log(&database);
}

#[test]
fn an_application_with_untrusted_schema_and_defensive_settings_is_captured() {
    let database = Database::captured(TABLES);
    database.run("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON");
    for (setting, value) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
    ] {
        database.application.set_db_config(setting, value).unwrap();
    }
    database.run(WRITES);
    check_log(&database);
}

#[test]
fn an_application_with_a_rollback_journal_is_captured_and_keeps_it() {
    for mode in ["delete", "truncate", "persist"] {
        let database = Database::with_settings(&format!("PRAGMA journal_mode = {mode}"), TABLES);
        let store = database.open();
        database.run(WRITES);
        check_log(&database);
        drop(store);
        assert_eq!(database.query("PRAGMA journal_mode"), [format!("'{mode}'")]);
    }
}

#[test]
fn a_database_attached_to_another_one_is_captured() {
    let database = Database::captured("CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE)");
    let other = Connection::open_in_memory().unwrap();
    other.execute("ATTACH ?1 AS app", [database.path().to_str().unwrap()]).unwrap();
    other
        .execute_batch(
            "CREATE TABLE main.t(id, u); INSERT INTO app.t VALUES(1, 1); REPLACE INTO app.t VALUES(2, 1)",
        )
        .unwrap();
    assert_eq!(database.log(), ["t 1 insert", "t 1 maybe", "t 2 insert"]);
}

#[test]
fn our_own_connection_captures_nothing_and_the_application_s_settings_are_its_own() {
    let database = Database::captured("CREATE TABLE t(id INTEGER PRIMARY KEY)");
    let settings =
        "SELECT * FROM pragma_journal_mode, pragma_user_version, pragma_application_id, pragma_synchronous,
        pragma_foreign_keys, pragma_locking_mode";
    let before = database.query(settings);
    let mut store = database.open();
    store.read_schema().unwrap();
    assert_eq!(database.query(settings), before);
}
