//! Apply: what other nodes wrote, in one transaction with positions, checkpoints and everything that follows from it.
//!
//! In this order: our own unstamped changes get their versions; every incoming row is compared with the stored version,
//! written or dropped; then clocks, positions, checkpoints; then a bounded part of the log is trimmed. The whole batch
//! commits or nothing of it.

mod ahead;
mod displace;
mod halt;
mod index_text;
mod mirrored;
mod retry;
mod rivals;
mod rows;
mod unique;

use std::collections::BTreeMap;

use harmonylite_core::codec::TableChanges;
use harmonylite_core::effect::{ApplyBatch, ReceivedGroup};
use harmonylite_core::input::{Applied, ApplyFailure};
use harmonylite_core::model::SourceId;
use harmonylite_core::planted::{Bug, is_planted};
use harmonylite_late_lock::{Lock, is_lost};

use self::ahead::{Bodies, decode_ahead};
pub(crate) use self::halt::Halt;
pub use self::retry::{LetterOutcome, drop_dead_letters, retry_dead_letters};
pub(crate) use self::rows::Incoming;
use self::rows::{Tally, apply_rows};
use self::unique::{UniqueSets, apply_sets};
use crate::Store;
use crate::catalog::{Catalog, Table};
use crate::checkpoint::{
    count_rows_applied, position, raise_observed, save_checkpoint, save_published, set_position,
};
use crate::conflict_log;
use crate::error::{StoreError, StoreErrorKind};
use crate::housekeeping::trim;
use crate::session::Session;
use crate::stamp::stamp;

/// Log rows that an apply trims: what an application writes meanwhile, and no more, or a long log would make each hold of the
/// lock longer. Housekeeping has the rest.
const TRIM_ROWS: usize = 32;
/// Conflict log entries that an apply trims beyond as many as it added.
const TRIM_CONFLICTS_EXTRA: usize = 100;

/// The groups of a batch at work.
pub(crate) struct Work<'w, 's> {
    pub(crate) session: &'w Session<'s>,
    pub(crate) now_ms: u64,
    pub(crate) applied: Applied,
    /// Tables whose mirrored triggers failed in this transaction, with SQLite's words; they are off.
    pub(crate) failed_mirrors: BTreeMap<String, String>,
    /// The dead letter that is tried again.
    pub(crate) letter: Option<i64>,
}

impl Store {
    /// Applies `batch` in one transaction. `now_ms` is the wall clock in milliseconds since the epoch.
    ///
    /// Everything or nothing: on an error the database is as before, but for stamps of our own changes.
    pub fn apply(&mut self, batch: &ApplyBatch, now_ms: u64) -> Result<Applied, ApplyFailure> {
        self.apply_batch(batch, now_ms).map_err(ApplyFailure::from)
    }

    fn apply_batch(&mut self, batch: &ApplyBatch, now_ms: u64) -> Result<Applied, Halt> {
        self.stamp_long_log(&batch.published, batch.stamp_rows)?;
        if is_planted(Bug::CheckpointApart) {
            self.save_checkpoints_apart(batch)?;
        }
        self.write_late(|store, lock| store.apply_with(batch, now_ms, lock))
    }

    fn apply_with(&mut self, batch: &ApplyBatch, now_ms: u64, lock: Lock) -> Result<Applied, Halt> {
        let ahead = decode_ahead(&batch.groups);
        let transaction = self.begin_writing(lock)?;
        self.require_schema()?;
        let session = Session::new(self);
        if session.publish {
            stamp(&session, &batch.published, usize::MAX)?;
        }
        let mut work = Work::new(&session, now_ms, None);
        for (group, bodies) in batch.groups.iter().zip(ahead) {
            work.apply_group(group, bodies)?;
        }
        work.save(batch)?;
        let (mut applied, failed_mirrors) = (work.applied, work.failed_mirrors);
        drop(session);
        let written = transaction.commit()?;
        applied.reports_changed = self.leave_behind(failed_mirrors);
        let rows = batch.groups.iter().map(|group| group.rows).sum();
        applied.hold = self.released(&written, rows);
        Ok(applied)
    }

    /// For [`Bug::CheckpointApart`]: every third time the lock is gone before the rows are written.
    fn save_checkpoints_apart(&self, batch: &ApplyBatch) -> Result<(), Halt> {
        let transaction = self.begin_write()?;
        for (source, checkpoint) in &batch.checkpoints {
            save_checkpoint(&transaction, source, checkpoint, 0)?;
        }
        transaction.commit()?;
        let interrupted = batch.groups.first().is_some_and(|group| group.through.get() % 3 == 0);
        if interrupted { Err(StoreError::new(StoreErrorKind::Busy, "planted").into()) } else { Ok(()) }
    }

    /// From now on the tables whose triggers failed are written without; gives whether there are any. When the schema
    /// is read again, the reports say which virtual tables are left behind.
    fn leave_behind(&mut self, failed: BTreeMap<String, String>) -> bool {
        let some = !failed.is_empty();
        self.catalog.mirrors.retain(|table, _| !failed.contains_key(table));
        self.failed_mirrors.add(self.catalog.schema_version, failed);
        some
    }
}

impl<'w, 's> Work<'w, 's> {
    /// Nothing done yet; `letter` is the dead letter that is tried again.
    fn new(session: &'w Session<'s>, now_ms: u64, letter: Option<i64>) -> Self {
        Self { session, now_ms, applied: Applied::default(), failed_mirrors: BTreeMap::new(), letter }
    }

    /// R7: a group that is not beyond the position of its origin is dropped whole.
    fn apply_group(&mut self, group: &ReceivedGroup, bodies: Bodies<'_>) -> Result<(), Halt> {
        let origin = self.session.origins.number(group.origin)?;
        let position = position(self.session.connection, origin, group.shard)?;
        let own = group.origin == self.session.own && !is_planted(Bug::OwnFramesApplied);
        if own || group.through <= position {
            self.applied.rows_skipped += group.rows;
            return Ok(());
        }
        if group.prev > position && !is_planted(Bug::PositionOverGap) {
            let reason = format!(
                "changes of origin {} on shard {} are missing: applied up to {position}, the next group starts at {}",
                group.origin, group.shard, group.prev
            );
            return Err(Halt::source(&group.source, reason));
        }
        let tally = self.apply_bodies(&group.source, bodies)?;
        self.count(&group.source, &tally);
        set_position(self.session.connection, origin, group.shard, group.through)?;
        Ok(())
    }

    fn apply_bodies(&mut self, source: &SourceId, bodies: Bodies<'_>) -> Result<Tally, Halt> {
        let mut sets = UniqueSets::default();
        let mut tally = Tally::default();
        for body in bodies {
            let body = body.map_err(|error| Halt::source(source, error.to_string()))?;
            for changes in body.tables {
                self.ensure_not_lost()?;
                let table = self.table(source, &changes)?;
                let incoming =
                    Incoming::of_section(table, changes).map_err(|reason| Halt::schema(source, reason))?;
                let mirrored = self.session.catalog.mirrors.contains_key(&table.schema.name);
                if table.schema.unique.is_empty() && !mirrored {
                    apply_rows(self, source, table, incoming, &mut tally)?;
                } else {
                    sets.add(table, incoming);
                }
            }
        }
        apply_sets(self, source, sets, &mut tally)?;
        Ok(tally)
    }

    /// Is the lock late, and did the application write meanwhile? Then all of it has to be done again.
    fn ensure_not_lost(&self) -> Result<(), StoreError> {
        if is_lost(self.session.connection) {
            return Err(StoreError::new(StoreErrorKind::Busy, "the application wrote meanwhile"));
        }
        Ok(())
    }

    /// Our table of that name, when it is the same as the origin's.
    fn table(&self, source: &SourceId, changes: &TableChanges) -> Result<&'s Table, Halt> {
        let name = &changes.table;
        let catalog: &'s Catalog = self.session.catalog;
        let Some(table) = catalog.tables.get(name) else {
            return Err(Halt::schema(source, format!("table {name:?} is not replicated here")));
        };
        if table.fingerprint != changes.fingerprint {
            let reason = format!(
                "table {name:?} is not the same here and at the origin: fingerprint {} here, {} there; columns here: {}; \
                 there: {}",
                table.fingerprint,
                changes.fingerprint,
                table.schema.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", "),
                changes.columns.join(", ")
            );
            return Err(Halt::schema(source, reason));
        }
        Ok(table)
    }

    fn count(&mut self, source: &SourceId, tally: &Tally) {
        let applied = &mut self.applied;
        *applied.rows_applied.entry(source.clone()).or_default() += tally.applied;
        applied.rows_skipped += tally.skipped;
        applied.conflicts += tally.conflicts;
        applied.displaced += tally.displaced;
        applied.dead_letters += tally.dead_letters;
    }

    /// Everything but the rows themselves.
    fn save(&mut self, batch: &ApplyBatch) -> Result<(), StoreError> {
        let connection = self.session.connection;
        if !is_planted(Bug::ObservedNotRaised) {
            raise_observed(connection, self.applied.newest.get())?;
        }
        for (source, checkpoint) in &batch.checkpoints {
            let rows = self.applied.rows_applied.get(source).copied().unwrap_or(0);
            save_checkpoint(connection, source, checkpoint, rows)?;
        }
        let without =
            self.applied.rows_applied.iter().filter(|(source, _)| !batch.checkpoints.contains_key(*source));
        for (source, rows) in without {
            count_rows_applied(connection, source, *rows)?;
        }
        save_published(connection, &batch.published)?;
        trim(self.session, TRIM_ROWS)?;
        let conflicts = usize::try_from(self.applied.conflicts).unwrap_or(usize::MAX);
        conflict_log::trim(self.session, self.now_ms, conflicts.saturating_add(TRIM_CONFLICTS_EXTRA))
    }
}
