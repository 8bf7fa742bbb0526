//! Places in the log where a transaction ended, as far as that is known: a change set may end there.
//!
//! The log itself does not say it. Two others do: the write-ahead log has what each commit added, until it starts over
//! ([`WalCommits`](crate::wal_commits::WalCommits)); and the greatest id of any snapshot is such a place, since what is committed
//! later has greater ids, and a snapshot shows whole transactions.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

use crate::checkpoint::log_end;
use crate::error::{StoreError, StoreErrorKind};
use crate::meta::CHANGE_LOG_GLOBAL;
use crate::wal_commits::{LastPath, WalCommits};
use crate::wal_file::WalFile;
use crate::{Store, connection, wal};

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

/// What looks at the log remember; the store and its [`LogEndsWatch`] share it.
#[derive(Debug)]
pub(crate) struct Looks {
    ends: LogEnds,
    /// How far the write-ahead log was read.
    commits: WalCommits,
    /// The last look.
    looked: Instant,
    /// That of the watch. It ends with the store, before the store's own: the last one that closes writes the log back, and this
    /// one cannot write.
    watching: Option<Connection>,
}

impl Default for Looks {
    fn default() -> Self {
        let (ends, commits) = (LogEnds::default(), WalCommits::default());
        Self { ends, commits, looked: Instant::now(), watching: None }
    }
}

/// Looks where transactions end while the store works. The write-ahead log keeps that only until it starts over twice, which it
/// does within 0.1 s where an application writes 100,000 rows a second; a store that reads or trims thousands of them comes too late.
#[derive(Debug)]
pub struct LogEndsWatch(Arc<Mutex<Looks>>);

impl LogEndsWatch {
    /// [`Store::note_log_ends`] when nobody did that `within` the last time, unless the store is gone or was not opened for it.
    ///
    /// # Errors
    /// As that; busy, too, where the database is locked for readers: nobody is waited for.
    pub fn note_unless(&self, within: Duration) -> Result<(), StoreError> {
        let mut looks = locked(&self.0);
        if looks.looked.elapsed() < within {
            return Ok(());
        }
        let Some(connection) = looks.watching.take() else { return Ok(()) };
        let looked = looks.look(&connection);
        looks.watching = Some(connection);
        looked
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        locked(&self.looks).watching = None;
    }
}

impl Store {
    /// Notes where transactions ended in the log up to now: the next change sets may end there. Outside of any transaction.
    ///
    /// # Errors
    /// When the database cannot be read, or the file beside it that is its write-ahead log; where the log ends now is noted if
    /// that can be read.
    pub fn note_log_ends(&mut self) -> Result<(), StoreError> {
        locked(&self.looks).look(&self.connection)
    }

    /// Opens another connection, for [`Store::log_ends_watch`]: right after the store, while the path is sure to lead to the same file.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub fn open_log_ends_watch(&self) -> Result<(), StoreError> {
        let mut connection = connection::open_read_only(self.path())?;
        connection::settle(&mut connection, false)?;
        locked(&self.looks).watching = Some(connection);
        Ok(())
    }

    /// What notes them while the store works.
    #[must_use]
    pub fn log_ends_watch(&self) -> LogEndsWatch {
        LogEndsWatch(self.looks.clone())
    }

    /// Places above `after` where transactions are known to have ended, in the order of the log.
    pub(crate) fn log_ends_above(&mut self, after: i64) -> Vec<i64> {
        locked(&self.looks).ends.above(after)
    }

    /// What is known by now is no place to cut any more.
    pub(crate) fn forget_log_ends(&mut self) {
        let mut looks = locked(&self.looks);
        looks.ends.forget();
        looks.commits.lose();
    }
}

/// Whoever panicked with it left what is remembered whole, or is noticed by the looks: they check what they build on.
fn locked(looks: &Mutex<Looks>) -> MutexGuard<'_, Looks> {
    looks.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Looks {
    fn look(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let committed = self.committed(connection);
        self.looked = Instant::now();
        if committed.is_err() {
            self.commits.lose();
        }
        let end = log_end(connection)?;
        let (ids, error) = match committed {
            Ok(ids) => (ids, Ok(())),
            Err(error) => (None, Err(error)),
        };
        // Those of the last moment come with the next look.
        let followed = ids.is_some() && end >= self.ends.seen;
        for id in ids.into_iter().flatten().filter(|id| *id <= end) {
            if id > self.ends.seen {
                self.ends.note(id);
            }
        }
        if !followed {
            self.ends.note(end);
        }
        error
    }

    /// Where the log ended behind each of the commits since the last look; `None` when they are not all known.
    fn committed(&mut self, connection: &Connection) -> Result<Option<Vec<i64>>, StoreError> {
        // Empty when it is no UTF-8.
        let path = connection.path().unwrap_or_default();
        if path.is_empty() {
            return Ok(None);
        }
        let unreadable = |error: std::io::Error| {
            let message = format!("the write-ahead log cannot be read: {error}");
            StoreError::new(StoreErrorKind::InputOutput, message).at(path)
        };
        let Some(mut wal) = WalFile::open(path).map_err(unreadable)? else { return Ok(None) };
        let mut all = Some(Vec::new());
        for _ in 0..SNAPSHOTS {
            let Some(frames) = wal::frames(connection)? else { return Ok(None) };
            match (self.commits.read(&mut wal, frames).map_err(unreadable)?, &mut all) {
                (Some(ends), Some(all)) => all.extend(ends),
                _ => all = None,
            }
            if !self.commits.is_uncertain() {
                return Ok(all);
            }
            let Some(last) = last_path(connection)? else { return Ok(None) };
            // Whoever committed in between may have moved it.
            if wal::frames(connection)? == Some(frames) {
                let known = self.commits.settle(&mut wal, frames, last).map_err(unreadable)?;
                return Ok(all.filter(|_| known));
            }
        }
        Ok(None)
    }
}

fn last_path(connection: &Connection) -> Result<Option<LastPath>, StoreError> {
    let snapshot = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    let root: Option<u32> = snapshot
        .prepare_cached("SELECT rootpage FROM main.sqlite_schema WHERE type = 'table' AND name = ?1")?
        .query_row([CHANGE_LOG_GLOBAL], |row| row.get(0))
        .optional()?;
    let Some(root) = root else { return Ok(None) };
    let mut page = snapshot.prepare_cached("SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1")?;
    Ok(LastPath::find(root, |number| page.query_row([number], |row| row.get(0)))?)
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
