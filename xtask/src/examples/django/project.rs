//! The Django project as programs to run: its packages fetched once, its management commands on a node's database.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use harmonylite_testkit::Node;
use serde_json::Value;

use super::super::say;

/// Which of the application's releases runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Release {
    First,
    Second,
}

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Release::First => "first",
            Release::Second => "second",
        })
    }
}

/// The project with its packages.
pub(super) struct Project {
    folder: PathBuf,
    packages: PathBuf,
}

impl Project {
    /// Puts the pinned packages into `.tools/django`, unless they are there.
    ///
    /// Not a virtual environment: Debian's python3 has none without a further package. pip checks the digests.
    pub(super) fn install(root: &Path) -> Result<Project> {
        let folder = root.join("examples/django");
        let packages = root.join(".tools/django");
        let requirements = folder.join("requirements.txt");
        let wanted = fs::read_to_string(&requirements).context("reading requirements.txt")?;
        let stamp = |packages: &Path| packages.join("requirements.txt");
        if fs::read_to_string(stamp(&packages)).is_ok_and(|installed| installed == wanted) {
            return Ok(Project { folder, packages });
        }
        say("django: fetching the packages into .tools/django");
        fs::create_dir_all(root.join(".tools"))?;
        // Renamed into place when it is complete.
        let fresh = tempfile::tempdir_in(root.join(".tools")).context("making a folder for packages")?;
        pip_install(&requirements, fresh.path())?;
        fs::write(stamp(fresh.path()), wanted)?;
        if packages.exists() {
            fs::remove_dir_all(&packages).context("removing the old packages")?;
        }
        fs::rename(fresh.keep(), &packages).context("moving the packages into place")?;
        Ok(Project { folder, packages })
    }

    /// Runs a management command to its end, and gives the JSON that it printed (null when it printed nothing).
    pub(super) fn run(&self, node: &Node, release: Release, arguments: &[&str]) -> Result<Value> {
        let mut instance = self.start(node, release, arguments)?;
        drop(instance.process.stdin.take());
        instance.finish()
    }

    /// Starts a management command on the database of `node`.
    pub(super) fn start(&self, node: &Node, release: Release, arguments: &[&str]) -> Result<Instance> {
        let release = match release {
            Release::First => "1",
            Release::Second => "2",
        };
        let mut command = Command::new("python3");
        command.arg("manage.py").args(arguments).current_dir(&self.folder);
        command.env("PYTHONPATH", &self.packages).env("DJANGO_SETTINGS_MODULE", "project.settings");
        command.env("SHOP_DATABASE", node.db()).env("SHOP_RELEASE", release);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = format!("manage.py {} on node {}", arguments.join(" "), node.id());
        let mut process = command.spawn().with_context(|| format!("starting {name}"))?;
        let output = BufReader::new(process.stdout.take().context("no standard output")?);
        Ok(Instance { name, process, output })
    }
}

fn pip_install(requirements: &Path, target: &Path) -> Result<()> {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]);
    command.args(["--only-binary=:all:", "--root-user-action=ignore", "--requirement"]).arg(requirements);
    command.arg("--target").arg(target);
    let status = command.status().context("running python3")?;
    ensure!(
        status.success(),
        "could not fetch Django (the reason stands above): python3 with pip and a package index are needed"
    );
    Ok(())
}

/// A management command that runs.
pub(super) struct Instance {
    name: String,
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Instance {
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
        let mut input = self.process.stdin.take().context("it has begun already")?;
        input.write_all(b"go\n").with_context(|| format!("{} ended", self.name))
    }

    /// Waits for its end and success, and gives what it printed.
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
