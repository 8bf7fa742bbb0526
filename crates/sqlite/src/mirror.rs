//! Mirrored triggers: what the application's triggers do to virtual tables, done here for rows of other nodes, too.
//!
//! The connection that applies has triggers off, but TEMP triggers of its own still fire. A trigger whose body writes
//! *only* virtual tables (an FTS5 index, which nothing can capture) is therefore made there once more. One that writes
//! ordinary tables is not: what it wrote at the origin arrives as captured changes. No SQL is parsed: SQLite's
//! authorizer tells what a trigger writes while the statements of an apply are prepared. Whatever cannot be run here is
//! a note in the table's report, never an error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::catalog::{Catalog, Table};
use crate::error::StoreError;
use crate::identifier::{PREFIX, quote};
use crate::introspect::{rows, schema_version, text, why_not};
use crate::table_sql;

/// A TEMP trigger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mirror {
    /// The application's name for it, unquoted.
    name: String,
    /// The statement that makes it.
    create: String,
    /// The virtual tables that it writes.
    writes: BTreeSet<String>,
}

/// The TEMP triggers that stand, by table.
pub(crate) type Mirrors = BTreeMap<String, Vec<Mirror>>;

/// Tables whose mirrored triggers failed for a row of another node, with SQLite's words. They stay off until the schema
/// changes or the store is opened again.
#[derive(Debug, Default)]
pub(crate) struct Failed {
    schema_version: i64,
    by_table: BTreeMap<String, String>,
}

impl Failed {
    /// Adds tables that failed at that version of the schema.
    pub(crate) fn add(&mut self, schema_version: i64, tables: BTreeMap<String, String>) {
        self.forget_before(schema_version);
        self.by_table.extend(tables);
    }

    /// At another version of the schema they are worth another try.
    pub(crate) fn forget_before(&mut self, schema_version: i64) {
        if self.schema_version != schema_version {
            *self = Self { schema_version, by_table: BTreeMap::new() };
        }
    }
}

/// Makes the TEMP triggers that belong to `catalog`, where none stand, and says in its reports what cannot be mirrored.
///
/// When the schema has moved on meanwhile, nothing is done: the catalog has to be read again before it is used.
pub(crate) fn follow(
    connection: &mut Connection,
    catalog: &mut Catalog,
    failed: &Failed,
) -> Result<(), StoreError> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let found = Found::read(connection, catalog)?;
    if found.triggers.is_empty() {
        return Ok(());
    }
    let observer = Arc::clone(&seen);
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        observer.lock().unwrap_or_else(PoisonError::into_inner).note(&context);
        Authorization::Allow
    }))?;
    let done = remake(connection, catalog, failed, &found, &seen);
    let removed = connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>);
    done.and(removed.map_err(StoreError::from))
}

/// Takes all TEMP triggers away.
pub(crate) fn clear(connection: &Connection) -> Result<(), StoreError> {
    let sql = "SELECT name FROM temp.sqlite_schema WHERE type = 'trigger'";
    let names = rows(connection, sql, |row| text(row, 0))?;
    if names.is_empty() {
        return Ok(());
    }
    for name in names {
        connection.execute_batch(&format!("DROP TRIGGER IF EXISTS temp.{}", quote(&name)))?;
    }
    // One whose table another connection dropped or renamed is not known to SQLite any more and cannot be dropped, but
    // would come to life again with a table of that name.
    connection.execute_batch(
        "PRAGMA writable_schema = ON; DELETE FROM temp.sqlite_schema WHERE type = 'trigger'; \
         PRAGMA writable_schema = OFF",
    )?;
    Ok(())
}

/// Makes the triggers of one table.
pub(crate) fn switch_on(connection: &Connection, mirrors: &[Mirror]) -> Result<(), StoreError> {
    for mirror in mirrors {
        connection.execute_batch(&mirror.create)?;
    }
    Ok(())
}

/// Takes them away.
pub(crate) fn switch_off(connection: &Connection, mirrors: &[Mirror]) -> Result<(), StoreError> {
    for mirror in mirrors {
        connection.execute_batch(&format!("DROP TRIGGER temp.{}", quote(&mirror.name)))?;
    }
    Ok(())
}

fn remake(
    connection: &mut Connection,
    catalog: &mut Catalog,
    failed: &Failed,
    found: &Found,
    seen: &Mutex<Seen>,
) -> Result<(), StoreError> {
    let transaction = connection.transaction()?;
    if schema_version(&transaction)? != catalog.schema_version {
        return Ok(());
    }
    let examiner = Examiner { connection: &transaction, found, seen };
    let (mut mirrors, mut notes) = (Mirrors::new(), BTreeMap::<String, Vec<String>>::new());
    for trigger in &found.triggers {
        let Some(table) = catalog.tables.values().find(|table| same(&table.schema.name, &trigger.table))
        else {
            continue;
        };
        let name = &table.schema.name;
        let (mirror, note) = examiner.examine(table, trigger)?;
        notes.entry(name.clone()).or_default().extend(note);
        if let Some(mirror) = mirror {
            mirrors.entry(name.clone()).or_default().push(mirror);
        }
    }
    for (name, error) in &failed.by_table {
        if let Some(mirrors) = mirrors.remove(name) {
            switch_off(&transaction, &mirrors)?;
            notes.entry(name.clone()).or_default().push(failed_note(&mirrors, error));
        }
    }
    transaction.commit()?;
    for report in &mut catalog.reports {
        report.notes.extend(notes.remove(&report.name).into_iter().flatten());
    }
    catalog.mirrors = mirrors;
    Ok(())
}

/// A trigger of the application.
#[derive(Debug)]
struct Trigger {
    name: String,
    /// As its text spells it.
    table: String,
    sql: String,
}

/// What in the schema may concern us.
#[derive(Debug, Default)]
struct Found {
    /// Every table and view, in lower case, with its type in `PRAGMA table_list`.
    kinds: BTreeMap<String, String>,
    /// Views and tables that are not replicated, through whose own triggers a trigger may reach a virtual table.
    detours: BTreeSet<String>,
    /// Triggers that may reach a virtual table. SQLite runs the youngest first, of TEMP triggers the oldest: so they
    /// stand here, and run in the application's order.
    triggers: Vec<Trigger>,
}

impl Found {
    fn read(connection: &Connection, catalog: &Catalog) -> Result<Self, StoreError> {
        // First: it makes SQLite notice a changed schema, which pragmas alone would not.
        let sql =
            "SELECT name, tbl_name, sql FROM main.sqlite_schema WHERE type = 'trigger' ORDER BY rowid DESC";
        let mut triggers = rows(connection, sql, |row| {
            Ok(Trigger { name: text(row, 0)?, table: text(row, 1)?, sql: text(row, 2)? })
        })?;
        triggers.retain(|trigger| !trigger.name.starts_with(PREFIX));
        if triggers.is_empty() {
            return Ok(Self::default());
        }
        let listed = rows(connection, "PRAGMA main.table_list", |row| {
            Ok((text(row, 0)?, text(row, 1)?, text(row, 2)?))
        })?;
        let main = listed.into_iter().filter(|(schema, ..)| schema == "main");
        let kinds: BTreeMap<_, _> = main.map(|(_, name, kind)| (name.to_ascii_lowercase(), kind)).collect();
        let virtual_tables: BTreeSet<String> =
            kinds.iter().filter(|(_, kind)| *kind == "virtual").map(|(name, _)| name.clone()).collect();
        let replicated = |name: &str| catalog.tables.keys().any(|table| same(table, name));
        let detours: BTreeSet<String> = triggers
            .iter()
            .filter(|trigger| mentions(&trigger.sql, &virtual_tables) && !replicated(&trigger.table))
            .map(|trigger| trigger.table.to_ascii_lowercase())
            .collect();
        triggers
            .retain(|trigger| mentions(&trigger.sql, &virtual_tables) || mentions(&trigger.sql, &detours));
        Ok(Self { kinds, detours, triggers })
    }

    fn kind(&self, table: &str) -> &str {
        self.kinds.get(&table.to_ascii_lowercase()).map_or("", String::as_str)
    }
}

/// What the authorizer saw of one trigger.
#[derive(Debug, Default)]
struct Seen {
    trigger: String,
    writes: BTreeSet<String>,
    reads: BTreeSet<String>,
}

impl Seen {
    fn note(&mut self, context: &AuthContext<'_>) {
        if context.accessor != Some(self.trigger.as_str()) {
            return;
        }
        match context.action {
            AuthAction::Insert { table_name }
            | AuthAction::Update { table_name, .. }
            | AuthAction::Delete { table_name } => self.writes.insert(table_name.to_owned()),
            AuthAction::Read { table_name, .. } => self.reads.insert(table_name.to_owned()),
            _ => return,
        };
    }
}

struct Examiner<'a> {
    connection: &'a Connection,
    found: &'a Found,
    seen: &'a Mutex<Seen>,
}

impl Examiner<'_> {
    /// Makes the TEMP trigger and leaves it there when it may stay; and what the operator should know.
    fn examine(
        &self,
        table: &Table,
        trigger: &Trigger,
    ) -> Result<(Option<Mirror>, Option<String>), StoreError> {
        let Some(text) = trigger.sql.strip_prefix("CREATE TRIGGER ") else {
            return Ok((None, Some(cannot_note(trigger, "its text is not understood"))));
        };
        let create = format!("CREATE TEMP TRIGGER {text}");
        if let Some(reason) = why_not(self.connection, &create)? {
            return Ok((None, Some(cannot_note(trigger, &reason))));
        }
        self.connection.execute_batch(&create)?;
        let (seen, reason) = self.watch(table, trigger)?;
        let (writes, note) = self.judge(table, trigger, &seen, reason);
        let mirror = writes.map(|writes| Mirror { name: trigger.name.clone(), create, writes });
        if mirror.is_none() {
            self.connection.execute_batch(&format!("DROP TRIGGER temp.{}", quote(&trigger.name)))?;
        }
        Ok((mirror, note))
    }

    /// What the trigger does in the statements of an apply, and why one of them cannot be prepared.
    fn watch(&self, table: &Table, trigger: &Trigger) -> Result<(Seen, Option<String>), StoreError> {
        let lock = || self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *lock() = Seen { trigger: trigger.name.clone(), ..Seen::default() };
        let statements =
            [Some(table_sql::insert(table)), table_sql::update(table), Some(table_sql::delete_row(table))];
        let mut reason = None;
        for sql in statements.into_iter().flatten() {
            reason = reason.or(why_not(self.connection, &sql)?);
        }
        Ok((std::mem::take(&mut *lock()), reason))
    }

    /// The virtual tables that a trigger writes when it may stay, and what the operator should know.
    fn judge(
        &self,
        table: &Table,
        trigger: &Trigger,
        seen: &Seen,
        reason: Option<String>,
    ) -> (Option<BTreeSet<String>>, Option<String>) {
        let is_detour = |name: &&String| self.found.detours.contains(&name.to_ascii_lowercase());
        if let Some(detour) = seen.writes.iter().find(is_detour) {
            return (None, Some(detour_note(trigger, detour)));
        }
        if let Some(reason) = reason {
            return (None, Some(cannot_note(trigger, &reason)));
        }
        let (virtual_tables, ordinary): (BTreeSet<_>, BTreeSet<_>) =
            seen.writes.iter().cloned().partition(|name| self.found.kind(name) == "virtual");
        if virtual_tables.is_empty() {
            return (None, None);
        }
        if !ordinary.is_empty() {
            return (None, Some(both_note(trigger, &virtual_tables, &ordinary)));
        }
        if has_word(&trigger.sql, "raise") {
            return (None, Some(raise_note(trigger, &virtual_tables)));
        }
        let others = |name: &&String| {
            matches!(self.found.kind(name), "table" | "view") && !same(name, &table.schema.name)
        };
        let reads: BTreeSet<_> = seen.reads.iter().filter(others).cloned().collect();
        let note = (!reads.is_empty()).then(|| reads_note(trigger, &virtual_tables, &reads));
        (Some(virtual_tables), note)
    }
}

fn both_note(trigger: &Trigger, virtual_tables: &BTreeSet<String>, ordinary: &BTreeSet<String>) -> String {
    format!(
        "trigger {:?} writes both {} (virtual) and {} (ordinary): it is not run for rows of other nodes, which are \
         therefore missing in {}; split it into two triggers, one for each kind of table",
        trigger.name,
        names(virtual_tables),
        names(ordinary),
        names(virtual_tables)
    )
}

fn raise_note(trigger: &Trigger, virtual_tables: &BTreeSet<String>) -> String {
    format!(
        "trigger {:?} uses RAISE, which could undo what other nodes wrote: it is not run for their rows, which are \
         therefore missing in {}; move RAISE into a trigger of its own",
        trigger.name,
        names(virtual_tables)
    )
}

fn detour_note(trigger: &Trigger, detour: &str) -> String {
    format!(
        "trigger {:?} reaches a virtual table by way of {detour:?}, whose triggers are not run for rows of other nodes: \
         they are therefore missing there; let it write the virtual table itself",
        trigger.name
    )
}

fn cannot_note(trigger: &Trigger, reason: &str) -> String {
    format!(
        "trigger {:?} cannot be run outside the application ({reason}): rows of other nodes are missing in what it writes",
        trigger.name
    )
}

fn reads_note(trigger: &Trigger, virtual_tables: &BTreeSet<String>, reads: &BTreeSet<String>) -> String {
    format!(
        "trigger {:?} also reads {}: what it writes into {} for rows of other nodes may depend on the order in which they \
         arrive",
        trigger.name,
        names(reads),
        names(virtual_tables)
    )
}

fn failed_note(mirrors: &[Mirror], error: &str) -> String {
    let written: BTreeSet<String> = mirrors.iter().flat_map(|mirror| mirror.writes.iter().cloned()).collect();
    format!(
        "writing {} failed for a row of another node ({error}): rows of other nodes are missing there from then on; repair \
         it (an FTS index: insert 'rebuild'), then restart harmonylite",
        names(&written)
    )
}

fn names(tables: &BTreeSet<String>) -> String {
    tables.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// SQLite compares names without the case of ASCII letters.
fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Could `sql` name one of these tables (in lower case)? Quotes are left out on both sides: inside a name they are doubled,
/// or not, as its own quotes will have it.
fn mentions(sql: &str, tables: &BTreeSet<String>) -> bool {
    let bare = |text: &str| text.replace(['"', '\'', '`', '[', ']'], "").to_ascii_lowercase();
    let sql = bare(sql);
    tables.iter().any(|table| sql.contains(&bare(table)))
}

/// Is there this word (in lower case), in whatever sense?
fn has_word(sql: &str, word: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    let mut words = sql.split(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_');
    words.any(|found| found == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_mentioned_however_it_is_quoted() {
        let tables = BTreeSet::from(["a \"b\"".to_owned()]);
        assert!(mentions("insert into \"A \"\"b\"\"\" values(1)", &tables));
        assert!(mentions("insert into [a \"b\"] values(1)", &tables));
        assert!(!mentions("insert into ab values(1)", &tables));
    }

    #[test]
    fn a_word_is_not_found_inside_another() {
        assert!(has_word("SELECT Raise(ABORT, '')", "raise"));
        assert!(!has_word("SELECT praise, raised, raise_it", "raise"));
    }
}
