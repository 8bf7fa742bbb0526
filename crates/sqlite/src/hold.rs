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

/// How often a transaction is tried without the lock: whoever writes 200 times a second is in the way of every tenth, so
/// of one in a thousand three times.
const TRIES: u32 = 3;
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
    begun: Instant,
    data_version: i64,
    lock: Lock,
}

/// What is known of it afterwards.
pub(crate) struct Written {
    worked: Duration,
    held: Duration,
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
        let mut held_since = self.begun;
        // It may have been taken by now: when the cache was full.
        if self.lock == Lock::Late && late_lock::is_pending(&self.transaction) {
            held_since = Instant::now();
            late_lock::take(&self.transaction)?;
        }
        self.transaction.commit()?;
        let now = Instant::now();
        Ok(Written { worked: now - self.begun, held: now - held_since, data_version: self.data_version })
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
        let data_version = data_version(&transaction)?;
        Ok(Writing { transaction, begun, data_version, lock })
    }

    /// Does `work`, which is a transaction, with a late lock if that can be, and again when somebody else was in the way.
    pub(crate) fn write_late<T, E>(
        &mut self,
        mut work: impl FnMut(&mut Self, Lock) -> Result<T, E>,
    ) -> Result<T, E> {
        let tries = self.chances.tries();
        for _ in 0..tries {
            let done = work(self, Lock::Late);
            if done.is_ok() || !late_lock::clashed(&self.connection) {
                self.chances.went(true);
                return done;
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
        let before = self.data_version.replace(written.data_version);
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Hold {
            rows,
            worked_us: micros(written.worked),
            held_us: micros(written.held),
            application_wrote: before.is_some_and(|before| before != written.data_version),
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
