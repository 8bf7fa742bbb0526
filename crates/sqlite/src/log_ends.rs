//! Places in the log where a transaction ended, as far as that is known: a change set may end there.
//!
//! The log itself does not say it. Two others do: the write-ahead log has what each commit added, until it starts over
//! ([`WalCommits`](crate::wal_commits::WalCommits)); and the greatest id of any snapshot is such a place, since what is committed
//! later has greater ids, and a snapshot shows whole transactions.

use std::collections::VecDeque;

use rusqlite::OptionalExtension as _;

use crate::Store;
use crate::checkpoint::log_end;
use crate::error::{StoreError, StoreErrorKind};
use crate::meta::CHANGE_LOG_GLOBAL;
use crate::wal_commits::LastPath;
use crate::wal_file::WalFile;

/// So many are remembered at most. When there are more, every second one is forgotten, and of the new ones, too: change sets
/// become larger, and stay whole.
const ENDS_MAX: usize = 4096;

/// How often a snapshot is looked at in which nobody commits meanwhile.
const SNAPSHOTS: u32 = 4;

/// The ends that are known.
#[derive(Debug)]
pub(crate) struct LogEnds {
    /// Where the log ended at the last look, whether or not that is remembered.
    seen: i64,
    /// In the order of the log.
    ids: VecDeque<i64>,
    /// Of so many ends that were noted one after the other one is kept; the newest is, until the next one comes.
    stride: usize,
    /// How many were noted since the newest but one.
    passed: usize,
}

impl Default for LogEnds {
    fn default() -> Self {
        Self { seen: 0, ids: VecDeque::new(), stride: 1, passed: 1 }
    }
}

impl LogEnds {
    /// Notes that a transaction ended there, at what was the end of the log; 0 is an empty log.
    fn note(&mut self, id: i64) {
        if id == self.seen || id == 0 {
            return;
        }
        if id < self.seen {
            // The log is not the one that we knew.
            self.forget();
        }
        self.seen = id;
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

    /// None is a place to cut any more.
    fn forget(&mut self) {
        self.ids.clear();
        (self.stride, self.passed) = (1, 1);
    }

    /// Those above `after`. The ones before are forgotten.
    pub(crate) fn above(&mut self, after: i64) -> Vec<i64> {
        let behind = self.ids.partition_point(|end| *end <= after);
        self.ids.drain(..behind);
        if self.ids.is_empty() {
            self.forget();
        }
        self.ids.iter().copied().collect()
    }
}

impl Store {
    /// Notes where transactions ended in the log up to now: the next change sets may end there. Outside of any transaction.
    ///
    /// # Errors
    /// When the database cannot be read, or the file beside it that is its write-ahead log; where the log ends now is noted if
    /// that can be read.
    pub fn note_log_ends(&mut self) -> Result<(), StoreError> {
        let committed = self.committed_ends();
        if committed.is_err() {
            self.wal_commits.lose();
        }
        let end = log_end(&self.connection)?;
        let (ids, error) = match committed {
            Ok(ids) => (ids, Ok(())),
            Err(error) => (None, Err(error)),
        };
        // Those of the last moment come with the next look.
        let followed = ids.is_some() && end >= self.log_ends.seen;
        for id in ids.into_iter().flatten().filter(|id| *id <= end) {
            if id > self.log_ends.seen {
                self.log_ends.note(id);
            }
        }
        if !followed {
            self.log_ends.note(end);
        }
        error
    }

    /// What is known by now is no place to cut any more.
    pub(crate) fn forget_log_ends(&mut self) {
        self.log_ends.forget();
        self.wal_commits.lose();
    }

    /// Where the log ended behind each of the commits since the last look; `None` when they are not all known.
    fn committed_ends(&mut self) -> Result<Option<Vec<i64>>, StoreError> {
        // Empty when it is no UTF-8.
        let path = self.connection.path().unwrap_or_default().to_owned();
        if path.is_empty() {
            return Ok(None);
        }
        let unreadable = |error: std::io::Error| {
            let message = format!("the write-ahead log cannot be read: {error}");
            StoreError::new(StoreErrorKind::InputOutput, message).at(&path)
        };
        let Some(mut wal) = WalFile::open(&path).map_err(unreadable)? else { return Ok(None) };
        let mut all = Some(Vec::new());
        for _ in 0..SNAPSHOTS {
            let Some(frames) = self.wal_frames()? else { return Ok(None) };
            match (self.wal_commits.read(&mut wal, frames).map_err(unreadable)?, &mut all) {
                (Some(ends), Some(all)) => all.extend(ends),
                _ => all = None,
            }
            if !self.wal_commits.is_uncertain() {
                return Ok(all);
            }
            let Some(last) = self.last_path()? else { return Ok(None) };
            // Whoever committed in between may have moved it.
            if self.wal_frames()? == Some(frames) {
                let known = self.wal_commits.settle(&mut wal, frames, last).map_err(unreadable)?;
                return Ok(all.filter(|_| known));
            }
        }
        Ok(None)
    }

    fn last_path(&self) -> Result<Option<LastPath>, StoreError> {
        let snapshot = self.begin_read()?;
        let root: Option<u32> = snapshot
            .prepare_cached("SELECT rootpage FROM main.sqlite_schema WHERE type = 'table' AND name = ?1")?
            .query_row([CHANGE_LOG_GLOBAL], |row| row.get(0))
            .optional()?;
        let Some(root) = root else { return Ok(None) };
        let mut page = snapshot.prepare_cached("SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1")?;
        Ok(LastPath::find(root, |number| page.query_row([number], |row| row.get(0)))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(ids: impl IntoIterator<Item = i64>) -> LogEnds {
        let mut ends = LogEnds::default();
        ids.into_iter().for_each(|id| ends.note(id));
        ends
    }

    #[test]
    fn ends_are_kept_in_order_and_those_behind_are_forgotten() {
        let mut ends = noted([0, 5, 5, 9, 12]);
        assert_eq!(ends.above(0), [5, 9, 12]);
        assert_eq!(ends.above(9), [12]);
        assert_eq!(ends.above(0), [12]);
    }

    #[test]
    fn a_log_that_went_back_is_another_one() {
        assert_eq!(noted([5, 9, 7]).above(0), [7]);
    }

    /// Half of them at a time, again and again, would leave none of the old ones.
    #[test]
    fn of_too_many_some_are_kept_everywhere_and_the_newest_stays() {
        const NOTED: i64 = 600_000;
        let mut ends = noted(1..=NOTED);
        let kept = ends.above(0);
        assert!(kept.len() <= ENDS_MAX && kept.last() == Some(&NOTED), "{}", kept.len());
        let widest = kept.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(kept[0].max(widest) <= 4 * NOTED / ENDS_MAX as i64, "{} {widest}", kept[0]);
        // Everything was read: the next ones are all kept.
        assert!(ends.above(NOTED).is_empty());
        for id in NOTED + 1..=NOTED + 10 {
            ends.note(id);
        }
        assert_eq!(ends.above(NOTED).len(), 10);
    }
}
