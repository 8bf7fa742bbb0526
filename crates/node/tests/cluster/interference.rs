//! Things that applications, operators and accidents do to the database and to the streams while nodes run.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use harmonylite_testkit::{Result, ensure, wait_for};

use crate::support::{DEADLINE, counter, following, no_panics, run, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE word(w TEXT PRIMARY KEY, v);";

#[test]
fn triggers_and_tables_of_ours_that_are_dropped_come_back_by_themselves() -> Result<()> {
    let cluster = following(2, SCHEMA)?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'before')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 1)?;
    let triggers = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 't'";
    let wanted = cluster.nodes[0].query::<i64>(triggers)?;
    let name: String = cluster.nodes[0].query(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 't' AND name GLOB '*insert'",
    )?;
    cluster.nodes[0].execute(&format!("DROP TRIGGER \"{name}\""))?;
    wait_number(&cluster.nodes[0], triggers, wanted)?;
    cluster.nodes[0].execute("DROP TABLE \"__harmonylite__t_change_log\"")?;
    wait_for("a write that works again", DEADLINE, || {
        cluster.nodes[0].execute("INSERT OR REPLACE INTO t VALUES(2, 'after')")
    })?;
    cluster.nodes[0].execute("UPDATE t SET v = 'later' WHERE id = 1")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t WHERE v IN ('after', 'later')", 2)?;
    cluster.wait_equal(&["t"], DEADLINE)?;
    no_panics(&cluster)
}

/// The application must not depend on the network for its own writes, nor for their capture.
#[test]
fn they_come_back_while_the_nats_server_is_away_too() -> Result<()> {
    let cluster = following(2, SCHEMA)?;
    let server = cluster.nodes[0].server()?;
    server.pause();
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'not sent')")?;
    wait_for("a publish that fails", DEADLINE, || {
        let state = cluster.nodes[0].status()?["publisher"]["state"].clone();
        ensure!(state == "waiting" || state == "checking", "{state}");
        Ok(())
    })?;
    cluster.nodes[0].execute("DROP TABLE \"__harmonylite__t_change_log\"")?;
    wait_for("a write that works again", DEADLINE, || {
        cluster.nodes[0].execute("INSERT OR REPLACE INTO t VALUES(2, 'after')")
    })?;
    let migration = "CREATE TABLE word_new(w TEXT PRIMARY KEY, v, extra); INSERT INTO word_new SELECT w, v, 1 FROM word; \
                     DROP TABLE word; ALTER TABLE word_new RENAME TO word";
    for node in &cluster.nodes {
        node.execute(migration)?;
    }
    let triggers = "SELECT count(*) > 0 FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'word'";
    wait_number(&cluster.nodes[0], triggers, 1)?;
    cluster.nodes[0].execute("INSERT INTO word VALUES('captured', 1, 1)")?;
    server.resume();
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM word WHERE w = 'captured'", 1)?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 2)?;
    assert_eq!(counter(&cluster.nodes[0], "uncaptured_found")?, 0);
    cluster.wait_equal(&["t", "word"], DEADLINE)?;
    no_panics(&cluster)
}

#[test]
fn an_application_that_holds_the_write_lock_for_long_delays_us_and_gets_no_error() -> Result<()> {
    let cluster = following(2, SCHEMA)?;
    let application = cluster.nodes[0].connection()?;
    application.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES(1, 'long')")?;
    let start = Instant::now();
    cluster.nodes[1].execute("INSERT INTO t VALUES(2, 'meanwhile')")?;
    wait_for("seven seconds", DEADLINE, || {
        ensure!(cluster.nodes[0].status()?["publisher"].is_object(), "no answer");
        ensure!(start.elapsed() > Duration::from_secs(7), "not over");
        Ok(())
    })?;
    application.execute_batch("INSERT INTO word VALUES('end', 1); COMMIT")?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM t", 2)?;
        wait_number(node, "SELECT count(*) FROM word", 1)?;
    }
    no_panics(&cluster)
}

#[test]
fn vacuum_changes_nothing_and_is_not_sent() -> Result<()> {
    let cluster = following(2, SCHEMA)?;
    cluster.nodes[0]
        .execute("INSERT INTO word VALUES('a', 1), ('b', 2), ('c', 3); INSERT INTO t VALUES(1, 1)")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM word", 3)?;
    cluster.nodes[0].execute("DELETE FROM word WHERE w = 'a'")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM word", 2)?;
    cluster.wait_published(DEADLINE)?;
    let before = counter(&cluster.nodes[0], "published_log_rows")?;
    wait_for("a vacuum", DEADLINE, || cluster.nodes[0].execute("VACUUM"))?;
    cluster.nodes[0].execute("UPDATE word SET v = 'new' WHERE w = 'c'")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM word WHERE v = 'new'", 1)?;
    cluster.wait_equal(&["t", "word"], DEADLINE)?;
    assert_eq!(counter(&cluster.nodes[0], "published_log_rows")?, before + 1);
    no_panics(&cluster)
}

/// POSIX drops all locks of a process on a file when it closes any descriptor of it: whoever finds no lock takes the WAL
/// away from under a node that runs.
#[test]
fn a_running_node_keeps_its_lock_on_the_database_whatever_it_does() -> Result<()> {
    let mut cluster = following(2, SCHEMA)?;
    let db = cluster.nodes[0].db();
    let leave_wal = || run(Command::new("sqlite3").arg(&db).arg("PRAGMA journal_mode = DELETE"));
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'ours')")?;
    cluster.nodes[1].execute("INSERT INTO t VALUES(2, 'theirs')")?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM t", 2)?;
    }
    // Its own look at the file's identity comes once a second, the migration makes it read the schema.
    cluster.nodes[0]
        .execute("ALTER TABLE word ADD COLUMN more; CREATE TABLE later(id INTEGER PRIMARY KEY)")?;
    wait_number(
        &cluster.nodes[0],
        "SELECT count(*) > 0 FROM sqlite_schema WHERE name GLOB '*later_change_log'",
        1,
    )?;
    let start = Instant::now();
    wait_for("three seconds", DEADLINE, || {
        ensure!(leave_wal().is_err(), "the journal mode was changed under a running node");
        ensure!(start.elapsed() > Duration::from_secs(3), "not over");
        Ok(())
    })?;
    ensure!(cluster.nodes[0].stop()?.success());
    assert_eq!(leave_wal()?.trim(), "delete");
    no_panics(&cluster)
}

#[test]
fn streams_that_are_lost_with_their_store_begin_anew_and_rows_flow_on() -> Result<()> {
    let mut cluster = following(3, SCHEMA)?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(1, 'one'), (2, 'two')")?;
    cluster.nodes[1].execute("INSERT INTO t VALUES(3, 'three')")?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM t", 3)?;
    }
    cluster.wait_published(DEADLINE)?;
    ensure!(cluster.nodes[0].stop()?.success());
    fs::remove_dir_all(cluster.nodes[0].folder().join("nats"))?;
    cluster.nodes[0].execute("UPDATE t SET v = 'changed while down' WHERE id = 2")?;
    cluster.start_all()?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(4, 'four')")?;
    cluster.nodes[2].execute("DELETE FROM t WHERE id = 1")?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM t WHERE id = 4 OR v = 'changed while down'", 2)?;
        wait_number(node, "SELECT count(*) FROM t", 3)?;
    }
    cluster.wait_equal(&["t"], DEADLINE)?;
    no_panics(&cluster)
}

#[test]
fn a_database_that_is_replaced_under_a_running_node_ends_it_with_an_error() -> Result<()> {
    let mut cluster = following(2, SCHEMA)?;
    let node = &mut cluster.nodes[0];
    let (db, copy) = (node.db(), node.folder().join("copy.db"));
    node.execute(&format!("VACUUM INTO '{}'", copy.display()))?;
    fs::rename(&copy, &db)?;
    let status = node.wait_exit(DEADLINE)?;
    let log = fs::read_to_string(node.log_file())?;
    ensure!(status.code() == Some(1) && log.contains("another file was put in the place"), "{status}\n{log}");
    ensure!(log.contains("start again"), "{log}");
    no_panics(&cluster)
}
