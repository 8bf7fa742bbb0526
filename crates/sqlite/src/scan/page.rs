//! One step's look at a table: the next rows beside their versions, then the next versions beside their rows.

use std::collections::HashSet;

use harmonylite_core::limits::SCAN_BYTES;
use harmonylite_core::model::{CanonicalKey, Value};
use rusqlite::types::ValueRef;

use super::finding::{Finding, judge};
use crate::catalog::Table;
use crate::change_log::each_log_row;
use crate::checkpoint::mark;
use crate::error::StoreError;
use crate::meta::{flag, key};
use crate::session::Session;
use crate::table_sql;
use crate::value::{bind, values_of};

/// The two halves of a pass over a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Half {
    /// Rows: are they what their versions say?
    Rows,
    /// Versions of rows that should be there: are they?
    Versions,
}

/// Where a pass stands in its table.
#[derive(Debug)]
pub(super) struct Place {
    /// Which half.
    pub(super) half: Half,
    /// The last key looked at.
    pub(super) after: Option<Vec<Value>>,
}

impl Place {
    /// Before the first row.
    pub(super) const START: Self = Self { half: Half::Rows, after: None };
}

/// What a look found.
#[derive(Default)]
pub(super) struct Page {
    /// Keys that differ in the snapshot of the look.
    pub(super) suspects: Vec<Vec<Value>>,
    /// The last key looked at; `None`: that was the end of the half.
    pub(super) last: Option<Vec<Value>>,
}

/// Looks at `limit` rows or versions from `place` on, in the transaction that is open.
pub(super) fn read(
    session: &Session<'_>,
    table: &Table,
    place: &Place,
    enrolled: bool,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut page = match place.half {
        Half::Rows => rows(session, table, place.after.as_deref(), enrolled, limit)?,
        Half::Versions => versions(session, table, place.after.as_deref(), limit)?,
    };
    let pending = pending(session, table, &page.suspects)?;
    page.suspects.retain(|key| !pending.contains(&CanonicalKey::of(&table.schema, key)));
    Ok(page)
}

fn rows(
    session: &Session<'_>,
    table: &Table,
    after: Option<&[Value]>,
    enrolled: bool,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let (mut count, mut bytes) = (0, 0);
    let mut stored = session.rows(table);
    let sql = table_sql::page_of_rows(table, after.is_some(), limit);
    let mut statement = session.connection.prepare_cached(&sql)?;
    bind(&mut statement, 1, after.unwrap_or_default())?;
    let mut found = statement.raw_query();
    while let Some(row) = found.next()? {
        let key = table.schema.key.iter().map(|&index| value(row, index)).collect::<Result<Vec<_>, _>>()?;
        let digest = table.shape.digest_row(row)?;
        if judge(stored.stored(&key)?.as_ref(), Some(digest), enrolled) != Finding::Nothing {
            page.suspects.push(key.clone());
        }
        count += 1;
        bytes += size(row, table.schema.columns.len())?;
        if count == limit || bytes >= SCAN_BYTES {
            page.last = Some(key);
            return Ok(page);
        }
    }
    Ok(page)
}

fn versions(
    session: &Session<'_>,
    table: &Table,
    after: Option<&[Value]>,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let mut count = 0;
    let columns = table.schema.key.len();
    let mut stored = session.rows(table);
    let sql = table_sql::page_of_versions(table, after.is_some(), limit);
    let mut statement = session.connection.prepare_cached(&sql)?;
    bind(&mut statement, 1, after.unwrap_or_default())?;
    let mut found = statement.raw_query();
    while let Some(row) = found.next()? {
        let key = values_of(row, 0, columns)?;
        let flags: i64 = row.get(columns)?;
        if flags & flag::TOMBSTONE == 0 && !stored.exists(&key)? {
            page.suspects.push(key.clone());
        }
        count += 1;
        if count == limit {
            page.last = Some(key);
        }
    }
    Ok(page)
}

fn value(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<Value> {
    Ok(values_of(row, index, 1)?.pop().unwrap_or(Value::Null))
}

fn size(row: &rusqlite::Row<'_>, columns: usize) -> rusqlite::Result<usize> {
    let mut size = 0;
    for index in 0..columns {
        size += match row.get_ref(index)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
            _ => size_of::<i64>(),
        };
    }
    Ok(size)
}

/// Those of `keys` that have log rows without stamp: they differ from their versions because nobody has given them
/// the new one yet.
pub(super) fn pending(
    session: &Session<'_>,
    table: &Table,
    keys: &[Vec<Value>],
) -> Result<HashSet<CanonicalKey>, StoreError> {
    let mut pending = HashSet::new();
    if keys.is_empty() {
        return Ok(pending);
    }
    let wanted: HashSet<CanonicalKey> = keys.iter().map(|key| CanonicalKey::of(&table.schema, key)).collect();
    let stamped = mark(session.connection, key::STAMPED)?;
    each_log_row(session, table, stamped, i64::MAX, |_, _, key| {
        let canonical = CanonicalKey::of(&table.schema, &key);
        if wanted.contains(&canonical) {
            pending.insert(canonical);
        }
    })?;
    Ok(pending)
}
