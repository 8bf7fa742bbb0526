//! Who wins (G3): one total order on versions, and one pure function that reads it.

mod row_version;

pub use row_version::{RowVersion, Version};

use crate::planted::{Bug, is_planted};

/// What an incoming row state means for the one that is here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The very same version: nothing to do.
    Duplicate,
    /// Ours is newer: the incoming one is dropped. Its own node logs it if that was a conflict (R5).
    Superseded,
    /// The incoming one is newer and its writer had seen ours (or there was nothing to see): write it.
    Succeeds,
    /// The incoming one is newer, and its writer had not seen ours: write it, and log ours as the loser.
    Conflicts,
}

impl Verdict {
    /// Does the incoming state replace ours?
    #[must_use]
    pub const fn wins(self) -> bool {
        matches!(self, Self::Succeeds | Self::Conflicts)
    }
}

/// Compares an incoming row state with the stored version of the row here; `None` when it has none.
///
/// Succession (R5): the writer's base is our version, or both come from the same origin, or the row has no version
/// here. `displaced` is left out of the comparison with the base: a displaced tombstone is made from the version that
/// the base names.
#[must_use]
pub fn resolve(local: Option<&RowVersion>, incoming: &RowVersion) -> Verdict {
    let Some(local) = local else { return Verdict::Succeeds };
    if is_planted(Bug::VersionsNotCompared)
        || (is_planted(Bug::TieByArrival) && incoming.version.hlc == local.version.hlc)
    {
        return Verdict::Succeeds;
    }
    match incoming.version.cmp(&local.version) {
        std::cmp::Ordering::Equal => Verdict::Duplicate,
        std::cmp::Ordering::Less => Verdict::Superseded,
        std::cmp::Ordering::Greater if succeeds(local, incoming) => Verdict::Succeeds,
        std::cmp::Ordering::Greater => Verdict::Conflicts,
    }
}

fn succeeds(local: &RowVersion, incoming: &RowVersion) -> bool {
    let (ours, base) = (local.version, incoming.base);
    incoming.version.origin == ours.origin || (base.hlc, base.origin) == (ours.hlc, ours.origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Hlc, Origin};
    use proptest::prelude::*;

    fn version() -> impl Strategy<Value = RowVersion> {
        let clock = 0i64..6;
        (clock.clone(), 1u64..4, any::<bool>(), any::<bool>(), clock, 1u64..4).prop_map(
            |(h, n, d, t, bh, bn)| {
                let of = |h: i64, n, displaced| Version {
                    hlc: Hlc::new(h).unwrap(),
                    origin: Origin::from_raw(n, 1).unwrap(),
                    displaced,
                };
                RowVersion { version: of(h, n, d), tombstone: t, base: of(bh, bn, false) }
            },
        )
    }

    fn merge(local: Option<RowVersion>, incoming: RowVersion) -> Option<RowVersion> {
        if resolve(local.as_ref(), &incoming).wins() { Some(incoming) } else { local }
    }

    proptest! {
        #[test]
        fn resolve_is_commutative_associative_and_idempotent(a in version(), b in version(), c in version()) {
            let order = |v: Option<RowVersion>| v.map(|v| v.version);
            let fold = |vs: &[RowVersion]| order(vs.iter().fold(None, |state, v| merge(state, *v)));
            prop_assert_eq!(fold(&[a, b]), fold(&[b, a]));
            prop_assert_eq!(fold(&[a, b, c]), fold(&[c, b, a]));
            prop_assert_eq!(fold(&[a, b, c]), fold(&[b, c, a]));
            prop_assert_eq!(fold(&[a, b]), fold(&[a, b, a, b, b]));
        }

        #[test]
        fn a_state_whose_base_is_ours_is_no_conflict(a in version(), b in version()) {
            let later = RowVersion { base: a.version, ..b };
            prop_assert_ne!(resolve(Some(&a), &later), Verdict::Conflicts);
        }
    }

    #[test]
    fn tie_is_broken_by_node_id_not_by_arrival() {
        let of = |node| RowVersion {
            version: Version {
                hlc: Hlc::from_millis(9),
                origin: Origin::from_raw(node, 1).unwrap(),
                displaced: false,
            },
            tombstone: false,
            base: Version::NONE,
        };
        assert_eq!(resolve(Some(&of(1)), &of(2)), Verdict::Conflicts);
        assert_eq!(resolve(Some(&of(2)), &of(1)), Verdict::Superseded);
    }

    #[test]
    fn any_version_beats_none() {
        let incoming = RowVersion { version: Version::NONE, tombstone: false, base: Version::NONE };
        assert_eq!(resolve(None, &incoming), Verdict::Succeeds);
    }
}
