//! A value as SQLite stores it: the storage class and the bytes, nothing interpreted.

/// One value of a row. Equality is identity of storage class and bytes, so `1`, `1.0` and `'1'` differ, and so do
/// `0.0` and `-0.0`.
#[derive(Clone, Debug)]
pub enum Value {
    /// NULL.
    Null,
    /// INTEGER, all 64 bits.
    Integer(i64),
    /// REAL. Never NaN: SQLite turns that into NULL.
    Real(f64),
    /// TEXT as bytes: it may hold NUL and need not be valid UTF-8.
    Text(Vec<u8>),
    /// BLOB.
    Blob(Vec<u8>),
}

impl Value {
    /// A text value.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }

    /// About how many bytes it takes in a frame; the measure of `row_size_max` and `group_bytes_max`.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Null => 1,
            Self::Integer(_) | Self::Real(_) => 9,
            Self::Text(bytes) | Self::Blob(bytes) => bytes.len() + 5,
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Real(a), Self::Real(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) | (Self::Blob(a), Self::Blob(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_storage_class_and_bytes() {
        assert_ne!(Value::Integer(1), Value::Real(1.0));
        assert_ne!(Value::Real(0.0), Value::Real(-0.0));
        assert_ne!(Value::text("a"), Value::Blob(b"a".to_vec()));
        assert_eq!(Value::Real(f64::INFINITY), Value::Real(f64::INFINITY));
    }
}
