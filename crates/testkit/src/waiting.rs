//! Waiting for a condition with a deadline: the only place where the tests let time pass.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `condition` holds.
///
/// # Errors
/// When it does not within `deadline`.
pub fn wait(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    wait_for(what, deadline, || if condition() { Ok(()) } else { bail!("it is not so") })
}

/// Waits until `look` succeeds and gives what it found. An error of `look` means "not yet, because".
///
/// # Errors
/// When it has not succeeded within `deadline`: with the last reason.
pub fn wait_for<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        let reason = match look() {
            Ok(found) => return Ok(found),
            Err(reason) => reason,
        };
        if Instant::now() >= end {
            bail!("waited {deadline:?} for {what}: {reason:#}");
        }
        thread::park_timeout(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_when_the_condition_holds() -> Result<()> {
        let mut looks = 0;
        wait("three looks", Duration::from_secs(5), || {
            looks += 1;
            looks == 3
        })?;
        assert_eq!(looks, 3);
        Ok(())
    }

    #[test]
    fn a_timeout_tells_what_was_waited_for_and_the_last_reason() {
        let error = wait_for::<()>("rain", Duration::ZERO, || bail!("the sky is blue")).unwrap_err();
        assert_eq!(error.to_string(), "waited 0ns for rain: the sky is blue");
    }
}
