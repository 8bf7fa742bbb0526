//! Dead letters: rows that could not be written, kept whole so that they can be tried again (G7).

use harmonylite_core::codec::BodyWriter;
use harmonylite_core::effect::ReceivedBody;
use harmonylite_core::model::{RowChange, SourceId, Value};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::catalog::Table;
use crate::conflict_log::key_json;
use crate::error::{StoreError, StoreErrorKind};
use crate::meta::DEAD_LETTER;
use crate::session::Session;

/// A row that could not be written, and why.
pub(crate) struct DeadLetter<'a> {
    pub(crate) source: &'a SourceId,
    pub(crate) table: &'a Table,
    pub(crate) key: &'a [Value],
    /// The change, its values in the order of our columns.
    pub(crate) change: &'a RowChange,
    pub(crate) error: String,
}

/// Puts it among the dead letters, encoded as a body of one row.
pub(crate) fn keep(session: &Session<'_>, now_ms: u64, letter: &DeadLetter<'_>) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO main.{DEAD_LETTER}(at_ms, source, table_name, key, error, hlc, node_id, incarnation, body) \
         VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    );
    let origin = letter.change.origin();
    session.connection.prepare_cached(&sql)?.execute(params![
        now_ms as i64,
        letter.source.0,
        letter.table.schema.name,
        key_json(letter.table, letter.key),
        letter.error,
        letter.change.hlc().get(),
        origin.raw_node() as i64,
        origin.raw_incarnation() as i64,
        body_of(letter)?,
    ])?;
    Ok(())
}

/// A dead letter as it is kept.
pub(crate) struct KeptLetter {
    pub(crate) source: SourceId,
    pub(crate) table: String,
    /// One row.
    pub(crate) body: ReceivedBody,
}

/// The dead letter `id`, if it is there.
pub(crate) fn read(connection: &Connection, id: i64) -> Result<Option<KeptLetter>, StoreError> {
    let sql = format!("SELECT source, table_name, body FROM main.{DEAD_LETTER} WHERE id = ?1");
    let letter = connection.prepare_cached(&sql)?.query_row([id], |row| {
        let bytes: Vec<u8> = row.get(2)?;
        Ok(KeptLetter { source: SourceId(row.get(0)?), table: row.get(1)?, body: kept_body(bytes) })
    });
    Ok(letter.optional()?)
}

/// A body as [`keep`] stores it.
pub(crate) fn kept_body(bytes: Vec<u8>) -> ReceivedBody {
    let raw_size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    ReceivedBody { bytes, compressed: false, raw_size }
}

/// It was tried again and stays, with why.
pub(crate) fn keep_on(connection: &Connection, id: i64, now_ms: u64, error: &str) -> Result<(), StoreError> {
    let sql = format!("UPDATE main.{DEAD_LETTER} SET error = ?2, tried_ms = ?3 WHERE id = ?1");
    connection.prepare_cached(&sql)?.execute(params![id, error, now_ms as i64])?;
    Ok(())
}

/// Why it could not be written.
pub(crate) fn error(connection: &Connection, id: i64) -> Result<String, StoreError> {
    let sql = format!("SELECT error FROM main.{DEAD_LETTER} WHERE id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id], |row| row.get(0))?)
}

/// Takes it out; gives whether it was there.
pub(crate) fn remove(connection: &Connection, id: i64) -> Result<bool, StoreError> {
    let sql = format!("DELETE FROM main.{DEAD_LETTER} WHERE id = ?1");
    Ok(connection.prepare_cached(&sql)?.execute([id])? > 0)
}

fn body_of(letter: &DeadLetter<'_>) -> Result<Vec<u8>, StoreError> {
    let mut writer = BodyWriter::new(false);
    let pushed = writer.push(&letter.table.schema, letter.table.fingerprint, letter.change);
    let body = pushed.and_then(|()| writer.finish());
    body.map(|body| body.bytes).map_err(|error| {
        StoreError::new(StoreErrorKind::Sqlite, format!("a dead letter cannot be encoded: {error}"))
    })
}
