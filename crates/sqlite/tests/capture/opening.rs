//! Opening: what is installed when, what a restart leaves alone, and what is refused before anything is touched.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Instant;

use harmonylite_core::model::{Incarnation, NodeId};
use harmonylite_sqlite::{ClockSql, LockFile, OpenOptions, Store, StoreErrorKind, cleanup, detach, plan};
use rusqlite::Connection;

use crate::support::{Database, options, query, refusal, replicated};

const TABLE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v)";
const SCHEMA: &str = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name";

/// The files of a database nobody has open: name and content.
fn files(database: &Database) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(database.directory())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_restart_writes_nothing() {
    for settings in ["PRAGMA journal_mode = WAL", "PRAGMA journal_mode = DELETE"] {
        let mut database = Database::with_settings(settings, TABLE);
        database.open();
        database.run("INSERT INTO t VALUES(1, 2, 3)");
        let data_version = "SELECT * FROM pragma_data_version";
        let before = database.query(data_version);
        let mut store = database.open();
        assert_eq!(store.opened_schema().repaired, 0);
        assert_eq!(store.read_schema().unwrap().repaired, 0);
        assert_eq!(database.query(data_version), before, "{settings}");
        drop(store);
        database.close();
        let before = files(&database);
        database.open();
        assert!(files(&database) == before, "{settings}: the files changed");
    }
}

#[test]
fn there_is_no_moment_without_triggers() {
    let database = Database::captured(TABLE);
    let other_clock = OpenOptions { clock: ClockSql::new("1"), ..options() };
    let (done, path) = (AtomicBool::new(false), database.path());
    let looks = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let reader = Connection::open(path).unwrap();
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) || looks < 100 {
                let count = query(&reader, "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'");
                assert_eq!(count, ["6"]);
                looks += 1;
            }
            looks
        });
        let stopper = StopOnDrop(&done);
        for round in 0..60 {
            let options = if round % 2 == 0 { &other_clock } else { &options() };
            let opened = Store::open(&database.path(), options).unwrap().opened_schema();
            assert_eq!((opened.repaired, opened.uncaptured), (12, vec![]), "every trigger is replaced");
        }
        drop(stopper);
        reader.join().unwrap()
    });
    assert!(looks >= 100);
}

#[test]
fn a_missing_trigger_is_made_again_and_its_table_reported() {
    let database =
        Database::captured("CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE u(id INTEGER PRIMARY KEY)");
    database.run("INSERT INTO t VALUES(1); INSERT INTO u VALUES(1)");
    database.run("DROP TRIGGER __harmonylite__t_change_log_on_delete");
    let opened = database.open().opened_schema();
    assert_eq!((opened.repaired, opened.uncaptured), (1, vec!["t".to_owned()]));
    database.run("DELETE FROM t");
    assert_eq!(database.log(), ["t 1 insert", "u 1 insert", "t 1 delete"]);
}

#[test]
fn triggers_that_nobody_wants_are_removed() {
    let database = Database::captured(TABLE);
    database.run("CREATE TRIGGER __harmonylite__t_change_log_on_whim AFTER INSERT ON t BEGIN SELECT 1; END");
    let opened = database.open().opened_schema();
    assert_eq!((opened.repaired, opened.uncaptured), (1, vec![]));
}

#[test]
fn tables_of_ours_that_the_application_drops_are_made_again_with_rising_ids() {
    let database = Database::captured(TABLE);
    let ahead = 5_000_000_000_000i64 << 16;
    database
        .run(&format!("UPDATE __harmonylite___clock SET observed = {ahead}; INSERT INTO t VALUES(1, 1, 1)"));
    database.run("DROP TABLE __harmonylite___clock; DROP TABLE __harmonylite___change_log_global");
    database.application.execute_batch("INSERT INTO t VALUES(2, 2, 2)").expect_err("the triggers need them");
    let mut store = database.open();
    assert_eq!(store.opened_schema().repaired, 2);
    // A connection of the application that failed over the missing table notices the new schema with its next read.
    database.run("SELECT 1 FROM t; INSERT INTO t VALUES(2, 2, 2)");
    assert_eq!(database.log(), ["t 1 insert", "t 2 insert"], "the global log is filled from the tables'");
    let ids = "SELECT id FROM __harmonylite__t_change_log";
    assert_eq!(database.query(ids), [(ahead + 1).to_string(), (ahead + 2).to_string()]);

    database.run(&format!(
        "INSERT INTO __harmonylite__t_row_version VALUES(9, {}, 1, 0, 0, 0, NULL)",
        ahead + 50
    ));
    database.run("DROP TABLE __harmonylite___clock");
    store.read_schema().unwrap();
    database.run("SELECT 1 FROM t; INSERT INTO t VALUES(3, 3, 3)");
    let newest = "SELECT max(id) FROM __harmonylite__t_change_log";
    assert_eq!(database.query(newest), [(ahead + 51).to_string()], "above every row version (R4)");
}

#[test]
fn an_empty_file_is_an_empty_database() {
    let database = Database::with_settings("PRAGMA user_version", "");
    assert_eq!(std::fs::metadata(database.path()).unwrap().len(), 0);
    let mut store = database.open();
    assert!(store.read_schema().unwrap().tables.is_empty());
    database.run(TABLE);
    assert_eq!(replicated(&store.read_schema().unwrap()), ["t"]);
}

#[test]
fn identity_is_minted_once() {
    let database = Database::captured(TABLE);
    let again = OpenOptions { fresh_incarnation: Incarnation::new(78).unwrap(), ..options() };
    Store::open(&database.path(), &again).unwrap();
    let meta = "SELECT name, value FROM __harmonylite___meta ORDER BY name";
    let expected = [
        "'format_version'|1",
        "'incarnation'|77",
        "'node_id'|1",
        "'origin'|1",
        "'settled'|0",
        "'shards'|1",
        "'stamped'|0",
    ];
    assert_eq!(database.query(meta), expected);
    assert_eq!(database.query("SELECT * FROM __harmonylite___origin"), ["1|1|77"]);
}

#[test]
fn the_database_of_another_node_shard_count_or_newer_format_is_refused_untouched() {
    let database = Database::captured(TABLE);
    let before = database.query("SELECT * FROM pragma_data_version");
    let refused = |options: OpenOptions| Store::open(&database.path(), &options).unwrap_err();
    let other_node = refused(OpenOptions { node_id: NodeId::new(2).unwrap(), ..options() });
    assert_eq!(other_node.kind, StoreErrorKind::WrongNodeId);
    assert!(other_node.message.contains("belongs to node 1, not to node 2"), "{other_node}");
    assert!(other_node.hint.unwrap().contains("harmonylite cleanup"));
    let other_shards = refused(OpenOptions { shards: 2, ..options() });
    assert_eq!(other_shards.kind, StoreErrorKind::OtherShards, "{other_shards}");
    assert_eq!(database.query("SELECT * FROM pragma_data_version"), before);

    database.run("UPDATE __harmonylite___meta SET value = 2 WHERE name = 'format_version'");
    assert_eq!(refused(options()).kind, StoreErrorKind::NewerFormat);
}

/// What the original makes beside a table, as far as it matters here.
const ORIGINAL: &str = "CREATE TABLE __harmonylite___change_log_global(id INTEGER PRIMARY KEY AUTOINCREMENT,
        change_table_id INTEGER, table_name TEXT);
    CREATE TABLE __harmonylite__t_change_log(id INTEGER PRIMARY KEY AUTOINCREMENT, val_id INTEGER, val_u, val_v,
        type TEXT, created_at INTEGER, state INTEGER);
    CREATE INDEX __harmonylite__t_change_log_state ON __harmonylite__t_change_log(state);
    CREATE TRIGGER __harmonylite__t_change_log_on_insert AFTER INSERT ON t BEGIN SELECT 1; END;";

#[test]
fn a_database_of_the_original_is_refused_until_it_is_cleaned_up() {
    let database = Database::bare(TABLE);
    let before = database.query(SCHEMA);
    database.run(ORIGINAL);
    let with_original = database.query(SCHEMA);
    for error in [database.try_open().unwrap_err(), plan(&database.path()).unwrap_err()] {
        assert_eq!(error.kind, StoreErrorKind::OriginalTables, "{error}");
        assert!(error.hint.unwrap().contains("harmonylite cleanup"));
    }
    assert_eq!(database.query(SCHEMA), with_original, "never touched silently");
    cleanup(&database.path()).unwrap();
    let left = database.query(SCHEMA);
    assert_eq!(
        left.iter().filter(|line| !line.contains("sqlite_sequence")).collect::<Vec<_>>(),
        before.iter().collect::<Vec<_>>()
    );
    database.open();
}

#[test]
fn remains_of_our_tables_are_refused() {
    for gone in ["meta", "origin"] {
        let database = Database::captured(TABLE);
        let mut store = database.open();
        database.run(&format!("DROP TABLE __harmonylite___{gone}"));
        for error in [database.try_open().unwrap_err(), store.read_schema().unwrap_err()] {
            assert_eq!(error.kind, StoreErrorKind::Damaged, "{error}");
        }
    }
}

#[test]
fn cleanup_removes_everything_of_ours_and_nothing_else() {
    let database = Database::bare(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE); CREATE TABLE \"__harmonyliteXXt\"(id INTEGER PRIMARY KEY)",
    );
    database.run("INSERT INTO t VALUES(1, 2)");
    let before = database.query(SCHEMA);
    drop(database.open());
    let removed = cleanup(&database.path()).unwrap();
    assert_eq!((removed.triggers, removed.tables), (10, 15));
    assert_eq!(database.query(SCHEMA), before);
    assert_eq!(database.query("SELECT * FROM t"), ["1|2"]);
    assert_eq!(cleanup(&database.path()).unwrap(), Default::default(), "nothing is left to remove");
    assert!(!database.directory().join("app.db.harmonylite.lock").exists());
}

#[test]
fn detach_removes_the_triggers_and_keeps_what_is_pending() {
    let database = Database::captured(TABLE);
    database.run("INSERT INTO t VALUES(1, 1, 1)");
    assert_eq!(detach(&database.path()).unwrap().triggers, 6);
    database.run("ALTER TABLE t RENAME COLUMN u TO uu; INSERT INTO t VALUES(2, 2, 2)");
    let opened = database.open().opened_schema();
    assert_eq!(opened.uncaptured, ["t"], "somebody must look at what was written meanwhile");
    assert_eq!(database.log(), ["t 1 insert"]);
}

#[test]
fn cleanup_and_detach_refuse_while_a_sidecar_runs() {
    let database = Database::captured(TABLE);
    let _running = LockFile::acquire(&database.path()).unwrap();
    for error in [cleanup(&database.path()).unwrap_err(), detach(&database.path()).unwrap_err()] {
        assert_eq!(error.kind, StoreErrorKind::Locked);
    }
    assert_eq!(database.query("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'"), ["6"]);
}

#[test]
fn the_second_sidecar_is_told_who_the_first_one_is() {
    let database = Database::bare(TABLE);
    let link = database.directory().join("link.db");
    std::os::unix::fs::symlink(database.path(), &link).unwrap();
    let mut first = LockFile::acquire(&database.path()).unwrap();
    first.set_note("node 1").unwrap();
    for path in [database.path(), link] {
        let error = LockFile::acquire(&path).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Locked);
        assert!(error.message.contains(&format!("process {}", std::process::id())), "{error}");
    }
    let content = std::fs::read_to_string(database.directory().join("app.db.harmonylite.lock")).unwrap();
    assert_eq!(content, format!("{}\nnode 1\n", std::process::id()));
    drop(first);
    LockFile::acquire(&database.path()).unwrap();
}

#[test]
fn plan_says_what_would_happen_and_writes_nothing() {
    let mut database = Database::bare("CREATE TABLE t(k TEXT PRIMARY KEY); CREATE TABLE keyless(a)");
    let schema = plan(&database.path()).unwrap();
    assert_eq!(replicated(&schema), ["t"]);
    assert!(schema.tables[1].notes[0].contains("may be NULL"), "{schema:?}");
    assert!(refusal(&schema, "keyless").contains("no primary key"));
    assert_eq!(schema.repaired, 0);
    assert_eq!(database.query("SELECT name FROM sqlite_schema WHERE name GLOB '__harmony*'"), [""; 0]);
    database.close();
    let content = || std::fs::read(database.path()).unwrap();
    let before = content();
    plan(&database.path()).unwrap();
    assert!(content() == before);
}

#[test]
fn the_baseline_is_equal_exactly_when_the_rows_are() {
    let baseline = |rows: &str| {
        let database = Database::bare(
            "CREATE TABLE t(k TEXT PRIMARY KEY, v); CREATE TABLE empty(id INTEGER PRIMARY KEY)",
        );
        database.run(rows);
        database.open();
        database.query("SELECT table_name, digest FROM __harmonylite___baseline")
    };
    let reference = baseline("INSERT INTO t VALUES('a', 1), ('b', 2)");
    assert_eq!(reference.len(), 1, "empty tables are left out");
    assert_eq!(reference, baseline("INSERT INTO t VALUES('b', 2), (NULL, 3), ('a', 1)"));
    assert_ne!(reference, baseline("INSERT INTO t VALUES('a', 1), ('b', 2.0)"));
    assert_ne!(reference, baseline("INSERT INTO t VALUES('a', 1), ('b', '2')"));
    assert_ne!(reference, baseline("INSERT INTO t VALUES('a', 1)"));
    assert!(baseline("").is_empty());
}

#[test]
fn data_version_moves_when_somebody_else_commits() {
    let database = Database::captured(TABLE);
    let store = database.open();
    let before = store.data_version().unwrap();
    assert_eq!(store.data_version().unwrap(), before);
    database.run("INSERT INTO t VALUES(1, 1, 1)");
    assert_ne!(store.data_version().unwrap(), before);
}

/// Ends the writer also when the test fails: its scope would wait for ever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Inserts rows 1, 2, ... into `t`, one per transaction, until told to stop; gives the last one.
fn write_rows(path: &std::path::Path, stop: &AtomicBool, written: &AtomicI64) -> i64 {
    let application = Connection::open(path).unwrap();
    application.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let row = written.load(Ordering::Relaxed) + 1;
        application.execute("INSERT INTO t VALUES(?1, ?1, 0)", [row]).unwrap();
        written.store(row, Ordering::Relaxed);
    }
    written.load(Ordering::Relaxed)
}

#[test]
fn no_write_slips_between_installing_and_mending_the_triggers() {
    let database = Database::bare(TABLE);
    let (path, stop, written) = (database.path(), AtomicBool::new(false), AtomicI64::new(0));
    let last = std::thread::scope(|scope| {
        let application = scope.spawn(|| write_rows(&path, &stop, &written));
        let stopper = StopOnDrop(&stop);
        let wait_for = |row: i64| {
            let deadline = Instant::now() + std::time::Duration::from_secs(30);
            while written.load(Ordering::Relaxed) < row {
                assert!(Instant::now() < deadline, "the application writes nothing");
                std::thread::yield_now();
            }
        };
        wait_for(50);
        database.open();
        for round in 1..20 {
            wait_for(written.load(Ordering::Relaxed) + 5);
            let clock = ClockSql::new(round.to_string());
            let store = Store::open(&path, &OpenOptions { clock, ..options() }).unwrap();
            assert!(store.opened_schema().repaired > 0);
        }
        drop(stopper);
        application.join().unwrap()
    });
    let holes = format!(
        "SELECT {last} - min(val_id) + 1 - count(*), min(val_id) > 50 FROM __harmonylite__t_change_log"
    );
    assert_eq!(database.query(&holes), ["0|1"]);
}
