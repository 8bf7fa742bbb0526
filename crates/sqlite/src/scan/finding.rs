//! What a row and its version say about each other.

use crate::row_digest::RowDigest;
use crate::row_version::Stored;

/// The verdict on one key that has no log row waiting for its stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Finding {
    /// They fit.
    Nothing,
    /// The row's content is to be remembered: nothing says what it was before.
    Remember(RowDigest),
    /// A row that nobody saw coming.
    New,
    /// A row with another content than its version had.
    Changed,
    /// A row that nobody saw going.
    Deleted,
}

/// `row` is the digest of the row, if it is there; `enrolled`: all rows that were there before have a place among the
/// versions.
pub(super) fn judge(stored: Option<&Stored>, row: Option<RowDigest>, enrolled: bool) -> Finding {
    match (stored, row) {
        (None, None) => Finding::Nothing,
        (None, Some(_)) if enrolled => Finding::New,
        (None, Some(digest)) => Finding::Remember(digest),
        (Some(stored), None) if stored.version.tombstone => Finding::Nothing,
        (Some(_), None) => Finding::Deleted,
        (Some(stored), Some(_)) if stored.version.tombstone => Finding::New,
        (Some(stored), Some(digest)) => match stored.digest {
            Some(known) if known == digest => Finding::Nothing,
            Some(known) if known.comparable(digest) => Finding::Changed,
            _ => Finding::Remember(digest),
        },
    }
}
