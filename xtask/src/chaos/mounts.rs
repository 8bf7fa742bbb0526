//! Mounts of our own: small disks and the shared memory of moved clocks, which nobody else sees and which are gone with us.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Set for the process that has mounts of its own.
const VARIABLE: &str = "HARMONYLITE_CHAOS_MOUNTS";

/// Starts this program again with mounts of its own, in place of this process; does nothing when it has them.
///
/// # Errors
/// When the system does not allow it, or `unshare` (util-linux) is missing.
pub(super) fn enter() -> Result<()> {
    if std::env::var_os(VARIABLE).is_some() {
        return Ok(());
    }
    let mut command = Command::new("unshare");
    // Whoever is not root is it in a user namespace, where mounting is allowed, too.
    command.arg(if rustix::process::geteuid().is_root() { "--mount" } else { "-rm" });
    command.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(VARIABLE, "1");
    Err(command.exec()).context("running unshare, for mounts of our own")
}

/// Puts an empty file system in memory on a folder.
pub(super) fn mount(folder: &Path, size_mb: u64) -> Result<()> {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", &format!("size={size_mb}m"), "none"]).arg(folder);
    let output = command.output().context("running mount")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "mounting {}: {complaint}", folder.display());
    Ok(())
}

/// Takes it away.
pub(super) fn unmount(folder: &Path) {
    // Whoever still has a file open there keeps it alive: lazily, then.
    let _ = Command::new("umount").arg("--lazy").arg(folder).status();
}
