//! Any rows of any tables, cut into messages of any size: they come back with the same versions, storage classes and bytes.

use std::collections::BTreeSet;

use arbitrary::{Arbitrary, Unstructured};
use harmonylite_core::codec::{
    Body, BodyWriter, EncodedBody, GroupPlace, Message, TableChanges, decode_body, decode_frame,
    encode_group, peek_mark,
};
use harmonylite_core::conflict::{RowVersion, Version};
use harmonylite_core::limits::CLUSTER_NAME_MAX;
use harmonylite_core::model::{
    Hlc, Incarnation, LogPosition, NodeId, Origin, RowChange, RowContent, Shard, Value,
};
use harmonylite_core::schema::TableFingerprint;

use crate::frame_decoding::table;

/// Below this, envelope and header have no room with the longest name of a cluster.
const MESSAGE_SIZE_MIN: usize = 300;

/// A group to be written.
#[derive(Arbitrary, Debug)]
struct Group {
    cluster: String,
    origin: AnyOrigin,
    shard: u16,
    prev: u64,
    length: u32,
    message_size: u16,
    bodies: Vec<Vec<Section>>,
    compress: bool,
}

/// Rows of one table.
#[derive(Arbitrary, Debug)]
struct Section {
    table: String,
    fingerprint: u64,
    more_columns: Vec<String>,
    first_column: String,
    key: u8,
    rows: Vec<AnyRow>,
}

#[derive(Arbitrary, Debug)]
struct AnyRow {
    version: AnyVersion,
    base: AnyVersion,
    deleted: bool,
    values: Vec<AnyValue>,
}

#[derive(Arbitrary, Debug)]
struct AnyVersion {
    clock: u64,
    origin: Option<AnyOrigin>,
    displaced: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct AnyOrigin {
    node: u64,
    incarnation: u64,
}

#[derive(Arbitrary, Debug)]
enum AnyValue {
    Null,
    Small(i8),
    Integer(i64),
    Real(f64),
    Text(String),
    TextBytes(Vec<u8>),
    Blob(Vec<u8>),
    Long(u16),
    Edge(u8),
}

pub(crate) fn run(data: &[u8]) {
    let Ok(group) = Group::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let expected: Vec<Body> = group.bodies.iter().map(|sections| body(sections)).collect();
    let encoded: Vec<EncodedBody> = group
        .bodies
        .iter()
        .zip(&expected)
        .map(|(sections, body)| encode(sections, body, group.compress))
        .collect();
    let size_max = usize::from(group.message_size).max(MESSAGE_SIZE_MIN);
    let place = group.place();
    let messages = encode_group(&place, encoded.clone(), size_max);
    assert!(messages.iter().all(|message| message.bytes.len() <= size_max), "messages fit");
    let ids: BTreeSet<&str> = messages.iter().map(|message| message.id.as_str()).collect();
    assert_eq!(ids.len(), messages.len(), "each message has its own id");
    let joined = join(&messages, &place);
    assert!(joined == encoded || (encoded.is_empty() && joined.iter().all(|body| body.bytes.is_empty())));
    let decoded: Vec<Body> = joined.iter().map(decode).collect();
    assert!(decoded == expected || expected.is_empty(), "the rows are the same: {decoded:?} {expected:?}");
}

impl Group {
    fn place(&self) -> GroupPlace {
        let mut cluster = self.cluster.clone();
        while cluster.len() > CLUSTER_NAME_MAX {
            cluster.pop();
        }
        let prev = i64::try_from(self.prev >> 3).unwrap();
        GroupPlace {
            cluster,
            origin: self.origin.origin(),
            shard: Shard::new(self.shard).unwrap_or(Shard::FIRST),
            prev: LogPosition::new(prev).unwrap(),
            through: LogPosition::new(prev + i64::from(self.length)).unwrap(),
        }
    }
}

/// What the sections say; those without rows say nothing.
fn body(sections: &[Section]) -> Body {
    let with_rows = sections.iter().enumerate().filter(|(_, section)| !section.rows.is_empty());
    Body { tables: with_rows.map(|(index, section)| section.changes(index)).collect() }
}

fn encode(sections: &[Section], body: &Body, compress: bool) -> EncodedBody {
    let mut writer = BodyWriter::new(compress);
    let with_rows = sections.iter().filter(|section| !section.rows.is_empty());
    for (changes, section) in body.tables.iter().zip(with_rows) {
        let table = table(&changes.table, &changes.columns, section.key_columns());
        for row in &changes.rows {
            writer.push(&table, changes.fingerprint, row).unwrap();
        }
    }
    let (raw_size, rows) = (writer.raw_size(), writer.rows());
    let encoded = writer.finish().unwrap();
    assert_eq!((encoded.raw_size as usize, encoded.rows as usize), (raw_size, rows));
    encoded
}

fn decode(body: &EncodedBody) -> Body {
    decode_body(&body.bytes, body.compressed, body.raw_size).unwrap()
}

/// What a consumer does: joins the pieces of each body.
fn join(messages: &[Message], place: &GroupPlace) -> Vec<EncodedBody> {
    let (mut bodies, mut bytes) = (Vec::new(), Vec::new());
    let mut digest = None;
    for (index, message) in messages.iter().enumerate() {
        let (header, mark, start) = decode_frame(&message.bytes).unwrap();
        assert_eq!((mark, peek_mark(&message.bytes)), (message.mark, Some(message.mark)));
        assert_eq!(&header.place, place);
        assert_eq!((header.part as usize, header.parts as usize), (index, messages.len()));
        assert_eq!(header.group, *digest.get_or_insert(header.group), "one group, one digest");
        bytes.extend_from_slice(&message.bytes[start..]);
        if !header.continued {
            let (compressed, raw_size, rows) = (header.compressed, header.raw_size, header.rows);
            bodies.push(EncodedBody { bytes: std::mem::take(&mut bytes), compressed, raw_size, rows });
        }
    }
    assert!(bytes.is_empty(), "the last piece ends its body");
    bodies
}

impl Section {
    fn columns(&self) -> Vec<String> {
        let all = std::iter::once(&self.first_column).chain(&self.more_columns).enumerate();
        // No two of a table have one name.
        all.map(|(index, name)| format!("{index} {name}")).collect()
    }

    fn key_columns(&self) -> usize {
        1 + usize::from(self.key) % (1 + self.more_columns.len())
    }

    fn changes(&self, index: usize) -> TableChanges {
        let columns = self.columns();
        let rows = self.rows.iter().map(|row| row.change(columns.len(), self.key_columns()));
        TableChanges {
            // Sections side by side are of two tables.
            table: format!("{index} {}", self.table),
            fingerprint: TableFingerprint(self.fingerprint),
            rows: rows.collect(),
            columns,
        }
    }
}

impl AnyRow {
    fn change(&self, columns: usize, key: usize) -> RowChange {
        let count = if self.deleted { key } else { columns };
        let values: Vec<Value> =
            (0..count).map(|index| self.values.get(index).map_or(Value::Null, AnyValue::value)).collect();
        let content = if self.deleted { RowContent::Delete(values) } else { RowContent::Upsert(values) };
        let (version, base) = (self.version.version(), self.base.version());
        RowChange { version: RowVersion { version, tombstone: self.deleted, base }, content }
    }
}

impl AnyVersion {
    fn version(&self) -> Version {
        Version {
            hlc: i64::try_from(self.clock >> 2).ok().and_then(Hlc::new).unwrap(),
            origin: self.origin.map_or(Origin::NONE, AnyOrigin::origin),
            displaced: self.displaced,
        }
    }
}

impl AnyOrigin {
    fn origin(self) -> Origin {
        let node = NodeId::new(self.node >> 1).or(NodeId::new(1)).unwrap();
        Origin::new(node, Incarnation::from_random(self.incarnation))
    }
}

impl AnyValue {
    fn value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Small(integer) => Value::Integer((*integer).into()),
            Self::Integer(integer) => Value::Integer(*integer),
            // SQLite never holds a NaN.
            Self::Real(real) if real.is_nan() => Value::Real(f64::NEG_INFINITY),
            Self::Real(real) => Value::Real(*real),
            Self::Text(text) => Value::text(text),
            Self::TextBytes(bytes) => Value::Text(bytes.clone()),
            Self::Blob(bytes) => Value::Blob(bytes.clone()),
            Self::Edge(number) => match number % 6 {
                0 => Value::Real(-0.0),
                1 => Value::Real(f64::INFINITY),
                2 => Value::Integer(i64::MIN),
                3 => Value::Integer(i64::MAX),
                4 => Value::text("a\0b"),
                _ => Value::Real(f64::MIN_POSITIVE),
            },
            Self::Long(length) => {
                Value::Blob((0..=*length).map(|index| index as u8 ^ (index >> 8) as u8).collect())
            }
        }
    }
}
