//! Any bytes as a message: decoding ends with rows or an error, and what was decoded is written and read the same again.

use harmonylite_core::codec::{Body, BodyWriter, decode_body, decode_frame, peek_mark};
use harmonylite_core::limits::{BODY_RAW_SIZE_MAX, CLUSTER_NAME_MAX, HEADER_SIZE_MAX, PARTS_MAX};
use harmonylite_core::model::{Collation, Column, RowContent, TableSchema};
use xxhash_rust::xxh3::Xxh3;

/// Where the envelope's parts stand (`docs/format.md`).
const AT_VERSION: usize = 4;
const AT_LENGTH: usize = 6;
const AT_CHECKSUM: usize = 10;
const ENVELOPE_SIZE: usize = 18;

pub(crate) fn run(data: &[u8]) {
    read_frame(data);
    // Without the right checksum nothing gets past the envelope.
    if let Some(sealed) = sealed(data) {
        read_frame(&sealed);
    }
    // As a body alone: its first four bytes say how it claims to be.
    if let Some((claim, body)) = data.split_first_chunk::<4>() {
        let claim = u32::from_be_bytes(*claim);
        read_body(body, false, u32::try_from(body.len()).unwrap());
        read_body(body, true, claim);
        read_body(body, claim & 1 == 1, claim >> 1);
    }
}

/// The same bytes with length and checksum that fit.
fn sealed(data: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = data.to_vec();
    let length = u32::try_from(bytes.len().checked_sub(ENVELOPE_SIZE)?).ok()?;
    bytes[AT_LENGTH..AT_CHECKSUM].copy_from_slice(&length.to_be_bytes());
    let mut hash = Xxh3::new();
    hash.update(&bytes[AT_VERSION..AT_CHECKSUM]);
    hash.update(&bytes[ENVELOPE_SIZE..]);
    bytes[AT_CHECKSUM..ENVELOPE_SIZE].copy_from_slice(&hash.digest().to_be_bytes());
    Some(bytes)
}

fn read_frame(bytes: &[u8]) {
    let mark = peek_mark(bytes);
    let Ok((header, found, start)) = decode_frame(bytes) else { return };
    assert_eq!(mark, Some(found), "the mark is the same without looking at the rest");
    assert!(start <= bytes.len() && start <= HEADER_SIZE_MAX, "a body starts after a short header");
    assert!(header.part < header.parts && header.parts <= PARTS_MAX);
    assert!(header.place.prev <= header.place.through && header.place.shard.get() > 0);
    assert!(header.place.cluster.len() <= CLUSTER_NAME_MAX);
    assert!(header.raw_size as usize <= BODY_RAW_SIZE_MAX && bytes.len() - start <= header.raw_size as usize);
    assert!(!(header.continued && header.is_last()));
    read_body(&bytes[start..], header.compressed, header.raw_size);
}

fn read_body(bytes: &[u8], compressed: bool, raw_size: u32) {
    let Ok(body) = decode_body(bytes, compressed, raw_size) else { return };
    let ambiguous = body
        .tables
        .windows(2)
        .any(|pair| (&pair[0].table, pair[0].fingerprint) == (&pair[1].table, pair[1].fingerprint));
    let empty = body.tables.iter().any(|changes| changes.rows.is_empty());
    // Our writer joins sections of one table and writes no empty ones: others may.
    if !ambiguous && !empty {
        assert!(rewritten(&body) == body, "what was decoded is encoded and decoded the same again");
    }
}

fn rewritten(body: &Body) -> Body {
    let mut writer = BodyWriter::new(false);
    for changes in &body.tables {
        for row in &changes.rows {
            let key = match &row.content {
                RowContent::Delete(key) => key.len(),
                RowContent::Upsert(_) => 1,
            };
            writer.push(&table(&changes.table, &changes.columns, key), changes.fingerprint, row).unwrap();
        }
    }
    let raw_size = writer.raw_size();
    let encoded = writer.finish().unwrap();
    assert_eq!(encoded.bytes.len(), raw_size, "the size is known before the end");
    decode_body(&encoded.bytes, false, encoded.raw_size).unwrap()
}

/// A table of these columns, of which the first `key` are the key.
pub(crate) fn table(name: &str, columns: &[String], key: usize) -> TableSchema {
    let column = |name: &String| Column {
        name: name.clone(),
        declared_type: String::new(),
        not_null: false,
        collation: Collation::Binary,
    };
    TableSchema {
        name: name.to_owned(),
        columns: columns.iter().map(column).collect(),
        key: (0..key).collect(),
        key_collations: vec![Collation::Binary; key],
        rowid_alias: false,
        without_rowid: false,
        strict: false,
        unique: vec![],
    }
}
