//! What people look at, with or without a running node: the conflict log and the dead letters, over a connection of its
//! own that reads one snapshot and never writes.

use std::path::Path;

use harmonylite_core::codec::{TableChanges, decode_body};
use harmonylite_core::conflict::Version;
use harmonylite_core::model::{Hlc, Origin, RowContent};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use crate::connection;
use crate::dead_letter::kept_body;
use crate::error::{StoreError, StoreErrorKind};
use crate::meta::{self, CONFLICT_LOG, DEAD_LETTER};
use crate::value::literal;

/// Columns with their values as SQL literals, in the table's order.
pub type Fields = Vec<(String, String)>;

/// An entry of the conflict log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// Its number.
    pub id: i64,
    /// When it was noticed here, in milliseconds since the epoch.
    pub at_ms: u64,
    /// The table, as it was called then.
    pub table: String,
    /// The key of the row that lost.
    pub key: Fields,
    /// `overwritten` or `displaced`.
    pub reason: String,
    /// The version that lost.
    pub loser: Version,
    /// The version that it lost to.
    pub winner: Version,
    /// The row that lost; `None` when it was a delete.
    pub row: Option<Fields>,
    /// When that row came back, if it was displaced and did.
    pub restored_ms: Option<u64>,
}

/// Entries of the conflict log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflicts {
    /// How many there are.
    pub total: u64,
    /// The newest ones, newest first.
    pub entries: Vec<Conflict>,
}

/// A row that could not be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// Its number.
    pub id: i64,
    /// When it was first tried, in milliseconds since the epoch.
    pub at_ms: u64,
    /// When it was last tried again.
    pub tried_ms: Option<u64>,
    /// The source that brought it.
    pub source: String,
    /// Its table.
    pub table: String,
    /// Its key.
    pub key: Fields,
    /// Why it could not be written.
    pub error: String,
    /// The clock of the change.
    pub hlc: Hlc,
    /// Who wrote it.
    pub origin: Origin,
}

/// The newest `limit` entries of the conflict log of the database at `path`, of `table` or of all tables.
///
/// # Errors
/// When the database cannot be read, or no node ever ran on it.
pub fn conflicts(path: &Path, table: Option<&str>, limit: u64) -> Result<Conflicts, StoreError> {
    looking(path, |snapshot| {
        let filter = "(?1 IS NULL OR table_name = ?1)";
        let sql = format!("SELECT count(*) FROM main.{CONFLICT_LOG} WHERE {filter}");
        let total: i64 = snapshot.query_row(&sql, [table], |row| row.get(0))?;
        let sql = format!(
            "SELECT {CONFLICT_COLUMNS} FROM main.{CONFLICT_LOG} WHERE {filter} ORDER BY id DESC LIMIT ?2"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let entries = collect(snapshot, &sql, params![table, limit], conflict_of)?;
        Ok(Conflicts { total: total.unsigned_abs(), entries })
    })
}

/// The entry `id` of the conflict log of the database at `path`.
///
/// # Errors
/// As for [`conflicts`].
pub fn conflict(path: &Path, id: i64) -> Result<Option<Conflict>, StoreError> {
    looking(path, |snapshot| {
        let sql = format!("SELECT {CONFLICT_COLUMNS} FROM main.{CONFLICT_LOG} WHERE id = ?1");
        Ok(collect(snapshot, &sql, [id], conflict_of)?.pop())
    })
}

/// The dead letters of the database at `path`, oldest first.
///
/// # Errors
/// As for [`conflicts`].
pub fn dead_letters(path: &Path) -> Result<Vec<DeadLetter>, StoreError> {
    looking(path, |snapshot| {
        let sql = format!("SELECT {LETTER_COLUMNS} FROM main.{DEAD_LETTER} ORDER BY id");
        collect(snapshot, &sql, [], letter_of)
    })
}

/// The dead letter `id` of the database at `path`, and the row that it would write; `None` for one that it would delete.
///
/// # Errors
/// As for [`conflicts`].
pub fn dead_letter(path: &Path, id: i64) -> Result<Option<(DeadLetter, Option<Fields>)>, StoreError> {
    looking(path, |snapshot| {
        let sql = format!("SELECT {LETTER_COLUMNS} FROM main.{DEAD_LETTER} WHERE id = ?1");
        let Some(letter) = collect(snapshot, &sql, [id], letter_of)?.pop() else { return Ok(None) };
        let sql = format!("SELECT body FROM main.{DEAD_LETTER} WHERE id = ?1");
        let body: Option<Vec<u8>> = snapshot.query_row(&sql, [id], |row| row.get(0)).optional()?;
        Ok(Some((letter, row_of(body.unwrap_or_default())?)))
    })
}

const CONFLICT_COLUMNS: &str = "id, at_ms, table_name, key, reason, \
     loser_hlc, loser_node, loser_incarnation, loser_displaced, \
     winner_hlc, winner_node, winner_incarnation, winner_displaced, row, restored_ms";

fn conflict_of(snapshot: &Connection, row: &Row<'_>) -> Result<Conflict, StoreError> {
    let values: Option<String> = row.get(13)?;
    Ok(Conflict {
        id: row.get(0)?,
        at_ms: row.get::<_, i64>(1)?.unsigned_abs(),
        table: row.get(2)?,
        key: fields(snapshot, &row.get::<_, String>(3)?)?,
        reason: row.get(4)?,
        loser: version_of(row, 5)?,
        winner: version_of(row, 9)?,
        row: values.map(|values| fields(snapshot, &values)).transpose()?,
        restored_ms: row.get::<_, Option<i64>>(14)?.map(i64::unsigned_abs),
    })
}

const LETTER_COLUMNS: &str = "id, at_ms, tried_ms, source, table_name, key, error, hlc, node_id, incarnation";

fn letter_of(snapshot: &Connection, row: &Row<'_>) -> Result<DeadLetter, StoreError> {
    Ok(DeadLetter {
        id: row.get(0)?,
        at_ms: row.get::<_, i64>(1)?.unsigned_abs(),
        tried_ms: row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs),
        source: row.get(3)?,
        table: row.get(4)?,
        key: fields(snapshot, &row.get::<_, String>(5)?)?,
        error: row.get(6)?,
        hlc: Hlc::new(row.get(7)?).unwrap_or_default(),
        origin: origin_of(row, 8)?,
    })
}

/// Columns `first ..`: clock, node, incarnation, displaced.
fn version_of(row: &Row<'_>, first: usize) -> Result<Version, StoreError> {
    Ok(Version {
        hlc: Hlc::new(row.get(first)?).unwrap_or_default(),
        origin: origin_of(row, first + 1)?,
        displaced: row.get(first + 3)?,
    })
}

/// A row that was never written since our tables were made has no origin.
fn origin_of(row: &Row<'_>, first: usize) -> Result<Origin, StoreError> {
    let (node, incarnation): (i64, i64) = (row.get(first)?, row.get(first + 1)?);
    Ok(Origin::from_raw(node.cast_unsigned(), incarnation.cast_unsigned()).unwrap_or(Origin::NONE))
}

/// The members of a JSON object of strings.
fn fields(snapshot: &Connection, json: &str) -> Result<Fields, StoreError> {
    let mut statement = snapshot.prepare_cached("SELECT key, value FROM json_each(?1)")?;
    let fields = statement.query_map([json], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(fields.collect::<Result<_, _>>()?)
}

fn row_of(body: Vec<u8>) -> Result<Option<Fields>, StoreError> {
    let unreadable = |reason: String| {
        StoreError::new(StoreErrorKind::Damaged, format!("the dead letter cannot be decoded: {reason}"))
    };
    let body = kept_body(body);
    let decoded = decode_body(&body.bytes, body.compressed, body.raw_size);
    let section = decoded.map_err(|error| unreadable(error.to_string()))?.tables.pop();
    let TableChanges { columns, mut rows, .. } =
        section.ok_or_else(|| unreadable("it is empty".to_owned()))?;
    match rows.pop().map(|row| row.content) {
        Some(RowContent::Upsert(values)) => {
            Ok(Some(columns.into_iter().zip(values.iter().map(literal)).collect()))
        }
        Some(RowContent::Delete(_)) => Ok(None),
        None => Err(unreadable("it has no row".to_owned())),
    }
}

fn looking<T>(
    path: &Path,
    look: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut connection = connection::open_read_only(path)?;
    let looked = connection.transaction().map_err(StoreError::from).and_then(|snapshot| {
        meta::require_ours(&snapshot)?;
        look(&snapshot)
    });
    looked.map_err(|error| error.at(path.display()))
}

fn collect<T>(
    snapshot: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl Fn(&Connection, &Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = snapshot.prepare(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(snapshot, row)?);
    }
    Ok(found)
}
