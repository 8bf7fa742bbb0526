//! What is known of each table as far as writes past the triggers are concerned: which rows it had before, and whether
//! somebody must look.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::catalog::Catalog;
use crate::error::StoreError;
use crate::meta::SCAN;

/// The row versions of `table` were just made. `enrolled`: a row without version is one that nobody saw; otherwise the
/// rows that are there have to be given their place among the versions first.
pub(crate) fn made(connection: &Connection, table: &str, enrolled: bool) -> Result<(), StoreError> {
    let sql = format!("INSERT OR REPLACE INTO main.{SCAN}(table_name, enrolled, due) VALUES(?1, ?2, 0)");
    connection.execute(&sql, params![table, enrolled])?;
    Ok(())
}

/// Writes to `table` may have been missed: it is to be compared soon, also after a restart.
pub(crate) fn demand(connection: &Connection, table: &str) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO main.{SCAN}(table_name, enrolled, due) VALUES(?1, 0, 1) \
         ON CONFLICT(table_name) DO UPDATE SET due = 1"
    );
    connection.execute(&sql, [table])?;
    Ok(())
}

/// The row versions have another name now.
pub(crate) fn renamed(connection: &Connection, from: &str, to: &str) -> Result<(), StoreError> {
    let sql = format!("UPDATE OR REPLACE main.{SCAN} SET table_name = ?2 WHERE table_name = ?1");
    connection.execute(&sql, [from, to])?;
    Ok(())
}

/// The row versions are gone.
pub(crate) fn forget(connection: &Connection, table: &str) -> Result<(), StoreError> {
    connection.execute(&format!("DELETE FROM main.{SCAN} WHERE table_name = ?1"), [table])?;
    Ok(())
}

/// Is a row of `table` without version one that nobody saw? Not when we do not know.
pub(super) fn is_enrolled(connection: &Connection, table: &str) -> Result<bool, StoreError> {
    Ok(read(connection, table)?.is_some_and(|(enrolled, _)| enrolled))
}

/// Is there nothing left to find out about `table`?
pub(super) fn is_settled(connection: &Connection, table: &str) -> Result<bool, StoreError> {
    Ok(read(connection, table)? == Some((true, false)))
}

/// The replicated tables that somebody must look at.
pub(super) fn wanted(connection: &Connection, catalog: &Catalog) -> Result<Vec<String>, StoreError> {
    let mut wanted = Vec::new();
    for name in catalog.tables.keys() {
        if !is_settled(connection, name)? {
            wanted.push(name.clone());
        }
    }
    Ok(wanted)
}

/// A pass over `table` is complete.
pub(super) fn settle(connection: &Connection, table: &str) -> Result<(), StoreError> {
    let sql = format!("INSERT OR REPLACE INTO main.{SCAN}(table_name, enrolled, due) VALUES(?1, 1, 0)");
    connection.execute(&sql, [table])?;
    Ok(())
}

/// (enrolled, due)
fn read(connection: &Connection, table: &str) -> Result<Option<(bool, bool)>, StoreError> {
    let sql = format!("SELECT enrolled, due FROM main.{SCAN} WHERE table_name = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_row([table], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}
