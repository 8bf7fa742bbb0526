//! The core's timers on tokio's clock.

use std::collections::BTreeMap;
use std::time::Duration;

use harmonylite_core::effect::Timer;
use tokio::time::Instant;

/// At most one of each timer; setting it again moves it.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Fires `timer` after so many milliseconds.
    pub(crate) fn set(&mut self, timer: Timer, after_ms: u64) {
        self.due.insert(timer, Instant::now() + Duration::from_millis(after_ms));
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// Takes those that are due.
    pub(crate) fn take_due(&mut self) -> Vec<Timer> {
        let now = Instant::now();
        let due: Vec<_> =
            self.due.iter().filter(|(_, at)| **at <= now).map(|(timer, _)| timer.clone()).collect();
        for timer in &due {
            self.due.remove(timer);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_is_set_again_is_moved() {
        let mut timers = Timers::default();
        timers.set(Timer::Housekeeping, 60_000);
        timers.set(Timer::Housekeeping, 0);
        timers.set(Timer::RetryRead, 60_000);
        assert_eq!(timers.take_due(), [Timer::Housekeeping]);
        assert!(timers.take_due().is_empty());
        assert!(timers.next().is_some());
    }
}
