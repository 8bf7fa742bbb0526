//! What a running node says of itself: the JSON document of `harmonylite status`.
//!
//! Names are part of the interface: scripts read them. The runtime fills a [`NodeStatus`], serves it on a socket beside
//! the database, and `cli::status` reads it back.

use std::path::{Path, PathBuf};

use harmonylite_core::input;
use harmonylite_core::status as core;
use serde::{Deserialize, Serialize};

use crate::cluster_status::RefusedNode;

/// A node at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NodeStatus {
    /// `true`: a process answered. Without one `status` prints a shorter document with `false`.
    pub running: bool,
    /// Who it is.
    pub node_id: u64,
    /// Which life of its database (R9), 16 hex digits.
    pub incarnation: String,
    /// The version of HarmonyLite.
    pub version: String,
    /// `mesh` or `shared`.
    pub mode: String,
    /// Its cluster's name.
    pub cluster: String,
    /// Its process.
    pub pid: u32,
    /// When the process started, RFC 3339 in UTC.
    pub started_at: String,
    /// For how long it has been running, in seconds.
    pub uptime_s: u64,
    /// The database file.
    pub database: String,
    /// Where its own server listens; `null` when it runs none.
    pub listen: Option<String>,
    /// Where peers reach it.
    pub advertise: Option<String>,
    /// The write-ahead log of the database.
    pub wal: WalStatus,
    /// The server of its streams.
    pub nats: NatsStatus,
    /// The addresses of other nodes, configured ones and those that members told.
    pub peers: Vec<PeerStatus>,
    /// Nodes that called of late and were refused.
    #[serde(default)]
    pub refused: Vec<RefusedNode>,
    /// What replication knows.
    #[serde(flatten)]
    pub replication: ReplicationStatus,
}

/// The write-ahead log of the database; all 0 when it has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WalStatus {
    /// Bytes in it since it last started over.
    pub bytes: u64,
    /// Of them written back into the database file. What is missing for long is held up by a long read transaction.
    pub checkpointed_bytes: u64,
}

/// The nats-server of the node's streams: its own, or the one that all nodes share.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NatsStatus {
    /// Where it is reached, without credentials; several addresses are separated by commas.
    pub url: String,
    /// Its version, when it is known.
    pub server_version: Option<String>,
    /// Are we connected to it?
    pub connected: bool,
    /// Its process, while it runs, when it is the node's own.
    pub pid: Option<u32>,
    /// Why it stores nothing, when its disk is full or broken; it is started again when that is over.
    pub trouble: Option<String>,
    /// What it and this node show others; `None` without TLS.
    pub certificate: Option<CertificateStatus>,
}

/// This node's certificate, as its file has it now.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The file.
    pub file: String,
    /// Whose it is, as it says.
    pub subject: String,
    /// The hosts that it is for.
    pub hosts: Vec<String>,
    /// Until when it holds, RFC 3339 in UTC.
    pub not_after: String,
    /// For how many whole days it still holds; negative when it does not any more.
    pub days_left: i64,
    /// `valid`, `expires soon` (within 30 days), `expired`, `not yet valid`, or why it cannot be read.
    pub state: String,
}

/// An address of another node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its address, without credentials.
    pub url: String,
    /// It stands in `cluster.peers`; else a member told it.
    #[serde(default)]
    pub configured: bool,
    /// Who it is, once it has answered.
    pub node_id: Option<u64>,
    /// Are we connected to its server?
    pub connected: bool,
    /// Why not, or why the server that answers there is of no use.
    pub error: Option<String>,
    /// The sources that are read from it.
    pub sources: Vec<String>,
}

/// What the core knows.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ReplicationStatus {
    /// Every table of the application.
    pub tables: Vec<TableStatus>,
    /// What is published.
    pub publisher: PublisherStatus,
    /// What is consumed.
    pub sources: Vec<SourceStatus>,
    /// How far each origin's chain is applied here.
    pub positions: Vec<PositionStatus>,
    /// Rows that wait among the dead letters, from before the process started, too.
    pub dead_letters: u64,
    /// Whose clock is further ahead of ours than `conflict.max_clock_drift`.
    pub clocks_ahead: Vec<ClockAhead>,
    /// What fails at the moment, and is tried until it succeeds.
    pub troubles: Vec<Trouble>,
    /// Since the process started.
    pub counters: Counters,
    /// What stands still until somebody does something.
    pub stopped: Vec<Stopped>,
}

/// A table of the application.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TableStatus {
    /// Its name.
    pub name: String,
    /// Do its rows travel?
    pub replicated: bool,
    /// Why not.
    pub reason: Option<String>,
    /// What to know although it is replicated.
    pub notes: Vec<String>,
}

/// The publisher.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PublisherStatus {
    /// One word: `off`, `checking`, `idle`, `reading`, `publishing`, `waiting`.
    pub state: String,
    /// Why it waits, when it does.
    pub waiting_for: Option<String>,
    /// Everything up to this log position is acknowledged.
    pub settled: i64,
    /// Log rows that are not published yet.
    pub pending_rows: u64,
}

/// A source.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SourceStatus {
    /// `<node id>/<stream>`; in shared mode the stream's name.
    pub id: String,
    /// One word: `off`, `connecting`, `following`, `stalled` (it is followed, it goes on, and nothing of it comes), `lost`,
    /// `stopped`, `own`.
    pub state: String,
    /// Why it is stalled, lost or stopped.
    pub reason: Option<String>,
    /// The last stream sequence that is applied.
    pub checkpoint: u64,
    /// The last stream sequence that is known.
    pub last: u64,
    /// Messages between the two.
    pub behind: u64,
    /// Rows of it that ever changed this database.
    pub rows_applied: u64,
    /// From a row's clock to its apply, in milliseconds, for the newest one.
    pub lag_ms: Option<u64>,
}

/// How far an origin's chain is applied.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PositionStatus {
    /// `<node id>/<incarnation>`.
    pub origin: String,
    /// Which shard.
    pub shard: u16,
    /// A log position of that origin.
    pub position: i64,
}

/// A clock that is too far ahead of ours.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ClockAhead {
    /// `<node id>/<incarnation>` of the changes that carry it.
    pub origin: String,
    /// How far ahead it is, in milliseconds.
    pub ahead_ms: u64,
}

/// Something that fails at the moment.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Trouble {
    /// What: `apply`, `publish`, `read log`, `housekeeping` and the like.
    pub what: String,
    /// Why.
    pub error: String,
}

/// Something that stands still.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stopped {
    /// The source.
    pub source: String,
    /// Why, and what would help.
    pub reason: String,
}

/// Counts since the process started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
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

/// The socket on which a running node of that database answers: one document per connection.
#[must_use]
pub fn socket_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".harmonylite.sock");
    PathBuf::from(name)
}

impl From<&core::Status> for ReplicationStatus {
    fn from(status: &core::Status) -> Self {
        let sources: Vec<SourceStatus> = status.sources.iter().map(SourceStatus::from).collect();
        Self {
            tables: status.tables.iter().map(TableStatus::from).collect(),
            publisher: PublisherStatus::from(&status.publisher),
            stopped: sources.iter().filter(|source| source.state == "stopped").map(Stopped::from).collect(),
            sources,
            positions: status.positions.iter().map(PositionStatus::from).collect(),
            dead_letters: status.dead_letters,
            clocks_ahead: status.clocks_ahead.iter().map(ClockAhead::from).collect(),
            troubles: status.troubles.iter().map(Trouble::from).collect(),
            counters: Counters::from(&status.counters),
        }
    }
}

impl From<&input::TableReport> for TableStatus {
    fn from(table: &input::TableReport) -> Self {
        Self {
            name: table.name.clone(),
            replicated: table.refused.is_none(),
            reason: table.refused.clone(),
            notes: table.notes.clone(),
        }
    }
}

impl From<&core::PublisherStatus> for PublisherStatus {
    fn from(publisher: &core::PublisherStatus) -> Self {
        Self {
            state: publisher.state.to_owned(),
            waiting_for: publisher.waiting_for.clone(),
            settled: publisher.settled.get(),
            pending_rows: publisher.pending_rows,
        }
    }
}

impl From<(&harmonylite_core::model::SourceId, &core::SourceStatus)> for SourceStatus {
    fn from((id, source): (&harmonylite_core::model::SourceId, &core::SourceStatus)) -> Self {
        Self {
            id: id.to_string(),
            state: source.state.to_owned(),
            reason: source.reason.clone(),
            checkpoint: source.checkpoint.0,
            last: source.last.0,
            behind: source.last.0.saturating_sub(source.checkpoint.0),
            rows_applied: source.rows_applied,
            lag_ms: source.lag_ms,
        }
    }
}

type Position<'a> = (
    &'a (harmonylite_core::model::Origin, harmonylite_core::model::Shard),
    &'a harmonylite_core::model::LogPosition,
);

impl From<Position<'_>> for PositionStatus {
    fn from(((origin, shard), position): Position<'_>) -> Self {
        Self { origin: origin.to_string(), shard: shard.get(), position: position.get() }
    }
}

impl From<(&harmonylite_core::model::Origin, &u64)> for ClockAhead {
    fn from((origin, &ahead_ms): (&harmonylite_core::model::Origin, &u64)) -> Self {
        Self { origin: origin.to_string(), ahead_ms }
    }
}

impl From<&core::Trouble> for Trouble {
    fn from(trouble: &core::Trouble) -> Self {
        Self { what: trouble.what.to_owned(), error: trouble.error.clone() }
    }
}

impl From<&SourceStatus> for Stopped {
    fn from(source: &SourceStatus) -> Self {
        Self { source: source.id.clone(), reason: source.reason.clone().unwrap_or_default() }
    }
}

impl From<&core::Counters> for Counters {
    fn from(counters: &core::Counters) -> Self {
        Self {
            published_log_rows: counters.published_log_rows,
            published_groups: counters.published_groups,
            rows_applied: counters.rows_applied,
            rows_skipped: counters.rows_skipped,
            groups_dropped: counters.groups_dropped,
            messages_rejected: counters.messages_rejected,
            conflicts: counters.conflicts,
            dead_letters: counters.dead_letters,
            publishes_uncertain: counters.publishes_uncertain,
            uncaptured_found: counters.uncaptured_found,
        }
    }
}

#[cfg(test)]
mod tests {
    use harmonylite_core::model::{
        Incarnation, LogPosition, NodeId, Origin, Shard, SourceId, StreamSequence,
    };

    use super::*;

    fn core_status() -> core::Status {
        let origin = Origin::new(NodeId::new(1).unwrap(), Incarnation::new(255).unwrap());
        let stopped = core::SourceStatus {
            state: "stopped",
            reason: Some("the stream lost 3 messages".into()),
            checkpoint: StreamSequence(7),
            last: StreamSequence(12),
            rows_applied: 5,
            lag_ms: None,
        };
        core::Status {
            origin,
            tables: vec![input::TableReport {
                name: "log".into(),
                refused: Some("no key".into()),
                notes: vec![],
            }],
            publisher: core::PublisherStatus { state: "idle", ..core::PublisherStatus::default() },
            sources: [(SourceId("2/harmonylite-changes-1".into()), stopped)].into(),
            positions: [((origin, Shard::FIRST), LogPosition::new(99).unwrap())].into(),
            dead_letters: 3,
            clocks_ahead: [(origin, 60_000)].into(),
            troubles: vec![core::Trouble { what: "apply", error: "disk full".into() }],
            counters: core::Counters { conflicts: 2, ..core::Counters::default() },
        }
    }

    #[test]
    fn what_the_core_knows_is_told_and_what_stands_still_is_listed() {
        let status = ReplicationStatus::from(&core_status());
        assert_eq!((status.sources[0].behind, status.counters.conflicts), (5, 2));
        assert_eq!(
            status.clocks_ahead,
            [ClockAhead { origin: "1/00000000000000ff".into(), ahead_ms: 60_000 }]
        );
        assert_eq!(status.dead_letters, 3);
        assert_eq!(status.troubles, [Trouble { what: "apply".into(), error: "disk full".into() }]);
        assert_eq!(status.stopped[0].source, "2/harmonylite-changes-1");
        assert_eq!(status.positions[0].origin, "1/00000000000000ff");
        assert!(!status.tables[0].replicated);
    }

    #[test]
    fn the_document_is_read_back_as_it_was_written() {
        let status = NodeStatus { node_id: 1, replication: (&core_status()).into(), ..NodeStatus::default() };
        let json = serde_json::to_string(&status).unwrap();
        assert!(json.contains("\"publisher\":{\"state\":\"idle\""), "{json}");
        assert_eq!(serde_json::from_str::<NodeStatus>(&json).unwrap(), status);
    }

    #[test]
    fn every_field_is_documented() {
        let mut status = NodeStatus { replication: (&core_status()).into(), ..NodeStatus::default() };
        status.peers.push(PeerStatus::default());
        status.refused.push(RefusedNode::default());
        status.nats.certificate = Some(CertificateStatus::default());
        let page = include_str!("../../../docs/status.md");
        let mut values = vec![serde_json::to_value(&status).unwrap()];
        while let Some(value) = values.pop() {
            match value {
                serde_json::Value::Object(fields) => {
                    for (name, value) in fields {
                        assert!(page.contains(&format!("`{name}`")), "{name} is missing");
                        values.push(value);
                    }
                }
                serde_json::Value::Array(items) => values.extend(items),
                _ => {}
            }
        }
    }
}
