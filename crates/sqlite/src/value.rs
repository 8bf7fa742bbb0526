//! Values between SQLite and the core: storage class and bytes as they are, and as literals for people.

use std::fmt::Write as _;

use harmonylite_core::model::Value;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Row, Statement, ToSql};

/// A value as a parameter. Text goes in as bytes, with its length: NUL and invalid UTF-8 survive.
pub(crate) struct Bound<'a>(pub(crate) &'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(integer) => ValueRef::Integer(*integer),
            Value::Real(real) => ValueRef::Real(*real),
            Value::Text(bytes) => ValueRef::Text(bytes),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Binds `values` as parameters `first`, `first + 1`, ...
pub(crate) fn bind<'a>(
    statement: &mut Statement<'_>,
    first: usize,
    values: impl IntoIterator<Item = &'a Value>,
) -> rusqlite::Result<()> {
    for (index, value) in values.into_iter().enumerate() {
        statement.raw_bind_parameter(first + index, Bound(value))?;
    }
    Ok(())
}

/// Columns `first .. first + count` of a result row.
pub(crate) fn values_of(row: &Row<'_>, first: usize, count: usize) -> rusqlite::Result<Vec<Value>> {
    (first..first + count).map(|index| Ok(value_of(row.get_ref(index)?))).collect()
}

fn value_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(bytes) => Value::Text(bytes.to_vec()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

/// `{"column":"<SQL literal>", ...}`: readable, and exact when the literals are given back to SQLite.
pub(crate) fn json_of<'a>(columns: impl IntoIterator<Item = (&'a str, &'a Value)>) -> String {
    let mut json = String::from("{");
    for (name, value) in columns {
        if json.len() > 1 {
            json.push(',');
        }
        push_json_string(name, &mut json);
        json.push(':');
        push_json_string(&literal(value), &mut json);
    }
    json.push('}');
    json
}

/// The value as SQLite's `quote()` would write it, and exact where that is not.
pub(crate) fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(integer) => integer.to_string(),
        Value::Real(real) if real.is_infinite() => if *real > 0.0 { "9e999" } else { "-9e999" }.to_owned(),
        Value::Real(real) => format!("{real:?}"),
        Value::Text(bytes) => text_literal(bytes),
        Value::Blob(bytes) => hex_literal(bytes),
    }
}

/// A string literal; text that has no such form goes through a blob.
fn text_literal(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&0) => crate::identifier::literal(text),
        _ => format!("CAST({} AS TEXT)", hex_literal(bytes)),
    }
}

fn hex_literal(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(bytes.len() * 2 + 3);
    hex.push_str("X'");
    for byte in bytes {
        let _ = write!(hex, "{byte:02X}");
    }
    hex.push('\'');
    hex
}

fn push_json_string(text: &str, json: &mut String) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            control if control < ' ' => {
                let _ = write!(json, "\\u{:04x}", u32::from(control));
            }
            other => json.push(other),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_storage_class_has_a_literal() {
        let literals: Vec<_> = [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Real(1.0),
            Value::Real(f64::NEG_INFINITY),
            Value::text("it's"),
            Value::Text(vec![0xff, 0]),
            Value::Blob(vec![1, 0xab]),
        ]
        .iter()
        .map(literal)
        .collect();
        let expected =
            ["NULL", "-9223372036854775808", "1.0", "-9e999", "'it''s'", "CAST(X'FF00' AS TEXT)", "X'01AB'"];
        assert_eq!(literals, expected);
    }

    #[test]
    fn json_escapes_what_json_must() {
        let value = Value::text("a\"b\\\n");
        assert_eq!(json_of([("k", &value)]), "{\"k\":\"'a\\\"b\\\\\\u000a'\"}");
        assert_eq!(json_of([]), "{}");
    }
}
