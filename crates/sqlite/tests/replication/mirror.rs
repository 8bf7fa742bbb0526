//! Full-text indexes that the application's triggers keep: they follow what other nodes write, too.

use std::process::Command;

use harmonylite_core::input::{ApplyFailure, TableReport};
use harmonylite_sqlite::plan;

use crate::support::{Cluster, Node};

/// The triggers of SQLite's documentation for an index with external content.
const TRIGGERS: &str = "
    CREATE TRIGGER notes_ai AFTER INSERT ON notes BEGIN
      INSERT INTO ft(rowid, title, body) VALUES (new.id, new.title, new.body); END;
    CREATE TRIGGER notes_ad AFTER DELETE ON notes BEGIN
      INSERT INTO ft(ft, rowid, title, body) VALUES('delete', old.id, old.title, old.body); END;
    CREATE TRIGGER notes_au AFTER UPDATE ON notes BEGIN
      INSERT INTO ft(ft, rowid, title, body) VALUES('delete', old.id, old.title, old.body);
      INSERT INTO ft(rowid, title, body) VALUES (new.id, new.title, new.body); END;";

/// `columns` besides title and body.
fn indexed(columns: &str) -> String {
    format!(
        "CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT, body TEXT{columns});
         CREATE VIRTUAL TABLE ft USING fts5(title, body, content='notes', content_rowid='id'); {TRIGGERS}"
    )
}

const WORDS: [&str; 6] = ["alpha", "beta", "gamma", "delta", "upsilon", "omega"];

/// Nodes whose applications have SQLite run DELETE triggers for rows that REPLACE removes: without, their own indexes
/// break.
fn cluster(nodes: u64, schema: &str) -> Cluster {
    let cluster = Cluster::new(nodes, schema);
    cluster.nodes.iter().for_each(|node| node.run("PRAGMA recursive_triggers = ON"));
    cluster
}

/// The index of every node fits its rows, and finds the same ones everywhere.
fn assert_found(cluster: &Cluster) {
    for node in &cluster.nodes {
        node.run("INSERT INTO ft(ft, rank) VALUES('integrity-check', 1)");
        for word in WORDS {
            let sql = format!("SELECT rowid FROM ft WHERE ft MATCH '{word}' ORDER BY rowid");
            assert_eq!(node.query(&sql), cluster.nodes[0].query(&sql), "{word} on node {}", node.id);
        }
    }
}

fn converge(cluster: &mut Cluster) {
    cluster.converge();
    assert_found(cluster);
}

fn find(node: &Node, word: &str) -> Vec<String> {
    node.query(&format!("SELECT rowid FROM ft WHERE ft MATCH '{word}' ORDER BY rowid"))
}

/// What the report of `table` tells the operator.
fn notes(reports: &[TableReport], table: &str) -> Vec<String> {
    reports.iter().find(|report| report.name == table).unwrap().notes.clone()
}

#[test]
fn an_index_with_external_content_follows_every_statement() {
    let mut cluster = cluster(3, &indexed(""));
    for statement in [
        "INSERT INTO notes VALUES(1, 'alpha', 'beta'), (2, 'gamma', NULL), (3, 'alpha', 'omega')",
        "UPDATE notes SET body = 'delta' WHERE id = 1; UPDATE notes SET title = NULL WHERE id = 3",
        "INSERT INTO notes VALUES(1, 'upsilon', 'x'), (4, 'beta', 'y') ON CONFLICT(id) DO UPDATE \
           SET title = excluded.title",
        "INSERT OR REPLACE INTO notes VALUES(2, 'omega', 'alpha'); INSERT OR IGNORE INTO notes VALUES(2, 'x', 'y')",
        "UPDATE notes SET id = id + 10 WHERE id > 2; DELETE FROM notes WHERE id = 1",
        "BEGIN; INSERT INTO notes VALUES(5, 'alpha', ''); UPDATE notes SET body = 'beta' WHERE id = 5; \
           DELETE FROM notes WHERE id = 5; INSERT INTO notes VALUES(5, 'gamma', 'gamma'); COMMIT",
        "DELETE FROM notes WHERE id < 0; UPDATE notes SET title = title",
        "INSERT INTO notes SELECT 100 + value, 'alpha ' || value, 'beta' FROM \
           (WITH RECURSIVE c(value) AS (VALUES(1) UNION ALL SELECT value + 1 FROM c WHERE value < 300) \
            SELECT value FROM c)",
        "DELETE FROM notes WHERE id % 7 = 0",
    ] {
        cluster.run(1, statement);
        converge(&mut cluster);
    }
    assert_eq!(find(&cluster.nodes[2], "omega"), ["2", "13"]);
    for (id, sql) in [
        (1, "UPDATE notes SET body = 'one'"),
        (2, "UPDATE notes SET body = 'omega'"),
        (3, "DELETE FROM notes"),
    ] {
        cluster.run(id, sql);
    }
    converge(&mut cluster);
}

#[test]
fn unique_values_that_move_between_rows_leave_the_index_right() {
    let mut cluster = cluster(3, &indexed(", u UNIQUE, w"));
    cluster.run(1, "CREATE UNIQUE INDEX partial ON notes(w) WHERE w > 0");
    cluster.run(2, "CREATE UNIQUE INDEX partial ON notes(w) WHERE w > 0");
    cluster.run(3, "CREATE UNIQUE INDEX partial ON notes(w) WHERE w > 0");
    cluster.nodes.iter_mut().for_each(|node| drop(node.store.read_schema().unwrap()));
    cluster.run(
        1,
        "INSERT INTO notes VALUES(1, 'alpha', 'x', 1, 1), (2, 'beta', 'x', 2, 2), (3, 'gamma', 'x', 3, 3)",
    );
    converge(&mut cluster);
    // A swap: rows are taken out first, then written.
    cluster.run(
        1,
        "BEGIN; UPDATE notes SET u = -1 WHERE id = 1; UPDATE notes SET u = 1, title = 'delta' WHERE id = 2; \
         UPDATE notes SET u = 2, w = 0, body = 'omega' WHERE id = 1; UPDATE notes SET w = 1 WHERE id = 3; COMMIT",
    );
    converge(&mut cluster);
    assert_eq!(find(&cluster.nodes[1], "omega"), ["1"]);
    cluster.run(2, "INSERT OR REPLACE INTO notes VALUES(4, 'upsilon', 'alpha', 2, 1)");
    converge(&mut cluster);
    assert_eq!(find(&cluster.nodes[0], "alpha"), ["4"]);
    // Two rows with one value: the older one is displaced, on its own node too.
    cluster.run(1, "INSERT INTO notes VALUES(10, 'alpha', 'loses', 50, 0)");
    cluster.run(
        2,
        "INSERT INTO notes VALUES(20, 'alpha', 'wins', 50, 0); UPDATE notes SET body = 'beta' WHERE id = 20",
    );
    converge(&mut cluster);
    assert_eq!(find(&cluster.nodes[0], "alpha"), ["4", "20"]);
    // And comes back with a later version.
    cluster.run(1, "INSERT INTO notes VALUES(10, 'gamma', 'again', 51, 0)");
    converge(&mut cluster);
    assert_eq!(find(&cluster.nodes[2], "gamma"), ["10"]);
}

#[test]
fn keys_that_are_not_the_rowid_and_are_spelled_anew_leave_the_index_right() {
    let schema = "CREATE TABLE notes(id TEXT PRIMARY KEY COLLATE NOCASE, title TEXT, body TEXT); \
        CREATE VIRTUAL TABLE ft USING fts5(title, body, content='notes'); ";
    let mut cluster = Cluster::new(2, &(schema.to_owned() + &TRIGGERS.replace(".id", ".rowid")));
    // Rowids differ between the nodes: an index is each node's own.
    cluster.nodes[1].run("INSERT INTO notes VALUES('other', 'alpha', ''); DELETE FROM notes");
    cluster.run(2, "INSERT INTO notes VALUES('z', 'zeta', '')");
    cluster.settle();
    cluster.run(1, "INSERT INTO notes VALUES('a', 'alpha', 'x'), ('b', 'beta', 'y')");
    cluster.run(2, "INSERT INTO notes VALUES('c', 'gamma', 'x')");
    cluster.converge();
    cluster.run(
        1,
        "UPDATE notes SET id = 'A' WHERE id = 'a'; UPDATE notes SET id = 'B', title = 'omega' WHERE id = 'b'",
    );
    cluster.run(2, "UPDATE notes SET title = 'upsilon' WHERE id = 'c'");
    cluster.converge();
    for node in &cluster.nodes {
        node.run("INSERT INTO ft(ft, rank) VALUES('integrity-check', 1)");
        let sql = "SELECT notes.id FROM ft JOIN notes ON notes.rowid = ft.rowid WHERE ft MATCH 'alpha OR omega OR upsilon' \
                   ORDER BY 1";
        assert_eq!(node.query(sql), ["'A'", "'B'", "'c'"]);
    }
}

#[test]
fn indexes_of_other_kinds_follow_too() {
    let mut cluster = Cluster::new(
        2,
        "CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT, x REAL); \
         CREATE VIRTUAL TABLE own USING fts5(title); CREATE VIRTUAL TABLE \"old \"\"one\"\"\" USING fts4(content='notes', title); \
         CREATE VIRTUAL TABLE bare USING fts5(title, content=''); CREATE VIRTUAL TABLE box USING rtree(id, low, high); \
         CREATE TRIGGER [i \"1\"] INSERT ON main.notes BEGIN SELECT 1; END; \
         CREATE TRIGGER \"i 2\" AFTER INSERT ON NOTES WHEN new.title IS NOT NULL BEGIN \
           INSERT INTO OWN(rowid, title) VALUES(new.id, new.title); INSERT INTO bare(rowid, title) VALUES(new.id, new.title); \
           INSERT INTO box VALUES(new.id, new.x, new.x); END; \
         CREATE TRIGGER u AFTER UPDATE OF id, title, x ON notes BEGIN \
           UPDATE own SET rowid = new.id, title = new.title WHERE rowid = old.id; UPDATE box SET id = new.id, low = new.x, high = new.x WHERE id = old.id; \
           INSERT INTO bare(bare, rowid, title) VALUES('delete', old.id, old.title); \
           INSERT INTO bare(rowid, title) VALUES(new.id, new.title); END; \
         CREATE TRIGGER d AFTER DELETE ON notes BEGIN DELETE FROM own WHERE rowid = old.id; \
           INSERT INTO bare(bare, rowid, title) VALUES('delete', old.id, old.title); \
           DELETE FROM box WHERE id = old.id; END; \
         CREATE TRIGGER o1 BEFORE UPDATE ON notes BEGIN DELETE FROM \"old \"\"one\"\"\" WHERE docid = old.id; END; \
         CREATE TRIGGER o2 BEFORE DELETE ON notes BEGIN DELETE FROM [old \"one\"] WHERE docid = old.id; END; \
         CREATE TRIGGER o3 AFTER UPDATE ON notes BEGIN \
           INSERT INTO `old \"one\"`(docid, title) VALUES(new.id, new.title); END; \
         CREATE TRIGGER o4 AFTER INSERT ON notes BEGIN \
           INSERT INTO 'old \"one\"'(docid, title) VALUES(new.id, new.title); END",
    );
    for statement in [
        "INSERT INTO notes VALUES(1, 'alpha', 1.5), (2, 'beta', 2.5), (3, 'alpha beta', 3.5)",
        "UPDATE notes SET title = 'gamma' WHERE id = 1; UPDATE notes SET x = 9.5 WHERE id = 2",
        "DELETE FROM notes WHERE id = 3; UPDATE notes SET id = 4 WHERE id = 1",
    ] {
        cluster.run(1, statement);
        cluster.converge();
    }
    for node in &cluster.nodes {
        node.run("INSERT INTO own(own) VALUES('integrity-check'); INSERT INTO bare(bare) VALUES('integrity-check')");
        node.run("INSERT INTO \"old \"\"one\"\"\"(\"old \"\"one\"\"\") VALUES('integrity-check')");
        assert_eq!(node.query("SELECT rowid FROM own WHERE own MATCH 'gamma'"), ["4"], "{}", node.id);
        assert_eq!(node.query("SELECT rowid FROM bare WHERE bare MATCH 'alpha OR gamma'"), ["4"]);
        assert_eq!(node.query("SELECT docid FROM \"old \"\"one\"\"\" WHERE title MATCH 'beta'"), ["2"]);
        assert_eq!(node.query("SELECT id, low FROM box ORDER BY id"), ["2|real:9.5", "4|real:1.5"]);
        let schema = plan(node.store.path()).unwrap();
        assert!(notes(&schema.tables, "notes").is_empty(), "{schema:?}");
    }
}

#[test]
fn triggers_run_for_inserted_rows_only_and_in_the_order_of_the_application() {
    let mut cluster = Cluster::new(
        2,
        "CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT); CREATE VIRTUAL TABLE seen USING fts5(title); \
         CREATE TRIGGER one BEFORE INSERT ON notes BEGIN INSERT INTO seen(title) VALUES(new.title); END; \
         CREATE TRIGGER two AFTER INSERT ON notes BEGIN INSERT INTO seen(title) VALUES('two'); END; \
         CREATE TRIGGER three AFTER INSERT ON notes BEGIN INSERT INTO seen(title) VALUES('three'); END",
    );
    for statement in ["INSERT INTO notes VALUES(1, 'a')", "UPDATE notes SET title = 'b'"] {
        cluster.run(1, statement);
        cluster.converge();
    }
    for node in &cluster.nodes {
        assert_eq!(node.query("SELECT title FROM seen ORDER BY rowid"), ["'a'", "'three'", "'two'"]);
    }
}

#[test]
fn a_trigger_that_writes_ordinary_tables_is_not_run_again() {
    let schema = indexed("")
        + "CREATE TABLE counter(id INTEGER PRIMARY KEY, n INTEGER); INSERT INTO counter VALUES(1, 0); \
           CREATE TRIGGER counting AFTER INSERT ON notes BEGIN UPDATE counter SET n = n + 1; END; \
           CREATE TRIGGER looking AFTER INSERT ON notes WHEN (SELECT count(*) FROM ft) > 0 BEGIN \
             UPDATE counter SET n = n + 1; END";
    let mut cluster = Cluster::new(2, &schema);
    cluster.run(1, "INSERT INTO notes VALUES(1, 'alpha', ''), (2, 'beta', '')");
    converge(&mut cluster);
    cluster.run(2, "INSERT INTO notes VALUES(3, 'gamma', '')");
    converge(&mut cluster);
    assert_eq!(cluster.nodes[0].query("SELECT n FROM counter"), ["6"]);
    assert!(notes(&cluster.nodes[0].store.opened_schema().tables, "notes").is_empty());
}

#[test]
fn a_trigger_that_writes_both_kinds_is_named_and_the_others_run() {
    let schema = indexed("")
        + "CREATE VIRTUAL TABLE more USING fts5(title); CREATE TABLE log(id INTEGER PRIMARY KEY, title); \
           CREATE TRIGGER both AFTER INSERT ON notes BEGIN \
             INSERT INTO more(rowid, title) VALUES(new.id, new.title); INSERT INTO log(title) VALUES(new.title); END";
    let mut cluster = Cluster::new(2, &schema);
    cluster.run(1, "INSERT INTO notes VALUES(1, 'alpha', '')");
    converge(&mut cluster);
    assert_eq!(cluster.nodes[1].query("SELECT title FROM log"), ["'alpha'"]);
    assert_eq!(cluster.nodes[1].count("SELECT count(*) FROM more"), 0);
    let second = &cluster.nodes[1];
    for reports in [second.store.opened_schema().tables, plan(second.store.path()).unwrap().tables] {
        let notes = notes(&reports, "notes");
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(
            notes[0].contains("trigger \"both\" writes both \"more\" (virtual) and \"log\" (ordinary)"),
            "{notes:?}"
        );
        assert!(notes[0].contains("split"), "{notes:?}");
    }
}

#[test]
fn what_cannot_be_run_here_is_a_note_and_stops_nothing() {
    let schema = "CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT); CREATE TABLE tags(id INTEGER PRIMARY KEY); \
        CREATE TABLE keyless(title); CREATE VIEW shown AS SELECT * FROM notes; \
        CREATE VIRTUAL TABLE ft USING fts5(title); \
        CREATE TRIGGER through_table AFTER INSERT ON notes BEGIN INSERT INTO keyless VALUES(new.title); END; \
        CREATE TRIGGER on_keyless AFTER INSERT ON keyless BEGIN INSERT INTO ft(title) VALUES(new.title); END; \
        CREATE TRIGGER through_view AFTER INSERT ON notes BEGIN INSERT INTO shown VALUES(new.id, new.title); END; \
        CREATE TRIGGER on_shown INSTEAD OF INSERT ON shown BEGIN INSERT INTO ft(title) VALUES(new.title); END; \
        CREATE TRIGGER checks AFTER INSERT ON notes BEGIN INSERT INTO ft(title) VALUES(new.title); \
          SELECT RAISE(IGNORE) WHERE new.title = 'no'; END; \
        CREATE TRIGGER reads AFTER UPDATE ON notes BEGIN \
          INSERT INTO ft(title) SELECT new.title || ' has tags' FROM tags; END";
    let mut cluster = Cluster::new(2, schema);
    for node in &mut cluster.nodes {
        node.run("CREATE TRIGGER plain AFTER INSERT ON tags BEGIN INSERT INTO ft(title) VALUES('tag'); END");
    }
    // Where the application itself writes, it would have the function.
    cluster.run(
        2,
        "CREATE TRIGGER calls AFTER INSERT ON notes BEGIN \
           INSERT INTO ft(title) VALUES(app_words(new.title)); END",
    );
    cluster.nodes.iter_mut().for_each(|node| drop(node.store.read_schema().unwrap()));
    cluster.run(
        1,
        "INSERT INTO notes VALUES(1, 'yes'); INSERT INTO notes VALUES(2, 'no'); INSERT INTO tags VALUES(1)",
    );
    cluster.settle();
    let second = &mut cluster.nodes[1];
    assert_eq!(second.query("SELECT id FROM notes"), ["1", "2"]);
    assert_eq!(second.query("SELECT title FROM ft"), ["'tag'"]);
    let mut notes = notes(&second.store.read_schema().unwrap().tables, "notes");
    notes.sort();
    for (note, begin) in notes.iter().zip([
        "trigger \"calls\" cannot be run outside the application (no such function: app_words)",
        "trigger \"checks\" uses RAISE",
        "trigger \"reads\" also reads \"tags\"",
        "trigger \"through_table\" reaches a virtual table by way of \"keyless\"",
        "trigger \"through_view\" reaches a virtual table by way of \"shown\"",
    ]) {
        assert!(note.starts_with(begin), "{note}");
    }
    assert_eq!(notes.len(), 5, "{notes:?}");
}

#[test]
fn a_module_that_only_the_application_has_is_a_note() {
    let mut node = Node::new(1, "CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT)");
    // As an application with a module `icu_search` and a tokenizer `icu` would have made them.
    node.run(
        "PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES \
         ('table', 'ft', 'ft', 0, 'CREATE VIRTUAL TABLE ft USING icu_search(title)'), \
         ('table', 'ft2', 'ft2', 0, 'CREATE VIRTUAL TABLE ft2 USING fts5(title, tokenize = icu)'), \
         ('trigger', 'a', 'notes', 0, \
          'CREATE TRIGGER a AFTER INSERT ON notes BEGIN INSERT INTO ft VALUES(new.title); END'), \
         ('trigger', 'b', 'notes', 0, \
          'CREATE TRIGGER b AFTER INSERT ON notes BEGIN INSERT INTO ft2 VALUES(new.title); END'); \
         PRAGMA writable_schema = RESET; PRAGMA user_version = 1; CREATE TABLE bump(x)",
    );
    let mut notes = notes(&node.store.read_schema().unwrap().tables, "notes");
    notes.sort();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("no such module: icu_search"), "{notes:?}");
    assert!(notes[1].contains("vtable constructor failed: ft2"), "{notes:?}");
}

#[test]
fn triggers_and_indexes_that_come_go_and_change_are_followed() {
    let mut cluster = Cluster::new(2, "CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT, body TEXT)");
    cluster.run(1, "INSERT INTO notes VALUES(1, 'alpha', 'x')");
    cluster.converge();
    let everywhere = |cluster: &mut Cluster, sql: &str| {
        for node in &mut cluster.nodes {
            node.run(sql);
            node.store.read_schema().unwrap();
        }
    };
    let index = "CREATE VIRTUAL TABLE ft USING fts5(title, body, content='notes', content_rowid='id'); \
                 INSERT INTO ft(ft) VALUES('rebuild');";
    everywhere(&mut cluster, &format!("{index} {TRIGGERS}"));
    cluster.run(1, "INSERT INTO notes VALUES(2, 'beta', 'x'); UPDATE notes SET title = 'omega' WHERE id = 1");
    converge(&mut cluster);
    // Without its triggers the index stays behind, as in the application.
    everywhere(&mut cluster, "DROP TRIGGER notes_ai");
    cluster.run(1, "INSERT INTO notes VALUES(3, 'alpha', 'x')");
    cluster.converge();
    assert!(find(&cluster.nodes[1], "alpha").is_empty());
    // A migration: another index, another column, other triggers.
    everywhere(
        &mut cluster,
        &format!(
            "DROP TRIGGER notes_au; DROP TRIGGER notes_ad; DROP TABLE ft; ALTER TABLE notes RENAME COLUMN body TO text; \
             ALTER TABLE notes RENAME TO old; ALTER TABLE old RENAME TO notes; {} {}",
            index.replace("body", "text"),
            TRIGGERS.replace("body", "text")
        ),
    );
    cluster.run(
        1,
        "INSERT INTO notes VALUES(4, 'upsilon', 'delta'); UPDATE notes SET text = 'alpha' WHERE id = 2",
    );
    converge(&mut cluster);
    assert_eq!(find(&cluster.nodes[1], "alpha"), ["2", "3"]);
}

#[test]
fn a_table_that_goes_and_comes_back_under_its_old_name_has_each_trigger_once() {
    let mut cluster = Cluster::new(2, &indexed(""));
    for node in &mut cluster.nodes {
        // Each step is seen: the TEMP triggers of the first lose their table, and find one of its name again.
        for step in [
            "ALTER TABLE notes RENAME TO kept",
            "CREATE TABLE notes(id INTEGER PRIMARY KEY, title TEXT, body TEXT)",
            "DROP TABLE kept",
            TRIGGERS,
        ] {
            node.run(step);
            node.store.read_schema().unwrap();
        }
    }
    cluster.run(1, "INSERT INTO notes VALUES(1, 'alpha', 'beta'); UPDATE notes SET title = 'gamma'");
    converge(&mut cluster);
}

#[test]
fn a_schema_change_between_two_applies_is_read_before_the_second() {
    let mut cluster = Cluster::new(2, &indexed(""));
    cluster.run(1, "INSERT INTO notes VALUES(1, 'alpha', '')");
    converge(&mut cluster);
    cluster.run(
        2,
        "DROP TRIGGER notes_ai; CREATE TRIGGER notes_ai AFTER INSERT ON notes BEGIN \
        INSERT INTO ft(rowid, title, body) VALUES (new.id, new.title, 'omega'); END",
    );
    cluster.run(1, "INSERT INTO notes VALUES(2, 'beta', '')");
    cluster.publish(1);
    let groups = cluster.nodes[0].chain[1..].to_vec();
    let second = &mut cluster.nodes[1];
    assert_eq!(second.try_apply(&groups).unwrap_err(), ApplyFailure::SchemaChanged);
    second.store.read_schema().unwrap();
    second.apply(&groups);
    assert_eq!(find(second, "omega"), ["2"]);
}

#[test]
fn an_index_that_does_not_fit_its_rows_is_left_behind_and_the_rows_come() {
    let mut cluster = Cluster::new(2, &indexed(", u UNIQUE"));
    cluster.run(1, "INSERT INTO notes VALUES(1, 'alpha', '', 1)");
    converge(&mut cluster);
    // Somebody emptied the index: taking a word out of it fails.
    cluster.run(2, "INSERT INTO ft(ft) VALUES('delete-all')");
    cluster.run(1, "UPDATE notes SET title = 'omega'");
    cluster.publish(1);
    let applied = cluster.deliver(1, 2, usize::MAX);
    assert_eq!((applied.dead_letters, applied.reports_changed), (0, true));
    assert_eq!(cluster.nodes[1].query("SELECT title FROM notes"), ["'omega'"]);
    // Nothing waits for the schema to be read again, whose report says so.
    cluster.run(1, "INSERT INTO notes VALUES(3, 'gamma', '', 3)");
    cluster.publish(1);
    let groups = cluster.nodes[0].chain[2..].to_vec();
    let second = &mut cluster.nodes[1];
    assert!(!second.apply(&groups).reports_changed, "said once");
    let notes = notes(&second.store.read_schema().unwrap().tables, "notes");
    assert!(
        notes[0].starts_with("writing \"ft\" failed for a row of another node (database disk image"),
        "{notes:?}"
    );
    assert!(find(second, "gamma").is_empty());
    // Repaired, and the schema changed: it is tried again.
    second.run("INSERT INTO ft(ft) VALUES('rebuild'); CREATE TABLE another(id INTEGER PRIMARY KEY)");
    assert!(self::notes(&second.store.read_schema().unwrap().tables, "notes").is_empty());
    cluster.run(1, "CREATE TABLE another(id INTEGER PRIMARY KEY)");
    cluster.nodes[0].store.read_schema().unwrap();
    cluster.run(1, "UPDATE notes SET body = 'delta'");
    converge(&mut cluster);
}

#[test]
fn a_row_that_fails_by_itself_does_not_stop_the_triggers() {
    let mut cluster = Cluster::new(2, &indexed(", v"));
    // An index of one node only, over an expression that fails for some values.
    cluster.run(2, "CREATE INDEX broken ON notes(abs(v))");
    cluster.nodes[1].store.read_schema().unwrap();
    cluster.run(
        1,
        "INSERT INTO notes VALUES(1, 'alpha', '', 1), (2, 'beta', '', -9223372036854775808), (3, 'gamma', '', 3)",
    );
    cluster.publish(1);
    let applied = cluster.deliver(1, 2, usize::MAX);
    assert_eq!(applied.dead_letters, 1);
    cluster.run(1, "INSERT INTO notes VALUES(4, 'omega', '', 4)");
    cluster.publish(1);
    cluster.deliver(1, 2, usize::MAX);
    let second = &cluster.nodes[1];
    second.run("INSERT INTO ft(ft, rank) VALUES('integrity-check', 1)");
    assert_eq!(find(second, "alpha OR beta OR gamma OR omega"), ["1", "3", "4"]);
}

/// The system's own SQLite (3.40 on Debian 12) as the application, on a database in `directory`.
fn python(directory: &std::path::Path, script: &str) -> String {
    let opening = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=5)\n";
    let mut command = Command::new("python3");
    command.arg("-c").arg(format!("{opening}{script}\ndb.commit()\n")).arg(directory.join("app.db"));
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn indexes_made_by_an_older_sqlite_follow_and_it_finds_them_right() {
    let make = format!("db.executescript(\"\"\"PRAGMA journal_mode = WAL; {}\"\"\")", indexed(""));
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, two] = &directories;
    let paths = [one.path().to_owned(), two.path().to_owned()];
    for path in &paths {
        python(path, &make);
    }
    let [one, two] = directories;
    let (mut one, mut two) = (Node::open(1, one), Node::open(2, two));
    for sql in [
        "INSERT INTO notes VALUES(1, 'alpha', 'x'), (2, 'beta', 'y'), (3, 'gamma', 'z')",
        "UPDATE notes SET title = 'omega' WHERE id = 2; DELETE FROM notes WHERE id = 3",
    ] {
        python(&paths[0], &format!("db.executescript(\"\"\"{sql}\"\"\")"));
        one.publish();
        two.consume(&one, usize::MAX);
    }
    let look = "db.execute(\"INSERT INTO ft(ft, rank) VALUES('integrity-check', 1)\")
print(db.execute(\"SELECT group_concat(rowid) FROM ft WHERE ft MATCH 'alpha OR omega OR gamma'\").fetchone()[0])";
    for path in &paths {
        assert_eq!(python(path, look), "1,2\n");
    }
}
