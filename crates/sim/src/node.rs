//! One simulated node: the application's database, the real store, the real replicator, and what is under way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use harmonylite_core::effect::{ApplyBatch, Effects, Housekeep, ReadLog, ReceivedGroup, Scan, Timer};
use harmonylite_core::input::{ApplyFailure, Hold, Housekept, Input, StoreRequest};
use harmonylite_core::model::{Incarnation, NodeId, Shard, SourceId};
use harmonylite_core::replicator::{Replicator, Settings};
use harmonylite_sqlite::{ClockSql, Limits, LogReadOutcome, OpenOptions, Store, StoreError};
use rusqlite::Connection;

use crate::Failure;
use crate::application::{CLOCK, Transaction};
use crate::database::{Database, Image};
use crate::plan::{Mode, Profile};
use crate::random::Random;

pub(crate) const CLUSTER: &str = "sim";
/// Images of a database that are kept: the oldest, and the newest few.
const IMAGES_MAX: usize = 4;

/// A request to the store, in the order in which the core made them.
#[derive(Debug)]
pub(crate) enum Request {
    ReadLog(ReadLog),
    Apply(ApplyBatch),
    Inspect(Vec<Arc<ReceivedGroup>>),
    Mint,
    Housekeep(Housekeep),
    Scan(Scan),
    ReadSchema,
}

/// A source that is followed.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    pub(crate) epoch: u64,
    /// The sequence from which the next message is taken.
    pub(crate) next: u64,
    pub(crate) credit: u32,
    /// A delivery is scheduled.
    pub(crate) pumping: bool,
}

/// What lives only as long as the process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) store: Store,
    pub(crate) replicator: Replicator,
    pub(crate) requests: VecDeque<Request>,
    pub(crate) following: BTreeMap<SourceId, Following>,
    pub(crate) timers: BTreeMap<Timer, u64>,
}

/// A committed state of the node, to be put back.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) image: Image,
    /// How many writes of the node were committed then.
    pub(crate) writes: usize,
    /// Rows that applies of each source had changed then.
    pub(crate) rows_applied: BTreeMap<SourceId, u64>,
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) database: Database,
    pub(crate) process: Option<Process>,
    /// Counts the processes: what an earlier one asked for is answered to nobody.
    pub(crate) life: u64,
    /// The node's wall clock minus the true one, in milliseconds.
    pub(crate) clock_off_ms: i64,
    pub(crate) kept: Vec<Kept>,
    /// The transaction that the application has open.
    pub(crate) open: Option<Transaction>,
    /// What the store's answers say of each source: the checkpoints must say the same (G5).
    pub(crate) rows_applied: BTreeMap<SourceId, u64>,
    /// An older state was put back at least once.
    pub(crate) went_back: bool,
}

pub(crate) fn options(id: NodeId, incarnation: Incarnation, shards: u16) -> OpenOptions {
    OpenOptions {
        node_id: id,
        fresh_incarnation: incarnation,
        shards,
        publish: true,
        clock: ClockSql::new(CLOCK),
    }
}

impl Node {
    pub(crate) fn new(id: NodeId, database: Database) -> Self {
        Self {
            id,
            database,
            process: None,
            life: 0,
            clock_off_ms: 0,
            kept: Vec::new(),
            open: None,
            rows_applied: BTreeMap::new(),
            went_back: false,
        }
    }

    pub(crate) fn app(&self) -> &Connection {
        self.database.app()
    }

    /// The node's number, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.id.get()
    }

    /// Starts the process: opens the store and makes the replicator, as the runtime does.
    pub(crate) fn start(
        &mut self,
        profile: &Profile,
        own_sources: BTreeMap<Shard, SourceId>,
        random: &mut Random,
    ) -> Result<Effects, Failure> {
        let options = options(self.id, Incarnation::from_random(random.next()), profile.shards);
        let mut store = self.database.open_store(&options)?;
        store.set_limits(Limits {
            group_rows: profile.group_rows,
            set_rows: profile.set_rows.unwrap_or(usize::MAX),
            body_size: profile.body_size,
            housekeeping_rows: profile.housekeeping_rows,
            lock_patience: false,
            ..Limits::default()
        })?;
        let settings = Settings {
            cluster: CLUSTER.to_owned(),
            shards: profile.shards,
            publish: true,
            replicate: true,
            compress: false,
            message_size_max: 4096,
            housekeeping_interval_ms: profile.housekeeping_ms,
            clock_drift_max_ms: None,
            sleep_after_ms: None,
            own_sources,
            shared: profile.mode == Mode::Shared,
        };
        let mut effects = Effects::new();
        let (state, schema) = (store.state()?, store.opened_schema());
        let replicator = Replicator::new(settings, state, schema, &mut effects);
        self.life += 1;
        self.process = Some(Process {
            store,
            replicator,
            requests: VecDeque::new(),
            following: BTreeMap::new(),
            timers: BTreeMap::new(),
        });
        Ok(effects)
    }

    /// The process is gone, and all it remembered; the database stays.
    pub(crate) fn end(&mut self) {
        self.process = None;
        self.life += 1;
    }

    /// Keeps the database as it is now, to be put back later.
    pub(crate) fn keep(&mut self, writes: usize) -> Result<(), Failure> {
        let kept = Kept { image: self.database.image()?, writes, rows_applied: self.rows_applied.clone() };
        if self.kept.len() == IMAGES_MAX {
            self.kept.remove(1);
        }
        self.kept.push(kept);
        Ok(())
    }

    /// Everything after the kept state `index` is gone, and so are the states after it. Gives how many writes are left.
    pub(crate) fn put_back(&mut self, index: usize) -> Result<usize, Failure> {
        self.end();
        self.open = None;
        self.went_back = true;
        self.kept.truncate(index + 1);
        let kept = self.kept.get(index).ok_or_else(|| Failure::new("simulator: no such image"))?;
        self.database.put_back(&kept.image)?;
        self.rows_applied.clone_from(&kept.rows_applied);
        Ok(kept.writes)
    }

    /// Carries out one request, as the store thread does. Durations are made up: real ones would not repeat.
    pub(crate) fn carry_out(&mut self, request: Request, now_ms: u64, random: &mut Random) -> Option<Input> {
        let store = &mut self.process.as_mut()?.store;
        Some(match request {
            Request::ReadLog(request) => match store.read_log(&request) {
                Ok(LogReadOutcome::Read(read)) => Input::LogRead(read),
                Ok(LogReadOutcome::SchemaChanged) => Input::SchemaChanged,
                Err(error) => failed(StoreRequest::ReadLog, &error),
            },
            Request::Apply(batch) => match store.apply(&batch, now_ms) {
                Ok(mut applied) => {
                    applied.hold = made_up(applied.hold, random);
                    for (source, rows) in &applied.rows_applied {
                        *self.rows_applied.entry(source.clone()).or_default() += rows;
                    }
                    Input::Applied(applied)
                }
                Err(ApplyFailure::LogFirst { hold, unstamped_rows }) => {
                    let hold = made_up(hold, random);
                    Input::ApplyFailed(ApplyFailure::LogFirst { hold, unstamped_rows })
                }
                Err(failure) => Input::ApplyFailed(failure),
            },
            Request::Inspect(groups) => match store.inspect_own_frames(&groups) {
                Ok(older_copy) => Input::OwnFramesInspected { older_copy },
                Err(error) => failed(StoreRequest::InspectOwnFrames, &error),
            },
            Request::Mint => match store.mint_incarnation(Incarnation::from_random(random.next())) {
                Ok(state) => Input::IncarnationMinted(state),
                Err(error) => failed(StoreRequest::MintIncarnation, &error),
            },
            Request::Housekeep(request) => match store.housekeep(&request, now_ms) {
                Ok(done) => Input::Housekept(Housekept { hold: made_up(done.hold, random), ..done }),
                Err(error) => failed(StoreRequest::Housekeep, &error),
            },
            Request::Scan(request) => match store.scan(&request) {
                Ok(scanned) => Input::Scanned(scanned),
                Err(error) => failed(StoreRequest::Scan, &error),
            },
            Request::ReadSchema => match store.read_schema() {
                Ok(schema) => Input::SchemaRead(schema),
                Err(error) => failed(StoreRequest::ReadSchema, &error),
            },
        })
    }
}

fn made_up(hold: Hold, random: &mut Random) -> Hold {
    let worked_us = 1 + random.below(5000);
    let late = random.chance(50);
    let held_us = if late { worked_us / 20 } else { worked_us };
    let application_writes = random.below(3);
    Hold { worked_us, held_us, late, application_writes, apart_us: random.below(5000), ..hold }
}

fn failed(request: StoreRequest, error: &StoreError) -> Input {
    Input::StoreFailed { request, busy: error.is_busy(), error: error.to_string() }
}
