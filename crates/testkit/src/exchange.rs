//! What one store publishes reaches another one without a network: groups in the order of a stream.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use harmonylite_core::codec::{EncodedBody, TableChanges, decode_body};
use harmonylite_core::effect::{ApplyBatch, PublishedPositions, ReadLog, ReceivedBody, ReceivedGroup};
use harmonylite_core::input::LogRead;
use harmonylite_core::model::{Checkpoint, FrameMark, SourceId, StreamSequence};
use harmonylite_sqlite::{LogReadOutcome, Store};

/// Reads what would be published next.
///
/// # Errors
/// When the store cannot, or the schema changed since it read it.
pub fn read_log(store: &mut Store, published: &PublishedPositions, compress: bool) -> Result<LogRead> {
    let request = ReadLog { settled: published.settled, published: published.by_shard.clone(), compress };
    match store.read_log(&request)? {
        LogReadOutcome::Read(read) => Ok(read),
        LogReadOutcome::SchemaChanged => bail!("the schema changed"),
    }
}

/// What the streams of `node` got when all of `read` is acknowledged; `published` follows.
///
/// # Errors
/// When the store cannot tell whose it is.
pub fn acknowledge(
    node: u64,
    store: &Store,
    published: &mut PublishedPositions,
    read: &LogRead,
) -> Result<Vec<ReceivedGroup>> {
    let origin = store.state()?.origin;
    let mut groups = Vec::new();
    for set in &read.sets {
        for (shard, bodies) in &set.groups {
            let prev = published.by_shard.insert(*shard, set.through).unwrap_or_default();
            groups.push(ReceivedGroup {
                source: SourceId(format!("{node}/changes-{shard}")),
                origin,
                shard: *shard,
                prev,
                through: set.through,
                rows: bodies.iter().map(|body| u64::from(body.rows)).sum(),
                bodies: bodies.iter().map(received).collect(),
            });
        }
        published.settled = set.through;
    }
    Ok(groups)
}

fn received(body: &EncodedBody) -> ReceivedBody {
    ReceivedBody { bytes: body.bytes.clone(), compressed: body.compressed, raw_size: body.raw_size }
}

/// Groups to be applied in one transaction by a node that has published so much itself. Its checkpoints move with them.
#[must_use]
pub fn apply_batch(groups: &[ReceivedGroup], published: &PublishedPositions) -> ApplyBatch {
    let checkpoint = |group: &ReceivedGroup| Checkpoint {
        stream_id: "stream".to_owned(),
        sequence: StreamSequence(group.through.get().cast_unsigned()),
        mark: FrameMark(u64::MAX),
        rows_applied: 0,
    };
    let checkpoints: BTreeMap<_, _> =
        groups.iter().map(|group| (group.source.clone(), checkpoint(group))).collect();
    ApplyBatch {
        groups: groups.iter().cloned().map(Into::into).collect(),
        checkpoints,
        published: published.clone(),
        stamp_rows: u64::MAX,
    }
}

/// The sections of a group, decoded.
///
/// # Errors
/// When a body is none.
pub fn sections(group: &ReceivedGroup) -> Result<Vec<TableChanges>> {
    let mut sections = Vec::new();
    for body in &group.bodies {
        sections.extend(decode_body(&body.bytes, body.compressed, body.raw_size)?.tables);
    }
    Ok(sections)
}
