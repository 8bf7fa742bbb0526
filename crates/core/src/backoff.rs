//! How long to wait before the next try.

use crate::limits::{RETRY_FIRST_MS, RETRY_MAX_MS};

/// Doubling waits between [`RETRY_FIRST_MS`] and [`RETRY_MAX_MS`]; no jitter, since every node tries its own peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The wait before the next try, in milliseconds.
    pub(crate) fn next_ms(&mut self) -> u64 {
        let wait = RETRY_FIRST_MS.checked_shl(self.tries).unwrap_or(RETRY_MAX_MS);
        self.tries = (self.tries + 1).min(u64::BITS / 2);
        wait.min(RETRY_MAX_MS)
    }

    /// It worked: start again from the first wait.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_start_again_after_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..100).map(|_| backoff.next_ms()).collect();
        assert_eq!(waits[..3], [RETRY_FIRST_MS, 2 * RETRY_FIRST_MS, 4 * RETRY_FIRST_MS]);
        assert_eq!(waits[99], RETRY_MAX_MS);
        backoff.reset();
        assert_eq!(backoff.next_ms(), RETRY_FIRST_MS);
    }
}
