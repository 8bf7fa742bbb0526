//! Bodies: every storage class, and what is refused.

use harmonylite_core::codec::{Body, BodyWriter, DecodeError, EncodeError, EncodedBody, decode_body};
use harmonylite_core::conflict::{RowVersion, Version};
use harmonylite_core::limits::{BODY_RAW_SIZE_MAX, ROW_SIZE_MAX};
use harmonylite_core::model::{Hlc, Origin, RowChange, RowContent, Value};
use harmonylite_core::schema::TableFingerprint;
use minicbor::Encoder;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::rows::{expected, sections, table, write};

proptest! {
    #[test]
    fn rows_come_back_as_they_were(sections in sections(), compress: bool) {
        let body = write(&sections, compress);
        prop_assert_eq!(decode_body(&body.bytes, body.compressed, body.raw_size), Ok(expected(&sections)));
    }

    #[test]
    fn a_body_cut_short_is_refused(sections in sections(), compress: bool, cut in any::<prop::sample::Index>()) {
        let body = write(&sections, compress);
        prop_assume!(!body.bytes.is_empty());
        let shorter = &body.bytes[..cut.index(body.bytes.len())];
        let length = u32::try_from(shorter.len()).unwrap();
        prop_assert!(decode_body(shorter, body.compressed, body.raw_size).is_err());
        prop_assert!(length == 0 || decode_body(shorter, false, length).is_err());
    }

    #[test]
    fn bytes_after_a_body_are_refused(sections in sections(), more in vec(any::<u8>(), 1..9)) {
        let mut body = write(&sections, false);
        prop_assume!(!body.bytes.is_empty());
        body.bytes.extend_from_slice(&more);
        prop_assert!(decode_body(&body.bytes, false, body.raw_size).is_err());
        prop_assert!(decode_body(&body.bytes, false, u32::try_from(body.bytes.len()).unwrap()).is_err());
    }

    #[test]
    fn a_changed_body_never_panics(
        sections in sections(), at in any::<prop::sample::Index>(), flip in 1u8.., compress: bool,
    ) {
        let mut body = write(&sections, compress);
        prop_assume!(!body.bytes.is_empty());
        let at = at.index(body.bytes.len());
        body.bytes[at] ^= flip;
        let _ = decode_body(&body.bytes, body.compressed, body.raw_size);
    }

    #[test]
    fn garbage_is_no_body(bytes in vec(any::<u8>(), 1..400), compressed: bool, raw_size in 0u32..4000) {
        prop_assert!(decode_body(&bytes, compressed, raw_size).is_err());
        prop_assert!(decode_body(&bytes, false, u32::try_from(bytes.len()).unwrap()).is_err());
    }
}

fn upsert(value: Value) -> RowChange {
    let version =
        Version { hlc: Hlc::new(7).unwrap(), origin: Origin::from_raw(1, 2).unwrap(), displaced: false };
    let version = RowVersion { version, tombstone: false, base: Version::NONE };
    RowChange { version, content: RowContent::Upsert(vec![value]) }
}

#[test]
fn a_row_too_large_is_refused_and_leaves_the_writer_usable() {
    let (table, fingerprint) = (table("t", 1, 1), TableFingerprint(1));
    let mut writer = BodyWriter::new(false);
    let too_large = upsert(Value::Blob(vec![0; ROW_SIZE_MAX]));
    let error = EncodeError::RowTooLarge { size: ROW_SIZE_MAX + 5, limit: ROW_SIZE_MAX };
    assert_eq!(writer.push(&table, fingerprint, &too_large), Err(error));
    assert_eq!((writer.rows(), writer.raw_size()), (0, 0));
    writer.push(&table, fingerprint, &upsert(Value::Null)).unwrap();
    let body = writer.finish().unwrap();
    let decoded = decode_body(&body.bytes, false, body.raw_size).unwrap();
    assert_eq!(decoded.tables[0].rows, [upsert(Value::Null)]);
}

#[test]
fn the_largest_row_travels() {
    let row = upsert(Value::Blob(vec![9; ROW_SIZE_MAX - 5]));
    for compress in [false, true] {
        let body = write(&[(table("t", 1, 1), TableFingerprint(1), vec![row.clone()])], compress);
        assert_eq!(body.compressed, compress);
        let decoded = decode_body(&body.bytes, body.compressed, body.raw_size).unwrap();
        assert!(decoded.tables[0].rows[0] == row);
    }
}

#[test]
fn a_body_without_rows_has_no_bytes() {
    let empty = EncodedBody { bytes: vec![], compressed: false, raw_size: 0, rows: 0 };
    assert_eq!(BodyWriter::new(true).finish(), Ok(empty));
    assert_eq!(decode_body(&[], false, 0), Ok(Body::default()));
}

#[test]
fn a_body_above_the_limit_is_refused_before_it_is_expanded() {
    let found = BODY_RAW_SIZE_MAX as u64 + 1;
    let error = DecodeError::TooLarge { what: "body size", found, limit: BODY_RAW_SIZE_MAX as u64 };
    assert_eq!(decode_body(&[0; 9], true, u32::try_from(found).unwrap()), Err(error));
}

/// A body of one row in table `t`, written by another encoder.
#[derive(Clone)]
struct Forged {
    origin: (u64, u64),
    columns: Vec<&'static str>,
    items: u64,
    head: [u64; 5],
    value: f64,
}

impl Forged {
    fn right() -> Self {
        Self { origin: (1, 2), columns: vec!["a"], items: 6, head: [0, 7, 1, 0, 0], value: 0.5 }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut body = Encoder::new(&mut bytes);
        body.array(2).unwrap().array(1).unwrap().array(2).unwrap();
        body.u64(self.origin.0).unwrap().u64(self.origin.1).unwrap();
        body.begin_array().unwrap().array(4).unwrap().str("t").unwrap().u64(1).unwrap();
        body.array(self.columns.len() as u64).unwrap();
        for column in &self.columns {
            body.str(column).unwrap();
        }
        body.begin_array().unwrap().array(self.items).unwrap();
        for number in self.head {
            body.u64(number).unwrap();
        }
        for _ in 5..self.items.clamp(5, 9) {
            body.f64(self.value).unwrap();
        }
        body.end().unwrap().end().unwrap();
        bytes
    }

    fn decoded(&self) -> Result<Body, DecodeError> {
        let bytes = self.bytes();
        decode_body(&bytes, false, u32::try_from(bytes.len()).unwrap())
    }
}

#[test]
fn forged_bodies_are_refused() {
    let body = Forged::right().decoded().unwrap();
    assert_eq!(body.tables[0].rows, [upsert(Value::Real(0.5))]);
    let refused = |what: &str, change: fn(&mut Forged)| {
        let mut forged = Forged::right();
        change(&mut forged);
        let result = forged.decoded();
        assert!(matches!(result, Err(DecodeError::Invalid(_))), "{what}: {result:?}");
    };
    refused("half an origin", |f| f.origin = (1, 0));
    refused("no origin in the table", |f| f.origin = (0, 0));
    refused("a node id beyond 2^63-1", |f| f.origin = (1 << 63, 1));
    refused("no columns", |f| f.columns = vec![]);
    refused("a column twice", |f| (f.columns, f.items) = (vec!["a", "a"], 7));
    refused("a column twice for SQLite", |f| (f.columns, f.items) = (vec!["a", "A"], 7));
    refused("a value too few", |f| f.items = 5);
    refused("a value too many", |f| f.items = 7);
    refused("values without end", |f| f.items = u64::MAX);
    refused("a delete without key", |f| (f.head[0], f.items) = (1, 5));
    refused("a delete with more than a row", |f| (f.head[0], f.items) = (1, 7));
    refused("a flag that nobody knows", |f| f.head[0] = 8);
    refused("a negative clock", |f| f.head[1] = 1 << 63);
    refused("a clock that leaves ours no room above it", |f| f.head[1] = 1 << 62);
    refused("a base with such a clock", |f| f.head[3] = 1 << 62);
    refused("an origin that is not in the table", |f| f.head[2] = 2);
    refused("a base of such an origin", |f| f.head[4] = u64::MAX);
    refused("not a number", |f| f.value = f64::NAN);
}

/// Found by fuzzing, by calculation: a few kilobytes that expand to millions of NULLs.
#[test]
fn a_body_of_more_items_than_any_writer_makes_is_refused() {
    let schema = table("t", 1, 1);
    let mut writer = BodyWriter::new(true);
    for clock in 1.. {
        let version = Version {
            hlc: Hlc::new(clock).unwrap(),
            origin: Origin::from_raw(1, 1).unwrap(),
            displaced: false,
        };
        let version = RowVersion { version, tombstone: false, base: Version::NONE };
        let change = RowChange { version, content: RowContent::Upsert(vec![Value::Null]) };
        writer.push(&schema, TableFingerprint::of(&schema), &change).unwrap();
        if clock > 60_000 {
            break;
        }
    }
    let body = writer.finish().unwrap();
    let refused = decode_body(&body.bytes, body.compressed, body.raw_size);
    assert!(matches!(refused, Err(DecodeError::TooLarge { what: "items of a body", .. })), "{refused:?}");
}
