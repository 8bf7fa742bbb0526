//! What every piece of work within one transaction needs, and how such a transaction begins.

use harmonylite_core::model::{CanonicalKey, Origin, Shard, Value};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::Store;
use crate::catalog::{Catalog, Table};
use crate::error::{StoreError, StoreErrorKind};
use crate::limits::ConflictRetention;
use crate::origin::Origins;
use crate::row_version::TableRows;
use crate::sent::Sent;

/// The store as seen from within a transaction.
pub(crate) struct Session<'s> {
    /// Where the transaction is open.
    pub(crate) connection: &'s Connection,
    /// The tables.
    pub(crate) catalog: &'s Catalog,
    /// Numbers of origins.
    pub(crate) origins: Origins<'s>,
    /// Who we are.
    pub(crate) own: Origin,
    /// Among how many shards rows are divided.
    pub(crate) shards: u16,
    /// Are local rows published at all (R15)?
    pub(crate) publish: bool,
    /// How much of the conflict log is kept.
    pub(crate) retention: ConflictRetention,
    /// What was read for publishing and is not stamped.
    pub(crate) sent: &'s Sent,
}

impl<'s> Session<'s> {
    /// Of `store`, in a transaction that is open.
    pub(crate) fn new(store: &'s Store) -> Self {
        Self {
            connection: &store.connection,
            catalog: &store.catalog,
            origins: Origins::new(&store.connection),
            own: store.origin,
            shards: store.options.shards,
            publish: store.options.publish,
            retention: store.retention,
            sent: &store.sent,
        }
    }

    /// Rows and versions of `table`.
    pub(crate) fn rows<'a>(&'a self, table: &'a Table) -> TableRows<'a> {
        TableRows::new(self.connection, &self.origins, table)
    }

    /// The key in canonical form, and its shard.
    pub(crate) fn place(&self, table: &Table, key: &[Value]) -> (CanonicalKey, Shard) {
        let canonical = CanonicalKey::of(&table.schema, key);
        let shard = canonical.shard(&table.schema.name, self.shards);
        (canonical, shard)
    }
}

impl Store {
    /// Begins a transaction that reads one snapshot.
    pub(crate) fn begin_read(&self) -> Result<Transaction<'_>, StoreError> {
        Ok(Transaction::new_unchecked(&self.connection, TransactionBehavior::Deferred)?)
    }

    /// Begins a transaction that writes; busy when somebody else does.
    pub(crate) fn begin_write(&self) -> Result<Transaction<'_>, StoreError> {
        Ok(Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?)
    }

    /// Is the schema, in the transaction that is open if one is, another than the one that was read?
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn schema_differs(&self) -> Result<bool, StoreError> {
        let mut statement = self.connection.prepare_cached("PRAGMA main.schema_version")?;
        let now: i64 = statement.query_row([], |row| row.get(0))?;
        Ok(now != self.catalog.schema_version)
    }

    /// The same as an error.
    pub(crate) fn require_schema(&self) -> Result<(), StoreError> {
        if self.schema_differs()? {
            return Err(StoreError::new(StoreErrorKind::SchemaChanged, "the schema changed"));
        }
        Ok(())
    }
}
