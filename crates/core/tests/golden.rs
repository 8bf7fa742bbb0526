//! Golden bytes of format version 1: every later build reads them as this one does, and writes the same.
//!
//! A file holds hexadecimal bytes; what follows a `#` is for people. Files are only ever added.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use harmonylite_core::codec::{
    Body, BodyWriter, EncodedBody, FrameHeader, GroupPlace, Message, TableChanges, decode_body, decode_frame,
    encode_group,
};
use harmonylite_core::conflict::{RowVersion, Version};
use harmonylite_core::model::{
    Collation, Column, Hlc, LogPosition, Origin, RowChange, RowContent, Shard, TableSchema, Value,
};
use harmonylite_core::schema::TableFingerprint;

const ROWS: &str = include_str!("golden/v1-rows.hex");
const EMPTY: &str = include_str!("golden/v1-empty.hex");
const PIECES: &str = include_str!("golden/v1-pieces.hex");
const COMPRESSED: &str = include_str!("golden/v1-compressed.hex");
const FORMAT: &str = include_str!("../../../docs/format.md");

/// The messages of a golden file: a line `# message` starts each.
fn golden(text: &str) -> Vec<Vec<u8>> {
    text.split("# message").skip(1).map(bytes).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let digits: String = lines.flat_map(str::chars).filter(|c| !c.is_whitespace()).collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn hex(messages: &[Message]) -> String {
    let line = |message: &Message| message.bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    messages.iter().map(|message| format!("# message\n{}\n", line(message))).collect()
}

fn place() -> GroupPlace {
    GroupPlace {
        cluster: "demo".to_owned(),
        origin: Origin::from_raw(1, 0xab).unwrap(),
        shard: Shard::FIRST,
        prev: LogPosition::new(0x0198_0000_0000_0000).unwrap(),
        through: LogPosition::new(0x0198_0000_0001_0002).unwrap(),
    }
}

fn table(name: &str, columns: &[&str], key: &[usize]) -> TableSchema {
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        declared_type: String::new(),
        not_null: false,
        collation: Collation::Binary,
    };
    TableSchema {
        name: name.to_owned(),
        columns: columns.iter().map(column).collect(),
        key: key.to_vec(),
        key_collations: vec![Collation::Binary; key.len()],
        rowid_alias: false,
        without_rowid: false,
        strict: false,
        unique: vec![],
    }
}

fn version(hlc: i64, node: u64, displaced: bool) -> Version {
    let origin = if node == 0 { Origin::NONE } else { Origin::from_raw(node, 0xaa + node).unwrap() };
    Version { hlc: Hlc::new(hlc).unwrap(), origin, displaced }
}

fn upsert(version: Version, base: Version, values: &[Value]) -> RowChange {
    let version = RowVersion { version, tombstone: false, base };
    RowChange { version, content: RowContent::Upsert(values.to_vec()) }
}

fn delete(version: Version, base: Version, key: &[Value]) -> RowChange {
    let version = RowVersion { version, tombstone: true, base };
    RowChange { version, content: RowContent::Delete(key.to_vec()) }
}

/// Every storage class, a delete, a displaced row, a displaced base, two origins and none.
fn changes() -> Vec<(TableSchema, TableFingerprint, Vec<RowChange>)> {
    let clock = 0x0198_0000_0001_0000;
    let books = vec![
        upsert(
            version(clock, 1, false),
            Version::NONE,
            &[Value::Integer(1), Value::text("Emma"), Value::Real(-0.0), Value::Blob(vec![0, 255])],
        ),
        upsert(
            version(clock + 1, 1, false),
            version(clock - 9, 2, true),
            &[
                Value::Integer(i64::MIN),
                Value::Text(vec![b'a', 0, 0xff]),
                Value::Real(f64::INFINITY),
                Value::Null,
            ],
        ),
    ];
    let loans = vec![
        delete(version(clock + 2, 1, false), version(5, 2, false), &[Value::Integer(-1), Value::text("x")]),
        delete(version(0, 0, true), Version::NONE, &[Value::Integer(300), Value::text("y")]),
    ];
    vec![
        (
            table("books", &["id", "title", "price", "cover"], &[0]),
            TableFingerprint(0x1122_3344_5566_7788),
            books,
        ),
        (table("loans", &["book", "reader", "due"], &[0, 1]), TableFingerprint(7), loans),
    ]
}

fn written(compress: bool) -> EncodedBody {
    let mut writer = BodyWriter::new(compress);
    for (table, fingerprint, rows) in changes() {
        for row in rows {
            writer.push(&table, fingerprint, &row).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn expected() -> Body {
    let section =
        |(table, fingerprint, rows): (TableSchema, TableFingerprint, Vec<RowChange>)| TableChanges {
            columns: table.columns.into_iter().map(|column| column.name).collect(),
            table: table.name,
            fingerprint,
            rows,
        };
    Body { tables: changes().into_iter().map(section).collect() }
}

/// Headers, and what a consumer makes of the joined pieces.
fn decoded(messages: &[Vec<u8>]) -> (Vec<FrameHeader>, Body) {
    let (mut headers, mut joined) = (Vec::new(), Vec::new());
    for message in messages {
        let (header, _, start) = decode_frame(message).unwrap();
        joined.extend_from_slice(&message[start..]);
        headers.push(header);
    }
    let last = headers.last().unwrap();
    let body = decode_body(&joined, last.compressed, last.raw_size).unwrap();
    (headers, body)
}

#[track_caller]
fn assert_written(golden_text: &str, messages: &[Message]) {
    let found: Vec<_> = messages.iter().map(|message| message.bytes.clone()).collect();
    assert!(golden(golden_text) == found, "other bytes than the golden ones:\n{}", hex(messages));
}

#[test]
fn rows_are_read_and_written_as_ever() {
    let (headers, body) = decoded(&golden(ROWS));
    assert_eq!(body, expected());
    assert_eq!((&headers[0].place, headers[0].parts, headers[0].rows), (&place(), 1, 4));
    assert!(!headers[0].compressed);
    assert_written(ROWS, &encode_group(&place(), vec![written(false)], 1_000_000));
}

#[test]
fn a_group_without_rows_is_read_and_written_as_ever() {
    let (headers, body) = decoded(&golden(EMPTY));
    assert_eq!((headers[0].parts, headers[0].rows, body), (1, 0, Body::default()));
    assert_written(EMPTY, &encode_group(&place(), Vec::new(), 1_000_000));
}

#[test]
fn pieces_are_read_and_written_as_ever() {
    let (headers, body) = decoded(&golden(PIECES));
    assert_eq!(body, expected());
    let flow: Vec<_> = headers.iter().map(|h| (h.part, h.parts, h.rows, h.continued)).collect();
    assert_eq!(flow, [(0, 2, 0, true), (1, 2, 4, false)]);
    assert_written(PIECES, &encode_group(&place(), vec![written(false)], 270));
}

/// Read only: another release of zstd may write other bytes.
#[test]
fn a_compressed_body_is_read_as_ever() {
    let (headers, body) = decoded(&golden(COMPRESSED));
    assert!(headers[0].compressed);
    assert_eq!(body, expected());
}

#[test]
fn the_document_shows_the_golden_bytes() {
    let example = FORMAT.split("```hex").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(golden(example.expect("docs/format.md has an example"))[0], golden(ROWS)[0]);
}

#[test]
fn compression_still_shrinks_what_the_golden_file_holds() {
    assert!(written(true).compressed);
}
