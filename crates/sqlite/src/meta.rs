//! Our own tables: which there are, and what stands in them. One home for the format that other files read and write.
//!
//! Built with SQLite 3.35's syntax only (no STRICT): the application's library parses the whole schema.

use rusqlite::{Connection, OptionalExtension};

use crate::error::{StoreError, StoreErrorKind};

/// The global change log: one row per captured change; `id` is the HLC of the change, rising over all tables.
pub(crate) const CHANGE_LOG_GLOBAL: &str = "__harmonylite___change_log_global";
/// One row: `observed`, the greatest remote clock applied or log id trimmed (G3, R4).
pub(crate) const CLOCK: &str = "__harmonylite___clock";
/// Names and values: see [`MetaKey`] of the store.
pub(crate) const META: &str = "__harmonylite___meta";
/// Short local numbers for origins (R9); 0 is no origin.
pub(crate) const ORIGIN: &str = "__harmonylite___origin";
/// How far each origin's chain is applied here, per shard (R7).
pub(crate) const POSITION: &str = "__harmonylite___position";
/// The published position per shard (R6), saved lazily.
pub(crate) const PUBLISHED: &str = "__harmonylite___published";
/// How far each source is consumed.
pub(crate) const CHECKPOINT: &str = "__harmonylite___checkpoint";
/// Values that lost (G6, R5). `compared_key` is the key in its canonical form: other spellings of it are the same row.
/// The constraint, which always holds, is an index to find a row's entries by.
pub(crate) const CONFLICT_LOG: &str = "__harmonylite___conflict_log";
/// Rows that could not be written (G7). `tried_ms`: when it was last tried again.
pub(crate) const DEAD_LETTER: &str = "__harmonylite___dead_letter";
/// A digest of each table's rows at the moment our tables were made.
pub(crate) const BASELINE: &str = "__harmonylite___baseline";
/// Per table: whether its rows from before have a place among the versions, and whether the scan has to look at it.
pub(crate) const SCAN: &str = "__harmonylite___scan";

/// The statements that make our tables, in order. Each table's name stands in quotes right after `CREATE TABLE`.
pub(crate) const TABLES: &[(&str, &str)] = &[
    (CHANGE_LOG_GLOBAL, "(id INTEGER PRIMARY KEY, table_name TEXT NOT NULL)"),
    (CLOCK, "(k INTEGER PRIMARY KEY CHECK(k = 1), observed INTEGER NOT NULL)"),
    (META, "(name TEXT PRIMARY KEY, value) WITHOUT ROWID"),
    (
        ORIGIN,
        "(id INTEGER PRIMARY KEY, node_id INTEGER NOT NULL, incarnation INTEGER NOT NULL, \
         UNIQUE(node_id, incarnation))",
    ),
    (
        POSITION,
        "(origin INTEGER NOT NULL, shard INTEGER NOT NULL, through INTEGER NOT NULL, \
         PRIMARY KEY(origin, shard)) WITHOUT ROWID",
    ),
    (PUBLISHED, "(shard INTEGER PRIMARY KEY, through INTEGER NOT NULL)"),
    (
        CHECKPOINT,
        "(source TEXT PRIMARY KEY, stream_id TEXT NOT NULL, sequence INTEGER NOT NULL, mark INTEGER NOT NULL, \
         rows_applied INTEGER NOT NULL) WITHOUT ROWID",
    ),
    (
        CONFLICT_LOG,
        "(id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, table_name TEXT NOT NULL, key TEXT NOT NULL, \
         reason TEXT NOT NULL, loser_hlc INTEGER NOT NULL, loser_node INTEGER NOT NULL, \
         loser_incarnation INTEGER NOT NULL, loser_displaced INTEGER NOT NULL, winner_hlc INTEGER NOT NULL, \
         winner_node INTEGER NOT NULL, winner_incarnation INTEGER NOT NULL, winner_displaced INTEGER NOT NULL, \
         row TEXT, restored_ms INTEGER, compared_key BLOB NOT NULL, UNIQUE(table_name, compared_key, id))",
    ),
    (
        DEAD_LETTER,
        "(id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, source TEXT NOT NULL, table_name TEXT NOT NULL, \
         key TEXT NOT NULL, error TEXT NOT NULL, hlc INTEGER NOT NULL, node_id INTEGER NOT NULL, \
         incarnation INTEGER NOT NULL, tried_ms INTEGER, body BLOB NOT NULL)",
    ),
    (BASELINE, "(table_name TEXT PRIMARY KEY, digest INTEGER NOT NULL) WITHOUT ROWID"),
    (SCAN, "(table_name TEXT PRIMARY KEY, enrolled INTEGER NOT NULL, due INTEGER NOT NULL) WITHOUT ROWID"),
];

/// Names in the meta table.
pub(crate) mod key {
    /// The format of our tables; [`super::FORMAT_VERSION`].
    pub(crate) const FORMAT_VERSION: &str = "format_version";
    /// The node id that the database belongs to.
    pub(crate) const NODE_ID: &str = "node_id";
    /// The current incarnation (R9).
    pub(crate) const INCARNATION: &str = "incarnation";
    /// The number of our current origin in the origin table.
    pub(crate) const ORIGIN: &str = "origin";
    /// Log ids up to here have their versions in the row version tables (R3).
    pub(crate) const STAMPED: &str = "stamped";
    /// Log ids up to here are acknowledged on every shard.
    pub(crate) const SETTLED: &str = "settled";
    /// The number of shards that the published positions belong to.
    pub(crate) const SHARDS: &str = "shards";
    /// The members that this node knows, as the core encodes them.
    pub(crate) const MEMBERS: &str = "members";
    /// How often we made the write-ahead log start over.
    pub(crate) const LOG_STARTS: &str = "log_starts";
}

/// The format of our tables that this build writes.
pub(crate) const FORMAT_VERSION: i64 = 1;

/// The types of log rows.
pub(crate) mod log_type {
    /// AFTER INSERT.
    pub(crate) const INSERT: &str = "insert";
    /// AFTER UPDATE.
    pub(crate) const UPDATE: &str = "update";
    /// AFTER DELETE, and the old key of a key change.
    pub(crate) const DELETE: &str = "delete";
    /// A row that the statement may displace (R2).
    pub(crate) const MAYBE: &str = "maybe";
    /// Written by the applier: a row lost a UNIQUE value (R1); its stored version is to be published.
    pub(crate) const DISPLACED: &str = "displaced";
}

/// Bits of a row version's `flags`.
pub(crate) mod flag {
    /// The version is displaced.
    pub(crate) const DISPLACED: i64 = 1;
    /// The row is deleted.
    pub(crate) const TOMBSTONE: i64 = 2;
    /// The base version is displaced.
    pub(crate) const BASE_DISPLACED: i64 = 4;
}

/// Refuses a database that HarmonyLite never worked on.
pub(crate) fn require_ours(connection: &Connection) -> Result<(), StoreError> {
    if connection.table_exists(Some("main"), META)? {
        return Ok(());
    }
    Err(StoreError::new(StoreErrorKind::NeverStarted, "no node ever ran on this database")
        .hint("check the path: it has no tables of harmonylite"))
}

/// The integer in the meta table under `name`.
pub(crate) fn read_integer(connection: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    let sql = format!("SELECT value FROM main.\"{META}\" WHERE name = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([name], |row| row.get(0)).optional()?)
}

/// Stores an integer in the meta table under `name`.
pub(crate) fn write_integer(connection: &Connection, name: &str, value: i64) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO main.\"{META}\"(name, value) VALUES(?1, ?2) ON CONFLICT(name) DO UPDATE SET value = ?2"
    );
    connection.prepare_cached(&sql)?.execute(rusqlite::params![name, value])?;
    Ok(())
}
