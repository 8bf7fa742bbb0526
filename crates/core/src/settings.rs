//! What the node as one machine is told when it is made.

use std::collections::BTreeMap;

use crate::model::{Shard, SourceId};

/// What a node is told once, at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The cluster's name; frames of another one are rejected.
    pub cluster: String,
    /// Streams per node; the same on all nodes.
    pub shards: u16,
    /// Send local changes.
    pub publish: bool,
    /// Apply other nodes' changes.
    pub replicate: bool,
    /// Compress bodies.
    pub compress: bool,
    /// The largest message, in bytes: below the server's `max_payload`.
    pub message_size_max: usize,
    /// Between two commits of housekeeping, in milliseconds.
    pub housekeeping_interval_ms: u64,
    /// How far another node's clock may be ahead of ours before it is an alarm, in milliseconds; `None` never is one.
    pub clock_drift_max_ms: Option<u64>,
    /// After how long without an event the node ends, in milliseconds; `None` never.
    pub sleep_after_ms: Option<u64>,
    /// Our own streams, by shard; one for each of `shards`.
    pub own_sources: BTreeMap<Shard, SourceId>,
    /// Shared mode: all nodes publish to those streams, and read them.
    pub shared: bool,
}
