//! The other nodes' servers: found out who answers at each address, then their streams become sources.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use harmonylite_core::input::Input;
use harmonylite_core::model::NodeId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::driver::{Call, NewSource};
use super::own_streams::{shards, source_id, stream_name};
use super::{SOURCE_REQUESTS_MAX, access};
use crate::config::{HostPort, Mode, Settings};
use crate::nats::{self, ConnectSettings, Connection, NatsError, SourceSettings};

/// One try to learn who answers.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries; a refused one answers at once.
const RETRY: Duration = Duration::from_millis(500);

/// A peer, for the status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PeerState {
    /// Its address, without credentials.
    pub url: String,
    /// Who answers there; `None` until somebody did.
    pub node_id: Option<NodeId>,
    /// There is a connection now.
    pub connected: bool,
    /// Why there is none, or why it is of no use.
    pub error: Option<String>,
}

/// All peers.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    peers: Arc<Vec<Peer>>,
}

#[derive(Debug)]
struct Peer {
    address: HostPort,
    connection: Connection,
    /// What is known of it beside the connection.
    known: Mutex<Known>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    node: Option<NodeId>,
    error: Option<String>,
}

impl Peers {
    /// Connects to every peer of the configuration, in the background and for as long as it takes.
    pub(crate) async fn start(
        settings: &Settings,
        inputs: &mpsc::Sender<Input>,
        calls: &mpsc::Sender<Call>,
        tasks: &CancellationToken,
    ) -> Result<Self, NatsError> {
        let mut peers = Vec::new();
        // Whoever shares the streams has no peers to read from.
        let mesh = settings.nats.mode == Mode::Mesh;
        for address in settings.cluster.peers.iter().filter(|_| mesh) {
            let connection = Connection::open(&connect_settings(settings, address)?).await?;
            peers.push(Peer { address: address.clone(), connection, known: Mutex::default() });
        }
        let peers = Arc::new(peers);
        for index in 0..peers.len() {
            let arrival = Arrival {
                peers: peers.clone(),
                index,
                settings: settings.clone(),
                inputs: inputs.clone(),
                calls: calls.clone(),
                tasks: tasks.clone(),
            };
            let tasks = tasks.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = tasks.cancelled() => {}
                    () = arrival.wait() => {}
                }
            });
        }
        Ok(Self { peers })
    }

    /// How they are now.
    pub(crate) fn list(&self) -> Vec<PeerState> {
        self.peers.iter().map(Peer::state).collect()
    }
}

impl Peer {
    fn state(&self) -> PeerState {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let connected = self.connection.is_connected();
        // Connected, and still nobody of ours: the reason stands.
        let error = known.error.filter(|_| !connected || known.node.is_none());
        PeerState { url: self.address.to_string(), node_id: known.node, connected, error }
    }

    fn know(&self, node: Option<NodeId>, error: Option<String>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Known { node, error };
    }
}

/// Waits for a peer that nobody has answered for yet.
struct Arrival {
    peers: Arc<Vec<Peer>>,
    index: usize,
    settings: Settings,
    inputs: mpsc::Sender<Input>,
    calls: mpsc::Sender<Call>,
    tasks: CancellationToken,
}

impl Arrival {
    async fn wait(self) {
        let peer = &self.peers[self.index];
        let mut last_error = None;
        loop {
            let error = match peer.connection.ready(READY_TIMEOUT).await {
                Ok(found) => match found.node {
                    Some(node) => return self.arrived(peer, node).await,
                    None => {
                        format!("the server there ({}) belongs to no HarmonyLite node", found.server_name)
                    }
                },
                Err(error) => error.to_string(),
            };
            if last_error.as_ref() != Some(&error) {
                tracing::warn!(peer = %peer.address, error, "peer not reached, trying again");
            }
            peer.know(None, Some(error.clone()));
            last_error = Some(error);
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn arrived(&self, peer: &Peer, node: NodeId) {
        peer.know(Some(node), None);
        if node == self.settings.node_id {
            tracing::info!(peer = %peer.address, "this peer is the node itself");
            return;
        }
        tracing::info!(peer = %peer.address, %node, "peer reached");
        for shard in shards(&self.settings) {
            let stream = stream_name(&self.settings, shard);
            let id = source_id(node, &stream);
            let (requests, received) = mpsc::channel(SOURCE_REQUESTS_MAX);
            let connection = peer.connection.clone();
            let settings = SourceSettings { id: id.clone(), stream, connection, own: None };
            nats::spawn_source(settings, received, self.inputs.clone(), self.tasks.child_token());
            if self.calls.send(Call::Source(NewSource { id, shard, requests })).await.is_err() {
                return;
            }
        }
    }
}

fn connect_settings(settings: &Settings, address: &HostPort) -> Result<ConnectSettings, NatsError> {
    Ok(ConnectSettings {
        name: nats::server_name(settings.node_id),
        servers: vec![format!("nats://{address}")],
        auth: access::auth(settings)?,
        tls: access::tls(settings),
    })
}
