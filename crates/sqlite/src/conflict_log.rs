//! The conflict log: values that lost, readable for people (G6, R5), marked when their row comes back (R1), and bounded.

use harmonylite_core::conflict::Version;
use harmonylite_core::model::{CanonicalKey, Hlc, Value};
use harmonylite_core::planted::{Bug, is_planted};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::catalog::Table;
use crate::error::StoreError;
use crate::limits::ConflictRetention;
use crate::meta::CONFLICT_LOG;
use crate::session::Session;
use crate::value::json_of;

/// Bytes of rows that one commit trims at most, by and large: giving many pages back takes its time (G1).
const TRIM_BYTES: i64 = 4 << 20;

/// Why a value lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// A greater version, whose writer had not seen it, took its place.
    Overwritten,
    /// Another row with a greater version has the same UNIQUE value (R1).
    Displaced,
}

impl Reason {
    const fn name(self) -> &'static str {
        match self {
            Self::Overwritten => "overwritten",
            Self::Displaced => "displaced",
        }
    }
}

/// A value that lost, and to what.
pub(crate) struct Loss<'a> {
    pub(crate) table: &'a Table,
    pub(crate) key: &'a [Value],
    pub(crate) reason: Reason,
    pub(crate) loser: Version,
    pub(crate) winner: Version,
    /// The stored columns of the row that lost, in the schema's order; `None` when what lost is a delete.
    pub(crate) row: Option<&'a [Value]>,
}

/// Puts a loss into the conflict log.
pub(crate) fn log_loss(session: &Session<'_>, now_ms: u64, loss: &Loss<'_>) -> Result<(), StoreError> {
    if is_planted(Bug::ConflictNotLogged) {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO main.{CONFLICT_LOG}(at_ms, table_name, key, reason, \
         loser_hlc, loser_node, loser_incarnation, loser_displaced, \
         winner_hlc, winner_node, winner_incarnation, winner_displaced, row, compared_key) \
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
    );
    let schema = &loss.table.schema;
    let columns = schema.columns.iter().map(|column| column.name.as_str());
    session.connection.prepare_cached(&sql)?.execute(params![
        now_ms as i64,
        schema.name,
        key_json(loss.table, loss.key),
        loss.reason.name(),
        loss.loser.hlc.get(),
        loss.loser.origin.raw_node() as i64,
        loss.loser.origin.raw_incarnation() as i64,
        loss.loser.displaced,
        loss.winner.hlc.get(),
        loss.winner.origin.raw_node() as i64,
        loss.winner.origin.raw_incarnation() as i64,
        loss.winner.displaced,
        loss.row.map(|row| json_of(columns.zip(row))),
        CanonicalKey::of(schema, loss.key).as_bytes(),
    ])?;
    Ok(())
}

/// A row that was gone is there again, with a version of this clock: its `displaced` entries are marked with the time
/// of that write.
pub(crate) fn mark_restored(
    session: &Session<'_>,
    table: &Table,
    key: &[Value],
    written: Hlc,
) -> Result<(), StoreError> {
    let sql = format!(
        "UPDATE main.{CONFLICT_LOG} SET restored_ms = ?3 \
         WHERE table_name = ?1 AND compared_key = ?2 AND reason = 'displaced' AND restored_ms IS NULL"
    );
    let canonical = CanonicalKey::of(&table.schema, key);
    let mut update = session.connection.prepare_cached(&sql)?;
    update.execute(params![table.schema.name, canonical.as_bytes(), written.millis() as i64])?;
    Ok(())
}

/// A key, readable.
pub(crate) fn key_json(table: &Table, key: &[Value]) -> String {
    let columns = table.schema.key.iter().map(|&index| table.schema.columns[index].name.as_str());
    json_of(columns.zip(key))
}

/// What goes.
struct Expiry {
    /// Entries with an id up to here are too many.
    id: i64,
    /// Entries from before this time, in milliseconds, are too old.
    at_ms: i64,
}

impl Expiry {
    /// Ids rise by one, and entries go from the front only, so the greatest id tells how many there are.
    fn now(connection: &Connection, retention: &ConflictRetention, now_ms: u64) -> Result<Self, StoreError> {
        let sql = format!("SELECT coalesce(max(id), 0) FROM main.{CONFLICT_LOG}");
        let last: i64 = connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Ok(Self {
            id: retention.entries_max.map_or(0, |kept| last.saturating_sub(signed(kept))),
            at_ms: retention.age_ms_max.map_or(0, |age| signed(now_ms).saturating_sub(signed(age))),
        })
    }

    const fn holds(&self, id: i64, at_ms: i64) -> bool {
        id <= self.id || at_ms < self.at_ms
    }
}

/// Is there anything to trim?
pub(crate) fn is_overfull(
    connection: &Connection,
    retention: &ConflictRetention,
    now_ms: u64,
) -> Result<bool, StoreError> {
    let expiry = Expiry::now(connection, retention, now_ms)?;
    let sql = format!("SELECT id, at_ms FROM main.{CONFLICT_LOG} ORDER BY id LIMIT 1");
    let first =
        connection.prepare_cached(&sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(first.is_some_and(|(id, at_ms)| expiry.holds(id, at_ms)))
}

/// Deletes the oldest entries beyond `retention`, at most `limit`, and fewer when they are large.
///
/// It stops at the first entry that stays: one with a time in the future (the wall clock was set back) makes those
/// behind it wait, but their number is bounded all the same.
pub(crate) fn trim(session: &Session<'_>, now_ms: u64, limit: usize) -> Result<(), StoreError> {
    let connection = session.connection;
    let expiry = Expiry::now(connection, &session.retention, now_ms)?;
    // Octets: known without reading the row.
    let sql = format!(
        "SELECT id, at_ms, coalesce(octet_length(row), 0) FROM main.{CONFLICT_LOG} ORDER BY id LIMIT ?1"
    );
    let mut oldest = connection.prepare_cached(&sql)?;
    let mut rows = oldest.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let (mut cut, mut bytes) = (None, 0);
    while let Some(row) = rows.next()?.filter(|_| bytes < TRIM_BYTES) {
        let id = row.get(0)?;
        if !expiry.holds(id, row.get(1)?) {
            break;
        }
        cut = Some(id);
        bytes += row.get::<_, i64>(2)?;
    }
    drop(rows);
    if let Some(cut) = cut {
        let sql = format!("DELETE FROM main.{CONFLICT_LOG} WHERE id <= ?1");
        connection.prepare_cached(&sql)?.execute([cut])?;
    }
    Ok(())
}
