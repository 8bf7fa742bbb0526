//! The application of `harmonylite bench`: its table, its writes, and what a database holds of them.
//!
//! It opens the database as any application would and knows nothing of our tables: with and without us it does the same.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};
use xxhash_rust::xxh3::Xxh3;

use crate::error::StoreError;

/// The application waits for locks as it should; longer than any apply may take on a machine that is busy otherwise.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Rows of about 60 bytes.
const SCHEMA: &str = "
    CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT NOT NULL, amount INTEGER NOT NULL, note TEXT)";
const INSERT: &str = "INSERT INTO item(id, name, amount, note) VALUES(?1, ?2, ?3, ?4)";
const OVERWRITE: &str = "
    INSERT INTO item(id, name, amount, note) VALUES(?1, ?2, ?3, ?4)
    ON CONFLICT(id) DO UPDATE SET name = excluded.name, amount = excluded.amount, note = excluded.note";

/// What a commit of the application waits for: `PRAGMA synchronous` of its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// `NORMAL`: in WAL mode for nothing. A power loss may take the last commits.
    Normal,
    /// `FULL`: for the disk.
    Full,
}

/// A connection of the application.
#[derive(Debug)]
pub struct Application {
    connection: Connection,
}

/// What the application's table holds: equal contents are equal here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contents {
    /// How many rows.
    pub rows: u64,
    /// Of all values of all rows, with their storage classes, in the order of the keys.
    pub digest: u128,
}

impl Application {
    /// Makes the database at `path`, in WAL mode, with an empty table, and opens it with [`Durability::Normal`].
    ///
    /// # Errors
    /// When SQLite refuses, or there is such a table already.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let application = Self::open(path, Durability::Normal)?;
        let made = application.connection.execute_batch(&format!("PRAGMA journal_mode = WAL; {SCHEMA}"));
        made.map_err(|error| StoreError::from(error).at(path.display()))?;
        Ok(application)
    }

    /// Another connection to the database at `path`.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn open(path: &Path, durability: Durability) -> Result<Self, StoreError> {
        let synchronous = match durability {
            Durability::Normal => "NORMAL",
            Durability::Full => "FULL",
        };
        let open = || {
            let connection = Connection::open(path)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "synchronous", synchronous)?;
            Ok(Self { connection })
        };
        open().map_err(|error: rusqlite::Error| StoreError::from(error).at(path.display()))
    }

    /// Writes the new rows `ids`, in one transaction.
    ///
    /// # Errors
    /// When SQLite refuses, or one of them is there already.
    pub fn insert(&self, ids: Range<i64>) -> Result<(), StoreError> {
        self.write(INSERT, ids, 0)
    }

    /// Writes the rows `ids`, whether they are there or not, in one transaction. Another `generation` gives other values.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn overwrite(&self, ids: Range<i64>, generation: i64) -> Result<(), StoreError> {
        self.write(OVERWRITE, ids, generation)
    }

    /// A single row is committed by its statement alone, as applications do.
    fn write(&self, sql: &str, ids: Range<i64>, generation: i64) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut row = |id: i64| -> Result<(), StoreError> {
            let amount = id.wrapping_mul(2_654_435_761) >> 8;
            let note = "a note of some thirty characters";
            statement.execute(params![id, format!("name of item {id}"), amount ^ generation, note])?;
            Ok(())
        };
        if ids.end - ids.start == 1 {
            return row(ids.start);
        }
        // Begun with the lock: SQLite waits for it here, and not half way.
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let written = ids.into_iter().try_for_each(row);
        let end = if written.is_ok() { "COMMIT" } else { "ROLLBACK" };
        self.connection.execute_batch(end)?;
        written
    }

    /// Is the row there?
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn has(&self, id: i64) -> Result<bool, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT 1 FROM item WHERE id = ?1")?;
        Ok(statement.exists([id])?)
    }

    /// The greatest id of a row; 0 when there is none.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn last_id(&self) -> Result<i64, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT coalesce(max(id), 0) FROM item")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// A number that moves when another connection has committed; much cheaper than looking.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn data_version(&self) -> Result<i64, StoreError> {
        let mut statement = self.connection.prepare_cached("PRAGMA data_version")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// Everything that the table holds.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn contents(&self) -> Result<Contents, StoreError> {
        let mut statement = self.connection.prepare("SELECT * FROM item ORDER BY id")?;
        let columns = statement.column_count();
        let (mut found, mut hasher, mut count) = (statement.query([])?, Xxh3::new(), 0);
        while let Some(row) = found.next()? {
            count += 1;
            for column in 0..columns {
                add(&mut hasher, row.get_ref(column)?);
            }
        }
        Ok(Contents { rows: count, digest: hasher.digest128() })
    }
}

/// Class, length, bytes: no two rows of values run together to the same.
fn add(hasher: &mut Xxh3, value: ValueRef<'_>) {
    let mut bytes = |class: u8, bytes: &[u8]| {
        hasher.update(&[class]);
        hasher.update(&bytes.len().to_le_bytes());
        hasher.update(bytes);
    };
    match value {
        ValueRef::Null => bytes(0, &[]),
        ValueRef::Integer(number) => bytes(1, &number.to_le_bytes()),
        ValueRef::Real(number) => bytes(2, &number.to_bits().to_le_bytes()),
        ValueRef::Text(text) => bytes(3, text),
        ValueRef::Blob(blob) => bytes(4, blob),
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows ({:016x})", self.rows, self.digest >> 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (tempfile::TempDir, Application, Application) {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| Application::create(&folder.path().join(name)).unwrap();
        let (one, other) = (make("one.db"), make("other.db"));
        (folder, one, other)
    }

    #[test]
    fn contents_are_equal_when_the_rows_are_however_they_were_written() {
        let (_folder, one, other) = pair();
        one.insert(1..101).unwrap();
        (1..101).rev().try_for_each(|id| other.overwrite(id..id + 1, 0)).unwrap();
        assert_eq!(one.contents().unwrap(), other.contents().unwrap());
        assert_eq!(
            (one.last_id().unwrap(), one.has(101).unwrap(), one.has(100).unwrap()),
            (100, false, true)
        );
    }

    #[test]
    fn one_other_value_or_one_missing_row_is_another_content() {
        let (_folder, one, other) = pair();
        one.insert(1..101).unwrap();
        other.insert(1..100).unwrap();
        assert_ne!(one.contents().unwrap(), other.contents().unwrap());
        other.overwrite(100..101, 1).unwrap();
        let (expected, found) = (one.contents().unwrap(), other.contents().unwrap());
        assert_eq!(expected.rows, found.rows);
        assert_ne!(expected.digest, found.digest);
    }

    #[test]
    fn a_transaction_that_fails_leaves_nothing_and_the_next_one_works() {
        let (_folder, one, _other) = pair();
        one.insert(5..6).unwrap();
        assert!(one.insert(1..10).is_err());
        assert_eq!(one.contents().unwrap().rows, 1);
        one.insert(6..10).unwrap();
        assert_eq!(one.contents().unwrap().rows, 5);
    }

    #[test]
    fn the_data_version_moves_with_the_commits_of_others_only() {
        let (folder, one, _other) = pair();
        let replica = Application::open(&folder.path().join("one.db"), Durability::Full).unwrap();
        let before = replica.data_version().unwrap();
        one.insert(1..2).unwrap();
        let after = replica.data_version().unwrap();
        assert_ne!(before, after);
        replica.insert(2..3).unwrap();
        assert_eq!(replica.data_version().unwrap(), after);
    }
}
