//! Logs rows that are there before the triggers are, as if they had been inserted now.

use rusqlite::Connection;

use super::log_columns;
use crate::catalog::Table;
use crate::error::StoreError;
use crate::identifier::{literal, quote};
use crate::meta::{CHANGE_LOG_GLOBAL, log_type};

/// More rows are not logged: the write lock would be held for too long (G1).
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

fn insert(connection: &Connection, table: &Table, clock: &str) -> Result<(), StoreError> {
    let next = format!("SELECT {}", super::trigger::next_id(clock));
    let first: i64 = connection.query_row(&next, [], |row| row.get(0))?;
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
