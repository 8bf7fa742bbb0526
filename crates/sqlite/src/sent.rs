//! What the log reader gave out and no stamp has reached yet: which content goes with which clock.
//!
//! A row may be written past the triggers after it was read for publishing and before it is stamped. Were the stamp made of
//! the row as it is then, the write would look as if it had been sent. The same of a `maybe` (R2): was it a delete? In
//! memory only: after a restart a stamp takes the row as it finds it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use harmonylite_core::limits::GROUP_ROWS_MAX;
use harmonylite_core::model::Hlc;

use crate::row_digest::RowDigest;

/// What was read, by clock.
#[derive(Debug, Default)]
pub(crate) struct Sent(RefCell<Read>);

#[derive(Debug, Default)]
struct Read {
    /// The content that was read with a clock; `None` is a delete.
    contents: BTreeMap<i64, Option<RowDigest>>,
    /// The clocks of `maybe` entries whose rows were there.
    spared: BTreeSet<i64>,
}

impl Sent {
    /// A change with this clock is about to be published. Beyond a whole change set nothing more is kept.
    pub(crate) fn note(&self, clock: Hlc, content: Option<RowDigest>) {
        let mut read = self.0.borrow_mut();
        if read.contents.len() < GROUP_ROWS_MAX || read.contents.contains_key(&clock.get()) {
            read.contents.insert(clock.get(), content);
            read.spared.remove(&clock.get());
        }
    }

    /// A `maybe` entry was read while its row was there: nothing is published for it.
    pub(crate) fn spare(&self, maybe: i64) {
        let mut read = self.0.borrow_mut();
        if read.spared.len() < GROUP_ROWS_MAX {
            read.spared.insert(maybe);
            read.contents.remove(&maybe);
        }
    }

    /// What was read with this clock; the outer `None`: nothing, as far as we know.
    pub(crate) fn content(&self, clock: i64) -> Option<Option<RowDigest>> {
        self.0.borrow().contents.get(&clock).copied()
    }

    /// Was the row of this `maybe` entry there when it was read? `None`: it was not read, as far as we know.
    pub(crate) fn was_spared(&self, maybe: i64) -> Option<bool> {
        if self.0.borrow().spared.contains(&maybe) {
            return Some(true);
        }
        self.content(maybe).map(|content| content.is_some())
    }

    /// Everything up to here is stamped, and that is committed.
    pub(crate) fn forget_through(&self, stamped: i64) {
        let mut read = self.0.borrow_mut();
        let rest = stamped.saturating_add(1);
        if read.contents.first_key_value().is_some_and(|(first, _)| *first <= stamped) {
            read.contents = read.contents.split_off(&rest);
        }
        if read.spared.first().is_some_and(|first| *first <= stamped) {
            read.spared = read.spared.split_off(&rest);
        }
    }
}
