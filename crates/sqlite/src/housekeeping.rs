//! What rides along with applies or, when there are none, has a commit of its own now and then: stamping, saving
//! positions, trimming the log (R4, R6).

use harmonylite_core::effect::{Housekeep, PublishedPositions};
use harmonylite_core::input::Housekept;
use harmonylite_core::planted::{Bug, is_planted};
use harmonylite_late_lock::Lock;
use rusqlite::OptionalExtension as _;

use crate::Store;
use crate::catalog::Table;
use crate::checkpoint::{
    count_some_log_rows, log_end, mark, moved_checkpoints, published, raise_observed, save_checkpoint,
    save_published,
};
use crate::conflict_log;
use crate::error::StoreError;
use crate::meta::{CHANGE_LOG_GLOBAL, key};
use crate::session::Session;
use crate::stamp::stamp;
use crate::table_sql;

/// Conflict log entries that one commit trims.
const TRIM_CONFLICTS: usize = 1000;

impl Store {
    /// Saves what is published and consumed, stamps and trims as many log rows as the request has, trims the conflict log, in
    /// one commit. With nothing to do there is no commit and no lock. `now_ms` is the wall clock as for an apply.
    ///
    /// While the schema is another than the one that was read, the log is left alone: only positions are saved.
    pub fn housekeep(&mut self, request: &Housekeep, now_ms: u64) -> Result<Housekept, StoreError> {
        if !self.housekeeping_is_due(request, now_ms)? {
            return Ok(Housekept::default());
        }
        self.write_late(|store, lock| store.housekeep_with(request, now_ms, lock))
    }

    fn housekeep_with(
        &mut self,
        request: &Housekeep,
        now_ms: u64,
        lock: Lock,
    ) -> Result<Housekept, StoreError> {
        let transaction = self.begin_writing(lock)?;
        save_published(&transaction, &request.published)?;
        for (source, checkpoint) in moved_checkpoints(&transaction, &request.checkpoints)? {
            save_checkpoint(&transaction, source, checkpoint, 0)?;
        }
        let mut done = Housekept::default();
        let session = Session::new(self);
        conflict_log::trim(&session, now_ms, TRIM_CONFLICTS)?;
        if !self.schema_differs()? {
            let asked = usize::try_from(request.rows).unwrap_or(usize::MAX);
            done = tend_log(&session, &request.published, asked.min(self.limits.housekeeping_rows))?;
        }
        done.conflicts_remain = conflict_log::is_overfull(&transaction, &self.retention, now_ms)?;
        drop(session);
        let written = transaction.commit()?;
        done.hold = self.released(&written, done.stamped + done.trimmed);
        Ok(done)
    }

    fn housekeeping_is_due(&self, request: &Housekeep, now_ms: u64) -> Result<bool, StoreError> {
        let snapshot = self.begin_read()?;
        if conflict_log::is_overfull(&snapshot, &self.retention, now_ms)? {
            return Ok(true);
        }
        let saved = published(&snapshot)?;
        let ahead = |(shard, through)| saved.by_shard.get(shard).is_none_or(|saved| saved < through);
        if request.published.settled > saved.settled || request.published.by_shard.iter().any(ahead) {
            return Ok(true);
        }
        if !moved_checkpoints(&snapshot, &request.checkpoints)?.is_empty() {
            return Ok(true);
        }
        let end = log_end(&snapshot)?;
        let stamped = mark(&snapshot, key::STAMPED)?;
        let unstamped = self.options.publish && end > stamped;
        let trimmable = count_some_log_rows(&snapshot, 0, stamped.min(saved.settled.get()), 1)? > 0;
        Ok(!self.schema_differs()? && (unstamped || trimmable))
    }
}

fn tend_log(
    session: &Session<'_>,
    published: &PublishedPositions,
    limit: usize,
) -> Result<Housekept, StoreError> {
    let stamped = if session.publish { stamp(session, published, limit)? } else { 0 };
    let trimmed = trim(session, limit)?;
    let settled = mark(session.connection, key::SETTLED)?;
    let remaining_rows = count_some_log_rows(session.connection, 0, settled, limit)?;
    Ok(Housekept { stamped: stamped as u64, trimmed, remaining_rows, ..Housekept::default() })
}

/// Deletes at most `limit` log rows that are published on every shard and stamped, oldest first; gives how many.
pub(crate) fn trim(session: &Session<'_>, limit: usize) -> Result<u64, StoreError> {
    let connection = session.connection;
    let settled = mark(connection, key::SETTLED)?;
    let settled = if is_planted(Bug::TrimBeforeAck) { i64::MAX } else { settled };
    let bound = mark(connection, key::STAMPED)?.min(settled);
    let sql = format!(
        "SELECT max(id) FROM (SELECT id FROM main.{CHANGE_LOG_GLOBAL} WHERE id <= ?1 ORDER BY id LIMIT ?2)"
    );
    let limit_integer = i64::try_from(limit).unwrap_or(i64::MAX);
    let cut: Option<i64> = connection
        .prepare_cached(&sql)?
        .query_row([bound, limit_integer], |row| row.get(0))
        .optional()?
        .flatten();
    let Some(cut) = cut else { return Ok(0) };
    for table in logged_tables(session, cut)? {
        connection.prepare_cached(&table_sql::trim_log(table))?.execute([cut])?;
    }
    let sql = format!("DELETE FROM main.{CHANGE_LOG_GLOBAL} WHERE id <= ?1");
    let trimmed = connection.prepare_cached(&sql)?.execute([cut])?;
    // A later id must never be below one that is gone.
    if !is_planted(Bug::TrimmedNotObserved) {
        raise_observed(connection, cut)?;
    }
    Ok(trimmed as u64)
}

/// The replicated tables that have log rows up to `cut`.
fn logged_tables<'s>(session: &Session<'s>, cut: i64) -> Result<Vec<&'s Table>, StoreError> {
    let sql = format!("SELECT DISTINCT table_name FROM main.{CHANGE_LOG_GLOBAL} WHERE id <= ?1");
    let mut statement = session.connection.prepare_cached(&sql)?;
    let names = statement.query_map([cut], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(names.iter().filter_map(|name| session.catalog.tables.get(name)).map(AsRef::as_ref).collect())
}
