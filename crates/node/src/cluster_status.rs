//! What a running node says of its cluster: the JSON document of `harmonylite status --cluster` and `node list`.
//!
//! Names are part of the interface, as in [`status`](crate::status). Everything is as the node that was asked knows it;
//! what it does not know is null, never 0.

use serde::{Deserialize, Serialize};

use crate::status::PositionStatus;

/// A cluster as one node sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The node that was asked.
    pub node_id: u64,
    /// The cluster's name.
    pub cluster: String,
    /// `mesh` or `shared`.
    pub mode: String,
    /// When this was so, RFC 3339 in UTC.
    pub at: String,
    /// All members that it knows, itself among them, by node id.
    pub members: Vec<MemberStatus>,
    /// Nodes that are no members, because they or this one refused.
    pub refused: Vec<RefusedNode>,
}

/// One member.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Who.
    pub node_id: u64,
    /// It is the node that was asked.
    pub this_node: bool,
    /// Where its server is reached.
    pub address: Option<String>,
    /// One word: `alive`, `stopped` (in order), `unreachable`, `refused`.
    pub state: String,
    /// Since when it is not alive, RFC 3339 in UTC; null when it is, or when this process never heard it.
    pub since: Option<String>,
    /// Why it is not, or what is wrong although it is.
    pub reason: Option<String>,
    /// When the node that was asked heard it last.
    pub heard: Option<String>,
    /// When another member says to have heard it last, by that member's clock.
    pub heard_by_others: Option<String>,
    /// Its version of HarmonyLite.
    pub version: Option<String>,
    /// When its process started, by its own clock.
    pub started_at: Option<String>,
    /// Which life of its database (R9), 16 hex digits.
    pub incarnation: Option<String>,
    /// Log rows that it has not published.
    pub pending_rows: Option<u64>,
    /// Rows among its dead letters.
    pub dead_letters: Option<u64>,
    /// Sources that stand still there until somebody does something.
    pub stopped_sources: Option<u64>,
    /// Its own published position, per shard that it ever wrote to.
    pub published: Vec<PublishedStatus>,
    /// How far each origin's chain is applied there.
    pub positions: Vec<PositionStatus>,
    /// How far each stream is applied there.
    pub checkpoints: Vec<CheckpointStatus>,
    /// How far it is behind each other member.
    pub lag: Vec<LagStatus>,
}

/// A published position.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PublishedStatus {
    /// Which shard.
    pub shard: u16,
    /// A log position of the member.
    pub position: i64,
}

/// How far a stream is applied.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CheckpointStatus {
    /// The source, as in the member's own status.
    pub source: String,
    /// The last stream sequence that is applied.
    pub sequence: u64,
}

/// How far a member is behind another one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LagStatus {
    /// The member whose changes are missing.
    pub node_id: u64,
    /// Log rows that are missing, at most; null when it is not known.
    pub rows: Option<u64>,
    /// For how long the oldest of them has been published, at most, in milliseconds; null when it is not known.
    pub ms: Option<u64>,
}

/// A node that is no member.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RefusedNode {
    /// Who it says to be.
    pub node_id: u64,
    /// Where it is reached, as it says or as it was called.
    pub address: Option<String>,
    /// Why.
    pub reason: String,
    /// Since when; null when it was this node that called.
    pub since: Option<String>,
}
