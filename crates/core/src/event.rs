//! What happened, for logs and metrics. Never read by the core itself.

use crate::input::Found;
use crate::model::{LogPosition, Origin, Shard, SourceId, StreamSequence};

/// Something an operator may want to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A source is followed from here on.
    SourceFollowed {
        /// Which source.
        source: SourceId,
        /// The first sequence asked for.
        from: StreamSequence,
    },
    /// A source is out of reach; it is tried again.
    SourceLost {
        /// Which source.
        source: SourceId,
        /// Why.
        error: String,
        /// When it is tried again.
        retry_ms: u64,
    },
    /// A stream goes on and nothing of it comes, also after it was followed anew. It is followed anew at every look.
    SourceStalled {
        /// Which source.
        source: SourceId,
        /// Messages that ought to have come.
        behind: u64,
    },
    /// A source cannot be followed as things stand. Its checkpoint stays, other sources go on.
    SourceStopped {
        /// Which source.
        source: SourceId,
        /// Why, and what would help.
        reason: String,
    },
    /// A stream is not the one (or no longer as long as) the one that was consumed: it is read again, from where
    /// both are the same as far as we remember, or from its start.
    StreamRestarted {
        /// Which source.
        source: SourceId,
        /// What was noticed.
        reason: String,
    },
    /// A message was rejected and skipped; nothing of it was applied.
    MessageRejected {
        /// Which source.
        source: SourceId,
        /// Where.
        sequence: StreamSequence,
        /// Why.
        error: String,
    },
    /// A group whose last part never came was discarded.
    GroupDiscarded {
        /// Which source.
        source: SourceId,
        /// Whose.
        origin: Origin,
    },
    /// A change set above the limits was published in several groups: replicas may show it in part (G4).
    GroupClosedEarly {
        /// The end of the first group.
        through: LogPosition,
        /// Log rows that follow.
        remaining_rows: u64,
    },
    /// A row is too large to travel and stays local.
    RowTooLarge {
        /// Its table.
        table: String,
        /// Its size in bytes.
        size: usize,
    },
    /// A publish has no acknowledgement; the stream is asked what it holds. Said once, as [`Event::StoreTrouble`].
    PublishUncertain {
        /// Which shard.
        shard: Shard,
        /// Why.
        error: String,
    },
    /// Own frames in an own stream are not in the database: it is an older copy of itself (R9).
    OlderCopyFound {
        /// What was noticed.
        reason: String,
    },
    /// From now on we write under a new origin.
    IncarnationMinted {
        /// The new origin.
        origin: Origin,
    },
    /// Two nodes started with different rows: what was there before the first start is not sent by itself.
    BaselineDiffers {
        /// The peer's source.
        source: SourceId,
        /// Tables whose rows differed.
        tables: Vec<String>,
    },
    /// The schema was read again.
    SchemaRead {
        /// Replicated tables.
        replicated: usize,
        /// (table, what an operator should know although it is replicated).
        notes: Vec<(String, String)>,
        /// (table, reason).
        refused: Vec<(String, String)>,
        /// Triggers that had to be mended.
        repaired: u64,
        /// Tables whose triggers were missing: they are scanned for what was written since then.
        uncaptured: Vec<String>,
        /// Tables that the application dropped.
        dropped: Vec<String>,
    },
    /// The scan found writes that no trigger saw; they are published as if they were made now.
    UncapturedFound {
        /// In which table.
        table: String,
        /// What.
        found: Found,
    },
    /// Rows went to the conflict log.
    ConflictsLogged {
        /// How many.
        rows: u64,
    },
    /// Rows could not be written and went to the dead letters.
    DeadLettered {
        /// How many.
        rows: u64,
    },
    /// The clock of another node is further ahead of ours than allowed. Its changes are merged, so ours follow it: writes
    /// of nodes whose clocks are right count from there. Said once, until it is within the limit again.
    ClockAhead {
        /// Whose changes; a node that merged such a clock carries it on.
        origin: Origin,
        /// How far ahead of our clock, in milliseconds.
        ahead_ms: u64,
    },
    /// A clock that was too far ahead is within the limit again.
    ClockWithinLimit {
        /// Whose changes.
        origin: Origin,
    },
    /// What was refused, or not acknowledged, works again.
    TroubleOver {
        /// Which request.
        what: &'static str,
    },
    /// Nothing happened for so long that the node ends.
    FallsAsleep {
        /// For how long, in milliseconds.
        after_ms: u64,
    },
    /// The database refused a request; it is tried again. Said once, until the reason is another one or it works.
    StoreTrouble {
        /// Which request.
        request: &'static str,
        /// Why.
        error: String,
    },
}
