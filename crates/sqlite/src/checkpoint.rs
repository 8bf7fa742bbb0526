//! Places that the database remembers: checkpoints, positions, published positions, and the marks on our own log.

use std::collections::BTreeMap;

use harmonylite_core::effect::PublishedPositions;
use harmonylite_core::input::StoreState;
use harmonylite_core::model::{Checkpoint, FrameMark, LogPosition, Origin, Shard, SourceId, StreamSequence};
use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::Store;
use crate::error::{StoreError, StoreErrorKind};
use crate::meta::{
    self, BASELINE, CHANGE_LOG_GLOBAL, CHECKPOINT, CLOCK, CONFLICT_LOG, DEAD_LETTER, POSITION, PUBLISHED, key,
};
use crate::origin::Origins;

impl Store {
    /// What the database remembers, in one snapshot.
    pub fn state(&self) -> Result<StoreState, StoreError> {
        let transaction = self.connection.unchecked_transaction()?;
        let published = published(&transaction)?;
        let state = StoreState {
            origin: self.origin,
            positions: positions(&transaction)?,
            checkpoints: checkpoints(&transaction)?,
            baseline: baseline(&transaction)?,
            pending_rows: count_log_rows(&transaction, published.settled.get() + 1, i64::MAX)?,
            dead_letters: count(&transaction, DEAD_LETTER)?,
            conflicts: count(&transaction, CONFLICT_LOG)?,
            published,
        };
        Ok(state)
    }
}

/// What is published, as far as a piece of work knows: decides what of the log is still to be sent.
pub(crate) struct Floors<'p>(pub(crate) &'p PublishedPositions);

impl Floors<'_> {
    /// Log ids of `shard` up to here are in its stream.
    pub(crate) fn of(&self, shard: Shard) -> i64 {
        let published = self.0.by_shard.get(&shard).map_or(0, |position| position.get());
        published.max(self.0.settled.get())
    }
}

/// A mark on our own log in the meta table; 0 when it is not there.
pub(crate) fn mark(connection: &Connection, name: &str) -> Result<i64, StoreError> {
    Ok(meta::read_integer(connection, name)?.unwrap_or(0))
}

/// The greatest id in the log; 0 when it is empty.
pub(crate) fn log_end(connection: &Connection) -> Result<i64, StoreError> {
    one(connection, &format!("SELECT coalesce(max(id), 0) FROM main.{CHANGE_LOG_GLOBAL}"))
}

/// Log rows with ids `from ..= to`.
pub(crate) fn count_log_rows(connection: &Connection, from: i64, to: i64) -> Result<u64, StoreError> {
    let sql = format!("SELECT count(*) FROM main.{CHANGE_LOG_GLOBAL} WHERE id BETWEEN ?1 AND ?2");
    let rows: i64 = connection.prepare_cached(&sql)?.query_row([from, to], |row| row.get(0))?;
    Ok(rows as u64)
}

/// The same, but no more than `limit` are counted.
pub(crate) fn count_some_log_rows(
    connection: &Connection,
    from: i64,
    to: i64,
    limit: usize,
) -> Result<u64, StoreError> {
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM main.{CHANGE_LOG_GLOBAL} WHERE id BETWEEN ?1 AND ?2 LIMIT ?3)"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: i64 = connection.prepare_cached(&sql)?.query_row([from, to, limit], |row| row.get(0))?;
    Ok(rows as u64)
}

/// The greatest remote clock applied or log id trimmed (R4).
pub(crate) fn observed(connection: &Connection) -> Result<i64, StoreError> {
    one(connection, &format!("SELECT coalesce(max(observed), 0) FROM main.{CLOCK}"))
}

/// Raises it; never lowers it.
pub(crate) fn raise_observed(connection: &Connection, to: i64) -> Result<(), StoreError> {
    let sql = format!("UPDATE main.{CLOCK} SET observed = ?1 WHERE observed < ?1");
    connection.prepare_cached(&sql)?.execute([to])?;
    Ok(())
}

/// The published positions as saved (R6).
pub(crate) fn published(connection: &Connection) -> Result<PublishedPositions, StoreError> {
    let by_shard = collect(connection, &format!("SELECT shard, through FROM main.{PUBLISHED}"), |row| {
        Ok((shard_of(row, 0)?, position_of(row, 1)?))
    })?;
    let settled = LogPosition::new(mark(connection, key::SETTLED)?).unwrap_or_default();
    Ok(PublishedPositions { settled, by_shard })
}

/// Saves published positions; never lowers one. Gives whether anything moved.
pub(crate) fn save_published(
    connection: &Connection,
    positions: &PublishedPositions,
) -> Result<bool, StoreError> {
    let saved = published(connection)?;
    let mut moved = positions.settled > saved.settled;
    if moved {
        meta::write_integer(connection, key::SETTLED, positions.settled.get())?;
    }
    for (shard, through) in &positions.by_shard {
        if saved.by_shard.get(shard).is_none_or(|saved| saved < through) {
            let sql = format!("INSERT OR REPLACE INTO main.{PUBLISHED}(shard, through) VALUES(?1, ?2)");
            connection.prepare_cached(&sql)?.execute(params![shard.get(), through.get()])?;
            moved = true;
        }
    }
    Ok(moved)
}

/// How far `origin`'s chain on `shard` is applied here.
pub(crate) fn position(
    connection: &Connection,
    origin: i64,
    shard: Shard,
) -> Result<LogPosition, StoreError> {
    let sql = format!("SELECT through FROM main.{POSITION} WHERE origin = ?1 AND shard = ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let through = statement.query_row(params![origin, shard.get()], |row| row.get(0)).optional()?;
    Ok(through.and_then(LogPosition::new).unwrap_or_default())
}

/// Moves it.
pub(crate) fn set_position(
    connection: &Connection,
    origin: i64,
    shard: Shard,
    through: LogPosition,
) -> Result<(), StoreError> {
    let sql = format!("INSERT OR REPLACE INTO main.{POSITION}(origin, shard, through) VALUES(?1, ?2, ?3)");
    connection.prepare_cached(&sql)?.execute(params![origin, shard.get(), through.get()])?;
    Ok(())
}

/// Saves a checkpoint and counts `rows_applied` on.
pub(crate) fn save_checkpoint(
    connection: &Connection,
    source: &SourceId,
    checkpoint: &Checkpoint,
    rows_applied: u64,
) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO main.{CHECKPOINT}(source, stream_id, sequence, mark, rows_applied) VALUES(?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT(source) DO UPDATE SET stream_id = excluded.stream_id, sequence = excluded.sequence, \
         mark = excluded.mark, rows_applied = rows_applied + excluded.rows_applied"
    );
    connection.prepare_cached(&sql)?.execute(params![
        source.0,
        checkpoint.stream_id,
        checkpoint.sequence.0 as i64,
        checkpoint.mark.0 as i64,
        rows_applied as i64,
    ])?;
    Ok(())
}

/// Counts rows of a source whose checkpoint stays where it is, be it before the first message.
pub(crate) fn count_rows_applied(
    connection: &Connection,
    source: &SourceId,
    rows: u64,
) -> Result<(), StoreError> {
    if rows == 0 {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO main.{CHECKPOINT}(source, stream_id, sequence, mark, rows_applied) VALUES(?1, '', 0, 0, ?2) \
         ON CONFLICT(source) DO UPDATE SET rows_applied = rows_applied + excluded.rows_applied"
    );
    connection.prepare_cached(&sql)?.execute(params![source.0, rows as i64])?;
    Ok(())
}

/// The sources of `wanted` whose saved checkpoint is another.
pub(crate) fn moved_checkpoints<'w>(
    connection: &Connection,
    wanted: &'w BTreeMap<SourceId, Checkpoint>,
) -> Result<Vec<(&'w SourceId, &'w Checkpoint)>, StoreError> {
    let saved = checkpoints(connection)?;
    let same = |a: &Checkpoint, b: &Checkpoint| {
        (&a.stream_id, a.sequence, a.mark) == (&b.stream_id, b.sequence, b.mark)
    };
    let moved =
        |(source, wanted): &(&SourceId, &Checkpoint)| !saved.get(*source).is_some_and(|s| same(s, wanted));
    Ok(wanted.iter().filter(moved).collect())
}

fn checkpoints(connection: &Connection) -> Result<BTreeMap<SourceId, Checkpoint>, StoreError> {
    let sql = format!("SELECT source, stream_id, sequence, mark, rows_applied FROM main.{CHECKPOINT}");
    collect(connection, &sql, |row| {
        let checkpoint = Checkpoint {
            stream_id: row.get(1)?,
            sequence: StreamSequence(unsigned(row, 2)?),
            mark: FrameMark(unsigned(row, 3)?),
            rows_applied: unsigned(row, 4)?,
        };
        Ok((SourceId(row.get(0)?), checkpoint))
    })
}

fn positions(connection: &Connection) -> Result<BTreeMap<(Origin, Shard), LogPosition>, StoreError> {
    let origins = Origins::new(connection);
    collect(connection, &format!("SELECT origin, shard, through FROM main.{POSITION}"), |row| {
        Ok(((origins.origin(row.get(0)?)?, shard_of(row, 1)?), position_of(row, 2)?))
    })
}

fn baseline(connection: &Connection) -> Result<BTreeMap<String, u64>, StoreError> {
    let sql = format!("SELECT table_name, digest FROM main.{BASELINE}");
    collect(connection, &sql, |row| Ok((row.get(0)?, unsigned(row, 1)?)))
}

fn collect<K: Ord, V>(
    connection: &Connection,
    sql: &str,
    read: impl Fn(&Row<'_>) -> Result<(K, V), StoreError>,
) -> Result<BTreeMap<K, V>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (name, value) = read(row)?;
        found.insert(name, value);
    }
    Ok(found)
}

fn count(connection: &Connection, table: &str) -> Result<u64, StoreError> {
    let rows: i64 = one(connection, &format!("SELECT count(*) FROM main.{table}"))?;
    Ok(rows as u64)
}

fn one<T: FromSql>(connection: &Connection, sql: &str) -> Result<T, StoreError> {
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// SQLite has signed integers only: digests and the like are kept as the same 64 bits.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|bits| bits as u64)
}

fn shard_of(row: &Row<'_>, column: usize) -> Result<Shard, StoreError> {
    let number: u16 = row.get(column)?;
    Shard::new(number).ok_or_else(|| StoreError::new(StoreErrorKind::Damaged, "a shard has the number 0"))
}

fn position_of(row: &Row<'_>, column: usize) -> Result<LogPosition, StoreError> {
    let raw: i64 = row.get(column)?;
    LogPosition::new(raw)
        .ok_or_else(|| StoreError::new(StoreErrorKind::Damaged, format!("negative log position {raw}")))
}
