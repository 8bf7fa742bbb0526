//! The shells that run the steps in order, one for each host, and whatever they start.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use harmonylite_testkit::wait_for;
use rustix::process::{Pid, Signal, kill_process_group};

use super::expected;
use super::steps::Step;

/// Where and with what the shells run.
pub(super) struct Session {
    /// The first working directory of the shell here. A host's is the folder of its name in it.
    pub(super) start: PathBuf,
    /// Where outputs are kept.
    pub(super) records: PathBuf,
    /// What they find programs by.
    pub(super) path: OsString,
    /// What else they find in their environment.
    pub(super) environment: BTreeMap<&'static str, OsString>,
    /// After that long a step has failed.
    pub(super) deadline: Duration,
}

impl Session {
    /// Runs the steps, each in the `bash -e` of its host, and compares what they print. What one sets stays set for the
    /// next ones there.
    ///
    /// Whatever the steps have started is killed at the end.
    ///
    /// # Errors
    /// When one fails, takes too long, or prints something else: with its line in the file and all it printed.
    pub(super) fn run(&self, steps: &[Step]) -> Result<()> {
        let mut shells = BTreeMap::new();
        for (number, step) in steps.iter().enumerate() {
            if !shells.contains_key(&step.host) {
                shells.insert(step.host.clone(), Shell::start(self.command(step.host.as_deref())?)?);
            }
            if let Some(shell) = shells.get_mut(&step.host) {
                self.run_step(shell, number, step).with_context(|| self.place(number, step))?;
            }
            self.compare(number, step)?;
        }
        Ok(())
    }

    /// The step between braces, with an output of its own; the mark behind it tells that it ended well.
    fn run_step(&self, shell: &mut Shell, number: usize, step: &Step) -> Result<()> {
        let Step { commands, background, .. } = step;
        let mark = self.records.join(format!("ended-{number}"));
        let (output, ended) = (quoted(&self.output(number)), quoted(&mark));
        let end = if *background { " &" } else { "" };
        shell.read(&format!("{{\n{commands}\n}} > {output} < /dev/null{end}\n: > {ended}\n"))?;
        let ended = wait_for("the end of the step", self.deadline, || {
            if mark.exists() {
                return Ok(None);
            }
            shell.leader.try_wait()?.map(Some).context("it still runs")
        })?;
        match ended {
            Some(status) if !mark.exists() => bail!("the shell ended with {status}"),
            _ => Ok(()),
        }
    }

    fn command(&self, host: Option<&str>) -> Result<Command> {
        let mut command = match host {
            Some(host) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", host, "bash", "-e"]);
                command.current_dir(self.start.join(host)).env("HOME", self.start.join(host));
                command
            }
            None => {
                let mut command = Command::new("bash");
                command.arg("-e").current_dir(&self.start);
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HARMONYLITE_") {
                command.env_remove(name);
            }
        }
        command.env("PATH", &self.path).envs(&self.environment).stdin(Stdio::piped()).stdout(Stdio::null());
        let errors = File::options().create(true).append(true).open(self.errors());
        command.stderr(errors.context("making the file of errors")?);
        Ok(command)
    }

    /// The step at which a shell is, or ended, with what was printed.
    fn place(&self, number: usize, step: &Step) -> String {
        let errors = fs::read_to_string(self.errors()).unwrap_or_default();
        format!("{}\nits errors:\n{errors}", self.describe(number, step))
    }

    fn compare(&self, number: usize, step: &Step) -> Result<()> {
        let Some(wanted) = &step.expected else { return Ok(()) };
        let printed = self.printed(number);
        ensure!(
            expected::matches(wanted, &printed),
            "{}\nand should have printed:\n{wanted}",
            self.describe(number, step)
        );
        Ok(())
    }

    fn describe(&self, number: usize, step: &Step) -> String {
        let host = step.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
        format!("line {}{host}:\n{}\nit printed:\n{}", step.line, step.commands, self.printed(number))
    }

    fn printed(&self, number: usize) -> String {
        let bytes = fs::read(self.output(number)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn output(&self, number: usize) -> PathBuf {
        self.records.join(format!("output-{number}"))
    }

    fn errors(&self) -> PathBuf {
        self.records.join("errors")
    }
}

/// A shell that is fed step by step, and all that it starts, killed when dropped.
struct Shell {
    leader: Child,
    script: ChildStdin,
}

impl Shell {
    fn start(mut command: Command) -> Result<Shell> {
        let mut leader = command.process_group(0).spawn().context("starting a shell")?;
        let script = leader.stdin.take().context("a shell without input")?;
        Ok(Shell { leader, script })
    }

    fn read(&mut self, text: &str) -> Result<()> {
        self.script.write_all(text.as_bytes()).context("the shell reads no more")
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = i32::try_from(self.leader.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // Fails when nobody of it is left, which is what was wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.leader.wait();
    }
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use harmonylite_testkit::{ProcessId, wait};

    use super::*;

    fn step(commands: &str, expected: Option<&str>) -> Step {
        let expected = expected.map(str::to_owned);
        Step { line: 7, commands: commands.into(), host: None, background: false, expected }
    }

    fn run_in(folder: &Path, steps: &[Step], deadline: Duration) -> Result<()> {
        let path = std::env::var_os("PATH").context("no PATH")?;
        let (start, records) = (folder.into(), folder.into());
        Session { start, records, path, environment: BTreeMap::new(), deadline }.run(steps)
    }

    /// What is wrong with these steps.
    fn complaint(steps: &[Step], deadline: Duration) -> Result<String> {
        let folder = tempfile::tempdir()?;
        Ok(format!("{:#}", run_in(folder.path(), steps, deadline).unwrap_err()))
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn steps_share_one_shell() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let steps = [
            step("mkdir a\ncd a\nx=5\nf() { echo \"f $1\"; }", None),
            step("cat > file <<END\nhere $x\nEND\nf 1\ncat file", Some("f 1\nhere 5")),
            step("cat\nbasename $PWD", Some("a")),
        ];
        run_in(folder.path(), &steps, LONG)
    }

    #[test]
    fn a_failing_command_ends_the_tour_and_is_named_with_its_line() -> Result<()> {
        let steps = [step("true", None), step("echo begun\necho oops >&2\nfalse\ntouch not-reached", None)];
        let text = complaint(&steps, LONG)?;
        for part in ["line 7", "not-reached", "begun", "oops"] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        Ok(())
    }

    #[test]
    fn another_output_is_shown_beside_the_wanted_one() -> Result<()> {
        let text = complaint(&[step("echo this", Some("that"))], LONG)?;
        assert!(text.contains("this") && text.contains("that"), "{text}");
        Ok(())
    }

    #[test]
    fn a_loop_without_end_is_ended_and_named() -> Result<()> {
        let text = complaint(&[step("until false; do sleep 0.05; done", None)], Duration::from_secs(1))?;
        assert!(text.contains("until false") && text.contains("still runs"), "{text}");
        Ok(())
    }

    #[test]
    fn what_runs_in_the_background_ends_with_the_tour() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let serve = "echo $BASHPID > pid.new\nmv pid.new pid\nexec tail -f /dev/null";
        let background = Step { background: true, ..step(serve, None) };
        run_in(folder.path(), &[background, step("until [ -e pid ]; do sleep 0.05; done", None)], LONG)?;
        let pid = fs::read_to_string(folder.path().join("pid"))?.trim().parse()?;
        wait("the end of the background", LONG, || {
            ProcessId::of(pid).is_none_or(|process| !process.is_running())
        })
    }
}
