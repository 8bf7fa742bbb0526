//! What ends an apply: the transaction is rolled back, and the core is told why.

use harmonylite_core::input::ApplyFailure;
use harmonylite_core::model::SourceId;
use rusqlite::{Error, ErrorCode, ffi};

use crate::error::{StoreError, StoreErrorKind};

/// Why an apply ends.
#[derive(Debug)]
pub(crate) enum Halt {
    /// A group cannot be applied as things stand.
    Source(ApplyFailure),
    /// The database refuses.
    Store(StoreError),
}

impl Halt {
    /// The source has to wait; our schema has nothing to do with it.
    pub(crate) fn source(source: &SourceId, reason: String) -> Self {
        Self::Source(ApplyFailure::Source { source: source.clone(), reason, schema: false })
    }

    /// The source has to wait until a schema changes.
    pub(crate) fn schema(source: &SourceId, reason: String) -> Self {
        Self::Source(ApplyFailure::Source { source: source.clone(), reason, schema: true })
    }
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<rusqlite::Error> for Halt {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<Halt> for ApplyFailure {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Source(failure) => failure,
            Halt::Store(error) => match error.kind {
                StoreErrorKind::Busy => Self::Busy,
                StoreErrorKind::SchemaChanged => Self::SchemaChanged,
                _ => Self::Store { error: error.to_string() },
            },
        }
    }
}

/// Is this the row's own fault (a constraint, a type), and not the disk's or the moment's? Then the rest goes on
/// without it (G7). A statement that cannot even be prepared is no row's fault.
pub(crate) fn is_row_error(error: &Error) -> bool {
    let code = match error {
        Error::SqliteFailure(..) => error.sqlite_error_code(),
        _ => None,
    };
    let row = [
        ErrorCode::ConstraintViolation,
        ErrorCode::TypeMismatch,
        ErrorCode::TooBig,
        // An index or a generated column that cannot be computed for these values.
        ErrorCode::Unknown,
    ];
    code.is_some_and(|code| row.contains(&code)) && !is_unique_error(error)
}

/// Another row has the same value in a UNIQUE index: a matter for R1 and R13, never for the dead letters.
pub(crate) fn is_unique_error(error: &Error) -> bool {
    let unique =
        [ffi::SQLITE_CONSTRAINT_UNIQUE, ffi::SQLITE_CONSTRAINT_PRIMARYKEY, ffi::SQLITE_CONSTRAINT_ROWID];
    matches!(error, Error::SqliteFailure(cause, _) if unique.contains(&cause.extended_code))
}
