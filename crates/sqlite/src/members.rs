//! The list of members, kept so that a node finds the others again when the one it was told of is away. Its bytes are the
//! core's; here they are only stored.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::connection;
use crate::error::StoreError;
use crate::meta::{META, key};
use crate::store::Store;

impl Store {
    /// The list as it was saved last; `None` when it never was.
    pub fn saved_members(&self) -> Result<Option<Vec<u8>>, StoreError> {
        read(&self.connection)
    }

    /// Saves the list, in a commit of its own: only worth it when somebody came, went or moved.
    pub fn save_members(&mut self, members: &[u8]) -> Result<(), StoreError> {
        let sql = format!(
            "INSERT INTO main.\"{META}\"(name, value) VALUES(?1, ?2) ON CONFLICT(name) DO UPDATE SET value = ?2"
        );
        self.connection.prepare_cached(&sql)?.execute(params![key::MEMBERS, members])?;
        Ok(())
    }
}

/// The list as the database at `path` has it, for who may not open it as its node yet; `None` when it was never saved.
///
/// # Errors
/// When the database cannot be read.
pub fn saved_members(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let connection = connection::open_read_only(path)?;
    if !connection.table_exists(Some("main"), META)? {
        return Ok(None);
    }
    read(&connection)
}

fn read(connection: &Connection) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = format!("SELECT value FROM main.\"{META}\" WHERE name = ?1 AND typeof(value) = 'blob'");
    Ok(connection.prepare(&sql)?.query_row([key::MEMBERS], |row| row.get(0)).optional()?)
}
