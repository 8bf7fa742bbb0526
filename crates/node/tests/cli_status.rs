//! `harmonylite status`: what it asks a running node, what it prints, and what it says when none runs.

#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its files has failed")]

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use assert_cmd::Command;
use harmonylite::status::{NodeStatus, SourceStatus, Stopped, TableStatus, socket_path};

fn harmonylite() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harmonylite"));
    command.env_clear();
    command
}

fn database_in(folder: &Path) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let database = folder.join("app.db");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.execute_batch("CREATE TABLE item(id INTEGER PRIMARY KEY, x)").unwrap();
    database
}

fn sample() -> NodeStatus {
    let mut status = NodeStatus {
        running: true,
        node_id: 7,
        cluster: "shop".into(),
        mode: "mesh".into(),
        ..NodeStatus::default()
    };
    status.replication.tables = vec![TableStatus {
        name: "log".into(),
        reason: Some("no primary key".into()),
        ..TableStatus::default()
    }];
    status.replication.sources = vec![SourceStatus {
        id: "8/harmonylite-changes-1".into(),
        state: "stopped".into(),
        behind: 5,
        ..SourceStatus::default()
    }];
    status.replication.stopped =
        vec![Stopped { source: "8/harmonylite-changes-1".into(), reason: "5 messages are gone".into() }];
    status
}

/// Answers once as a node does: one document, then the end of the connection.
fn answer_once(database: &Path, document: String) -> JoinHandle<()> {
    let socket = socket_path(database);
    let folder = File::open(socket.parent().unwrap()).unwrap();
    let short =
        PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(socket.file_name().unwrap());
    let listener = UnixListener::bind(short).unwrap();
    std::thread::spawn(move || listener.accept().unwrap().0.write_all(document.as_bytes()).unwrap())
}

#[test]
fn a_running_node_is_shown_to_people_with_what_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_in(folder.path());
    let node = answer_once(&database, serde_json::to_string(&sample()).unwrap());
    let output = harmonylite().args(["status", "--db"]).arg(&database).output().unwrap();
    node.join().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    for part in
        ["7 in cluster shop", "log", "no primary key", "STOPPED 8/harmonylite-changes-1: 5 messages are gone"]
    {
        assert!(stdout.contains(part), "{part:?} is not in:\n{stdout}");
    }
}

#[test]
fn json_is_passed_on_as_the_node_wrote_it() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_in(folder.path());
    let document = "{\"node_id\":7,\"of_a_later_version\":true}";
    let node = answer_once(&database, document.into());
    let output = harmonylite().args(["status", "--json", "--db"]).arg(&database).output().unwrap();
    node.join().unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(0), format!("{document}\n").into_bytes()));
}

#[test]
fn a_path_longer_than_a_socket_address_is_reached() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_in(&folder.path().join("d".repeat(200)));
    let node = answer_once(&database, serde_json::to_string(&sample()).unwrap());
    harmonylite().args(["status", "--db"]).arg(&database).assert().code(0);
    node.join().unwrap();
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_in(folder.path());
    let node = answer_once(&database, String::new());
    let output = harmonylite().args(["status", "--db"]).arg(&database).output().unwrap();
    node.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("not understood"));
}

#[test]
fn without_a_node_the_database_is_shown_and_the_code_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_in(folder.path());
    let output = harmonylite().args(["status", "--json", "--db"]).arg(&database).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &json["running"]), (Some(8), &false.into()));
    assert_eq!(json["tables"][0]["name"], "item");
}

#[test]
fn a_socket_left_behind_by_a_killed_node_is_no_node() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_in(folder.path());
    drop(UnixListener::bind(socket_path(&database)).unwrap());
    assert!(socket_path(&database).exists());
    harmonylite().args(["status", "--db"]).arg(&database).assert().code(8);
}
