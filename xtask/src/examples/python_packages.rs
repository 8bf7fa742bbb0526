//! Pinned Python packages, fetched once into ignored folders: what the examples in Python import, and the Node.js of the
//! one in JavaScript, which comes as such a package, too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::say;

/// The packages of the file `requirements` in `.tools/<name>`, fetched unless they are there.
///
/// Not a virtual environment: Debian's python3 has none without a further package. pip checks the digests.
///
/// # Errors
/// When they cannot be fetched: with what is needed for that.
pub(super) fn install(root: &Path, name: &str, requirements: &Path) -> Result<PathBuf> {
    let tools = root.join(".tools");
    let packages = tools.join(name);
    let wanted =
        fs::read_to_string(requirements).with_context(|| format!("reading {}", requirements.display()))?;
    let stamp = |packages: &Path| packages.join("requirements.txt");
    if fs::read_to_string(stamp(&packages)).is_ok_and(|installed| installed == wanted) {
        return Ok(packages);
    }
    say(&format!("fetching packages into .tools/{name}"));
    fs::create_dir_all(&tools)?;
    // Renamed into place when it is complete.
    let fresh = tempfile::tempdir_in(&tools).context("making a folder for packages")?;
    fetch(name, requirements, fresh.path())?;
    fs::write(stamp(fresh.path()), wanted)?;
    if packages.exists() {
        fs::remove_dir_all(&packages).context("removing the old packages")?;
    }
    fs::rename(fresh.keep(), &packages).context("moving the packages into place")?;
    Ok(packages)
}

fn fetch(name: &str, requirements: &Path, target: &Path) -> Result<()> {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]);
    command.args(["--no-deps", "--only-binary=:all:", "--root-user-action=ignore", "--requirement"]);
    command.arg(requirements).arg("--target").arg(target);
    let status = command.status().context("running python3")?;
    ensure!(
        status.success(),
        "could not fetch the packages of {name} (the reason stands above): python3 with pip and a package index are needed"
    );
    Ok(())
}
