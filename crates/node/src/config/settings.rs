//! The settings of a node, validated and typed: what the rest of the program works with.
//!
//! Whoever holds a [`Settings`] need not check anything again. How they are read stands in the files beside this one.

use std::path::PathBuf;
use std::time::Duration;

use harmonylite_core::limits::{CLOCK_DRIFT_MAX_MS, CONFLICTS_KEPT, CONFLICTS_KEPT_MS};
use harmonylite_core::model::NodeId;

use super::address::{HostPort, Listen};
use super::server_url::ServerUrl;
use crate::secret::Secret;
use crate::tls::TlsFiles;

/// Everything that can be configured and that this version acts on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The application's database, absolute.
    pub db_path: PathBuf,
    /// Who this node is.
    pub node_id: NodeId,
    /// The node id comes from the machine id: two nodes on one machine would be the same.
    pub node_id_derived: bool,
    /// Where the sequence map is kept, absolute; `None`: nowhere.
    pub seq_map_path: Option<PathBuf>,
    /// A fingerprint of the machine; 0 when it has no id.
    pub machine: u64,
    /// Send local changes.
    pub publish: bool,
    /// Apply the changes of others.
    pub replicate: bool,
    /// Between two runs of housekeeping.
    pub cleanup_interval: Duration,
    /// Between two looks at the database that no file event asked for. Never zero.
    pub polling_interval: Duration,
    /// After how long without an event the process ends; `None` never.
    pub sleep_timeout: Option<Duration>,
    /// The streams that carry changes.
    pub replication_log: ReplicationLog,
    /// The server that carries the streams.
    pub nats: Nats,
    /// The other nodes.
    pub cluster: Cluster,
    /// What is logged, and how.
    pub logging: Logging,
    /// What is done about conflicts beside deciding them.
    pub conflict: Conflict,
}

/// `[replication_log]`: the streams that carry changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicationLog {
    /// How many streams a node's changes are divided over; the same on all nodes.
    pub shards: u16,
    /// Compress what is sent.
    pub compress: bool,
    /// Change an existing stream whose settings differ, instead of refusing it.
    pub update_existing: bool,
    /// Messages a stream keeps; `None` is unlimited.
    pub max_entries: Option<u64>,
    /// Copies of each stream in a NATS cluster. A standalone server keeps one.
    pub replicas: u8,
    /// How long a stream keeps a message; `None` is for ever.
    pub max_age: Option<Duration>,
    /// Bytes a stream keeps; `None` is unlimited.
    pub max_bytes: Option<u64>,
}

/// Where the streams are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Every node has its own, on its own server, and reads those of the others.
    #[default]
    Mesh,
    /// All nodes share them, on servers that they all reach.
    Shared,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mesh => "mesh",
            Self::Shared => "shared",
        })
    }
}

/// `[nats]`: the server that carries the streams.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nats {
    /// Where the streams are.
    pub mode: Mode,
    /// The servers of an existing cluster (shared mode); empty: our own child.
    pub urls: Vec<ServerUrl>,
    /// The JetStream domain of the streams, when it is not that of the server we connect to.
    pub jetstream_domain: Option<String>,
    /// Subjects are `<subject_prefix>-<shard>`.
    pub subject_prefix: String,
    /// Streams are `<stream_prefix>-<shard>`.
    pub stream_prefix: String,
    /// A file with nats-server settings that is included and wins over ours, absolute.
    pub server_config: Option<PathBuf>,
    /// The nats-server to run, absolute; `None`: look beside our executable, then in `PATH`.
    pub server_binary: Option<PathBuf>,
    /// What nodes show one another, or what we show an existing cluster.
    pub credentials: Option<Credentials>,
    /// The seed of an NKey, which wins over the credentials. One of the two is there when the server listens beyond
    /// loopback.
    pub seed: Option<Secret>,
    /// `nats.ca_file`, `nats.cert_file` and `nats.key_file`: they are there and look like what they should be.
    pub tls: Option<TlsFiles>,
    /// How often reaching an existing cluster is tried again at start before the node goes on without it.
    pub connect_retries: u32,
    /// Between two tries to connect.
    pub reconnect_wait: Duration,
}

/// The name and the password of the cluster, the same on every node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// `nats.user_name`.
    pub user_name: String,
    /// `nats.user_password`.
    pub user_password: Secret,
}

/// `[cluster]`: the other nodes and how they reach this one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cluster {
    /// Its name; frames of another cluster are rejected.
    pub name: String,
    /// Where this node's server listens.
    pub listen: Listen,
    /// Where peers reach this node's server; `None`: nowhere but here, on a port that the system chooses.
    pub advertise: Option<HostPort>,
    /// The servers of the other nodes: no duplicates, not our own.
    pub peers: Vec<HostPort>,
    /// Where a cluster that has the streams takes our own server as a leaf node; empty: it is none.
    pub leaf_servers: Vec<ServerUrl>,
}

/// `[conflict]`: what is done about conflicts beside deciding them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// Entries that the conflict log keeps; `None` is any number.
    pub log_max_entries: Option<u64>,
    /// How long it keeps one; `None` is for ever.
    pub log_max_age: Option<Duration>,
    /// How far another node's clock may be ahead of ours before it is an alarm; `None` never is one.
    pub max_clock_drift: Option<Duration>,
}

/// `[logging]`: what is logged, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Logging {
    /// Log what helps to debug, too.
    pub verbose: bool,
    /// The format of a line.
    pub format: LogFormat,
}

/// The format of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Console,
    /// One JSON object per line.
    Json,
}

/// How often the database is looked at without an event when `polling_interval` is 0: file systems without events
/// exist, and an event can be missed.
pub const SAFETY_POLL: Duration = Duration::from_millis(500);

/// What a stream keeps unless told otherwise.
pub const STREAM_BYTES_DEFAULT: u64 = 4 << 30;

impl Settings {
    /// The defaults, for this database and this node: alone, on loopback, on a port that the system chooses.
    #[must_use]
    pub fn new(db_path: PathBuf, node_id: NodeId) -> Self {
        Self {
            db_path,
            node_id,
            node_id_derived: false,
            seq_map_path: None,
            machine: 0,
            publish: true,
            replicate: true,
            cleanup_interval: Duration::from_secs(5),
            polling_interval: SAFETY_POLL,
            sleep_timeout: None,
            replication_log: ReplicationLog::default(),
            nats: Nats::default(),
            cluster: Cluster::default(),
            logging: Logging::default(),
            conflict: Conflict::default(),
        }
    }
}

impl Settings {
    /// Is the server that we run the one that has the streams?
    #[must_use]
    pub fn keeps_streams(&self) -> bool {
        self.nats.urls.is_empty() && self.cluster.leaf_servers.is_empty()
    }
}

impl Default for ReplicationLog {
    fn default() -> Self {
        Self {
            shards: 1,
            compress: true,
            update_existing: false,
            max_entries: None,
            replicas: 1,
            max_age: None,
            max_bytes: Some(STREAM_BYTES_DEFAULT),
        }
    }
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            mode: Mode::Mesh,
            urls: Vec::new(),
            jetstream_domain: None,
            subject_prefix: "harmonylite-change-log".into(),
            stream_prefix: "harmonylite-changes".into(),
            server_config: None,
            server_binary: None,
            credentials: None,
            seed: None,
            tls: None,
            connect_retries: 5,
            reconnect_wait: Duration::from_secs(2),
        }
    }
}

impl Default for Conflict {
    fn default() -> Self {
        Self {
            log_max_entries: Some(CONFLICTS_KEPT),
            log_max_age: Some(Duration::from_millis(CONFLICTS_KEPT_MS)),
            max_clock_drift: Some(Duration::from_millis(CLOCK_DRIFT_MAX_MS)),
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: "e-harmonylite".into(),
            listen: Listen::LOOPBACK,
            advertise: None,
            peers: Vec::new(),
            leaf_servers: Vec::new(),
        }
    }
}
