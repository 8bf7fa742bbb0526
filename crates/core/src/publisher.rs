//! The publisher: from the change log to the own streams (R3, R6).
//!
//! What was read at once is sent at once, and nothing is read before it is acknowledged: what gathers in the log meanwhile
//! comes next. It never writes to the database; what is acknowledged is kept here and saved with the next apply or
//! housekeeping.

use std::collections::BTreeMap;

use crate::backoff::Backoff;
use crate::codec::{GroupPlace, Message, encode_group};
use crate::effect::{Effect, Effects, Publish, PublishedPositions, ReadLog, Timer};
use crate::event::Event;
use crate::input::{LogRead, StoreState};
use crate::model::{FrameMark, LogPosition, Origin, Shard, StreamSequence};
use crate::status::{Counters, PublisherStatus};

/// What the publisher needs to know once.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) cluster: String,
    pub(crate) shards: u16,
    pub(crate) compress: bool,
    pub(crate) message_size_max: usize,
    /// Nobody else writes to our streams (mesh mode): a publish names the last sequence that it expects.
    pub(crate) guarded: bool,
    /// `publish = false`: own streams are still checked, nothing is read or sent.
    pub(crate) enabled: bool,
}

#[derive(Debug)]
enum State {
    /// The own streams of these shards have to be read to their end first.
    Checking(Vec<Shard>),
    Idle,
    /// From these positions on.
    Reading(BTreeMap<Shard, LogPosition>),
    /// The store refused to read; the timer is set.
    ReadRefused,
    /// The schema is being read; then the log again.
    Schema,
    Publishing(UnderWay),
    /// A publish failed; the timer is set.
    Waiting(Vec<Shard>, String),
    Stopped,
}

/// The change sets under way.
#[derive(Debug, Default)]
struct UnderWay {
    /// The end of the last one.
    through: LogPosition,
    remaining_rows: u64,
    log_rows: u64,
    /// Shards without an answer yet.
    waiting: BTreeMap<Shard, Sent>,
    failed: Vec<Shard>,
    error: String,
}

/// What was sent to a shard's stream.
#[derive(Debug)]
struct Sent {
    /// The end of the last group.
    through: LogPosition,
    /// The mark of the last message.
    mark: FrameMark,
    groups: u64,
}

/// The publisher's part of a node.
#[derive(Debug)]
pub(crate) struct Publisher {
    options: Options,
    origin: Origin,
    state: State,
    /// Somebody wrote since the last read began.
    dirty: bool,
    /// All own streams were read to their end at least once since we have this origin.
    checked: bool,
    /// The database turned out to be an older copy of itself: nothing more is begun under this origin (R9).
    frozen: bool,
    positions: PublishedPositions,
    /// The last sequence of each own stream, where nobody else writes.
    last: BTreeMap<Shard, StreamSequence>,
    pending_rows: u64,
    backoff: Backoff,
}

/// What became of an acknowledgement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) shard: Shard,
    pub(crate) through: LogPosition,
    pub(crate) place: (StreamSequence, FrameMark),
}

impl Publisher {
    pub(crate) fn new(options: Options, state: &StoreState) -> Self {
        let shards = (1..=options.shards).filter_map(Shard::new).collect();
        Self {
            options,
            origin: state.origin,
            state: State::Checking(shards),
            dirty: true,
            checked: false,
            frozen: false,
            positions: state.published.clone(),
            last: BTreeMap::new(),
            pending_rows: state.pending_rows,
            backoff: Backoff::default(),
        }
    }

    /// Another origin (R9): its chain starts at 0, the own streams have to be read again.
    pub(crate) fn reset(&mut self, state: &StoreState) {
        *self = Self::new(self.options.clone(), state);
    }

    pub(crate) fn positions(&self) -> &PublishedPositions {
        &self.positions
    }

    /// So far our own chain was found in our streams: it is published, whoever did not hear the acknowledgement.
    pub(crate) fn raise(&mut self, found: &BTreeMap<Shard, LogPosition>) {
        for (shard, through) in found {
            let position = self.positions.by_shard.entry(*shard).or_default();
            *position = (*position).max(*through);
        }
    }

    /// The own streams were read to their end: the database is no older copy of itself (R9), it may be written.
    pub(crate) fn is_checked(&self) -> bool {
        self.checked
    }

    /// The database is an older copy of itself: until [`reset`](Self::reset) nothing more is begun, and what the store still
    /// answers is not sent. The new life must wait until this one is not busy: an answer that came after the reset would
    /// pass for one of the new life.
    pub(crate) fn freeze(&mut self) {
        (self.frozen, self.checked) = (true, false);
        if !self.is_busy() {
            self.state = State::Stopped;
        }
    }

    /// Something of ours is with the store or the server.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.state, State::Reading(_) | State::Publishing(_))
    }

    /// Something is still to be sent, or to be found out before it can be. What is never sent (`publish = false`) is not.
    pub(crate) fn is_pending(&self) -> bool {
        !matches!(self.state, State::Idle | State::Stopped) || self.options.enabled && self.pending_rows > 0
    }

    /// Nothing more is begun.
    pub(crate) fn stop(&mut self) {
        if !self.is_busy() {
            self.state = State::Stopped;
        }
        self.options.enabled = false;
    }

    /// An own stream was read to its end: what it holds of our chain is published.
    pub(crate) fn on_checked(
        &mut self,
        shard: Shard,
        through: Option<LogPosition>,
        last: StreamSequence,
        effects: &mut Effects,
    ) {
        self.last.insert(shard, last);
        if let Some(through) = through {
            let saved = self.positions.by_shard.entry(shard).or_default();
            *saved = through.max(*saved);
        }
        if let State::Checking(shards) = &mut self.state {
            shards.retain(|waiting| *waiting != shard);
            if shards.is_empty() {
                self.checked = true;
                self.next(true, effects);
            }
        }
    }

    /// Somebody committed.
    pub(crate) fn on_log_changed(&mut self, effects: &mut Effects) {
        self.dirty = true;
        if matches!(self.state, State::Idle) {
            self.next(false, effects);
        }
    }

    /// The log was read.
    pub(crate) fn on_log_read(&mut self, read: LogRead, effects: &mut Effects) {
        let State::Reading(from) = &mut self.state else { return };
        let from = std::mem::take(from);
        if self.frozen {
            self.state = State::Stopped;
            return;
        }
        let log_rows = read.log_rows();
        self.pending_rows = log_rows + read.remaining_rows;
        for (table, size) in read.too_large {
            effects.push(Effect::Emit(Event::RowTooLarge { table, size }));
        }
        let through = read.sets.last().map_or(self.positions.settled, |set| set.through);
        let remaining_rows = read.remaining_rows;
        if read.closed_early {
            effects.push(Effect::Emit(Event::GroupClosedEarly { through, remaining_rows }));
        }
        let mut under_way = UnderWay { through, remaining_rows, log_rows, ..UnderWay::default() };
        let mut messages: BTreeMap<Shard, Vec<Message>> = BTreeMap::new();
        for set in read.sets {
            for (shard, bodies) in set.groups {
                let before = under_way.waiting.get(&shard);
                // Where it was read from: a frame of ours that came back meanwhile may have moved the position beyond the
                // end of a set.
                let begin = before.map(|sent| sent.through).or_else(|| from.get(&shard).copied());
                let place = self.place(shard, begin.unwrap_or_default(), set.through);
                let groups = 1 + before.map_or(0, |sent| sent.groups);
                let group = encode_group(&place, bodies, self.options.message_size_max);
                let mark = group.last().map_or_else(FrameMark::default, |message| message.mark);
                under_way.waiting.insert(shard, Sent { through: set.through, mark, groups });
                messages.entry(shard).or_default().extend(group);
            }
        }
        for (shard, messages) in messages {
            let expected_last = self.last.get(&shard).copied().filter(|_| self.options.guarded);
            effects.push(Effect::Publish(Publish { shard, expected_last, messages }));
        }
        self.state = State::Publishing(under_way);
        self.finish_if_answered(effects);
    }

    fn place(&self, shard: Shard, prev: LogPosition, through: LogPosition) -> GroupPlace {
        GroupPlace { cluster: self.options.cluster.clone(), origin: self.origin, shard, prev, through }
    }

    /// All that was sent to a shard's stream is stored.
    pub(crate) fn on_published(
        &mut self,
        shard: Shard,
        last: StreamSequence,
        counters: &mut Counters,
        effects: &mut Effects,
    ) -> Option<Appended> {
        let State::Publishing(under_way) = &mut self.state else { return None };
        let Sent { through, mark, groups } = under_way.waiting.remove(&shard)?;
        let position = self.positions.by_shard.entry(shard).or_default();
        *position = through.max(*position);
        self.last.insert(shard, last);
        counters.published_groups += groups;
        if under_way.waiting.is_empty() && under_way.failed.is_empty() {
            counters.published_log_rows += under_way.log_rows;
        }
        self.finish_if_answered(effects);
        Some(Appended { shard, through, place: (last, mark) })
    }

    /// What was sent may or may not be stored, or the first groups of it.
    pub(crate) fn on_publish_failed(&mut self, shard: Shard, error: &str, effects: &mut Effects) {
        let State::Publishing(under_way) = &mut self.state else { return };
        if under_way.waiting.remove(&shard).is_some() {
            under_way.failed.push(shard);
            error.clone_into(&mut under_way.error);
        }
        self.finish_if_answered(effects);
    }

    fn finish_if_answered(&mut self, effects: &mut Effects) {
        let State::Publishing(under_way) = &mut self.state else { return };
        if !under_way.waiting.is_empty() {
            return;
        }
        if self.frozen {
            self.state = State::Stopped;
            return;
        }
        if under_way.failed.is_empty() {
            self.positions.settled = under_way.through.max(self.positions.settled);
            self.pending_rows = under_way.remaining_rows;
            let more = under_way.remaining_rows > 0;
            self.backoff.reset();
            self.next(more, effects);
        } else {
            let (failed, error) =
                (std::mem::take(&mut under_way.failed), std::mem::take(&mut under_way.error));
            self.state = State::Waiting(failed, error);
            let after_ms = self.backoff.next_ms();
            effects.push(Effect::SetTimer { timer: Timer::RetryPublish, after_ms });
        }
    }

    /// The wait after a failed publish is over; gives the shards whose streams are to be read to their end (R6).
    pub(crate) fn on_retry_publish(&mut self) -> Vec<Shard> {
        let State::Waiting(shards, _) = &self.state else { return Vec::new() };
        let shards = shards.clone();
        self.state = State::Checking(shards.clone());
        self.dirty = true;
        shards
    }

    /// The schema is not the one that the triggers were made for.
    pub(crate) fn on_schema_changed(&mut self, effects: &mut Effects) {
        if matches!(self.state, State::Reading(_)) {
            self.state = State::Schema;
            effects.push(Effect::ReadSchema);
        }
    }

    /// The schema was read.
    pub(crate) fn on_schema_read(&mut self, effects: &mut Effects) {
        if matches!(self.state, State::Schema) {
            self.next(true, effects);
        }
    }

    /// The store refused to read; the timer brings us back.
    pub(crate) fn on_read_failed(&mut self, effects: &mut Effects) {
        if !matches!(self.state, State::Reading(_)) {
            return;
        }
        self.state = State::ReadRefused;
        let after_ms = self.backoff.next_ms();
        effects.push(Effect::SetTimer { timer: Timer::RetryRead, after_ms });
    }

    /// The store may be asked again.
    pub(crate) fn on_retry_read(&mut self, effects: &mut Effects) {
        if matches!(self.state, State::ReadRefused) {
            self.next(true, effects);
        }
    }

    fn next(&mut self, more: bool, effects: &mut Effects) {
        if !self.options.enabled || self.frozen {
            self.state = State::Stopped;
        } else if more || self.dirty {
            self.dirty = false;
            let (settled, published) = (self.positions.settled, self.positions.by_shard.clone());
            self.state = State::Reading(published.clone());
            effects.push(Effect::ReadLog(ReadLog { settled, published, compress: self.options.compress }));
        } else {
            self.state = State::Idle;
        }
    }

    pub(crate) fn status(&self) -> PublisherStatus {
        let (state, waiting_for) = match &self.state {
            State::Checking(_) => ("checking", Some("own streams to be read to their end".to_owned())),
            State::Idle => ("idle", None),
            State::Reading(_) | State::ReadRefused | State::Schema => ("reading", None),
            State::Publishing(_) => ("publishing", None),
            State::Waiting(_, error) => ("waiting", Some(error.clone())),
            State::Stopped if self.frozen => ("waiting", Some("a new incarnation".to_owned())),
            State::Stopped => ("off", None),
        };
        PublisherStatus {
            state,
            waiting_for,
            settled: self.positions.settled,
            by_shard: self.positions.by_shard.clone(),
            pending_rows: self.pending_rows,
        }
    }
}
