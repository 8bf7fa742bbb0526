//! The schema for people: every table with its fingerprint and all of its columns, generated ones too. Reads only.

use std::path::Path;

use harmonylite_core::schema::TableFingerprint;
use rusqlite::Connection;

use crate::catalog::Catalog;
use crate::connection;
use crate::error::StoreError;
use crate::identifier::quote;
use crate::introspect::{read_catalog, rows, text};

/// A table of the application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedTable {
    /// Its name.
    pub name: String,
    /// When it is replicated.
    pub fingerprint: Option<TableFingerprint>,
    /// Why it is not.
    pub refused: Option<String>,
    /// In the table's order; none of a table that is not replicated.
    pub columns: Vec<ListedColumn>,
}

/// A column, as `PRAGMA table_xinfo` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedColumn {
    /// Its name.
    pub name: String,
    /// The declared type, verbatim.
    pub declared_type: String,
    /// Declared NOT NULL.
    pub not_null: bool,
    /// Part of the primary key.
    pub in_key: bool,
}

/// The tables of the database at `path`, by name.
///
/// # Errors
/// When the database cannot be read.
pub fn schema(path: &Path) -> Result<Vec<ListedTable>, StoreError> {
    let mut connection = connection::open_read_only(path)?;
    let listed = connection.transaction().map_err(StoreError::from).and_then(|snapshot| {
        let catalog = read_catalog(&snapshot)?;
        catalog.reports.iter().map(|report| listed(&snapshot, &catalog, report)).collect()
    });
    listed.map_err(|error| error.at(path.display()))
}

fn listed(
    snapshot: &Connection,
    catalog: &Catalog,
    report: &harmonylite_core::input::TableReport,
) -> Result<ListedTable, StoreError> {
    let table = catalog.tables.get(&report.name);
    let columns = if table.is_some() { columns(snapshot, &report.name)? } else { Vec::new() };
    Ok(ListedTable {
        name: report.name.clone(),
        fingerprint: table.map(|table| table.fingerprint),
        refused: report.refused.clone(),
        columns,
    })
}

fn columns(snapshot: &Connection, table: &str) -> Result<Vec<ListedColumn>, StoreError> {
    rows(snapshot, &format!("PRAGMA main.table_xinfo({})", quote(table)), |row| {
        Ok(ListedColumn {
            name: text(row, 1)?,
            declared_type: text(row, 2)?,
            not_null: row.get(3)?,
            in_key: row.get::<_, i64>(5)? > 0,
        })
    })
}
