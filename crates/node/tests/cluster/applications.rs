//! Applications of other kinds: the sqlite3 shell, Python, a rollback journal, an untrusted schema, full-text search.

use std::process::Command;
use std::time::Duration;

use harmonylite_testkit::{Cluster, Result, Writer, wait};

use crate::load;
use crate::support::{DEADLINE, following, no_panics, run, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v, u UNIQUE)";

#[test]
fn the_sqlite3_shell_is_an_application() -> Result<()> {
    let cluster = following(2, SCHEMA)?;
    run(Command::new("sqlite3").arg(cluster.nodes[0].db()).args([
        ".timeout 5000",
        "INSERT INTO t VALUES(1, 'one', 'a'), (2, 'two', 'b'); UPDATE t SET v = 'zwei' WHERE id = 2;",
        "INSERT OR REPLACE INTO t VALUES(3, 'three', 'a');",
    ]))?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t WHERE id IN (2, 3)", 2)?;
    assert_eq!(cluster.wait_equal(&["t"], DEADLINE)?.rows("t"), 2);
    Ok(())
}

#[test]
fn python_is_an_application() -> Result<()> {
    let cluster = following(2, SCHEMA)?;
    let program = r#"
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=10)
with connection:
    connection.executemany("INSERT INTO t VALUES(?, ?, ?)", [(n, "row %d" % n, str(n)) for n in range(100)])
with connection:
    cursor = connection.execute("INSERT INTO t(v) VALUES('last')")
    assert cursor.lastrowid == 100, cursor.lastrowid
    assert connection.execute("UPDATE t SET v = ? WHERE id < 10", (b"bytes",)).rowcount == 10
    connection.execute("DELETE FROM t WHERE id >= 90 AND id < 100")
connection.close()
"#;
    run(Command::new("python3").args(["-c", program]).arg(cluster.nodes[0].db()))?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t WHERE id = 100 OR typeof(v) = 'blob'", 11)?;
    assert_eq!(cluster.wait_equal(&["t"], DEADLINE)?.rows("t"), 91);
    Ok(())
}

#[test]
fn an_application_that_does_not_trust_its_schema_is_captured() -> Result<()> {
    let cluster = following(2, SCHEMA)?;
    cluster.nodes[0]
        .execute("PRAGMA trusted_schema = OFF; INSERT INTO t VALUES(1, 'one', 'a'), (2, 'two', 'b')")?;
    cluster.nodes[1]
        .execute("PRAGMA trusted_schema = OFF; INSERT OR REPLACE INTO t VALUES(3, 'three', 'c')")?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM t", 3)?;
    }
    cluster.nodes[1]
        .execute("PRAGMA trusted_schema = OFF; INSERT OR REPLACE INTO t VALUES(4, 'four', 'a')")?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM t WHERE id IN (2, 3, 4)", 3)?;
    }
    cluster.wait_equal(&["t"], DEADLINE)?;
    Ok(())
}

#[test]
fn a_full_text_index_finds_what_other_nodes_wrote() -> Result<()> {
    let schema = "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT);
        CREATE VIRTUAL TABLE found USING fts5(text, content='note', content_rowid='id');
        CREATE TRIGGER note_ai AFTER INSERT ON note BEGIN
          INSERT INTO found(rowid, text) VALUES(new.id, new.text); END;
        CREATE TRIGGER note_ad AFTER DELETE ON note BEGIN
          INSERT INTO found(found, rowid, text) VALUES('delete', old.id, old.text); END;
        CREATE TRIGGER note_au AFTER UPDATE ON note BEGIN
          INSERT INTO found(found, rowid, text) VALUES('delete', old.id, old.text);
          INSERT INTO found(rowid, text) VALUES(new.id, new.text); END;";
    let cluster = following(2, schema)?;
    cluster.nodes[0].execute("INSERT INTO note VALUES(1, 'first words'), (2, 'other words'), (3, 'gone')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM found WHERE found MATCH 'words'", 2)?;
    cluster.nodes[1]
        .execute("UPDATE note SET text = 'changed' WHERE id = 2; DELETE FROM note WHERE id = 3")?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM note WHERE text = 'changed' OR id = 3", 1)?;
    }
    cluster.wait_equal(&["note"], DEADLINE)?;
    for node in &cluster.nodes {
        node.execute("INSERT INTO found(found, rank) VALUES('integrity-check', 1)")?;
        wait_number(node, "SELECT rowid FROM found WHERE found MATCH 'changed'", 2)?;
        wait_number(node, "SELECT count(*) FROM found WHERE found MATCH 'words OR gone'", 1)?;
    }
    no_panics(&cluster)
}

fn with_rollback_journal() -> Result<Cluster> {
    following(2, &format!("PRAGMA journal_mode = DELETE; {}", load::SCHEMA))
}

#[test]
fn an_application_with_a_rollback_journal_writes_and_reads_while_rows_arrive() -> Result<()> {
    let cluster = with_rollback_journal()?;
    let writers = [load::start(&cluster.nodes[0], 50)?, load::start(&cluster.nodes[1], 50)?];
    let reader = cluster.nodes[1].connection()?;
    let reader = Writer::start(reader, Duration::from_millis(10), |connection, _| {
        connection.query_row("SELECT count(*) FROM event", [], |row| row.get::<_, i64>(0)).map(drop)
    });
    wait("the writes", DEADLINE, || writers.iter().all(|writer| writer.written() >= 200))?;
    let written: Vec<u64> = writers.into_iter().map(Writer::stop).collect::<Result<_>>()?;
    assert!(reader.stop()? > 50);
    harmonylite_testkit::wait_for("all writes everywhere", DEADLINE, || {
        for node in &cluster.nodes {
            load::check_complete(node, 1, written[0])?;
            load::check_complete(node, 2, written[1])?;
        }
        cluster.equal_contents(load::TABLES)
    })
    .map_err(|error| error.context(cluster.logs()))?;
    // It is the application's choice: nobody has switched it.
    for node in &cluster.nodes {
        assert_eq!(node.query::<String>("PRAGMA journal_mode")?, "delete");
    }
    no_panics(&cluster)
}
