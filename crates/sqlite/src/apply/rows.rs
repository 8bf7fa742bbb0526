//! Incoming rows of tables without further UNIQUE indexes: row by row, and what all incoming rows share.

use harmonylite_core::codec::TableChanges;
use harmonylite_core::conflict::{RowVersion, Verdict, Version, resolve};
use harmonylite_core::model::{RowChange, RowContent, SourceId, Value};

use super::Work;
use super::halt::{Halt, is_row_error};
use crate::catalog::Table;
use crate::conflict_log::{Loss, Reason, log_loss, mark_restored};
use crate::dead_letter::{self, DeadLetter};
use crate::error::StoreError;
use crate::row_digest::RowDigest;
use crate::row_version::{TableRows, key_of};

/// An incoming row, its values in the order of our columns.
pub(crate) struct Incoming {
    pub(crate) key: Vec<Value>,
    pub(crate) version: RowVersion,
    /// `None` is a delete.
    pub(crate) values: Option<Vec<Value>>,
}

/// What became of the rows of a group.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) applied: u64,
    pub(crate) skipped: u64,
    pub(crate) conflicts: u64,
    pub(crate) displaced: u64,
    pub(crate) dead_letters: u64,
    /// Of the applied ones: displaced on arrival, so they are not there.
    pub(crate) refused: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.applied += other.applied;
        self.skipped += other.skipped;
        self.conflicts += other.conflicts;
        self.displaced += other.displaced;
        self.dead_letters += other.dead_letters;
        self.refused += other.refused;
    }
}

impl Incoming {
    /// The rows of a section, whose columns have the names of ours in any order; the error is for people.
    pub(crate) fn of_section(table: &Table, changes: TableChanges) -> Result<Vec<Self>, String> {
        let name = changes.table;
        let order = order_of(table, &changes.columns)
            .ok_or_else(|| format!("table {name:?} has other columns at the origin"))?;
        let row = |change| {
            Self::from_change(table, &order, change)
                .ok_or_else(|| format!("a row of table {name:?} does not fit its columns or its version"))
        };
        changes.rows.into_iter().map(row).collect()
    }

    fn from_change(table: &Table, order: &[usize], change: RowChange) -> Option<Self> {
        let version = change.version;
        match change.content {
            RowContent::Delete(key) => (version.tombstone && key.len() == table.schema.key.len())
                .then_some(Self { key, version, values: None }),
            RowContent::Upsert(values) => {
                if version.tombstone || values.len() != order.len() {
                    return None;
                }
                let values = arrange(values, order);
                Some(Self { key: key_of(table, &values), version, values: Some(values) })
            }
        }
    }

    /// Of the content that goes with the version, once it is written. Stored values come in, so they are stored as they
    /// come; but text that is no UTF-8 is another one in a database of UTF-16, and that is no write of ours.
    pub(crate) fn digest(&self, rows: &mut TableRows<'_>) -> rusqlite::Result<Option<RowDigest>> {
        let Some(values) = &self.values else { return Ok(None) };
        let odd = |value: &Value| matches!(value, Value::Text(bytes) if std::str::from_utf8(bytes).is_err());
        if values.iter().any(odd) {
            rows.digest(&self.key)
        } else {
            Ok(Some(rows.table.shape.digest(values)))
        }
    }

    pub(crate) fn into_change(self) -> RowChange {
        let content = match self.values {
            Some(values) => RowContent::Upsert(values),
            None => RowContent::Delete(self.key),
        };
        RowChange { version: self.version, content }
    }
}

/// For each of our columns, where it stands in the frame; `None` when the names are not the same.
fn order_of(table: &Table, columns: &[String]) -> Option<Vec<usize>> {
    let ours = &table.schema.columns;
    if ours.len() != columns.len() {
        return None;
    }
    ours.iter().map(|column| columns.iter().position(|name| *name == column.name)).collect()
}

fn arrange(mut values: Vec<Value>, order: &[usize]) -> Vec<Value> {
    if order.iter().enumerate().all(|(ours, theirs)| ours == *theirs) {
        return values;
    }
    order.iter().map(|&theirs| std::mem::replace(&mut values[theirs], Value::Null)).collect()
}

/// After so many rows it is looked whether going on makes sense.
const LOOK_EVERY: usize = 64;

/// Applies rows of a table whose only UNIQUE index is its key.
pub(crate) fn apply_rows(
    work: &mut Work<'_, '_>,
    source: &SourceId,
    table: &Table,
    incoming: Vec<Incoming>,
    tally: &mut Tally,
) -> Result<(), Halt> {
    let session = work.session;
    let mut rows = session.rows(table);
    for (number, incoming) in incoming.into_iter().enumerate() {
        if number % LOOK_EVERY == 0 {
            work.ensure_not_lost()?;
        }
        apply_row(work, source, &mut rows, incoming, tally)?;
    }
    Ok(())
}

fn apply_row(
    work: &mut Work<'_, '_>,
    source: &SourceId,
    rows: &mut TableRows<'_>,
    incoming: Incoming,
    tally: &mut Tally,
) -> Result<(), Halt> {
    let Some(winning) = work.compare(rows, &incoming, tally)? else { return Ok(()) };
    let written = match &incoming.values {
        Some(values) => rows.upsert(values),
        None => rows.delete(&incoming.key),
    };
    match written {
        Ok(()) => {}
        Err(error) if is_row_error(&error) => {
            tally.dead_letters += 1;
            return Ok(work.bury(source, rows.table, incoming, error.to_string())?);
        }
        Err(error) => return Err(error.into()),
    }
    let digest = incoming.digest(rows)?;
    rows.set_version(&incoming.key, &incoming.version, digest)?;
    if let Some(lost) = winning.lost {
        work.log_overwritten(rows.table, &incoming, &lost)?;
        tally.conflicts += 1;
    }
    if winning.returns {
        mark_restored(work.session, rows.table, &incoming.key, incoming.version.version.hlc)?;
    }
    tally.applied += 1;
    Ok(())
}

/// What an incoming row that wins does to what is here.
pub(crate) struct Winning {
    /// What it wins over, when that is a conflict.
    pub(crate) lost: Option<Overwritten>,
    /// It brings back a row that was gone.
    pub(crate) returns: bool,
}

/// The local state that a winner replaces although its writer had not seen it (R5).
pub(crate) struct Overwritten {
    version: Version,
    row: Option<Vec<Value>>,
}

impl Work<'_, '_> {
    /// `None`: ours stays, and the incoming row is counted as skipped. Else it wins.
    pub(crate) fn compare(
        &mut self,
        rows: &mut TableRows<'_>,
        incoming: &Incoming,
        tally: &mut Tally,
    ) -> Result<Option<Winning>, StoreError> {
        self.note_clock(incoming.version.version);
        let stored = rows.version(&incoming.key)?;
        let lost = match (resolve(stored.as_ref(), &incoming.version), stored) {
            (Verdict::Duplicate | Verdict::Superseded, _) => {
                tally.skipped += 1;
                return Ok(None);
            }
            (Verdict::Conflicts, Some(stored)) => {
                let row = if stored.tombstone { None } else { rows.row(&incoming.key)? };
                Some(Overwritten { version: stored.version, row })
            }
            (Verdict::Conflicts | Verdict::Succeeds, _) => None,
        };
        let returns = incoming.values.is_some() && stored.is_some_and(|stored| stored.tombstone);
        Ok(Some(Winning { lost, returns }))
    }

    fn note_clock(&mut self, version: Version) {
        let applied = &mut self.applied;
        applied.newest = applied.newest.max(version.hlc);
        let of_origin = applied.clocks.entry(version.origin).or_default();
        *of_origin = version.hlc.max(*of_origin);
    }

    pub(crate) fn log_overwritten(
        &self,
        table: &Table,
        incoming: &Incoming,
        lost: &Overwritten,
    ) -> Result<(), StoreError> {
        let loss = Loss {
            table,
            key: &incoming.key,
            reason: Reason::Overwritten,
            loser: lost.version,
            winner: incoming.version.version,
            row: lost.row.as_deref(),
        };
        log_loss(self.session, self.now_ms, &loss)
    }

    /// Puts a row that cannot be written among the dead letters, unless it is one that was tried again: that stays.
    pub(crate) fn bury(
        &self,
        source: &SourceId,
        table: &Table,
        incoming: Incoming,
        error: String,
    ) -> Result<(), StoreError> {
        if let Some(id) = self.letter {
            return dead_letter::keep_on(self.session.connection, id, self.now_ms, &error);
        }
        let key = incoming.key.clone();
        let change = incoming.into_change();
        dead_letter::keep(
            self.session,
            self.now_ms,
            &DeadLetter { source, table, key: &key, change: &change, error },
        )
    }
}
