//! The commands of the program as a script sees them: exit codes, stdout and stderr.

#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its files has failed")]

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use harmonylite::exit::ExitCode;
use tempfile::TempDir;

/// The program, without whatever the environment of the test would set.
fn harmonylite() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harmonylite"));
    command.env_clear();
    command
}

fn folder_with_database() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("app.db");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.execute_batch("CREATE TABLE item(id INTEGER PRIMARY KEY, x); CREATE TABLE log(x)").unwrap();
    (folder, database)
}

fn write(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    file
}

/// Runs to the end: exit code, stdout, stderr.
fn outcome(arguments: &[&str]) -> (i32, String, String) {
    let output = harmonylite().args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn assert_ends(arguments: &[&str], code: ExitCode, in_stderr: &str) {
    let (found, stdout, stderr) = outcome(arguments);
    assert_eq!(found, i32::from(code.number()), "{arguments:?}\n{stdout}\n{stderr}");
    assert!(stderr.contains(in_stderr), "{in_stderr:?} is not in:\n{stderr}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_wrong_command_line_ends_with_usage() {
    assert_ends(&[], ExitCode::Usage, "Usage: harmonylite");
    assert_ends(&["walk"], ExitCode::Usage, "walk");
    assert_ends(&["run", "--nonsense"], ExitCode::Usage, "--nonsense");
    assert_ends(&["run", "--config"], ExitCode::Usage, "--config");
    assert_ends(&["-save-snapshot"], ExitCode::Usage, "taking snapshots is not available in this version");
}

#[test]
fn help_teaches_with_examples_and_goes_to_stdout() {
    for command in ["run", "status", "check-config", "cleanup", "detach", "demo"] {
        let (code, stdout, _) = outcome(&[command, "--help"]);
        assert_eq!(code, 0);
        assert!(stdout.contains("Example") && stdout.contains(&format!("harmonylite {command}")), "{stdout}");
    }
    assert!(outcome(&["--help"]).1.contains("docs/exit-codes.md"));
}

#[test]
fn a_configuration_that_cannot_be_used_ends_with_its_own_code_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "node.toml", "db_pat = 'a'\n");
    for command in ["run", "status", "cleanup", "detach"] {
        let place = format!("{}:1: error: unknown key `db_pat`", text(&file));
        assert_ends(&[command, "--config", text(&file)], ExitCode::Configuration, &place);
    }
    assert_ends(&["-config", "/nowhere/node.toml"], ExitCode::Configuration, "/nowhere/node.toml: error");
}

/// As under a service manager that shows a secret to the service only, while that is stopped.
#[test]
fn what_is_wrong_with_other_keys_does_not_hide_the_database() {
    let (folder, database) = folder_with_database();
    let settings =
        "nats.user_name = 'u'\nnats.user_password_file = '/nowhere'\nnats.server_binary = '/nowhere/server'";
    let file = write(&folder, "node.toml", &format!("db_path = '{}'\n{settings}", text(&database)));
    let arguments = |command| [command, "--config", text(&file)];
    let (code, stdout, stderr) = outcome(&arguments("status"));
    assert_eq!(code, i32::from(ExitCode::NotRunning.number()), "{stderr}");
    assert!(stdout.contains("item") && stderr.contains("warning: `nats.user_password_file`"), "{stderr}");
    assert_ends(&arguments("run"), ExitCode::Configuration, "error: `nats.user_password_file`");
    assert_ends(
        &arguments("version"),
        ExitCode::Ok,
        "nats.server_binary of that configuration is not looked at",
    );
}

#[test]
fn check_config_lists_all_errors_on_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let file =
        write(&folder, "node.toml", "nod_id = 1\npublish = 'yes'\n[nats]\nurls = ['http://u:hunter2@a:1']\n");
    let mut command = harmonylite();
    command.args(["check-config", "--config", text(&file)]).env("HARMONYLITE_NODE_ID", "1");
    let output = command.output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let name = text(&file);
    let expected = format!(
        "{name}: error: `db_path` is missing\n\
         \x20 hint: name the application's database: db_path = \"/var/lib/app/app.db\"\n\
         {name}:1: error: unknown key `nod_id`\n\
         \x20 hint: did you mean `node_id`?\n\
         {name}:2: error: `publish`: expected true or false, found a string\n\
         \x20 hint: for example: publish = true\n\
         {name}:4: error: `nats.urls`: entry 1: only nats://, tls:// and dns:// addresses are understood\n\
         \x20 hint: write for example nats://n1.example.net:4222\n\
         4 errors\n"
    );
    assert_eq!((output.status.code(), stdout), (Some(3), expected));
}

#[test]
fn check_config_speaks_json_to_programs() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "node.toml", "db_path = 'a'\nnode_id = 1\nscan_max_changes = 0\n");
    let (code, stdout, stderr) = outcome(&["check-config", "--json", "--config", text(&file)]);
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &json["valid"], stderr.as_str()), (3, &false.into(), ""));
    assert_eq!(json["problems"][0]["line"], 3);
    assert_eq!(json["problems"][0]["severity"], "error");
}

#[test]
fn a_good_configuration_is_summed_up_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let file =
        write(&folder, "node.toml", "db_path = '/data/app.db'\nnode_id = 7\n[nats]\nuser_name = 'u'\n");
    let output = harmonylite()
        .args(["check-config", "--config", text(&file), "--cluster-addr", "10.0.0.1:4221"])
        .env("HARMONYLITE_NATS_USER_PASSWORD", "hunter2")
        .env("HARMONYLITE_CLUSTER_PEERS", "10.0.0.1:4221,10.0.0.2:4221")
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    for part in ["the configuration is good", "/data/app.db", "10.0.0.1:4221\n", "10.0.0.2:4221\n"] {
        assert!(stdout.contains(part), "{part:?} is not in:\n{stdout}");
    }
    assert!(!stdout.contains("hunter2") && !String::from_utf8(output.stderr).unwrap().contains("hunter2"));
}

#[test]
fn the_configuration_file_may_come_from_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "node.toml", "db_path = '/data/app.db'\nnode_id = 7\n");
    harmonylite().arg("check-config").env("HARMONYLITE_CONFIG", &file).assert().code(0);
}

#[test]
fn a_dry_run_says_what_would_be_replicated_and_changes_nothing() {
    let (_folder, database) = folder_with_database();
    let before = std::fs::read(&database).unwrap();
    let (code, stdout, _) = outcome(&["run", "--dry-run", "--db", text(&database), "--node-id", "1"]);
    assert_eq!(code, 0);
    let line = |name: &str| stdout.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("item").ends_with("yes"), "{stdout}");
    assert!(line("log").contains("no ") && line("log").contains("primary key"), "{stdout}");
    assert_eq!(std::fs::read(&database).unwrap(), before);
}

#[test]
fn databases_that_cannot_be_used_end_with_their_own_code() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = write(&folder, "garbage.db", &"not a database ".repeat(100));
    for command in ["status", "cleanup", "detach"] {
        assert_ends(&[command, "--db", "/nowhere/app.db"], ExitCode::Database, "hint: ");
        assert_ends(&[command, "--db", text(&garbage)], ExitCode::Database, "garbage.db");
    }
    let run = ["run", "--dry-run", "--node-id", "1", "--db", text(&garbage)];
    assert_ends(&run, ExitCode::Database, "garbage.db");
}

#[test]
fn a_database_that_a_sidecar_works_on_is_left_alone() {
    let (_folder, database) = folder_with_database();
    let _held = harmonylite_sqlite::LockFile::acquire(&database).unwrap();
    let pid = std::process::id().to_string();
    assert_ends(&["cleanup", "--db", text(&database)], ExitCode::Locked, &pid);
    assert_ends(&["detach", "--db", text(&database)], ExitCode::Locked, &pid);
}

#[test]
fn cleanup_works_in_the_original_spelling() {
    let (folder, database) = folder_with_database();
    let file = write(&folder, "config.toml", &format!("db_path = '{}'\nnode_id = 1\n", text(&database)));
    let (code, stdout, _) = outcome(&["-config", text(&file), "-cleanup"]);
    assert_eq!((code, stdout.contains("removed 0 triggers and 0 tables")), (0, true), "{stdout}");
}

#[test]
fn cleanup_removes_triggers_tables_and_a_stale_socket_and_keeps_rows_and_streams() {
    let (folder, database) = folder_with_database();
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection
        .execute_batch("CREATE TABLE \"__harmonylite___meta\"(name TEXT PRIMARY KEY, value) WITHOUT ROWID")
        .unwrap();
    connection.execute_batch("INSERT INTO item VALUES(1, 'kept')").unwrap();
    let socket = harmonylite::status::socket_path(&database);
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    std::fs::create_dir(folder.path().join("nats")).unwrap();
    let (code, stdout, _) = outcome(&["cleanup", "--db", text(&database)]);
    assert_eq!(code, 0);
    assert!(stdout.contains("removed 0 triggers and 1 tables") && stdout.contains("are kept in"), "{stdout}");
    assert!(!socket.exists() && folder.path().join("nats").exists());
    let left: i64 = connection.query_row("SELECT count(*) FROM item", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 1);
}

#[test]
fn version_names_ours_sqlites_and_what_is_wrong_with_nats_server() {
    let (code, stdout, _) = outcome(&["-version"]);
    assert_eq!(code, 0);
    assert!(
        stdout.contains("harmonylite 0.") && stdout.contains("sqlite:") && stdout.contains("2.12.8"),
        "{stdout}"
    );
    let folder = tempfile::tempdir().unwrap();
    let old = old_server(&folder);
    let output = harmonylite()
        .args(["version", "--json"])
        .env("HARMONYLITE_NATS_SERVER_BINARY", &old)
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["nats_server"]["usable"], &json["nats_server"]["minimum"]),
        (&false.into(), &"2.12.8".into())
    );
    assert!(json["nats_server"]["error"].as_str().unwrap().contains("2.9.10"), "{json}");
}

/// What stands where an old nats-server would: it answers `--version` as Debian 12's does.
fn old_server(folder: &TempDir) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let file = write(folder, "nats-server", "#!/bin/sh\necho 'nats-server: v2.9.10'\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_harmonylite"));
    let status = command.arg("version").env_clear().stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn logs_go_to_stderr_and_a_wrong_filter_is_said() {
    let (_folder, database) = folder_with_database();
    let output = harmonylite()
        .args(["run", "--node-id", "1", "--db", text(&database)])
        .env("HARMONYLITE_LOG", "harmonylite=loud")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8(output.stderr).unwrap().contains("HARMONYLITE_LOG: not a log filter"));
}

#[test]
fn the_schema_is_shown_with_the_hash_of_the_original_and_generated_columns() {
    let (folder, database) = folder_with_database();
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection
        .execute_batch(
            "DROP TABLE item;
             CREATE TABLE Books(id INTEGER PRIMARY KEY, title TEXT NOT NULL, author TEXT NOT NULL, publication_year INTEGER)",
        )
        .unwrap();
    let hash = "907f897c838224f10a8a6bfb1ae63396abf7f8235bad760d17af35c72470cccb";
    let (code, people, _) = outcome(&["schema", "status", "--db", text(&database)]);
    assert!(code == 0 && people.contains(&format!("hash: {hash}\n")) && people.contains("log"), "{people}");
    let config = write(&folder, "node.toml", &format!("db_path = {database:?}\nnode_id = 1\n"));
    assert_eq!(outcome(&["-config", text(&config), "-schema-status"]).1, people);
    let documents = ["", "CREATE TABLE g(a INTEGER PRIMARY KEY, b AS (a + 1) STORED)"].map(|sql| {
        connection.execute_batch(sql).unwrap();
        let (code, document, _) = outcome(&["schema", "status", "--db", text(&database), "--json"]);
        assert_eq!(code, 0);
        serde_json::from_str::<serde_json::Value>(&document).unwrap()
    });
    assert_eq!(documents[0]["hash"], hash);
    assert_ne!(documents[1]["hash"], hash);
    let generated = &documents[1]["tables"].as_array().unwrap()[1];
    assert_eq!((&generated["name"], &generated["columns"][1]["name"]), (&"g".into(), &"b".into()));
    assert_eq!(generated["fingerprint"].as_str().map(str::len), Some(16));
}

#[test]
fn what_only_a_running_node_can_do_says_that_none_runs() {
    let (_folder, database) = folder_with_database();
    for command in [["reload"].as_slice(), &["log-level"], &["log-level", "debug", "async_nats"]] {
        let arguments = [command, &["--db", text(&database)]].concat();
        assert_ends(&arguments, ExitCode::NotRunning, "no harmonylite process runs for this database");
    }
}
