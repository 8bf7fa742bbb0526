//! The conflict log: values that lost, readable for people (G6, R5).

use harmonylite_core::conflict::Version;
use harmonylite_core::model::Value;
use harmonylite_core::planted::{Bug, is_planted};
use rusqlite::params;

use crate::catalog::Table;
use crate::error::StoreError;
use crate::meta::CONFLICT_LOG;
use crate::session::Session;
use crate::value::json_of;

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
        "INSERT INTO main.{CONFLICT_LOG}(at_ms, table_name, key, reason, loser_hlc, loser_node, loser_incarnation, \
         winner_hlc, winner_node, winner_incarnation, row) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
    );
    let columns = loss.table.schema.columns.iter().map(|column| column.name.as_str());
    session.connection.prepare_cached(&sql)?.execute(params![
        now_ms as i64,
        loss.table.schema.name,
        key_json(loss.table, loss.key),
        loss.reason.name(),
        loss.loser.hlc.get(),
        loss.loser.origin.raw_node() as i64,
        loss.loser.origin.raw_incarnation() as i64,
        loss.winner.hlc.get(),
        loss.winner.origin.raw_node() as i64,
        loss.winner.origin.raw_incarnation() as i64,
        loss.row.map(|row| json_of(columns.zip(row))),
    ])?;
    Ok(())
}

/// A key, readable.
pub(crate) fn key_json(table: &Table, key: &[Value]) -> String {
    let columns = table.schema.key.iter().map(|&index| table.schema.columns[index].name.as_str());
    json_of(columns.zip(key))
}
