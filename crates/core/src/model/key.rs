//! Keys under their collations: which two spellings are one row, and which shard it belongs to.

use xxhash_rust::xxh3::xxh3_64;

use super::{Collation, Shard, TableSchema, Value};

/// A key in a form in which two spellings of one row are equal bytes: what SQLite's key index would call equal.
///
/// `1` and `1.0` are one key, `'Ab'` and `'AB'` under NOCASE, `'a'` and `'a  '` under RTRIM; `1` and `'1'` are two.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CanonicalKey(Vec<u8>);

impl CanonicalKey {
    /// Of the key values `key` (in key order) of a row of `table`.
    #[must_use]
    pub fn of(table: &TableSchema, key: &[Value]) -> Self {
        let mut bytes = Vec::with_capacity(key.len() * 10);
        for (value, collation) in key.iter().zip(&table.key_collations) {
            write_canonical(value, *collation, &mut bytes);
        }
        Self(bytes)
    }

    /// The bytes: equal for equal keys, and of no other meaning.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The shard of that row among `shards` (at least 1).
    #[must_use]
    pub fn shard(&self, table: &str, shards: u16) -> Shard {
        if shards <= 1 {
            return Shard::FIRST;
        }
        let mut bytes = Vec::with_capacity(table.len() + 1 + self.0.len());
        bytes.extend_from_slice(table.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&self.0);
        let index = u16::try_from(xxh3_64(&bytes) % u64::from(shards)).unwrap_or(0);
        Shard::new(index + 1).unwrap_or(Shard::FIRST)
    }
}

fn write_canonical(value: &Value, collation: Collation, bytes: &mut Vec<u8>) {
    match value {
        Value::Null => bytes.push(0),
        Value::Integer(integer) => write_integer(*integer, bytes),
        Value::Real(real) => match as_integer(*real) {
            Some(integer) => write_integer(integer, bytes),
            None => {
                bytes.push(2);
                bytes.extend_from_slice(&real.to_bits().to_be_bytes());
            }
        },
        Value::Text(text) => write_bytes(3, &collated(text, collation), bytes),
        Value::Blob(blob) => write_bytes(4, blob, bytes),
    }
}

fn write_integer(integer: i64, bytes: &mut Vec<u8>) {
    bytes.push(1);
    bytes.extend_from_slice(&integer.to_be_bytes());
}

fn write_bytes(class: u8, content: &[u8], bytes: &mut Vec<u8>) {
    bytes.push(class);
    bytes.extend_from_slice(&(content.len() as u64).to_be_bytes());
    bytes.extend_from_slice(content);
}

/// The integer that SQLite would call equal to `real`, if any. -2^63 is exact in both, 2^63 is no `i64`.
fn as_integer(real: f64) -> Option<i64> {
    let in_range = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&real);
    if in_range && real.trunc() == real { Some(real as i64) } else { None }
}

fn collated(text: &[u8], collation: Collation) -> Vec<u8> {
    match collation {
        Collation::Binary => text.to_vec(),
        Collation::NoCase => text.to_ascii_lowercase(),
        Collation::RTrim => {
            let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
            text[..end].to_vec()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Column;

    fn table(collation: Collation) -> TableSchema {
        TableSchema {
            name: "t".to_owned(),
            columns: vec![Column {
                name: "k".to_owned(),
                declared_type: String::new(),
                not_null: true,
                collation,
            }],
            key: vec![0],
            key_collations: vec![collation],
            rowid_alias: false,
            without_rowid: false,
            strict: false,
            unique: vec![],
        }
    }

    fn equal(collation: Collation, a: Value, b: Value) -> bool {
        let table = table(collation);
        CanonicalKey::of(&table, &[a]) == CanonicalKey::of(&table, &[b])
    }

    #[test]
    fn spellings_that_sqlite_calls_equal_are_one_key() {
        assert!(equal(Collation::Binary, Value::Integer(1), Value::Real(1.0)));
        assert!(equal(Collation::Binary, Value::Real(0.0), Value::Real(-0.0)));
        assert!(equal(Collation::Binary, Value::Integer(i64::MIN), Value::Real(i64::MIN as f64)));
        assert!(equal(Collation::NoCase, Value::text("Ab"), Value::text("aB")));
        assert!(equal(Collation::RTrim, Value::text("a "), Value::text("a")));
    }

    #[test]
    fn keys_that_sqlite_tells_apart_stay_apart() {
        assert!(!equal(Collation::Binary, Value::text("Ab"), Value::text("aB")));
        assert!(!equal(Collation::Binary, Value::Integer(1), Value::text("1")));
        assert!(!equal(Collation::Binary, Value::text("a"), Value::Blob(b"a".to_vec())));
        assert!(!equal(Collation::Binary, Value::Integer(i64::MAX), Value::Real(i64::MAX as f64)));
        assert!(!equal(Collation::Binary, Value::Real(0.5), Value::Real(0.25)));
    }

    #[test]
    fn the_shard_ignores_the_spelling() {
        let table = table(Collation::NoCase);
        let shard = |text: &str| CanonicalKey::of(&table, &[Value::text(text)]).shard("t", 7);
        assert_eq!(shard("Alpha"), shard("ALPHA"));
        let all: std::collections::BTreeSet<_> = (0..100).map(|n| shard(&n.to_string()).get()).collect();
        assert_eq!(all, (1..=7).collect());
    }
}
