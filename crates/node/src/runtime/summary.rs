//! What runs where: the summary at every start, and the frame of the status document.

use std::path::PathBuf;
use std::time::Instant;

use harmonylite_core::input::SchemaRead;
use harmonylite_core::status::Status;
use jiff::Timestamp;

use super::certificate;
use super::home::Home;
use super::members::{Members, PeerState};
use super::wal::WalView;
use crate::config::Settings;
use crate::nats::{ServerPid, StoreTrouble};
use crate::status::{NatsStatus, NodeStatus, PeerStatus, ReplicationStatus};

/// A node that runs, as far as it does not change.
#[derive(Clone, Debug)]
pub struct Summary {
    frame: NodeStatus,
    started: Instant,
    pid: ServerPid,
    store: StoreTrouble,
    wal: WalView,
    /// This node's certificate.
    cert_file: Option<PathBuf>,
    /// Replicated tables.
    replicated: Vec<String>,
    /// Tables that are left out.
    left_out: usize,
}

impl Summary {
    /// Of a node whose database is open and whose server was looked for.
    pub(crate) fn new(settings: &Settings, home: &Home, schema: &SchemaRead) -> Self {
        let reported = |refused| schema.tables.iter().filter(move |table| table.refused.is_some() == refused);
        Self {
            frame: frame(settings, home),
            started: Instant::now(),
            pid: home.pid(),
            store: home.store_trouble(),
            wal: WalView::default(),
            cert_file: cert_file(settings),
            replicated: reported(false).map(|table| table.name.clone()).collect(),
            left_out: reported(true).count(),
        }
    }

    /// The same with the size of the database's write-ahead log.
    pub(crate) fn watching(self, wal: WalView) -> Self {
        Self { wal, ..self }
    }

    /// One log line for what runs where; the tables that are left out follow when the core has read the schema.
    pub fn log(&self) {
        let frame = &self.frame;
        tracing::info!(
            node_id = frame.node_id,
            mode = frame.mode,
            cluster = frame.cluster,
            database = frame.database,
            listen = frame.listen.as_deref().unwrap_or("nowhere"),
            nats = frame.nats.url,
            advertise = frame.advertise.as_deref().unwrap_or("nowhere"),
            tables = self.replicated.join(","),
            left_out = self.left_out,
            "harmonylite {} runs",
            frame.version
        );
    }

    /// The whole status.
    pub(crate) fn status(&self, core: &Status, members: &Members, connected: bool) -> NodeStatus {
        let mut status = self.frame.clone();
        status.incarnation = format!("{:016x}", core.origin.raw_incarnation());
        status.uptime_s = self.started.elapsed().as_secs();
        status.wal = self.wal.status();
        status.nats.pid = self.pid.get();
        status.nats.trouble = self.store.get();
        status.nats.connected = connected;
        status.nats.certificate = self.cert_file.as_deref().map(certificate::status);
        status.replication = ReplicationStatus::from(core);
        status.peers = members.peers().iter().map(|peer| peer_status(peer, core)).collect();
        status.refused = members.refused();
        status
    }
}

/// This node's certificate, when it has one.
pub(crate) fn cert_file(settings: &Settings) -> Option<PathBuf> {
    let certificate = settings.nats.tls.as_ref()?.certificate.as_ref()?;
    Some(certificate.cert_file.clone())
}

fn frame(settings: &Settings, home: &Home) -> NodeStatus {
    NodeStatus {
        running: true,
        node_id: settings.node_id.get(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: settings.nats.mode.to_string(),
        cluster: settings.cluster.name.clone(),
        pid: std::process::id(),
        started_at: Timestamp::now().to_string(),
        database: settings.db_path.display().to_string(),
        listen: home.listen(),
        advertise: home.listen().and(settings.cluster.advertise.as_ref()).map(ToString::to_string),
        nats: NatsStatus {
            url: home.url(),
            server_version: home.version().map(|version| version.to_string()),
            ..NatsStatus::default()
        },
        ..NodeStatus::default()
    }
}

fn peer_status(peer: &PeerState, core: &Status) -> PeerStatus {
    let prefix = peer.node_id.map(|node| format!("{node}/"));
    let of_peer = |id: &String| prefix.as_ref().is_some_and(|prefix| id.starts_with(prefix));
    PeerStatus {
        url: peer.url.clone(),
        configured: peer.configured,
        node_id: peer.node_id.map(harmonylite_core::model::NodeId::get),
        connected: peer.connected,
        error: peer.error.clone(),
        sources: core.sources.keys().map(ToString::to_string).filter(of_peer).collect(),
    }
}
