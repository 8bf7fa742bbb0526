//! How the applications write: as fast as they can, or at their own pace whatever else goes on.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use harmonylite_sqlite::workload::Application;

use crate::exit::ExitError;

/// Writes the new rows `ids` as fast as it can, `batch` of them in a transaction, and calls `look` after each: how long
/// that took.
pub(super) fn at_full_speed(
    application: &Application,
    ids: Range<i64>,
    batch: i64,
    mut look: impl FnMut() -> Result<(), ExitError>,
) -> Result<Duration, ExitError> {
    let (start, mut next) = (Instant::now(), ids.start);
    while next < ids.end {
        let end = ids.end.min(next + batch);
        application.insert(next..end)?;
        next = end;
        look()?;
    }
    Ok(start.elapsed())
}

/// Calls `write` with 0 to `count` - 1, `every` so often, and gives the milliseconds that each call took. Whoever is late
/// does not wait.
pub(super) fn paced(
    every: Duration,
    count: u32,
    mut write: impl FnMut(u32) -> Result<(), ExitError>,
) -> Result<Vec<f64>, ExitError> {
    let start = Instant::now();
    let timed = |number: u32| {
        thread::sleep((every * number).saturating_sub(start.elapsed()));
        let before = Instant::now();
        write(number)?;
        Ok(milliseconds(before.elapsed()))
    };
    (0..count).map(timed).collect()
}

/// With fractions.
pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// How many calls fit into `span`; at least one.
pub(super) fn calls_in(span: Duration, every: Duration) -> u32 {
    u32::try_from(span.as_micros() / every.as_micros().max(1)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_made_in_order_and_timed_and_the_pace_is_kept() {
        let (start, mut calls) = (Instant::now(), Vec::new());
        let every = Duration::from_millis(2);
        let times = paced(every, 10, |number| {
            calls.push(number);
            Ok(())
        });
        assert_eq!(times.unwrap().len(), 10);
        assert_eq!(calls, (0..10).collect::<Vec<_>>());
        assert!(start.elapsed() >= every * 9);
        assert_eq!(calls_in(Duration::from_secs(1), every), 500);
    }
}
