//! A digest of a row's content, kept with its version: a later look at the row tells whether somebody wrote it past the
//! triggers.
//!
//! One integer: 24 bits for the columns that the row had, 40 for its values. After a change of the columns every row
//! differs from its digest without anybody having written it, so digests of other columns are not compared.

use harmonylite_core::model::{TableSchema, Value};
use rusqlite::types::ValueRef;
use xxhash_rust::xxh3::xxh3_64;

/// Bits of the values.
const VALUE_BITS: u32 = 40;
/// Values longer than this go in by their own hash, so that the buffer stays small.
const INLINE_MAX: usize = 4096;

/// The digest of one row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RowDigest(i64);

impl RowDigest {
    /// As stored.
    pub(crate) const fn from_raw(raw: i64) -> Self {
        Self(raw)
    }

    /// To be stored.
    pub(crate) const fn raw(self) -> i64 {
        self.0
    }

    /// Were both made of the same columns? Only then they can be compared.
    pub(crate) const fn comparable(self, other: Self) -> bool {
        self.0 >> VALUE_BITS == other.0 >> VALUE_BITS
    }
}

/// How digests of one table are made.
#[derive(Debug)]
pub(crate) struct RowShape {
    /// The upper bits of every digest: which columns there are, with which types.
    tag: u64,
    /// The columns by name, so that a table rebuilt with another order of them has the same digests.
    order: Vec<usize>,
}

impl RowShape {
    /// Of the rows of a table.
    pub(crate) fn of(schema: &TableSchema) -> Self {
        let mut order: Vec<usize> = (0..schema.columns.len()).collect();
        order.sort_unstable_by_key(|index| &schema.columns[*index].name);
        let mut buffer = Vec::new();
        for index in &order {
            let column = &schema.columns[*index];
            push(&mut buffer, b'n', column.name.as_bytes());
            // Another type may store the same values otherwise.
            push(&mut buffer, b'd', column.declared_type.as_bytes());
        }
        Self { tag: xxh3_64(&buffer) >> VALUE_BITS << VALUE_BITS, order }
    }

    /// Of a row, all its stored columns in the schema's order.
    pub(crate) fn digest(&self, values: &[Value]) -> RowDigest {
        let mut buffer = Vec::with_capacity(256);
        for index in &self.order {
            push_value(&mut buffer, reference(&values[*index]));
        }
        self.finish(&buffer)
    }

    /// The same of a result row.
    pub(crate) fn digest_row(&self, row: &rusqlite::Row<'_>) -> rusqlite::Result<RowDigest> {
        let mut buffer = Vec::with_capacity(256);
        for index in &self.order {
            push_value(&mut buffer, row.get_ref(*index)?);
        }
        Ok(self.finish(&buffer))
    }

    fn finish(&self, buffer: &[u8]) -> RowDigest {
        let values = xxh3_64(buffer) >> (u64::BITS - VALUE_BITS);
        RowDigest((self.tag | values).cast_signed())
    }
}

fn reference(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Null => ValueRef::Null,
        Value::Integer(integer) => ValueRef::Integer(*integer),
        Value::Real(real) => ValueRef::Real(*real),
        Value::Text(bytes) => ValueRef::Text(bytes),
        Value::Blob(bytes) => ValueRef::Blob(bytes),
    }
}

/// Storage class and bytes: 1, 1.0, '1' and x'31' are four different values.
fn push_value(buffer: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => buffer.push(b'0'),
        ValueRef::Integer(integer) => fixed(buffer, b'i', integer.to_le_bytes()),
        ValueRef::Real(real) => fixed(buffer, b'r', real.to_bits().to_le_bytes()),
        ValueRef::Text(bytes) => push(buffer, b't', bytes),
        ValueRef::Blob(bytes) => push(buffer, b'b', bytes),
    }
}

/// The length keeps ("ab", "c") apart from ("a", "bc").
fn push(buffer: &mut Vec<u8>, class: u8, bytes: &[u8]) {
    fixed(buffer, class, (bytes.len() as u64).to_le_bytes());
    if bytes.len() > INLINE_MAX {
        buffer.extend_from_slice(&xxh3_64(bytes).to_le_bytes());
    } else {
        buffer.extend_from_slice(bytes);
    }
}

fn fixed(buffer: &mut Vec<u8>, class: u8, bytes: [u8; 8]) {
    buffer.push(class);
    buffer.extend_from_slice(&bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use harmonylite_core::model::{Collation, Column};

    fn shape(columns: &[(&str, &str)]) -> RowShape {
        let column = |(name, declared_type): &(&str, &str)| Column {
            name: (*name).to_owned(),
            declared_type: (*declared_type).to_owned(),
            not_null: false,
            collation: Collation::Binary,
        };
        RowShape::of(&TableSchema {
            name: "t".to_owned(),
            columns: columns.iter().map(column).collect(),
            key: vec![0],
            key_collations: vec![Collation::Binary],
            rowid_alias: false,
            without_rowid: false,
            strict: false,
            unique: vec![],
        })
    }

    #[test]
    fn values_that_sqlite_tells_apart_have_different_digests() {
        let shape = shape(&[("a", ""), ("b", "")]);
        let large = |last| Value::Blob([vec![7; INLINE_MAX + 1], vec![last]].concat());
        let values = [
            Value::Null,
            Value::Integer(1),
            Value::Real(1.0),
            Value::Real(0.0),
            Value::Real(-0.0),
            Value::text("1"),
            Value::Text(vec![b'1', 0]),
            Value::Text(vec![0xff]),
            Value::Blob(vec![b'1']),
            Value::Blob(vec![]),
            large(1),
            large(2),
        ];
        let mut digests: Vec<i64> = Vec::new();
        for a in &values {
            for b in &values {
                digests.push(shape.digest(&[a.clone(), b.clone()]).raw());
            }
        }
        digests.push(shape.digest(&[Value::text("ab"), Value::text("c")]).raw());
        digests.push(shape.digest(&[Value::text("a"), Value::text("bc")]).raw());
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }

    #[test]
    fn only_digests_of_the_same_columns_are_comparable() {
        let row = [Value::Integer(1), Value::Integer(2)];
        let digest = |columns: &[(&str, &str)]| shape(columns).digest(&row);
        let first = digest(&[("a", "INT"), ("b", "INT")]);
        for columns in [[("a", "INT"), ("c", "INT")], [("a", "INT"), ("b", "TEXT")]] {
            assert!(!first.comparable(digest(&columns)), "{columns:?}");
        }
        let turned = shape(&[("b", "INT"), ("a", "INT")]).digest(&[Value::Integer(2), Value::Integer(1)]);
        assert_eq!(first, turned, "the order of columns is no change of content");
    }
}
