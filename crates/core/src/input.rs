//! Everything that can happen to a node. Closed on purpose: to add a wake-up is to edit this file.

use std::collections::BTreeMap;

use crate::codec::EncodedBody;
use crate::effect::Timer;
use crate::model::{
    Checkpoint, FrameMark, Hlc, LogPosition, NodeId, Origin, Shard, SourceId, StreamSequence,
};

/// Milliseconds since the Unix epoch, never decreasing within one life of the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Timestamp(pub u64);

/// A wake-up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Somebody else committed to the database.
    LogChanged,
    /// The answer to `ReadLog`.
    LogRead(LogRead),
    /// The answer to `ReadLog` when the schema is not the one the triggers were made for.
    SchemaChanged,
    /// Somebody changed the schema since it was read: found when nobody asked.
    SchemaDiffers,
    /// The answer to `ReadSchema`.
    SchemaRead(SchemaRead),
    /// The whole group is stored.
    Published {
        /// Which own stream.
        shard: Shard,
        /// The sequence of its last message.
        last: StreamSequence,
    },
    /// It is not known to be stored: refused, or nobody answered. What the stream holds decides.
    PublishFailed {
        /// Which own stream.
        shard: Shard,
        /// For people.
        error: String,
    },
    /// A peer's stream became known: follow it from now on.
    SourceAdded {
        /// Which source.
        source: SourceId,
        /// The shard that it carries.
        shard: Shard,
    },
    /// A peer's stream is not to be followed any more: its node was removed.
    SourceRemoved {
        /// Which source.
        source: SourceId,
    },
    /// What a stream looks like.
    StreamObserved {
        /// Which source.
        source: SourceId,
        /// The look.
        stream: StreamFacts,
    },
    /// A source cannot be looked at or delivers no more.
    SourceLost {
        /// Which source.
        source: SourceId,
        /// The `Follow` that ended; `None` when it was an `Observe`.
        epoch: Option<u64>,
        /// For people.
        error: String,
    },
    /// One message of a followed source.
    Delivered {
        /// Which source.
        source: SourceId,
        /// Of which `Follow`.
        epoch: u64,
        /// Its sequence.
        sequence: StreamSequence,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// The answer to `Apply`.
    Applied(Applied),
    /// The transaction was rolled back.
    ApplyFailed(ApplyFailure),
    /// Somebody had dead letters tried again or dropped.
    LettersTended(LettersTended),
    /// The answer to `InspectOwnFrames`: `None` when they fit the database, else why they do not (R9).
    OwnFramesInspected {
        /// Why the database is an older copy of itself.
        older_copy: Option<String>,
    },
    /// The answer to `MintIncarnation`.
    IncarnationMinted(StoreState),
    /// The answer to `Housekeep`.
    Housekept(Housekept),
    /// The answer to `Scan`.
    Scanned(Scanned),
    /// A request to the store failed; `busy` ones are worth another try at once.
    StoreFailed {
        /// Which request.
        request: StoreRequest,
        /// SQLITE_BUSY or the like.
        busy: bool,
        /// For people.
        error: String,
    },
    /// A timer.
    TimerFired(Timer),
    /// Settings that may change while the node runs have changed.
    Retuned(Tuning),
    /// End in order: finish what is under way, save positions, exit.
    ShutdownRequested,
}

/// The settings that may change while the node runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// As [`Settings::housekeeping_interval_ms`](crate::replicator::Settings).
    pub housekeeping_interval_ms: u64,
    /// As [`Settings::clock_drift_max_ms`](crate::replicator::Settings).
    pub clock_drift_max_ms: Option<u64>,
    /// As [`Settings::sleep_after_ms`](crate::replicator::Settings).
    pub sleep_after_ms: Option<u64>,
}

/// Which request to the store failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StoreRequest {
    /// `ReadLog`.
    ReadLog,
    /// `InspectOwnFrames`.
    InspectOwnFrames,
    /// `MintIncarnation`.
    MintIncarnation,
    /// `Housekeep`.
    Housekeep,
    /// `ReadSchema`.
    ReadSchema,
    /// `Scan`.
    Scan,
}

impl StoreRequest {
    /// For logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadLog => "read log",
            Self::InspectOwnFrames => "inspect own frames",
            Self::MintIncarnation => "mint incarnation",
            Self::Housekeep => "housekeeping",
            Self::ReadSchema => "read schema",
            Self::Scan => "scan",
        }
    }
}

/// What the database remembers, read at start and after a new incarnation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreState {
    /// Who we are.
    pub origin: Origin,
    /// The published positions as saved.
    pub published: crate::effect::PublishedPositions,
    /// How far each origin's chain is applied here, per shard.
    pub positions: BTreeMap<(Origin, Shard), LogPosition>,
    /// How far each source is consumed.
    pub checkpoints: BTreeMap<SourceId, Checkpoint>,
    /// Digest of each replicated table's rows when our tables were made; empty ones are left out.
    pub baseline: BTreeMap<String, u64>,
    /// Log rows above `published.settled`.
    pub pending_rows: u64,
    /// Rows in the dead-letter table.
    pub dead_letters: u64,
    /// Rows in the conflict log.
    pub conflicts: u64,
}

/// What one snapshot showed of the log: change sets, one behind the other.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogRead {
    /// In the order of the log; none when it has nothing new. Each holds whole transactions (G4), unless the last one was
    /// closed early.
    pub sets: Vec<ChangeSet>,
    /// Rows of the log that are left beyond the last set in that snapshot.
    pub remaining_rows: u64,
    /// The last set is above the limits, and ends within a transaction (G4).
    pub closed_early: bool,
    /// Rows too large to travel: (table, bytes).
    pub too_large: Vec<(String, usize)>,
}

impl LogRead {
    /// Log rows in all sets.
    #[must_use]
    pub fn log_rows(&self) -> u64 {
        self.sets.iter().map(|set| set.log_rows).sum()
    }
}

/// A change set, cut by shard and encoded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChangeSet {
    /// The log up to here is in it.
    pub through: LogPosition,
    /// Log rows in it.
    pub log_rows: u64,
    /// Per shard that has anything to publish.
    pub groups: BTreeMap<Shard, Vec<EncodedBody>>,
}

/// What the schema is now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SchemaRead {
    /// Every table of the database, by name.
    pub tables: Vec<TableReport>,
    /// Triggers or tables of ours that had to be made, replaced or removed.
    pub repaired: u64,
    /// Tables whose triggers were found missing: the scan looks for what was written since then.
    pub uncaptured: Vec<String>,
    /// Tables that the application dropped: what was still to be sent of them is gone with them.
    pub dropped: Vec<String>,
}

/// One table of the application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableReport {
    /// Its name.
    pub name: String,
    /// `None` when it is replicated, else why not.
    pub refused: Option<String>,
    /// What an operator should know although it is replicated.
    pub notes: Vec<String>,
}

/// A look at a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamFacts {
    /// Its identity, from its metadata.
    pub stream_id: String,
    /// Whose stream; `None` in shared mode.
    pub node: Option<NodeId>,
    /// The cluster's name in its metadata.
    pub cluster: String,
    /// The shard in its metadata.
    pub shard: Shard,
    /// The number of shards in its metadata.
    pub shards: u16,
    /// The first sequence it still has; last + 1 when it is empty.
    pub first: StreamSequence,
    /// The last sequence it ever had.
    pub last: StreamSequence,
    /// The mark of the message asked for; `None` when there is none (any more).
    pub mark: Option<FrameMark>,
    /// The owner's baseline: digest per table, as in [`StoreState::baseline`]; `None` when it does not say.
    pub baseline: Option<BTreeMap<String, u64>>,
}

/// A transaction of ours that held the application's write lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hold {
    /// What it wrote, in rows: what its length is measured against.
    pub rows: u64,
    /// How long it took altogether, in microseconds.
    pub worked_us: u64,
    /// For how long of that the lock was held, in microseconds.
    pub held_us: u64,
    /// It was held only to write down what was worked out before, else all the time.
    pub late: bool,
    /// How often somebody else committed since the hold before it; 1 when that is all that is known.
    pub application_writes: u64,
    /// How long ago the hold before it ended when this one did, in microseconds; 0 for the first.
    pub apart_us: u64,
}

/// What an apply did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Rows of each source that changed the database.
    pub rows_applied: BTreeMap<SourceId, u64>,
    /// Rows that were the same or older.
    pub rows_skipped: u64,
    /// Rows that went to the conflict log.
    pub conflicts: u64,
    /// Rows displaced by the UNIQUE rule (R1); their log rows wait to be published.
    pub displaced: u64,
    /// Rows that went to the dead letters.
    pub dead_letters: u64,
    /// The greatest clock among the rows.
    pub newest: Hlc,
    /// The greatest clock among the rows of each origin.
    pub clocks: BTreeMap<Origin, Hlc>,
    /// For how long the application could not write.
    pub hold: Hold,
    /// A table has more to report than before: the schema is to be read again.
    pub reports_changed: bool,
}

/// What became of dead letters that somebody asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LettersTended {
    /// What trying them again did to the database; one that stays counts nowhere.
    pub applied: Applied,
    /// How many are gone.
    pub gone: u64,
}

/// Why an apply was rolled back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ApplyFailure {
    /// SQLITE_BUSY: the application holds the lock. Worth another try soon.
    Busy,
    /// More of our own log was unstamped than an apply may stamp; so much of it was stamped instead.
    LogFirst {
        /// The transaction that did.
        hold: Hold,
        /// Log rows that are still unstamped.
        unstamped_rows: u64,
    },
    /// The schema changed under us: read it, then try again.
    SchemaChanged,
    /// A group cannot be applied as things stand; the source has to wait, the others go on.
    Source {
        /// Which source.
        source: SourceId,
        /// For people.
        reason: String,
        /// A change of our schema may help.
        schema: bool,
    },
    /// The database refuses: full disk, I/O error. Worth another try later.
    Store {
        /// For people.
        error: String,
    },
}

/// What housekeeping did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Housekept {
    /// Log rows that got their version.
    pub stamped: u64,
    /// Log rows that were trimmed.
    pub trimmed: u64,
    /// Log rows that still wait for their version or for trimming although they are published; counted up to as many as
    /// were asked for.
    pub remaining_rows: u64,
    /// Entries of the conflict log beyond its bounds are left.
    pub conflicts_remain: bool,
    /// For how long the application could not write.
    pub hold: Hold,
}

/// What one step of the scan did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scanned {
    /// The table that was looked at; empty when none was.
    pub table: String,
    /// What was found there, and logged as if it were written now.
    pub found: Found,
    /// That was the table's last step.
    pub table_done: bool,
    /// The pass is not over.
    pub more: bool,
}

/// Writes that no trigger saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Rows that were not there before.
    pub new: u64,
    /// Rows with another content.
    pub changed: u64,
    /// Rows that are gone.
    pub deleted: u64,
}

impl Found {
    /// None of them.
    pub const NONE: Self = Self { new: 0, changed: 0, deleted: 0 };

    /// All of them.
    #[must_use]
    pub const fn rows(self) -> u64 {
        self.new + self.changed + self.deleted
    }

    /// These and those.
    pub fn add(&mut self, other: Self) {
        self.new += other.new;
        self.changed += other.changed;
        self.deleted += other.deleted;
    }
}
