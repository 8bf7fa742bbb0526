//! Everything a node can ask of the world. Plain data: printable, comparable, replayable.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::Message;
use crate::event::Event;
use crate::model::{Checkpoint, LogPosition, Origin, Shard, SourceId, StreamSequence};

/// The list that one call of [`Replicator::handle`](crate::replicator::Replicator::handle) fills, in order.
pub type Effects = Vec<Effect>;

/// A request to the world. What it promises to answer stands at each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Read what is new in the log. Answer: `LogRead`, `SchemaChanged` or `StoreFailed`.
    ReadLog(ReadLog),
    /// Publish groups to the shard's own stream. Answer: `Published` or `PublishFailed`.
    Publish(Publish),
    /// Look at a source's stream (connecting first when needed). Answer: `StreamObserved` or `SourceLost`.
    Observe(Observe),
    /// Start delivering a source's messages after `after`, at most `credit` of them. Answers: `Delivered` each, in
    /// order, without holes but those of the stream; `SourceLost` ends it.
    Follow(Follow),
    /// So many more messages may be delivered.
    Credit {
        /// Which source.
        source: SourceId,
        /// How many more.
        messages: u32,
    },
    /// Stop delivering. Messages under way may still arrive; they carry the `epoch` of the `Follow` they belong to.
    Unfollow {
        /// Which source.
        source: SourceId,
    },
    /// Apply groups in one transaction. Answer: `Applied` or `ApplyFailed`.
    Apply(ApplyBatch),
    /// Compare own frames found in an own stream with the database (R9). Answer: `OwnFramesInspected` or `StoreFailed`.
    InspectOwnFrames(Vec<Arc<ReceivedGroup>>),
    /// Take a new incarnation (R9). Answer: `IncarnationMinted` or `StoreFailed`.
    MintIncarnation,
    /// Stamp, save positions, trim. Answer: `Housekept` or `StoreFailed`.
    Housekeep(Housekeep),
    /// Look for writes that no trigger saw, one step. Answer: `Scanned` or `StoreFailed`.
    Scan(Scan),
    /// Read the schema again and repair the triggers. Answer: `SchemaRead` or `StoreFailed`.
    ReadSchema,
    /// Wake us after so many milliseconds; a timer that is set again is moved. Answer: `TimerFired`.
    SetTimer {
        /// Which timer.
        timer: Timer,
        /// From now.
        after_ms: u64,
    },
    /// Something happened that people or metrics want to know. No answer.
    Emit(Event),
    /// Everything is saved: end the process.
    Exit,
}

/// The core's timers; there is at most one of each.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// Housekeeping is due.
    Housekeeping,
    /// Look at a source again: after it was lost, or because it was silent for long.
    Observe(SourceId),
    /// The store was busy: try again to read the log.
    RetryRead,
    /// The store was busy, or the application is to have its turn: apply the next batch.
    RetryApply,
    /// The own streams are to be looked at again after a failed publish.
    RetryPublish,
    /// A request that the store refused is due again.
    RetryStore,
    /// The scan has a step to take, or all tables are to be looked at.
    Scan,
    /// Nothing happened for as long as a node stays awake.
    Sleep,
}

/// Which part of the log to read, and how to cut it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadLog {
    /// Everything up to here is published on every shard: rows above are read.
    pub settled: LogPosition,
    /// Per shard: keys whose newest log id is not above are already in that shard's stream.
    pub published: BTreeMap<Shard, LogPosition>,
    /// Compress bodies.
    pub compress: bool,
}

/// Groups for one own stream, one behind the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publish {
    /// Which own stream.
    pub shard: Shard,
    /// The last sequence that the stream must have (mesh mode: nobody else writes there); else they are refused.
    pub expected_last: Option<StreamSequence>,
    /// In order; all or nothing as far as the server's batches reach.
    pub messages: Vec<Message>,
}

/// Look at a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observe {
    /// Which source.
    pub source: SourceId,
    /// Read the mark of the message here, when not 0.
    pub at: StreamSequence,
}

/// Follow a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Follow {
    /// Which source.
    pub source: SourceId,
    /// Distinguishes this request from earlier ones: deliveries repeat it.
    pub epoch: u64,
    /// Deliver from the next one.
    pub after: StreamSequence,
    /// How many at first.
    pub credit: u32,
}

/// A group as it came: complete, in order, undecoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceivedGroup {
    /// From which source.
    pub source: SourceId,
    /// Whose log.
    pub origin: Origin,
    /// Which shard.
    pub shard: Shard,
    /// Where it starts in its chain.
    pub prev: LogPosition,
    /// Where it ends.
    pub through: LogPosition,
    /// Its bodies.
    pub bodies: Vec<ReceivedBody>,
    /// Rows, as the headers say.
    pub rows: u64,
}

/// One body of a received group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceivedBody {
    /// All pieces joined.
    pub bytes: Vec<u8>,
    /// As in the header.
    pub compressed: bool,
    /// As in the header.
    pub raw_size: u32,
}

/// What one transaction applies and saves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApplyBatch {
    /// In order. The position of (origin, shard) becomes each group's `through`.
    pub groups: Vec<Arc<ReceivedGroup>>,
    /// Where the sources' checkpoints stand afterwards (`rows_applied` is counted by the store, not set from here).
    pub checkpoints: BTreeMap<SourceId, Checkpoint>,
    /// Saved along (R6): costs no commit of its own.
    pub published: PublishedPositions,
    /// When more of our own log is unstamped, so many rows of it are stamped, in a transaction of its own, and nothing is
    /// applied (G1).
    pub stamp_rows: u64,
}

/// What is published, to be saved lazily.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PublishedPositions {
    /// Everything up to here is acknowledged on every shard.
    pub settled: LogPosition,
    /// Per shard: the end of the chain that is acknowledged.
    pub by_shard: BTreeMap<Shard, LogPosition>,
}

/// What housekeeping saves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Housekeep {
    /// What is published.
    pub published: PublishedPositions,
    /// Checkpoints that moved without an apply: own streams, dropped duplicates.
    pub checkpoints: BTreeMap<SourceId, Checkpoint>,
    /// So many log rows are stamped, and trimmed, at most (G1).
    pub rows: u64,
}

/// One step of the scan.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scan {
    /// Over all tables, or those alone that the store has marked.
    pub whole: bool,
    /// What is published: before a pass begins, what is in the log is stamped.
    pub published: PublishedPositions,
}
