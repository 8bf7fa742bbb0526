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

/// So many are remembered. When there are more, every second one is forgotten: change sets become larger, and stay whole.
const ENDS_MAX: usize = 4096;

/// The ends that are known, in the order of the log. Shared by whoever looks and the store that reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogEnds(Arc<Mutex<VecDeque<i64>>>);

impl LogEnds {
    fn ends(&self) -> MutexGuard<'_, VecDeque<i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A snapshot ended at `id`; 0 is an empty log.
    pub(crate) fn note(&self, id: i64) {
        let mut ends = self.ends();
        let last = ends.back().copied().unwrap_or_default();
        if id == 0 || id == last {
            return;
        }
        if id < last {
            // The log is not the one that we knew.
            ends.clear();
        }
        if ends.len() == ENDS_MAX {
            let mut index = 0;
            ends.retain(|_| {
                index += 1;
                index % 2 == 0
            });
        }
        ends.push_back(id);
    }

    /// Those above `after`, for good: the ones before are not wanted any more.
    pub(crate) fn above(&self, after: i64) -> Vec<i64> {
        let mut ends = self.ends();
        let behind = ends.partition_point(|end| *end <= after);
        ends.drain(..behind);
        ends.iter().copied().collect()
    }

    /// Nothing is known of the log any more.
    pub(crate) fn forget(&self) {
        self.ends().clear();
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
        self.ends.note(log_end(&self.connection)?);
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
        self.log_ends.note(log_end(&self.connection)?);
        Ok(())
    }

    /// Whoever looks from another thread. `None` when the database has no write-ahead log: a reader would be in the way of
    /// those who commit.
    ///
    /// # Errors
    /// When the database cannot be opened once more.
    pub fn watch_log_ends(&self) -> Result<Option<LogEndWatch>, StoreError> {
        let mode: String = self.connection.query_row("PRAGMA main.journal_mode", [], |row| row.get(0))?;
        if !mode.eq_ignore_ascii_case("wal") {
            return Ok(None);
        }
        let connection = connection::open_read_only(self.path())?;
        Ok(Some(LogEndWatch { connection, ends: self.log_ends.clone(), data_version: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_kept_in_order_and_those_behind_are_forgotten() {
        let ends = LogEnds::default();
        for id in [0, 5, 5, 9, 12] {
            ends.note(id);
        }
        assert_eq!(ends.above(0), [5, 9, 12]);
        assert_eq!(ends.above(9), [12]);
        assert_eq!(ends.above(0), [12]);
    }

    #[test]
    fn a_log_that_went_back_is_another_one() {
        let ends = LogEnds::default();
        for id in [5, 9, 7] {
            ends.note(id);
        }
        assert_eq!(ends.above(0), [7]);
    }

    #[test]
    fn of_too_many_every_second_is_forgotten_and_the_newest_stays() {
        let ends = LogEnds::default();
        for id in 1..=10 * ENDS_MAX as i64 {
            ends.note(id);
        }
        let kept = ends.above(0);
        assert!(kept.len() <= ENDS_MAX && kept.len() > ENDS_MAX / 3, "{}", kept.len());
        assert!(kept.is_sorted() && kept.last() == Some(&(10 * ENDS_MAX as i64)));
    }
}
