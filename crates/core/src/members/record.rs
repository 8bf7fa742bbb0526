//! What a node says of itself with every heartbeat.

use crate::limits::{KNOWN_MEMBERS_MAX, RECORD_POSITIONS_MAX, RECORD_SOURCES_MAX};
use crate::model::{Incarnation, LogPosition, NodeId, Origin, Shard};

use super::backlog::Sample;

/// One node as it describes itself; numbered fields of a CBOR map, see docs/format.md.
#[derive(Clone, PartialEq, Eq, Debug, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct MemberRecord {
    /// Who it is.
    #[n(0)]
    pub node: NodeId,
    /// Which life of its database (R9); `None` before the database is open.
    #[n(1)]
    pub incarnation: Option<Incarnation>,
    /// Random per start of the process: tells two processes apart.
    #[n(2)]
    pub process: u64,
    /// A fingerprint of machine and database: the same for a restart, another one for a second node of that id.
    #[n(3)]
    pub home: u64,
    /// What the process is about.
    #[n(4)]
    pub life: Life,
    /// When the process started and which of its records this is.
    #[n(5)]
    pub version: MemberVersion,
    /// When the record was made, milliseconds since the epoch on its own clock.
    #[n(6)]
    pub beat_ms: u64,
    /// Its cluster's name.
    #[n(7)]
    pub cluster: String,
    /// Its number of shards.
    #[n(8)]
    pub shards: u16,
    /// The version of HarmonyLite.
    #[n(9)]
    pub release: String,
    /// Where others reach its server; `None` when they do not, or need not (shared mode).
    #[n(10)]
    pub address: Option<String>,
    /// How far it is.
    #[n(11)]
    pub progress: Progress,
    /// The other members that it knows, itself not among them.
    #[n(12)]
    pub known: Vec<Acquaintance>,
}

/// What a process is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Life {
    /// It asks whether it may start; it has no streams yet.
    #[n(0)]
    Starting,
    /// It runs.
    #[n(1)]
    Running,
    /// Its last record: it ends in order.
    #[n(2)]
    Stopped,
}

/// Orders the records of one node: by the start of the process, then by the number of the record. Both are the node's
/// own, so no two clocks are compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct MemberVersion {
    /// When the process started, milliseconds since the epoch on its own clock.
    #[n(0)]
    pub started_ms: u64,
    /// Counts its records, from 1.
    #[n(1)]
    pub beat: u64,
}

/// How far a node is.
#[derive(Clone, PartialEq, Eq, Debug, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Progress {
    /// Its published position per shard; shards on which it never wrote are missing.
    #[n(0)]
    pub published: Vec<(Shard, LogPosition)>,
    /// How far each origin's chain is applied there, per shard; in ascending order.
    #[n(1)]
    pub applied: Vec<(Origin, Shard, LogPosition)>,
    /// The last sequence of each source that is applied there.
    #[n(2)]
    pub checkpoints: Vec<(String, u64)>,
    /// How its published position grew: what a lag is measured by.
    #[n(3)]
    pub samples: Vec<Sample>,
    /// Log rows not yet published.
    #[n(4)]
    pub pending_rows: u64,
    /// Rows among its dead letters.
    #[n(5)]
    pub dead_letters: u64,
    /// Sources that stand still until somebody does something.
    #[n(6)]
    pub stopped_sources: u64,
}

/// A member as another one knows it.
#[derive(Clone, PartialEq, Eq, Debug, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Acquaintance {
    /// Who.
    #[n(0)]
    pub node: NodeId,
    /// The newest of its records that the teller knows of.
    #[n(1)]
    pub version: MemberVersion,
    /// Where it is reached, as of that record.
    #[n(2)]
    pub address: Option<String>,
    /// When the teller itself heard of it last, milliseconds since the epoch on the teller's clock.
    #[n(3)]
    pub heard_ms: Option<u64>,
    /// Somebody removed it: everything up to `version` is to be forgotten.
    #[n(4)]
    pub forgotten: bool,
}

impl Progress {
    /// How far it has applied the chain of `origin` on `shard`.
    #[must_use]
    pub fn applied_of(&self, origin: Origin, shard: Shard) -> LogPosition {
        let place = |(o, s, _): &(Origin, Shard, LogPosition)| (*o, *s).cmp(&(origin, shard));
        let found = self.applied.binary_search_by(place).ok().and_then(|at| self.applied.get(at));
        found.map_or(LogPosition::START, |(_, _, position)| *position)
    }

    /// Cuts what would make a record too large: of the positions the newest are kept, since old ones belong to origins
    /// that write no more.
    pub(super) fn cut(&mut self) {
        self.applied.sort_by_key(|(_, _, position)| std::cmp::Reverse(*position));
        self.applied.truncate(RECORD_POSITIONS_MAX);
        self.applied.sort_unstable();
        self.checkpoints.truncate(RECORD_SOURCES_MAX);
    }
}

impl MemberRecord {
    /// Who it is in this life of its database; `None` while it starts.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.incarnation.map(|incarnation| Origin::new(self.node, incarnation))
    }

    /// A member is told of at most so many others.
    pub(super) fn cut(&mut self) {
        self.known.truncate(KNOWN_MEMBERS_MAX);
        self.progress.cut();
    }
}
