//! The shape of a replicated table, as far as replication needs it.

/// A built-in collation. Tables whose key or UNIQUE columns use another are refused: only the application has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Collation {
    /// Bytes compare.
    Binary,
    /// ASCII letters compare without case.
    NoCase,
    /// Trailing spaces do not count.
    RTrim,
}

impl Collation {
    /// SQLite's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binary => "BINARY",
            Self::NoCase => "NOCASE",
            Self::RTrim => "RTRIM",
        }
    }

    /// The collation of that name, in any case; `None` when it is not built in.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Binary, Self::NoCase, Self::RTrim].into_iter().find(|c| c.name().eq_ignore_ascii_case(name))
    }
}

/// A column that stores a value: hidden and generated ones are not listed, they never travel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// As written in the schema.
    pub name: String,
    /// The declared type, verbatim; empty when there is none.
    pub declared_type: String,
    /// Declared NOT NULL (or part of a WITHOUT ROWID key).
    pub not_null: bool,
    /// The column's own collation.
    pub collation: Collation,
}

/// How the rivals of a row are found for a UNIQUE index (R13).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UniqueIndexKind {
    /// Whole columns of the table, no WHERE: indexes into [`TableSchema::columns`], each with the index's collation.
    /// A generated column is not in that list: such an index is [`UniqueIndexKind::Text`].
    Plain(Vec<(usize, Collation)>),
    /// Partial, over expressions, or over generated columns: only its own text (`CREATE UNIQUE INDEX ...`) can find
    /// rivals. `None` when SQLite made the index itself (a UNIQUE constraint on a generated column).
    Text(Option<String>),
}

/// A UNIQUE index besides the key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UniqueIndex {
    /// Its name in the schema.
    pub name: String,
    /// How rivals are found.
    pub kind: UniqueIndexKind,
}

/// A table that can be replicated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableSchema {
    /// As written in the schema.
    pub name: String,
    /// Stored columns in declaration order.
    pub columns: Vec<Column>,
    /// The primary key: indexes into `columns`, in key order; never empty.
    pub key: Vec<usize>,
    /// Collation of each key column in the key's own index (that of the column for a rowid alias).
    pub key_collations: Vec<Collation>,
    /// The key is `INTEGER PRIMARY KEY`, another name for the rowid.
    pub rowid_alias: bool,
    /// Declared WITHOUT ROWID.
    pub without_rowid: bool,
    /// Declared STRICT.
    pub strict: bool,
    /// UNIQUE indexes besides the key, ordered by name.
    pub unique: Vec<UniqueIndex>,
}

impl TableSchema {
    /// Is column `index` part of the key?
    #[must_use]
    pub fn is_key(&self, index: usize) -> bool {
        self.key.contains(&index)
    }

    /// May the key be NULL? SQLite allows that in ordinary tables unless the column is declared NOT NULL; such rows
    /// are not replicated.
    #[must_use]
    pub fn key_may_be_null(&self) -> bool {
        !self.rowid_alias && self.key.iter().any(|index| !self.columns[*index].not_null)
    }
}
