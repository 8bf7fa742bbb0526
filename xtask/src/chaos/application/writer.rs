//! One connection that writes, and its journal: what each transaction saw, what it left, and whether it was acknowledged.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use harmonylite_testkit::Rng;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params_from_iter};

use super::super::journal::{Journal, Transaction, Write};
use super::schema::{TABLES, Table};
use super::statements;

/// How long the application waits for locks. Longer than a sidecar stands still in any scenario: it may hold one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// What became of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Committed,
    /// A constraint refused a statement: nothing was written.
    Refused,
    /// There was no room on the disk; nobody knows whether it was written.
    NoRoom,
}

/// A writing connection, with a second one that sees what was there before a transaction.
pub(super) struct Writer {
    /// The beginning of all its tags.
    name: String,
    number: u64,
    keys: u64,
    rng: Rng,
    /// May the disk get full?
    may_fill: bool,
    connection: Connection,
    before: Connection,
    journal: Journal,
}

impl Writer {
    pub(super) fn open(
        db: &Path,
        journal: &Path,
        name: String,
        keys: u64,
        rng: Rng,
        may_fill: bool,
    ) -> Result<Self> {
        let (connection, before) = (connect(db)?, connect(db)?);
        let journal = Journal::open(&journal.join(&name))?;
        Ok(Self { name, number: 0, keys, rng, may_fill, connection, before, journal })
    }

    /// Writes one transaction.
    ///
    /// # Errors
    /// When SQLite fails in a way that no fault of the scenario explains: the application has noticed us.
    pub(super) fn write(&mut self) -> Result<Outcome> {
        self.number += 1;
        let tag = format!("{}-{}", self.name, self.number);
        let statements = statements::transaction(&mut self.rng, self.keys, &tag);
        let failure = match self.attempt(&tag, &statements) {
            Ok(()) => return Ok(Outcome::Committed),
            Err(failure) => failure,
        };
        let outcome = self.judge(&failure);
        if !self.connection.is_autocommit() {
            // On a full disk even this may fail; the next BEGIN tells.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        outcome.ok_or(failure).with_context(|| format!("transaction {tag}: {}", statements.join("; ")))
    }

    fn attempt(&mut self, tag: &str, statements: &[String]) -> Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let newest = "SELECT coalesce(max(id), 0) FROM __harmonylite___change_log_global";
        let newest: i64 = self.connection.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
        for statement in statements {
            self.connection.execute_batch(statement)?;
        }
        let writes = self.writes_since(newest)?;
        self.journal.began(Transaction { tag: tag.to_owned(), writes })?;
        self.connection.execute_batch("COMMIT")?;
        self.journal.committed(tag)
    }

    fn judge(&self, failure: &anyhow::Error) -> Option<Outcome> {
        let error = failure.downcast_ref::<rusqlite::Error>()?;
        if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) {
            return Some(Outcome::Refused);
        }
        (self.may_fill && is_no_room(error)).then_some(Outcome::NoRoom)
    }

    /// What the log says of the open transaction, row by row.
    fn writes_since(&self, newest: i64) -> Result<Vec<Write>> {
        let mut writes = Vec::new();
        for table in TABLES {
            for (key, row) in self.logged_rows(table, newest)? {
                let saw = self.tag_before(table, &row.values)?;
                let Some(clock) = row.clock() else { continue };
                writes.push(Write { table: table.name.into(), key, clock, saw, left: row.left });
            }
        }
        Ok(writes)
    }

    fn logged_rows(&self, table: &Table, newest: i64) -> Result<BTreeMap<String, Logged>> {
        let columns: Vec<String> = table.key.iter().map(|column| format!("l.val_{column}")).collect();
        let same: Vec<String> =
            table.key.iter().map(|column| format!("t.{column} = l.val_{column}")).collect();
        let sql = format!(
            "SELECT l.id, l.type, {}, (SELECT tag FROM {} AS t WHERE {}), {} \
             FROM \"__harmonylite__{}_change_log\" AS l WHERE l.id > ?1 ORDER BY l.id",
            table.key_text("l.val_"),
            table.name,
            same.join(" AND "),
            columns.join(", "),
            table.name,
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut found = statement.query([newest])?;
        let mut rows: BTreeMap<String, Logged> = BTreeMap::new();
        while let Some(row) = found.next()? {
            let logged = rows.entry(row.get(2)?).or_default();
            logged.entries.push((row.get(0)?, row.get::<_, String>(1)? == "maybe"));
            logged.left = row.get(3)?;
            logged.values = (0..table.key.len()).map(|index| row.get(4 + index)).collect::<Result<_, _>>()?;
        }
        Ok(rows)
    }

    /// The tag that the row had before the transaction: the other connection does not see what is not committed.
    fn tag_before(&self, table: &Table, key: &[Value]) -> Result<Option<String>> {
        let same: Vec<String> = table.key.iter().map(|column| format!("{column} = ?")).collect();
        let sql = format!("SELECT tag FROM {} WHERE {}", table.name, same.join(" AND "));
        let mut statement = self.before.prepare_cached(&sql)?;
        Ok(statement.query_row(params_from_iter(key), |row| row.get(0)).optional()?)
    }
}

/// What the log holds of one key.
#[derive(Default)]
struct Logged {
    /// Log ids, and whether it is an entry that only counts when the row is gone (`maybe`).
    entries: Vec<(i64, bool)>,
    values: Vec<Value>,
    left: Option<String>,
}

impl Logged {
    /// The clock of what happened to the row; nothing when nothing did.
    fn clock(&self) -> Option<i64> {
        let gone = self.left.is_none();
        self.entries.iter().filter(|(_, maybe)| gone || !maybe).map(|(id, _)| *id).max()
    }
}

/// What SQLite says when it finds no room for the database, its log, or the index of that.
pub(super) fn is_no_room(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::CannotOpen))
}

/// A connection as the application has it.
pub(super) fn connect(db: &Path) -> Result<Connection> {
    let connection = Connection::open(db).context("opening the database")?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA recursive_triggers = ON")?;
    Ok(connection)
}
