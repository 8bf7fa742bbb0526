//! `harmonylite dead-letters`: rows that could not be written here; to look at, to try again, to give up.
//!
//! While a node runs it does the work, on its own connection; without one the command does, holding the node's lock.

use std::path::Path;

use harmonylite_sqlite::{
    DeadLetter, Fields, dead_letter, dead_letters, drop_dead_letters, retry_dead_letters,
};
use serde::Serialize;

use super::arguments::{DeadLettersCommand, LettersArguments, ReportArguments, ShowArguments};
use super::node_socket::ask;
use super::row_view::{RowView, block, incarnation, line, node, short_line, time, visible, written_at};
use super::table::{columns, pairs};
use super::{print, print_warnings, to_json};
use crate::config::Environment;
use crate::exit::{ExitCode, ExitError};
use crate::letters::{LETTERS_MAX, LetterReport, LettersAction, LettersReply, LettersRequest};
use crate::runtime::wall_ms;

/// One letter, for programs.
#[derive(Serialize)]
struct LetterView<'a> {
    id: i64,
    at: String,
    tried_at: Option<String>,
    source: &'a str,
    table: &'a str,
    key: RowView<'a>,
    node_id: u64,
    incarnation: String,
    hlc: i64,
    written_at: String,
    error: &'a str,
}

/// The list, for programs.
#[derive(Serialize)]
struct ListView<'a> {
    dead_letters: Vec<LetterView<'a>>,
}

/// One letter with its row, for programs; without one it deletes.
#[derive(Serialize)]
struct ShowView<'a> {
    #[serde(flatten)]
    letter: LetterView<'a>,
    row: Option<RowView<'a>>,
}

/// What became of letters, for programs.
#[derive(Serialize)]
struct OutcomesView<'a> {
    outcomes: &'a [LetterReport],
}

pub(super) fn run(command: &DeadLettersCommand, environment: &Environment) -> Result<ExitCode, ExitError> {
    match command {
        DeadLettersCommand::List(arguments) => list(arguments, environment),
        DeadLettersCommand::Show(arguments) => show(arguments, environment),
        DeadLettersCommand::Retry(arguments) => tend(arguments, LettersAction::Retry, environment),
        DeadLettersCommand::Drop(arguments) => tend(arguments, LettersAction::Drop, environment),
    }
}

fn list(arguments: &ReportArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    let (database, warnings) = arguments.config.database(environment)?;
    let letters = dead_letters(&database)?;
    if arguments.json {
        print(&to_json(&ListView { dead_letters: letters.iter().map(view).collect() })?)?;
        return Ok(ExitCode::Ok);
    }
    print_warnings(&warnings);
    print(&if letters.is_empty() { NONE.to_owned() } else { table(&letters) })?;
    Ok(ExitCode::Ok)
}

const NONE: &str = "no dead letters\n";

fn show(arguments: &ShowArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    let (database, warnings) = arguments.report.config.database(environment)?;
    let Some((letter, row)) = dead_letter(&database, arguments.id)? else {
        return Err(missing(&[arguments.id]));
    };
    if arguments.report.json {
        print(&to_json(&ShowView { letter: view(&letter), row: row.as_ref().map(RowView) })?)?;
    } else {
        print_warnings(&warnings);
        print(&text(&letter, row.as_ref()))?;
    }
    Ok(ExitCode::Ok)
}

fn tend(
    arguments: &LettersArguments,
    action: LettersAction,
    environment: &Environment,
) -> Result<ExitCode, ExitError> {
    let (database, warnings) = arguments.report.config.database(environment)?;
    let mut ids = arguments.ids.clone();
    if arguments.all {
        ids = dead_letters(&database)?.iter().map(|letter| letter.id).collect();
    }
    let reply = work(&database, action, &ids);
    if arguments.report.json {
        print(&to_json(&OutcomesView { outcomes: &reply.outcomes })?)?;
    } else {
        print_warnings(&warnings);
        print(&if ids.is_empty() { NONE.to_owned() } else { outcomes(&reply.outcomes) })?;
    }
    judge(reply)
}

/// Does it, in portions: between two the node may do something else. Stops at the first error.
fn work(database: &Path, action: LettersAction, ids: &[i64]) -> LettersReply {
    let mut whole = LettersReply::default();
    for ids in ids.chunks(LETTERS_MAX) {
        let reply = portion(database, action, ids);
        let reply = reply
            .unwrap_or_else(|error| LettersReply { error: Some(error.into()), ..LettersReply::default() });
        whole.outcomes.extend(reply.outcomes);
        if reply.error.is_some() {
            whole.error = reply.error;
            break;
        }
    }
    whole
}

fn portion(database: &Path, action: LettersAction, ids: &[i64]) -> Result<LettersReply, ExitError> {
    let unexpected = |what: &str, error: serde_json::Error| {
        ExitError::new(ExitCode::Unexpected, format!("{what}: {error}"))
            .with_hint("the node may be of another version: compare `harmonylite version`")
    };
    let request = LettersRequest { action, ids: ids.to_vec() };
    let request = serde_json::to_string(&request).map_err(|error| unexpected("cannot write json", error))?;
    if let Some(reply) = ask(database, &request)? {
        return serde_json::from_str(&reply)
            .map_err(|error| unexpected("the node's answer is not understood", error));
    }
    let outcomes = match action {
        LettersAction::Retry => {
            let done = retry_dead_letters(database, ids, wall_ms())?;
            done.into_iter().map(|(id, outcome)| LetterReport::retried(id, outcome)).collect()
        }
        LettersAction::Drop => {
            let done = drop_dead_letters(database, ids)?;
            done.into_iter().map(|(id, there)| LetterReport::dropped(id, there)).collect()
        }
    };
    Ok(LettersReply { outcomes, error: None })
}

/// The exit code: everything was done, or what was not.
fn judge(reply: LettersReply) -> Result<ExitCode, ExitError> {
    if let Some(error) = reply.error {
        return Err(error.into());
    }
    let gone: Vec<i64> =
        reply.outcomes.iter().filter(|report| report.is_missing()).map(|report| report.id).collect();
    let left = reply.outcomes.iter().filter(|report| report.reason.is_some()).count();
    if left > 0 {
        let message = format!("{left} of {} dead letters could not be applied", reply.outcomes.len());
        return Err(ExitError::new(ExitCode::Unexpected, message).with_hint(
            "remove what the reason names and try again, or `harmonylite dead-letters drop` them",
        ));
    }
    if gone.is_empty() { Ok(ExitCode::Ok) } else { Err(missing(&gone)) }
}

fn missing(ids: &[i64]) -> ExitError {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ExitError::new(ExitCode::Usage, format!("there is no dead letter {}", ids.join(", ")))
        .with_hint("`harmonylite dead-letters list` has the numbers")
}

fn view(letter: &DeadLetter) -> LetterView<'_> {
    LetterView {
        id: letter.id,
        at: time(letter.at_ms),
        tried_at: letter.tried_ms.map(time),
        source: &letter.source,
        table: &letter.table,
        key: RowView(&letter.key),
        node_id: letter.origin.raw_node(),
        incarnation: incarnation(letter.origin),
        hlc: letter.hlc.get(),
        written_at: written_at(letter.hlc),
        error: &letter.error,
    }
}

fn table(letters: &[DeadLetter]) -> String {
    let mut rows = vec![["ID", "WHEN", "TABLE", "KEY", "FROM", "WHY"].map(str::to_owned).to_vec()];
    for letter in letters {
        rows.push(vec![
            letter.id.to_string(),
            time(letter.at_ms),
            visible(&letter.table),
            short_line(&letter.key),
            node(letter.origin),
            visible(&letter.error),
        ]);
    }
    columns(&rows, 0)
}

fn text(letter: &DeadLetter, row: Option<&Fields>) -> String {
    let (origin, hlc) = (letter.origin, letter.hlc);
    let mut head = vec![
        ("dead letter", letter.id.to_string()),
        ("received", format!("{} from {}", time(letter.at_ms), letter.source)),
        ("table", visible(&letter.table)),
        ("key", line(&letter.key)),
        (
            "written",
            format!(
                "node {}, {} (hlc {hlc}, incarnation {})",
                node(origin),
                written_at(hlc),
                incarnation(origin)
            ),
        ),
        ("error", visible(&letter.error)),
    ];
    if let Some(tried_ms) = letter.tried_ms {
        head.push(("tried again", time(tried_ms)));
    }
    format!("{}\nwhat could not be written:\n{}", pairs(&head), block(row))
}

fn outcomes(reports: &[LetterReport]) -> String {
    let mut rows = vec![["ID", "OUTCOME", "WHY"].map(str::to_owned).to_vec()];
    for report in reports {
        let reason = report.reason.as_deref().map(visible).unwrap_or_default();
        rows.push(vec![report.id.to_string(), report.outcome.clone(), reason]);
    }
    columns(&rows, 0)
}
