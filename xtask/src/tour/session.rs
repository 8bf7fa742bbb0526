//! One shell that runs the steps in order, and whatever it starts.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harmonylite_testkit::wait_for;
use rustix::process::{Pid, Signal, kill_process_group};

use super::expected;
use super::steps::Step;

/// Where and with what the shell runs.
pub(super) struct Session {
    /// Its first working directory.
    pub(super) start: PathBuf,
    /// Where scripts and outputs are kept.
    pub(super) records: PathBuf,
    /// What it finds programs by.
    pub(super) path: OsString,
    /// After that long it has failed.
    pub(super) deadline: Duration,
}

impl Session {
    /// Runs the steps in one `bash -e`, and compares what they print.
    ///
    /// Whatever the steps have started is killed at the end.
    ///
    /// # Errors
    /// When one fails, takes too long, or prints something else: with its line in the file and all it printed.
    pub(super) fn run(&self, steps: &[Step]) -> Result<()> {
        fs::write(self.records.join("script"), self.script(steps)).context("writing the script")?;
        let mut group = Group::start(self.command()?)?;
        let ended = group.wait_success(self.deadline);
        drop(group);
        ended.with_context(|| self.place(steps))?;
        for (number, step) in steps.iter().enumerate() {
            self.compare(number, step)?;
        }
        Ok(())
    }

    /// The steps between braces, each with an output of its own; what they set stays set for the next ones.
    fn script(&self, steps: &[Step]) -> String {
        let mut script = String::new();
        for (number, Step { commands, background, .. }) in steps.iter().enumerate() {
            let (at, output) = (quoted(&self.records.join("at")), quoted(&self.output(number)));
            let end = if *background { " &" } else { "" };
            script.push_str(&format!("echo {number} > {at}\n{{\n{commands}\n}} > {output}{end}\n"));
        }
        script
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new("bash");
        command.arg("-e").arg(self.records.join("script")).current_dir(&self.start);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HARMONYLITE_") {
                command.env_remove(name);
            }
        }
        command.env("PATH", &self.path).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(self.errors()).context("making the file of errors")?);
        Ok(command)
    }

    /// The step at which the shell is, or ended, with what was printed.
    fn place(&self, steps: &[Step]) -> String {
        let at: usize = fs::read_to_string(self.records.join("at"))
            .ok()
            .and_then(|at| at.trim().parse().ok())
            .unwrap_or(0);
        let errors = fs::read_to_string(self.errors()).unwrap_or_default();
        match steps.get(at) {
            Some(step) => format!("{}\nits errors:\n{errors}", self.describe(at, step)),
            None => errors,
        }
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
        format!("line {}:\n{}\nit printed:\n{}", step.line, step.commands, self.printed(number))
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

/// A process and all that it starts, killed when dropped.
struct Group {
    leader: Child,
}

impl Group {
    fn start(mut command: Command) -> Result<Group> {
        Ok(Group { leader: command.process_group(0).spawn().context("starting bash")? })
    }

    fn wait_success(&mut self, deadline: Duration) -> Result<()> {
        let ended =
            wait_for("the end of the tour", deadline, || self.leader.try_wait()?.context("it still runs"))?;
        ensure!(ended.success(), "the shell ended with {ended}");
        Ok(())
    }
}

impl Drop for Group {
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
        Step { line: 7, commands: commands.into(), background: false, expected: expected.map(str::to_owned) }
    }

    fn run_in(folder: &Path, steps: &[Step], deadline: Duration) -> Result<()> {
        let path = std::env::var_os("PATH").context("no PATH")?;
        Session { start: folder.into(), records: folder.into(), path, deadline }.run(steps)
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
            step("basename $PWD", Some("a")),
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
