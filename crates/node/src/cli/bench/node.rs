//! One node of the cluster that is measured: this program again, as a process beside its own database.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use harmonylite_sqlite::workload::{Application, Durability};
use rustix::process::{Pid, Signal, kill_process};

use super::Bench;
use crate::cli::node_socket::ask;
use crate::config::HostPort;
use crate::config::environment::LOG_VARIABLE;
use crate::exit::{ExitCode, ExitError};
use crate::orphan::die_with_this_thread;
use crate::status::NodeStatus;

/// An orderly end takes well below a second; a machine that is busy may need longer.
const STOP_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Of the log of a node that ended, which is gone with the folder.
const SHOWN_LINES: usize = 8;

/// A node, running or not.
pub(super) struct Node {
    id: usize,
    folder: PathBuf,
    address: HostPort,
    peers: Vec<HostPort>,
    child: Mutex<Option<Child>>,
}

impl Node {
    /// Node `id`, from 1, of those at `addresses`. It does not run yet; its database is empty, in a folder below `parent`.
    pub(super) fn new(parent: &Path, id: usize, addresses: &[HostPort]) -> Result<Self, ExitError> {
        let folder = parent.join(format!("node{id}"));
        fs::create_dir(&folder).map_err(|error| failed(&folder, &error))?;
        let mut peers = addresses.to_vec();
        let address = peers.remove(id - 1);
        let node = Self { id, folder, address, peers, child: Mutex::new(None) };
        Application::create(&node.database())?;
        Ok(node)
    }

    /// Starts the process without waiting for it. It dies with the thread that calls.
    pub(super) fn start(&self, bench: &Bench) -> Result<(), ExitError> {
        let log = self.log_file();
        let output = OpenOptions::new().create(true).append(true).open(&log);
        let output = output.map_err(|error| failed(&log, &error))?;
        let errors = output.try_clone().map_err(|error| failed(&log, &error))?;
        let mut command = self.command(bench, output, errors);
        let child = command.spawn();
        let child = child.map_err(|error| {
            ExitError::new(ExitCode::Unexpected, format!("cannot start node {}: {error}", self.id))
        })?;
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        Ok(())
    }

    fn command(&self, bench: &Bench, output: File, errors: File) -> Command {
        // Not by its path: there may be another program by now.
        let mut command = Command::new("/proc/self/exe");
        // What is measured are the defaults, not what this shell is set to.
        for name in bench.variables.iter().filter(|name| *name != LOG_VARIABLE) {
            command.env_remove(name);
        }
        let peers: Vec<String> = self.peers.iter().map(|peer| format!("nats://{peer}")).collect();
        command
            .arg0("harmonylite")
            .arg("run")
            .args(["--node-id", &self.id.to_string(), "--cluster-addr", &self.address.to_string()])
            .args(["--cluster-peers", &peers.join(",")])
            .arg("--db")
            .arg(self.database())
            .env("HARMONYLITE_NATS_SERVER_BINARY", &bench.server_binary)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // An interrupt from the keyboard is for us, who end the nodes in order.
            .process_group(0);
        die_with_this_thread(&mut command);
        command
    }

    /// Asks it to end, without waiting for that.
    pub(super) fn ask_to_end(&self) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It is our child and not waited for: the number is still its own, if only that of a zombie.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Asks it to end and waits for that; one that does not is killed.
    pub(super) fn stop(&self) {
        self.ask_to_end();
        let deadline = Instant::now() + STOP_WITHIN;
        while self.ended().is_none() && self.pid().is_some() {
            if Instant::now() > deadline {
                self.with_child(Child::kill);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How it ended, when it has by itself.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        self.with_child(Child::try_wait).flatten()
    }

    /// Its process, from its start until it is stopped.
    pub(super) fn pid(&self) -> Option<u32> {
        self.with_child(|child| Ok(child.id()))
    }

    fn with_child<T>(&self, act: impl FnOnce(&mut Child) -> std::io::Result<T>) -> Option<T> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.as_mut().and_then(|child| act(child).ok())
    }

    /// What it says of itself; nothing while it does not answer.
    pub(super) fn status(&self) -> Option<NodeStatus> {
        let document = ask(&self.database(), "").ok().flatten()?;
        serde_json::from_str(&document).ok()
    }

    /// Its number.
    pub(super) fn id(&self) -> usize {
        self.id
    }

    /// A connection of the application beside it.
    pub(super) fn application(&self, durability: Durability) -> Result<Application, ExitError> {
        Ok(Application::open(&self.database(), durability)?)
    }

    fn database(&self) -> PathBuf {
        self.folder.join("app.db")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The last lines of its log.
    pub(super) fn last_lines(&self) -> String {
        let text = fs::read(self.log_file()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}

fn failed(path: &Path, error: &std::io::Error) -> ExitError {
    ExitError::new(ExitCode::Storage, format!("{}: {error}", path.display()))
}
