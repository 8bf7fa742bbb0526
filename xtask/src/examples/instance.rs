//! One instance of an example's program that runs beside a node: when it begins, when it has done enough, what it says.
//!
//! A program that shall write at the same time as others says `ready`, begins when a line is typed, and goes on until its
//! input ends. Then it prints what it has to report as one JSON value.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use harmonylite_testkit::Node;
use serde_json::Value;

/// A program that runs; killed when dropped.
pub(super) struct Instance {
    name: String,
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Instance {
    /// Starts `command`, which has to do with the database of `node`.
    pub(super) fn start(node: &Node, command: Command) -> Result<Instance> {
        let arguments = command.get_args().map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
        Instance::start_as(format!("{arguments} on node {}", node.id()), command)
    }

    fn start_as(name: String, mut command: Command) -> Result<Instance> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("starting {name}"))?;
        let output = BufReader::new(process.stdout.take().context("no standard output")?);
        Ok(Instance { name, process, output })
    }

    /// Runs a program that waits for nobody to its end, and gives the JSON that it printed.
    pub(super) fn run(node: &Node, command: Command) -> Result<Value> {
        Instance::start(node, command)?.run_to_its_end()
    }

    fn run_to_its_end(mut self) -> Result<Value> {
        self.end_input();
        self.finish()
    }

    /// Waits until it could begin.
    pub(super) fn wait_ready(&mut self) -> Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.trim() != "ready" {
            let complaint = self.complaint()?;
            bail!("{} did not get ready: {line}{complaint}", self.name);
        }
        Ok(())
    }

    /// Lets it begin.
    pub(super) fn begin(&mut self) -> Result<()> {
        let input = self.process.stdin.as_mut().context("its input has ended")?;
        input.write_all(b"go\n").with_context(|| format!("{} ended", self.name))
    }

    /// An error, with what it said, when it has ended although its input has not.
    pub(super) fn ensure_running(&mut self) -> Result<()> {
        let Some(status) = self.process.try_wait()? else { return Ok(()) };
        let complaint = self.complaint()?;
        bail!("{} ended by itself with {status}:\n{complaint}", self.name)
    }

    /// Tells it that it has done enough.
    pub(super) fn end_input(&mut self) {
        drop(self.process.stdin.take());
    }

    /// Waits for its end and success, and gives what it printed; null when that is nothing.
    pub(super) fn finish(mut self) -> Result<Value> {
        let mut printed = String::new();
        self.output.read_to_string(&mut printed)?;
        let complaint = self.complaint()?;
        let status = self.process.wait()?;
        ensure!(status.success(), "{} ended with {status}:\n{printed}{complaint}", self.name);
        if printed.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&printed).with_context(|| format!("{} printed {printed:?}", self.name))
    }

    fn complaint(&mut self) -> Result<String> {
        let mut text = String::new();
        if let Some(errors) = &mut self.process.stderr {
            errors.read_to_string(&mut text)?;
        }
        Ok(text)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Fails when it has ended, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn it_begins_at_a_line_and_reports_when_its_input_ends() -> Result<()> {
        let script =
            "echo ready; read line; test \"$line\" = go || exit 1; cat > /dev/null; echo '{\"done\": 7}'";
        let mut instance = Instance::start_as("it".into(), shell(script))?;
        instance.wait_ready()?;
        instance.begin()?;
        instance.ensure_running()?;
        instance.end_input();
        assert_eq!(instance.finish()?["done"], 7);
        Ok(())
    }

    #[test]
    fn one_that_fails_says_why() -> Result<()> {
        let error = Instance::start_as("it".into(), shell("echo it hurts >&2; exit 3"))?
            .run_to_its_end()
            .unwrap_err()
            .to_string();
        assert!(error.contains("exit status: 3") && error.contains("it hurts"), "{error}");
        let mut instance = Instance::start_as("it".into(), shell("echo it hurts >&2; exit 3"))?;
        let error = instance.wait_ready().unwrap_err().to_string();
        assert!(error.contains("did not get ready") && error.contains("it hurts"), "{error}");
        harmonylite_testkit::wait("its end", std::time::Duration::from_secs(10), || {
            instance.ensure_running().is_err()
        })
    }
}
