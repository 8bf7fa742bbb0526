//! Who wrote: a node, and which life of its database.

use std::fmt;

/// The identity of a node in its cluster: 1 ..= 2^63-1, ordered numerically.
///
/// The upper bound lets it live in SQLite's signed integers without folding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(u64);

impl NodeId {
    /// The greatest node id.
    pub const MAX: u64 = i64::MAX as u64;

    /// `None` when `id` is 0 or above [`NodeId::MAX`].
    #[must_use]
    pub const fn new(id: u64) -> Option<Self> {
        if id == 0 || id > Self::MAX { None } else { Some(Self(id)) }
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which life of a node's database (R9): minted when our tables are made, and again when the database turns out to
/// be an older copy of itself. 1 ..= 2^63-1, random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Incarnation(u64);

impl Incarnation {
    /// Folds any 64 random bits into the range.
    #[must_use]
    pub const fn from_random(bits: u64) -> Self {
        let folded = bits & NodeId::MAX;
        Self(if folded == 0 { 1 } else { folded })
    }

    /// `None` when `value` is 0 or above 2^63-1.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        if value == 0 || value > NodeId::MAX { None } else { Some(Self(value)) }
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Who a version, a frame or a position belongs to: a node and its incarnation (R9), ordered in that order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin {
    node: u64,
    incarnation: u64,
}

impl Origin {
    /// The origin of a row that has no version: smaller than any other.
    pub const NONE: Self = Self { node: 0, incarnation: 0 };

    /// The origin of `node` in its life `incarnation`.
    #[must_use]
    pub const fn new(node: NodeId, incarnation: Incarnation) -> Self {
        Self { node: node.0, incarnation: incarnation.0 }
    }

    /// From stored numbers; (0, 0) is [`Origin::NONE`]. `None` when one is out of range or only one is 0.
    #[must_use]
    pub const fn from_raw(node: u64, incarnation: u64) -> Option<Self> {
        let none = node == 0 && incarnation == 0;
        let some = NodeId::new(node).is_some() && Incarnation::new(incarnation).is_some();
        if none || some { Some(Self { node, incarnation }) } else { None }
    }

    /// The node; `None` for [`Origin::NONE`].
    #[must_use]
    pub const fn node(self) -> Option<NodeId> {
        NodeId::new(self.node)
    }

    /// The node's number, 0 for [`Origin::NONE`].
    #[must_use]
    pub const fn raw_node(self) -> u64 {
        self.node
    }

    /// The incarnation's number, 0 for [`Origin::NONE`].
    #[must_use]
    pub const fn raw_incarnation(self) -> u64 {
        self.incarnation
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:016x}", self.node, self.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_fit_sqlite_integers() {
        assert!(NodeId::new(0).is_none());
        assert_eq!(NodeId::new(1).map(NodeId::get), Some(1));
        assert_eq!(NodeId::new(NodeId::MAX).map(NodeId::get), Some(NodeId::MAX));
        assert!(NodeId::new(NodeId::MAX + 1).is_none());
    }

    #[test]
    fn origins_are_ordered_by_node_then_incarnation() {
        let of = |n, i| Origin::from_raw(n, i).unwrap();
        assert!(Origin::NONE < of(1, 1));
        assert!(of(1, 9) < of(2, 1));
        assert!(of(2, 1) < of(2, 2));
    }

    #[test]
    fn half_an_origin_is_refused() {
        assert!(Origin::from_raw(1, 0).is_none());
        assert!(Origin::from_raw(0, 1).is_none());
        assert_eq!(Origin::from_raw(0, 0), Some(Origin::NONE));
    }
}
