//! Nodes without a network: each has an application, a store, and the chain of groups that it published.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use harmonylite_core::effect::{Housekeep, PublishedPositions, ReceivedGroup};
use harmonylite_core::input::{Applied, ApplyFailure, LogRead};
use harmonylite_core::model::{Incarnation, NodeId};
use harmonylite_sqlite::{ClockSql, Limits, OpenOptions, Store};
use harmonylite_testkit::exchange;
use rusqlite::Connection;
use tempfile::TempDir;

/// The name of a node's database in its folder.
pub(crate) const DATABASE: &str = "app.db";
/// What the wall clocks show, in milliseconds: a node's own differs by its `ahead_ms`.
const NOW_MS: u64 = 1_000;

/// What a node is started with.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Setup {
    pub(crate) id: u64,
    pub(crate) shards: u16,
    /// How far its clock is ahead of the others'.
    pub(crate) ahead_ms: u16,
    /// Log rows above which a change set is cut.
    pub(crate) group_rows: usize,
}

pub(crate) struct Node {
    folder: TempDir,
    setup: Setup,
    pub(crate) application: Connection,
    /// `None` only while it is opened again.
    store: Option<Store>,
    published: PublishedPositions,
    /// What it published, in order.
    pub(crate) chain: Vec<ReceivedGroup>,
}

impl Node {
    /// A node over an empty database with `schema`.
    pub(crate) fn new(setup: Setup, schema: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(DATABASE);
        std::fs::write(&file, image(&setup, schema)).unwrap();
        Self::over(setup, folder)
    }

    /// A node over the database in `folder`.
    pub(crate) fn over(setup: Setup, folder: TempDir) -> Self {
        let application = Connection::open(folder.path().join(DATABASE)).unwrap();
        application.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF").unwrap();
        let mut node = Self {
            folder,
            setup,
            application,
            store: None,
            published: PublishedPositions::default(),
            chain: Vec::new(),
        };
        node.reopen();
        node
    }

    /// The sidecar ends and starts again.
    pub(crate) fn reopen(&mut self) {
        self.store = None;
        let mut store = Store::open(&self.file(), &options(&self.setup)).unwrap();
        store.set_limits(Limits { group_rows: self.setup.group_rows, ..Limits::default() }).unwrap();
        self.store = Some(store);
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(DATABASE)
    }

    pub(crate) fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    /// What would be published next.
    pub(crate) fn read_log(&mut self) -> LogRead {
        let published = self.published.clone();
        exchange::read_log(self.store(), &published, false).unwrap()
    }

    /// Publishes what was read; gives the new groups.
    pub(crate) fn acknowledge(&mut self, read: &LogRead) -> Vec<ReceivedGroup> {
        let store = self.store.as_ref().unwrap();
        let groups = exchange::acknowledge(self.setup.id, store, &mut self.published, read).unwrap();
        self.chain.extend(groups.iter().cloned());
        groups
    }

    /// Applies one group, whether its turn has come or not.
    pub(crate) fn apply(&mut self, group: &ReceivedGroup) -> Result<Applied, ApplyFailure> {
        let batch = exchange::apply_batch(std::slice::from_ref(group), &self.published);
        self.store().apply(&batch, NOW_MS)
    }

    /// Stamps, saves, trims.
    pub(crate) fn housekeep(&mut self) {
        let published = self.published.clone();
        let request = Housekeep { published, checkpoints: BTreeMap::new(), rows: u64::MAX };
        self.store().housekeep(&request, NOW_MS).unwrap();
    }

    /// One integer.
    pub(crate) fn count(&self, sql: &str) -> i64 {
        self.application.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

fn options(setup: &Setup) -> OpenOptions {
    OpenOptions {
        node_id: NodeId::new(setup.id).unwrap(),
        fresh_incarnation: Incarnation::new(100 + setup.id).unwrap(),
        shards: setup.shards,
        publish: true,
        clock: ClockSql::new((NOW_MS + u64::from(setup.ahead_ms)).to_string()),
    }
}

/// A database file with `schema` and our tables: making them takes longer than most of what is tried with them.
fn image(setup: &Setup, schema: &'static str) -> Vec<u8> {
    type Images = Mutex<BTreeMap<(Setup, &'static str), Vec<u8>>>;
    static IMAGES: OnceLock<Images> = OnceLock::new();
    let mut images = IMAGES.get_or_init(Images::default).lock().unwrap();
    images.entry((setup.clone(), schema)).or_insert_with(|| made(setup, schema)).clone()
}

fn made(setup: &Setup, schema: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(DATABASE);
    Connection::open(&file).unwrap().execute_batch(schema).unwrap();
    drop(Store::open(&file, &options(setup)).unwrap());
    std::fs::read(&file).unwrap()
}
