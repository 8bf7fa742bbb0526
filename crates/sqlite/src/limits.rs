//! How much one request does at most, and how much is kept. The product uses the core's limits; the simulator and tests lower them.

use harmonylite_core::limits;

/// Bounds of one change set and of one commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Log rows that are read at once; a change set above that is closed early (G4).
    pub group_rows: usize,
    /// The same for the bytes of its rows.
    pub group_bytes: usize,
    /// Rows from which on a change set ends at the next place where a transaction is known to end.
    pub set_rows: usize,
    /// Bytes of a body, before compression, at which it is closed.
    pub body_size: usize,
    /// Log rows that one commit stamps or trims.
    pub housekeeping_rows: usize,
    /// Rows, or row versions, that one step of the scan looks at.
    pub scan_rows: usize,
    /// Wait a tenth of a second for the application's lock before a request answers "busy". Not in virtual time.
    pub lock_patience: bool,
}

/// How much of the conflict log is kept. What is beyond goes with applies and housekeeping, oldest entries first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConflictRetention {
    /// So many entries; `None` is any number.
    pub entries_max: Option<u64>,
    /// For so long, in milliseconds; `None` is for ever.
    pub age_ms_max: Option<u64>,
}

impl Default for ConflictRetention {
    fn default() -> Self {
        Self { entries_max: Some(limits::CONFLICTS_KEPT), age_ms_max: Some(limits::CONFLICTS_KEPT_MS) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            group_rows: limits::GROUP_ROWS_MAX,
            group_bytes: limits::GROUP_BYTES_MAX,
            set_rows: limits::SET_ROWS,
            body_size: limits::BODY_SIZE_TARGET,
            housekeeping_rows: limits::HOUSEKEEPING_ROWS,
            scan_rows: limits::SCAN_ROWS,
            lock_patience: true,
        }
    }
}
