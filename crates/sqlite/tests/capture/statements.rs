//! Every kind of write, and what the log says of it.

use crate::support::Database;

/// The log of `statement` after `schema` and `rows`.
fn log_of(schema: &str, rows: &str, statement: &str) -> Vec<String> {
    let database = Database::captured(schema);
    database.run(rows);
    database.take_log();
    database.run(statement);
    database.log()
}

fn sorted(mut log: Vec<String>) -> Vec<String> {
    log.sort();
    log
}

const PLAIN: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
const UNIQUE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v)";

#[test]
fn inserts_updates_and_deletes_are_logged_with_their_keys() {
    let database = Database::captured(PLAIN);
    database.run("INSERT INTO t VALUES(1, 'a'), (2, 'b')");
    database.run("UPDATE t SET v = 'c' WHERE id = 2");
    database.run("DELETE FROM t WHERE id = 1");
    assert_eq!(database.log(), ["t 1 insert", "t 2 insert", "t 2 update", "t 1 delete"]);
}

#[test]
fn a_delete_without_where_logs_every_row() {
    let log = log_of(PLAIN, "INSERT INTO t VALUES(1, 'a'), (2, 'b'), (3, 'c')", "DELETE FROM t");
    assert_eq!(log, ["t 1 delete", "t 2 delete", "t 3 delete"]);
}

#[test]
fn a_rolled_back_transaction_or_savepoint_leaves_nothing() {
    let database = Database::captured(PLAIN);
    database.run("BEGIN; INSERT INTO t VALUES(1, 'a'); ROLLBACK");
    database.run("BEGIN; SAVEPOINT s; INSERT INTO t VALUES(2, 'a'); ROLLBACK TO s; INSERT INTO t VALUES(3, 'a'); COMMIT");
    assert_eq!(database.log(), ["t 3 insert"]);
}

#[test]
fn upserts_log_what_they_do() {
    let rows = "INSERT INTO t VALUES(1, 'a', 0)";
    let log =
        log_of(UNIQUE, rows, "INSERT INTO t VALUES(1, 'a', 1) ON CONFLICT(id) DO UPDATE SET v = excluded.v");
    assert_eq!(log, ["t 1 update"]);
    let log =
        log_of(UNIQUE, rows, "INSERT INTO t VALUES(2, 'a', 1) ON CONFLICT(u) DO UPDATE SET v = excluded.v");
    assert_eq!(log, ["t 1 maybe", "t 1 update"]);
}

#[test]
fn or_ignore_that_leaves_a_row_alone_logs_no_more_than_maybe() {
    let rows = "INSERT INTO t VALUES(1, 'a', 0)";
    assert_eq!(log_of(UNIQUE, rows, "INSERT OR IGNORE INTO t VALUES(2, 'a', 1)"), ["t 1 maybe"]);
    assert_eq!(log_of(UNIQUE, rows, "INSERT INTO t VALUES(2, 'a', 1) ON CONFLICT DO NOTHING"), ["t 1 maybe"]);
    assert!(log_of(UNIQUE, rows, "INSERT OR IGNORE INTO t VALUES(1, 'b', 1)").is_empty());
}

#[test]
fn or_ignore_does_not_swallow_the_log_rows_of_a_statement_that_writes() {
    let statement = "INSERT OR IGNORE INTO t VALUES(1, 'a'), (2, 'b'), (1, 'c'), (3, 'd')";
    assert_eq!(log_of(PLAIN, "", statement), ["t 1 insert", "t 2 insert", "t 3 insert"]);
}

#[test]
fn replace_on_the_key_logs_the_row_that_is_there_afterwards() {
    let log = log_of(UNIQUE, "INSERT INTO t VALUES(1, 'a', 0)", "REPLACE INTO t VALUES(1, 'b', 1)");
    assert_eq!(log, ["t 1 insert"]);
}

#[test]
fn rows_that_replace_displaces_are_logged_before_they_go() {
    let rows = "INSERT INTO t VALUES(1, 'a', 0), (3, 'b', 0)";
    assert_eq!(
        log_of(UNIQUE, rows, "INSERT OR REPLACE INTO t VALUES(2, 'a', 0)"),
        ["t 1 maybe", "t 2 insert"]
    );
    let log = log_of(UNIQUE, rows, "UPDATE OR REPLACE t SET u = 'b' WHERE id = 1");
    assert_eq!(log, ["t 3 maybe", "t 1 update"]);
}

#[test]
fn a_conflict_clause_in_the_schema_displaces_as_well() {
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE ON CONFLICT REPLACE)";
    let log = log_of(schema, "INSERT INTO t VALUES(1, 'a')", "INSERT INTO t VALUES(2, 'a')");
    assert_eq!(log, ["t 1 maybe", "t 2 insert"]);
}

#[test]
fn one_row_may_displace_a_row_over_each_unique_index() {
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b UNIQUE, c, d, UNIQUE(c, d))";
    let rows = "INSERT INTO t VALUES(1, 1, 1, 1, 1), (2, 2, 2, 2, 2), (3, 3, 3, 3, 3), (4, 4, 4, NULL, 4)";
    let log = log_of(schema, rows, "REPLACE INTO t VALUES(9, 1, 2, 3, 3)");
    assert_eq!(sorted(log), ["t 1 maybe", "t 2 maybe", "t 3 maybe", "t 9 insert"]);
    let log = log_of(schema, rows, "REPLACE INTO t VALUES(9, NULL, NULL, NULL, 4)");
    assert_eq!(log, ["t 9 insert"], "NULLs are no rivals");
}

#[test]
fn an_integer_key_that_sqlite_chooses_is_logged() {
    let database = Database::captured(UNIQUE);
    database.run("INSERT INTO t(u) VALUES('a')");
    assert_eq!(database.take_log(), ["t 1 insert"]);
    database.run("REPLACE INTO t(u) VALUES('a')");
    assert_eq!(database.take_log(), ["t 1 maybe", "t 2 insert"]);
    database.run("UPDATE t SET id = -1");
    database.take_log();
    database.run("REPLACE INTO t(u) VALUES('a')");
    assert_eq!(database.log(), ["t -1 maybe", "t 0 insert"], "-1 is what a key not given reads as");
}

#[test]
fn a_changed_key_is_a_delete_of_the_old_one_and_an_update_of_the_new_one() {
    let rows = "INSERT INTO t VALUES(1, 'a'), (2, 'b')";
    for statement in ["UPDATE t SET id = 9 WHERE id = 1", "UPDATE t SET rowid = 9 WHERE id = 1"] {
        assert_eq!(sorted(log_of(PLAIN, rows, statement)), ["t 1 delete", "t 9 update"], "{statement}");
    }
    let log = log_of(PLAIN, rows, "UPDATE OR REPLACE t SET id = 2 WHERE id = 1");
    assert_eq!(sorted(log), ["t 1 delete", "t 2 update"]);
}

#[test]
fn cascades_are_logged_as_changes_of_the_child() {
    let database = Database::bare(
        "CREATE TABLE parent(id INTEGER PRIMARY KEY);
         CREATE TABLE child(id INTEGER PRIMARY KEY,
             p REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);",
    );
    database.open();
    database.run(
        "PRAGMA foreign_keys = ON; INSERT INTO parent VALUES(1); INSERT INTO child VALUES(10, 1), (11, 1)",
    );
    database.take_log();
    database.run("UPDATE parent SET id = 2");
    let log = sorted(database.take_log());
    assert_eq!(log, ["child 10 update", "child 11 update", "parent 1 delete", "parent 2 update"]);
    database.run("DELETE FROM parent");
    assert_eq!(sorted(database.log()), ["child 10 delete", "child 11 delete", "parent 2 delete"]);
}

#[test]
fn what_the_application_s_own_triggers_write_is_logged() {
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE audit(id INTEGER PRIMARY KEY, of);
        CREATE TRIGGER copy AFTER INSERT ON t BEGIN
            INSERT INTO audit(of) VALUES(NEW.id); UPDATE t SET v = 'seen' WHERE id = NEW.id;
        END";
    let log = log_of(schema, "", "INSERT INTO t VALUES(5, 'new')");
    assert_eq!(sorted(log), ["audit 1 insert", "t 5 insert", "t 5 update"]);
}

#[test]
fn recursive_triggers_log_replaced_rows_as_deletes_too() {
    let database = Database::captured(UNIQUE);
    database.run("PRAGMA recursive_triggers = ON; INSERT INTO t VALUES(1, 'a', 0)");
    database.take_log();
    database.run("REPLACE INTO t VALUES(2, 'a', 0)");
    assert_eq!(sorted(database.log()), ["t 1 delete", "t 1 maybe", "t 2 insert"]);
}

#[test]
fn the_application_sees_its_own_counts_rowids_and_returned_rows() {
    let database = Database::captured(UNIQUE);
    database.run("INSERT INTO t VALUES(41, 'a', 0), (42, 'b', 0)");
    assert_eq!(database.query("SELECT changes(), last_insert_rowid()"), ["2|42"]);
    database.run("REPLACE INTO t VALUES(43, 'a', 0)");
    assert_eq!(database.query("SELECT changes(), last_insert_rowid()"), ["1|43"]);
    assert_eq!(database.query("UPDATE t SET v = 1 RETURNING id, v"), ["42|1", "43|1"]);
    assert_eq!(database.query("SELECT changes(), last_insert_rowid()"), ["2|43"]);
}

#[test]
fn one_statement_of_many_rows_gets_strictly_rising_ids() {
    let database = Database::captured(PLAIN);
    database.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO t SELECT i, i FROM n",
    );
    let order =
        "SELECT count(*), sum(l.val_id = row) FROM (SELECT val_id, row_number() OVER (ORDER BY id) AS row
        FROM __harmonylite__t_change_log) AS l";
    assert_eq!(database.query(order), ["20000|20000"]);
    let global = "SELECT count(DISTINCT id) FROM __harmonylite___change_log_global";
    assert_eq!(database.query(global), ["20000"]);
}

#[test]
fn ids_are_the_wall_clock_and_never_at_or_below_what_was_seen() {
    let database = Database::captured(PLAIN);
    let now = "CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)";
    database.run("INSERT INTO t VALUES(1, 'a')");
    let age =
        format!("SELECT ({now} - (max(id) >> 16)) BETWEEN -1 AND 60000 FROM __harmonylite__t_change_log");
    assert_eq!(database.query(&age), ["1"]);
    let ahead = 5_000_000_000_000i64 << 16;
    database.run(&format!("UPDATE __harmonylite___clock SET observed = {ahead}"));
    database.run("INSERT INTO t VALUES(2, 'a'), (3, 'a')");
    let ids = "SELECT id FROM __harmonylite__t_change_log WHERE val_id > 1 ORDER BY id";
    assert_eq!(database.query(ids), [(ahead + 1).to_string(), (ahead + 2).to_string()]);
}
