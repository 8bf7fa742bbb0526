//! Opening the application's database: never making it, never changing how the application uses it.
//!
//! The file is never opened by path outside of SQLite: closing such a descriptor would drop the POSIX locks of every
//! SQLite connection in this process. What can be learnt without SQLite comes from `stat` alone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::{StoreError, StoreErrorKind};

/// How often a request asks again for the application's lock before it answers "busy" (about 0.1 s): the application
/// goes first, and whoever asked tries again.
const ATTEMPTS: i32 = 160;
/// The same while opening (about 5 s), when there is nobody who would try again.
const ATTEMPTS_OPENING: i32 = 8_000;
/// Page cache, in KiB (negative: SQLite's own convention). Resident memory at rest is to stay below 40 MB.
const CACHE_SIZE: i64 = -8_000;

/// Opens the database at `path` for reading and writing; it must exist.
pub(crate) fn open(path: &Path) -> Result<Connection, StoreError> {
    let path = look(path)?;
    let mut connection = open_with(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let usable = opened(&mut connection).and_then(|()| writable(&connection));
    usable.map_err(|error| cannot_write(error).at(path.display()))?;
    Ok(connection)
}

/// Opens the database `name` in the memory of this process, shared with every other connection to that name; it is
/// gone with the last one.
pub(crate) fn open_in_memory(name: &str) -> Result<Connection, StoreError> {
    let uri = memory_uri(name);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection =
        Connection::open_with_flags(&uri, flags).map_err(|error| StoreError::from(error).at(&uri))?;
    opened(&mut connection).map_err(|error| error.at(&uri))?;
    Ok(connection)
}

/// SQLite's own VFS for databases that live in memory and yet have locks; a name with a slash is shared.
pub(crate) fn memory_uri(name: &str) -> String {
    format!("file:/{name}?vfs=memdb")
}

/// Opening is over: from now on the application goes first. Without `patience` a request answers "busy" at once.
pub(crate) fn settle(connection: &mut Connection, patience: bool) -> Result<(), StoreError> {
    let handler: fn(i32) -> bool = |attempt| wait(attempt, ATTEMPTS);
    Ok(connection.busy_handler(patience.then_some(handler))?)
}

/// SQLite's own handler sleeps for up to 100 ms between two attempts; an application that commits without pause leaves
/// the lock free for microseconds, and starved it for 5 s on end. The pause varies (0.1 to 1 ms), so that it does not
/// fall into step with the application.
fn wait(attempt: i32, attempts: i32) -> bool {
    let tenths = 1 + u64::from(attempt.unsigned_abs()) * 7 % 10;
    std::thread::sleep(Duration::from_micros(100 * tenths));
    attempt < attempts
}

/// Opens the database at `path` for reading only; it must exist.
pub(crate) fn open_read_only(path: &Path) -> Result<Connection, StoreError> {
    let path = look(path)?;
    let mut connection = open_with(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    opened(&mut connection).map_err(|error| cannot_write(error).at(path.display()))?;
    Ok(connection)
}

/// What `stat` tells of `path`: the path made absolute (`file:` at its front would be a URI to SQLite).
fn look(path: &Path) -> Result<PathBuf, StoreError> {
    let error = |kind, what: String| StoreError::new(kind, format!("{}: {what}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|cause| match cause.kind() {
        ErrorKind::NotFound => error(StoreErrorKind::Missing, "no such file".to_owned())
            .hint("check db_path; harmonylite never makes the database, the application does"),
        _ => error(StoreErrorKind::Unreadable, cause.to_string())
            .hint("the user that runs harmonylite must be able to reach the database file"),
    })?;
    if !metadata.is_file() {
        return Err(error(StoreErrorKind::NotADatabase, "not a regular file".to_owned())
            .hint("db_path must name the application's sqlite database file"));
    }
    std::path::absolute(path).map_err(|cause| error(StoreErrorKind::Unreadable, cause.to_string()))
}

fn open_with(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    harmonylite_late_lock::open(path, flags).map_err(|error| StoreError::from(error).at(path.display()))
}

/// Settings, then the first look into the file.
fn opened(connection: &mut Connection) -> Result<(), StoreError> {
    connection.busy_handler(Some(|attempt| wait(attempt, ATTEMPTS_OPENING)))?;
    let read = configure(connection).and_then(|()| first_read(connection));
    read.map_err(|error| if error.is_busy() { exclusive() } else { error })
}

/// Settings of this connection alone; nothing of it is stored in the file.
fn configure(connection: &Connection) -> Result<(), StoreError> {
    // What the applier writes must not be captured again, nor fire the application's triggers.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    // Else a statement with a LIMIT that is bound is compiled again whenever another number is.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // The bundled SQLite has them on; cascades of the origin arrive as changes of their own.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "ignore_check_constraints", true)?;
    connection.pragma_update(None, "cache_size", CACHE_SIZE)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // Renaming a table of ours must not fail over a view of the application that does not resolve here.
    connection.pragma_update(None, "legacy_alter_table", true)?;
    Ok(())
}

fn first_read(connection: &Connection) -> Result<(), StoreError> {
    connection.query_row("SELECT count(*) FROM main.sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    Ok(())
}

/// `PRAGMA data_version`: another number after another connection committed.
pub(crate) fn data_version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.prepare_cached("PRAGMA main.data_version")?.query_row([], |row| row.get(0))?)
}

/// Even readers were shut out for the whole time.
fn exclusive() -> StoreError {
    StoreError::new(
        StoreErrorKind::Exclusive,
        "another process holds the database for itself (waited for about 5 s)",
    )
    .hint("the application must not use `pragma locking_mode = exclusive` beside harmonylite")
}

/// Can we write? A write that is rolled back shows it: a rollback journal would be made in the directory.
fn writable(connection: &Connection) -> Result<(), StoreError> {
    let wal = journal_mode_is_wal(connection)?;
    // In WAL mode NORMAL may lose the last commits in a power loss, but then positions and rows together, which is
    // recognised at start (R9). With a rollback journal NORMAL could damage the file.
    connection.pragma_update(None, "synchronous", if wal { "NORMAL" } else { "FULL" })?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let version = connection.query_row("PRAGMA main.user_version", [], |row| row.get::<_, i64>(0));
    let written = version.and_then(|version| connection.pragma_update(Some("main"), "user_version", version));
    let rolled_back = connection.execute_batch("ROLLBACK");
    written?;
    Ok(rolled_back?)
}

/// The database is open: what cannot be opened now is a journal or the shared memory beside it.
fn cannot_write(error: StoreError) -> StoreError {
    match error.kind {
        StoreErrorKind::Unreadable => StoreError::new(StoreErrorKind::ReadOnly, error.message)
            .hint("the user that runs harmonylite must be able to write the database file and its directory"),
        _ => error,
    }
}

fn journal_mode_is_wal(connection: &Connection) -> Result<bool, StoreError> {
    let mode: String = connection.query_row("PRAGMA main.journal_mode", [], |row| row.get(0))?;
    Ok(mode.eq_ignore_ascii_case("wal"))
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    /// Found with perf: SQLite looks at the bound value of a LIMIT while it plans, and plans again for another one.
    #[test]
    fn a_statement_is_not_compiled_again_for_another_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY)").unwrap();
        let connection = open(&path).unwrap();
        let mut statement = connection.prepare("SELECT id FROM t ORDER BY id LIMIT ?1").unwrap();
        for limit in [1, 1000, 2] {
            assert!(statement.query([limit]).unwrap().next().unwrap().is_none());
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
