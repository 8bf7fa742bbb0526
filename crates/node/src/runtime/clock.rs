//! The one reader of the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use harmonylite_core::input::Timestamp;

/// Milliseconds since the Unix epoch that never decrease, whatever happens to the wall clock: the core's contract.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    last: Timestamp,
}

impl Clock {
    /// Now, or the last answer when the wall clock was set back.
    pub(crate) fn now(&mut self) -> Timestamp {
        self.last = self.last.max(Timestamp(wall_ms()));
        self.last
    }
}

/// The wall clock, as it is.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
