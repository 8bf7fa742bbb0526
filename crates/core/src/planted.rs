//! Bugs that can be planted, one at a time, so that the simulator can show that it would find them.
//!
//! Only with the feature `planted-bugs`, which nothing but the simulator's hunt turns on. Without it
//! [`is_planted`] is constantly false, and the compiler removes every trace.

/// A bug. Each breaks one rule of `docs/protocol.md`, in the way in which one would get it wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Bug {
    /// Incoming rows are written without comparing versions (G3).
    VersionsNotCompared = 1,
    /// The checkpoint is committed in a transaction of its own, before the rows (G5).
    CheckpointApart,
    /// The log is trimmed before the acknowledgement (G6).
    TrimBeforeAck,
    /// Of two writes at one clock the one that arrives later wins (G3).
    TieByArrival,
    /// A delete leaves no version behind (R1).
    TombstonesForgotten,
    /// A displaced row is not published (R1).
    LosersNotPublished,
    /// The triggers that see REPLACE are not made (R2).
    NoBeforeTriggers,
    /// A `maybe` counts although its row is there (R2).
    MaybeAsTouch,
    /// A row is sent under the version of an older write of ours (R3).
    ImageUnderOtherVersion,
    /// A position moves over what is missing (R7).
    PositionOverGap,
    /// A message id does not name where the group starts, nor what it says (R6).
    MessageIdWithoutPrev,
    /// A displaced row takes the version of the row that won (R1).
    WinnersVersionBorrowed,
    /// Our own frames are applied like anybody's (R9).
    OwnFramesApplied,
    /// An older copy of the database goes on under its old origin (R9).
    OriginReused,
    /// The bodies of one group are applied in transactions of their own (G4).
    GroupsInParts,
    /// The clock is not raised to what was applied (G3).
    ObservedNotRaised,
    /// The clock is not raised to what is trimmed (R4).
    TrimmedNotObserved,
    /// What loses is not logged (R5).
    ConflictNotLogged,
    /// A rival is looked for through indexes over whole columns only (R13).
    PlainRivalsOnly,
    /// The checkpoint of an own stream is saved without the published position that it implies (R9). This one and the
    /// next were there; the simulator found them.
    CheckpointWithoutPosition,
    /// A message that needs nothing does not move the checkpoint when it comes during an apply.
    PassedDuringApply,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::VersionsNotCompared,
        Self::CheckpointApart,
        Self::TrimBeforeAck,
        Self::TieByArrival,
        Self::TombstonesForgotten,
        Self::LosersNotPublished,
        Self::NoBeforeTriggers,
        Self::MaybeAsTouch,
        Self::ImageUnderOtherVersion,
        Self::PositionOverGap,
        Self::MessageIdWithoutPrev,
        Self::WinnersVersionBorrowed,
        Self::OwnFramesApplied,
        Self::OriginReused,
        Self::GroupsInParts,
        Self::ObservedNotRaised,
        Self::TrimmedNotObserved,
        Self::ConflictNotLogged,
        Self::PlainRivalsOnly,
        Self::CheckpointWithoutPosition,
        Self::PassedDuringApply,
    ];
}

#[cfg(feature = "planted-bugs")]
mod chosen {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Bug;

    /// 0 is none.
    static CHOSEN: AtomicU8 = AtomicU8::new(0);

    /// From now on this process has this bug and no other; `None` is none.
    pub fn plant(bug: Option<Bug>) {
        CHOSEN.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
    }

    /// Does this process have that bug?
    #[must_use]
    pub fn is_planted(bug: Bug) -> bool {
        CHOSEN.load(Ordering::Relaxed) == bug as u8
    }
}

#[cfg(feature = "planted-bugs")]
pub use chosen::{is_planted, plant};

/// No bug is planted in a product.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
pub const fn is_planted(_: Bug) -> bool {
    false
}
