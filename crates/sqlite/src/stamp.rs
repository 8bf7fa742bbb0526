//! Stamping: giving our own changes their row versions, from the log rows that the triggers left (R2, R3, R5).
//!
//! Publishing does not wait for it (it writes nothing); an apply does, because what comes in is compared with row
//! versions. A stretch may end in the middle of a key's entries: until the rest is stamped too, readers see the later
//! entries as fresh ones and give the row their version, so the older one is never sent with a newer image.

use harmonylite_core::effect::PublishedPositions;
use harmonylite_core::input::{ApplyFailure, Hold};
use harmonylite_late_lock::Lock;

use crate::Store;
use crate::apply::Halt;
use crate::catalog::Table;
use crate::change_log::{KeyEntries, Stretch, entries, own_version};
use crate::checkpoint::{Floors, count_log_rows, log_end, mark};
use crate::conflict_log::mark_restored;
use crate::error::StoreError;
use crate::meta::{self, key};
use crate::row_version::TableRows;
use crate::session::Session;

/// How many log rows were unstamped: a long log is not counted again at every step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unstamped {
    /// Those above this mark ..
    stamped: i64,
    /// .. up to here.
    through: i64,
    rows: u64,
}

impl Store {
    /// Answers [`ApplyFailure::LogFirst`] after one step when more than `limit` log rows are unstamped: the rows that an
    /// apply does not see itself are then stamped in transactions of their own, between which the application writes.
    pub(crate) fn stamp_long_log(&mut self, published: &PublishedPositions, limit: u64) -> Result<(), Halt> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(self.limits.housekeeping_rows);
        if !self.options.publish || self.count_unstamped()? <= limit as u64 {
            return Ok(());
        }
        let (hold, unstamped_rows) = self.stamp_step(published, limit.max(1))?;
        Err(Halt::Source(ApplyFailure::LogFirst { hold, unstamped_rows }))
    }

    /// Stamps `limit` log rows in a transaction; gives how many are left, too.
    pub(crate) fn stamp_step(
        &mut self,
        published: &PublishedPositions,
        limit: usize,
    ) -> Result<(Hold, u64), StoreError> {
        self.write_late(|store, lock| store.stamp_step_with(published, limit, lock))
    }

    fn stamp_step_with(
        &mut self,
        published: &PublishedPositions,
        limit: usize,
        lock: Lock,
    ) -> Result<(Hold, u64), StoreError> {
        let transaction = self.begin_writing(lock)?;
        self.require_schema()?;
        let rows = stamp(&Session::new(self), published, limit)?;
        let stamped = mark(&transaction, key::STAMPED)?;
        let written = transaction.commit()?;
        let left = self.unstamped.rows.saturating_sub(rows as u64);
        self.unstamped = Unstamped { stamped, rows: left, ..self.unstamped };
        Ok((self.released(&written, rows as u64), left))
    }

    /// Only what came since the last count is counted.
    pub(crate) fn count_unstamped(&mut self) -> Result<u64, StoreError> {
        let snapshot = self.begin_read()?;
        let stamped = mark(&snapshot, key::STAMPED)?;
        let known = Some(self.unstamped).filter(|known| known.stamped == stamped);
        let known = known.unwrap_or(Unstamped { stamped, through: stamped, rows: 0 });
        let through = log_end(&snapshot)?.max(known.through);
        let rows = known.rows + count_log_rows(&snapshot, known.through + 1, through)?;
        drop(snapshot);
        self.unstamped = Unstamped { stamped, through, rows };
        Ok(rows)
    }
}

/// Stamps the first `limit` log rows that are not; gives how many there were. Fewer than `limit`: none are left.
pub(crate) fn stamp(
    session: &Session<'_>,
    published: &PublishedPositions,
    limit: usize,
) -> Result<usize, StoreError> {
    let stamped = mark(session.connection, key::STAMPED)?;
    session.sent.forget_through(stamped);
    let stretch = Stretch::read(session, stamped, limit)?;
    if stretch.log_rows == 0 {
        return Ok(0);
    }
    for table in stretch.tables(session) {
        stamp_table(session, table, &stretch, &Floors(published))?;
    }
    meta::write_integer(session.connection, key::STAMPED, stretch.through)?;
    Ok(stretch.log_rows)
}

fn stamp_table(
    session: &Session<'_>,
    table: &Table,
    stretch: &Stretch,
    floors: &Floors<'_>,
) -> Result<(), StoreError> {
    let mut rows = session.rows(table);
    for (_, shard, entries) in entries(session, table, stretch, stretch.after, |_| 0)? {
        stamp_key(session, &mut rows, &entries, floors.of(shard))?;
    }
    Ok(())
}

fn stamp_key(
    session: &Session<'_>,
    rows: &mut TableRows<'_>,
    entries: &KeyEntries,
    floor: i64,
) -> Result<(), StoreError> {
    let sent = session.sent;
    // Usually it was read for publishing, and the digest is at hand.
    let known = sent.content(entries.fresh);
    let found = if known.is_some() { None } else { rows.digest(&entries.key)? };
    let present = if known.is_some() { rows.exists(&entries.key)? } else { found.is_some() };
    let spared = sent.was_spared(entries.fresh_maybe).unwrap_or(present);
    let Some(clock) = entries.own_clock(spared) else { return Ok(()) };
    // Whatever became of the row since: the version goes with what was sent under it.
    let content = sent.content(clock.get()).unwrap_or(found);
    let stored = rows.version(&entries.key)?;
    let version = own_version(clock, session.own, content.is_some(), stored.as_ref(), floor);
    if stored.is_none_or(|stored| stored.version < version.version) {
        rows.set_version(&entries.key, &version, content)?;
        if !version.tombstone && stored.is_some_and(|stored| stored.tombstone) {
            mark_restored(session, rows.table, &entries.key, clock)?;
        }
    }
    Ok(())
}
