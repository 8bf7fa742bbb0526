//! Where a node's streams are: on the nats-server that it runs itself, or on one that it finds (shared mode).
//!
//! Both come down to one connection and a few facts. What can never work is found out here, before anything is read or
//! sent; what only is not there yet is left to the tasks that try again.

use harmonylite_core::limits::{MESSAGE_SIZE_MAX, MESSAGE_SIZE_MIN};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{access, own_streams};
use crate::config::keys::{KEYS, Key};
use crate::config::{Mode, ServerUrl, Settings};
use crate::nats::{
    self, ConnectSettings, Connection, Leaf, NatsError, Peer, Server, ServerEvent, ServerPid, ServerRole,
    ServerSettings, StoreTrouble, Version,
};

/// What the server says of itself and nobody has read yet; more is not kept.
const SERVER_EVENTS_MAX: usize = 16;
/// Room in the server's store beside the streams.
const STORE_RESERVE: u64 = 1 << 30;
/// The store of a server whose streams have no limit: 8 EiB, JetStream counts in signed numbers.
const STREAM_BYTES_UNLIMITED: u64 = i64::MAX as u64;
/// What a message needs beside its body: the subject, and headers for its id, its stream and its place in a batch.
const MESSAGE_OVERHEAD: usize = 4096;

/// The place, reached or not.
#[derive(Debug)]
pub(crate) struct Home {
    /// Our own server, when we run one.
    server: Option<Server>,
    connection: Connection,
    /// Who answered; `None` when nobody has so far.
    peer: Option<Peer>,
}

/// What can be said without starting or reaching anything.
///
/// # Errors
/// When it could not work.
pub(crate) fn check(settings: &Settings) -> Result<(), NatsError> {
    if runs_server(settings) { Server::check(&server_settings(settings)?) } else { Ok(()) }
}

impl Home {
    /// Starts our own server, or looks for the one that the configuration names.
    ///
    /// # Errors
    /// When our own server cannot run, or the other one refuses us or cannot carry the streams. That it cannot be
    /// reached is none: the node runs, and its changes wait.
    pub(crate) async fn find(settings: &Settings) -> Result<Self, NatsError> {
        let server = if runs_server(settings) { Some(start_server(settings).await?) } else { None };
        let connect =
            server.as_ref().map_or_else(|| elsewhere(settings), |server| Ok(server.connect_settings()))?;
        let connection = Connection::open(&connect).await?;
        let connection = match &settings.nats.jetstream_domain {
            Some(domain) => connection.in_domain(domain),
            None => connection,
        };
        let mut home = Self { server, connection, peer: None };
        if !settings.keeps_streams() {
            home.peer = reach(settings, &home.connection).await?;
        }
        Ok(home)
    }

    /// To the streams.
    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The largest message that may be sent, in bytes.
    pub(crate) fn message_size_max(&self) -> usize {
        self.peer.as_ref().map_or(MESSAGE_SIZE_MAX, |peer| message_size_max(peer.max_payload))
    }

    /// Where our own server listens.
    pub(crate) fn listen(&self) -> Option<String> {
        self.server.as_ref().map(|server| server.listen().to_string())
    }

    /// Where the streams are reached, without credentials.
    pub(crate) fn url(&self) -> String {
        self.server.as_ref().map_or_else(|| self.connection.server().to_owned(), Server::client_url)
    }

    /// The version of the server, when it is known.
    pub(crate) fn version(&self) -> Option<Version> {
        let found = self.peer.as_ref().and_then(|peer| peer.version);
        self.server.as_ref().map(Server::version).or(found)
    }

    /// The process of our own server.
    pub(crate) fn pid(&self) -> ServerPid {
        self.server.as_ref().map(Server::pid).unwrap_or_default()
    }

    /// Why our own server stores nothing, when it does not.
    pub(crate) fn store_trouble(&self) -> StoreTrouble {
        self.server.as_ref().map(Server::store_trouble).unwrap_or_default()
    }

    /// Stops our own server.
    pub(crate) async fn leave(self) {
        if let Some(server) = self.server {
            server.stop().await;
        }
    }
}

fn runs_server(settings: &Settings) -> bool {
    settings.nats.urls.is_empty()
}

/// Begins to connect to the servers that the configuration names; `None` when it names none.
///
/// # Errors
/// When what we show them cannot be read.
pub(crate) async fn connect_elsewhere(settings: &Settings) -> Result<Option<Connection>, NatsError> {
    if runs_server(settings) {
        return Ok(None);
    }
    Connection::open(&elsewhere(settings)?).await.map(Some)
}

/// The servers that the configuration names.
fn elsewhere(settings: &Settings) -> Result<ConnectSettings, NatsError> {
    Ok(ConnectSettings {
        name: nats::server_name(settings.node_id),
        servers: settings.nats.urls.iter().map(ToString::to_string).collect(),
        auth: access::auth(settings)?,
        tls: access::tls(settings),
    })
}

/// Tries as often as it is configured; then the node goes on without.
async fn reach(settings: &Settings, connection: &Connection) -> Result<Option<Peer>, NatsError> {
    for left in (0..=settings.nats.connect_retries).rev() {
        let error = match streams_at(settings, connection).await {
            Ok(peer) => return Ok(Some(peer)),
            Err(error) if is_passing(&error) => error,
            Err(error) => return Err(error),
        };
        tracing::warn!(%error, left, "trying again");
        if connection.is_connected() && left > 0 {
            tokio::time::sleep(settings.nats.reconnect_wait).await;
        }
    }
    tracing::error!(
        server = connection.server(),
        "starting without the streams: changes wait in the database until they can be reached"
    );
    Ok(None)
}

/// Makes the streams that are missing, looks at the others, and says who answered.
async fn streams_at(settings: &Settings, connection: &Connection) -> Result<Peer, NatsError> {
    let peer = connection.ready(settings.nats.reconnect_wait).await?;
    peer.check_version(connection.server())?;
    for shard in own_streams::shards(settings) {
        let (stream, identity) = own_streams::shared_stream(settings, shard);
        nats::ensure_stream(connection, &stream, &identity).await?;
    }
    Ok(peer)
}

/// An election, a server that is just starting or not there: all of that passes.
const fn is_passing(error: &NatsError) -> bool {
    matches!(error, NatsError::Request { .. } | NatsError::Unreachable { .. })
}

async fn start_server(settings: &Settings) -> Result<Server, NatsError> {
    let (events, mut received) = mpsc::channel(SERVER_EVENTS_MAX);
    let server = Server::start(server_settings(settings)?, events, CancellationToken::new()).await?;
    tokio::spawn(async move {
        while let Some(event) = received.recv().await {
            match event {
                ServerEvent::Down { reason, retry_ms } => {
                    tracing::error!(reason, retry_ms, "nats-server is down, starting it again");
                }
                ServerEvent::Restarted => tracing::info!("nats-server runs again"),
            }
        }
    });
    Ok(server)
}

fn server_settings(settings: &Settings) -> Result<ServerSettings, NatsError> {
    let log = &settings.replication_log;
    let streams = own_streams::shards(settings).map(|shard| own_streams::stream_name(settings, shard));
    let subjects = own_streams::shards(settings).map(|shard| own_streams::subject(settings, shard));
    let listen = &settings.cluster.listen;
    Ok(ServerSettings {
        binary: settings.nats.server_binary.clone(),
        data_dir: settings.db_path.parent().map_or_else(Default::default, ToOwned::to_owned),
        node_id: settings.node_id,
        listen: (listen.host, listen.port.unwrap_or(0)).into(),
        peer_auth: access::auth(settings)?,
        // A leaf node is there for its own node alone, on loopback; what it shows to the cluster is in its role.
        tls: access::listener_tls(settings).filter(|_| settings.keeps_streams()),
        server_config: settings.nats.server_config.clone(),
        stream_names: streams.collect(),
        role: match settings.nats.mode {
            Mode::Mesh => ServerRole::Mesh,
            Mode::Shared if settings.keeps_streams() => ServerRole::Hub {
                subjects: subjects.collect(),
                members: own_streams::members_subject(settings),
            },
            Mode::Shared => ServerRole::Leaf(Leaf {
                urls: settings.cluster.leaf_servers.iter().map(ServerUrl::as_leaf).collect(),
                auth: access::auth(settings)?,
                tls: settings.nats.tls.clone(),
            }),
        },
        max_file_store: file_store_max(log.max_bytes, log.shards),
        withheld_variables: KEYS.iter().map(Key::variable).collect(),
    })
}

/// All streams full, and a little: the server refuses a stream whose limit does not fit.
fn file_store_max(stream_bytes: Option<u64>, shards: u16) -> u64 {
    let all = stream_bytes.unwrap_or(STREAM_BYTES_UNLIMITED).saturating_mul(u64::from(shards));
    all.saturating_add(STORE_RESERVE).min(STREAM_BYTES_UNLIMITED)
}

/// A server's limit counts headers, too.
fn message_size_max(max_payload: usize) -> usize {
    max_payload.saturating_sub(MESSAGE_OVERHEAD).clamp(MESSAGE_SIZE_MIN, MESSAGE_SIZE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_of_the_server_holds_all_streams() {
        assert!(file_store_max(Some(4 << 30), 4) > 16 << 30);
        assert_eq!(file_store_max(None, 4), STREAM_BYTES_UNLIMITED);
    }

    #[test]
    fn messages_with_their_headers_fit_the_servers_limit() {
        assert_eq!(message_size_max(1 << 20), MESSAGE_SIZE_MAX);
        assert_eq!(message_size_max(64 << 10), (64 << 10) - MESSAGE_OVERHEAD);
        assert_eq!(message_size_max(8 << 20), MESSAGE_SIZE_MAX);
    }
}
