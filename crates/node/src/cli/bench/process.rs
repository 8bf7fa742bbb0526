//! Resident memory of a process, as `/proc` has it.

use std::fs;

use crate::exit::{ExitCode, ExitError};

/// Now, in MB.
pub(super) fn resident_mb(pid: u32) -> Result<f64, ExitError> {
    megabytes(pid, "VmRSS:")
}

/// At most, since it was started, in MB.
pub(super) fn peak_mb(pid: u32) -> Result<f64, ExitError> {
    megabytes(pid, "VmHWM:")
}

fn megabytes(pid: u32, name: &str) -> Result<f64, ExitError> {
    let file = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&file);
    let text = text.map_err(|error| ExitError::new(ExitCode::Unexpected, format!("{file}: {error}")))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<f64>().ok());
    let missing = || ExitError::new(ExitCode::Unexpected, format!("{file}: no {name}"));
    kilobytes.map(|kilobytes| kilobytes * 1024.0 / 1e6).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_is_below_our_own_peak() {
        let pid = std::process::id();
        let (now, peak) = (resident_mb(pid).unwrap(), peak_mb(pid).unwrap());
        assert!(now > 0.5 && now <= peak, "{now} of {peak} MB");
        assert!(resident_mb(u32::MAX).is_err());
    }
}
