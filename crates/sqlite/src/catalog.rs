//! The replicated tables as the store knows them: shape, fingerprint, and the quoted names of what belongs to each.

use std::collections::BTreeMap;
use std::sync::Arc;

use harmonylite_core::input::TableReport;
use harmonylite_core::model::TableSchema;
use harmonylite_core::schema::TableFingerprint;

use crate::identifier::{change_log, quote, row_version};
use crate::mirror::Mirrors;
use crate::row_digest::RowShape;
use crate::table_sql::RowSql;

/// A replicated table.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its shape.
    pub(crate) schema: TableSchema,
    /// Of that shape.
    pub(crate) fingerprint: TableFingerprint,
    /// The table's name, quoted.
    pub(crate) name: String,
    /// Its change log's name, quoted. Columns: `id`, `val_<key column>` each, `type`.
    pub(crate) change_log: String,
    /// Its row versions' name, quoted. Columns: `val_<key column>` each, `hlc`, `origin`, `flags`, `base_hlc`,
    /// `base_origin`, `digest`.
    pub(crate) row_version: String,
    /// Makes digests of its rows.
    pub(crate) shape: RowShape,
    /// What is run for its rows again and again.
    pub(crate) row_sql: RowSql,
}

impl Table {
    /// Of a shape.
    pub(crate) fn new(schema: TableSchema) -> Self {
        let mut table = Self {
            fingerprint: TableFingerprint::of(&schema),
            name: quote(&schema.name),
            change_log: quote(&change_log(&schema.name)),
            row_version: quote(&row_version(&schema.name)),
            shape: RowShape::of(&schema),
            schema,
            row_sql: RowSql::default(),
        };
        table.row_sql = RowSql::of(&table);
        table
    }
}

/// No version of the schema: SQLite's own have 32 bits.
pub(crate) const UNREAD: i64 = i64::MIN;

/// All tables at one version of the schema.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// `PRAGMA schema_version` when it was read.
    pub(crate) schema_version: i64,
    /// Replicated tables by name.
    pub(crate) tables: BTreeMap<String, Arc<Table>>,
    /// Every table of the application, replicated or not.
    pub(crate) reports: Vec<TableReport>,
    /// The TEMP triggers that follow the application's, for tables that have any.
    pub(crate) mirrors: Mirrors,
}
