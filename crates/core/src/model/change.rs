//! A change as it travels: the state of one row and the version it has there.

use super::{Hlc, Origin, Value};
use crate::conflict::{RowVersion, Version};

/// What a row's version was when the writer wrote (R5).
pub type BaseVersion = Version;

/// The state of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RowContent {
    /// The whole row: one value for each column that the table's section of the frame names, in that order.
    Upsert(Vec<Value>),
    /// No row: the key's values, in key order.
    Delete(Vec<Value>),
}

/// One row's newest state in a change set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowChange {
    /// The version of that state, with its own origin (a displaced row carries that of the row it was).
    pub version: RowVersion,
    /// The state itself. `Delete` exactly when the version is a tombstone.
    pub content: RowContent,
}

impl RowChange {
    /// The clock of the change.
    #[must_use]
    pub const fn hlc(&self) -> Hlc {
        self.version.version.hlc
    }

    /// Who wrote it.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.version.version.origin
    }
}
