//! `harmonylite schema status`: the tables of a database as replication sees them, and the hash that the original
//! HarmonyLite compares.

use harmonylite_sqlite::{ListedColumn, ListedTable, schema};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::arguments::{ReportArguments, SchemaCommand};
use super::table::columns;
use super::{print, print_warnings, to_json};
use crate::config::Environment;
use crate::exit::{ExitCode, ExitError};

/// A schema, for programs.
#[derive(Serialize)]
struct SchemaView<'a> {
    database: String,
    hash: String,
    tables: Vec<TableView<'a>>,
}

#[derive(Serialize)]
struct TableView<'a> {
    name: &'a str,
    replicated: bool,
    reason: Option<&'a str>,
    fingerprint: Option<String>,
    columns: Vec<ColumnView<'a>>,
}

#[derive(Serialize)]
struct ColumnView<'a> {
    name: &'a str,
    declared_type: &'a str,
    not_null: bool,
    primary_key: bool,
}

pub(super) fn run(command: &SchemaCommand, environment: &Environment) -> Result<ExitCode, ExitError> {
    match command {
        SchemaCommand::Status(arguments) => status(arguments, environment),
    }
}

fn status(arguments: &ReportArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    let (database, warnings) = arguments.config.database(environment)?;
    let tables = schema(&database)?;
    let hash = hash(&tables);
    if arguments.json {
        let tables = tables.iter().map(view).collect();
        print(&to_json(&SchemaView { database: database.display().to_string(), hash, tables })?)?;
    } else {
        print_warnings(&warnings);
        print(&format!("hash: {hash}\n\n{}", list(&tables)))?;
    }
    Ok(ExitCode::Ok)
}

/// The schema's hash as the original has it: SHA-256 over the replicated tables by name, each as
/// `<table>|<column>:<declared type>:<not null>:<in primary key>...` and a line end, columns by name, generated ones
/// too.
fn hash(tables: &[ListedTable]) -> String {
    let mut replicated: Vec<_> = tables.iter().filter(|table| table.fingerprint.is_some()).collect();
    replicated.sort_by(|a, b| a.name.cmp(&b.name));
    let mut text = String::new();
    for table in replicated {
        text.push_str(&table.name);
        let mut columns: Vec<&ListedColumn> = table.columns.iter().collect();
        columns.sort_by(|a, b| a.name.cmp(&b.name));
        for column in columns {
            let ListedColumn { name, declared_type, not_null, in_key } = column;
            text.push_str(&format!("|{name}:{declared_type}:{not_null}:{in_key}"));
        }
        text.push('\n');
    }
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn view(table: &ListedTable) -> TableView<'_> {
    TableView {
        name: &table.name,
        replicated: table.fingerprint.is_some(),
        reason: table.refused.as_deref(),
        fingerprint: table.fingerprint.map(|fingerprint| fingerprint.to_string()),
        columns: table.columns.iter().map(column_view).collect(),
    }
}

fn column_view(column: &ListedColumn) -> ColumnView<'_> {
    ColumnView {
        name: &column.name,
        declared_type: &column.declared_type,
        not_null: column.not_null,
        primary_key: column.in_key,
    }
}

fn list(tables: &[ListedTable]) -> String {
    if tables.is_empty() {
        return "no tables\n".to_owned();
    }
    let mut rows = vec![["TABLE", "FINGERPRINT", "COLUMNS", "WHY NOT"].map(str::to_owned).to_vec()];
    for table in tables {
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        rows.push(vec![
            table.name.clone(),
            table.fingerprint.map_or("-".to_owned(), |fingerprint| fingerprint.to_string()),
            if names.is_empty() { "-".to_owned() } else { names.join(",") },
            table.refused.clone().unwrap_or_default(),
        ]);
    }
    columns(&rows, 0)
}

#[cfg(test)]
mod tests {
    use harmonylite_core::schema::TableFingerprint;

    use super::*;

    fn column(name: &str, declared_type: &str, not_null: bool, in_key: bool) -> ListedColumn {
        ListedColumn { name: name.into(), declared_type: declared_type.into(), not_null, in_key }
    }

    fn books() -> ListedTable {
        ListedTable {
            name: "Books".into(),
            fingerprint: Some(TableFingerprint(7)),
            refused: None,
            columns: vec![
                column("id", "INTEGER", false, true),
                column("title", "TEXT", true, false),
                column("author", "TEXT", true, false),
                column("publication_year", "INTEGER", false, false),
            ],
        }
    }

    #[test]
    fn the_hash_is_that_of_the_original() {
        assert_eq!(hash(&[books()]), "907f897c838224f10a8a6bfb1ae63396abf7f8235bad760d17af35c72470cccb");
    }

    #[test]
    fn tables_count_in_their_order_by_name_and_those_not_replicated_not_at_all() {
        let other = ListedTable { name: "Authors".into(), ..books() };
        let refused = ListedTable { name: "log".into(), fingerprint: None, ..books() };
        assert_eq!(hash(&[books(), other.clone()]), hash(&[other.clone(), refused, books()]));
        assert_ne!(hash(&[books()]), hash(&[books(), other]));
    }

    #[test]
    fn people_see_what_is_replicated_and_why_the_rest_is_not() {
        let refused = ListedTable {
            name: "log".into(),
            fingerprint: None,
            refused: Some("no primary key".into()),
            columns: vec![],
        };
        let expected = "
TABLE  FINGERPRINT       COLUMNS                           WHY NOT
Books  0000000000000007  id,title,author,publication_year
log    -                 -                                 no primary key
";
        assert_eq!(format!("\n{}", list(&[books(), refused])), expected);
    }
}
