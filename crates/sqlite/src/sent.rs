//! What the log reader gave out and no stamp has reached yet: which content goes with which clock.
//!
//! A row may be written past the triggers after it was read for publishing and before it is stamped. Were the stamp made of
//! the row as it is then, the write would look as if it had been sent. In memory only: after a restart a stamp takes the
//! row as it finds it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use harmonylite_core::limits::GROUP_ROWS_MAX;
use harmonylite_core::model::Hlc;

use crate::row_digest::RowDigest;

/// Clocks with the content that was read with them; `None` is a delete.
#[derive(Debug, Default)]
pub(crate) struct Sent(RefCell<BTreeMap<i64, Option<RowDigest>>>);

impl Sent {
    /// A change with this clock is about to be published. Beyond a whole change set nothing more is kept.
    pub(crate) fn note(&self, clock: Hlc, content: Option<RowDigest>) {
        let mut sent = self.0.borrow_mut();
        if sent.len() < GROUP_ROWS_MAX || sent.contains_key(&clock.get()) {
            sent.insert(clock.get(), content);
        }
    }

    /// What was read with this clock; the outer `None`: nothing, as far as we know.
    pub(crate) fn content(&self, clock: i64) -> Option<Option<RowDigest>> {
        self.0.borrow().get(&clock).copied()
    }

    /// Everything up to here is stamped, and that is committed.
    pub(crate) fn forget_through(&self, stamped: i64) {
        let mut sent = self.0.borrow_mut();
        if sent.first_key_value().is_some_and(|(first, _)| *first <= stamped) {
            *sent = sent.split_off(&stamped.saturating_add(1));
        }
    }
}
