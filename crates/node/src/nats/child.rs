//! The server's process: it dies with us, joins its log lines to ours, and leaves a note of who it is.

use std::collections::VecDeque;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::NatsError;
use super::server_config::{ServerFiles, write_private};
use super::store_trouble::StoreTrouble;
use crate::orphan::die_with_this_thread;

/// The Go runtime keeps the server's heap near this: traffic of large messages took it to 310 MB.
const MEMORY_LIMIT: &str = "256MiB";
/// 11 to 160 ms measured from SIGTERM to the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// The log lines that an error about the server's end quotes.
const LAST_LINES: usize = 4;

/// What the server says of every configuration with users in it.
const PLAINTEXT_PASSWORDS: &str = "Plaintext passwords detected";

/// A running server.
pub(super) struct ServerProcess {
    child: tokio::process::Child,
    last_lines: Arc<Mutex<VecDeque<String>>>,
    log: Option<JoinHandle<()>>,
}

impl ServerProcess {
    /// Starts it and notes who it is. The calling thread must live for as long as the server is to: its end is what
    /// the kernel takes for the parent's death.
    pub(super) fn spawn(
        binary: &Path,
        files: &ServerFiles,
        withheld_variables: &[String],
        trouble: &StoreTrouble,
    ) -> Result<Self, NatsError> {
        let mut command = Command::new(binary);
        withheld_variables.iter().for_each(|name| {
            command.env_remove(name);
        });
        command
            .arg("-c")
            .arg(files.config())
            .arg("-sd")
            .arg(files.store())
            .env("GOMEMLIMIT", MEMORY_LIMIT)
            // What the service manager is told is our business.
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // An interrupt from the keyboard is for us: the server stays until we have published what we have.
            .process_group(0)
            .kill_on_drop(true);
        die_with_this_thread(command.as_std_mut());
        let unusable = |error: io::Error| NatsError::BinaryUnusable {
            path: binary.to_owned(),
            reason: error.to_string(),
        };
        let mut child = command.spawn().map_err(unusable)?;
        let last_lines = Arc::<Mutex<VecDeque<String>>>::default();
        let log = child
            .stderr
            .take()
            .map(|stderr| tokio::spawn(join_log(stderr, Arc::clone(&last_lines), trouble.clone())));
        let process = Self { child, last_lines, log };
        process.note(files)?;
        Ok(process)
    }

    fn note(&self, files: &ServerFiles) -> Result<(), NatsError> {
        let Some(pid) = self.pid() else { return Ok(()) };
        let started = start_time(pid).unwrap_or_default();
        write_private(&files.child_record(), &format!("{} {started}\n", pid.as_raw_nonzero()))
    }

    /// Its process id, as long as it runs.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
    }

    /// Waits for its end and says how it ended. Safe to cancel.
    pub(super) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Has a signal ended it, and not it itself?
    pub(super) fn was_killed(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(status)) if status.signal().is_some())
    }

    /// What it said last, once it has ended.
    pub(super) async fn final_words(&mut self) -> String {
        if let Some(log) = self.log.take() {
            // Its end closes the pipe; a process that it started might not.
            let _ = timeout(Duration::from_secs(1), log).await;
        }
        let lines = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        if lines.is_empty() { "it said nothing".to_owned() } else { lines.join("; ") }
    }

    /// SIGTERM, then SIGKILL after a while.
    pub(super) async fn stop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        if timeout(STOP_TIMEOUT, self.ended()).await.is_err() {
            tracing::warn!(from = "nats", "nats-server does not stop, killing it");
            let _ = self.child.kill().await;
        }
    }
}

/// Ends a server that an earlier life of ours left behind. The store's lock is held, so nobody else owns it.
pub(super) async fn stop_stale(files: &ServerFiles) -> Result<(), NatsError> {
    let Some((pid, started)) = read_note(&files.child_record()) else { return Ok(()) };
    let lives = || start_time(pid) == Some(started);
    if !lives() || !has_config(pid, &files.config()) {
        return Ok(());
    }
    let raw = pid.as_raw_nonzero().get();
    tracing::warn!(pid = raw, "stopping the nats-server of an earlier run");
    rustix::process::kill_process(pid, Signal::KILL)
        .map_err(|error| NatsError::StaleServer { pid: raw, reason: error.to_string() })?;
    let deadline = Instant::now() + STOP_TIMEOUT;
    while lives() {
        if Instant::now() > deadline {
            return Err(NatsError::StaleServer { pid: raw, reason: "it survives SIGKILL".to_owned() });
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn read_note(path: &Path) -> Option<(Pid, u64)> {
    let note = std::fs::read_to_string(path).ok()?;
    let (pid, started) = note.trim().split_once(' ')?;
    Some((Pid::from_raw(pid.parse().ok()?)?, started.parse().ok()?))
}

/// Clock ticks from boot to the start of a process: with the id, its identity. `None` when it is gone, that is, when
/// none of its threads holds files or ports any more.
fn start_time(pid: Pid) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name, field 2, is in parentheses and may hold anything. The state is field 3, the number of threads 20,
    // the start time 22. The first thread may be a zombie while others have yet to end.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3);
    let gone = *field(3)? == "Z" && field(20)?.parse::<u32>().ok()? <= 1;
    if gone { None } else { field(22)?.parse().ok() }
}

fn has_config(pid: Pid, config: &Path) -> bool {
    let arguments = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    arguments.split(|byte| *byte == 0).any(|argument| argument == config.as_os_str().as_encoded_bytes())
}

async fn join_log(stderr: ChildStderr, last_lines: Arc<Mutex<VecDeque<String>>>, trouble: StoreTrouble) {
    let mut lines = BufReader::new(stderr).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line);
        let line = log_line(&line);
        if line.is_empty() {
            continue;
        }
        trouble.hear(line);
        let mut last = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line.to_owned());
    }
}

/// Logs `[pid] [LVL] message` at our level for it; gives the message.
fn log_line(line: &str) -> &str {
    let line = line.trim_end();
    let (level, message) = split_level(line).unwrap_or(("INF", line));
    match level {
        "ERR" | "FTL" => tracing::error!(from = "nats", "{message}"),
        // The file with the passwords is ours, private, and read by nobody else: no news at every start.
        "WRN" if message.starts_with(PLAINTEXT_PASSWORDS) => tracing::debug!(from = "nats", "{message}"),
        "WRN" => tracing::warn!(from = "nats", "{message}"),
        "TRC" => tracing::trace!(from = "nats", "{message}"),
        // Its banner and its routine are not news to somebody who runs a sidecar.
        _ => tracing::debug!(from = "nats", "{message}"),
    }
    message
}

fn split_level(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once("] ")?;
    let (level, message) = rest.strip_prefix('[')?.split_once("] ")?;
    (level.len() == 3).then_some((level, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_are_split_into_level_and_message() {
        assert_eq!(split_level("[42] [WRN] Filestore [x] slow"), Some(("WRN", "Filestore [x] slow")));
        assert_eq!(split_level("nats-server: open x: no such file"), None);
        assert_eq!(log_line("[42] [DBG] hello  "), "hello");
        assert_eq!(log_line("plain"), "plain");
    }

    #[test]
    fn a_process_is_known_by_its_start_time_and_arguments() {
        let own = rustix::process::getpid();
        assert!(start_time(own).is_some_and(|ticks| ticks > 0));
        assert_eq!(start_time(own), start_time(own));
        assert!(!has_config(own, Path::new("/no/such/config")));
        assert_eq!(start_time(Pid::from_raw(i32::MAX).unwrap()), None);
    }
}
