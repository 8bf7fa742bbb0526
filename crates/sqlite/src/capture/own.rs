//! What stands in the database of ours, whoever made it: tables and triggers with our prefix.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::trigger;
use crate::error::{StoreError, StoreErrorKind};
use crate::identifier::{PREFIX, quote};
use crate::meta::{CHANGE_LOG_GLOBAL, META, ORIGIN};

/// A trigger as it is.
#[derive(Debug)]
pub(super) struct OwnTrigger {
    /// The table that it is on now: `ALTER TABLE ... RENAME TO` moves it along.
    pub(super) table: String,
    /// Its text.
    pub(super) sql: String,
    /// A trigger of the application comes before it that may end the statement: then it does not fire.
    pub(super) outrun: bool,
}

impl OwnTrigger {
    /// Is it as it should be?
    pub(super) fn is_right(&self, sql: &str) -> bool {
        self.sql == sql && !self.outrun
    }
}

/// Everything of ours, by name.
#[derive(Debug, Default)]
pub(crate) struct Own {
    /// Tables with their text.
    pub(super) tables: BTreeMap<String, String>,
    /// Triggers.
    pub(super) triggers: BTreeMap<String, OwnTrigger>,
}

impl Own {
    /// Reads them from the schema.
    pub(crate) fn read(connection: &Connection) -> Result<Self, StoreError> {
        let mut own = Self::default();
        let enders = last_enders(connection)?;
        let mut statement = connection.prepare(
            "SELECT type, name, tbl_name, sql, rowid FROM main.sqlite_schema \
             WHERE type IN ('table', 'trigger') AND substr(name, 1, length(?1)) = ?1",
        )?;
        let mut rows = statement.query([PREFIX])?;
        while let Some(row) = rows.next()? {
            let (kind, name, table, sql): (String, String, String, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            if kind == "table" {
                own.tables.insert(name, sql);
            } else {
                let made: i64 = row.get(4)?;
                let outrun = enders.get(&table.to_ascii_lowercase()).is_some_and(|ender| *ender > made);
                own.triggers.insert(name, OwnTrigger { table, sql, outrun });
            }
        }
        Ok(own)
    }

    /// Was this database never touched by HarmonyLite?
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.triggers.is_empty()
    }

    /// The names of all triggers.
    pub(crate) fn trigger_names(&self) -> impl Iterator<Item = &str> {
        self.triggers.keys().map(String::as_str)
    }

    /// The names of all tables.
    pub(crate) fn table_names(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    /// Refuses what is not ours to mend: tables of the original, or remains of ours.
    pub(crate) fn check(&self, connection: &Connection) -> Result<(), StoreError> {
        let gone = [META, ORIGIN].into_iter().find(|name| !self.tables.contains_key(*name));
        let Some(gone) = gone.filter(|_| !self.is_empty()) else { return Ok(()) };
        if self.is_original(connection)? {
            return Err(StoreError::new(
                StoreErrorKind::OriginalTables,
                "the database holds tables of the original harmonylite",
            )
            .hint(
                "let the original publish everything and stop it, then run `harmonylite cleanup`, which removes them",
            ));
        }
        Err(StoreError::new(
            StoreErrorKind::Damaged,
            format!("the database holds tables or triggers of harmonylite, but {gone} is gone"),
        )
        .hint("run `harmonylite cleanup` to remove the rest, then start again"))
    }

    /// The original's logs hold whole rows and a state; its global log names tables by number.
    fn is_original(&self, connection: &Connection) -> Result<bool, StoreError> {
        let logs =
            self.tables.keys().filter(|name| name.ends_with("_change_log") || *name == CHANGE_LOG_GLOBAL);
        for log in logs {
            let columns = columns(connection, log)?;
            if columns.iter().any(|column| column == "state" || column == "change_table_id") {
                return Ok(true);
            }
        }
        Ok(self.tables.contains_key("__harmonylite__schema_version"))
    }

    /// The table for which the triggers on `table` were made, when that is another name: the application renamed it.
    pub(super) fn renamed_from(&self, table: &str) -> Option<&str> {
        let on_table = self.triggers.iter().filter(|(_, trigger)| trigger.table == table);
        let mut made_for = on_table.filter_map(|(name, _)| Some(trigger::made_for(name)?.0));
        made_for.next().filter(|name| *name != table)
    }

    /// May writes to `table` have passed our triggers by?
    pub(super) fn is_outrun(&self, table: &str) -> bool {
        self.triggers.values().any(|trigger| trigger.outrun && trigger.table == table)
    }

    /// Is the row-logging trigger `event` on `table`, whatever its text?
    pub(super) fn has_event(&self, table: &str, event: &str) -> bool {
        self.triggers.iter().any(|(name, trigger)| {
            trigger.table == table && trigger::made_for(name).is_some_and(|(_, made_for)| made_for == event)
        })
    }
}

/// Per table (in lower case) the place in the schema of the last trigger of the application that may say
/// `RAISE(IGNORE)`. Of the triggers for one event SQLite fires the one first that was made last, and IGNORE ends all
/// that would follow but leaves the row written: only a trigger of ours that was made later sees it.
fn last_enders(connection: &Connection) -> Result<BTreeMap<String, i64>, StoreError> {
    // Too much is found by this, never too little; all that comes of it is that a trigger is made again.
    let mut statement = connection.prepare(
        "SELECT lower(tbl_name), max(rowid) FROM main.sqlite_schema WHERE type = 'trigger' \
         AND substr(name, 1, length(?1)) <> ?1 AND sql LIKE '%raise%ignore%' GROUP BY 1",
    )?;
    let enders = statement.query_map([PREFIX], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(enders.collect::<rusqlite::Result<_>>()?)
}

/// The columns of a table of ours, in order.
pub(super) fn columns(connection: &Connection, table: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare(&format!("PRAGMA main.table_xinfo({})", quote(table)))?;
    let names = statement.query_map([], |row| row.get(1))?.collect::<rusqlite::Result<_>>()?;
    Ok(names)
}
