//! The statements on one table, its change log and its row versions.

use harmonylite_core::model::{Collation, Column, TableSchema};

use crate::catalog::Table;
use crate::identifier::{key_column, quote};
use crate::meta::log_type;

/// The statements on a row and its version, made once: an apply needs most of them for every group, with the lock held.
#[derive(Debug, Default)]
pub(crate) struct RowSql {
    pub(crate) select: String,
    pub(crate) exists: String,
    pub(crate) delete: String,
    pub(crate) upsert: String,
    pub(crate) select_version: String,
    pub(crate) set_version: String,
}

impl RowSql {
    /// Of `table`.
    pub(crate) fn of(table: &Table) -> Self {
        Self {
            select: select_row(table),
            exists: row_exists(table),
            delete: delete_row(table),
            upsert: upsert(table),
            select_version: select_version(table),
            set_version: set_version(table),
        }
    }
}

/// `SELECT <stored columns>` of one row; parameters: the key.
fn select_row(table: &Table) -> String {
    let columns = list(&all_columns(&table.schema));
    format!("SELECT {columns} FROM main.{} WHERE {}", table.name, key_matches(table, 1))
}

/// `SELECT 1` when the row is there; parameters: the key.
fn row_exists(table: &Table) -> String {
    format!("SELECT 1 FROM main.{} WHERE {}", table.name, key_matches(table, 1))
}

/// Parameters: the key.
pub(crate) fn delete_row(table: &Table) -> String {
    format!("DELETE FROM main.{} WHERE {}", table.name, key_matches(table, 1))
}

/// Writes a row whether it is there or not, never removing another one (no OR REPLACE); parameters: all columns.
///
/// Only for tables without further UNIQUE indexes: among several, the conflict target could name the wrong one.
fn upsert(table: &Table) -> String {
    let set: Vec<_> = assigned(&table.schema)
        .into_iter()
        .map(|index| quote(&table.schema.columns[index].name))
        .map(|name| format!("{name} = excluded.{name}"))
        .collect();
    let action = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", list(&set)) };
    format!("{} ON CONFLICT({}) DO {action}", insert(table), key_columns(table))
}

/// Parameters: all columns.
pub(crate) fn insert(table: &Table) -> String {
    insert_into(&format!("main.{}", table.name), table)
}

/// Inserts a row of `table` into the table `target` (quoted) of the same definition; parameters: all columns.
pub(crate) fn insert_into(target: &str, table: &Table) -> String {
    let columns = all_columns(&table.schema);
    format!("INSERT INTO {target}({}) VALUES({})", list(&columns), numbered(1, columns.len()))
}

/// The quoted key columns, as a list.
pub(crate) fn key_columns(table: &Table) -> String {
    let schema = &table.schema;
    list(&schema.key.iter().map(|&index| quote(&schema.columns[index].name)).collect::<Vec<_>>())
}

/// Writes a row that is there; parameters: all columns, then the key. `None` when nothing but its key could differ.
pub(crate) fn update(table: &Table) -> Option<String> {
    let columns = all_columns(&table.schema);
    let set: Vec<_> = assigned(&table.schema)
        .into_iter()
        .map(|index| format!("{} = ?{}", columns[index], index + 1))
        .collect();
    (!set.is_empty()).then(|| {
        let key = key_matches(table, columns.len() + 1);
        format!("UPDATE main.{} SET {} WHERE {key}", table.name, list(&set))
    })
}

/// The rows that have the given values in the columns of a UNIQUE index, compared as the index does; columns: the key;
/// parameters: the values.
pub(crate) fn rivals(table: &Table, columns: &[(usize, Collation)]) -> String {
    let name = |index: usize| quote(&table.schema.columns[index].name);
    let terms: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(n, &(index, collation))| format!("{} = ?{}{}", name(index), n + 1, collate(collation)))
        .collect();
    format!("SELECT {} FROM main.{} WHERE {}", key_columns(table), table.name, terms.join(" AND "))
}

/// Columns: hlc, origin, flags, base_hlc, base_origin, digest; parameters: the key.
fn select_version(table: &Table) -> String {
    format!(
        "SELECT hlc, origin, flags, base_hlc, base_origin, digest FROM main.{} WHERE {}",
        table.row_version,
        logged_key_matches(table, 1)
    )
}

/// Parameters: the key, then hlc, origin, flags, base_hlc, base_origin, digest. REPLACE keeps a re-spelled key's new bytes.
fn set_version(table: &Table) -> String {
    let key = logged_key(table);
    format!(
        "INSERT OR REPLACE INTO main.{}({}, hlc, origin, flags, base_hlc, base_origin, digest) VALUES({})",
        table.row_version,
        list(&key),
        numbered(1, key.len() + 6)
    )
}

/// Columns: id, type, the key; parameters: beyond which id, up to which.
pub(crate) fn select_log(table: &Table) -> String {
    format!(
        "SELECT id, type, {} FROM main.{} WHERE id > ?1 AND id <= ?2 ORDER BY id",
        list(&logged_key(table)),
        table.change_log
    )
}

/// The log row of a displacement; parameters: its id, the key.
pub(crate) fn log_displaced(table: &Table) -> String {
    let key = logged_key(table);
    format!(
        "INSERT INTO main.{}(id, {}, type) VALUES({}, '{}')",
        table.change_log,
        list(&key),
        numbered(1, key.len() + 1),
        log_type::DISPLACED
    )
}

/// Parameter: up to which id.
pub(crate) fn trim_log(table: &Table) -> String {
    format!("DELETE FROM main.{} WHERE id <= ?1", table.change_log)
}

/// Parameter: the id.
pub(crate) fn forget_log_row(table: &Table) -> String {
    format!("DELETE FROM main.{} WHERE id = ?1", table.change_log)
}

/// Rows in the order of their keys, all stored columns; parameters: the key after which, when `after`. Those with a NULL
/// in the key are left out.
pub(crate) fn page_of_rows(table: &Table, after: bool, limit: usize) -> String {
    let schema = &table.schema;
    let key: Vec<_> = schema
        .key
        .iter()
        .zip(&schema.key_collations)
        .map(|(&index, collation)| {
            let column = &schema.columns[index];
            let name = quote(&column.name);
            // Named only where the key's index compares otherwise than the column: SQLite searches an index for a row of
            // columns, not for one of expressions.
            let other = !schema.rowid_alias && column.collation != *collation;
            if other { format!("{name}{}", collate(*collation)) } else { name }
        })
        .collect();
    let mut conditions: Vec<_> = key.iter().map(|name| format!("{name} IS NOT NULL")).collect();
    if after {
        conditions.push(format!("({}) > ({})", list(&key), numbered(1, key.len())));
    }
    format!(
        "SELECT {} FROM main.{} WHERE {} ORDER BY {} LIMIT {limit}",
        list(&all_columns(schema)),
        table.name,
        conditions.join(" AND "),
        list(&key)
    )
}

/// Row versions in the order of their keys; columns: the key, flags; parameters: the key after which, when `after`.
pub(crate) fn page_of_versions(table: &Table, after: bool, limit: usize) -> String {
    let key = list(&logged_key(table));
    let condition = if after {
        format!(" WHERE ({key}) > ({})", numbered(1, table.schema.key.len()))
    } else {
        String::new()
    };
    format!("SELECT {key}, flags FROM main.{}{condition} ORDER BY {key} LIMIT {limit}", table.row_version)
}

/// The quoted stored columns, in the schema's order.
fn all_columns(schema: &TableSchema) -> Vec<String> {
    schema.columns.iter().map(|column| quote(&column.name)).collect()
}

/// The quoted columns of our tables that hold the key.
fn logged_key(table: &Table) -> Vec<String> {
    let schema = &table.schema;
    schema.key.iter().map(|&index| quote(&key_column(&schema.columns[index].name))).collect()
}

fn key_matches(table: &Table, first: usize) -> String {
    let schema = &table.schema;
    let terms: Vec<_> = schema
        .key
        .iter()
        .zip(&schema.key_collations)
        .enumerate()
        .map(|(n, (&index, collation))| {
            let name = quote(&schema.columns[index].name);
            // The key's own index may compare otherwise than the column does.
            let collate = if schema.rowid_alias { String::new() } else { collate(*collation) };
            format!("{name} = ?{}{collate}", first + n)
        })
        .collect();
    terms.join(" AND ")
}

/// The key columns of the row versions carry the key's collations themselves.
fn logged_key_matches(table: &Table, first: usize) -> String {
    let terms: Vec<_> =
        logged_key(table).iter().enumerate().map(|(n, name)| format!("{name} = ?{}", first + n)).collect();
    terms.join(" AND ")
}

pub(crate) fn collate(collation: Collation) -> String {
    format!(" COLLATE {}", collation.name())
}

/// Columns that an update must write: all but those of the key that cannot be spelled in two ways (writing a key
/// column makes SQLite move the row in its indexes).
fn assigned(schema: &TableSchema) -> Vec<usize> {
    let fixed = |index: &usize| {
        let key = schema.key.iter().position(|k| k == index);
        key.is_some_and(|k| {
            schema.rowid_alias || one_spelling(&schema.columns[*index], schema.key_collations[k])
        })
    };
    (0..schema.columns.len()).filter(|index| !fixed(index)).collect()
}

/// Are two equal values of this column the same bytes? Not under NOCASE or RTRIM, and not where `1` and `1.0` can
/// both be stored: only INTEGER, NUMERIC and TEXT affinity leave one of them.
fn one_spelling(column: &Column, collation: Collation) -> bool {
    let declared = column.declared_type.to_ascii_uppercase();
    let has = |part: &str| declared.contains(part);
    let integer_or_text = has("INT") || has("CHAR") || has("CLOB") || has("TEXT");
    let blob_or_real = declared.is_empty() || has("BLOB") || has("REAL") || has("FLOA") || has("DOUB");
    collation == Collation::Binary && (integer_or_text || !(blob_or_real || declared == "ANY"))
}

fn list(parts: &[String]) -> String {
    parts.join(", ")
}

/// `?first, ?first+1, ...`, `count` of them.
fn numbered(first: usize, count: usize) -> String {
    (first..first + count).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ")
}
