//! Places in the log where a transaction ended, as far as somebody looked: a change set may end there.
//!
//! The greatest id of any snapshot is such a place: what is committed later has greater ids, and a snapshot shows
//! whole transactions. The log itself does not say where one ended and the next began.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use crate::Store;
use crate::checkpoint::log_end;
use crate::connection;
use crate::error::StoreError;

/// So many are remembered at most. When there are more, every second one is forgotten, and of the new ones, too: change sets
/// become larger, and stay whole.
const ENDS_MAX: usize = 4096;

/// The ends that are known. Shared by whoever looks and the store that reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogEnds(Arc<Mutex<Ends>>);

#[derive(Debug)]
struct Ends {
    /// In the order of the log.
    ids: VecDeque<i64>,
    /// Of so many ends that were noted one after the other one is kept; the newest is, until the next one comes.
    stride: usize,
    /// How many were noted since the newest but one.
    passed: usize,
}

impl Default for Ends {
    fn default() -> Self {
        Self { ids: VecDeque::new(), stride: 1, passed: 1 }
    }
}

impl Ends {
    fn note(&mut self, id: i64) {
        let last = self.ids.back().copied().unwrap_or_default();
        if id == 0 || id == last {
            return;
        }
        if id < last {
            // The log is not the one that we knew.
            *self = Self::default();
        }
        if self.passed < self.stride {
            self.passed += 1;
            self.ids.pop_back();
        } else {
            self.passed = 1;
            if self.ids.len() == ENDS_MAX {
                self.thin();
            }
        }
        self.ids.push_back(id);
    }

    fn thin(&mut self) {
        let mut index = 0;
        self.ids.retain(|_| {
            index += 1;
            index % 2 == 0
        });
        self.stride *= 2;
    }

    fn forget_through(&mut self, id: i64) {
        let behind = self.ids.partition_point(|end| *end <= id);
        self.ids.drain(..behind);
        if self.ids.is_empty() {
            *self = Self::default();
        }
    }
}

impl LogEnds {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes where the log ends; 0 is an empty log. Nobody else notes anything meanwhile: an older look that came later would
    /// pass for a log that went back.
    fn note(&self, end: impl FnOnce() -> Result<i64, StoreError>) -> Result<(), StoreError> {
        let mut ends = self.ends();
        ends.note(end()?);
        Ok(())
    }

    /// Those above `after`. The ones before are forgotten.
    pub(crate) fn above(&self, after: i64) -> Vec<i64> {
        let mut ends = self.ends();
        ends.forget_through(after);
        ends.ids.iter().copied().collect()
    }

    /// Nothing is known of the log any more.
    pub(crate) fn forget(&self) {
        *self.ends() = Ends::default();
    }
}

/// Looks at the log beside the store, on a connection of its own that only reads: for the time in which the store is busy.
#[derive(Debug)]
pub struct LogEndWatch {
    connection: Connection,
    ends: LogEnds,
    data_version: Option<i64>,
}

impl LogEndWatch {
    /// Notes where the log ends now. Did anybody commit since the last look?
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn look(&mut self) -> Result<bool, StoreError> {
        let version = connection::data_version(&self.connection)?;
        if self.data_version == Some(version) {
            return Ok(false);
        }
        self.ends.note(|| log_end(&self.connection))?;
        self.data_version = Some(version);
        Ok(true)
    }
}

impl Store {
    /// Notes where the log ends now: the next change set may end there.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn note_log_end(&self) -> Result<(), StoreError> {
        self.log_ends.note(|| log_end(&self.connection))
    }

    /// Whoever looks from another thread. `None` when the database has no write-ahead log: a reader would be in the way of
    /// those who commit.
    ///
    /// # Errors
    /// When the database cannot be opened once more.
    pub fn watch_log_ends(&self) -> Result<Option<LogEndWatch>, StoreError> {
        if !connection::journal_mode_is_wal(&self.connection)? {
            return Ok(None);
        }
        let mut connection = connection::open_read_only(self.path())?;
        // Whoever has the database for itself is not waited for: the next look will do.
        connection::settle(&mut connection, false)?;
        Ok(Some(LogEndWatch { connection, ends: self.log_ends.clone(), data_version: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(ids: impl IntoIterator<Item = i64>) -> LogEnds {
        let ends = LogEnds::default();
        ids.into_iter().for_each(|id| ends.note(|| Ok(id)).unwrap());
        ends
    }

    #[test]
    fn ends_are_kept_in_order_and_those_behind_are_forgotten() {
        let ends = noted([0, 5, 5, 9, 12]);
        assert_eq!(ends.above(0), [5, 9, 12]);
        assert_eq!(ends.above(9), [12]);
        assert_eq!(ends.above(0), [12]);
        ends.forget();
        assert!(ends.above(0).is_empty());
    }

    #[test]
    fn a_log_that_went_back_is_another_one() {
        assert_eq!(noted([5, 9, 7]).above(0), [7]);
    }

    /// Half of them at a time, again and again, would leave none of the old ones.
    #[test]
    fn of_too_many_some_are_kept_everywhere_and_the_newest_stays() {
        const NOTED: i64 = 600_000;
        let ends = noted(1..=NOTED);
        let kept = ends.above(0);
        assert!(kept.len() <= ENDS_MAX && kept.last() == Some(&NOTED), "{}", kept.len());
        let widest = kept.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(kept[0].max(widest) <= 4 * NOTED / ENDS_MAX as i64, "{} {widest}", kept[0]);
        // Everything was read: the next ones are all kept.
        assert!(ends.above(NOTED).is_empty());
        for id in NOTED + 1..=NOTED + 10 {
            ends.note(|| Ok(id)).unwrap();
        }
        assert_eq!(ends.above(NOTED).len(), 10);
    }
}
