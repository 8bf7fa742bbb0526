//! One source: how far it is received, what of it waits to be applied, and how it is doing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::group::OpenGroup;
use crate::backoff::Backoff;
use crate::effect::ReceivedGroup;
use crate::input::StreamFacts;
use crate::limits::{SOURCE_QUEUE_BYTES_MAX, SOURCE_WINDOW_MESSAGES};
use crate::model::{Checkpoint, FrameMark, Origin, Shard, SourceId, StreamSequence};
use crate::planted::{Bug, is_planted};
use crate::status::SourceStatus;

/// Far more than the groups that a server can have delivered and not stored: it syncs every batch.
const EARLIER_PLACES_MAX: usize = 64;

/// What a source is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Its stream is being looked at for the first time, or again.
    Connecting,
    /// Messages are coming.
    Following,
    /// Out of reach; a timer is set.
    Lost(String),
    /// It cannot be followed as things stand; a timer is set, since things may change.
    Stopped { reason: String, schema: bool },
    /// An own stream that was read to its end: we know what we append.
    Checked,
    /// A peer's that nobody wants any more.
    Removed,
}

/// Own streams are read twice when they hold frames of an older incarnation: an apply stamps our log, and would hide
/// what the inspection looks for (R9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pass {
    /// Compare frames of our current origin with the database; note whether there are others.
    Inspect,
    /// Apply the others.
    Apply,
}

/// Whose stream it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Ours alone: followed only to its end, to learn what we published (R6, R9).
    Own,
    /// Everybody's (shared mode): read like an own one first, then followed like a peer's.
    Shared,
    /// A peer's.
    Peer,
}

/// A complete group on its way into the database.
#[derive(Clone, Debug)]
pub(super) struct QueuedGroup {
    pub(super) group: Arc<ReceivedGroup>,
    /// Bytes of its bodies.
    pub(super) bytes: usize,
    /// Which life of the stream it came from, see [`Source::life`].
    pub(super) life: u32,
    /// Where the checkpoint may stand once it is applied; `None` while an older group is still open.
    pub(super) checkpoint: Option<Place>,
}

/// A message in a stream.
pub(super) type Place = (StreamSequence, FrameMark);

/// One source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) id: SourceId,
    pub(super) shard: Shard,
    pub(super) kind: Kind,
    /// Of a shared stream: it is to be read to the end that it had at the last look, to learn what we published (R6).
    pub(super) checking: bool,
    pub(super) state: State,
    /// For streams that we publish to.
    pub(super) pass: Pass,
    /// This pass met frames that the other one has to apply: the checkpoint stays.
    pub(super) foreign: bool,
    /// Counts how often the stream turned out to be another one: groups of an earlier life move no checkpoint.
    pub(super) life: u32,
    /// The current `Follow`.
    pub(super) epoch: u64,
    /// What is applied (in memory; the database has it, or a little less).
    pub(super) checkpoint: Checkpoint,
    /// The checkpoint that the last look at the stream asked for: it may have moved before the answer comes.
    pub(super) asked: Place,
    /// Where the checkpoint was before: how far to go back when the stream's end was lost.
    pub(super) earlier: VecDeque<Place>,
    /// The checkpoint moved and no transaction has saved it yet.
    pub(super) unsaved: bool,
    /// The last sequence that was delivered.
    pub(super) received: StreamSequence,
    /// The last message that was rejected.
    pub(super) rejected: StreamSequence,
    /// The last sequence that the stream is known to have.
    pub(super) last: StreamSequence,
    /// Anything delivered since the stream was last looked at?
    pub(super) moved: bool,
    /// Looks in a row that found the stream ahead while nothing of it came.
    pub(super) stuck: u8,
    /// Groups of which frames are missing, one per origin at most.
    pub(super) open: BTreeMap<Origin, OpenGroup>,
    /// The last own frame that was skipped is not the last of its group.
    pub(super) own_open: bool,
    /// Complete groups to be applied.
    pub(super) queue: VecDeque<QueuedGroup>,
    /// Complete groups of our current origin to be inspected (own streams only).
    pub(super) inspect: VecDeque<QueuedGroup>,
    /// Groups of it that the store is working on.
    pub(super) in_flight: u32,
    /// A message that needs nothing more, which came while the groups before it were under way.
    pub(super) passed: Option<Place>,
    /// Bytes of complete groups in memory.
    pub(super) queued_bytes: usize,
    /// Of a shared stream: why (and whether for the schema's sake) it stops as soon as it is known what it holds of ours.
    pub(super) halted: Option<(String, bool)>,
    /// Credit kept back while too much is queued.
    pub(super) owed: u32,
    pub(super) backoff: Backoff,
    /// Why it was stopped last: said once, not every time it is tried again.
    pub(super) last_stop: Option<String>,
    /// Its baseline was compared with ours.
    pub(super) compared: bool,
    pub(super) lag_ms: Option<u64>,
}

impl Source {
    pub(super) fn new(id: SourceId, shard: Shard, kind: Kind, checkpoint: Checkpoint) -> Self {
        Self {
            id,
            shard,
            kind,
            checking: true,
            state: State::Connecting,
            pass: Pass::Inspect,
            foreign: false,
            life: 0,
            epoch: 0,
            received: checkpoint.sequence,
            rejected: StreamSequence::START,
            last: checkpoint.sequence,
            asked: (checkpoint.sequence, checkpoint.mark),
            earlier: VecDeque::new(),
            checkpoint,
            unsaved: false,
            moved: false,
            stuck: 0,
            open: BTreeMap::new(),
            own_open: false,
            queue: VecDeque::new(),
            inspect: VecDeque::new(),
            in_flight: 0,
            passed: None,
            queued_bytes: 0,
            halted: None,
            owed: 0,
            backoff: Backoff::default(),
            last_stop: None,
            compared: false,
            lag_ms: None,
        }
    }

    /// Is there anything to be learnt from a look at it?
    pub(super) fn is_wanted(&self) -> bool {
        !matches!(self.state, State::Checked | State::Removed)
    }

    /// Do we publish to it?
    pub(super) fn is_ours(&self) -> bool {
        self.kind != Kind::Peer
    }

    /// Why the stream is not the one that was consumed up to the checkpoint; `None` when it is.
    ///
    /// `created` proves nothing (it survives a rollback), so: our own id in the metadata, the length, and the message
    /// at the checkpoint. A checkpoint below the first sequence cannot be compared: positions decide then (R7).
    pub(super) fn replaced(&self, stream: &StreamFacts) -> Option<String> {
        let (at, mark) = self.asked;
        if at == StreamSequence::START {
            None
        } else if self.is_made_anew(stream) {
            Some("the stream was made anew".to_owned())
        } else if stream.last < at {
            Some(format!("the stream ends at {}, we had consumed {at}", stream.last))
        } else if stream.first <= at && mark != FrameMark::UNKNOWN && stream.mark != Some(mark) {
            Some(format!("the stream holds another message at {at}"))
        } else {
            None
        }
    }

    /// It has nothing in common with the one that was consumed.
    pub(super) fn is_made_anew(&self, stream: &StreamFacts) -> bool {
        self.checkpoint.stream_id != stream.stream_id
    }

    /// The stream lost its end (a server that is killed may have delivered what it had not stored): the checkpoint
    /// goes back to where it was before. `false` when we do not remember.
    pub(super) fn step_back(&mut self, stream: &StreamFacts) -> bool {
        while let Some((sequence, mark)) = self.earlier.pop_back() {
            if sequence <= stream.last && sequence < self.asked.0 {
                self.go_back((sequence, mark));
                return true;
            }
        }
        false
    }

    fn go_back(&mut self, (sequence, mark): Place) {
        self.checkpoint.sequence = sequence;
        self.checkpoint.mark = mark;
        self.unsaved = true;
        self.received = sequence;
        self.rejected = self.rejected.min(sequence);
        self.life += 1;
        self.drop_waiting();
    }

    /// Forget the stream that was; begin with `stream_id` from its start.
    pub(super) fn restart(&mut self, stream_id: String) {
        self.checkpoint.stream_id = stream_id;
        self.earlier.clear();
        self.go_back((StreamSequence::START, FrameMark::default()));
    }

    /// Forget what was received and not yet handed to the store; it can be had again from the checkpoint on.
    pub(super) fn drop_waiting(&mut self) {
        let dropped: usize =
            self.queue.drain(..).chain(self.inspect.drain(..)).map(|group| group.bytes).sum();
        self.queued_bytes -= dropped;
        self.passed = None;
        self.open.clear();
        self.own_open = false;
    }

    /// The sequence after which delivery has to go on: frames of unfinished groups come again.
    pub(super) fn resume_after(&mut self) -> StreamSequence {
        if let Some(first) = self.open.values().map(|open| open.first).min() {
            self.received = StreamSequence(first.0.saturating_sub(1));
            self.open.clear();
        }
        self.received
    }

    /// The store could not apply it: first in the queue again. Also when the stream is another one by now: what came of
    /// it since was taken for a duplicate because this was under way.
    pub(super) fn put_back(&mut self, queued: QueuedGroup) {
        self.queue.push_front(queued);
    }

    /// Too much of it waits for the database.
    pub(super) fn is_full(&self) -> bool {
        self.queued_bytes > SOURCE_QUEUE_BYTES_MAX
    }

    /// The credit that may go back now: in lumps, and nothing while too much is queued.
    pub(super) fn take_credit(&mut self) -> u32 {
        let keep = self.is_full() || self.owed < SOURCE_WINDOW_MESSAGES / 4;
        if keep { 0 } else { std::mem::take(&mut self.owed) }
    }

    /// The message at `place` needs nothing (more) from the database: the checkpoint may move there once everything
    /// before it is applied.
    pub(super) fn pass(&mut self, place: Place) {
        if self.is_inside_group() || self.foreign {
            return;
        }
        if let Some(last) = self.queue.back_mut() {
            // One that came after it has a later place of its own.
            if last.checkpoint.is_none_or(|(sequence, _)| sequence < place.0) {
                last.checkpoint = Some(place);
                last.life = self.life;
            }
        } else if self.in_flight == 0 && self.inspect.is_empty() {
            self.move_checkpoint(place);
        } else {
            let earlier = self.passed.is_none_or(|(sequence, _)| sequence < place.0);
            self.passed = if earlier { Some(place) } else { self.passed };
        }
    }

    /// A group is done with: what was passed while the last one was under way counts now.
    pub(super) fn done(&mut self) {
        self.in_flight -= 1;
        if self.is_drained()
            && !self.is_inside_group()
            && !is_planted(Bug::PassedDuringApply)
            && let Some(place) = self.passed.take()
        {
            self.move_checkpoint(place);
        }
    }

    /// Everything up to `place` is applied.
    pub(super) fn move_checkpoint(&mut self, (sequence, mark): Place) {
        if sequence > self.checkpoint.sequence {
            let before = (self.checkpoint.sequence, self.checkpoint.mark);
            if before.0 > StreamSequence::START {
                self.earlier.push_back(before);
            }
            if self.earlier.len() > EARLIER_PLACES_MAX {
                self.earlier.pop_front();
            }
            self.checkpoint.sequence = sequence;
            self.checkpoint.mark = mark;
            self.unsaved = true;
        }
    }

    /// It was stopped for that reason before, and nothing of it was applied since.
    pub(super) fn stopped_for(&self, reason: &str) -> bool {
        self.last_stop.as_deref() == Some(reason)
    }

    /// A stream that we publish to is received to the end that it had when it was last looked at, with nothing left to
    /// do for the store.
    pub(super) fn pass_is_over(&self) -> bool {
        let read = self.state == State::Following && self.received >= self.last;
        // What others wrote to a shared stream after that pass goes on being applied: nothing waits for it.
        let only_looked = self.kind == Kind::Shared && self.pass == Pass::Apply && !self.foreign;
        read && (self.is_drained() || only_looked)
    }

    /// Read it again from the checkpoint.
    pub(super) fn begin_pass(&mut self, pass: Pass) {
        self.pass = pass;
        self.foreign = false;
        self.received = self.checkpoint.sequence;
        self.open.clear();
        self.own_open = false;
    }

    /// Frames of a group are still to come: the checkpoint has to stay before it.
    pub(super) fn is_inside_group(&self) -> bool {
        self.own_open || !self.open.is_empty()
    }

    /// Nothing of it is left to be applied or inspected.
    pub(super) fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.inspect.is_empty() && self.in_flight == 0
    }

    /// Messages that it is known to have are not applied.
    pub(super) fn is_behind(&self) -> bool {
        self.state == State::Following && (self.received < self.last || !self.is_drained())
    }

    pub(super) fn status(&self) -> SourceStatus {
        let (state, reason) = match &self.state {
            State::Connecting => ("connecting", None),
            // Once is no sign: what was sent at the moment of the look is on its way.
            State::Following if self.stuck > 1 => {
                let ahead = self.last.0.saturating_sub(self.received.0);
                ("stalled", Some(format!("the stream is {ahead} messages ahead, and none of them comes")))
            }
            State::Following => ("following", None),
            State::Lost(error) => ("lost", Some(error.clone())),
            State::Stopped { reason, .. } => ("stopped", Some(reason.clone())),
            State::Checked => ("own", None),
            State::Removed => ("off", None),
        };
        SourceStatus {
            state,
            reason,
            checkpoint: self.checkpoint.sequence,
            last: self.last,
            rows_applied: self.checkpoint.rows_applied,
            lag_ms: self.lag_ms,
        }
    }
}
