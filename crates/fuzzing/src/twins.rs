//! An application's connection on which any SQL may be run: it reaches nothing but its own database, ends in bounded
//! time, and does the same again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;

/// What differs from one run or one file to another.
const NOT_THE_SAME_AGAIN: [&str; 15] = [
    "random",
    "randomblob",
    "date",
    "time",
    "datetime",
    "julianday",
    "strftime",
    "unixepoch",
    "timediff",
    "current_date",
    "current_time",
    "current_timestamp",
    "total_changes",
    "sqlite_offset",
    "load_extension",
];
/// Settings that an application may choose.
const PRAGMAS: [&str; 7] = [
    "foreign_keys",
    "recursive_triggers",
    "encoding",
    "page_size",
    "auto_vacuum",
    "legacy_alter_table",
    "data_version",
];
/// Steps of SQLite's machine between two looks, and looks before it has to stop.
const STEPS: i32 = 1_000;
const LOOKS: u32 = 300;
/// Longer values only take time.
const VALUE_LENGTH_MAX: i32 = 50_000;

/// What the application may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Make its schema.
    Schema,
    /// Write and read rows.
    Rows,
}

/// A connection.
pub(crate) struct Application {
    pub(crate) connection: Connection,
    looks: Arc<AtomicU32>,
    stopped: Arc<AtomicBool>,
}

impl Application {
    /// `settings` are SQL that is not judged.
    pub(crate) fn open(file: &Path, phase: Phase, settings: &str) -> Self {
        let mut connection = Connection::open(file).unwrap();
        connection.execute_batch(&format!("PRAGMA synchronous = OFF; {settings}")).unwrap();
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).unwrap();
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0).unwrap();
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_LENGTH_MAX).unwrap();
        connection.set_limit(Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 20).unwrap();
        let (looks, stopped) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, stop) = (Arc::clone(&looks), Arc::clone(&stopped));
        let look = move || {
            let too_long = seen.fetch_add(1, Ordering::Relaxed) >= LOOKS;
            stop.fetch_or(too_long, Ordering::Relaxed);
            too_long
        };
        connection.progress_handler(STEPS, Some(look)).unwrap();
        connection.authorizer(Some(move |context: AuthContext<'_>| judge(phase, &context))).unwrap();
        Self { connection, looks, stopped }
    }

    /// What SQLite says: nothing, or why not.
    pub(crate) fn run(&self, sql: &str) -> Result<(), String> {
        self.looks.store(0, Ordering::Relaxed);
        self.connection.execute_batch(sql).map_err(|error| error.to_string())
    }

    /// The rows of a table or a view in any order, with storage class and exact bytes.
    pub(crate) fn rows_of(&self, table: &str) -> Result<Vec<String>, String> {
        self.looks.store(0, Ordering::Relaxed);
        let sql = format!("SELECT * FROM \"{}\"", table.replace('"', "\"\""));
        let mut lines = lines(&self.connection, &sql).map_err(|error| error.to_string())?;
        lines.sort();
        Ok(lines)
    }

    /// It took too long, ever: what it did until then is by chance.
    pub(crate) fn was_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// Rows as text: storage class and exact bytes.
pub(crate) fn lines(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let values = (0..columns).map(|index| row.get_ref(index).map(shown));
        Ok(values.collect::<rusqlite::Result<Vec<String>>>()?.join(" | "))
    })?;
    rows.collect()
}

fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(integer) => integer.to_string(),
        ValueRef::Real(real) => format!("{real:?}"),
        ValueRef::Text(bytes) => format!("'{}'", bytes.escape_ascii()),
        ValueRef::Blob(bytes) => format!("x'{}'", bytes.escape_ascii()),
    }
}

fn judge(phase: Phase, context: &AuthContext<'_>) -> Authorization {
    let ours_to_read = |table: &str| phase == Phase::Schema || !table.starts_with("sqlite_");
    let allowed = match context.action {
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => false,
        AuthAction::Pragma { pragma_name, .. } => {
            phase == Phase::Schema && PRAGMAS.iter().any(|known| known.eq_ignore_ascii_case(pragma_name))
        }
        AuthAction::Function { function_name } => {
            !NOT_THE_SAME_AGAIN.iter().any(|name| name.eq_ignore_ascii_case(function_name))
        }
        AuthAction::Read { table_name, .. }
        | AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name } => ours_to_read(table_name),
        AuthAction::Select
        | AuthAction::Recursive
        | AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. } => true,
        _ => phase == Phase::Schema,
    };
    if allowed { Authorization::Allow } else { Authorization::Deny }
}
