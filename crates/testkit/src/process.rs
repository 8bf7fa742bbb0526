//! Processes that a test starts: their logs, their signals, their end, and whom they leave behind.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::waiting::wait_for;

/// How much of a log is shown when its process is dropped.
const SHOWN_LINES: usize = 120;

/// A process by its number and its start time (in clock ticks since boot): the number alone is soon somebody else's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProcessId {
    pid: u32,
    start_time: u64,
}

impl ProcessId {
    /// The process that has this number now, if there is one.
    #[must_use]
    pub fn of(pid: u32) -> Option<ProcessId> {
        let stat = Stat::read(pid)?;
        Some(ProcessId { pid, start_time: stat.start_time })
    }

    /// Its number.
    #[must_use]
    pub fn pid(self) -> u32 {
        self.pid
    }

    /// Whether it still runs. A zombie does not: it holds no lock, no port and no file.
    #[must_use]
    pub fn is_running(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.start_time == self.start_time && stat.state != 'Z')
    }

    /// Kills it as nobody can prevent (SIGKILL). Nothing happens when it is gone already.
    pub fn kill9(self) {
        if self.is_running() {
            signal(self.pid, Signal::KILL);
        }
    }

    /// Asks it to end (SIGTERM), and does not wait.
    pub fn terminate(self) {
        if self.is_running() {
            signal(self.pid, Signal::TERM);
        }
    }

    /// Stops it where it stands (SIGSTOP): it is there, holds what it holds, and answers nobody until [`ProcessId::resume`].
    pub fn pause(self) {
        if self.is_running() {
            signal(self.pid, Signal::STOP);
        }
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(self) {
        if self.is_running() {
            signal(self.pid, Signal::CONT);
        }
    }

    /// Tells it to read its configuration again (SIGHUP).
    pub fn hang_up(self) {
        if self.is_running() {
            signal(self.pid, Signal::HUP);
        }
    }

    /// The processes that it started and that still run.
    #[must_use]
    pub fn children(self) -> Vec<ProcessId> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let children = pids.filter(|&pid| Stat::read(pid).is_some_and(|stat| stat.parent == self.pid));
        children.filter_map(ProcessId::of).filter(|child| child.is_running()).collect()
    }
}

/// The fields of `/proc/<pid>/stat` that we use.
struct Stat {
    state: char,
    parent: u32,
    start_time: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Stat> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold spaces and parentheses; what follows it may not. proc(5): state is the
        // third field, the parent the fourth, the start time the twenty-second.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let start_time = fields.nth(17)?.parse().ok()?;
        Some(Stat { state, parent, start_time })
    }
}

/// A child process with its log file, killed when dropped, together with the children that it has or has left.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    log_is_shown: bool,
    left: Vec<ProcessId>,
}

impl Running {
    /// Starts `command`; its output goes to the end of the file `log`.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> Result<Running> {
        let output = OpenOptions::new().create(true).append(true).open(log).context("opening the log")?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("starting {name} as {command:?}"))?;
        Ok(Running { name: name.into(), child, log: log.into(), log_is_shown: true, left: Vec::new() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status once it has ended.
    pub(crate) fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("waiting for {}", self.name))
    }

    /// An error, with the log, when it has ended.
    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        match self.exit_status()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}; its log:\n{}", self.name, self.log_tail()),
        }
    }

    /// Waits until `look` succeeds; fails at once when the process ends before.
    pub(crate) fn wait_ready<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut look: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let found = wait_for(what, deadline, || match self.ensure_running() {
            Ok(()) => look().map(Ok),
            Err(ended) => Ok(Err(ended)),
        });
        found.with_context(|| format!("log of {}:\n{}", self.name, self.log_tail()))?
    }

    /// Asks it to end (SIGTERM) and waits for that.
    pub(crate) fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.end_by(Signal::TERM, deadline)
    }

    /// As a Ctrl-C does (SIGINT).
    pub(crate) fn interrupt(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.end_by(Signal::INT, deadline)
    }

    fn end_by(&mut self, by: Signal, deadline: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exit_status()? {
            return Ok(status);
        }
        self.note_children();
        signal(self.pid(), by);
        self.wait_exit(deadline)
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait_exit(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        let ended = wait_for(&what, deadline, || self.exit_status()?.context("it still runs"));
        ended.with_context(|| format!("its log:\n{}", self.log_tail()))
    }

    /// Kills it (SIGKILL). Its children are left alone: whether they end is for the test to see.
    pub(crate) fn kill9(&mut self) -> Result<ExitStatus> {
        self.note_children();
        self.child.kill().with_context(|| format!("killing {}", self.name))?;
        self.child.wait().with_context(|| format!("waiting for {}", self.name))
    }

    /// Those of its children that it left behind and that still run.
    pub(crate) fn left_behind(&self) -> Vec<ProcessId> {
        self.left.iter().copied().filter(|child| child.is_running()).collect()
    }

    /// Nobody will want to see its log when it is dropped.
    pub(crate) fn hide_log(&mut self) {
        self.log_is_shown = false;
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    fn note_children(&mut self) {
        if let Some(process) = ProcessId::of(self.pid()) {
            self.left = process.children();
        }
    }
}

impl Drop for Running {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.kill9();
        }
        self.left_behind().into_iter().for_each(ProcessId::kill9);
        if self.log_is_shown {
            eprintln!("--- log of {} ---\n{}\n---", self.name, self.log_tail());
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // The only failure is that it has ended meanwhile, which is what was wanted.
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting::wait;

    fn shell(script: &str, folder: &Path) -> Result<Running> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Running::start("the script", command, &folder.join("log"))
    }

    #[test]
    fn a_process_that_ends_early_is_an_error_with_its_log() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut process = shell("echo it hurts >&2; exit 3", folder.path())?;
        process.wait_exit(Duration::from_secs(10))?;
        let error = process.ensure_running().unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("it hurts"), "{error}");
        Ok(())
    }

    #[test]
    fn termination_gives_the_exit_status_of_the_handler() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("log");
        let mut process = shell("trap 'exit 7' TERM; echo ready; tail -f /dev/null & wait", folder.path())?;
        wait_for("the handler", Duration::from_secs(10), || {
            fs::read_to_string(&log)?.contains("ready").then_some(()).context("not yet")
        })?;
        assert_eq!(process.terminate(Duration::from_secs(10))?.code(), Some(7));
        Ok(())
    }

    #[test]
    fn children_that_are_left_behind_are_seen_and_gone_after_the_drop() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut process = shell("tail -f /dev/null & echo $!; wait", folder.path())?;
        let parent = ProcessId::of(process.pid()).context("no process")?;
        let child = wait_for("the child", Duration::from_secs(10), || {
            parent.children().first().copied().context("none")
        })?;
        process.kill9()?;
        assert!(!parent.is_running());
        assert_eq!(process.left_behind(), [child]);
        drop(process);
        wait("the end of the child", Duration::from_secs(10), || !child.is_running())
    }
}
