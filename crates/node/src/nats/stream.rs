//! Streams: our own are made as they must be or refused; any is looked at through its facts.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Config, DirectGetErrorKind, DiscardPolicy, Info, RawMessageErrorKind, RetentionPolicy, StorageType,
    Stream,
};
use harmonylite_core::codec::peek_mark;
use harmonylite_core::input::StreamFacts;
use harmonylite_core::model::{FrameMark, NodeId, Shard, StreamSequence};

use super::{Connection, NatsError, random_hex};

/// For each request about a stream.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// Making a stream syncs directories.
const CREATE_TIMEOUT: Duration = Duration::from_secs(10);
/// In it JetStream drops messages whose id it has seen.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// A baseline above this many bytes of JSON is left out: the metadata travels with every look at the stream.
const BASELINE_SIZE_MAX: usize = 8 << 10;

const STREAM_ID: &str = "harmonylite-stream-id";
const CLUSTER: &str = "harmonylite-cluster";
const NODE_ID: &str = "harmonylite-node-id";
const SHARD: &str = "harmonylite-shard";
const SHARDS: &str = "harmonylite-shards";
const BASELINE: &str = "harmonylite-baseline";

/// How an own stream is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamSettings {
    /// Its name.
    pub name: String,
    /// Its only subject.
    pub subject: String,
    /// Copies, 1 to 5; more than one needs a cluster.
    pub replicas: usize,
    /// Bytes after which the oldest messages go; `None`: unlimited.
    pub max_bytes: Option<u64>,
    /// Age after which messages go; zero: unlimited.
    pub max_age: Duration,
    /// Messages after which the oldest go; 0: unlimited.
    pub max_messages: u64,
    /// Change an existing stream that differs instead of refusing it.
    pub update_existing: bool,
}

/// What a stream's metadata says of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamIdentity {
    /// The cluster's name.
    pub cluster: String,
    /// Whose stream; `None` in shared mode.
    pub node: Option<NodeId>,
    /// Which shard.
    pub shard: Shard,
    /// Of how many.
    pub shards: u16,
    /// The owner's baseline: digest per table.
    pub baseline: BTreeMap<String, u64>,
}

/// Makes the own stream when it is missing; else checks that it is ours and as it should be. A baseline that has
/// changed is written in any case.
pub async fn ensure_stream(
    connection: &Connection,
    settings: &StreamSettings,
    identity: &StreamIdentity,
) -> Result<StreamFacts, NatsError> {
    let info = match find_or_make(connection, settings, identity).await? {
        Found::Made(info) => info,
        Found::There(info) => adjust(connection, settings, identity, info).await?,
    };
    facts(&info, None)
}

/// Makes the own stream when it is missing; else checks only whose it is. Its settings were looked at when this process
/// began: somebody who changes them while nodes run must not stop these.
pub(super) async fn keep_stream(
    connection: &Connection,
    settings: &StreamSettings,
    identity: &StreamIdentity,
) -> Result<(), NatsError> {
    match find_or_make(connection, settings, identity).await? {
        Found::Made(_) => Ok(()),
        Found::There(info) => check_identity(&info.config, identity),
    }
}

enum Found {
    There(Info),
    Made(Info),
}

/// Two nodes may want to make a shared stream at the same time: the second takes the stream of the first.
async fn find_or_make(
    connection: &Connection,
    settings: &StreamSettings,
    identity: &StreamIdentity,
) -> Result<Found, NatsError> {
    if let Some(stream) = find(connection, &settings.name).await? {
        return Ok(Found::There(stream.cached_info().clone()));
    }
    if let Some(info) = create(connection, config(settings, identity, random_hex(16)?)).await? {
        return Ok(Found::Made(info));
    }
    let winner = find(connection, &settings.name).await?;
    let gone = || connection.failed(&looking_at(&settings.name), "somebody made it, and it is gone again");
    winner.map(|stream| Found::There(stream.cached_info().clone())).ok_or_else(gone)
}

/// Looks at a stream, and at the mark of its message `at` (not when that is 0).
pub async fn observe_stream(
    connection: &Connection,
    stream: &str,
    at: StreamSequence,
) -> Result<StreamFacts, NatsError> {
    observe(connection, stream, at, Reader::Peer).await
}

/// The same for a stream that we publish to. All is asked of the stream's leader: another server of a cluster may not
/// have got as far, and what it lacks would look like a loss.
pub(super) async fn observe_own_stream(
    connection: &Connection,
    stream: &str,
    at: StreamSequence,
) -> Result<StreamFacts, NatsError> {
    observe(connection, stream, at, Reader::Owner).await
}

/// Who asks: a peer may not ask for everything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Owner,
    Peer,
}

async fn observe(
    connection: &Connection,
    stream: &str,
    at: StreamSequence,
    reader: Reader,
) -> Result<StreamFacts, NatsError> {
    let found = find(connection, stream).await?;
    let found = found.ok_or_else(|| connection.failed(&looking_at(stream), "no such stream"))?;
    let mark = mark_at(connection, &found, stream, at, reader).await?;
    facts(found.cached_info(), mark)
}

/// First and last sequence of a stream.
pub(super) async fn stream_range(
    connection: &Connection,
    stream: &str,
) -> Result<(StreamSequence, StreamSequence), NatsError> {
    let found = find(connection, stream).await?;
    let found = found.ok_or_else(|| connection.failed(&looking_at(stream), "no such stream"))?;
    Ok(range(found.cached_info()))
}

fn looking_at(stream: &str) -> String {
    format!("looking at stream {stream}")
}

/// `None` only when the server says for certain that it does not exist.
async fn find(connection: &Connection, name: &str) -> Result<Option<Stream>, NatsError> {
    let what = looking_at(name);
    match connection.call(&what, name, REQUEST_TIMEOUT, connection.jetstream().get_stream(name)).await? {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Ok(None)
            }
            _ => Err(connection.failed(&what, error)),
        },
    }
}

/// `None` when there is one of that name by now.
async fn create(connection: &Connection, config: Config) -> Result<Option<Info>, NatsError> {
    let name = config.name.clone();
    let what = format!("making stream {name}");
    let request = connection.jetstream().create_stream(config);
    let error = match connection.call(&what, &name, CREATE_TIMEOUT, request).await? {
        Ok(stream) => return Ok(Some(stream.cached_info().clone())),
        Err(error) => error,
    };
    match error.kind() {
        CreateStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NAME_EXIST => {
            Ok(None)
        }
        CreateStreamErrorKind::JetStream(answer) if is_final(answer.error_code()) => {
            let (server, reason) = (connection.server().to_owned(), answer.to_string());
            Err(NatsError::StreamRefused { stream: name, server, reason })
        }
        _ => Err(connection.failed(&what, error)),
    }
}

/// Does the server's answer stay the same until somebody changes something? Not so what it says during an election, or
/// while servers of its cluster are missing.
fn is_final(code: ErrorCode) -> bool {
    [
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED,
        ErrorCode::STREAM_SUBJECT_OVERLAP,
        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
    ]
    .contains(&code)
}

async fn adjust(
    connection: &Connection,
    settings: &StreamSettings,
    identity: &StreamIdentity,
    info: Info,
) -> Result<Info, NatsError> {
    let id = stream_id(&info.config)?;
    check_identity(&info.config, identity)?;
    let wanted = config(settings, identity, id);
    let differences = differences(&info.config, &wanted);
    if !differences.is_empty() && !settings.update_existing {
        return Err(NatsError::StreamMismatch {
            stream: settings.name.clone(),
            differences: differences.join(", "),
            hint: "change the settings, or set replication_log.update_existing",
        });
    }
    let same_baseline = info.config.metadata.get(BASELINE) == wanted.metadata.get(BASELINE);
    if differences.is_empty() && same_baseline { Ok(info) } else { update(connection, wanted).await }
}

async fn update(connection: &Connection, config: Config) -> Result<Info, NatsError> {
    let name = config.name.clone();
    let what = format!("updating stream {name}");
    let request = connection.jetstream().update_stream(config);
    let updated = connection.call(&what, &name, CREATE_TIMEOUT, request).await?;
    updated.map_err(|error| connection.failed(&what, error))
}

fn config(settings: &StreamSettings, identity: &StreamIdentity, id: String) -> Config {
    Config {
        name: settings.name.clone(),
        subjects: vec![settings.subject.clone()],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        num_replicas: settings.replicas,
        max_bytes: unlimited_or(settings.max_bytes.unwrap_or(0)),
        max_messages: unlimited_or(settings.max_messages),
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        max_age: settings.max_age,
        duplicate_window: duplicate_window(settings.max_age),
        allow_atomic_publish: true,
        allow_direct: true,
        deny_delete: true,
        metadata: metadata(identity, id),
        ..Config::default()
    }
}

fn unlimited_or(limit: u64) -> i64 {
    if limit == 0 { -1 } else { i64::try_from(limit).unwrap_or(i64::MAX) }
}

/// The server refuses a window above the greatest age.
fn duplicate_window(max_age: Duration) -> Duration {
    if max_age.is_zero() { DUPLICATE_WINDOW } else { DUPLICATE_WINDOW.min(max_age) }
}

fn metadata(identity: &StreamIdentity, id: String) -> HashMap<String, String> {
    let mut metadata = HashMap::from([
        (STREAM_ID.to_owned(), id),
        (CLUSTER.to_owned(), identity.cluster.clone()),
        (SHARD.to_owned(), identity.shard.to_string()),
        (SHARDS.to_owned(), identity.shards.to_string()),
    ]);
    // A shared stream is nobody's, and has nobody's baseline.
    if let Some(node) = identity.node {
        metadata.insert(NODE_ID.to_owned(), node.to_string());
        metadata.extend(baseline_text(&identity.baseline).map(|text| (BASELINE.to_owned(), text)));
    }
    metadata
}

/// JSON, digests in hex: 64 bits are more than JSON numbers hold.
fn baseline_text(baseline: &BTreeMap<String, u64>) -> Option<String> {
    let digests: BTreeMap<_, _> = baseline.iter().map(|(t, digest)| (t, format!("{digest:016x}"))).collect();
    let text = serde_json::to_string(&digests).ok()?;
    if text.len() > BASELINE_SIZE_MAX {
        let tables = digests.len();
        tracing::warn!(
            tables,
            "too many tables to publish a digest of each: peers cannot compare them with theirs"
        );
        return None;
    }
    Some(text)
}

/// `None` when there is none, or none that we understand.
fn parse_baseline(metadata: &HashMap<String, String>) -> Option<BTreeMap<String, u64>> {
    let digests: BTreeMap<String, String> = serde_json::from_str(metadata.get(BASELINE)?).ok()?;
    let parse = |(table, digest): (String, String)| Some((table, u64::from_str_radix(&digest, 16).ok()?));
    digests.into_iter().map(parse).collect()
}

fn check_identity(found: &Config, identity: &StreamIdentity) -> Result<(), NatsError> {
    let wanted = metadata(identity, String::new());
    let cluster = shown(&found.metadata, CLUSTER);
    if identity.node.is_none() && cluster != identity.cluster {
        let ours = &identity.cluster;
        let reason = format!(
            "it belongs to cluster {cluster}, this node to {ours}; correct cluster.name, or set a nats.stream_prefix and \
             a nats.subject_prefix of its own for each cluster"
        );
        return Err(foreign(found, reason));
    }
    let differences: Vec<_> = [CLUSTER, NODE_ID, SHARD, SHARDS]
        .into_iter()
        .filter_map(|key| difference(key, shown(&found.metadata, key), shown(&wanted, key)))
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    Err(NatsError::StreamMismatch {
        stream: found.name.clone(),
        differences: differences.join(", "),
        hint: match identity.node {
            Some(_) => "this node's configuration does not belong to these JetStream files",
            None => {
                "replication_log.shards must be the same on all nodes, and the stream one that all of them share"
            }
        },
    })
}

fn shown(metadata: &HashMap<String, String>, key: &str) -> String {
    metadata.get(key).map_or_else(|| "(none)".to_owned(), Clone::clone)
}

fn difference(name: &str, found: String, wanted: String) -> Option<String> {
    (found != wanted).then(|| format!("{name} is {found}, should be {wanted}"))
}

fn differences(found: &Config, wanted: &Config) -> Vec<String> {
    fn settings(config: &Config) -> Vec<(&'static str, String)> {
        vec![
            ("subjects", config.subjects.join(" ")),
            ("storage", format!("{:?}", config.storage)),
            ("retention", format!("{:?}", config.retention)),
            ("discard", format!("{:?}", config.discard)),
            ("replicas", config.num_replicas.to_string()),
            ("max_bytes", config.max_bytes.to_string()),
            ("max_entries", config.max_messages.to_string()),
            ("max_entries per subject", config.max_messages_per_subject.to_string()),
            ("max_message_size", config.max_message_size.to_string()),
            ("max_consumers", config.max_consumers.to_string()),
            ("max_age", format!("{:?}", config.max_age)),
            ("duplicate_window", format!("{:?}", config.duplicate_window)),
            ("allow_atomic", config.allow_atomic_publish.to_string()),
            ("allow_direct", config.allow_direct.to_string()),
            ("deny_delete", config.deny_delete.to_string()),
            ("acknowledgements", (!config.no_ack).to_string()),
            ("sealed", config.sealed.to_string()),
            ("sources", (config.sources.is_some() || config.mirror.is_some()).to_string()),
        ]
    }
    let pairs = settings(found).into_iter().zip(settings(wanted));
    pairs.filter_map(|((name, found), (_, wanted))| difference(name, found, wanted)).collect()
}

async fn mark_at(
    connection: &Connection,
    stream: &Stream,
    name: &str,
    at: StreamSequence,
    reader: Reader,
) -> Result<Option<FrameMark>, NatsError> {
    let (first, last) = range(stream.cached_info());
    if at == StreamSequence::START || at < first || at > last {
        return Ok(None);
    }
    let what = format!("reading message {at} of stream {name}");
    if reader == Reader::Peer {
        return match connection.call(&what, name, REQUEST_TIMEOUT, stream.direct_get(at.0)).await? {
            Ok(message) => Ok(peek_mark(&message.payload)),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(connection.failed(&what, error)),
        };
    }
    match connection.call(&what, name, REQUEST_TIMEOUT, stream.get_raw_message(at.0)).await? {
        Ok(message) => Ok(peek_mark(&message.payload)),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => Ok(None),
            RawMessageErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                Ok(None)
            }
            _ => Err(connection.failed(&what, error)),
        },
    }
}

/// The first sequence that is still there (last + 1 when it is empty) and the last there ever was.
fn range(info: &Info) -> (StreamSequence, StreamSequence) {
    let last = StreamSequence(info.state.last_sequence);
    let first =
        if info.state.messages == 0 { last.next() } else { StreamSequence(info.state.first_sequence) };
    (first, last)
}

fn stream_id(config: &Config) -> Result<String, NatsError> {
    let id = config.metadata.get(STREAM_ID).filter(|id| !id.is_empty());
    id.cloned().ok_or_else(|| foreign(config, format!("it has no {STREAM_ID} in its metadata")))
}

fn foreign(config: &Config, reason: String) -> NatsError {
    NatsError::ForeignStream { stream: config.name.clone(), reason }
}

fn facts(info: &Info, mark: Option<FrameMark>) -> Result<StreamFacts, NatsError> {
    let config = &info.config;
    let number = |key: &str| config.metadata.get(key).and_then(|text| text.parse::<u16>().ok());
    let (first, last) = range(info);
    Ok(StreamFacts {
        stream_id: stream_id(config)?,
        node: config.metadata.get(NODE_ID).and_then(|id| id.parse().ok()).and_then(NodeId::new),
        cluster: config.metadata.get(CLUSTER).cloned().unwrap_or_default(),
        shard: number(SHARD)
            .and_then(Shard::new)
            .ok_or_else(|| foreign(config, format!("it has no {SHARD} in its metadata")))?,
        shards: number(SHARDS)
            .ok_or_else(|| foreign(config, format!("it has no {SHARDS} in its metadata")))?,
        first,
        last,
        mark,
        baseline: parse_baseline(&config.metadata),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_survives_its_text() {
        let baseline = BTreeMap::from([("a \"b\"".to_owned(), u64::MAX), ("t".to_owned(), 0)]);
        let text = baseline_text(&baseline).unwrap();
        assert_eq!(parse_baseline(&HashMap::from([(BASELINE.to_owned(), text)])), Some(baseline));
        assert_eq!(parse_baseline(&HashMap::from([(BASELINE.to_owned(), "garbage".to_owned())])), None);
        assert_eq!(parse_baseline(&HashMap::new()), None);
    }

    #[test]
    fn a_baseline_of_very_many_tables_is_left_out() {
        let baseline = (0..1000).map(|n| (format!("table_{n}"), n)).collect();
        assert_eq!(baseline_text(&baseline), None);
    }
}
