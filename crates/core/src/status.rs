//! What a node knows of itself: plain data for `harmonylite status`, health and metrics.

use std::collections::BTreeMap;

use crate::input::TableReport;
use crate::model::{LogPosition, Origin, Shard, SourceId, StreamSequence};

/// A node's state at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Who we are.
    pub origin: Origin,
    /// Every table of the application.
    pub tables: Vec<TableReport>,
    /// What we publish.
    pub publisher: PublisherStatus,
    /// What we consume.
    pub sources: BTreeMap<SourceId, SourceStatus>,
    /// How far each origin's chain is applied here.
    pub positions: BTreeMap<(Origin, Shard), LogPosition>,
    /// Rows that wait among the dead letters.
    pub dead_letters: u64,
    /// Origins whose clock is further ahead of ours than allowed, and how far, in milliseconds.
    pub clocks_ahead: BTreeMap<Origin, u64>,
    /// What fails at the moment, and is tried until it succeeds.
    pub troubles: Vec<Trouble>,
    /// Since the process started.
    pub counters: Counters,
}

/// Something that fails at the moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// `apply`, `publish`, `read log`, `housekeeping`, `scan`, `read schema`, `inspect own frames`, `mint incarnation`.
    pub what: &'static str,
    /// Why.
    pub error: String,
}

/// The publisher's state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PublisherStatus {
    /// One word: `off`, `checking`, `idle`, `reading`, `publishing`, `waiting`.
    pub state: &'static str,
    /// Why it waits, when it does.
    pub waiting_for: Option<String>,
    /// Everything up to here is acknowledged.
    pub settled: LogPosition,
    /// How far our chain is acknowledged per shard that we ever published to.
    pub by_shard: BTreeMap<Shard, LogPosition>,
    /// Log rows not yet published, as of the last look.
    pub pending_rows: u64,
}

/// One source's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceStatus {
    /// One word: `off`, `connecting`, `following`, `stalled`, `lost`, `stopped`, `own`.
    pub state: &'static str,
    /// Why it is stalled, lost or stopped.
    pub reason: Option<String>,
    /// The last sequence that is applied.
    pub checkpoint: StreamSequence,
    /// The last sequence that the stream is known to have.
    pub last: StreamSequence,
    /// Rows of it that ever changed this database.
    pub rows_applied: u64,
    /// From the newest applied row's clock to its apply, in milliseconds.
    pub lag_ms: Option<u64>,
}

/// Counts since the process started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Log rows published.
    pub published_log_rows: u64,
    /// Groups published.
    pub published_groups: u64,
    /// Rows of other nodes that changed the database.
    pub rows_applied: u64,
    /// Rows of other nodes that were the same or older.
    pub rows_skipped: u64,
    /// Groups dropped because their chain was already further.
    pub groups_dropped: u64,
    /// Messages rejected.
    pub messages_rejected: u64,
    /// Rows put into the conflict log.
    pub conflicts: u64,
    /// Rows put into the dead letters.
    pub dead_letters: u64,
    /// Publishes without acknowledgement.
    pub publishes_uncertain: u64,
    /// Writes that no trigger saw, found by the scan.
    pub uncaptured_found: u64,
}
