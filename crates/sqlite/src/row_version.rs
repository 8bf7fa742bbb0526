//! Rows of one table and the versions beside them, within one transaction.

use std::borrow::Cow;

use harmonylite_core::conflict::{RowVersion, Version};
use harmonylite_core::model::{Hlc, Origin, Value};
use harmonylite_core::planted::{Bug, is_planted};
use rusqlite::{CachedStatement, Connection};

use crate::catalog::Table;
use crate::error::{StoreError, StoreErrorKind};
use crate::meta::flag;
use crate::origin::Origins;
use crate::row_digest::RowDigest;
use crate::value::{bind, values_of};

/// A statement that is prepared when it is first needed, then kept.
pub(crate) struct Lazy<'s> {
    sql: Cow<'s, str>,
    statement: Option<CachedStatement<'s>>,
}

impl<'s> Lazy<'s> {
    /// Not prepared yet.
    pub(crate) fn new(sql: impl Into<Cow<'s, str>>) -> Self {
        Self { sql: sql.into(), statement: None }
    }

    /// Prepared now if not before.
    pub(crate) fn get(&mut self, connection: &'s Connection) -> rusqlite::Result<&mut CachedStatement<'s>> {
        match &mut self.statement {
            Some(statement) => Ok(statement),
            none => Ok(none.insert(connection.prepare_cached(&self.sql)?)),
        }
    }
}

/// What stands beside a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    /// Its version; [`Version::NONE`] for a row that was there before its triggers.
    pub(crate) version: RowVersion,
    /// Of the content that goes with it; `None` when that is not known, or gone.
    pub(crate) digest: Option<RowDigest>,
}

/// Reads and writes rows and row versions of one table.
pub(crate) struct TableRows<'s> {
    /// The table.
    pub(crate) table: &'s Table,
    connection: &'s Connection,
    origins: &'s Origins<'s>,
    select: Lazy<'s>,
    exists: Lazy<'s>,
    delete: Lazy<'s>,
    upsert: Lazy<'s>,
    select_version: Lazy<'s>,
    set_version: Lazy<'s>,
}

impl<'s> TableRows<'s> {
    /// Of `table`.
    pub(crate) fn new(connection: &'s Connection, origins: &'s Origins<'s>, table: &'s Table) -> Self {
        let sql = &table.row_sql;
        Self {
            table,
            connection,
            origins,
            select: Lazy::new(&sql.select),
            exists: Lazy::new(&sql.exists),
            delete: Lazy::new(&sql.delete),
            upsert: Lazy::new(&sql.upsert),
            select_version: Lazy::new(&sql.select_version),
            set_version: Lazy::new(&sql.set_version),
        }
    }

    /// All stored columns of the row, if it is there.
    pub(crate) fn row(&mut self, key: &[Value]) -> rusqlite::Result<Option<Vec<Value>>> {
        let statement = self.select.get(self.connection)?;
        bind(statement, 1, key)?;
        let mut rows = statement.raw_query();
        rows.next()?.map(|row| values_of(row, 0, self.table.schema.columns.len())).transpose()
    }

    /// The digest of the row, if it is there.
    pub(crate) fn digest(&mut self, key: &[Value]) -> rusqlite::Result<Option<RowDigest>> {
        let statement = self.select.get(self.connection)?;
        bind(statement, 1, key)?;
        let mut rows = statement.raw_query();
        rows.next()?.map(|row| self.table.shape.digest_row(row)).transpose()
    }

    /// Is the row there?
    pub(crate) fn exists(&mut self, key: &[Value]) -> rusqlite::Result<bool> {
        let statement = self.exists.get(self.connection)?;
        bind(statement, 1, key)?;
        Ok(statement.raw_query().next()?.is_some())
    }

    /// Takes the row out, if it is there.
    pub(crate) fn delete(&mut self, key: &[Value]) -> rusqlite::Result<()> {
        let statement = self.delete.get(self.connection)?;
        bind(statement, 1, key)?;
        statement.raw_execute().map(|_| ())
    }

    /// Writes the row; the table has no UNIQUE index besides the key.
    pub(crate) fn upsert<'v>(&mut self, values: impl IntoIterator<Item = &'v Value>) -> rusqlite::Result<()> {
        let statement = self.upsert.get(self.connection)?;
        bind(statement, 1, values)?;
        statement.raw_execute().map(|_| ())
    }

    /// The stored version of the row; `None` when it was never written since our tables were made.
    pub(crate) fn version(&mut self, key: &[Value]) -> Result<Option<RowVersion>, StoreError> {
        let stored = self.stored(key)?;
        Ok(stored.map(|stored| stored.version).filter(|version| version.version != Version::NONE))
    }

    /// Everything that stands beside the row.
    pub(crate) fn stored(&mut self, key: &[Value]) -> Result<Option<Stored>, StoreError> {
        let statement = self.select_version.get(self.connection)?;
        bind(statement, 1, key)?;
        let mut rows = statement.raw_query();
        let Some(row) = rows.next()? else { return Ok(None) };
        let flags: i64 = row.get(2)?;
        let origin = |column| -> Result<Origin, StoreError> { self.origins.origin(row.get(column)?) };
        let version = |hlc, origin, displaced| Version { hlc, origin, displaced };
        let digest: Option<i64> = row.get(5)?;
        let version = RowVersion {
            version: version(hlc_of(row.get(0)?)?, origin(1)?, flags & flag::DISPLACED != 0),
            tombstone: flags & flag::TOMBSTONE != 0,
            base: version(hlc_of(row.get(3)?)?, origin(4)?, flags & flag::BASE_DISPLACED != 0),
        };
        Ok(Some(Stored { version, digest: digest.map(RowDigest::from_raw) }))
    }

    /// Stores the version of the row, and the digest of the content that goes with it.
    pub(crate) fn set_version(
        &mut self,
        key: &[Value],
        version: &RowVersion,
        digest: Option<RowDigest>,
    ) -> Result<(), StoreError> {
        if is_planted(Bug::TombstonesForgotten) && version.tombstone {
            return Ok(());
        }
        let numbers = [
            version.version.hlc.get(),
            self.origins.number(version.version.origin)?,
            flags_of(version),
            version.base.hlc.get(),
            self.origins.number(version.base.origin)?,
        ];
        let statement = self.set_version.get(self.connection)?;
        bind(statement, 1, key)?;
        for (index, number) in numbers.iter().enumerate() {
            statement.raw_bind_parameter(key.len() + 1 + index, number)?;
        }
        statement.raw_bind_parameter(key.len() + 1 + numbers.len(), digest.map(RowDigest::raw))?;
        statement.raw_execute()?;
        Ok(())
    }
}

fn flags_of(version: &RowVersion) -> i64 {
    let bit = |set, bit| if set { bit } else { 0 };
    bit(version.version.displaced, flag::DISPLACED)
        | bit(version.tombstone, flag::TOMBSTONE)
        | bit(version.base.displaced, flag::BASE_DISPLACED)
}

fn hlc_of(raw: i64) -> Result<Hlc, StoreError> {
    Hlc::new(raw).ok_or_else(|| StoreError::new(StoreErrorKind::Damaged, format!("negative clock {raw}")))
}

/// Key values of a row of `table`, in key order, from all its stored columns.
pub(crate) fn key_of(table: &Table, values: &[Value]) -> Vec<Value> {
    table.schema.key.iter().map(|&index| values[index].clone()).collect()
}
