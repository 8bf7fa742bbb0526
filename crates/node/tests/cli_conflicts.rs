//! `harmonylite conflicts` and `harmonylite dead-letters` without a running node: what they print, for people and for
//! programs, and how they end.

#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its files has failed")]

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use harmonylite::exit::ExitCode;
use harmonylite_core::effect::PublishedPositions;
use harmonylite_core::model::{Incarnation, NodeId};
use harmonylite_sqlite::{ClockSql, OpenOptions, Store};
use harmonylite_testkit::exchange;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

const SCHEMA: &str = "CREATE TABLE note(id TEXT PRIMARY KEY NOT NULL, text, size);";
/// `abs()` of it overflows: an index over that keeps the row out.
const UNWRITABLE: &str = "-9223372036854775808";
const NOW_MS: u64 = 1_700_000_000_000;

struct Node {
    application: Connection,
    store: Store,
}

/// A node without a network, whose clock only counts.
fn node(folder: &Path, id: u64) -> Node {
    let path = folder.join(format!("{id}.db"));
    let application = Connection::open(&path).unwrap();
    application.execute_batch(&format!("PRAGMA journal_mode = WAL; {SCHEMA}")).unwrap();
    let options = OpenOptions {
        node_id: NodeId::new(id).unwrap(),
        fresh_incarnation: Incarnation::new(id).unwrap(),
        shards: 1,
        publish: true,
        clock: ClockSql::new(NOW_MS.to_string()),
    };
    Node { application, store: Store::open(&path, &options).unwrap() }
}

/// `to` applies everything that `from` wrote.
fn deliver(from: &mut Node, to: &mut Node) {
    let mut published = PublishedPositions::default();
    let read = exchange::read_log(&mut from.store, &published, false).unwrap();
    let groups = exchange::acknowledge(1, &from.store, &mut published, &read).unwrap();
    let batch = exchange::apply_batch(&groups, &PublishedPositions::default());
    to.store.apply(&batch, NOW_MS).unwrap();
}

/// The database of node 2: a conflict (its row 'a' lost to node 1's), and two dead letters, 'x' and 'y'.
fn database() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (mut first, mut second) = (node(folder.path(), 1), node(folder.path(), 2));
    second.application.execute_batch("CREATE INDEX broken ON note(abs(size)); INSERT INTO note VALUES('a', 'lo' || char(10) || 'st', 1)").unwrap();
    second.store.read_schema().unwrap();
    first
        .application
        .execute_batch(&format!(
            "INSERT INTO note VALUES('a', 'x', 1); UPDATE note SET text = 'won'; \
             INSERT INTO note VALUES('x', 'X', {UNWRITABLE}), ('y', 'Y', {UNWRITABLE})"
        ))
        .unwrap();
    deliver(&mut first, &mut second);
    let path = second.store.path().to_owned();
    (folder, path)
}

/// Runs to the end: exit code, stdout, stderr.
fn outcome(database: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harmonylite"));
    let output = command.env_clear().args(arguments).arg("--db").arg(database).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn stdout(database: &Path, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = outcome(database, arguments);
    assert_eq!(code, 0, "{arguments:?}\n{stdout}\n{stderr}");
    stdout
}

#[track_caller]
fn document(database: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(database, arguments)).unwrap()
}

#[track_caller]
fn assert_ends(database: &Path, arguments: &[&str], code: ExitCode, in_stderr: &str) {
    let (found, stdout, stderr) = outcome(database, arguments);
    assert_eq!(found, i32::from(code.number()), "{arguments:?}\n{stdout}\n{stderr}");
    assert!(stderr.contains(in_stderr), "{in_stderr:?} is not in:\n{stderr}");
}

#[test]
fn conflicts_are_listed_for_people() {
    let (_folder, database) = database();
    let expected = "\
ID  WHEN                      TABLE  KEY     REASON       LOST  TO  THE ROW THAT LOST
1   2023-11-14T22:13:20.000Z  note   id='a'  overwritten  2     1   id='a', text='lo\\nst', size=1
";
    assert_eq!(stdout(&database, &["conflicts", "list"]), expected);
    assert_eq!(stdout(&database, &["conflicts", "list", "--table", "other"]), "no conflicts\n");
    let (code, _, stderr) = outcome(&database, &["conflicts", "list", "--limit", "0"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
}

#[test]
fn conflicts_are_listed_for_programs() {
    let (_folder, database) = database();
    let list = document(&database, &["conflicts", "list", "--json"]);
    let entry = &list["conflicts"][0];
    assert_eq!(list["total"], 1);
    assert_eq!(entry["row"], json!({"id": "'a'", "text": "'lo\nst'", "size": "1"}));
    assert_eq!(entry["loser"]["node_id"], 2);
    assert_eq!(entry["winner"]["incarnation"], "0000000000000001");
    assert_eq!(entry["winner"]["written_at"], "2023-11-14T22:13:20.000Z");
    assert_eq!((&entry["restored_at"], &entry["at"]), (&Value::Null, &"2023-11-14T22:13:20.000Z".into()));
    assert_eq!(document(&database, &["conflicts", "show", "1", "--json"]), *entry);
    let none = document(&database, &["conflicts", "list", "--json", "--limit", "0"]);
    assert_eq!(none, json!({"total": 1, "conflicts": []}));
}

#[test]
fn a_conflict_is_shown_whole() {
    let (_folder, database) = database();
    let shown = stdout(&database, &["conflicts", "show", "1"]);
    for part in [
        "overwritten, a later write",
        "lost:      node 2, 2023",
        "to:        node 1, 2023",
        "\n  text = 'lo\\nst'\n",
    ] {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }
    assert_ends(&database, &["conflicts", "show", "7"], ExitCode::Usage, "no conflict 7");
}

#[test]
fn dead_letters_are_listed_and_shown() {
    let (_folder, database) = database();
    let list = stdout(&database, &["dead-letters", "list"]);
    assert!(list.starts_with("ID  WHEN ") && list.contains("id='y'  1     integer overflow"), "{list}");
    let json = document(&database, &["dead-letters", "list", "--json"]);
    let letter = &json["dead_letters"][0];
    assert_eq!((&letter["key"], &letter["tried_at"]), (&json!({"id": "'x'"}), &Value::Null));
    assert_eq!((&letter["source"], &letter["error"]), (&"1/changes-1".into(), &"integer overflow".into()));
    let shown = document(&database, &["dead-letters", "show", "1", "--json"]);
    assert_eq!((&shown["row"]["size"], &shown["id"]), (&UNWRITABLE.into(), &1.into()));
    let text = stdout(&database, &["dead-letters", "show", "1"]);
    assert!(text.contains("what could not be written:\n  id = 'x'\n  text = 'X'\n"), "{text}");
    assert_ends(&database, &["dead-letters", "show", "7"], ExitCode::Usage, "no dead letter 7");
}

/// Of the commands alone; the store has a clock of its own.
fn mend(database: &Path) -> Connection {
    let connection = Connection::open(database).unwrap();
    connection.execute_batch("DROP INDEX broken").unwrap();
    let options = OpenOptions {
        node_id: NodeId::new(2).unwrap(),
        fresh_incarnation: Incarnation::new(2).unwrap(),
        shards: 1,
        publish: true,
        clock: ClockSql::new(NOW_MS.to_string()),
    };
    let request = harmonylite_core::effect::Housekeep::default();
    Store::open(database, &options).unwrap().housekeep(&request, NOW_MS).unwrap();
    connection
}

#[test]
fn without_a_node_the_command_tries_dead_letters_again_itself() {
    let (_folder, database) = database();
    let (code, said, stderr) = outcome(&database, &["dead-letters", "retry", "--all"]);
    assert_eq!((code, said.contains("1   failed   integer overflow")), (1, true), "{said}");
    assert!(stderr.contains("2 of 2 dead letters could not be applied\n  hint: "), "{stderr}");
    let connection = mend(&database);
    let done = document(&database, &["dead-letters", "retry", "1", "--json"]);
    assert_eq!(done, json!({"outcomes": [{"id": 1, "outcome": "applied", "reason": null}]}));
    assert_eq!(stdout(&database, &["dead-letters", "retry", "--all"]), "ID  OUTCOME  WHY\n2   applied\n");
    assert_eq!(stdout(&database, &["dead-letters", "retry", "--all"]), "no dead letters\n");
    assert_ends(&database, &["dead-letters", "retry", "1"], ExitCode::Usage, "no dead letter 1\n");
    let rows: i64 = connection.query_row("SELECT count(*) FROM note", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 3);
}

#[test]
fn what_has_to_wait_for_a_node_says_so_and_stays() {
    let (_folder, database) = database();
    mend(&database).execute_batch("INSERT INTO note VALUES('own', '', 0)").unwrap();
    let (code, said, _) = outcome(&database, &["dead-letters", "retry", "--all"]);
    assert_eq!((code, said.matches("postponed").count()), (1, 2), "{said}");
    assert!(said.contains("no node runs: start it first"), "{said}");
}

#[test]
fn letters_are_dropped_one_by_one_or_all() {
    let (_folder, database) = database();
    let dropped = stdout(&database, &["dead-letters", "drop", "1"]);
    assert_eq!(dropped, "ID  OUTCOME  WHY\n1   dropped\n");
    assert_ends(&database, &["dead-letters", "drop", "1", "7"], ExitCode::Usage, "no dead letter 1, 7");
    let all = document(&database, &["dead-letters", "drop", "--all", "--json"]);
    assert_eq!(all["outcomes"][0], json!({"id": 2, "outcome": "dropped", "reason": null}));
    assert_eq!(stdout(&database, &["dead-letters", "list"]), "no dead letters\n");
}

#[test]
fn a_database_that_a_silent_process_works_on_is_left_alone() {
    let (_folder, database) = database();
    let _held = harmonylite_sqlite::LockFile::acquire(&database).unwrap();
    let pid = std::process::id().to_string();
    assert_ends(&database, &["dead-letters", "retry", "--all"], ExitCode::Locked, &pid);
    assert_ends(&database, &["dead-letters", "drop", "1"], ExitCode::Locked, &pid);
    // Looking is always possible.
    stdout(&database, &["dead-letters", "list"]);
    stdout(&database, &["conflicts", "list"]);
}

#[test]
fn wrong_command_lines_and_databases_have_their_codes() {
    let (folder, database) = database();
    assert_ends(&database, &["dead-letters", "retry"], ExitCode::Usage, "<ID>");
    assert_ends(&database, &["dead-letters", "drop", "1", "--all"], ExitCode::Usage, "--all");
    assert_ends(&database, &["conflicts", "show", "x"], ExitCode::Usage, "invalid value");
    assert_ends(&database, &["conflicts"], ExitCode::Usage, "Usage");
    let other = folder.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch(SCHEMA).unwrap();
    for command in
        [["conflicts", "list"], ["dead-letters", "list"], ["dead-letters", "retry"], ["dead-letters", "drop"]]
    {
        let mut arguments = command.to_vec();
        if command[1] != "list" {
            arguments.push("1");
        }
        assert_ends(&other, &arguments, ExitCode::Database, "no node ever ran on this database");
        assert_ends(Path::new("/nowhere/app.db"), &arguments, ExitCode::Database, "hint: ");
    }
}

#[test]
fn help_teaches_with_examples() {
    for command in
        [vec!["conflicts"], vec!["dead-letters"], vec!["conflicts", "list"], vec!["dead-letters", "retry"]]
    {
        let mut harmonylite = Command::new(env!("CARGO_BIN_EXE_harmonylite"));
        let output = harmonylite.args(&command).arg("--help").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let example = format!("harmonylite {}", command.join(" "));
        assert!(output.status.success() && text.contains("Example") && text.contains(&example), "{text}");
    }
}
