//! `harmonylite conflicts`: values that lost, from the conflict log of a database, whether a node runs or not.

use harmonylite_sqlite::{Conflict, conflict, conflicts};
use serde::Serialize;

use super::arguments::{ConflictsCommand, ConflictsListArguments, ShowArguments};
use super::row_view::{RowView, VersionView, block, line, node, short_line, time, version, visible};
use super::table::{columns, pairs};
use super::{print, print_error, print_warnings, to_json};
use crate::config::Environment;
use crate::exit::{ExitCode, ExitError};

/// One entry, for programs.
#[derive(Serialize)]
struct ConflictView<'a> {
    id: i64,
    at: String,
    table: &'a str,
    key: RowView<'a>,
    reason: &'a str,
    loser: VersionView,
    winner: VersionView,
    row: Option<RowView<'a>>,
    restored_at: Option<String>,
}

/// The list, for programs.
#[derive(Serialize)]
struct ListView<'a> {
    total: u64,
    conflicts: Vec<ConflictView<'a>>,
}

pub(super) fn run(command: &ConflictsCommand, environment: &Environment) -> Result<ExitCode, ExitError> {
    match command {
        ConflictsCommand::List(arguments) => list(arguments, environment),
        ConflictsCommand::Show(arguments) => show(arguments, environment),
    }
}

fn list(arguments: &ConflictsListArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    let (database, warnings) = arguments.report.config.database(environment)?;
    let found = conflicts(&database, arguments.table.as_deref(), arguments.limit)?;
    if arguments.report.json {
        let conflicts = found.entries.iter().map(view).collect();
        print(&to_json(&ListView { total: found.total, conflicts })?)?;
        return Ok(ExitCode::Ok);
    }
    print_warnings(&warnings);
    if found.entries.is_empty() {
        print("no conflicts\n")?;
        return Ok(ExitCode::Ok);
    }
    print(&table(&found.entries))?;
    let more = found.total.saturating_sub(found.entries.len() as u64);
    if more > 0 {
        print_error(&format!("{more} older ones are not shown; --limit shows more"));
    }
    Ok(ExitCode::Ok)
}

fn show(arguments: &ShowArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    let (database, warnings) = arguments.report.config.database(environment)?;
    let id = arguments.id;
    let found = conflict(&database, id)?.ok_or_else(|| {
        ExitError::new(ExitCode::Usage, format!("there is no conflict {id} in the log"))
            .with_hint("`harmonylite conflicts list` has the numbers; old entries are trimmed")
    })?;
    if arguments.report.json {
        print(&to_json(&view(&found))?)?;
    } else {
        print_warnings(&warnings);
        print(&text(&found))?;
    }
    Ok(ExitCode::Ok)
}

fn view(conflict: &Conflict) -> ConflictView<'_> {
    ConflictView {
        id: conflict.id,
        at: time(conflict.at_ms),
        table: &conflict.table,
        key: RowView(&conflict.key),
        reason: &conflict.reason,
        loser: VersionView::new(conflict.loser),
        winner: VersionView::new(conflict.winner),
        row: conflict.row.as_ref().map(RowView),
        restored_at: conflict.restored_ms.map(time),
    }
}

fn table(entries: &[Conflict]) -> String {
    let titles = ["ID", "WHEN", "TABLE", "KEY", "REASON", "LOST", "TO", "THE ROW THAT LOST"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for entry in entries {
        let restored = if entry.restored_ms.is_some() { ", restored" } else { "" };
        rows.push(vec![
            entry.id.to_string(),
            time(entry.at_ms),
            visible(&entry.table),
            short_line(&entry.key),
            format!("{}{restored}", entry.reason),
            node(entry.loser.origin),
            node(entry.winner.origin),
            entry.row.as_ref().map_or_else(|| "(a delete)".to_owned(), short_line),
        ]);
    }
    columns(&rows, 0)
}

fn text(conflict: &Conflict) -> String {
    let mut head = vec![
        ("conflict", conflict.id.to_string()),
        ("noticed", time(conflict.at_ms)),
        ("table", visible(&conflict.table)),
        ("key", line(&conflict.key)),
        ("reason", format!("{}, {}", conflict.reason, meaning(&conflict.reason))),
        ("lost", version(conflict.loser)),
        ("to", version(conflict.winner)),
    ];
    if let Some(restored_ms) = conflict.restored_ms {
        head.push(("restored", time(restored_ms)));
    }
    format!("{}\nwhat lost:\n{}", pairs(&head), block(conflict.row.as_ref()))
}

fn meaning(reason: &str) -> &'static str {
    match reason {
        "overwritten" => "a later write to the same row, made without having seen this one, took its place",
        _ => "another row, written later, has one of its UNIQUE values",
    }
}
