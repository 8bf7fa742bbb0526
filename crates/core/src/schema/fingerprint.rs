//! A table's fingerprint: equal on two nodes exactly when a row of one means the same on the other.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use crate::model::{TableSchema, UniqueIndexKind};

/// 64 bits over a table's name, stored columns (name, declared type, NOT NULL, collation), key (order, collation),
/// STRICT, and its UNIQUE indexes. Not over the order of columns (they travel by name), defaults, CHECKs or triggers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TableFingerprint(pub u64);

impl TableFingerprint {
    /// The fingerprint of `table`.
    #[must_use]
    pub fn of(table: &TableSchema) -> Self {
        let mut hash = Xxh3::new();
        let mut text = |part: &str| {
            // The length keeps ("ab", "c") apart from ("a", "bc").
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        };
        text(&table.name);
        text(if table.strict { "strict" } else { "" });
        let mut columns: Vec<_> = table.columns.iter().enumerate().collect();
        columns.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        for (index, column) in columns {
            text(&column.name);
            text(&column.declared_type.to_ascii_uppercase());
            text(if column.not_null { "not null" } else { "" });
            text(column.collation.name());
            let key = table.key.iter().position(|k| *k == index);
            text(&key.map_or_else(String::new, |k| format!("{k} {}", table.key_collations[k].name())));
        }
        for index in unique_indexes(table) {
            text(&index);
        }
        Self(hash.digest())
    }
}

/// UNIQUE indexes by what they say, not by their names: `sqlite_autoindex_t_2` depends on the order of declarations.
fn unique_indexes(table: &TableSchema) -> Vec<String> {
    let describe = |kind: &UniqueIndexKind| match kind {
        UniqueIndexKind::Plain(columns) => columns
            .iter()
            .map(|(column, collation)| format!("{:?} {}", table.columns[*column].name, collation.name()))
            .collect::<Vec<_>>()
            .join(","),
        UniqueIndexKind::Text(sql) => sql.clone().unwrap_or_else(|| "generated".to_owned()),
    };
    let mut all: Vec<_> = table.unique.iter().map(|index| describe(&index.kind)).collect();
    all.sort();
    all
}

impl fmt::Display for TableFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Collation, Column, UniqueIndex};

    fn table() -> TableSchema {
        let column = |name: &str, declared: &str| Column {
            name: name.to_owned(),
            declared_type: declared.to_owned(),
            not_null: false,
            collation: Collation::Binary,
        };
        TableSchema {
            name: "books".to_owned(),
            columns: vec![column("id", "INTEGER"), column("title", "TEXT")],
            key: vec![0],
            key_collations: vec![Collation::Binary],
            rowid_alias: true,
            without_rowid: false,
            strict: false,
            unique: vec![],
        }
    }

    #[test]
    fn the_order_of_columns_does_not_matter() {
        let mut swapped = table();
        swapped.columns.swap(0, 1);
        swapped.key = vec![1];
        assert_eq!(TableFingerprint::of(&swapped), TableFingerprint::of(&table()));
    }

    #[test]
    fn what_changes_the_meaning_of_a_row_changes_the_fingerprint() {
        let reference = TableFingerprint::of(&table());
        let changed = |change: fn(&mut TableSchema)| {
            let mut table = table();
            change(&mut table);
            TableFingerprint::of(&table)
        };
        assert_ne!(reference, changed(|t| t.name = "Books".to_owned()));
        assert_ne!(reference, changed(|t| t.columns[1].name = "name".to_owned()));
        assert_ne!(reference, changed(|t| t.columns[1].declared_type = "BLOB".to_owned()));
        assert_ne!(reference, changed(|t| t.columns[1].not_null = true));
        assert_ne!(reference, changed(|t| t.columns[1].collation = Collation::NoCase));
        assert_ne!(reference, changed(|t| t.key = vec![1]));
        assert_ne!(reference, changed(|t| t.strict = true));
        let unique = UniqueIndexKind::Plain(vec![(1, Collation::Binary)]);
        let mut with_index = table();
        with_index.unique = vec![UniqueIndex { name: "u".to_owned(), kind: unique }];
        assert_ne!(reference, TableFingerprint::of(&with_index));
    }
}
