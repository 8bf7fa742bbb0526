//! What the application's schema is, from SQLite's own pragmas; no SQL is parsed here.
//!
//! Runs inside the caller's transaction. A table that cannot be replicated is a report with a reason, never an error.

use std::sync::Arc;

use harmonylite_core::input::TableReport;
use harmonylite_core::model::{Collation, Column, TableSchema, UniqueIndex, UniqueIndexKind};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use crate::catalog::{Catalog, Table};
use crate::error::{StoreError, StoreErrorKind};
use crate::identifier::{PREFIX, quote};

/// Why a table cannot be replicated, or an error that has nothing to do with the table.
enum Refusal {
    Reason(String),
    Error(StoreError),
}

impl<E: Into<StoreError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// Reads the whole schema.
pub(crate) fn read_catalog(connection: &Connection) -> Result<Catalog, StoreError> {
    let mut catalog = Catalog { schema_version: schema_version(connection)?, ..Catalog::default() };
    let listed = list_tables(connection)?;
    let opaque = unknown_virtual_tables(connection, &listed)?;
    for entry in &listed {
        let owner = opaque.iter().find(|owner| is_shadow_of(&entry.name, owner));
        let described = match (entry.kind.as_str(), owner) {
            ("virtual", _) => Err(Refusal::Reason("a virtual table stores no rows of its own".to_owned())),
            (_, Some(owner)) => Err(Refusal::Reason(format!(
                "may belong to the virtual table {owner:?}, whose module is not known here"
            ))),
            (_, None) => describe(connection, entry),
        };
        match described {
            Ok(schema) => add(&mut catalog, Table::new(schema)),
            Err(Refusal::Reason(reason)) => {
                catalog.reports.push(TableReport {
                    name: entry.name.clone(),
                    refused: Some(reason),
                    notes: vec![],
                });
            }
            Err(Refusal::Error(error)) => return Err(error),
        }
    }
    Ok(catalog)
}

/// `PRAGMA schema_version`: moves with every change of the schema, ours included.
pub(crate) fn schema_version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.query_row("PRAGMA main.schema_version", [], |row| row.get(0))?)
}

fn add(catalog: &mut Catalog, table: Table) {
    catalog.reports.push(TableReport {
        name: table.schema.name.clone(),
        refused: None,
        notes: notes(&table.schema),
    });
    catalog.tables.insert(table.schema.name.clone(), Arc::new(table));
}

/// What an operator should know of a table that is replicated.
fn notes(schema: &TableSchema) -> Vec<String> {
    let mut notes = Vec::new();
    if schema.key_may_be_null() {
        notes.push("the key may be NULL: rows whose key is NULL are not replicated".to_owned());
    }
    for index in &schema.unique {
        if matches!(index.kind, UniqueIndexKind::Text(_)) {
            notes.push(format!(
                "a row that OR REPLACE removes over the partial, expression or generated-column index {:?} is \
                 found by the scan, not at once",
                index.name
            ));
        }
    }
    notes
}

/// A table as `PRAGMA table_list` shows it.
struct Listed {
    name: String,
    kind: String,
    without_rowid: bool,
    strict: bool,
}

/// Tables and virtual tables of the application, by name. Views, shadow tables, and SQLite's and our own are left out.
fn list_tables(connection: &Connection) -> Result<Vec<Listed>, StoreError> {
    let mut listed = rows(connection, "PRAGMA main.table_list", |row| {
        Ok((
            text(row, 0)?,
            Listed {
                name: text(row, 1)?,
                kind: text(row, 2)?,
                without_rowid: row.get(4)?,
                strict: row.get(5)?,
            },
        ))
    })?;
    listed.retain(|(schema, entry)| {
        schema == "main"
            && matches!(entry.kind.as_str(), "table" | "virtual")
            && !starts_with(&entry.name, "sqlite_")
            && !starts_with(&entry.name, PREFIX)
    });
    listed.sort_by(|a, b| a.1.name.cmp(&b.1.name));
    Ok(listed.into_iter().map(|(_, entry)| entry).collect())
}

/// SQLite compares names without the case of ASCII letters.
fn starts_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Virtual tables whose module this SQLite does not have: their shadow tables look like ordinary ones.
fn unknown_virtual_tables(connection: &Connection, listed: &[Listed]) -> Result<Vec<String>, StoreError> {
    let mut unknown = Vec::new();
    for entry in listed.iter().filter(|entry| entry.kind == "virtual") {
        if why_not(connection, &format!("SELECT * FROM main.{}", quote(&entry.name)))?.is_some() {
            unknown.push(entry.name.clone());
        }
    }
    Ok(unknown)
}

fn is_shadow_of(name: &str, owner: &str) -> bool {
    starts_with(name, owner) && name[owner.len()..].starts_with('_')
}

/// The shape of an ordinary table.
fn describe(connection: &Connection, entry: &Listed) -> Result<TableSchema, Refusal> {
    let stored = read_columns(connection, &entry.name)?;
    let indexes = read_indexes(connection, &entry.name)?;
    let mut schema = TableSchema {
        name: entry.name.clone(),
        columns: stored.iter().map(|found| found.column.clone()).collect(),
        key: vec![],
        key_collations: vec![],
        rowid_alias: false,
        without_rowid: entry.without_rowid,
        strict: entry.strict,
        unique: vec![],
    };
    read_key(&mut schema, &stored, &indexes)?;
    for index in indexes.iter().filter(|index| index.unique && index.origin != "pk") {
        schema.unique.push(unique_index(connection, index, &stored)?);
    }
    schema.unique.sort_by(|a, b| a.name.cmp(&b.name));
    check_statements(connection, &schema)?;
    Ok(schema)
}

/// A stored column with its place in the table.
struct Stored {
    cid: i64,
    in_key: bool,
    column: Column,
}

fn read_columns(connection: &Connection, table: &str) -> Result<Vec<Stored>, Refusal> {
    let sql = format!("PRAGMA main.table_xinfo({})", quote(table));
    let listed = rows(connection, &sql, |row| {
        let hidden: i64 = row.get(6)?;
        let found = (row.get(0)?, text(row, 1)?, text(row, 2)?, row.get(3)?, row.get::<_, i64>(5)? > 0);
        Ok((hidden == 0).then_some(found))
    })?;
    let mut stored = Vec::new();
    for (cid, name, declared_type, not_null, in_key) in listed.into_iter().flatten() {
        let collation = column_collation(connection, table, &name)?;
        stored.push(Stored { cid, in_key, column: Column { name, declared_type, not_null, collation } });
    }
    Ok(stored)
}

fn column_collation(connection: &Connection, table: &str, column: &str) -> Result<Collation, Refusal> {
    let (_, collation, ..) = connection.column_metadata(Some("main"), table, column)?;
    let name = collation.map_or_else(|| "BINARY".into(), |name| name.to_string_lossy());
    Collation::from_name(&name).ok_or_else(|| {
        Refusal::Reason(format!(
            "column {column:?} has the collation {name}, which only the application knows"
        ))
    })
}

/// An index with its key columns: (place of the column in the table, negative for an expression; collation).
struct Index {
    name: String,
    unique: bool,
    origin: String,
    partial: bool,
    columns: Vec<(i64, Collation)>,
}

fn read_indexes(connection: &Connection, table: &str) -> Result<Vec<Index>, Refusal> {
    let sql = format!("PRAGMA main.index_list({})", quote(table));
    let listed = rows(connection, &sql, |row| {
        Ok((text(row, 1)?, row.get::<_, bool>(2)?, text(row, 3)?, row.get::<_, bool>(4)?))
    })?;
    let mut indexes = Vec::new();
    for (name, unique, origin, partial) in listed {
        let columns = index_columns(connection, &name)?;
        indexes.push(Index { name, unique, origin, partial, columns });
    }
    Ok(indexes)
}

fn index_columns(connection: &Connection, index: &str) -> Result<Vec<(i64, Collation)>, Refusal> {
    let sql = format!("PRAGMA main.index_xinfo({})", quote(index));
    let listed =
        rows(connection, &sql, |row| Ok((row.get::<_, i64>(1)?, text(row, 4)?, row.get::<_, bool>(5)?)))?;
    let mut columns = Vec::new();
    for (cid, name, _) in listed.into_iter().filter(|(.., is_key)| *is_key) {
        let collation = Collation::from_name(&name).ok_or_else(|| {
            Refusal::Reason(format!(
                "index {index:?} has the collation {name}, which only the application knows"
            ))
        })?;
        columns.push((cid, collation));
    }
    Ok(columns)
}

/// The key: that of the index that SQLite made for it. None was made for `INTEGER PRIMARY KEY`, the rowid itself
/// (but one was for `INTEGER PRIMARY KEY DESC`, which is an ordinary column).
fn read_key(schema: &mut TableSchema, stored: &[Stored], indexes: &[Index]) -> Result<(), Refusal> {
    let place = |cid: i64| stored.iter().position(|found| found.cid == cid);
    let key: Vec<(usize, Collation)> = match indexes.iter().find(|index| index.origin == "pk") {
        Some(index) => {
            index.columns.iter().filter_map(|(cid, collation)| Some((place(*cid)?, *collation))).collect()
        }
        None => {
            let alias = stored.iter().position(|found| found.in_key);
            alias.map(|index| (index, stored[index].column.collation)).into_iter().collect()
        }
    };
    for (index, collation) in key {
        if !schema.key.contains(&index) {
            schema.key.push(index);
            schema.key_collations.push(collation);
        }
    }
    schema.rowid_alias = !schema.without_rowid && indexes.iter().all(|index| index.origin != "pk");
    if schema.key.is_empty() {
        return Err(Refusal::Reason(
            "no primary key: its rows cannot be told apart on other nodes (the rowid does not survive VACUUM)"
                .to_owned(),
        ));
    }
    Ok(())
}

fn unique_index(
    connection: &Connection,
    index: &Index,
    stored: &[Stored],
) -> Result<UniqueIndex, StoreError> {
    let place = |cid: i64| stored.iter().position(|found| found.cid == cid);
    let plain: Option<Vec<_>> =
        index.columns.iter().map(|(cid, collation)| Some((place(*cid)?, *collation))).collect();
    let kind = match plain {
        Some(columns) if !index.partial => UniqueIndexKind::Plain(columns),
        _ => UniqueIndexKind::Text(index_text(connection, &index.name)?),
    };
    Ok(UniqueIndex { name: index.name.clone(), kind })
}

fn index_text(connection: &Connection, index: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT sql FROM main.sqlite_schema WHERE type = 'index' AND name = ?1";
    Ok(connection.query_row(sql, [index], |row| row.get(0))?)
}

/// Prepares what the log reader and the applier will run. A function or a collation that only the application has
/// shows itself here, wherever in the table it is used.
fn check_statements(connection: &Connection, schema: &TableSchema) -> Result<(), Refusal> {
    for sql in statements(schema) {
        if let Some(reason) = why_not(connection, &sql)? {
            return Err(Refusal::Reason(format!(
                "cannot be read or written from outside the application: {reason}"
            )));
        }
    }
    Ok(())
}

fn statements(schema: &TableSchema) -> [String; 3] {
    let table = quote(&schema.name);
    let names: Vec<String> = schema.columns.iter().map(|column| quote(&column.name)).collect();
    let key: Vec<&str> = schema.key.iter().map(|index| names[*index].as_str()).collect();
    let set: Vec<String> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
    let matches: Vec<String> = key.iter().map(|name| format!("{name} = ?")).collect();
    let (all, matches) = (names.join(", "), matches.join(" AND "));
    [
        format!("SELECT {all} FROM main.{table} WHERE {matches}"),
        format!("DELETE FROM main.{table} WHERE {matches}"),
        format!(
            "INSERT INTO main.{table}({all}) VALUES({}) ON CONFLICT({}) DO UPDATE SET {}",
            vec!["?"; names.len()].join(", "),
            key.join(", "),
            set.join(", ")
        ),
    ]
}

/// Why SQLite cannot prepare `sql`; `None` when it can. Trouble with the file is an error, not a reason.
pub(crate) fn why_not(connection: &Connection, sql: &str) -> Result<Option<String>, StoreError> {
    match connection.prepare(sql) {
        Ok(_) => Ok(None),
        Err(error) => {
            let text = match &error {
                rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
                other => other.to_string(),
            };
            let error = StoreError::from(error);
            if error.kind == StoreErrorKind::Sqlite { Ok(Some(text)) } else { Err(error) }
        }
    }
}

/// All rows of a pragma.
pub(crate) fn rows<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], read)?.collect::<rusqlite::Result<Vec<T>>>()?;
    Ok(rows)
}

/// A name. One that is not UTF-8 fits nothing afterwards, so its table is refused.
pub(crate) fn text(row: &Row<'_>, index: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(index)? {
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    })
}
