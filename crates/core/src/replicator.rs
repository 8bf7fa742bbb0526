//! The node as one machine: routes inputs to publisher and consumer, and is their only composition.

use std::collections::BTreeMap;

use crate::clock_drift::ClockDrift;
use crate::consumer::{Consumer, Kind};
use crate::effect::{Effect, Effects, Housekeep, PublishedPositions, Timer};
use crate::event::Event;
use crate::input::{
    Applied, ApplyFailure, Housekept, Input, LettersTended, SchemaRead, StoreRequest, StoreState,
    TableReport, Timestamp, Tuning,
};
use crate::limits::{EXPIRY_INTERVAL_MS, HOUSEKEEPING_ROWS, RETRY_MAX_MS};
use crate::model::{Checkpoint, SourceId};
use crate::planted::{Bug, is_planted};
use crate::publisher::{Options, Publisher};
use crate::scan::Scanner;
pub use crate::settings::Settings;
use crate::sleep::Sleep;
use crate::status::{Counters, Status};
use crate::trouble::Troubles;

/// A node. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Replicator {
    settings: Settings,
    publisher: Publisher,
    consumer: Consumer,
    drift: ClockDrift,
    housekeeping: Housekeeping,
    scanner: Scanner,
    sleep: Sleep,
    troubles: Troubles,
    tables: Vec<TableReport>,
    state: StoreState,
    life: Life,
    minting: Minting,
    counters: Counters,
    /// In the database now.
    dead_letters: u64,
    /// Of the last input.
    now: Timestamp,
    /// Requests that the store refused and that are due again.
    retry: Vec<StoreRequest>,
    /// The schema is being read, or will be when the store can.
    reading_schema: bool,
}

/// Whether the database turned out to be an older copy of itself (R9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Minting {
    No,
    /// The old life still waits for answers.
    Wanted,
    /// The store was asked.
    Asked,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Running,
    Ending,
    Ended,
}

/// When to commit something of our own (G1: rarely).
#[derive(Debug, Default)]
struct Housekeeping {
    /// What is with the store now.
    in_flight: Option<BTreeMap<SourceId, Checkpoint>>,
    /// The positions that the database has.
    saved: PublishedPositions,
    /// The positions that are with the store now.
    saving: PublishedPositions,
    /// The store has rows left to stamp or trim.
    backlog: bool,
    /// When the store was last asked for more than saving.
    asked: Timestamp,
    /// The save before the end was made.
    last_save: bool,
    /// `published_log_rows` when it ran last.
    rows_then: u64,
    /// The timer fired, or the row limit was reached.
    due: bool,
    /// The last one to have the write lock was an apply.
    is_next: bool,
    /// How many rows the store was asked to stamp and trim.
    rows_asked: u64,
}

impl Replicator {
    /// A node that begins, with what the database remembers and the schema as it was just read.
    #[must_use]
    pub fn new(settings: Settings, state: StoreState, schema: SchemaRead, effects: &mut Effects) -> Self {
        let options = Options {
            cluster: settings.cluster.clone(),
            shards: settings.shards,
            compress: settings.compress,
            message_size_max: settings.message_size_max,
            enabled: settings.publish,
            guarded: !settings.shared,
        };
        let mut replicator = Self {
            publisher: Publisher::new(options, &state),
            consumer: Consumer::new(settings.cluster.clone(), settings.shards, &state),
            drift: ClockDrift::new(settings.clock_drift_max_ms),
            // What an earlier process left to stamp or trim: the store looks, and commits nothing when there is nothing.
            housekeeping: Housekeeping {
                saved: state.published.clone(),
                backlog: true,
                ..Housekeeping::default()
            },
            scanner: Scanner::new(),
            sleep: Sleep::new(settings.sleep_after_ms),
            troubles: Troubles::default(),
            tables: Vec::new(),
            life: Life::Running,
            minting: Minting::No,
            counters: Counters::default(),
            dead_letters: state.dead_letters,
            now: Timestamp::default(),
            retry: Vec::new(),
            reading_schema: false,
            state,
            settings,
        };
        replicator.note_schema(schema, effects);
        for (shard, id) in replicator.settings.own_sources.clone() {
            let kind = if replicator.settings.shared { Kind::Shared } else { Kind::Own };
            replicator.consumer.add(id, shard, kind, effects);
        }
        replicator.set_housekeeping_timer(effects);
        replicator.sleep.wind_up(effects);
        replicator
    }

    /// Something happened at `now`; what is to be done about it is appended to `effects`.
    pub fn handle(&mut self, now: Timestamp, input: Input, effects: &mut Effects) {
        if self.life == Life::Ended {
            return;
        }
        self.now = now;
        self.sleep.on_input(&input, effects);
        self.troubles.on_input(&input, effects);
        self.route(now, input, effects);
        for own in self.consumer.take_checked(effects) {
            self.publisher.on_checked(own.shard, own.through, own.last, effects);
        }
        if self.publisher.is_checked() {
            self.consumer.open_gate(effects);
        }
        for effect in effects.iter() {
            match effect {
                Effect::Publish(publish) => self.consumer.note_sent(publish),
                Effect::ReadSchema => self.reading_schema = true,
                _ => {}
            }
        }
        if !is_planted(Bug::CheckpointWithoutPosition) {
            self.publisher.raise(self.consumer.own_through());
        }
        self.consumer.set_published(self.publisher.positions().clone());
        self.consumer.inspect_own(effects);
        self.mint(effects);
        self.write(effects);
        self.scan(effects);
        self.end_if_done(effects);
    }

    /// What needs the write lock: an apply or housekeeping, one at a time, in turns when both have something to do.
    fn write(&mut self, effects: &mut Effects) {
        if self.housekeeping.is_next {
            self.housekeep(effects);
        }
        if self.housekeeping.in_flight.is_none() {
            self.consumer.pump(effects);
        }
        self.housekeep(effects);
    }

    fn route(&mut self, now: Timestamp, input: Input, effects: &mut Effects) {
        match input {
            Input::LogChanged => {
                self.scanner.on_log_changed();
                self.publisher.on_log_changed(effects);
            }
            Input::LogRead(read) => self.publisher.on_log_read(read, effects),
            Input::SchemaChanged => self.publisher.on_schema_changed(effects),
            // The publisher would notice when it reads next: that may be when a server is back (G1).
            Input::SchemaDiffers => {
                if self.life == Life::Running && !self.reading_schema {
                    effects.push(Effect::ReadSchema);
                }
            }
            Input::SchemaRead(schema) => {
                self.reading_schema = false;
                self.note_schema(schema, effects);
                self.publisher.on_schema_read(effects);
                self.consumer.on_schema(effects);
            }
            Input::Published { shard, last } => {
                if let Some(it) = self.publisher.on_published(shard, last, &mut self.counters, effects) {
                    self.consumer.appended(it.shard, it.through, it.place);
                }
            }
            Input::PublishFailed { shard, error } => {
                self.counters.publishes_uncertain += 1;
                self.troubles.on_publish(shard, &error, effects);
                self.publisher.on_publish_failed(shard, &error, effects);
            }
            Input::SourceAdded { source, shard } if self.settings.replicate => {
                self.consumer.add(source, shard, Kind::Peer, effects);
            }
            Input::SourceAdded { .. } => {}
            Input::SourceRemoved { source } => self.consumer.remove(&source, effects),
            Input::StreamObserved { source, stream } => self.consumer.on_observed(&source, &stream, effects),
            Input::SourceLost { source, epoch, error } => {
                self.consumer.on_lost(&source, epoch, &error, effects)
            }
            Input::Delivered { source, epoch, sequence, bytes } => {
                self.consumer.on_delivered(&source, epoch, sequence, &bytes, effects);
            }
            Input::Applied(applied) => {
                self.dead_letters += applied.dead_letters;
                self.housekeeping.is_next = true;
                self.drift.on_merged(now, &applied.clocks, effects);
                self.housekeeping.saved = self.consumer.on_applied(now, &applied, effects);
                // It trims a part of the log only: the store looks for more, and commits nothing when there is nothing.
                self.housekeeping.backlog = true;
                self.follow_up(&applied, effects);
            }
            Input::LettersTended(LettersTended { applied, gone }) => {
                self.dead_letters = self.dead_letters.saturating_sub(gone);
                self.drift.on_merged(now, &applied.clocks, effects);
                self.consumer.on_retried(&applied, effects);
                self.follow_up(&applied, effects);
            }
            Input::ApplyFailed(failure) => {
                if let ApplyFailure::Store { error } = &failure {
                    self.troubles.on_apply(error, effects);
                }
                self.consumer.on_apply_failed(&failure, effects);
            }
            Input::OwnFramesInspected { older_copy: None } => self.consumer.on_inspected(effects),
            Input::OwnFramesInspected { older_copy: Some(reason) } => {
                effects.push(Effect::Emit(Event::OlderCopyFound { reason }));
                self.publisher.freeze();
                self.minting = Minting::Wanted;
            }
            Input::IncarnationMinted(state) => self.begin_again(state, effects),
            Input::Housekept(done) => self.on_housekept(done, effects),
            Input::Scanned(scanned) => {
                let logged = self.scanner.on_scanned(scanned, effects);
                self.counters.uncaptured_found += logged;
                if logged > 0 {
                    self.publisher.on_log_changed(effects);
                }
            }
            Input::StoreFailed { request, busy, error } => {
                self.on_store_failed(request, busy, &error, effects)
            }
            Input::TimerFired(timer) => self.on_timer(timer, effects),
            Input::Retuned(tuning) => self.on_retuned(tuning, effects),
            Input::ShutdownRequested => self.shut_down(effects),
        }
    }

    fn on_timer(&mut self, timer: Timer, effects: &mut Effects) {
        match timer {
            Timer::Housekeeping => {
                self.housekeeping.due = true;
                self.drift.review(self.now, effects);
                // Conflict log entries grow old although nothing else happens.
                if self.now.0.saturating_sub(self.housekeeping.asked.0) >= EXPIRY_INTERVAL_MS {
                    self.housekeeping.backlog = true;
                }
                self.set_housekeeping_timer(effects);
            }
            Timer::Observe(source) => self.consumer.on_observe_timer(&source, effects),
            Timer::RetryRead => self.publisher.on_retry_read(effects),
            Timer::RetryApply => self.consumer.on_apply_timer(),
            Timer::RetryPublish => {
                for shard in self.publisher.on_retry_publish() {
                    self.consumer.recheck(shard, effects);
                }
            }
            Timer::RetryStore => self.retry_store(effects),
            Timer::Scan => self.scanner.on_timer(effects),
            Timer::Sleep => self.on_sleep_timer(effects),
        }
    }

    fn on_retuned(&mut self, tuning: Tuning, effects: &mut Effects) {
        self.settings.housekeeping_interval_ms = tuning.housekeeping_interval_ms;
        self.set_housekeeping_timer(effects);
        self.drift.set_limit(tuning.clock_drift_max_ms, self.now, effects);
        self.sleep.set(tuning.sleep_after_ms, effects);
    }

    /// What is left to be sent or applied keeps the node awake.
    fn on_sleep_timer(&mut self, effects: &mut Effects) {
        let Some(after_ms) = self.sleep.passed_ms() else { return };
        if self.life != Life::Running || self.publisher.is_pending() || self.consumer.is_behind() {
            self.sleep.wind_up(effects);
            return;
        }
        effects.push(Effect::Emit(Event::FallsAsleep { after_ms }));
        self.shut_down(effects);
    }

    /// What an apply leaves to be done. Displaced rows are logged on the store's own connection: nobody else notices
    /// them.
    fn follow_up(&mut self, applied: &Applied, effects: &mut Effects) {
        if applied.displaced > 0 {
            self.publisher.on_log_changed(effects);
        }
        if applied.reports_changed {
            effects.push(Effect::ReadSchema);
        }
    }

    /// A new life begins when the old one has all its answers (R9).
    fn mint(&mut self, effects: &mut Effects) {
        let answered = !self.publisher.is_busy()
            && !self.consumer.is_applying()
            && self.housekeeping.in_flight.is_none();
        if self.minting == Minting::Wanted && answered {
            self.minting = Minting::Asked;
            effects.push(Effect::MintIncarnation);
        }
    }

    fn begin_again(&mut self, state: StoreState, effects: &mut Effects) {
        effects.push(Effect::Emit(Event::IncarnationMinted { origin: state.origin }));
        self.minting = Minting::No;
        self.publisher.reset(&state);
        self.housekeeping.saved.clone_from(&state.published);
        self.consumer.reset(&state, effects);
        self.state = state;
    }

    fn note_schema(&mut self, schema: SchemaRead, effects: &mut Effects) {
        self.scanner.on_schema(&schema);
        let replicated = schema.tables.iter().filter(|table| table.refused.is_none()).count();
        let refused = |table: &TableReport| table.refused.clone().map(|reason| (table.name.clone(), reason));
        let notes = |table: &TableReport| {
            let name = table.name.clone();
            table.notes.clone().into_iter().map(move |note| (name.clone(), note))
        };
        effects.push(Effect::Emit(Event::SchemaRead {
            replicated,
            notes: schema.tables.iter().flat_map(notes).collect(),
            refused: schema.tables.iter().filter_map(refused).collect(),
            repaired: schema.repaired,
            uncaptured: schema.uncaptured,
            dropped: schema.dropped,
        }));
        self.tables = schema.tables;
    }

    fn on_store_failed(&mut self, request: StoreRequest, busy: bool, error: &str, effects: &mut Effects) {
        if !busy {
            self.troubles.on_store(request, error, effects);
        }
        match request {
            StoreRequest::ReadLog => self.publisher.on_read_failed(effects),
            // The next round of housekeeping tries again; nothing waits for it.
            StoreRequest::Housekeep => self.housekeeping.in_flight = None,
            StoreRequest::Scan => self.scanner.on_failed(busy, effects),
            StoreRequest::InspectOwnFrames | StoreRequest::MintIncarnation | StoreRequest::ReadSchema => {
                self.retry.push(request);
                let after_ms = if busy { RETRY_MAX_MS / 20 } else { RETRY_MAX_MS };
                effects.push(Effect::SetTimer { timer: Timer::RetryStore, after_ms });
            }
        }
    }

    fn retry_store(&mut self, effects: &mut Effects) {
        for request in std::mem::take(&mut self.retry) {
            match request {
                StoreRequest::InspectOwnFrames => self.consumer.retry_inspection(effects),
                StoreRequest::MintIncarnation => effects.push(Effect::MintIncarnation),
                StoreRequest::ReadSchema => effects.push(Effect::ReadSchema),
                StoreRequest::ReadLog | StoreRequest::Housekeep | StoreRequest::Scan => {}
            }
        }
    }

    /// Once per interval or [`HOUSEKEEPING_ROWS`] published rows, in as many commits as the pace makes of it (G1), none
    /// without anything to save; and none before the own streams are checked, since it stamps (R9).
    fn housekeep(&mut self, effects: &mut Effects) {
        let rows = self.counters.published_log_rows - self.housekeeping.rows_then;
        let due = self.housekeeping.due || rows >= HOUSEKEEPING_ROWS as u64;
        let idle = self.housekeeping.in_flight.is_none() && self.life == Life::Running;
        if due && idle && self.consumer.is_lock_free() && self.publisher.is_checked() {
            self.save(effects);
        }
    }

    /// Only what is published is scanned, and not before the own streams are checked, since it stamps (R9).
    fn scan(&mut self, effects: &mut Effects) {
        if self.settings.publish && self.life == Life::Running && self.publisher.is_checked() {
            self.scanner.step(self.publisher.positions(), effects);
        }
    }

    fn save(&mut self, effects: &mut Effects) {
        self.housekeeping.due = false;
        self.housekeeping.rows_then = self.counters.published_log_rows;
        let published = self.publisher.positions().clone();
        let checkpoints = self.consumer.unsaved();
        if published == self.housekeeping.saved && checkpoints.is_empty() && !self.housekeeping.backlog {
            return;
        }
        self.housekeeping.asked = self.now;
        self.housekeeping.saving.clone_from(&published);
        self.housekeeping.in_flight = Some(checkpoints.clone());
        let rows = self.consumer.rows_to_tend();
        self.housekeeping.rows_asked = rows;
        effects.push(Effect::Housekeep(Housekeep { published, checkpoints, rows }));
    }

    fn on_housekept(&mut self, done: Housekept, effects: &mut Effects) {
        self.consumer.on_housekept(done.hold, effects);
        self.housekeeping.is_next = false;
        if let Some(checkpoints) = self.housekeeping.in_flight.take() {
            self.consumer.saved(&checkpoints);
            self.housekeeping.saved = std::mem::take(&mut self.housekeeping.saving);
        }
        self.housekeeping.backlog = done.remaining_rows > 0 || done.conflicts_remain;
        let moves = done.stamped + done.trimmed > 0;
        self.housekeeping.due |= moves && done.remaining_rows >= self.housekeeping.rows_asked;
    }

    fn set_housekeeping_timer(&self, effects: &mut Effects) {
        let after_ms = self.settings.housekeeping_interval_ms;
        effects.push(Effect::SetTimer { timer: Timer::Housekeeping, after_ms });
    }

    fn shut_down(&mut self, effects: &mut Effects) {
        if self.life == Life::Running {
            self.life = Life::Ending;
            self.consumer.stop_all(effects);
            self.publisher.stop();
        }
    }

    /// Ends when nothing is under way: what is acknowledged is saved first, so that the next start repeats nothing.
    fn end_if_done(&mut self, effects: &mut Effects) {
        let busy =
            self.publisher.is_busy() || self.consumer.is_busy() || self.housekeeping.in_flight.is_some();
        if self.life != Life::Ending || busy {
            return;
        }
        if self.publisher.is_checked() && !self.housekeeping.last_save {
            self.housekeeping.last_save = true;
            self.save(effects);
        }
        if self.housekeeping.in_flight.is_none() {
            self.life = Life::Ended;
            effects.push(Effect::Exit);
        }
    }

    /// What is published, for work on the database that somebody asks for beside replication; `None` while the own
    /// streams are not checked: such work stamps (R9).
    #[must_use]
    pub fn published(&self) -> Option<&PublishedPositions> {
        self.publisher.is_checked().then(|| self.publisher.positions())
    }

    /// The node's state as of the last input.
    #[must_use]
    pub fn status(&self) -> Status {
        let consumed = self.consumer.counters;
        Status {
            origin: self.state.origin,
            tables: self.tables.clone(),
            publisher: self.publisher.status(),
            sources: self.consumer.status(),
            positions: self.consumer.positions().clone(),
            dead_letters: self.dead_letters,
            clocks_ahead: self.drift.status(self.now),
            troubles: self.troubles.status(),
            counters: Counters {
                published_log_rows: self.counters.published_log_rows,
                published_groups: self.counters.published_groups,
                publishes_uncertain: self.counters.publishes_uncertain,
                uncaptured_found: self.counters.uncaptured_found,
                ..consumed
            },
        }
    }
}
