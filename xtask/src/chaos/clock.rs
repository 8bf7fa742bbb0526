//! Clocks that can be moved while a process runs: libfaketime, preloaded, reads an offset from a file every second.
//!
//! It moves the wall clock of what is linked dynamically (sidecar and application) and never the monotonic one. The
//! nats-server is static: it keeps the machine's time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

/// Where libfaketime puts semaphores and memory; a process that was killed leaves them behind.
const SHARED_MEMORY: &str = "/dev/shm";

/// A process takes its time to start on a busy machine.
const TOLERANCE_S: f64 = 5.0;

/// The clock of one node's machine.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    /// A clock that goes right. `folder` holds its offset.
    ///
    /// # Errors
    /// When the library is missing.
    pub(super) fn new(root: &Path, folder: &Path, node: usize) -> Result<Self> {
        let library = root.join(".tools/faketime/libfaketimeMT.so.1");
        ensure!(library.is_file(), "there is no {}: run `make chaos-tools`", library.display());
        let clock = Self { library, offset: folder.join(format!("clock-{node}")) };
        clock.set(0.0)?;
        Ok(clock)
    }

    /// Moves it to so many seconds from the true time.
    pub(super) fn set(&self, seconds: f64) -> Result<()> {
        let fresh = self.offset.with_extension("new");
        fs::write(&fresh, format!("{seconds:+.3}\n")).context("writing a clock's offset")?;
        // Never a moment with half a number.
        fs::rename(&fresh, &self.offset).context("moving a clock")
    }

    /// Moves it, and sees that a process that goes by it does.
    pub(super) fn step(&self, seconds: f64) -> Result<()> {
        self.set(seconds)?;
        let output =
            Command::new("date").arg("+%s").envs(self.environment()).output().context("running date")?;
        let shown: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("reading date")?;
        let wanted = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() + seconds;
        ensure!((shown - wanted).abs() < TOLERANCE_S, "the clock shows {shown}, and should {wanted}");
        Ok(())
    }

    /// What a process needs in its environment to go by it.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.offset.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}

/// Removes what a killed process left in the shared memory: the next one with its number could not start.
pub(super) fn forget(pid: u32) {
    let ending = format!("_{pid}");
    for entry in fs::read_dir(SHARED_MEMORY).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains("faketime_") && name.ends_with(&ending) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
