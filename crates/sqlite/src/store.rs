//! The store: one application database, opened, ours in it, and the connection that writes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use harmonylite_core::input::SchemaRead;
use harmonylite_core::model::{Incarnation, NodeId, Origin};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::baseline;
use crate::capture::{self, Repaired, Survey};
use crate::catalog::{Catalog, UNREAD};
use crate::connection;
use crate::error::{StoreError, StoreErrorKind};
use crate::hold::{Chances, LastHold};
use crate::identifier::quote;
use crate::limits::{ConflictRetention, Limits};
use crate::log_ends::Looks;
use crate::meta::{self, FORMAT_VERSION, ORIGIN, key};
use crate::mirror;
use crate::scan::Pass;
use crate::sent::Sent;
use crate::stamp::Unstamped;
use crate::wal::{self, WalKeeper};

/// An SQL expression for the wall clock, in milliseconds since the Unix epoch.
///
/// It runs inside the application's connection: built-in functions of SQLite 3.35 only, and never NULL. A simulator
/// puts its own there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClockSql(pub(crate) String);

impl ClockSql {
    /// The expression `sql`.
    #[must_use]
    pub fn new(sql: impl Into<String>) -> Self {
        Self(sql.into())
    }
}

impl Default for ClockSql {
    /// 2440587.5 is the Julian day of the epoch; `unixepoch('subsec')` would need SQLite 3.42.
    fn default() -> Self {
        Self::new("CAST((julianday('now') - 2440587.5) * 86400000.0 + 0.5 AS INTEGER)")
    }
}

/// Prepared statements that are kept: about twenty of ours, and ten for each table that changes often.
const STATEMENTS_KEPT: usize = 256;

/// Steps of SQLite's machine between two signs of progress: well below a millisecond, and too many to cost anything.
const STEPS_PER_SIGN: std::ffi::c_int = 10_000;

/// What a store is opened with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenOptions {
    /// Who we are: the database must be ours, or untouched.
    pub node_id: NodeId,
    /// Random; used only when our tables are first made.
    pub fresh_incarnation: Incarnation,
    /// The number of shards, at least 1: the one that the published positions belong to.
    pub shards: u16,
    /// Local rows are stamped and published; when false, remote ones always win.
    pub publish: bool,
    /// The clock of the triggers.
    pub clock: ClockSql,
}

/// The application's database with our tables and triggers in it.
#[derive(Debug)]
pub struct Store {
    /// The connection that writes; triggers and foreign keys are off.
    pub(crate) connection: Connection,
    /// What is replicated, as of the last look.
    pub(crate) catalog: Catalog,
    /// As given to [`Store::open`].
    pub(crate) options: OpenOptions,
    /// Who we are in this life of the database (R9).
    pub(crate) origin: Origin,
    /// The number of `origin` in the origin table.
    pub(crate) origin_index: i64,
    /// How much one request does at most.
    pub(crate) limits: Limits,
    /// How much of the conflict log is kept.
    pub(crate) retention: ConflictRetention,
    /// Of the last transaction that wrote.
    pub(crate) last_hold: Option<LastHold>,
    /// Whether transactions are tried without the lock.
    pub(crate) chances: Chances,
    /// Tables whose mirrored triggers failed.
    pub(crate) failed_mirrors: mirror::Failed,
    /// What was read for publishing and is not stamped.
    pub(crate) sent: Sent,
    /// Where change sets may end.
    pub(crate) looks: Arc<Mutex<Looks>>,
    /// How many log rows are unstamped, as far as they were counted.
    pub(crate) unstamped: Unstamped,
    /// What is known of the write-ahead log.
    pub(crate) wal: WalKeeper,
    /// The scan that is under way.
    pub(crate) scan: Option<Pass>,
    path: PathBuf,
    /// Of the repair that opening did.
    opened: Repaired,
}

impl Store {
    /// Opens the database at `path`, which must exist, makes what is missing of ours, and writes nothing when nothing
    /// is. Waits a few seconds for the application's lock.
    ///
    /// The caller holds the [`LockFile`](crate::LockFile) of the database.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, StoreError> {
        Self::opened(connection::open(path)?, path.to_owned(), options)
    }

    /// The same for the database `name` in the memory of this process, which an application of the same process has
    /// made under [`Store::memory_uri`]. For the simulator: everything else is as on a disk.
    pub fn open_in_memory(name: &str, options: &OpenOptions) -> Result<Self, StoreError> {
        let connection = connection::open_in_memory(name)?;
        Self::opened(connection, PathBuf::from(connection::memory_uri(name)), options)
    }

    /// Under which URI an application finds the database `name` in the memory of this process.
    #[must_use]
    pub fn memory_uri(name: &str) -> String {
        connection::memory_uri(name)
    }

    fn opened(mut connection: Connection, path: PathBuf, options: &OpenOptions) -> Result<Self, StoreError> {
        let mut prepared = prepare(&mut connection, options).map_err(|error| error.at(path.display()))?;
        mirror::follow(&mut connection, &mut prepared.catalog, &mirror::Failed::default())
            .map_err(|error| error.at(path.display()))?;
        connection::settle(&mut connection, true)?;
        wal::settle(&connection)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        let mut store = Self::new(connection, path, options.clone(), prepared);
        store.last_hold = Some(LastHold::begin(&store.connection)?);
        Ok(store)
    }

    /// With nothing remembered of any request.
    fn new(connection: Connection, path: PathBuf, options: OpenOptions, prepared: Prepared) -> Self {
        Self {
            connection,
            catalog: prepared.catalog,
            options,
            origin: prepared.identity.origin,
            origin_index: prepared.identity.index,
            limits: Limits::default(),
            retention: ConflictRetention::default(),
            last_hold: None,
            chances: Chances::default(),
            failed_mirrors: mirror::Failed::default(),
            sent: Sent::default(),
            looks: Arc::default(),
            unstamped: Unstamped::default(),
            wal: WalKeeper::default(),
            scan: None,
            path,
            opened: prepared.repaired,
        }
    }

    /// Opens a database that is ours already, as who it is, and mends nothing: for work on it while no node runs.
    ///
    /// The caller holds the [`LockFile`](crate::LockFile) of the database.
    pub(crate) fn open_as_it_is(path: &Path) -> Result<Self, StoreError> {
        let mut connection = connection::open(path)?;
        let read = read_as_it_is(&mut connection).and_then(|(identity, shards, mut catalog)| {
            mirror::follow(&mut connection, &mut catalog, &mirror::Failed::default())?;
            Ok((identity, shards, catalog))
        });
        let (identity, shards, catalog) = read.map_err(|error| error.at(path.display()))?;
        let options = OpenOptions {
            node_id: identity.node_id,
            fresh_incarnation: identity.incarnation,
            shards,
            publish: true,
            clock: ClockSql::default(),
        };
        let prepared = Prepared { identity, catalog, repaired: Repaired::default() };
        Ok(Self::new(connection, path.to_owned(), options, prepared))
    }

    /// From now on requests are bounded by `limits`.
    pub fn set_limits(&mut self, limits: Limits) -> Result<(), StoreError> {
        connection::settle(&mut self.connection, limits.lock_patience)?;
        self.limits = limits;
        Ok(())
    }

    /// From now on the conflict log is kept within `retention`.
    pub fn set_conflict_retention(&mut self, retention: ConflictRetention) {
        self.retention = retention;
    }

    /// Calls `progressed` again and again while a statement runs, on the thread that runs it: for whoever must tell a long
    /// request from one that hangs.
    pub fn on_progress(&mut self, mut progressed: impl FnMut() + Send + 'static) -> Result<(), StoreError> {
        let handler = move || {
            progressed();
            // True would interrupt the statement.
            false
        };
        Ok(self.connection.progress_handler(STEPS_PER_SIGN, Some(handler))?)
    }

    /// The database file, as given to [`Store::open`].
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The schema as opening found it, and what opening had to mend.
    #[must_use]
    pub fn opened_schema(&self) -> SchemaRead {
        schema_read(&self.catalog, &self.opened)
    }

    /// Reads the schema again, and mends triggers and tables of ours that do not fit it. Writes only then.
    pub fn read_schema(&mut self) -> Result<SchemaRead, StoreError> {
        // Should this fail half way, nothing is applied until it was done again.
        self.catalog.schema_version = UNREAD;
        let (mut catalog, repaired) = mend(&mut self.connection, &self.options)?;
        self.failed_mirrors.forget_before(catalog.schema_version);
        mirror::follow(&mut self.connection, &mut catalog, &self.failed_mirrors)?;
        self.catalog = catalog;
        Ok(schema_read(&self.catalog, &repaired))
    }

    /// `PRAGMA data_version`: another number after somebody else committed.
    pub fn data_version(&self) -> Result<i64, StoreError> {
        connection::data_version(&self.connection)
    }

    /// The version of the SQLite library inside.
    #[must_use]
    pub fn sqlite_version() -> &'static str {
        rusqlite::version()
    }
}

/// Did a node ever run on the database at `path`? Reads only.
///
/// # Errors
/// When the database cannot be read.
pub fn has_run(path: &Path) -> Result<bool, StoreError> {
    match meta::require_ours(&connection::open_read_only(path)?) {
        Err(error) if error.kind == StoreErrorKind::NeverStarted => Ok(false),
        ours => ours.map(|()| true),
    }
}

/// What would be replicated and what would be refused. Reads only.
pub fn plan(path: &Path) -> Result<SchemaRead, StoreError> {
    let mut connection = connection::open_read_only(path)?;
    let planned = read_plan(&mut connection).and_then(|mut catalog| {
        mirror::follow(&mut connection, &mut catalog, &mirror::Failed::default())?;
        Ok(catalog)
    });
    let catalog = planned.map_err(|error| error.at(path.display()))?;
    Ok(schema_read(&catalog, &Repaired::default()))
}

fn read_plan(connection: &mut Connection) -> Result<Catalog, StoreError> {
    let transaction = connection.transaction()?;
    let survey = Survey::read(&transaction, &ClockSql::default().0)?;
    survey.own.check(&transaction)?;
    Ok(survey.catalog)
}

fn read_as_it_is(connection: &mut Connection) -> Result<(Identity, u16, Catalog), StoreError> {
    let transaction = connection.transaction()?;
    let survey = Survey::read(&transaction, &ClockSql::default().0)?;
    survey.own.check(&transaction)?;
    meta::require_ours(&transaction)?;
    if !survey.is_complete() {
        let message = "the tables and triggers of harmonylite do not fit the schema";
        return Err(StoreError::new(StoreErrorKind::SchemaChanged, message)
            .hint("start the node, which mends them, and try again"));
    }
    check_format(&transaction)?;
    let shards = required(&transaction, key::SHARDS)?;
    let shards = u16::try_from(shards).map_err(|_| damaged("the number of shards is out of range"))?;
    Ok((read_identity(&transaction)?, shards, survey.catalog))
}

fn schema_read(catalog: &Catalog, repaired: &Repaired) -> SchemaRead {
    SchemaRead {
        tables: catalog.reports.clone(),
        repaired: repaired.objects,
        uncaptured: repaired.uncaptured.clone(),
        dropped: repaired.dropped.clone(),
    }
}

/// Who the database belongs to.
struct Identity {
    node_id: NodeId,
    incarnation: Incarnation,
    origin: Origin,
    index: i64,
}

struct Prepared {
    identity: Identity,
    catalog: Catalog,
    repaired: Repaired,
}

/// Tables with more rows are left out of the baseline when it must be taken while writers are shut out (G1).
const BASELINE_LOCKED_ROWS_MAX: u64 = 100_000;

/// First in a transaction that reads before it writes: what is read at the first start (a digest of every row) may take
/// long, and meanwhile the application goes on. When it writes in between, once more in one that shuts it out.
fn prepare(connection: &mut Connection, options: &OpenOptions) -> Result<Prepared, StoreError> {
    let reading = connection.transaction()?;
    match prepare_in(reading, options, u64::MAX) {
        Err(error) if error.is_busy() => {}
        done => return done,
    }
    let writing = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    prepare_in(writing, options, BASELINE_LOCKED_ROWS_MAX)
}

fn prepare_in(
    transaction: Transaction<'_>,
    options: &OpenOptions,
    baseline_rows_max: u64,
) -> Result<Prepared, StoreError> {
    let survey = Survey::read(&transaction, &options.clock.0)?;
    survey.own.check(&transaction)?;
    let first = survey.own.is_empty();
    if !first {
        check_identity(&transaction, options)?;
    }
    // Before the first write, which takes the lock.
    let baseline =
        if first { baseline::read(&transaction, &survey.catalog, baseline_rows_max)? } else { vec![] };
    let mut repaired = Repaired::default();
    if !survey.is_right() {
        repaired = capture::repair(&transaction, &survey)?;
    }
    if first {
        mint(&transaction, options)?;
        baseline::record(&transaction, &baseline)?;
    }
    let prepared = Prepared {
        identity: read_identity(&transaction)?,
        catalog: current(&transaction, survey)?,
        repaired,
    };
    transaction.commit()?;
    Ok(prepared)
}

/// The mirrored triggers go first: those of the old schema would be in the way of statements that fit the new one.
fn mend(connection: &mut Connection, options: &OpenOptions) -> Result<(Catalog, Repaired), StoreError> {
    let reading = connection.transaction()?;
    mirror::clear(&reading)?;
    let survey = Survey::read(&reading, &options.clock.0)?;
    survey.own.check(&reading)?;
    if survey.is_right() {
        reading.commit()?;
        return Ok((survey.catalog, Repaired::default()));
    }
    drop(reading);
    let writing = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    mirror::clear(&writing)?;
    let survey = Survey::read(&writing, &options.clock.0)?;
    survey.own.check(&writing)?;
    let repaired = capture::repair(&writing, &survey)?;
    let catalog = current(&writing, survey)?;
    writing.commit()?;
    Ok((catalog, repaired))
}

/// The catalog of `survey`, at the schema version that our own changes lead to.
fn current(connection: &Connection, survey: Survey) -> Result<Catalog, StoreError> {
    Ok(Catalog { schema_version: crate::introspect::schema_version(connection)?, ..survey.catalog })
}

/// Who we are from now on, and where everything starts.
fn mint(connection: &Connection, options: &OpenOptions) -> Result<(), StoreError> {
    let node_id = options.node_id.get().cast_signed();
    let incarnation = options.fresh_incarnation.get().cast_signed();
    let insert = format!("INSERT INTO main.{}(id, node_id, incarnation) VALUES(1, ?1, ?2)", quote(ORIGIN));
    connection.execute(&insert, [node_id, incarnation])?;
    let values = [
        (key::FORMAT_VERSION, FORMAT_VERSION),
        (key::NODE_ID, node_id),
        (key::INCARNATION, incarnation),
        (key::ORIGIN, 1),
        (key::STAMPED, 0),
        (key::SETTLED, 0),
        (key::SHARDS, i64::from(options.shards)),
    ];
    for (name, value) in values {
        meta::write_integer(connection, name, value)?;
    }
    Ok(())
}

fn check_format(connection: &Connection) -> Result<(), StoreError> {
    let format = required(connection, key::FORMAT_VERSION)?;
    if format > FORMAT_VERSION {
        let message = format!(
            "the database's harmonylite tables have format {format}; this one knows {FORMAT_VERSION}"
        );
        return Err(
            StoreError::new(StoreErrorKind::NewerFormat, message).hint("upgrade harmonylite on this node")
        );
    }
    Ok(())
}

fn check_identity(connection: &Connection, options: &OpenOptions) -> Result<(), StoreError> {
    check_format(connection)?;
    let node_id = required(connection, key::NODE_ID)?;
    if node_id != options.node_id.get().cast_signed() {
        let message = format!("the database belongs to node {node_id}, not to node {}", options.node_id);
        return Err(StoreError::new(StoreErrorKind::WrongNodeId, message).hint(
            "set node_id to that of the database; if it is a copy of another node's database, run \
             `harmonylite cleanup` on the copy first",
        ));
    }
    let shards = required(connection, key::SHARDS)?;
    if shards != i64::from(options.shards) {
        let message = format!("the database was published in {shards} shards, not in {}", options.shards);
        return Err(StoreError::new(StoreErrorKind::OtherShards, message)
            .hint("set replication_log.shards back; it must be the same on all nodes and for ever"));
    }
    Ok(())
}

fn read_identity(connection: &Connection) -> Result<Identity, StoreError> {
    let number = |name| required(connection, name).map(i64::cast_unsigned);
    let (node_id, incarnation) = (number(key::NODE_ID)?, number(key::INCARNATION)?);
    let ids = NodeId::new(node_id).zip(Incarnation::new(incarnation));
    let (node_id, incarnation) = ids.ok_or_else(|| damaged("node id or incarnation is out of range"))?;
    let (origin, index) = (Origin::new(node_id, incarnation), required(connection, key::ORIGIN)?);
    Ok(Identity { node_id, incarnation, origin, index })
}

fn required(connection: &Connection, name: &str) -> Result<i64, StoreError> {
    meta::read_integer(connection, name)?.ok_or_else(|| damaged(&format!("{name} is missing")))
}

fn damaged(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Damaged, format!("{}: {what}", meta::META))
        .hint("run `harmonylite cleanup` to remove our tables, then start again")
}
