//! How large the database's write-ahead log is: kept for `status`, and said in the log when it grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use harmonylite_sqlite::{StoreError, WalSize};

use crate::status::WalStatus;

/// Bytes waiting to be written back that are worth a line in the log, and by what the next such size is greater.
const FIRST_LEVEL: u64 = 64 << 20;
const NEXT_LEVEL: u64 = 4;

/// The size as last seen, shared with whoever answers `status`.
#[derive(Clone, Debug, Default)]
pub(crate) struct WalView(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    bytes: AtomicU64,
    checkpointed_bytes: AtomicU64,
}

impl WalView {
    fn set(&self, size: WalSize) {
        self.0.bytes.store(size.bytes, Ordering::Relaxed);
        self.0.checkpointed_bytes.store(size.checkpointed_bytes, Ordering::Relaxed);
    }

    /// What `status` says of it.
    pub(crate) fn status(&self) -> WalStatus {
        WalStatus {
            bytes: self.0.bytes.load(Ordering::Relaxed),
            checkpointed_bytes: self.0.checkpointed_bytes.load(Ordering::Relaxed),
        }
    }
}

/// Says it once per level, and when it is over.
#[derive(Debug, Default)]
pub(crate) struct WalReport {
    view: WalView,
    /// What waits is below the first level, or above so many bytes and said.
    said: Option<u64>,
    trouble: Option<String>,
}

/// What is worth saying.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Grown,
    Over,
}

impl WalReport {
    pub(crate) fn new(view: WalView) -> Self {
        Self { view, said: None, trouble: None }
    }

    /// A look at the log, and what came of it.
    pub(crate) fn on_look(&mut self, look: Result<Option<WalSize>, StoreError>) {
        match look {
            Ok(size) => {
                self.trouble = None;
                let size = size.unwrap_or_default();
                self.view.set(size);
                self.say(size);
            }
            Err(error) => {
                let error = error.to_string();
                if self.trouble.as_ref() != Some(&error) {
                    tracing::warn!(error, "cannot write the write-ahead log back into the database");
                }
                self.trouble = Some(error);
            }
        }
    }

    fn say(&mut self, size: WalSize) {
        let waiting_mb = size.waiting_bytes() >> 20;
        match self.step(size.waiting_bytes()) {
            Some(Step::Grown) => tracing::warn!(
                waiting_mb,
                "the write-ahead log grows: a connection of the application stays in a read transaction, so its pages \
                 cannot be written back; end long reads, or finish statements that were not read to their end"
            ),
            Some(Step::Over) => tracing::info!(waiting_mb, "the write-ahead log is written back again"),
            None => {}
        }
    }

    fn step(&mut self, waiting: u64) -> Option<Step> {
        let next = self.said.map_or(FIRST_LEVEL, |said| said.saturating_mul(NEXT_LEVEL));
        if waiting >= next {
            let mut level = next;
            while waiting >= level.saturating_mul(NEXT_LEVEL) {
                level = level.saturating_mul(NEXT_LEVEL);
            }
            self.said = Some(level);
            return Some(Step::Grown);
        }
        // Half of the level: a size that hovers around it is not said again and again.
        if self.said.is_some() && waiting < FIRST_LEVEL / 2 {
            self.said = None;
            return Some(Step::Over);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    #[test]
    fn growth_is_said_once_per_level_and_its_end_once() {
        let mut report = WalReport::default();
        let steps: Vec<_> = [10, 63, 64, 200, 255, 256, 70, 40, 31, 10].map(|mb| report.step(mb * MB)).into();
        let (grown, over) = (Some(Step::Grown), Some(Step::Over));
        assert_eq!(steps, [None, None, grown, None, None, grown, None, None, over, None]);
    }

    #[test]
    fn a_leap_over_several_levels_is_said_once() {
        let mut report = WalReport::default();
        assert_eq!(report.step(5_000 * MB), Some(Step::Grown));
        assert_eq!(report.step(6_000 * MB), None);
    }

    #[test]
    fn status_has_the_size_of_the_last_look() {
        let view = WalView::default();
        let mut report = WalReport::new(view.clone());
        report.on_look(Ok(Some(WalSize { bytes: 9, checkpointed_bytes: 4 })));
        assert_eq!(view.status(), WalStatus { bytes: 9, checkpointed_bytes: 4 });
        report.on_look(Ok(None));
        assert_eq!(view.status(), WalStatus::default());
    }
}
