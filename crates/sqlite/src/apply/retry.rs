//! Dead letters, tried again: through the very same apply as a fresh row, one transaction for each.
//!
//! A dead letter is a row state that this node, and it alone, has not applied. So trying again needs no word to the other
//! nodes: versions decide as ever, and what a later version has overtaken is no loss.

use std::path::Path;

use harmonylite_core::effect::PublishedPositions;
use harmonylite_core::input::{Applied, ApplyFailure};
use rusqlite::TransactionBehavior;

use super::Work;
use super::ahead::Bodies;
use super::halt::Halt;
use super::rows::Tally;
use crate::Store;
use crate::checkpoint::{count_rows_applied, mark, raise_observed};
use crate::connection;
use crate::dead_letter::{self, KeptLetter};
use crate::error::StoreError;
use crate::lock::LockFile;
use crate::meta::key;
use crate::session::Session;
use crate::stamp::stamp;

/// What became of a dead letter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LetterOutcome {
    /// The row is written, the letter gone.
    Applied,
    /// Another row with a greater version has its UNIQUE value (R1): it is in the conflict log, the letter gone.
    Displaced,
    /// The row has a later version already: the letter is gone.
    Superseded,
    /// It cannot be written still, or no more: the letter stays, with this reason.
    Failed(String),
    /// It was not tried, for this reason.
    Postponed(String),
    /// There is no such letter.
    Missing,
}

impl Store {
    /// Tries the dead letter `id` again; beside what became of it gives what that did to the database.
    ///
    /// `published` as for an apply. Without it the own streams are not checked, and nothing may be stamped (R9): then a
    /// letter whose table has unstamped changes of ours has to wait.
    ///
    /// # Errors
    /// When the database refuses (busy, the schema changed, no space): the letter is as before.
    pub fn retry_dead_letter(
        &mut self,
        id: i64,
        published: Option<&PublishedPositions>,
        now_ms: u64,
    ) -> Result<(LetterOutcome, Applied), StoreError> {
        let error = match self.try_letter(id, published, now_ms) {
            Ok(done) => return Ok(done),
            Err(Halt::Source(ApplyFailure::Source { reason, .. })) => reason,
            Err(Halt::Source(failure)) => format!("{failure:?}"),
            Err(Halt::Store(error)) => return Err(error),
        };
        let transaction = self.begin_write()?;
        dead_letter::keep_on(&transaction, id, now_ms, &error)?;
        transaction.commit()?;
        Ok((LetterOutcome::Failed(error), Applied::default()))
    }

    fn try_letter(
        &mut self,
        id: i64,
        published: Option<&PublishedPositions>,
        now_ms: u64,
    ) -> Result<(LetterOutcome, Applied), Halt> {
        let stamping = published.filter(|_| self.options.publish);
        if let Some(published) = stamping {
            self.stamp_whole_log(published)?;
        }
        let transaction = self.begin_write()?;
        self.require_schema()?;
        let Some(letter) = dead_letter::read(&transaction, id)? else {
            return Ok((LetterOutcome::Missing, Applied::default()));
        };
        let session = Session::new(self);
        match stamping {
            Some(published) => {
                stamp(&session, published, usize::MAX)?;
            }
            None if session.publish && has_unstamped(&session, &letter.table)? => {
                let reason =
                    "the table has changes that are not published yet, and no node runs: start it first";
                return Ok((LetterOutcome::Postponed(reason.to_owned()), Applied::default()));
            }
            None => {}
        }
        let mut work = Work::new(&session, now_ms, Some(id));
        let outcome = work.retry(id, &letter)?;
        let (mut applied, failed_mirrors) = (work.applied, work.failed_mirrors);
        drop(session);
        transaction.commit()?;
        applied.reports_changed = self.leave_behind(failed_mirrors);
        Ok((outcome, applied))
    }

    /// As before an apply; there is nobody who would come again, so it is done at once.
    fn stamp_whole_log(&mut self, published: &PublishedPositions) -> Result<(), StoreError> {
        let limit = self.limits.housekeeping_rows;
        while self.count_unstamped()? > limit as u64 {
            self.stamp_step(published, limit)?;
        }
        Ok(())
    }

    /// Takes the dead letter `id` out; gives whether it was there. Its row stays as it is on this node.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn drop_dead_letter(&mut self, id: i64) -> Result<bool, StoreError> {
        let transaction = self.begin_write()?;
        let there = dead_letter::remove(&transaction, id)?;
        transaction.commit()?;
        Ok(there)
    }
}

impl Work<'_, '_> {
    fn retry(&mut self, id: i64, letter: &KeptLetter) -> Result<LetterOutcome, Halt> {
        let connection = self.session.connection;
        let tally = self.apply_bodies(&letter.source, Bodies::of(std::slice::from_ref(&letter.body)))?;
        self.count(&letter.source, &tally);
        // A letter that stays is no new one.
        self.applied.dead_letters = 0;
        raise_observed(connection, self.applied.newest.get())?;
        count_rows_applied(connection, &letter.source, tally.applied)?;
        match outcome(&tally) {
            Some(outcome) => {
                dead_letter::remove(connection, id)?;
                Ok(outcome)
            }
            None => Ok(LetterOutcome::Failed(dead_letter::error(connection, id)?)),
        }
    }
}

/// `None`: it stays.
fn outcome(tally: &Tally) -> Option<LetterOutcome> {
    match tally {
        Tally { dead_letters: 1.., .. } => None,
        Tally { refused: 1.., .. } => Some(LetterOutcome::Displaced),
        Tally { applied: 1.., .. } => Some(LetterOutcome::Applied),
        _ => Some(LetterOutcome::Superseded),
    }
}

/// Has the table changes of ours that have no version yet?
fn has_unstamped(session: &Session<'_>, table: &str) -> Result<bool, StoreError> {
    let Some(table) = session.catalog.tables.get(table) else { return Ok(false) };
    let stamped = mark(session.connection, key::STAMPED)?;
    let sql = format!("SELECT EXISTS(SELECT 1 FROM main.{} WHERE id > ?1)", table.change_log);
    Ok(session.connection.prepare_cached(&sql)?.query_row([stamped], |row| row.get(0))?)
}

/// Tries dead letters of the database at `path` again while no node runs on it.
///
/// # Errors
/// When a node runs, when our tables and triggers do not fit the schema (the next start mends them), or when the database
/// refuses; what was done until then is done.
pub fn retry_dead_letters(
    path: &Path,
    ids: &[i64],
    now_ms: u64,
) -> Result<Vec<(i64, LetterOutcome)>, StoreError> {
    let lock = LockFile::acquire(path)?;
    let mut store = Store::open_as_it_is(path)?;
    let retry = |&id: &i64| Ok((id, store.retry_dead_letter(id, None, now_ms)?.0));
    let outcomes = ids.iter().map(retry).collect::<Result<_, StoreError>>()?;
    lock.remove()?;
    Ok(outcomes)
}

/// Takes dead letters out of the database at `path` while no node runs on it; gives which were there.
///
/// # Errors
/// When a node runs, or when the database refuses: then none is gone.
pub fn drop_dead_letters(path: &Path, ids: &[i64]) -> Result<Vec<(i64, bool)>, StoreError> {
    let lock = LockFile::acquire(path)?;
    let mut connection = connection::open(path)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    crate::meta::require_ours(&transaction).map_err(|error| error.at(path.display()))?;
    let drop = |&id: &i64| Ok((id, dead_letter::remove(&transaction, id)?));
    let dropped = ids.iter().map(drop).collect::<Result<_, StoreError>>()?;
    transaction.commit()?;
    lock.remove()?;
    Ok(dropped)
}
