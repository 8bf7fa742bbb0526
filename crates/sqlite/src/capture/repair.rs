//! Mends what a survey found, inside the caller's write transaction.
//!
//! Our tables follow the application's: a renamed table or key column takes its log and row versions along. Then the
//! missing ones are made, then the triggers, in the same transaction.

use std::collections::{BTreeMap, BTreeSet};

use harmonylite_core::model::TableSchema;
use rusqlite::Connection;

use super::own::columns;
use super::{Survey, backfill, change_log_sql, log_columns, row_version_sql, trigger};
use crate::error::StoreError;
use crate::identifier::{PREFIX, change_log, quote, row_version};
use crate::meta::{self, CHANGE_LOG_GLOBAL, CLOCK, POSITION, PUBLISHED};
use crate::scan::marks;

/// What was mended.
#[derive(Debug, Default)]
pub(crate) struct Repaired {
    /// Tables and triggers made, replaced or removed.
    pub(crate) objects: u64,
    /// Tables whose triggers were missing: writes since then may not be in the log, and the scan looks for them.
    pub(crate) uncaptured: Vec<String>,
    /// Tables that the application dropped.
    pub(crate) dropped: Vec<String>,
}

/// Mends everything. `survey` is of this very transaction.
pub(crate) fn repair(connection: &Connection, survey: &Survey) -> Result<Repaired, StoreError> {
    let mut repair = Repair { connection, survey, repaired: Repaired::default() };
    repair.find_uncaptured()?;
    repair.drop_wrong_triggers()?;
    let remade = repair.make_own_tables()?;
    repair.drop_orphans()?;
    repair.follow_renames()?;
    for table in survey.catalog.tables.values() {
        repair.make_table(&table.schema)?;
    }
    repair.make_triggers()?;
    if remade {
        raise_observed(connection, survey)?;
    }
    repair.log_new_tables()?;
    for table in &repair.repaired.uncaptured {
        marks::demand(connection, table)?;
    }
    Ok(repair.repaired)
}

struct Repair<'a> {
    connection: &'a Connection,
    survey: &'a Survey,
    repaired: Repaired,
}

impl Repair<'_> {
    fn execute(&mut self, sql: &str) -> Result<(), StoreError> {
        self.connection.execute_batch(sql)?;
        self.repaired.objects += 1;
        Ok(())
    }

    /// Does a table of ours exist now, in the middle of the repair?
    fn exists(&self, table: &str) -> Result<bool, StoreError> {
        Ok(self.connection.table_exists(Some("main"), table)?)
    }

    /// Tables that were captured before and have lost a row-logging trigger, or had one that may not have fired.
    fn find_uncaptured(&mut self) -> Result<(), StoreError> {
        let survey = self.survey;
        let captured_before =
            survey.catalog.tables.values().filter(|table| !survey.is_new(&table.schema.name));
        for table in captured_before {
            let name = &table.schema.name;
            let complete = trigger::EVENTS.iter().all(|event| self.survey.own.has_event(name, event));
            let versions = row_version(name);
            let has_versions = self.survey.own.tables.contains_key(&versions);
            if (!complete || survey.own.is_outrun(name))
                && (has_rows(self.connection, name)?
                    || (has_versions && has_rows(self.connection, &versions)?))
            {
                self.repaired.uncaptured.push(name.clone());
            }
        }
        Ok(())
    }

    /// Rows of a table that is younger than our other tables were written on this node's watch, before the triggers
    /// came: they are logged now (G6). Those from before the first start are not: they are on every node.
    fn log_new_tables(&mut self) -> Result<(), StoreError> {
        let survey = self.survey;
        if survey.own.is_empty() {
            return Ok(());
        }
        for table in survey.catalog.tables.values().filter(|table| survey.is_new(&table.schema.name)) {
            if !backfill::log_rows(self.connection, table, &survey.clock)? {
                self.repaired.uncaptured.push(table.schema.name.clone());
            }
        }
        Ok(())
    }

    fn drop_wrong_triggers(&mut self) -> Result<(), StoreError> {
        let wanted = self.survey.wanted_triggers();
        for (name, found) in &self.survey.own.triggers {
            if !wanted.iter().any(|wanted| wanted.name == *name && found.is_right(&wanted.sql)) {
                self.execute(&format!("DROP TRIGGER main.{}", quote(name)))?;
            }
        }
        Ok(())
    }

    fn make_triggers(&mut self) -> Result<(), StoreError> {
        for wanted in self.survey.wanted_triggers() {
            let found = self.survey.own.triggers.get(&wanted.name);
            if found.is_none_or(|found| !found.is_right(&wanted.sql)) {
                self.execute(&wanted.sql)?;
            }
        }
        Ok(())
    }

    /// Our tables without a user table. True when one that the clock's floor (R4) depends on had to be made.
    fn make_own_tables(&mut self) -> Result<bool, StoreError> {
        let mut remade = false;
        for (name, body) in meta::TABLES {
            if !self.survey.own.tables.contains_key(*name) {
                self.execute(&format!("CREATE TABLE {}{body}", quote(name)))?;
                remade |= [CLOCK, CHANGE_LOG_GLOBAL].contains(name);
            }
        }
        let clock = format!("INSERT OR IGNORE INTO {}(k, observed) VALUES(1, 0)", quote(CLOCK));
        self.connection.execute_batch(&clock)?;
        if !self.survey.own.tables.contains_key(CHANGE_LOG_GLOBAL) {
            self.refill_global_log()?;
        }
        Ok(remade)
    }

    /// The application dropped the global log: the logs of the tables know the same.
    fn refill_global_log(&self) -> Result<(), StoreError> {
        for (table, log) in logs(self.survey) {
            let sql = format!(
                "INSERT OR IGNORE INTO {}(id, table_name) SELECT id, ?1 FROM {}",
                quote(CHANGE_LOG_GLOBAL),
                quote(log)
            );
            self.connection.execute(&sql, [table])?;
        }
        Ok(())
    }

    /// A table is gone: its pending log rows have no image any more. Its row versions stay when it had any: a migration
    /// may be about to rename another table into its place.
    fn drop_orphans(&mut self) -> Result<(), StoreError> {
        for table in self.survey.orphans() {
            self.forget_log(&table)?;
            let versions = row_version(&table);
            if self.exists(&versions)? && !has_rows(self.connection, &versions)? {
                self.execute(&format!("DROP TABLE main.{}", quote(&versions)))?;
                marks::forget(self.connection, &table)?;
            }
            self.repaired.dropped.push(table);
        }
        Ok(())
    }

    /// Like trimming: the clock's floor rises to what goes (R4).
    fn forget_log(&mut self, table: &str) -> Result<(), StoreError> {
        raise(self.connection, &change_log(table), "id")?;
        let sql = format!("DELETE FROM {} WHERE table_name = ?1", quote(CHANGE_LOG_GLOBAL));
        self.connection.execute(&sql, [table])?;
        self.execute(&format!("DROP TABLE main.{}", quote(&change_log(table))))
    }

    /// Moves the tables of ours that belong to renamed tables, by way of names that nobody has: two tables may have
    /// swapped theirs.
    fn follow_renames(&mut self) -> Result<(), StoreError> {
        let renames: BTreeMap<String, String> = self
            .survey
            .catalog
            .reports
            .iter()
            .filter_map(|report| {
                Some((report.name.clone(), self.survey.own.renamed_from(&report.name)?.to_owned()))
            })
            .collect();
        for (number, source) in renames.values().enumerate() {
            self.move_tables(source, &parked(number))?;
        }
        for (number, (target, _)) in renames.iter().enumerate() {
            if self.exists(&change_log(target))? {
                self.merge_log(&parked(number), target)?;
            } else {
                self.move_tables(&parked(number), target)?;
            }
        }
        Ok(())
    }

    fn move_tables(&mut self, from: &str, to: &str) -> Result<(), StoreError> {
        let versions_follow = !self.exists(&row_version(to))?;
        for name in [change_log, row_version] {
            // Row versions may be there already: those of a table that was dropped, and that this one replaces.
            if self.exists(&name(from))? && !self.exists(&name(to))? {
                self.execute(&format!("ALTER TABLE {} RENAME TO {}", quote(&name(from)), quote(&name(to))))?;
            } else if self.exists(&name(from))? {
                self.execute(&format!("DROP TABLE main.{}", quote(&name(from))))?;
            }
        }
        if versions_follow {
            marks::renamed(self.connection, from, to)?;
        } else {
            marks::forget(self.connection, from)?;
            marks::demand(self.connection, to)?;
        }
        self.rename_in_global_log(from, to)
    }

    fn rename_in_global_log(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let sql = format!("UPDATE {} SET table_name = ?2 WHERE table_name = ?1", quote(CHANGE_LOG_GLOBAL));
        self.connection.execute(&sql, [from, to])?;
        Ok(())
    }

    /// A migration rebuilt `target` under another name, and we saw it in between: the log goes on, the row versions
    /// are those of the table that was replaced.
    fn merge_log(&mut self, from: &str, target: &str) -> Result<(), StoreError> {
        let (source, log) = (change_log(from), change_log(target));
        if columns(self.connection, &source)? == columns(self.connection, &log)? {
            self.execute(&format!("INSERT INTO {} SELECT * FROM {}", quote(&log), quote(&source)))?;
            self.rename_in_global_log(from, target)?;
        }
        self.forget_log(from)?;
        if self.exists(&row_version(from))? {
            self.execute(&format!("DROP TABLE main.{}", quote(&row_version(from))))?;
        }
        marks::forget(self.connection, from)?;
        marks::demand(self.connection, target)
    }

    /// The log and the row versions of a table: made when missing, their key columns renamed when the table's were.
    fn make_table(&mut self, schema: &TableSchema) -> Result<(), StoreError> {
        let (log, versions) = (change_log(&schema.name), row_version(&schema.name));
        let log_is_lost = !self.exists(&log)? && !self.survey.is_new(&schema.name);
        self.make_or_rename(&log, &change_log_sql(schema), 1, schema)?;
        if !self.exists(&versions)? {
            self.mark_rows_before_versions(&schema.name)?;
        }
        if log_is_lost {
            marks::demand(self.connection, &schema.name)?;
        }
        self.make_or_rename(&versions, &row_version_sql(schema), 0, schema)
    }

    /// A table whose row versions are about to be made. Rows that are there now have none: those of a table that we saw
    /// come are logged, the scan gives a place to those from before the first start, and to those whose versions
    /// somebody dropped.
    fn mark_rows_before_versions(&self, table: &str) -> Result<(), StoreError> {
        let came_later = !self.survey.own.is_empty() && self.survey.is_new(table);
        marks::made(self.connection, table, came_later || !has_rows(self.connection, table)?)
    }

    /// `skip`: columns before those of the key.
    fn make_or_rename(
        &mut self,
        name: &str,
        sql: &str,
        skip: usize,
        schema: &TableSchema,
    ) -> Result<(), StoreError> {
        if !self.exists(name)? {
            return self.execute(sql);
        }
        let key = log_columns(schema);
        if columns(self.connection, name)?[skip..skip + key.len()] == key {
            return Ok(());
        }
        // Not RENAME COLUMN: it would stumble over any view of the application that does not resolve here.
        let old = format!("{PREFIX}_renamed");
        self.execute(&format!("ALTER TABLE {} RENAME TO {}", quote(name), quote(&old)))?;
        self.execute(sql)?;
        self.execute(&format!("INSERT INTO {} SELECT * FROM {}", quote(name), quote(&old)))?;
        self.execute(&format!("DROP TABLE main.{}", quote(&old)))
    }
}

/// The name that a table of ours has half way through a rename; no user table is called so.
fn parked(number: usize) -> String {
    format!("{PREFIX}_parked_{number}")
}

/// (user table, its log) for every log that the survey found.
fn logs(survey: &Survey) -> impl Iterator<Item = (&str, &str)> {
    survey.own.tables.keys().filter_map(|log| Some((super::logged_table(log)?, log.as_str())))
}

fn has_rows(connection: &Connection, table: &str) -> Result<bool, StoreError> {
    let sql = format!("SELECT EXISTS(SELECT 1 FROM main.{})", quote(table));
    Ok(connection.query_row(&sql, [], |row| row.get(0))?)
}

/// The floor of the clock (R4), after a table that held it had to be made: above everything that was ever given out
/// or seen.
fn raise_observed(connection: &Connection, survey: &Survey) -> Result<(), StoreError> {
    let mut sources: BTreeSet<(String, &str)> = BTreeSet::new();
    sources.insert((PUBLISHED.to_owned(), "through"));
    sources.insert((POSITION.to_owned(), "through"));
    for table in survey.catalog.tables.keys() {
        sources.insert((row_version(table), "hlc"));
        sources.insert((change_log(table), "id"));
    }
    for (table, column) in sources {
        raise(connection, &table, column)?;
    }
    Ok(())
}

fn raise(connection: &Connection, table: &str, column: &str) -> Result<(), StoreError> {
    connection.execute_batch(&format!(
        "UPDATE {} SET observed = max(observed, coalesce((SELECT max({column}) FROM {}), 0))",
        quote(CLOCK),
        quote(table)
    ))?;
    Ok(())
}
