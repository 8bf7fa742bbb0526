//! The machines, driven by scripts of inputs and expected effects: no database, no server, no clock.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod consumer;
mod halted;
mod publisher;
mod restart;
mod scan;
mod set_aside;
mod sleep;

use std::collections::BTreeMap;

use harmonylite_core::codec::{BodyWriter, EncodedBody, GroupPlace, Message, encode_group};
use harmonylite_core::conflict::{RowVersion, Version};
use harmonylite_core::effect::{ApplyBatch, Effect, Effects, PublishedPositions};
use harmonylite_core::event::Event;
use harmonylite_core::input::{
    Applied, ChangeSet, Hold, Input, LogRead, SchemaRead, StoreState, StreamFacts, Timestamp,
};
use harmonylite_core::model::{
    Checkpoint, Collation, Column, FrameMark, Hlc, Incarnation, LogPosition, NodeId, Origin, RowChange,
    RowContent, Shard, SourceId, StreamSequence, TableSchema, Value,
};
use harmonylite_core::replicator::{Replicator, Settings};
use harmonylite_core::schema::TableFingerprint;

/// A reading of the log with one change set.
fn one_set(through: LogPosition, groups: BTreeMap<Shard, Vec<EncodedBody>>) -> LogRead {
    LogRead { sets: vec![ChangeSet { through, log_rows: 1, groups }], ..LogRead::default() }
}

/// A replicator with what it asked for since the last look.
struct Node {
    replicator: Replicator,
    effects: Effects,
    now: u64,
    /// Of the newest `Follow` of each source.
    epochs: BTreeMap<SourceId, u64>,
}

impl Node {
    /// Node 1 of the cluster `test`, one shard, with nothing in its database.
    fn fresh() -> Self {
        Self::with(state(), |_| ())
    }

    fn with(state: StoreState, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            cluster: "test".to_owned(),
            shards: 1,
            publish: true,
            replicate: true,
            compress: false,
            message_size_max: 4096,
            housekeeping_interval_ms: 5000,
            clock_drift_max_ms: Some(10_000),
            sleep_after_ms: None,
            own_sources: BTreeMap::from([(Shard::FIRST, own())]),
            shared: false,
        };
        change(&mut settings);
        let mut effects = Effects::new();
        let replicator = Replicator::new(settings, state, SchemaRead::default(), &mut effects);
        Self { replicator, effects, now: 1000, epochs: BTreeMap::new() }
    }

    /// A node whose own (empty) stream is checked and whose log is read to its (empty) end.
    fn ready() -> Self {
        let mut node = Self::fresh();
        node.send(Input::StreamObserved { source: own(), stream: facts(0) });
        node.send(Input::LogRead(LogRead::default()));
        node.take();
        node
    }

    /// Ready, and following node 2 from the start.
    fn following() -> Self {
        let mut node = Self::ready();
        node.send(Input::SourceAdded { source: peer(), shard: Shard::FIRST });
        node.send(Input::StreamObserved { source: peer(), stream: facts(0) });
        assert!(node.take().iter().any(|e| matches!(e, Effect::Follow(f) if f.source == peer())));
        node
    }

    fn send(&mut self, input: Input) {
        self.now += 1;
        self.replicator.handle(Timestamp(self.now), input, &mut self.effects);
        for effect in &self.effects {
            if let Effect::Follow(follow) = effect {
                self.epochs.insert(follow.source.clone(), follow.epoch);
            }
        }
    }

    fn take(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    fn deliver(&mut self, source: &SourceId, sequence: u64, bytes: &[u8]) {
        let (source, epoch) = (source.clone(), self.epochs[source]);
        self.send(Input::Delivered {
            source,
            epoch,
            sequence: StreamSequence(sequence),
            bytes: bytes.to_vec(),
        });
    }

    /// Delivers the messages of a group from node 2, from `sequence` on.
    fn deliver_group(&mut self, sequence: u64, messages: &[Message]) {
        for (sequence, message) in (sequence..).zip(messages) {
            self.deliver(&peer(), sequence, &message.bytes);
        }
    }

    /// The apply that was asked for; exactly one.
    fn take_apply(&mut self) -> ApplyBatch {
        let mut batches: Vec<_> = self.take().into_iter().filter_map(apply).collect();
        assert_eq!(batches.len(), 1, "one apply at a time");
        batches.remove(0)
    }

    /// Was an apply asked for? Nothing else is forgotten.
    fn wants_apply(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Apply(_)))
    }

    /// The answer to an apply that did what it should.
    fn applied(&mut self) {
        self.send(Input::Applied(Applied {
            hold: Hold {
                rows: 1,
                worked_us: 100,
                held_us: 100,
                late: false,
                application_writes: 0,
                apart_us: 5_000,
            },
            ..Applied::default()
        }));
    }

    fn state_of(&self, source: &SourceId) -> &'static str {
        self.replicator.status().sources[source].state
    }

    fn checkpoint_of(&self, source: &SourceId) -> u64 {
        self.replicator.status().sources[source].checkpoint.0
    }
}

fn apply(effect: Effect) -> Option<ApplyBatch> {
    match effect {
        Effect::Apply(batch) => Some(batch),
        _ => None,
    }
}

fn events(effects: &[Effect]) -> Vec<Event> {
    effects
        .iter()
        .filter_map(|e| if let Effect::Emit(event) = e { Some(event.clone()) } else { None })
        .collect()
}

fn origin(node: u64) -> Origin {
    Origin::new(NodeId::new(node).unwrap(), Incarnation::new(7).unwrap())
}

fn own() -> SourceId {
    SourceId("1/changes-1".to_owned())
}

fn peer() -> SourceId {
    SourceId("2/changes-1".to_owned())
}

fn position(at: i64) -> LogPosition {
    LogPosition::new(at).unwrap()
}

/// What a database remembers that was just taken into service.
fn state() -> StoreState {
    StoreState {
        origin: origin(1),
        published: PublishedPositions::default(),
        positions: BTreeMap::new(),
        checkpoints: BTreeMap::new(),
        baseline: BTreeMap::new(),
        pending_rows: 0,
        dead_letters: 0,
        conflicts: 0,
    }
}

/// A stream of this cluster that holds the sequences 1 ..= `last`.
fn facts(last: u64) -> StreamFacts {
    StreamFacts {
        stream_id: "stream".to_owned(),
        node: NodeId::new(2),
        cluster: "test".to_owned(),
        shard: Shard::FIRST,
        shards: 1,
        first: StreamSequence(1),
        last: StreamSequence(last),
        mark: None,
        baseline: Some(BTreeMap::new()),
    }
}

fn checkpoint(sequence: u64, mark: FrameMark) -> Checkpoint {
    Checkpoint { stream_id: "stream".to_owned(), sequence: StreamSequence(sequence), mark, rows_applied: 5 }
}

/// A body with one row whose text has `size` bytes.
fn body(origin: Origin, hlc: i64, size: usize) -> EncodedBody {
    let column = |name: &str| Column {
        name: name.to_owned(),
        declared_type: String::new(),
        not_null: false,
        collation: Collation::Binary,
    };
    let table = TableSchema {
        name: "t".to_owned(),
        columns: vec![column("id"), column("v")],
        key: vec![0],
        key_collations: vec![Collation::Binary],
        rowid_alias: true,
        without_rowid: false,
        strict: false,
        unique: vec![],
    };
    let version = Version { hlc: Hlc::new(hlc).unwrap(), origin, displaced: false };
    let change = RowChange {
        version: RowVersion { version, tombstone: false, base: Version::NONE },
        content: RowContent::Upsert(vec![Value::Integer(hlc), Value::Text(vec![b'x'; size])]),
    };
    let mut writer = BodyWriter::new(false);
    writer.push(&table, TableFingerprint::of(&table), &change).unwrap();
    writer.finish().unwrap()
}

/// A group of `node`, of one row; several messages when `size` is above 4096.
fn group_of(node: u64, prev: i64, through: i64, size: usize) -> Vec<Message> {
    group_from(origin(node), prev, through, size)
}

fn group_from(origin: Origin, prev: i64, through: i64, size: usize) -> Vec<Message> {
    let place = GroupPlace {
        cluster: "test".to_owned(),
        origin,
        shard: Shard::FIRST,
        prev: position(prev),
        through: position(through),
    };
    encode_group(&place, vec![body(origin, through, size)], 4096)
}

fn group(prev: i64, through: i64) -> Vec<Message> {
    group_of(2, prev, through, 10)
}
