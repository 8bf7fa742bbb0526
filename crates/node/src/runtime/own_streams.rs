//! The streams that we publish to, our own or shared ones: what they are called, who publishes to them, who reads them.

use std::collections::BTreeMap;

use harmonylite_core::effect::Publish;
use harmonylite_core::input::{Input, StoreState};
use harmonylite_core::model::{NodeId, Shard, SourceId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::SOURCE_REQUESTS_MAX;
use crate::config::{Mode, Settings};
use crate::nats::{self, Connection, SourceInput, SourceSettings, StreamIdentity, StreamSettings};

/// The name of a shard's stream.
pub(crate) fn stream_name(settings: &Settings, shard: Shard) -> String {
    format!("{}-{shard}", settings.nats.stream_prefix)
}

/// The subject of a shard's stream.
pub(crate) fn subject(settings: &Settings, shard: Shard) -> String {
    format!("{}-{shard}", settings.nats.subject_prefix)
}

/// On which subject the members of a shared cluster hear one another.
pub(crate) fn members_subject(settings: &Settings) -> String {
    format!("{}-members", settings.nats.subject_prefix)
}

/// How the stream of a shard is to be when all nodes share it.
pub(crate) fn shared_stream(settings: &Settings, shard: Shard) -> (StreamSettings, StreamIdentity) {
    (stream_settings(settings, shard), stream_identity(settings, None, BTreeMap::new(), shard))
}

/// All shards of this cluster.
pub(crate) fn shards(settings: &Settings) -> impl Iterator<Item = Shard> + use<> {
    (1..=settings.replication_log.shards).filter_map(Shard::new)
}

/// What the core calls a node's stream (mesh mode).
pub(crate) fn source_id(node: NodeId, stream: &str) -> SourceId {
    SourceId(format!("{node}/{stream}"))
}

/// One own stream.
struct OwnStream {
    id: SourceId,
    settings: StreamSettings,
    identity: StreamIdentity,
}

/// The streams that we publish to.
pub(crate) struct OwnStreams {
    connection: Connection,
    streams: BTreeMap<Shard, OwnStream>,
}

impl OwnStreams {
    /// As the configuration wants them.
    pub(crate) fn of(settings: &Settings, state: &StoreState, connection: &Connection) -> Self {
        let stream = |shard| (shard, OwnStream::of(settings, state, shard));
        Self { connection: connection.clone(), streams: shards(settings).map(stream).collect() }
    }

    /// For the core.
    pub(crate) fn sources(&self) -> BTreeMap<Shard, SourceId> {
        self.streams.iter().map(|(shard, stream)| (*shard, stream.id.clone())).collect()
    }

    /// The tasks that read them; they make a missing one first.
    pub(crate) fn start_sources(
        &self,
        inputs: &mpsc::Sender<Input>,
        tasks: &CancellationToken,
    ) -> BTreeMap<SourceId, mpsc::Sender<SourceInput>> {
        let start = |stream: &OwnStream| {
            let (requests, received) = mpsc::channel(SOURCE_REQUESTS_MAX);
            let settings = SourceSettings {
                id: stream.id.clone(),
                stream: stream.settings.name.clone(),
                connection: self.connection.clone(),
                own: Some((stream.settings.clone(), stream.identity.clone())),
            };
            nats::spawn_source(settings, received, inputs.clone(), tasks.child_token());
            (stream.id.clone(), requests)
        };
        self.streams.values().map(start).collect()
    }

    /// The tasks that publish; each holds one publish at a time.
    pub(crate) fn start_publishers(
        &self,
        inputs: &mpsc::Sender<Input>,
        tasks: &CancellationToken,
    ) -> BTreeMap<Shard, mpsc::Sender<Publish>> {
        let start = |(shard, stream): (&Shard, &OwnStream)| {
            let (groups, received) = mpsc::channel(1);
            let publisher = Publisher {
                connection: self.connection.clone(),
                stream: stream.settings.name.clone(),
                subject: stream.settings.subject.clone(),
                inputs: inputs.clone(),
            };
            let tasks = tasks.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = tasks.cancelled() => {}
                    () = publisher.run(received) => {}
                }
            });
            (*shard, groups)
        };
        self.streams.iter().map(start).collect()
    }
}

impl OwnStream {
    fn of(settings: &Settings, state: &StoreState, shard: Shard) -> Self {
        let name = stream_name(settings, shard);
        if settings.nats.mode == Mode::Shared {
            let (settings, identity) = shared_stream(settings, shard);
            return Self { id: SourceId(name), identity, settings };
        }
        let node = Some(settings.node_id);
        Self {
            id: source_id(settings.node_id, &name),
            identity: stream_identity(settings, node, state.baseline.clone(), shard),
            settings: stream_settings(settings, shard),
        }
    }
}

fn stream_identity(
    settings: &Settings,
    node: Option<NodeId>,
    baseline: BTreeMap<String, u64>,
    shard: Shard,
) -> StreamIdentity {
    let (cluster, shards) = (settings.cluster.name.clone(), settings.replication_log.shards);
    StreamIdentity { cluster, node, shard, shards, baseline }
}

fn stream_settings(settings: &Settings, shard: Shard) -> StreamSettings {
    let log = &settings.replication_log;
    // Our own server stands alone: one copy is all that it can keep.
    let replicas = if settings.keeps_streams() { 1 } else { log.replicas };
    StreamSettings {
        name: stream_name(settings, shard),
        subject: subject(settings, shard),
        replicas: usize::from(replicas),
        max_bytes: log.max_bytes,
        max_age: log.max_age.unwrap_or_default(),
        max_messages: log.max_entries.unwrap_or_default(),
        update_existing: log.update_existing,
    }
}

struct Publisher {
    connection: Connection,
    stream: String,
    subject: String,
    inputs: mpsc::Sender<Input>,
}

impl Publisher {
    async fn run(self, mut groups: mpsc::Receiver<Publish>) {
        while let Some(Publish { shard, expected_last, messages }) = groups.recv().await {
            let stored =
                nats::publish_group(&self.connection, &self.stream, &self.subject, messages, expected_last)
                    .await;
            let answer = match stored {
                Ok(last) => Input::Published { shard, last },
                Err(error) => Input::PublishFailed { shard, error: error.to_string() },
            };
            if self.inputs.send(answer).await.is_err() {
                return;
            }
        }
    }
}
