//! What can be wrong with a database, in words for its operator: what happened, where, what to do.

use rusqlite::ErrorCode;
use thiserror::Error;

/// The kind of a [`StoreError`]: callers map it to exit codes, and tell what is worth another try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreErrorKind {
    /// There is no file.
    Missing,
    /// There is one, and we may not read it.
    Unreadable,
    /// We may not write the file or its directory.
    ReadOnly,
    /// A directory, an encrypted database, or something else altogether.
    NotADatabase,
    /// Our tables in it belong to another node.
    WrongNodeId,
    /// Our tables in it were made for another number of shards.
    OtherShards,
    /// Another sidecar works on this database.
    Locked,
    /// Somebody else holds SQLite's lock. Worth another try soon.
    Busy,
    /// Somebody else holds the database with `locking_mode = EXCLUSIVE`.
    Exclusive,
    /// The disk is full. Worth another try later.
    Full,
    /// Written by a newer version of HarmonyLite.
    NewerFormat,
    /// It holds tables of the original HarmonyLite.
    OriginalTables,
    /// It has no tables of ours.
    NeverStarted,
    /// Some of our tables are gone or make no sense.
    Damaged,
    /// The schema is not the one that was read: read it again.
    SchemaChanged,
    /// The disk refuses.
    InputOutput,
    /// Any other error of SQLite.
    Sqlite,
}

/// An error of the store.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{message}")]
pub struct StoreError {
    /// Of which kind.
    pub kind: StoreErrorKind,
    /// What happened, and where.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl StoreError {
    /// An error without a hint.
    pub(crate) fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// With what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With where it happened, before the message.
    #[must_use]
    pub(crate) fn at(mut self, place: impl std::fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Is the same request worth another try at once?
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.kind == StoreErrorKind::Busy
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let kind = error.sqlite_error().map_or(StoreErrorKind::Sqlite, kind_of);
        let error = Self::new(kind, error.to_string());
        match default_hint(kind) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

fn kind_of(error: &rusqlite::ffi::Error) -> StoreErrorKind {
    match error.code {
        // The shared memory of a WAL cannot grow: in practice that is a full disk, and SQLite has no better name for it.
        _ if error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => StoreErrorKind::Full,
        // What a virtual table keeps makes no sense to it; the file itself may be well.
        _ if error.extended_code == rusqlite::ffi::SQLITE_CORRUPT_VTAB => StoreErrorKind::Sqlite,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreErrorKind::Busy,
        ErrorCode::DiskFull => StoreErrorKind::Full,
        ErrorCode::NotADatabase => StoreErrorKind::NotADatabase,
        ErrorCode::ReadOnly => StoreErrorKind::ReadOnly,
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => StoreErrorKind::Unreadable,
        ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt => StoreErrorKind::InputOutput,
        ErrorCode::SchemaChanged => StoreErrorKind::SchemaChanged,
        _ => StoreErrorKind::Sqlite,
    }
}

/// What to do about a full disk.
pub(crate) const FULL_HINT: &str = "free some space on the disk of the database";

fn default_hint(kind: StoreErrorKind) -> Option<&'static str> {
    match kind {
        StoreErrorKind::Full => Some(FULL_HINT),
        StoreErrorKind::NotADatabase => Some(
            "check db_path: it names something that is not an sqlite database, or an encrypted one, \
             which is not supported",
        ),
        StoreErrorKind::ReadOnly => {
            Some("the user that runs harmonylite must be able to write the database file and its directory")
        }
        StoreErrorKind::Unreadable => {
            Some("the user that runs harmonylite must be able to read the database file and its directory")
        }
        StoreErrorKind::InputOutput => Some("check the disk, and the database with `pragma integrity_check`"),
        _ => None,
    }
}
