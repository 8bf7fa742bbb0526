//! Finding the rows that stand in the way of another one (R13): for every UNIQUE index, those that it calls equal.

use harmonylite_core::model::{UniqueIndexKind, Value};
use rusqlite::Connection;

use crate::catalog::Table;
use crate::error::StoreError;
use crate::row_version::Lazy;
use crate::table_sql;
use crate::value::{bind, values_of};

/// Searches through the UNIQUE indexes of one table.
pub(crate) struct Rivals<'s> {
    connection: &'s Connection,
    table: &'s Table,
    plain: Vec<Plain<'s>>,
}

/// An index over whole columns.
struct Plain<'s> {
    columns: Vec<usize>,
    select: Lazy<'s>,
}

impl<'s> Rivals<'s> {
    pub(crate) fn new(connection: &'s Connection, table: &'s Table) -> Result<Self, StoreError> {
        let plain = table
            .schema
            .unique
            .iter()
            .filter_map(|index| match &index.kind {
                UniqueIndexKind::Plain(columns) => Some(Plain {
                    columns: columns.iter().map(|(column, _)| *column).collect(),
                    select: Lazy::new(table_sql::rivals(table, columns)),
                }),
                UniqueIndexKind::Text(_) => None,
            })
            .collect();
        Ok(Self { connection, table, plain })
    }

    /// The keys of the rows that have a value of `values` (all stored columns) in a UNIQUE index. The row itself may be
    /// among them, and a row may be there twice.
    pub(crate) fn find(&mut self, values: &[Value]) -> Result<Vec<Vec<Value>>, StoreError> {
        let mut found = Vec::new();
        for index in &mut self.plain {
            let wanted: Vec<&Value> = index.columns.iter().map(|&column| &values[column]).collect();
            // NULLs never collide.
            if wanted.iter().any(|value| **value == Value::Null) {
                continue;
            }
            let select = index.select.get(self.connection)?;
            bind(select, 1, wanted)?;
            let mut rows = select.raw_query();
            while let Some(row) = rows.next()? {
                found.push(values_of(row, 0, self.table.schema.key.len())?);
            }
        }
        Ok(found)
    }
}
