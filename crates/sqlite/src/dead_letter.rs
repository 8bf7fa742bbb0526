//! Dead letters: rows that could not be written, kept whole so that they can be tried again (G7).

use harmonylite_core::codec::BodyWriter;
use harmonylite_core::model::{RowChange, SourceId, Value};
use rusqlite::params;

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

fn body_of(letter: &DeadLetter<'_>) -> Result<Vec<u8>, StoreError> {
    let mut writer = BodyWriter::new(false);
    let pushed = writer.push(&letter.table.schema, letter.table.fingerprint, letter.change);
    let body = pushed.and_then(|()| writer.finish());
    body.map(|body| body.bytes).map_err(|error| {
        StoreError::new(StoreErrorKind::Sqlite, format!("a dead letter cannot be encoded: {error}"))
    })
}
