//! Capture: triggers in the application's database that log the key of every changed row.
//!
//! The wanted state is a pure function of the schema. It is compared with what is there, and only when something
//! differs one transaction mends it: a restart writes nothing, and there is no moment without triggers.

mod backfill;
mod own;
mod repair;
mod trigger;

use std::collections::BTreeSet;
use std::sync::Arc;

use harmonylite_core::model::TableSchema;
use rusqlite::Connection;

use crate::catalog::{Catalog, Table};
use crate::error::StoreError;
use crate::identifier::{change_log, key_column, quote, row_version};
use crate::introspect;
use crate::meta;

pub(crate) use backfill::log_keys;
pub(crate) use own::Own;
pub(crate) use repair::{Repaired, repair};

/// The schema, and what is there of ours, in one snapshot.
#[derive(Debug)]
pub(crate) struct Survey {
    /// What is to be replicated.
    pub(crate) catalog: Catalog,
    /// What is there.
    pub(crate) own: Own,
    /// The SQL expression for the wall clock in milliseconds.
    clock: String,
}

impl Survey {
    /// Reads both. Tables whose key is no longer the one that their row versions have are refused.
    pub(crate) fn read(connection: &Connection, clock: &str) -> Result<Self, StoreError> {
        // First: it takes the snapshot, and makes SQLite notice a changed schema, which pragmas alone would not.
        let own = Own::read(connection)?;
        let catalog = introspect::read_catalog(connection)?;
        let mut survey = Self { catalog, own, clock: clock.to_owned() };
        let misfits = survey.misfits(connection)?;
        for name in misfits {
            survey.refuse(&name);
        }
        Ok(survey)
    }

    /// Is there nothing to mend?
    pub(crate) fn is_right(&self) -> bool {
        self.tables_are_right() && self.triggers_are_right()
    }

    /// Is everything there to work with, and captured, whatever clock the triggers read?
    pub(crate) fn is_complete(&self) -> bool {
        let there = |trigger: &trigger::Trigger| self.own.triggers.contains_key(&trigger.name);
        self.tables_are_right() && self.wanted_triggers().iter().all(there)
    }

    fn tables_are_right(&self) -> bool {
        let tables_are_there = meta::TABLES.iter().all(|(name, _)| self.own.tables.contains_key(*name));
        let logs = |table: &Arc<Table>| {
            let schema = &table.schema;
            self.own.tables.get(&change_log(&schema.name)) == Some(&change_log_sql(schema))
                && self.own.tables.get(&row_version(&schema.name)) == Some(&row_version_sql(schema))
        };
        tables_are_there && self.catalog.tables.values().all(logs) && self.orphans().is_empty()
    }

    fn triggers_are_right(&self) -> bool {
        let wanted = self.wanted_triggers();
        let same = |trigger: &trigger::Trigger| {
            self.own.triggers.get(&trigger.name).is_some_and(|found| found.is_right(&trigger.sql))
        };
        wanted.len() == self.own.triggers.len() && wanted.iter().all(same)
    }

    fn wanted_triggers(&self) -> Vec<trigger::Trigger> {
        self.catalog.tables.values().flat_map(|table| trigger::wanted(table, &self.clock)).collect()
    }

    /// Tables that are gone and whose change log is still here, by name.
    fn orphans(&self) -> Vec<String> {
        let present: BTreeSet<&str> =
            self.catalog.reports.iter().map(|report| report.name.as_str()).collect();
        let renamed: BTreeSet<&str> =
            present.iter().filter_map(|table| self.own.renamed_from(table)).collect();
        let logs = self.own.tables.keys().filter_map(|name| logged_table(name));
        logs.filter(|table| !present.contains(table) && !renamed.contains(table)).map(str::to_owned).collect()
    }

    /// Was this table never captured, under this name or another?
    fn is_new(&self, table: &str) -> bool {
        let own = &self.own.tables;
        let known = |name: &str| own.contains_key(&change_log(name)) || own.contains_key(&row_version(name));
        !known(table) && !self.own.renamed_from(table).is_some_and(known)
    }

    fn misfits(&self, connection: &Connection) -> Result<Vec<String>, StoreError> {
        let mut misfits = Vec::new();
        for (name, table) in &self.catalog.tables {
            if !self.fits(connection, &table.schema)? {
                misfits.push(name.clone());
            }
        }
        Ok(misfits)
    }

    /// Do the log and the row versions that are there have the key of `schema`? Another *name* of a key column is the
    /// same key when the triggers went along with the change: then it was `ALTER TABLE ... RENAME COLUMN`.
    fn fits(&self, connection: &Connection, schema: &TableSchema) -> Result<bool, StoreError> {
        let source = self.own.renamed_from(&schema.name).unwrap_or(&schema.name);
        let (log, versions) = (change_log(source), row_version(source));
        let mut found = Vec::new();
        if self.own.tables.contains_key(&log) {
            let columns = own::columns(connection, &log)?;
            found.push(columns[1..columns.len() - 1].to_vec());
        }
        if self.own.tables.contains_key(&versions) {
            let columns = own::columns(connection, &versions)?;
            found.push(columns[..columns.len() - VERSION_COLUMNS].to_vec());
        }
        let key = log_columns(schema);
        let renamed = self.own.has_event(&schema.name, "on_insert");
        let names_fit =
            found.iter().all(|columns| *columns == key || (renamed && columns.len() == key.len()));
        let expected = row_version_sql(&TableSchema { name: source.to_owned(), ..schema.clone() });
        let shape_fits = match self.own.tables.get(&versions) {
            Some(sql) if found.iter().all(|columns| *columns == key) => *sql == expected,
            _ => true,
        };
        Ok(names_fit && shape_fits)
    }

    fn refuse(&mut self, name: &str) {
        self.catalog.tables.remove(name);
        for report in self.catalog.reports.iter_mut().filter(|report| report.name == name) {
            report.refused = Some(
                "its key is not the one that its row versions have (the table was rebuilt with another key): stop \
                 harmonylite on all nodes, run `harmonylite cleanup`, and start again from equal databases"
                    .to_owned(),
            );
            report.notes.clear();
        }
    }
}

/// Columns of a row version table that are not its key.
const VERSION_COLUMNS: usize = 6;

/// The user table of a change log.
fn logged_table(own_table: &str) -> Option<&str> {
    own_table.strip_prefix(crate::identifier::PREFIX)?.strip_suffix("_change_log")
}

/// The columns of a table's log (and row versions) that hold its key, unquoted.
fn log_columns(schema: &TableSchema) -> Vec<String> {
    schema.key.iter().map(|index| key_column(&schema.columns[*index].name)).collect()
}

/// The statement that makes the change log of a table. Key columns have no type: what is stored comes out as it is.
fn change_log_sql(schema: &TableSchema) -> String {
    let keys: Vec<String> = log_columns(schema).iter().map(|name| quote(name)).collect();
    let name = quote(&change_log(&schema.name));
    format!("CREATE TABLE {name}(id INTEGER PRIMARY KEY, {}, type TEXT)", keys.join(", "))
}

/// The statement that makes the row versions of a table, keyed as the table is.
fn row_version_sql(schema: &TableSchema) -> String {
    let name = quote(&row_version(&schema.name));
    let rest = "hlc INTEGER NOT NULL, origin INTEGER NOT NULL, flags INTEGER NOT NULL, \
                base_hlc INTEGER NOT NULL, base_origin INTEGER NOT NULL, digest INTEGER";
    let keys: Vec<String> = log_columns(schema).iter().map(|name| quote(name)).collect();
    if schema.rowid_alias {
        return format!("CREATE TABLE {name}({} INTEGER PRIMARY KEY, {rest})", keys[0]);
    }
    let collated = keys.iter().zip(&schema.key_collations);
    let columns: Vec<String> = collated.map(|(key, c)| format!("{key} COLLATE {}", c.name())).collect();
    format!(
        "CREATE TABLE {name}({}, {rest}, PRIMARY KEY({})) WITHOUT ROWID",
        columns.join(", "),
        keys.join(", ")
    )
}
