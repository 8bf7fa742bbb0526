//! What a node's database holds in the end: rows and their versions, and what the conflict log kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rusqlite::{Connection, OpenFlags};

use super::application::schema::{TABLES, Table};

/// A write: the clock of its log row, and the node that wrote.
pub(super) type WriteId = (i64, i64);

/// A row's place: table, and key as one text.
pub(super) type RowId = (String, String);

/// The last word on a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LastWord {
    pub(super) write: WriteId,
    /// The row lost a UNIQUE value to another one, after that write.
    pub(super) displaced: bool,
    /// The tag of the row that is there.
    pub(super) tag: Option<String>,
}

/// All of one database.
pub(super) struct FinalState {
    pub(super) rows: BTreeMap<RowId, LastWord>,
    /// Writes that lost a conflict, with their tables.
    pub(super) lost: BTreeSet<(String, WriteId)>,
    /// Log rows that are not trimmed yet.
    pub(super) log_rows: i64,
}

impl FinalState {
    /// Reads it in one transaction.
    pub(super) fn read(db: &Path) -> Result<Self> {
        let connection = open(db)?;
        let snapshot = connection.unchecked_transaction()?;
        let mut rows = BTreeMap::new();
        for table in TABLES {
            read_table(&snapshot, table, &mut rows).with_context(|| format!("reading {}", table.name))?;
        }
        let sql = "SELECT table_name, loser_hlc, loser_node FROM __harmonylite___conflict_log";
        let mut statement = snapshot.prepare(sql)?;
        let lost = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
        let lost = lost.collect::<Result<_, _>>()?;
        let log_rows = "SELECT count(*) FROM __harmonylite___change_log_global";
        let log_rows = snapshot.query_row(log_rows, [], |row| row.get(0))?;
        Ok(Self { rows, lost, log_rows })
    }
}

/// Are the file and its full-text index sound?
pub(super) fn check_integrity(db: &Path) -> Result<()> {
    let connection = Connection::open(db)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    let found: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    ensure!(found == "ok", "integrity_check: {found}");
    let index = "INSERT INTO note_text(note_text, rank) VALUES('integrity-check', 1)";
    connection.execute_batch(index).context("the full-text index does not fit its rows")
}

fn open(db: &Path) -> Result<Connection> {
    let connection = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    Ok(connection)
}

/// Bits of a row version's `flags`.
const DISPLACED: i64 = 1;
const TOMBSTONE: i64 = 2;

fn read_table(connection: &Connection, table: &Table, rows: &mut BTreeMap<RowId, LastWord>) -> Result<()> {
    let same: Vec<String> = table.key.iter().map(|column| format!("t.{column} = v.val_{column}")).collect();
    let sql = format!(
        "SELECT {}, v.hlc, o.node_id, v.flags, (SELECT tag FROM {} AS t WHERE {}) \
         FROM \"__harmonylite__{}_row_version\" AS v JOIN __harmonylite___origin AS o ON o.id = v.origin",
        table.key_text("v.val_"),
        table.name,
        same.join(" AND "),
        table.name,
    );
    let mut statement = connection.prepare(&sql)?;
    let mut found = statement.query([])?;
    let mut present = 0;
    while let Some(row) = found.next()? {
        let key: String = row.get(0)?;
        let (flags, tag): (i64, Option<String>) = (row.get(3)?, row.get(4)?);
        ensure!(
            (flags & TOMBSTONE == 0) == tag.is_some(),
            "row {key} does not fit its version's flags {flags}"
        );
        present += i64::from(tag.is_some());
        let word = LastWord { write: (row.get(1)?, row.get(2)?), displaced: flags & DISPLACED != 0, tag };
        rows.insert((table.name.to_owned(), key), word);
    }
    let count = format!("SELECT count(*) FROM {}", table.name);
    let count: i64 = connection.query_row(&count, [], |row| row.get(0))?;
    ensure!(count == present, "{count} rows, {present} with a version");
    Ok(())
}
