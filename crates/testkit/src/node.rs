//! One HarmonyLite process beside its own database: configured, started, asked, killed, and gone on drop.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::nats_server::NatsServer;
use crate::ports::Port;
use crate::process::{ProcessId, Running};
use crate::waiting::wait_for;

const READY_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// How long a connection of the application waits for locks.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A node: its folder holds the database, the configuration and the log; its port is reserved while it lives.
#[derive(Debug)]
pub struct Node {
    id: u64,
    binary: PathBuf,
    port: Port,
    db: PathBuf,
    settings: BTreeMap<String, String>,
    variables: BTreeMap<String, OsString>,
    log_is_hidden: bool,
    // Before the folder: the process ends before its files go.
    process: Option<Running>,
    folder: TempDir,
}

impl Node {
    /// A node that does not run yet, with a WAL database made by the statements `schema`. `binary` is the program
    /// under test: `env!("CARGO_BIN_EXE_harmonylite")` in the tests that have it.
    ///
    /// # Errors
    /// When the database cannot be made, or nats-server is missing.
    pub fn new(binary: impl AsRef<Path>, id: u64, schema: &str) -> Result<Node> {
        let folder = tempfile::tempdir().context("making a folder for a node")?;
        let db = folder.path().join("app.db");
        Node::in_folder(folder, binary.as_ref(), id, schema, db)
    }

    /// The same with its database, and all that the sidecar keeps beside it, somewhere else.
    ///
    /// # Errors
    /// As [`Node::new`].
    pub fn with_database(binary: impl AsRef<Path>, id: u64, schema: &str, db: &Path) -> Result<Node> {
        let folder = tempfile::tempdir().context("making a folder for a node")?;
        Node::in_folder(folder, binary.as_ref(), id, schema, db.to_owned())
    }

    fn in_folder(folder: TempDir, binary: &Path, id: u64, schema: &str, db: PathBuf) -> Result<Node> {
        let (binary, port) = (binary.to_owned(), Port::reserve()?);
        let (settings, variables) = (BTreeMap::new(), BTreeMap::new());
        let (log_is_hidden, process) = (false, None);
        let mut node = Node { id, binary, port, db, settings, variables, log_is_hidden, process, folder };
        let connection = node.connection()?;
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
        connection.execute_batch(schema).context("making the database")?;
        let listen = node.port.address();
        node.set("db_path", literal(&node.db().display().to_string()));
        node.set("node_id", id);
        node.set("cluster.listen", literal(&listen));
        node.set("nats.server_binary", literal(&NatsServer::binary()?.display().to_string()));
        Ok(node)
    }

    /// Its node id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The database file.
    #[must_use]
    pub fn db(&self) -> PathBuf {
        self.db.clone()
    }

    /// The folder of its configuration and its log, and of its database unless that was put somewhere else.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file; it is written at every start.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("node.toml")
    }

    /// Where its server listens: `127.0.0.1:<port>`.
    #[must_use]
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// The same as a peer names it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// Sets a key of the configuration, from the next start on: `set("nats.user_name", "\"ada\"")`. The value is
    /// written as it is, so a text brings its quotes.
    pub fn set(&mut self, key: &str, value: impl ToString) {
        self.settings.insert(key.into(), value.to_string());
    }

    /// Takes a key out of the configuration, from the next start on.
    pub fn unset(&mut self, key: &str) {
        self.settings.remove(key);
    }

    /// Sets an environment variable of its programs, from the next start on.
    pub fn set_variable(&mut self, name: &str, value: impl Into<OsString>) {
        self.variables.insert(name.into(), value.into());
    }

    /// Writes the configuration file as it is set now: for a process that reads it again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_config(&self) -> Result<()> {
        let (file, text) = (self.config_file(), self.config_text());
        fs::write(&file, text).context("writing the configuration")?;
        // A password may stand in it.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).context("making it private")
    }

    /// Names the peers, from the next start on.
    pub fn set_peers<'a>(&mut self, urls: impl IntoIterator<Item = &'a str>) {
        let urls: Vec<String> = urls.into_iter().map(literal).collect();
        self.set("cluster.peers", format!("[{}]", urls.join(", ")));
    }

    /// Names the servers of an existing NATS cluster in place of peers and of a server of its own, from the next start
    /// on.
    pub fn set_urls<'a>(&mut self, urls: impl IntoIterator<Item = &'a str>) {
        let urls: Vec<String> = urls.into_iter().map(literal).collect();
        self.unset("cluster.listen");
        self.unset("cluster.peers");
        self.set("nats.urls", format!("[{}]", urls.join(", ")));
    }
    /// The application's side: a connection that waits for locks.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub fn connection(&self) -> Result<Connection> {
        let connection = Connection::open(self.db()).context("opening the application's database")?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    }

    /// The application runs statements (several may be given; `BEGIN IMMEDIATE` and `COMMIT` make one transaction).
    ///
    /// # Errors
    /// When one fails.
    pub fn execute(&self, sql: &str) -> Result<()> {
        self.connection()?.execute_batch(sql).with_context(|| format!("node {}: {sql}", self.id))
    }

    /// The first column of the first row of a query.
    ///
    /// # Errors
    /// When the query fails or gives nothing.
    pub fn query<T: rusqlite::types::FromSql>(&self, sql: &str) -> Result<T> {
        let found = self.connection()?.query_row(sql, [], |row| row.get(0));
        found.with_context(|| format!("node {}: {sql}", self.id))
    }

    /// Starts the process without waiting for it.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn start(&mut self) -> Result<()> {
        ensure!(!self.is_running(), "node {} runs already", self.id);
        self.write_config()?;
        let mut command = self.command(&["run", "--config"]);
        command.arg(self.config_file());
        let mut process = Running::start(&self.name(), command, &self.log_file())?;
        if self.log_is_hidden {
            process.hide_log();
        }
        self.process = Some(process);
        Ok(())
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// When it ends before, or does not within half a minute; with its log.
    pub fn wait_ready(&mut self) -> Result<()> {
        let name = self.name();
        let mut process = self.process.take().with_context(|| format!("{name} was not started"))?;
        let what = format!("an answer of {name}");
        let ready = process.wait_ready(&what, READY_DEADLINE, || self.status());
        self.process = Some(process);
        ready.map(|_| ())
    }

    /// What `harmonylite status --json` says.
    ///
    /// # Errors
    /// When the node does not answer.
    pub fn status(&self) -> Result<Value> {
        let mut command = self.command(&["status", "--json", "--db"]);
        let output = command.arg(self.db()).output().context("running status")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "status ended with {}: {complaint}", output.status);
        serde_json::from_slice(&output.stdout).context("reading the status")
    }

    /// Waits for a status in which `holds`; on a timeout the last one is shown.
    ///
    /// # Errors
    /// When there is none within `deadline`.
    pub fn wait_status(
        &self,
        what: &str,
        deadline: Duration,
        mut holds: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        let what = format!("{what} at {}", self.name());
        wait_for(&what, deadline, || {
            let status = self.status()?;
            ensure!(holds(&status), "the last status was {status:#}");
            Ok(status)
        })
        .with_context(|| self.log())
    }

    /// Runs another command of the program to its end: `command_output(&["check-config", "--config", path])`.
    ///
    /// # Errors
    /// When it cannot be run; a failing command is not an error here.
    pub fn command_output(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments).output().with_context(|| format!("running {arguments:?}"))
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| matches!(process.exit_status(), Ok(None)))
    }

    /// The process, while it runs.
    #[must_use]
    pub fn process(&self) -> Option<ProcessId> {
        self.process.as_ref().and_then(|process| ProcessId::of(process.pid()))
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// When it was not started or does not end within `deadline`.
    pub fn wait_exit(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.started()?.wait_exit(deadline)
    }

    /// Stops it in order (SIGTERM).
    ///
    /// # Errors
    /// When it was not started or does not end within 20 s.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.started()?.terminate(STOP_DEADLINE)
    }

    /// Stops it as a Ctrl-C does (SIGINT).
    ///
    /// # Errors
    /// As [`Node::stop`].
    pub fn interrupt(&mut self) -> Result<ExitStatus> {
        self.started()?.interrupt(STOP_DEADLINE)
    }

    /// Kills it (SIGKILL). Its server is left to die by itself: see [`Node::left_behind`].
    ///
    /// # Errors
    /// When it was not started.
    pub fn kill9(&mut self) -> Result<()> {
        self.started()?.kill9().map(|_| ())
    }

    /// Kills its nats-server (SIGKILL), as soon as it has one.
    ///
    /// # Errors
    /// When the node does not name a running server within half a minute.
    pub fn kill9_server(&self) -> Result<()> {
        let what = format!("a server of {}", self.name());
        wait_for(&what, READY_DEADLINE, || self.server())?.kill9();
        Ok(())
    }

    /// The nats-server that the node says is its own.
    ///
    /// # Errors
    /// When the node does not run, or the process it names is not its child.
    pub fn server(&self) -> Result<ProcessId> {
        let status = self.status()?;
        let pid = status["nats"]["pid"].as_u64().context("the status names no server process")?;
        let children = self.process().context("the node does not run")?.children();
        let server = children.into_iter().find(|child| u64::from(child.pid()) == pid);
        server.with_context(|| format!("process {pid} is not a child of {}", self.name()))
    }

    /// Processes that ended nodes of this folder have left running.
    #[must_use]
    pub fn left_behind(&self) -> Vec<ProcessId> {
        self.process.as_ref().map(Running::left_behind).unwrap_or_default()
    }

    /// The last lines of its log, of all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        let tail = self.process.as_ref().map(Running::log_tail).unwrap_or_default();
        format!("log of {}:\n{tail}", self.name())
    }

    /// Does not print the log when the node is dropped or started again: for programs whose output nobody captures.
    pub fn hide_log(&mut self) {
        self.log_is_hidden = true;
        if let Some(process) = &mut self.process {
            process.hide_log();
        }
    }

    /// The file of its log.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join("node.log")
    }

    /// Its configuration as the next start will have it.
    #[must_use]
    pub fn config_text(&self) -> String {
        let mut sections: BTreeMap<&str, String> = BTreeMap::new();
        for (key, value) in &self.settings {
            let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
            let _ = writeln!(sections.entry(section).or_default(), "{name} = {value}");
        }
        let with_header = |(section, lines): (&str, String)| match section {
            // Keys without a section come first: "" is the least name.
            "" => lines,
            section => format!("\n[{section}]\n{lines}"),
        };
        sections.into_iter().map(with_header).collect()
    }

    fn name(&self) -> String {
        format!("node {}", self.id)
    }

    fn started(&mut self) -> Result<&mut Running> {
        let id = self.id;
        self.process.as_mut().with_context(|| format!("node {id} was not started"))
    }

    /// The program without the settings that the tests' own environment may carry.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(self.folder.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HARMONYLITE_") {
                command.env_remove(name);
            }
        }
        command.envs(&self.variables);
        command
    }
}

/// Text as a TOML literal.
fn literal(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::waiting::wait;

    /// A program that answers as the product does, for testing what stands around it.
    fn stand_in(folder: &Path, run: &str) -> Result<PathBuf> {
        let path = folder.join("program");
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = status ]; then\n  read server <server || exit 4\n  \
             echo \"{{\\\"nats\\\":{{\\\"pid\\\":$server}}}}\"; exit 0\nfi\n{run}\n"
        );
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    const SERVING: &str = "echo started; tail -f /dev/null & echo $! >server; trap 'exit 0' TERM; wait";

    #[test]
    fn settings_are_written_section_by_section() -> Result<()> {
        let mut node = Node::new("harmonylite", 3, "CREATE TABLE t(id INTEGER PRIMARY KEY)")?;
        node.set("replication_log.compress", false);
        node.set("nats.user_name", literal("a \"b\""));
        node.set_peers(["nats://127.0.0.1:1", "nats://127.0.0.1:2"]);
        node.unset("nats.server_binary");
        let db = node.db().display().to_string();
        let address = node.address();
        let wanted = format!(
            "db_path = \"{db}\"\nnode_id = 3\n\n[cluster]\nlisten = \"{address}\"\n\
             peers = [\"nats://127.0.0.1:1\", \"nats://127.0.0.1:2\"]\n\n[nats]\nuser_name = \"a \\\"b\\\"\"\n\n\
             [replication_log]\ncompress = false\n"
        );
        assert_eq!(node.config_text(), wanted);
        Ok(())
    }

    #[test]
    fn a_node_is_started_asked_and_stopped() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut node = Node::new(stand_in(folder.path(), SERVING)?, 1, "CREATE TABLE t(id)")?;
        node.start()?;
        node.wait_ready()?;
        assert!(node.is_running() && node.start().is_err());
        let server = node.server()?;
        node.kill9_server()?;
        wait("the end of the server", Duration::from_secs(10), || !server.is_running())?;
        assert!(node.stop()?.success());
        assert!(node.log().contains("started"));
        Ok(())
    }

    #[test]
    fn a_node_that_ends_before_it_answers_is_an_error_with_its_log() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut node = Node::new(stand_in(folder.path(), "echo no such thing >&2; exit 5")?, 1, "")?;
        node.start()?;
        let error = format!("{:#}", node.wait_ready().unwrap_err());
        assert!(error.contains("exit status: 5") && error.contains("no such thing"), "{error}");
        Ok(())
    }

    #[test]
    fn a_killed_node_shows_the_server_that_outlived_it() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut node = Node::new(stand_in(folder.path(), SERVING)?, 1, "")?;
        node.start()?;
        node.wait_ready()?;
        let server = node.server()?;
        node.kill9()?;
        assert_eq!(node.left_behind(), [server]);
        drop(node);
        wait("the end of the server", Duration::from_secs(10), || !server.is_running())
    }
}
