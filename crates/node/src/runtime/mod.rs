//! One running node: puts the parts together, and takes them apart in order.
//!
//! Everything runs on one thread but the database: NATS, timers and the core share a current-thread runtime on the
//! main thread (which must live as long as the process, see [`Server::start`](crate::nats::Server::start)), SQLite has
//! a thread of its own.

mod access;
pub mod allocator;
mod certificate;
mod clock;
mod control;
mod driver;
mod home;
mod letters;
mod members;
mod own_streams;
mod peers;
mod reload;
mod replaced;
pub mod scheduling;
mod seq_map;
mod service_manager;
pub mod signals;
mod store_thread;
mod summary;
mod timers;
mod wal;
mod watch;
mod watchdog;

use std::thread::JoinHandle;
use std::time::Duration;

use harmonylite_core::input::Input;
use harmonylite_core::members::Identity;
use harmonylite_core::replicator::{Replicator, Settings as CoreSettings};
use harmonylite_core::status::Status;
use harmonylite_sqlite::{ClockSql, LockFile, OpenOptions, Store, StoreErrorKind};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::clock::wall_ms;
pub use self::reload::Reload;
pub use self::service_manager::ServiceManager;
pub use self::summary::Summary;

use self::control::{ControlSocket, Receivers};
use self::driver::{Call, Driver, DriverError, INPUTS_MAX, World};
use self::home::Home;
use self::members::Members;
use self::own_streams::OwnStreams;
use self::reload::{ReloadCall, Reloader, Retuning};
use self::store_thread::StoreHandle;
use self::wal::WalView;
use self::watchdog::{Progress, Watchdog};
use crate::config::{Mode, Settings};
use crate::exit::{ExitCode, ExitError};
use crate::nats::{Connection, ServerPid};
use crate::telemetry::LogLevels;

/// Requests to one source that may wait: the core sends a handful, and credit in lumps.
const SOURCE_REQUESTS_MAX: usize = 64;
/// Calls to the driver that may wait.
const CALLS_MAX: usize = 16;
/// How long a lock of another process may outlive it, and how often we look.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(50);
/// How long the server may take to save its streams.
const SERVER_STOP_MAX: Duration = Duration::from_secs(10);

/// What a node has from the process around it, beside its settings.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// Ends the node in order.
    pub stop: CancellationToken,
    /// Is told how the node is.
    pub manager: ServiceManager,
    /// How the configuration is read again; `None`: it is not.
    pub reload: Option<Reload>,
}

/// Runs a node until it is asked to end. `started` is told once what runs where, as soon as it runs.
///
/// # Errors
/// When the node cannot start, or cannot go on; the message says what to do.
pub async fn run(
    settings: Settings,
    surroundings: Surroundings,
    started: impl FnOnce(&Summary),
) -> Result<(), ExitError> {
    surroundings.manager.status("opening the database");
    let _lock = lock(&settings).await?;
    // Before the database gets triggers that nobody would read.
    home::check(&settings)?;
    let me = members::identity(&settings);
    // A database that cannot be read is reported when it is opened.
    let saved = harmonylite_sqlite::saved_members(&settings.db_path).unwrap_or_default();
    members::check_start(&settings, &me, saved.as_deref(), &surroundings.stop).await?;
    // Servers of others may refuse us for good: that is found out before a database gets its first triggers, which nobody would
    // read. Later ones are mended at once, whoever is reached (G1).
    let asks_first = !settings.nats.urls.is_empty() && !harmonylite_sqlite::has_run(&settings.db_path)?;
    let opened = if asks_first { None } else { Some(open_store(&settings)?) };
    // A server of ours ends after us, not with `stop`: what is under way is still to be acknowledged.
    let home = tokio::select! {
        home = Home::find(&settings) => home?,
        () = surroundings.stop.cancelled() => return Ok(()),
    };
    let store = opened.map_or_else(|| open_store(&settings), Ok)?;
    let summary = Summary::new(&settings, &home, &store.opened_schema());
    started(&summary);
    let outcome = operate(&settings, me, store, &home, summary, surroundings).await;
    if tokio::time::timeout(SERVER_STOP_MAX, home.leave()).await.is_err() {
        tracing::warn!("nats-server did not stop in time");
    }
    outcome
}

/// A process that was killed, or is just ending, holds its lock for a moment more: a restart must not fail on that.
async fn lock(settings: &Settings) -> Result<LockFile, ExitError> {
    let deadline = Instant::now() + LOCK_WITHIN;
    loop {
        match LockFile::acquire(&settings.db_path) {
            Err(error) if error.kind == StoreErrorKind::Locked && Instant::now() < deadline => {
                tokio::time::sleep(LOCK_RETRY).await;
            }
            locked => return Ok(locked?),
        }
    }
}

fn open_store(settings: &Settings) -> Result<Store, ExitError> {
    let options = OpenOptions {
        node_id: settings.node_id,
        fresh_incarnation: driver::random_incarnation(),
        shards: settings.replication_log.shards,
        publish: settings.publish,
        clock: ClockSql::default(),
    };
    let mut store = Store::open(&settings.db_path, &options)?;
    store.set_conflict_retention(Retuning::of(settings).retention);
    if let Err(error) = store.open_log_ends_watch() {
        tracing::warn!(%error, "some change sets will be larger than they could be");
    }
    Ok(store)
}

/// The running node: from the first effect to the last.
async fn operate(
    settings: &Settings,
    me: Identity,
    store: Store,
    home: &Home,
    summary: Summary,
    Surroundings { stop, manager, reload }: Surroundings,
) -> Result<(), ExitError> {
    let tasks = CancellationToken::new();
    let _end_tasks = tasks.clone().drop_guard();
    let (inputs, received) = mpsc::channel(INPUTS_MAX);
    let (calls, called) = mpsc::channel(CALLS_MAX);
    let (mut state, schema, saved) = (store.state()?, store.opened_schema(), store.saved_members()?);
    let streams = OwnStreams::of(settings, &state, home.connection());
    let progress = Progress::default();
    let wal = WalView::default();
    let ends = store.log_ends_watch();
    let (store, thread) = start_store(settings, store, &inputs, &progress, &wal)?;
    let watcher = watch::start(&settings.db_path, store.clone(), ends);
    let world = World {
        store,
        publishers: streams.start_publishers(&inputs, &tasks),
        sources: streams.start_sources(&inputs, &tasks),
    };
    let connection = home.connection();
    let members = Members::start(settings, me, saved.as_deref(), connection, (&inputs, &calls, &tasks));
    let seq_map_calls = calls.clone();
    let own = reload.map(|reload| serve_reloads(reload, &manager, &calls, home.pid(), &tasks));
    let receivers = Receivers { calls, own, members: members.clone() };
    serve_calls(settings, summary.watching(wal), connection, receivers, &tasks);
    watch_certificate(settings, &tasks);
    let mut effects = Vec::new();
    let settings_of_core = core_settings(settings, home, &streams);
    if let Some(path) = &settings.seq_map_path {
        let known = seq_map::take_back(&mut state, path, settings.node_id);
        let keep = seq_map::keep(path.clone(), settings.node_id, known, seq_map_calls);
        spawn_until(&tasks, keep);
    }
    let replicator = Replicator::new(settings_of_core, state, schema, &mut effects);
    let driver = Driver::start(replicator, world, effects)?;
    manager.ready();
    let watchdog = Watchdog::new(manager, progress);
    tokio::select! {
        ended = driver.run(received, called, watchdog, stop) => members.leave(&ended?).await,
        error = members.displaced() => return Err(error),
        () = replaced::notice(&settings.db_path) => return Err(replaced::error(&settings.db_path)),
    }
    drop(watcher);
    join_store(thread).await
}

/// Certificates end: somebody has to be told in time.
fn watch_certificate(settings: &Settings, tasks: &CancellationToken) {
    let Some(file) = summary::cert_file(settings) else { return };
    spawn_until(tasks, certificate::watch(file));
}

/// The driver and the watcher are gone, and with them the last who could ask: the thread ends by itself.
async fn join_store(thread: JoinHandle<()>) -> Result<(), ExitError> {
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    match joined {
        Ok(Ok(())) => Ok(()),
        _ => Err(ExitError::new(ExitCode::Unexpected, "the store thread panicked")),
    }
}

fn start_store(
    settings: &Settings,
    store: Store,
    inputs: &mpsc::Sender<Input>,
    progress: &Progress,
    wal: &WalView,
) -> Result<(StoreHandle, JoinHandle<()>), ExitError> {
    store_thread::start(store, inputs.clone(), settings.polling_interval, progress.clone(), wal.clone())
        .map_err(|error| ExitError::new(ExitCode::Unexpected, format!("cannot start a thread: {error}")))
}

/// Reads the configuration again when somebody asks for it.
fn serve_reloads(
    reload: Reload,
    manager: &ServiceManager,
    calls: &mpsc::Sender<Call>,
    server: ServerPid,
    tasks: &CancellationToken,
) -> (LogLevels, mpsc::Sender<ReloadCall>) {
    let levels = reload.levels.clone();
    let (requests, received) = mpsc::channel(CALLS_MAX);
    let reloader = Reloader::new(reload, manager.clone(), calls.clone(), server);
    spawn_until(tasks, reloader.serve(received));
    (levels, requests)
}

/// Runs `work` until it is over or the tasks end.
fn spawn_until(tasks: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    let tasks = tasks.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = tasks.cancelled() => {}
            () = work => {}
        }
    });
}

/// Answers on the control socket. Without it only `harmonylite status` and other commands are missing: no reason not to
/// replicate.
fn serve_calls(
    settings: &Settings,
    summary: Summary,
    connection: &Connection,
    receivers: Receivers,
    tasks: &CancellationToken,
) {
    let socket = match ControlSocket::bind(&settings.db_path) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%error, "no control socket, `harmonylite status` and other commands will not reach this process");
            return;
        }
    };
    let (connection, members, tasks) = (connection.clone(), receivers.members.clone(), tasks.clone());
    tokio::spawn(async move {
        let render = |core: &Status| {
            let status = summary.status(core, &members, connection.is_connected());
            serde_json::to_string(&status).unwrap_or_default()
        };
        tokio::select! {
            () = tasks.cancelled() => {}
            () = socket.serve(receivers, render) => {}
        }
    });
}

fn core_settings(settings: &Settings, home: &Home, own: &OwnStreams) -> CoreSettings {
    let tuning = Retuning::of(settings).core;
    CoreSettings {
        cluster: settings.cluster.name.clone(),
        shards: settings.replication_log.shards,
        publish: settings.publish,
        replicate: settings.replicate,
        compress: settings.replication_log.compress,
        message_size_max: home.message_size_max(),
        housekeeping_interval_ms: tuning.housekeeping_interval_ms,
        clock_drift_max_ms: tuning.clock_drift_max_ms,
        sleep_after_ms: tuning.sleep_after_ms,
        own_sources: own.sources(),
        shared: settings.nats.mode == Mode::Shared,
    }
}

fn in_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<DriverError> for ExitError {
    fn from(error: DriverError) -> Self {
        Self::new(ExitCode::Unexpected, error.to_string())
    }
}
