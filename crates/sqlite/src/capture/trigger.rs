//! The text of the triggers: plain SQL of SQLite 3.35 and before, built-in functions only, because they run in the
//! application's own connection.
//!
//! They name key columns alone (and the columns of UNIQUE indexes), so the application's `ALTER TABLE` keeps working.

use harmonylite_core::model::{Collation, TableSchema, UniqueIndexKind};
use harmonylite_core::planted::{Bug, is_planted};

use crate::catalog::Table;
use crate::identifier::{change_log, key_column, literal, quote};
use crate::meta::{CHANGE_LOG_GLOBAL, CLOCK, log_type};

/// A trigger as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Trigger {
    /// Its name, unquoted.
    pub(super) name: String,
    /// `CREATE TRIGGER ...`, exactly as `sqlite_schema` keeps it.
    pub(super) sql: String,
}

/// Stands between a table's name and the event in the name of a trigger.
const INFIX: &str = "_change_log_";
/// The triggers that every table has; the others belong to its UNIQUE indexes.
pub(super) const EVENTS: [&str; 4] = ["on_insert", "on_update", "on_delete", "on_rekey"];

/// All triggers of `table`; `clock` is an SQL expression for the milliseconds since the epoch.
pub(super) fn wanted(table: &Table, clock: &str) -> Vec<Trigger> {
    let template = Template { table, clock };
    let mut triggers = vec![
        template.event("on_insert", "INSERT", "NEW", log_type::INSERT),
        template.event("on_update", "UPDATE", "NEW", log_type::UPDATE),
        template.event("on_delete", "DELETE", "OLD", log_type::DELETE),
        template.rekey(),
    ];
    for (number, index) in (1..).zip(&table.schema.unique) {
        if let UniqueIndexKind::Plain(columns) = &index.kind
            && !is_planted(Bug::NoBeforeTriggers)
        {
            triggers.push(template.before_insert(number, columns));
            triggers.push(template.before_update(number, columns));
        }
    }
    triggers
}

/// The table and the event that a trigger of ours was made for; `None` for another name.
pub(super) fn made_for(trigger: &str) -> Option<(&str, &str)> {
    trigger.strip_prefix(crate::identifier::PREFIX)?.rsplit_once(INFIX)
}

/// The next reading of the clock (G3), as an SQL expression.
///
/// It must never collide, whatever the outer statement's conflict clause makes of our INSERT: OR IGNORE would lose the
/// change without a word. A NULL among the three would do the same.
pub(super) fn next_id(clock: &str) -> String {
    format!(
        "max(({clock}) << 16, coalesce((SELECT max(id) FROM {}), 0) + 1, coalesce((SELECT observed FROM {}), 0) + 1)",
        quote(CHANGE_LOG_GLOBAL),
        quote(CLOCK),
    )
}

struct Template<'a> {
    table: &'a Table,
    clock: &'a str,
}

impl Template<'_> {
    fn schema(&self) -> &TableSchema {
        &self.table.schema
    }

    /// AFTER `event`: logs the key of the row `row`.
    fn event(&self, name: &str, event: &str, row: &str, log_type: &str) -> Trigger {
        let when = self.key_not_null(row).map_or_else(String::new, |condition| format!(" WHEN {condition}"));
        let keys = self.keys(row).join(", ");
        let entry = format!("VALUES(last_insert_rowid(), {keys}, {})", literal(log_type));
        self.trigger(name, &format!("AFTER {event}"), &when, &entry)
    }

    /// AFTER UPDATE that moved the row to another key: the old key is gone. Not UPDATE OF: `SET rowid = ...` slips
    /// past it.
    fn rekey(&self) -> Trigger {
        let mut condition = self.other_key("OLD", "NEW");
        if let Some(not_null) = self.key_not_null("OLD") {
            condition = format!("({condition}) AND {not_null}");
        }
        let keys = self.keys("OLD").join(", ");
        let entry = format!("VALUES(last_insert_rowid(), {keys}, {})", literal(log_type::DELETE));
        self.trigger("on_rekey", "AFTER UPDATE", &format!(" WHEN {condition}"), &entry)
    }

    /// BEFORE INSERT: the row that OR REPLACE would remove over a UNIQUE index without firing a delete trigger (R2).
    fn before_insert(&self, number: u32, columns: &[(usize, Collation)]) -> Trigger {
        let mut other = self.other_key("x", "NEW");
        if self.schema().rowid_alias {
            // An INTEGER PRIMARY KEY that is not given reads as -1 in a BEFORE trigger.
            other = format!("{other} OR {} = -1", self.keys("x")[0]);
        }
        self.before("INSERT", number, columns, &other)
    }

    /// BEFORE UPDATE, the same. No column list: UPDATE OF does not fire for what a generated column is made from.
    fn before_update(&self, number: u32, columns: &[(usize, Collation)]) -> Trigger {
        self.before("UPDATE", number, columns, &self.other_key("x", "OLD"))
    }

    fn before(&self, event: &str, number: u32, columns: &[(usize, Collation)], other: &str) -> Trigger {
        let same = columns.iter().map(|(index, collation)| {
            let column = quote(&self.schema().columns[*index].name);
            format!("x.{column} = NEW.{column} COLLATE {}", collation.name())
        });
        let mut conditions: Vec<String> = same.collect();
        conditions.push(format!("({other})"));
        conditions.extend(self.key_not_null("x"));
        let rival = format!("FROM {} AS x WHERE {}", self.table.name, conditions.join(" AND "));
        let keys = self.keys("x").join(", ");
        let entry = format!("SELECT last_insert_rowid(), {keys}, {} {rival}", literal(log_type::MAYBE));
        self.trigger(
            &format!("before_{}_{number}", event.to_ascii_lowercase()),
            &format!("BEFORE {event}"),
            &format!(" WHEN EXISTS(SELECT 1 {rival})"),
            &entry,
        )
    }

    fn trigger(&self, event: &str, moment: &str, when: &str, entry: &str) -> Trigger {
        let name = format!("{}_{event}", change_log(&self.schema().name));
        let sql = format!(
            "CREATE TRIGGER {} {moment} ON {}{when} BEGIN\n  {};\n  INSERT INTO {}(id, {}, type) {entry};\nEND",
            quote(&name),
            self.table.name,
            self.global_entry(),
            self.table.change_log,
            self.log_columns().join(", "),
        );
        Trigger { name, sql }
    }

    fn global_entry(&self) -> String {
        format!(
            "INSERT INTO {}(id, table_name) VALUES({}, {})",
            quote(CHANGE_LOG_GLOBAL),
            next_id(self.clock),
            literal(&self.schema().name),
        )
    }

    /// The key columns of `row`: `NEW."id"`, ...
    fn keys(&self, row: &str) -> Vec<String> {
        let schema = self.schema();
        schema.key.iter().map(|index| format!("{row}.{}", quote(&schema.columns[*index].name))).collect()
    }

    fn log_columns(&self) -> Vec<String> {
        let schema = self.schema();
        schema.key.iter().map(|index| quote(&key_column(&schema.columns[*index].name))).collect()
    }

    /// `a` and `b` are different rows, as the key's own collations see it.
    fn other_key(&self, a: &str, b: &str) -> String {
        let schema = self.schema();
        let pairs = self.keys(a).into_iter().zip(self.keys(b)).zip(&schema.key_collations);
        let different = pairs.map(|((a, b), collation)| match collation {
            _ if schema.rowid_alias => format!("{a} IS NOT {b}"),
            collation => format!("{a} IS NOT {b} COLLATE {}", collation.name()),
        });
        different.collect::<Vec<_>>().join(" OR ")
    }

    /// Rows with NULL in the key are not replicated: SQLite allows duplicates of them. `None` when there are none.
    fn key_not_null(&self, row: &str) -> Option<String> {
        let schema = self.schema();
        let nullable: Vec<String> = schema
            .key
            .iter()
            .zip(self.keys(row))
            .filter(|(index, _)| !schema.rowid_alias && !schema.columns[**index].not_null)
            .map(|(_, key)| format!("{key} IS NOT NULL"))
            .collect();
        if nullable.is_empty() { None } else { Some(nullable.join(" AND ")) }
    }
}
