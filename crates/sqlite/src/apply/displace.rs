//! Displacement (R1): a row that lost a UNIQUE value becomes a tombstone just above its own version, is published so,
//! and its values go to the conflict log.

use harmonylite_core::conflict::{RowVersion, Version};
use harmonylite_core::model::{Hlc, Value};
use harmonylite_core::planted::{Bug, is_planted};
use rusqlite::params;

use super::rows::{Incoming, Tally};
use crate::catalog::Table;
use crate::checkpoint::{log_end, observed};
use crate::conflict_log::{Loss, Reason, log_loss};
use crate::error::StoreError;
use crate::meta::CHANGE_LOG_GLOBAL;
use crate::row_version::{Lazy, TableRows};
use crate::session::Session;
use crate::table_sql;
use crate::value::bind;

/// Displaces rows of one table.
pub(crate) struct Displacer<'s> {
    session: &'s Session<'s>,
    table: &'s Table,
    now_ms: u64,
    log: Lazy<'s>,
}

impl<'s> Displacer<'s> {
    pub(crate) fn new(session: &'s Session<'s>, table: &'s Table, now_ms: u64) -> Self {
        Self { session, table, now_ms, log: Lazy::new(table_sql::log_displaced(table)) }
    }

    /// A row that is here makes way for one with the version `winner`.
    pub(crate) fn displace(
        &mut self,
        rows: &mut TableRows<'_>,
        key: &[Value],
        loser: Version,
        winner: Version,
        tally: &mut Tally,
    ) -> Result<(), StoreError> {
        let row = rows.row(key)?;
        self.bury(rows, key, loser, winner, row.as_deref(), tally)
    }

    /// An incoming row makes way for one that is here: its old state goes, its new one never comes.
    pub(crate) fn refuse(
        &mut self,
        rows: &mut TableRows<'_>,
        incoming: &Incoming,
        values: &[Value],
        winner: Version,
        tally: &mut Tally,
    ) -> Result<(), StoreError> {
        tally.refused += 1;
        self.bury(rows, &incoming.key, incoming.version.version, winner, Some(values), tally)
    }

    fn bury(
        &mut self,
        rows: &mut TableRows<'_>,
        key: &[Value],
        loser: Version,
        winner: Version,
        row: Option<&[Value]>,
        tally: &mut Tally,
    ) -> Result<(), StoreError> {
        rows.delete(key)?;
        let version = if is_planted(Bug::WinnersVersionBorrowed) { winner } else { loser.displaced() };
        rows.set_version(key, &RowVersion { version, tombstone: true, base: loser }, None)?;
        let loss = Loss { table: self.table, key, reason: Reason::Displaced, loser, winner, row };
        log_loss(self.session, self.now_ms, &loss)?;
        if self.session.publish && !is_planted(Bug::LosersNotPublished) {
            self.log_row(key)?;
        }
        tally.conflicts += 1;
        tally.displaced += 1;
        Ok(())
    }

    /// The log row that has the tombstone published. Its id comes from the clock like any other.
    fn log_row(&mut self, key: &[Value]) -> Result<(), StoreError> {
        let connection = self.session.connection;
        let clock = |raw| Hlc::new(raw).unwrap_or_default();
        let id = Hlc::next(self.now_ms, clock(log_end(connection)?), clock(observed(connection)?)).get();
        let sql = format!("INSERT INTO main.{CHANGE_LOG_GLOBAL}(id, table_name) VALUES(?1, ?2)");
        connection.prepare_cached(&sql)?.execute(params![id, self.table.schema.name])?;
        let log = self.log.get(connection)?;
        log.raw_bind_parameter(1, id)?;
        bind(log, 2, key)?;
        log.raw_execute()?;
        Ok(())
    }
}
