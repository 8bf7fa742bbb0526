//! A digest of the rows that were there before the first start. They are not sent by themselves, so nodes compare.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use xxhash_rust::xxh3::Xxh3;

use crate::catalog::{Catalog, Table};
use crate::error::StoreError;
use crate::identifier::quote;
use crate::meta::BASELINE;

/// The digest of every table that has rows, but at most `rows_max`, by name.
pub(crate) fn read(
    connection: &Connection,
    catalog: &Catalog,
    rows_max: u64,
) -> Result<Vec<(String, u64)>, StoreError> {
    let mut digests = Vec::new();
    for (name, table) in &catalog.tables {
        if let Some(digest) = digest(connection, table, rows_max)? {
            digests.push((name.clone(), digest));
        }
    }
    Ok(digests)
}

/// Stores digests.
pub(crate) fn record(connection: &Connection, digests: &[(String, u64)]) -> Result<(), StoreError> {
    let sql = format!("INSERT INTO main.{}(table_name, digest) VALUES(?1, ?2)", quote(BASELINE));
    for (name, digest) in digests {
        connection.execute(&sql, rusqlite::params![name, digest.cast_signed()])?;
    }
    Ok(())
}

/// The sum of the hashes of all replicated rows, so that their order does not count; `None` without rows, or with more
/// than `rows_max`.
///
/// A row is its values by column name, each with name, storage class and bytes.
fn digest(connection: &Connection, table: &Table, rows_max: u64) -> Result<Option<u64>, StoreError> {
    let mut columns: Vec<&str> = table.schema.columns.iter().map(|column| column.name.as_str()).collect();
    columns.sort_unstable();
    let mut statement = connection.prepare(&select(table, &columns))?;
    let mut rows = statement.query([])?;
    let (mut sum, mut count) = (0u64, 0u64);
    while let Some(row) = rows.next()? {
        sum = sum.wrapping_add(hash(row, &columns)?);
        count += 1;
        if count > rows_max {
            return Ok(None);
        }
    }
    Ok((count > 0).then_some(sum))
}

fn select(table: &Table, columns: &[&str]) -> String {
    let names: Vec<String> = columns.iter().map(|name| quote(name)).collect();
    let keys = table.schema.key.iter().map(|index| &table.schema.columns[*index].name);
    let not_null: Vec<String> = keys.map(|name| format!("{} IS NOT NULL", quote(name))).collect();
    format!("SELECT {} FROM main.{} WHERE {}", names.join(", "), table.name, not_null.join(" AND "))
}

fn hash(row: &Row<'_>, columns: &[&str]) -> Result<u64, StoreError> {
    let mut hash = Xxh3::new();
    for (index, name) in columns.iter().enumerate() {
        sized(&mut hash, b'n', name.as_bytes());
        match row.get_ref(index)? {
            ValueRef::Null => sized(&mut hash, b'0', &[]),
            ValueRef::Integer(integer) => sized(&mut hash, b'i', &integer.to_le_bytes()),
            ValueRef::Real(real) => sized(&mut hash, b'r', &real.to_bits().to_le_bytes()),
            ValueRef::Text(bytes) => sized(&mut hash, b't', bytes),
            ValueRef::Blob(bytes) => sized(&mut hash, b'b', bytes),
        }
    }
    Ok(hash.digest())
}

/// The class and the length keep ("ab", "c") apart from ("a", "bc"), and 1 from '1'.
fn sized(hash: &mut Xxh3, class: u8, bytes: &[u8]) {
    hash.update(&[class]);
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}
