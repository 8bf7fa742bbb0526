//! A sample application: what `harmonylite demo` writes and compares, as any application would with any SQLite.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use crate::error::StoreError;

/// How long the sample application waits for locks, as every application should.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, author TEXT NOT NULL, text TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS tags(note INTEGER NOT NULL REFERENCES notes(id) ON DELETE CASCADE,
                                    tag TEXT NOT NULL, PRIMARY KEY(note, tag)) WITHOUT ROWID;";

/// Makes the sample database at `path`; leaves one that is there as it is.
///
/// # Errors
/// When SQLite refuses.
pub fn create(path: &Path) -> Result<(), StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch(SCHEMA)?;
    Ok(())
}

/// Writes a note with a tag, in one transaction; a note of that id is replaced.
///
/// # Errors
/// When SQLite refuses.
pub fn write(path: &Path, id: i64, author: &str, text: &str) -> Result<(), StoreError> {
    let mut connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let upsert = "INSERT INTO notes(id, author, text) VALUES(?1, ?2, ?3)
                  ON CONFLICT(id) DO UPDATE SET author = excluded.author, text = excluded.text";
    transaction.execute(upsert, params![id, author, text])?;
    transaction.execute("INSERT OR IGNORE INTO tags(note, tag) VALUES(?1, ?2)", params![id, author])?;
    transaction.commit()?;
    Ok(())
}

/// Every row of the sample tables as text, in order of the keys.
///
/// # Errors
/// When SQLite refuses.
pub fn rows(path: &Path) -> Result<Vec<String>, StoreError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let sql = "SELECT 'note ' || n.id || ' by ' || n.author || ': ' || n.text || ' [' ||
                      coalesce((SELECT group_concat(tag, ' ') FROM tags WHERE note = n.id), '') || ']'
               FROM notes AS n ORDER BY n.id";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(rows)
}
