//! The Django project as programs to run: its packages fetched once, its management commands on a node's database.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use harmonylite_testkit::Node;
use serde_json::Value;

use super::super::instance::Instance;
use super::super::python_packages;

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
    pub(super) fn install(root: &Path) -> Result<Project> {
        let folder = root.join("examples/django");
        let packages = python_packages::install(root, "django", &folder.join("requirements.txt"))?;
        Ok(Project { folder, packages })
    }

    /// Runs a management command to its end, and gives the JSON that it printed (null when it printed nothing).
    pub(super) fn run(&self, node: &Node, release: Release, arguments: &[&str]) -> Result<Value> {
        Instance::run(node, self.command(node, release, arguments))
    }

    /// Starts a management command on the database of `node`.
    pub(super) fn start(&self, node: &Node, release: Release, arguments: &[&str]) -> Result<Instance> {
        Instance::start(node, self.command(node, release, arguments))
    }

    fn command(&self, node: &Node, release: Release, arguments: &[&str]) -> Command {
        let release = match release {
            Release::First => "1",
            Release::Second => "2",
        };
        let mut command = Command::new("python3");
        command.arg("manage.py").args(arguments).current_dir(&self.folder);
        command.env("PYTHONPATH", &self.packages).env("DJANGO_SETTINGS_MODULE", "project.settings");
        command.env("SHOP_DATABASE", node.db()).env("SHOP_RELEASE", release);
        command
    }
}
