//! Nodes without a network: each has an application, a store, and the chain of groups that it published.

use std::collections::BTreeMap;
use std::path::PathBuf;

use harmonylite_core::effect::{Housekeep, PublishedPositions, ReceivedGroup, Scan};
use harmonylite_core::input::{Applied, ApplyFailure, Found, Housekept, LogRead, Scanned};
use harmonylite_core::model::{Incarnation, NodeId, RowChange, SourceId};
use harmonylite_sqlite::{ClockSql, OpenOptions, Store};
use harmonylite_testkit::exchange;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use tempfile::TempDir;

/// What the wall clock of all nodes shows, unless a test says otherwise: clocks then only count.
pub(crate) const NOW_MS: u64 = 1_000;

pub(crate) struct Node {
    directory: TempDir,
    pub(crate) id: u64,
    pub(crate) application: Connection,
    pub(crate) store: Store,
    pub(crate) published: PublishedPositions,
    /// What it published, in order.
    pub(crate) chain: Vec<ReceivedGroup>,
    /// How much of each other node's chain it has applied.
    pub(crate) consumed: BTreeMap<u64, usize>,
}

impl Node {
    pub(crate) fn new(id: u64, schema: &str) -> Self {
        Self::with(id, schema, |_| {})
    }

    pub(crate) fn with(id: u64, schema: &str, adjust: impl FnOnce(&mut OpenOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.db");
        let application = Connection::open(&path).unwrap();
        application.execute_batch(schema).unwrap();
        application.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF").unwrap();
        let mut options = options(id);
        adjust(&mut options);
        Self::opened(id, directory, application, &options)
    }

    /// A database that is there already.
    pub(crate) fn open(id: u64, directory: TempDir) -> Self {
        Self::open_with(id, directory, |_| {})
    }

    pub(crate) fn open_with(id: u64, directory: TempDir, adjust: impl FnOnce(&mut OpenOptions)) -> Self {
        let application = Connection::open(directory.path().join("app.db")).unwrap();
        let mut options = options(id);
        adjust(&mut options);
        Self::opened(id, directory, application, &options)
    }

    fn opened(id: u64, directory: TempDir, application: Connection, options: &OpenOptions) -> Self {
        let store = Store::open(&directory.path().join("app.db"), options).unwrap();
        Self {
            directory,
            id,
            application,
            store,
            published: PublishedPositions::default(),
            chain: Vec::new(),
            consumed: BTreeMap::new(),
        }
    }

    /// What is left when application and store are gone: what it published, what it consumed, its directory.
    pub(crate) fn close(self) -> (Vec<ReceivedGroup>, BTreeMap<u64, usize>, TempDir) {
        (self.chain, self.consumed, self.directory)
    }

    /// Of the same database. It does not wait for a lock.
    pub(crate) fn another_application(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(std::time::Duration::ZERO).unwrap();
        connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
        connection
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("app.db")
    }

    /// The database file as it is now, everything in it.
    pub(crate) fn image(&self) -> Vec<u8> {
        self.run("PRAGMA wal_checkpoint(TRUNCATE)");
        std::fs::read(self.path()).unwrap()
    }

    /// What the application does.
    pub(crate) fn run(&self, sql: &str) {
        self.application.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// A query as lines of `|`-separated `typeof:quote`.
    pub(crate) fn query(&self, sql: &str) -> Vec<String> {
        query(&self.application, sql)
    }

    /// One integer.
    pub(crate) fn count(&self, sql: &str) -> i64 {
        self.application.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(crate) fn read_log(&mut self) -> LogRead {
        exchange::read_log(&mut self.store, &self.published, false).unwrap()
    }

    /// Publishes what is in the log; gives the rows.
    pub(crate) fn publish(&mut self) -> Vec<(String, RowChange)> {
        let mut rows = Vec::new();
        loop {
            let read = self.read_log();
            let groups = exchange::acknowledge(self.id, &self.store, &mut self.published, &read).unwrap();
            rows.extend(groups.iter().flat_map(rows_of));
            self.chain.extend(groups);
            if read.remaining_rows == 0 {
                return rows;
            }
        }
    }

    /// Applies groups in one transaction.
    pub(crate) fn apply(&mut self, groups: &[ReceivedGroup]) -> Applied {
        self.try_apply(groups).unwrap()
    }

    pub(crate) fn try_apply(&mut self, groups: &[ReceivedGroup]) -> Result<Applied, ApplyFailure> {
        let batch = exchange::apply_batch(groups, &self.published);
        loop {
            match self.store.apply(&batch, NOW_MS) {
                Err(ApplyFailure::LogFirst { .. }) => {}
                done => return done,
            }
        }
    }

    /// Applies up to `groups` more groups of `from`.
    pub(crate) fn consume(&mut self, from: &Node, groups: usize) -> Applied {
        let start = self.consumed.get(&from.id).copied().unwrap_or(0);
        let end = from.chain.len().min(start.saturating_add(groups));
        self.consumed.insert(from.id, end);
        self.apply(&from.chain[start..end])
    }

    pub(crate) fn housekeep(&mut self) -> Housekept {
        self.housekeep_at(NOW_MS)
    }

    pub(crate) fn housekeep_at(&mut self, now_ms: u64) -> Housekept {
        self.housekeep_with(u64::MAX, now_ms)
    }

    /// With at most so many rows of the log.
    pub(crate) fn housekeep_rows(&mut self, rows: u64) -> Housekept {
        self.housekeep_with(rows, NOW_MS)
    }

    fn housekeep_with(&mut self, rows: u64, now_ms: u64) -> Housekept {
        let published = self.published.clone();
        self.store.housekeep(&Housekeep { published, checkpoints: BTreeMap::new(), rows }, now_ms).unwrap()
    }

    /// Writes that fire no trigger: what the application did while ours were missing.
    pub(crate) fn run_unseen(&self, sql: &str) {
        let enable =
            |on| self.application.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, on).unwrap();
        enable(false);
        self.run(sql);
        enable(true);
    }

    /// One step of the scan.
    pub(crate) fn scan_step(&mut self, whole: bool) -> Scanned {
        self.store.scan(&Scan { whole, published: self.published.clone() }).unwrap()
    }

    /// A whole pass of the scan; gives what it found, in all tables, and its steps.
    pub(crate) fn scan(&mut self, whole: bool) -> (Found, usize) {
        let (mut found, mut steps) = (Found::NONE, 0);
        loop {
            let scanned = self.scan_step(whole);
            found.add(scanned.found);
            steps += 1;
            if !scanned.more {
                return (found, steps);
            }
        }
    }

    /// `reason|key|row` of the conflict log, in order.
    pub(crate) fn conflicts(&self) -> Vec<String> {
        let sql = "SELECT reason, key, row FROM __harmonylite___conflict_log ORDER BY id";
        let mut statement = self.application.prepare(sql).unwrap();
        let text = |row: &rusqlite::Row<'_>, column| row.get::<_, Option<String>>(column);
        let lines = statement.query_map([], |row| {
            let part = |column| text(row, column).map(Option::unwrap_or_default);
            Ok(format!("{}|{}|{}", part(0)?, part(1)?, part(2)?))
        });
        lines.unwrap().collect::<Result<_, _>>().unwrap()
    }

    pub(crate) fn rows_applied(&self, source: &str) -> u64 {
        self.store.state().unwrap().checkpoints[&SourceId(source.to_owned())].rows_applied
    }
}

fn options(id: u64) -> OpenOptions {
    OpenOptions {
        node_id: NodeId::new(id).unwrap(),
        fresh_incarnation: Incarnation::new(100 + id).unwrap(),
        shards: 1,
        publish: true,
        clock: ClockSql::new(NOW_MS.to_string()),
    }
}

/// See [`Node::query`].
pub(crate) fn query(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let mut lines = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let line: Vec<_> = (0..columns).map(|index| shown(row.get_ref(index).unwrap())).collect();
        lines.push(line.join("|"));
    }
    lines
}

/// Storage class and exact bytes; `quote()` would stop at NUL.
fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".to_owned(),
        ValueRef::Integer(integer) => integer.to_string(),
        ValueRef::Real(real) => format!("real:{real:?}"),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => format!("'{}'", text.replace('\0', "\\0")),
            Err(_) => format!("text:{}", bytes.escape_ascii()),
        },
        ValueRef::Blob(bytes) => format!("x:{}", bytes.escape_ascii()),
    }
}

/// The rows of a group with their tables.
pub(crate) fn rows_of(group: &ReceivedGroup) -> Vec<(String, RowChange)> {
    exchange::sections(group)
        .unwrap()
        .into_iter()
        .flat_map(|section| section.rows.into_iter().map(move |row| (section.table.clone(), row)))
        .collect()
}

/// Nodes with the same schema.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
}

impl Cluster {
    pub(crate) fn new(nodes: u64, schema: &str) -> Self {
        Self::with(nodes, schema, |_| {})
    }

    pub(crate) fn with(nodes: u64, schema: &str, adjust: impl Fn(&mut OpenOptions)) -> Self {
        Self { nodes: (1..=nodes).map(|id| Node::with(id, schema, &adjust)).collect() }
    }

    /// The application's tables, as they are called now.
    pub(crate) fn tables(&self) -> Vec<String> {
        let sql = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' \
                   AND name NOT GLOB '__harmonylite__*' AND name NOT GLOB 'sqlite_*' ORDER BY name";
        let mut statement = self.nodes[0].application.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// What the application of node `id` does.
    pub(crate) fn run(&self, id: usize, sql: &str) {
        self.nodes[id - 1].run(sql);
    }

    pub(crate) fn publish(&mut self, id: usize) -> Vec<(String, RowChange)> {
        self.nodes[id - 1].publish()
    }

    /// Node `to` applies up to `groups` more groups of node `from`.
    pub(crate) fn deliver(&mut self, from: usize, to: usize, groups: usize) -> Applied {
        assert_ne!(from, to);
        let (low, high) = self.nodes.split_at_mut(from.max(to) - 1);
        let (from, to) =
            if from < to { (&low[from - 1], &mut high[0]) } else { (&high[0], &mut low[to - 1]) };
        to.consume(from, groups)
    }

    /// Everything is published and applied everywhere, what follows from that too.
    pub(crate) fn settle(&mut self) {
        let count = self.nodes.len();
        for _ in 0..20 {
            let mut moved: u64 = (1..=count).map(|id| self.publish(id).len() as u64).sum();
            for (to, from) in (1..=count).flat_map(|to| (1..=count).map(move |from| (to, from))) {
                if from != to {
                    moved += self.deliver(from, to, usize::MAX).rows_applied.values().sum::<u64>();
                }
            }
            if moved == 0 {
                return;
            }
        }
        panic!("the nodes go on publishing");
    }

    /// Everything settles, and all nodes hold the same rows with the same versions.
    pub(crate) fn converge(&mut self) {
        self.settle();
        for node in &mut self.nodes {
            node.housekeep();
        }
        self.assert_equal();
    }

    pub(crate) fn assert_equal(&self) {
        for table in &self.tables() {
            let quoted = format!("\"{}\"", table.replace('"', "\"\""));
            self.assert_same(&format!("SELECT * FROM {quoted}"));
            let versions = format!("\"__harmonylite__{}_row_version\"", table.replace('"', "\"\""));
            let sql = format!(
                "SELECT v.*, o.node_id, o.incarnation, (flags & 3) FROM {versions} AS v \
                 JOIN __harmonylite___origin AS o ON o.id = v.origin"
            );
            let exists = self.nodes[0].count(&format!(
                "SELECT count(*) FROM sqlite_schema WHERE name = '__harmonylite__{}_row_version'",
                table.replace('\'', "''")
            ));
            if exists > 0 {
                self.assert_same_versions(&sql);
            }
        }
    }

    fn assert_same(&self, sql: &str) {
        let sorted = |node: &Node| {
            let mut lines = node.query(sql);
            lines.sort();
            lines
        };
        let first = sorted(&self.nodes[0]);
        for node in &self.nodes[1..] {
            assert_eq!(sorted(node), first, "node {} and node {}: {sql}", node.id, self.nodes[0].id);
        }
    }

    /// Key, clock, origin, flags, digest: numbers of origins and bases are each node's own.
    fn assert_same_versions(&self, sql: &str) {
        let sorted = |node: &Node| {
            let mut lines: Vec<_> = node.query(sql).iter().map(|line| comparable(line)).collect();
            lines.sort();
            lines
        };
        let first = sorted(&self.nodes[0]);
        for node in &self.nodes[1..] {
            assert_eq!(sorted(node), first, "node {} and node {}: {sql}", node.id, self.nodes[0].id);
        }
    }
}

/// Of `key.. hlc origin flags base_hlc base_origin digest node incarnation flags`: without the local numbers and the base.
fn comparable(line: &str) -> String {
    let parts: Vec<_> = line.split('|').collect();
    let (key, rest) = parts.split_at(parts.len() - 9);
    format!("{} {} {} {} {} {}", key.join("|"), rest[0], rest[5], rest[6], rest[7], rest[8])
}
