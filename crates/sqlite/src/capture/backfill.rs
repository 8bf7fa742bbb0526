//! Logs rows that no trigger logged, as if they were written now.

use harmonylite_core::model::Value;
use rusqlite::Connection;

use super::log_columns;
use crate::catalog::Table;
use crate::error::StoreError;
use crate::identifier::{literal, quote};
use crate::meta::{CHANGE_LOG_GLOBAL, log_type};
use crate::value::bind;

/// More rows are left to the scan: the write lock would be held for too long (G1).
const ROWS_MAX: i64 = 100_000;

/// Logs every row of `table` that has a key, with rising ids. False when there are too many: then none is logged.
pub(super) fn log_rows(connection: &Connection, table: &Table, clock: &str) -> Result<bool, StoreError> {
    let bounded = format!("SELECT count(*) FROM (SELECT 1 FROM main.{} LIMIT {})", table.name, ROWS_MAX + 1);
    let rows: i64 = connection.query_row(&bounded, [], |row| row.get(0))?;
    if rows > 0 && rows <= ROWS_MAX {
        insert(connection, table, clock)?;
    }
    Ok(rows <= ROWS_MAX)
}

/// Logs (key, type of the log row) each, with rising ids from the clock on.
pub(crate) fn log_keys(
    connection: &Connection,
    table: &Table,
    clock: &str,
    entries: &[(&[Value], &str)],
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let first = next_id(connection, clock)?;
    let columns: Vec<String> = log_columns(&table.schema).iter().map(|name| quote(name)).collect();
    let parameters: Vec<String> = (3..3 + columns.len()).map(|number| format!("?{number}")).collect();
    let (columns, parameters) = (columns.join(", "), parameters.join(", "));
    let mut log = connection.prepare_cached(&format!(
        "INSERT INTO main.{}(id, type, {columns}) VALUES(?1, ?2, {parameters})",
        table.change_log
    ))?;
    let global = format!("INSERT INTO main.{}(id, table_name) VALUES(?1, ?2)", quote(CHANGE_LOG_GLOBAL));
    let mut global = connection.prepare_cached(&global)?;
    for (id, (key, kind)) in (first..).zip(entries) {
        global.execute(rusqlite::params![id, table.schema.name])?;
        log.raw_bind_parameter(1, id)?;
        log.raw_bind_parameter(2, kind)?;
        bind(&mut log, 3, *key)?;
        log.raw_execute()?;
    }
    Ok(())
}

/// What the clock of the triggers would give now.
fn next_id(connection: &Connection, clock: &str) -> Result<i64, StoreError> {
    let next = format!("SELECT {}", super::trigger::next_id(clock));
    Ok(connection.query_row(&next, [], |row| row.get(0))?)
}

fn insert(connection: &Connection, table: &Table, clock: &str) -> Result<(), StoreError> {
    let first = next_id(connection, clock)?;
    let columns: Vec<String> = log_columns(&table.schema).iter().map(|name| quote(name)).collect();
    let schema = &table.schema;
    let keys: Vec<String> = schema.key.iter().map(|index| quote(&schema.columns[*index].name)).collect();
    let not_null: Vec<String> = keys.iter().map(|key| format!("{key} IS NOT NULL")).collect();
    connection.execute_batch(&format!(
        "INSERT INTO main.{log}(id, {columns}, type) SELECT {first} - 1 + row_number() OVER (), {keys}, {insert} \
         FROM main.{table} WHERE {not_null};
         INSERT INTO main.{global}(id, table_name) SELECT id, {name} FROM main.{log} WHERE id >= {first};",
        log = table.change_log,
        columns = columns.join(", "),
        keys = keys.join(", "),
        insert = literal(log_type::INSERT),
        table = table.name,
        not_null = not_null.join(" AND "),
        global = quote(CHANGE_LOG_GLOBAL),
        name = literal(&schema.name),
    ))?;
    Ok(())
}
