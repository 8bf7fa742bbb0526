//! Which nats-server runs: where it is found and whether it is new enough.

use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::NatsError;

/// The oldest server that will do: atomic batches that take message ids came with it (2.12.0 refuses them).
pub const SERVER_VERSION_MIN: Version = Version { major: 2, minor: 12, patch: 8 };

const BINARY_NAME: &str = "nats-server";
/// `nats-server --version` takes some 20 ms.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// A server's version, ordered as versions are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version {
    /// Incompatible changes.
    pub major: u32,
    /// Features.
    pub minor: u32,
    /// Repairs.
    pub patch: u32,
}

impl Version {
    /// Of `v2.15.1`, `2.15.1` or `2.16.0-RC.1` (a pre-release counts as its release).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('v');
        let release = text.split(['-', '+']).next()?;
        let mut numbers = release.split('.').map(|number| number.parse().ok());
        let version = Self { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()?? };
        numbers.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The nats-server to run and its version: the configured one, else the one beside our executable, else the first in
/// `PATH`. The first that is found decides: an old one is an error, not a reason to look further. Blocks for some
/// 20 ms.
pub fn find_server_binary(configured: Option<&Path>) -> Result<(PathBuf, Version), NatsError> {
    let path = match configured {
        Some(path) => path.to_owned(),
        None => search()?,
    };
    let version = version_of(&path)?;
    if version < SERVER_VERSION_MIN {
        return Err(NatsError::BinaryTooOld { path, found: version });
    }
    Ok((path, version))
}

fn search() -> Result<PathBuf, NatsError> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
    search_in(beside, &std::env::var_os("PATH").unwrap_or_default())
}

fn search_in(beside: Option<PathBuf>, in_path: &OsStr) -> Result<PathBuf, NatsError> {
    let folders = beside.iter().cloned().chain(std::env::split_paths(in_path));
    folders.map(|folder| folder.join(BINARY_NAME)).find(|path| path.is_file()).ok_or_else(|| {
        let beside = beside.map_or_else(String::new, |folder| format!("{}, ", folder.display()));
        NatsError::BinaryMissing { places: format!("nats.server_binary (not set), {beside}PATH") }
    })
}

fn version_of(path: &Path) -> Result<Version, NatsError> {
    let unusable = |reason: String| NatsError::BinaryUnusable { path: path.to_owned(), reason };
    let silent = |reason: String| NatsError::BinarySilent { path: path.to_owned(), reason };
    let mut child = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| unusable(error.to_string()))?;
    let Some(status) = end_in_time(&mut child) else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(silent(format!("it does not end within {} s", VERSION_TIMEOUT.as_secs())));
    };
    if status.signal().is_some() {
        return Err(silent(status.to_string()));
    }
    let mut output = String::new();
    if let Some(stdout) = child.stdout.take() {
        // More than any version line: whatever this program is, it does not fill our memory.
        let _ = stdout.take(4096).read_to_string(&mut output);
    }
    parse_output(&output).ok_or_else(|| unusable(format!("--version says {:?}", output.trim())))
}

/// Its exit status; `None` when it has none in time.
fn end_in_time(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + VERSION_TIMEOUT;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
            Ok(Some(status)) => return Some(status),
            Err(_) => return None,
        }
    }
    None
}

/// `nats-server: v2.15.1`
fn parse_output(output: &str) -> Option<Version> {
    output.lines().find_map(|line| Version::parse(line.strip_prefix("nats-server:")?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn versions_are_ordered_as_numbers_not_as_text() {
        let of = |text| Version::parse(text).unwrap();
        assert!(of("2.9.10") < of("v2.12.8"));
        assert!(of("2.12.8") < of("2.12.10"));
        assert_eq!(of("2.16.0-RC.1"), of("2.16.0"));
        assert_eq!(Version::parse("2.12"), None);
        assert_eq!(Version::parse("2.12.8.1"), None);
    }

    #[test]
    fn a_server_beside_our_executable_comes_before_path() {
        let (beside, in_path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let search = || search_in(Some(beside.path().to_owned()), in_path.path().as_os_str());
        let missing = search().unwrap_err().to_string();
        assert!(missing.contains("nats.server_binary") && missing.contains("PATH"), "{missing}");
        assert!(missing.contains(&*beside.path().to_string_lossy()), "{missing}");
        for folder in [&in_path, &beside] {
            let binary = folder.path().join(BINARY_NAME);
            std::fs::write(&binary, "").unwrap();
            assert_eq!(search().unwrap(), binary);
        }
    }

    #[test]
    fn a_binary_that_is_killed_is_not_called_unusable() {
        let folder = tempfile::tempdir().unwrap();
        let program = |script: &str| {
            let path = folder.path().join(BINARY_NAME);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            find_server_binary(Some(&path)).unwrap_err()
        };
        assert!(matches!(program("kill -9 $$"), NatsError::BinarySilent { .. }));
        assert!(matches!(program("exit 1"), NatsError::BinaryUnusable { .. }));
    }

    #[test]
    fn only_a_nats_servers_answer_is_a_version() {
        assert_eq!(parse_output("nats-server: v2.15.1\n"), Version::parse("2.15.1"));
        assert_eq!(parse_output("v2.15.1\n"), None);
        assert_eq!(parse_output(""), None);
    }
}
