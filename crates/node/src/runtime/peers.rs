//! A peer's server: how it is reached, and how its streams become sources.

use harmonylite_core::input::Input;
use harmonylite_core::model::NodeId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::driver::{Call, NewSource};
use super::own_streams::{shards, source_id, stream_name};
use super::{SOURCE_REQUESTS_MAX, access};
use crate::config::{HostPort, Settings};
use crate::nats::{self, ConnectSettings, Connection, NatsError, SourceSettings};

/// Makes sources of the streams of `node`, over `connection`; those that were read over another one move there.
pub(crate) async fn follow(
    settings: &Settings,
    node: NodeId,
    connection: &Connection,
    inputs: &mpsc::Sender<Input>,
    calls: &mpsc::Sender<Call>,
    tasks: &CancellationToken,
) {
    for shard in shards(settings) {
        let stream = stream_name(settings, shard);
        let id = source_id(node, &stream);
        let (requests, received) = mpsc::channel(SOURCE_REQUESTS_MAX);
        let source = SourceSettings { id: id.clone(), stream, connection: connection.clone(), own: None };
        nats::spawn_source(source, received, inputs.clone(), tasks.child_token());
        if calls.send(Call::Source(NewSource { id, shard, requests })).await.is_err() {
            return;
        }
    }
}

/// Reads the streams of `node` no more.
pub(crate) async fn unfollow(settings: &Settings, node: NodeId, calls: &mpsc::Sender<Call>) {
    for shard in shards(settings) {
        let id = source_id(node, &stream_name(settings, shard));
        if calls.send(Call::NoSource(id)).await.is_err() {
            return;
        }
    }
}

/// Begins to connect to the server at `address`.
///
/// # Errors
/// When what we show it cannot be read.
pub(crate) async fn connect(settings: &Settings, address: &HostPort) -> Result<Connection, NatsError> {
    let settings = ConnectSettings {
        name: nats::server_name(settings.node_id),
        servers: vec![format!("nats://{address}")],
        auth: access::auth(settings)?,
        tls: access::tls(settings),
    };
    Connection::open(&settings).await
}
