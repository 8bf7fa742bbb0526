//! Any rows of any tables, written as a body.

use harmonylite_core::codec::{Body, BodyWriter, EncodedBody, TableChanges};
use harmonylite_core::conflict::{RowVersion, Version};
use harmonylite_core::model::{Collation, Column, Hlc, Origin, RowChange, RowContent, TableSchema, Value};
use harmonylite_core::schema::TableFingerprint;
use proptest::collection::vec;
use proptest::prelude::*;

pub(crate) fn table(name: &str, columns: usize, key: usize) -> TableSchema {
    let column = |index| Column {
        name: format!("c{index}"),
        declared_type: String::new(),
        not_null: false,
        collation: Collation::Binary,
    };
    TableSchema {
        name: name.to_owned(),
        columns: (0..columns).map(column).collect(),
        key: (0..key).collect(),
        key_collations: vec![Collation::Binary; key],
        rowid_alias: false,
        without_rowid: false,
        strict: false,
        unique: vec![],
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        prop::sample::select(vec![0, -1, 23, 24, -24, -25, i64::MIN, i64::MAX]).prop_map(Value::Integer),
        any::<f64>().prop_filter("never in SQLite", |real| !real.is_nan()).prop_map(Value::Real),
        prop::sample::select(vec![0.0, -0.0, 1.0, f64::INFINITY, f64::NEG_INFINITY]).prop_map(Value::Real),
        ".{0,20}".prop_map(|text| Value::text(&text)),
        vec(any::<u8>(), 0..300).prop_map(Value::Text),
        vec(any::<u8>(), 0..300).prop_map(Value::Blob),
        Just(Value::text("a\0b")),
    ]
}

fn version() -> impl Strategy<Value = Version> {
    let origin = prop_oneof![
        Just(Origin::NONE),
        (1u64..5, 1u64..3).prop_map(|(n, i)| Origin::from_raw(n, i).unwrap()),
        (1..=i64::MAX as u64, 1..=i64::MAX as u64).prop_map(|(n, i)| Origin::from_raw(n, i).unwrap()),
    ];
    (0..Hlc::FOREIGN_END.get(), origin, any::<bool>()).prop_map(|(hlc, origin, displaced)| Version {
        hlc: Hlc::new(hlc).unwrap(),
        origin,
        displaced,
    })
}

fn row(columns: usize, key: usize) -> impl Strategy<Value = RowChange> {
    let content = prop_oneof![
        vec(value(), columns).prop_map(RowContent::Upsert),
        vec(value(), key).prop_map(RowContent::Delete),
    ];
    (version(), version(), content).prop_map(|(version, base, content)| {
        let tombstone = matches!(content, RowContent::Delete(_));
        RowChange { version: RowVersion { version, tombstone, base }, content }
    })
}

pub(crate) type Section = (TableSchema, TableFingerprint, Vec<RowChange>);

/// Sections of tables that differ from the ones beside them, so that each stays a section of its own.
pub(crate) fn sections() -> impl Strategy<Value = Vec<Section>> {
    let section = (1usize..6, any::<u64>()).prop_flat_map(|(columns, fingerprint)| {
        (1..=columns)
            .prop_flat_map(move |key| (Just((columns, key, fingerprint)), vec(row(columns, key), 1..6)))
    });
    vec(section, 0..5).prop_map(|sections| {
        let named = sections.into_iter().enumerate().map(|(index, ((columns, key, fingerprint), rows))| {
            (table(&format!("table \"{index}\""), columns, key), TableFingerprint(fingerprint), rows)
        });
        named.collect()
    })
}

pub(crate) fn write(sections: &[Section], compress: bool) -> EncodedBody {
    let mut writer = BodyWriter::new(compress);
    for (table, fingerprint, rows) in sections {
        for row in rows {
            writer.push(table, *fingerprint, row).unwrap();
        }
    }
    let (raw_size, rows) = (writer.raw_size(), writer.rows());
    let body = writer.finish().unwrap();
    assert_eq!((body.raw_size as usize, body.rows as usize), (raw_size, rows));
    body
}

pub(crate) fn expected(sections: &[Section]) -> Body {
    let changes = |(table, fingerprint, rows): &Section| TableChanges {
        table: table.name.clone(),
        fingerprint: *fingerprint,
        columns: table.columns.iter().map(|column| column.name.clone()).collect(),
        rows: rows.clone(),
    };
    Body { tables: sections.iter().map(changes).collect() }
}
