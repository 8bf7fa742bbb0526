//! Removing what is ours from a database.

use std::path::Path;

use rusqlite::TransactionBehavior;

use crate::capture::Own;
use crate::connection;
use crate::error::StoreError;
use crate::identifier::quote;
use crate::lock::LockFile;

/// What was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Removed {
    /// Triggers.
    pub triggers: u64,
    /// Tables.
    pub tables: u64,
}

/// Removes every table and trigger of ours, and those of the original HarmonyLite, in one transaction, and the lock
/// file. What was not published yet stays on this node alone. Fails when a sidecar is running.
pub fn cleanup(path: &Path) -> Result<Removed, StoreError> {
    let lock = LockFile::acquire(path)?;
    let removed = remove(path, true)?;
    lock.remove()?;
    Ok(removed)
}

/// Removes the triggers alone: nothing is captured until the next start, and what is in the log stays. Fails when a
/// sidecar is running.
pub fn detach(path: &Path) -> Result<Removed, StoreError> {
    let lock = LockFile::acquire(path)?;
    let removed = remove(path, false)?;
    lock.remove()?;
    Ok(removed)
}

fn remove(path: &Path, tables: bool) -> Result<Removed, StoreError> {
    let mut connection = connection::open(path)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let own = Own::read(&transaction)?;
    let mut removed = Removed::default();
    for trigger in own.trigger_names() {
        transaction.execute_batch(&format!("DROP TRIGGER main.{}", quote(trigger)))?;
        removed.triggers += 1;
    }
    for table in own.table_names().filter(|_| tables) {
        transaction.execute_batch(&format!("DROP TABLE main.{}", quote(table)))?;
        removed.tables += 1;
    }
    transaction.commit()?;
    Ok(removed)
}
