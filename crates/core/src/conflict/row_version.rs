//! The version of a row's state.

use crate::model::{Hlc, Origin};

/// The order of row states (R1): clock, then origin, then `displaced`.
///
/// Field order is the order: the derived `Ord` is the rule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version {
    /// When, by the hybrid logical clock of the writer.
    pub hlc: Hlc,
    /// By whom.
    pub origin: Origin,
    /// A row that lost a UNIQUE value to another row: the smallest version above the one that lost.
    pub displaced: bool,
}

impl Version {
    /// What a row has that was never written since our tables were made: below any other.
    pub const NONE: Self = Self { hlc: Hlc::ZERO, origin: Origin::NONE, displaced: false };

    /// The smallest version above this one (R1): the same, displaced.
    #[must_use]
    pub const fn displaced(self) -> Self {
        Self { displaced: true, ..self }
    }
}

/// What is stored beside a row and travels with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RowVersion {
    /// Its place in the order.
    pub version: Version,
    /// The row is deleted.
    pub tombstone: bool,
    /// What the version was that the writer saw (R5); tells succession from conflict, never who wins.
    pub base: Version,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_displaced_version_is_just_above_its_own() {
        let origin = |n| Origin::from_raw(n, 1).unwrap();
        let at = |ms, n| Version { hlc: Hlc::from_millis(ms), origin: origin(n), displaced: false };
        let lost = at(5, 2);
        assert!(lost.displaced() > lost);
        assert!(lost.displaced() < at(5, 3));
        assert!(lost.displaced() < at(6, 1));
        assert!(Version::NONE.displaced() > Version::NONE);
        assert!(Version::NONE.displaced() < at(0, 1));
    }
}
