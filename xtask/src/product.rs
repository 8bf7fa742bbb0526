//! The program under test, built by cargo: what `make` would run, next to this very xtask.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Builds `harmonylite` and gives its path.
///
/// # Errors
/// When it does not compile.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--locked", "--package", "harmonylite"]).current_dir(root);
    let status = command.status().context("running cargo")?;
    ensure!(status.success(), "harmonylite does not compile");
    let folder = folder()?;
    let binary = folder.join("harmonylite");
    ensure!(binary.is_file(), "cargo made no {}", binary.display());
    Ok(binary)
}

/// Where cargo puts programs: this one is there, too.
pub(crate) fn folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding the path of this program")?;
    own.parent().map(Path::to_owned).context("this program is in no folder")
}
