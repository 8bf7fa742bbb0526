//! What bytes can be wrong about.

use thiserror::Error;

/// Why bytes are not a frame, or not one for us. Nothing was applied.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// The first bytes are not ours.
    #[error("not a harmonylite frame")]
    NotAFrame,
    /// Written by a newer version of HarmonyLite.
    #[error("format version {found} is newer than {supported}: upgrade this node")]
    NewerFormat {
        /// The version in the envelope.
        found: u8,
        /// The newest one that this build reads.
        supported: u8,
    },
    /// Shorter or longer than the envelope says, or the checksum differs.
    #[error("damaged frame: {0}")]
    Damaged(&'static str),
    /// A well-formed envelope around something that makes no sense.
    #[error("invalid frame: {0}")]
    Invalid(String),
    /// Beyond a bound of [`limits`](crate::limits).
    #[error("{what} of {found} is above the limit of {limit}")]
    TooLarge {
        /// Which bound.
        what: &'static str,
        /// What the frame asks for.
        found: u64,
        /// The bound.
        limit: u64,
    },
}

/// Why rows cannot be encoded.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum EncodeError {
    /// The row is above [`ROW_SIZE_MAX`](crate::limits::ROW_SIZE_MAX).
    #[error("row of {size} bytes is above the limit of {limit}")]
    RowTooLarge {
        /// Bytes of the row.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// Compression failed; never on well-formed memory.
    #[error("compression failed: {0}")]
    Compression(String),
}
