//! The thread that owns the database connection, and notices other people's commits.
//!
//! It works off one request at a time, in order. Between requests it looks at `PRAGMA data_version` whenever the file
//! watch says that something was written, with waits from 50 us to 8 ms (most first looks come before the commit is
//! visible: 62 % when measured), and every `poll` in any case, for file systems without events.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use harmonylite_core::effect::{ApplyBatch, Housekeep, PublishedPositions, ReadLog, ReceivedGroup, Scan};
use harmonylite_core::input::{Input, StoreRequest};
use harmonylite_core::model::Incarnation;
use harmonylite_sqlite::{ConflictRetention, LogReadOutcome, Store, StoreError};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use super::clock::wall_ms;
use super::letters::LettersCall;
use super::scheduling::let_others_go_before_this_thread;
use super::wal::{WalReport, WalView};
use super::watchdog::Progress;

/// The first and the last wait between two looks after something was written.
const LOOK_FIRST: Duration = Duration::from_micros(50);
const LOOK_LAST: Duration = Duration::from_millis(8);
/// Requests under way at once, never so many: of the core there are one or two of each kind, and on top come a wake-up, a call
/// for dead letters (the control socket serves one at a time) and a list of members. Whoever waited for room here would not take
/// the answer that the store waits to give.
const REQUESTS_MAX: usize = 16;

/// How much of the conflict log is kept, and the time between two looks that nobody asked for: the newest settings, until the
/// thread takes them. In the channel any number of them could come together.
type NewTuning = Arc<Mutex<Option<(ConflictRetention, Duration)>>>;

/// A request to the store.
#[derive(Debug)]
pub(crate) enum Request {
    /// Something was written to the database's files.
    Wake,
    ReadLog(ReadLog),
    Apply(ApplyBatch),
    InspectOwnFrames(Vec<Arc<ReceivedGroup>>),
    MintIncarnation(Incarnation),
    Housekeep(Housekeep),
    Scan(Scan),
    ReadSchema,
    Letters(LettersCall, PublishedPositions),
    /// The list of members; the answer is whether it was saved.
    SaveMembers(Vec<u8>, oneshot::Sender<bool>),
}

/// Sends requests; the thread ends when the last one is dropped.
#[derive(Clone, Debug)]
pub(crate) struct StoreHandle {
    requests: SyncSender<Request>,
    tuning: NewTuning,
    /// A wake-up is already in the channel.
    woken: Arc<AtomicBool>,
}

impl StoreHandle {
    /// `false` when the thread is gone.
    pub(crate) fn send(&self, request: Request) -> bool {
        self.requests.send(request).is_ok()
    }

    /// From now on so much of the conflict log is kept, and so often is looked.
    pub(crate) fn retune(&self, retention: ConflictRetention, poll: Duration) {
        *self.tuning.lock().unwrap_or_else(PoisonError::into_inner) = Some((retention, poll));
        self.wake();
    }

    /// Looks for commits soon. Never blocks, and costs nothing while a wake-up is waiting: then it gives `false`.
    pub(crate) fn wake(&self) -> bool {
        let waiting = self.woken.swap(true, Ordering::AcqRel);
        if !waiting && self.requests.try_send(Request::Wake).is_err() {
            self.woken.store(false, Ordering::Release);
        }
        !waiting
    }
}

/// Starts the thread. Answers go to `inputs`; `progress` shows from outside whether it comes forward.
pub(crate) fn start(
    mut store: Store,
    inputs: Sender<Input>,
    poll: Duration,
    progress: Progress,
    wal: WalView,
) -> std::io::Result<(StoreHandle, JoinHandle<()>)> {
    let steps = progress.clone();
    store.on_progress(move || steps.step()).map_err(std::io::Error::other)?;
    let (requests, receiver) = sync_channel(REQUESTS_MAX);
    let woken = Arc::new(AtomicBool::new(false));
    let tuning = NewTuning::default();
    let handle = StoreHandle { requests, tuning: tuning.clone(), woken: woken.clone() };
    let wal = WalReport::new(wal);
    let thread = StoreThread {
        store,
        inputs,
        poll,
        tuning,
        progress,
        woken,
        wal,
        data_version: None,
        look: None,
        ends_unknown: false,
        batch: true,
    };
    let join = std::thread::Builder::new().name("store".to_owned()).spawn(move || thread.run(&receiver))?;
    Ok((handle, join))
}

struct StoreThread {
    store: Store,
    inputs: Sender<Input>,
    poll: Duration,
    tuning: NewTuning,
    progress: Progress,
    woken: Arc<AtomicBool>,
    wal: WalReport,
    data_version: Option<i64>,
    /// The wait before the next look, after something was written.
    look: Option<Duration>,
    /// It is said that ends of transactions could not be told.
    ends_unknown: bool,
    /// This thread is batch work, as the one that started it.
    batch: bool,
}

impl StoreThread {
    fn run(mut self, requests: &Receiver<Request>) {
        let mut next_poll = Instant::now();
        loop {
            let wait = self.look.unwrap_or_else(|| next_poll.saturating_duration_since(Instant::now()));
            self.progress.set_busy(false);
            let received = requests.recv_timeout(wait);
            self.progress.set_busy(true);
            self.take_tuning();
            let open = match received {
                Ok(Request::Wake) => {
                    self.woken.store(false, Ordering::Release);
                    self.look = Some(LOOK_FIRST);
                    self.look()
                }
                Ok(request) => self.answer_and_tend(request),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => false,
            };
            // Requests that pour in must not keep us from the poll.
            let polled = open && Instant::now() >= next_poll;
            if polled {
                next_poll = Instant::now() + self.poll;
            }
            if !open || polled && !self.look() {
                return;
            }
            if polled {
                self.tend_wal(true);
            }
        }
    }

    fn take_tuning(&mut self) {
        if let Some((retention, poll)) = self.tuning.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.store.set_conflict_retention(retention);
            self.poll = poll;
        }
    }

    /// Did somebody else commit, to the schema even? `false` when nobody listens any more.
    fn look(&mut self) -> bool {
        self.look = self.look.map(|wait| wait * 2).filter(|wait| *wait <= LOOK_LAST);
        match self.store.data_version() {
            Ok(version) if self.data_version == Some(version) => true,
            Ok(version) => {
                self.data_version = Some(version);
                self.look = None;
                self.note_log_ends();
                // Where that cannot be told now, the next request finds out.
                let differs = self.store.schema_differs().unwrap_or(false);
                let told = !differs || self.inputs.blocking_send(Input::SchemaDiffers).is_ok();
                told && self.inputs.blocking_send(Input::LogChanged).is_ok()
            }
            Err(error) => {
                tracing::warn!(%error, "cannot look at the database");
                self.look = None;
                true
            }
        }
    }

    /// What is committed by now may be change sets of its own, however late it is read.
    fn note_log_ends(&mut self) {
        let Err(error) = self.store.note_log_ends() else { return };
        // Once: it is likely to be the same with every commit.
        if !std::mem::replace(&mut self.ends_unknown, true) {
            tracing::warn!(%error, "cannot look where transactions ended in the change log: change sets are larger");
        }
    }

    /// After the answer, so that a pause for the application is not made longer by it.
    fn answer_and_tend(&mut self, request: Request) -> bool {
        let writes = matches!(request, Request::Apply(_) | Request::Housekeep(_) | Request::Scan(_));
        let open = self.answer(request);
        if writes {
            self.tend_wal(false);
        }
        open
    }

    fn tend_wal(&mut self, again: bool) {
        let look = self.store.tend_wal(again);
        let has_log = matches!(look, Ok(Some(_)));
        if std::mem::replace(&mut self.batch, has_log) != has_log {
            let_others_go_before_this_thread(has_log);
        }
        self.wal.on_look(look);
    }

    fn answer(&mut self, request: Request) -> bool {
        let input = match request {
            Request::Wake => return true,
            Request::Letters(call, published) => {
                return call.perform(&mut self.store, &published, &self.inputs);
            }
            Request::SaveMembers(members, reply) => {
                return save_members(&mut self.store, &members, reply);
            }
            Request::ReadLog(request) => self.read_log(&request),
            Request::Apply(batch) => match self.store.apply(&batch, wall_ms()) {
                Ok(applied) => Input::Applied(applied),
                Err(failure) => Input::ApplyFailed(failure),
            },
            Request::InspectOwnFrames(groups) => match self.store.inspect_own_frames(&groups) {
                Ok(older_copy) => Input::OwnFramesInspected { older_copy },
                Err(error) => failed(StoreRequest::InspectOwnFrames, &error),
            },
            Request::MintIncarnation(incarnation) => match self.store.mint_incarnation(incarnation) {
                Ok(state) => Input::IncarnationMinted(state),
                Err(error) => failed(StoreRequest::MintIncarnation, &error),
            },
            Request::Housekeep(request) => match self.store.housekeep(&request, wall_ms()) {
                Ok(done) => Input::Housekept(done),
                Err(error) => failed(StoreRequest::Housekeep, &error),
            },
            Request::Scan(request) => match self.store.scan(&request) {
                Ok(scanned) => Input::Scanned(scanned),
                Err(error) => failed(StoreRequest::Scan, &error),
            },
            Request::ReadSchema => match self.store.read_schema() {
                Ok(schema) => Input::SchemaRead(schema),
                Err(error) => failed(StoreRequest::ReadSchema, &error),
            },
        };
        self.inputs.blocking_send(input).is_ok()
    }

    fn read_log(&mut self, request: &ReadLog) -> Input {
        self.note_log_ends();
        match self.store.read_log(request) {
            Ok(LogReadOutcome::Read(read)) => Input::LogRead(read),
            Ok(LogReadOutcome::SchemaChanged) => Input::SchemaChanged,
            Err(error) => failed(StoreRequest::ReadLog, &error),
        }
    }
}

/// Whoever asked tries again with its next heartbeat.
fn save_members(store: &mut Store, members: &[u8], reply: oneshot::Sender<bool>) -> bool {
    let saved = store.save_members(members);
    if let Err(error) = &saved {
        tracing::debug!(%error, "the list of members is not saved yet");
    }
    // Who asked may have gone; that is no concern of ours.
    let _gone = reply.send(saved.is_ok());
    true
}

fn failed(request: StoreRequest, error: &StoreError) -> Input {
    Input::StoreFailed { request, busy: error.is_busy(), error: error.to_string() }
}
