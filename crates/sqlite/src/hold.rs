//! How long we hold the application's write lock, and whether it wrote in between (G1): from this the core sets the pace.

use std::time::Instant;

use harmonylite_core::input::Hold;
use rusqlite::Connection;

use crate::Store;
use crate::connection::data_version;
use crate::error::StoreError;

/// A transaction that writes, from its first moment on.
pub(crate) struct Holding {
    since: Instant,
    data_version: i64,
}

impl Holding {
    /// The write lock was just taken on `connection`.
    pub(crate) fn begin(connection: &Connection) -> Result<Self, StoreError> {
        let since = Instant::now();
        Ok(Self { since, data_version: data_version(connection)? })
    }
}

impl Store {
    /// The transaction is committed; it wrote so many rows. Writes of the application are told with the next hold: those
    /// that waited for this one are made right after it.
    pub(crate) fn released(&mut self, holding: &Holding, rows: u64) -> Hold {
        let before = self.data_version.replace(holding.data_version);
        Hold {
            rows,
            held_us: u64::try_from(holding.since.elapsed().as_micros()).unwrap_or(u64::MAX),
            application_wrote: before.is_some_and(|before| before != holding.data_version),
        }
    }
}
