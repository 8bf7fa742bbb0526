//! The time of a run: when what is due, and its early end when something is wrong.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shared by everybody who does something at a moment of the run.
pub(super) struct Timeline {
    start: Instant,
    duration: Duration,
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Timeline {
    /// A run that begins now.
    pub(super) fn start(duration: Duration) -> Self {
        Self { start: Instant::now(), duration, ended: Mutex::new(false), changed: Condvar::new() }
    }

    /// Since the run began.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Waits until a moment of the run. False when the run is over before.
    pub(super) fn wait_until(&self, moment: Duration) -> bool {
        let end = moment.min(self.duration).saturating_sub(self.now());
        let waited = self.changed.wait_timeout_while(self.ended(), end, |ended| !*ended);
        let (ended, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !*ended && moment < self.duration
    }

    /// Waits so long. False when the run is over before.
    pub(super) fn wait(&self, time: Duration) -> bool {
        self.wait_until(self.now() + time)
    }

    /// Ends it for all.
    pub(super) fn end(&self) {
        *self.ended() = true;
        self.changed.notify_all();
    }

    fn ended(&self) -> MutexGuard<'_, bool> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_in_time_and_none_after_the_end() {
        let timeline = Timeline::start(Duration::from_millis(40));
        assert!(timeline.wait_until(Duration::from_millis(10)));
        assert!(timeline.now() >= Duration::from_millis(10));
        assert!(!timeline.wait(Duration::from_secs(1)));
        assert!(timeline.now() >= Duration::from_millis(40));
    }

    #[test]
    fn an_early_end_wakes_whoever_waits() {
        let timeline = Timeline::start(Duration::from_secs(600));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| timeline.wait_until(Duration::from_secs(500)));
            timeline.end();
            assert!(!waiting.join().unwrap());
        });
    }
}
