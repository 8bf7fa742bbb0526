//! A transaction that writes: for how long it holds the application's write lock, and whether the application wrote in between
//! (G1). From this the core sets the pace.

use std::ops::Deref;
use std::time::{Duration, Instant};

use harmonylite_core::input::Hold;
use harmonylite_late_lock::{self as late_lock, Lock};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::Store;
use crate::connection::data_version;
use crate::error::StoreError;

/// How often a transaction is tried without the lock: whoever writes 200 times a second is in the way of every fourth that
/// works for 1.6 ms, so of one in four thousand each time.
const TRIES: u32 = 6;
/// No further one when they have taken so long: a large change set is worked on for longer than the application pauses.
const TRYING_MAX: Duration = Duration::from_millis(50);
/// So many transactions get their lock early, at most, after one that was in somebody's way each time.
const EARLY_MAX: u32 = 64;

/// Whether it makes sense to try without the lock.
#[derive(Debug, Default)]
pub(crate) struct Chances {
    /// The next so many get it early.
    early: u32,
    /// And twice as many when the one after them fails again.
    penalty: u32,
}

impl Chances {
    fn tries(&mut self) -> u32 {
        match self.early.checked_sub(1) {
            Some(rest) => {
                self.early = rest;
                0
            }
            None => TRIES,
        }
    }

    fn went(&mut self, well: bool) {
        self.penalty = if well { 0 } else { (self.penalty * 2).clamp(1, EARLY_MAX) };
        self.early = self.penalty;
    }
}

/// A transaction that writes, from its first moment on. Dropped, it is rolled back.
pub(crate) struct Writing<'s> {
    transaction: Transaction<'s>,
    connection: &'s Connection,
    begun: Instant,
    data_version: i64,
    is_late: bool,
}

/// What is remembered of the one before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastHold {
    data_version: i64,
    /// Transactions that were committed by anybody.
    commits: Option<u32>,
    ended: Instant,
}

impl LastHold {
    /// Before the first one.
    pub(crate) fn begin(connection: &Connection) -> Result<Self, StoreError> {
        Ok(Self::new(connection, data_version(connection)?))
    }

    fn new(connection: &Connection, data_version: i64) -> Self {
        Self { data_version, commits: late_lock::commits(connection), ended: Instant::now() }
    }

    /// How often others wrote between `before` and this one; those of ours that are no holds count, where others wrote at all.
    fn writes_of_others(self, before: Self) -> u64 {
        if self.data_version == before.data_version {
            return 0;
        }
        let all = self.commits.zip(before.commits).map_or(0, |(now, then)| now.wrapping_sub(then));
        u64::from(all.saturating_sub(1)).max(1)
    }
}

/// What is known of it afterwards.
pub(crate) struct Written {
    worked: Duration,
    held: Duration,
    late: bool,
    data_version: i64,
}

impl Deref for Writing<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.transaction
    }
}

impl Writing<'_> {
    /// # Errors
    /// Busy as well when the lock is late and somebody else wrote: then nothing is done.
    pub(crate) fn commit(self) -> Result<Written, StoreError> {
        late_lock::commit_at_once(&self.transaction)?;
        self.transaction.commit()?;
        let worked = self.begun.elapsed();
        // Who wrote nothing never had it.
        let held =
            if self.is_late { late_lock::held_for(self.connection).unwrap_or_default() } else { worked };
        Ok(Written { worked, held, late: self.is_late, data_version: self.data_version })
    }
}

impl Store {
    /// Begins a transaction that writes; busy when somebody else does.
    pub(crate) fn begin_writing(&self, lock: Lock) -> Result<Writing<'_>, StoreError> {
        late_lock::prefer(&self.connection, lock);
        let begun = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate);
        late_lock::prefer(&self.connection, Lock::Early);
        let transaction = begun?;
        let begun = Instant::now();
        let is_late = late_lock::is_pending(&transaction);
        let data_version = data_version(&transaction)?;
        Ok(Writing { transaction, connection: &self.connection, begun, data_version, is_late })
    }

    /// Does `work`, which is a transaction, with a late lock if that can be, and again when somebody else was in the way.
    pub(crate) fn write_late<T, E>(
        &mut self,
        mut work: impl FnMut(&mut Self, Lock) -> Result<T, E>,
    ) -> Result<T, E> {
        let tries = self.chances.tries();
        let begun = Instant::now();
        for _ in 0..tries {
            let done = work(self, Lock::Late);
            if done.is_ok() || !late_lock::clashed(&self.connection) {
                self.chances.went(true);
                return done;
            }
            if begun.elapsed() > TRYING_MAX {
                break;
            }
        }
        if tries > 0 {
            self.chances.went(false);
        }
        work(self, Lock::Early)
    }

    /// The transaction is committed; it wrote so many rows. Writes of the application are told with the next hold: those
    /// that waited for this one are made right after it.
    pub(crate) fn released(&mut self, written: &Written, rows: u64) -> Hold {
        let this = LastHold::new(&self.connection, written.data_version);
        let before = self.last_hold.replace(this);
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Hold {
            rows,
            worked_us: micros(written.worked),
            held_us: micros(written.held),
            late: written.late,
            application_writes: before.map_or(0, |before| this.writes_of_others(before)),
            apart_us: before.map_or(0, |before| micros(this.ended - before.ended)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_and_again_is_tried_less_and_less() {
        let mut chances = Chances::default();
        let mut early = Vec::new();
        for _ in 0..9 {
            assert_eq!(chances.tries(), TRIES);
            chances.went(false);
            let mut locked = 0;
            while chances.early > 0 {
                assert_eq!(chances.tries(), 0);
                locked += 1;
            }
            early.push(locked);
        }
        assert_eq!(early, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        chances.went(true);
        assert_eq!(chances.tries(), TRIES);
    }
}
