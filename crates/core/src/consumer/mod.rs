//! The consumer: from streams to apply transactions. Order, duplicates, gaps, groups, credit (R6, R7, R10).
//!
//! It knows nothing of the publisher. What it must not do: apply over a gap, move a checkpoint past what is not
//! applied, or cut a group.

mod apply;
mod group;
mod intake;
mod source;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use self::apply::ApplyQueue;
pub(crate) use self::source::Kind;
use self::source::{Pass, Place, Source, State};
use crate::codec::decode_frame;
use crate::effect::{Effect, Effects, Follow, Observe, Publish, ReceivedGroup, Timer};
use crate::event::Event;
use crate::input::{StoreState, StreamFacts};
use crate::limits::{OBSERVE_INTERVAL_MS, SENT_GROUPS_MAX, SOURCE_WINDOW_MESSAGES, STALL_LOOK_MS};
use crate::model::{Checkpoint, LogPosition, Origin, Shard, SourceId, StreamSequence};
use crate::status::{Counters, SourceStatus};

/// What an own stream holds, once it is read to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OwnStream {
    /// Which one.
    pub(crate) shard: Shard,
    /// The end of our current origin's chain in what was read; `None` when there was nothing of it.
    pub(crate) through: Option<LogPosition>,
    /// Its last sequence.
    pub(crate) last: StreamSequence,
}

/// The consumer's part of a node.
#[derive(Debug)]
pub(crate) struct Consumer {
    cluster: String,
    shards: u16,
    origin: Origin,
    /// What the database remembers of each source, also of those not (yet) there.
    checkpoints: BTreeMap<SourceId, Checkpoint>,
    baseline: BTreeMap<String, u64>,
    sources: BTreeMap<SourceId, Source>,
    /// How far each chain is applied.
    positions: BTreeMap<(Origin, Shard), LogPosition>,
    /// How far each chain is received completely: applied or queued.
    expected: BTreeMap<(Origin, Shard), LogPosition>,
    /// Our own chain per shard, as far as it was found in our own streams.
    own_through: BTreeMap<Shard, LogPosition>,
    /// Digests of the newest groups that this process sent to shared streams, oldest first.
    sent: VecDeque<u64>,
    /// Own groups are with the store for inspection.
    inspecting: Vec<(SourceId, Place)>,
    /// The groups that are inspected, in case the store has to be asked again.
    inspected_groups: Vec<Arc<ReceivedGroup>>,
    apply: ApplyQueue,
    /// Own streams are not yet checked: nothing of peers is asked for (R9: an apply would stamp).
    gated: bool,
    stopping: bool,
    pub(crate) counters: Counters,
}

impl Consumer {
    pub(crate) fn new(cluster: String, shards: u16, state: &StoreState) -> Self {
        Self {
            cluster,
            shards,
            origin: state.origin,
            checkpoints: state.checkpoints.clone(),
            baseline: state.baseline.clone(),
            sources: BTreeMap::new(),
            positions: state.positions.clone(),
            expected: state.positions.clone(),
            own_through: BTreeMap::new(),
            sent: VecDeque::new(),
            inspecting: Vec::new(),
            inspected_groups: Vec::new(),
            apply: ApplyQueue::default(),
            gated: true,
            stopping: false,
            counters: Counters::default(),
        }
    }

    /// Begins with a source. Own ones are looked at at once, peers' ones when the own ones are checked.
    pub(crate) fn add(&mut self, id: SourceId, shard: Shard, kind: Kind, effects: &mut Effects) {
        match self.sources.get_mut(&id) {
            Some(source) if source.state == State::Removed => source.state = State::Connecting,
            Some(_) => return,
            None => {
                let checkpoint = self.checkpoints.get(&id).cloned().unwrap_or_default();
                self.sources.insert(id.clone(), Source::new(id.clone(), shard, kind, checkpoint));
            }
        }
        if kind != Kind::Peer || !self.gated {
            self.observe(&id, effects);
        }
    }

    /// Ends with a peer's source. What is with the store is applied; where it stands is known if it comes back.
    pub(crate) fn remove(&mut self, id: &SourceId, effects: &mut Effects) {
        let peers = |source: &&mut Source| !source.is_ours() && source.state != State::Removed;
        let Some(source) = self.sources.get_mut(id).filter(peers) else { return };
        source.state = State::Removed;
        source.epoch += 1;
        source.drop_waiting();
        source.received = source.checkpoint.sequence;
        effects.push(Effect::Unfollow { source: id.clone() });
        self.forget_expected();
    }

    /// The own streams are checked: peers may be followed.
    pub(crate) fn open_gate(&mut self, effects: &mut Effects) {
        if std::mem::replace(&mut self.gated, false) {
            let wanted = |source: &&Source| !source.is_ours() && source.is_wanted();
            let peers: Vec<_> = self.sources.values().filter(wanted).map(|s| s.id.clone()).collect();
            for id in peers {
                self.observe(&id, effects);
            }
        }
    }

    /// Looks at the own stream of `shard` again: what it holds is in doubt.
    pub(crate) fn recheck(&mut self, shard: Shard, effects: &mut Effects) {
        let own = self.sources.values_mut().find(|source| source.is_ours() && source.shard == shard);
        if let Some(source) = own {
            source.checking = true;
            if source.kind == Kind::Own {
                source.state = State::Connecting;
                source.begin_pass(Pass::Inspect);
            } else {
                // It is being followed, and only has to be followed to the end that the look will tell.
                source.last = StreamSequence(u64::MAX);
            }
            let id = source.id.clone();
            self.observe(&id, effects);
        }
    }

    /// This process sends groups to a shared stream: when they come back they are known.
    pub(crate) fn note_sent(&mut self, publish: &Publish) {
        let shared = |source: &Source| source.kind == Kind::Shared && source.shard == publish.shard;
        if !self.sources.values().any(shared) {
            return;
        }
        for message in &publish.messages {
            let Ok((header, _, _)) = decode_frame(&message.bytes) else { continue };
            if self.sent.back() != Some(&header.group) {
                self.sent.push_back(header.group);
            }
            if self.sent.len() > SENT_GROUPS_MAX {
                self.sent.pop_front();
            }
        }
    }

    /// We appended to an own stream: its checkpoint follows, to be saved when something else is.
    pub(crate) fn appended(&mut self, shard: Shard, through: LogPosition, place: Place) {
        let own_through = self.own_through.entry(shard).or_default();
        *own_through = through.max(*own_through);
        let own = |source: &&mut Source| source.kind == Kind::Own && source.shard == shard;
        if let Some(source) = self.sources.values_mut().find(own) {
            source.received = place.0;
            source.last = place.0;
            source.pass(place);
        }
    }

    /// The database has another origin now (R9): read the own streams again from what is saved.
    pub(crate) fn reset(&mut self, state: &StoreState, effects: &mut Effects) {
        self.origin = state.origin;
        self.positions = state.positions.clone();
        self.checkpoints = state.checkpoints.clone();
        self.own_through.clear();
        self.inspecting.clear();
        self.inspected_groups.clear();
        let own: Vec<_> = self
            .sources
            .values()
            .filter(|source| source.is_ours())
            .map(|source| (source.id.clone(), source.shard, source.kind, source.epoch))
            .collect();
        for (id, shard, kind, epoch) in own {
            let checkpoint = self.checkpoints.get(&id).cloned().unwrap_or_default();
            let source = Source { epoch, ..Source::new(id.clone(), shard, kind, checkpoint) };
            self.sources.insert(id.clone(), source);
            effects.push(Effect::Unfollow { source: id.clone() });
            self.observe(&id, effects);
        }
        self.forget_expected();
    }

    /// A stream was looked at.
    pub(crate) fn on_observed(&mut self, id: &SourceId, stream: &StreamFacts, effects: &mut Effects) {
        let waited = self.sources.get(id).is_some_and(Source::is_wanted);
        if self.stopping || !waited {
            return;
        }
        if let Some(reason) = self.foreign(id, stream) {
            self.stop(id, reason, false, effects);
            return;
        }
        self.compare_baseline(id, stream, effects);
        let Some(source) = self.sources.get_mut(id) else { return };
        source.last = stream.last;
        source.backoff.reset();
        let replaced = source.replaced(stream);
        if let Some(reason) = &replaced {
            effects.push(Effect::Emit(Event::StreamRestarted { source: id.clone(), reason: reason.clone() }));
            if !source.is_made_anew(stream) && source.step_back(stream) {
                // Is it the same at least up to there? Another look tells.
                source.state = State::Connecting;
                source.epoch += 1;
                effects.push(Effect::Unfollow { source: id.clone() });
                self.forget_expected();
                return self.observe(id, effects);
            }
            source.restart(stream.stream_id.clone());
        }
        source.checkpoint.stream_id.clone_from(&stream.stream_id);
        let behind = stream.last > source.received && !source.is_full();
        let stuck = source.state == State::Following && !source.moved && behind;
        source.moved = false;
        source.stuck = if stuck { source.stuck.saturating_add(1) } else { 0 };
        let next_look_ms = if source.stuck == 1 { STALL_LOOK_MS } else { OBSERVE_INTERVAL_MS };
        if source.stuck == 2 {
            let behind = stream.last.0 - source.received.0;
            effects.push(Effect::Emit(Event::SourceStalled { source: id.clone(), behind }));
        }
        let follow = replaced.is_some() || stuck || source.state != State::Following;
        if replaced.is_some() {
            // What waited is dropped: when it comes again it must not pass for a duplicate.
            self.forget_expected();
        }
        if follow {
            self.follow(id, effects);
        }
        self.set_observe_timer(id, next_look_ms, effects);
    }

    /// A source delivers no more.
    pub(crate) fn on_lost(&mut self, id: &SourceId, epoch: Option<u64>, error: &str, effects: &mut Effects) {
        let Some(source) = self.sources.get_mut(id) else { return };
        let current = epoch.is_none_or(|epoch| epoch == source.epoch);
        if !current || self.stopping || !source.is_wanted() {
            return;
        }
        let retry_ms = source.backoff.next_ms();
        if source.state != State::Lost(error.to_owned()) {
            let event = Event::SourceLost { source: id.clone(), error: error.to_owned(), retry_ms };
            effects.push(Effect::Emit(event));
        }
        source.state = State::Lost(error.to_owned());
        self.set_observe_timer(id, retry_ms, effects);
    }

    /// The timer of a source fired: look at its stream, unless we own it and know it.
    pub(crate) fn on_observe_timer(&mut self, id: &SourceId, effects: &mut Effects) {
        let wanted = self.sources.get(id).is_some_and(Source::is_wanted);
        if wanted && !self.stopping {
            self.observe(id, effects);
        }
    }

    /// Our schema changed: sources that waited for that are looked at again.
    pub(crate) fn on_schema(&mut self, effects: &mut Effects) {
        let waits = |source: &&Source| matches!(source.state, State::Stopped { schema: true, .. });
        let waiting: Vec<_> = self.sources.values().filter(waits).map(|source| source.id.clone()).collect();
        for id in waiting {
            self.observe(&id, effects);
        }
        self.apply.resume();
    }

    /// No more deliveries, no new applies.
    pub(crate) fn stop_all(&mut self, effects: &mut Effects) {
        self.stopping = true;
        effects.extend(self.sources.keys().map(|id| Effect::Unfollow { source: id.clone() }));
    }

    /// The store is working on something of ours.
    pub(crate) fn is_busy(&self) -> bool {
        self.apply.in_flight() || !self.inspecting.is_empty()
    }

    /// Groups are with the store. Their answer settles them with the sources that they came from: those must still be there.
    pub(crate) fn is_applying(&self) -> bool {
        self.apply.in_flight()
    }

    /// Something that came, or that a stream is known to have, is not applied yet. What a stopped source misses is not
    /// waited for, and what one has that is out of reach is not known.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_busy() || self.sources.values().any(Source::is_behind)
    }

    /// Own streams that were read to their end since the last call, everything of them inspected and applied.
    pub(crate) fn take_checked(&mut self, effects: &mut Effects) -> Vec<OwnStream> {
        let unread = |source: &Source| {
            source.state != State::Checked && source.pass == Pass::Inspect && !source.pass_is_over()
        };
        let all_inspected = !self.sources.values().any(|source| source.is_ours() && unread(source));
        let mut checked = Vec::new();
        let mut again = Vec::new();
        let mut halted = Vec::new();
        let over = |source: &&mut Source| source.is_ours() && source.checking && source.pass_is_over();
        for source in self.sources.values_mut().filter(over) {
            if !source.foreign || source.pass == Pass::Apply || source.halted.is_some() {
                source.checking = false;
                source.pass = Pass::Apply;
                if source.kind == Kind::Own {
                    source.state = State::Checked;
                    effects.push(Effect::Unfollow { source: source.id.clone() });
                }
                let through = self.own_through.get(&source.shard).copied();
                checked.push(OwnStream { shard: source.shard, through, last: source.last });
                if let Some((reason, schema)) = source.halted.take() {
                    source.begin_pass(Pass::Apply);
                    halted.push((source.id.clone(), reason, schema));
                }
            } else if all_inspected {
                source.begin_pass(Pass::Apply);
                again.push(source.id.clone());
            }
        }
        for id in again {
            self.follow(&id, effects);
        }
        for (id, reason, schema) in halted {
            self.stop(&id, reason, schema, effects);
        }
        checked
    }

    /// Checkpoints that moved and are not saved.
    pub(crate) fn unsaved(&self) -> BTreeMap<SourceId, Checkpoint> {
        let unsaved = self.sources.values().filter(|source| source.unsaved);
        unsaved.map(|source| (source.id.clone(), source.checkpoint.clone())).collect()
    }

    /// These are saved.
    pub(crate) fn saved(&mut self, checkpoints: &BTreeMap<SourceId, Checkpoint>) {
        for (id, saved) in checkpoints {
            if let Some(source) = self.sources.get_mut(id) {
                source.unsaved = source.checkpoint.sequence != saved.sequence
                    || source.checkpoint.stream_id != saved.stream_id;
            }
        }
    }

    /// How far our own chain was found in our own streams, per shard.
    pub(crate) fn own_through(&self) -> &BTreeMap<Shard, LogPosition> {
        &self.own_through
    }

    pub(crate) fn positions(&self) -> &BTreeMap<(Origin, Shard), LogPosition> {
        &self.positions
    }

    pub(crate) fn status(&self) -> BTreeMap<SourceId, SourceStatus> {
        let shown = self.sources.iter().filter(|(_, source)| source.state != State::Removed);
        shown.map(|(id, source)| (id.clone(), source.status())).collect()
    }

    fn observe(&mut self, id: &SourceId, effects: &mut Effects) {
        if let Some(source) = self.sources.get_mut(id) {
            let at = source.checkpoint.sequence;
            source.asked = (at, source.checkpoint.mark);
            effects.push(Effect::Observe(Observe { source: id.clone(), at }));
        }
    }

    fn follow(&mut self, id: &SourceId, effects: &mut Effects) {
        let Some(source) = self.sources.get_mut(id) else { return };
        source.epoch += 1;
        source.owed = 0;
        source.state = State::Following;
        let after = source.resume_after();
        let (source_id, epoch) = (id.clone(), source.epoch);
        if !(source.kind == Kind::Own && source.received >= source.last) {
            if source.last_stop.is_none() {
                effects.push(Effect::Emit(Event::SourceFollowed { source: id.clone(), from: after.next() }));
            }
            let credit = SOURCE_WINDOW_MESSAGES;
            effects.push(Effect::Follow(Follow { source: source_id, epoch, after, credit }));
        }
    }

    /// The source has a message of another node that cannot be taken now. What a shared stream holds of *ours* must be known all
    /// the same, or nothing of ours would be sent any more (G6): while that is in doubt the rest is read for it, and nothing
    /// else of it taken, before the source stops.
    fn stop_at_message(&mut self, id: &SourceId, reason: String, schema: bool, effects: &mut Effects) {
        let in_doubt = |source: &&mut Source| {
            let reads = source.kind == Kind::Shared && source.checking && source.pass == Pass::Apply;
            reads && source.state != State::Removed
        };
        let Some(source) = self.sources.get_mut(id).filter(in_doubt) else {
            return self.stop(id, reason, schema, effects);
        };
        source.halted = Some((reason, schema));
        source.state = State::Connecting;
        source.epoch += 1;
        source.drop_waiting();
        source.begin_pass(Pass::Inspect);
        effects.push(Effect::Unfollow { source: id.clone() });
        self.forget_expected();
        self.observe(id, effects);
    }

    /// The source has to wait; the others go on. Its checkpoint stays, so nothing is lost by waiting.
    fn stop(&mut self, id: &SourceId, reason: String, schema: bool, effects: &mut Effects) {
        let wanted = |source: &&mut Source| source.state != State::Removed;
        let Some(source) = self.sources.get_mut(id).filter(wanted) else { return };
        let state = State::Stopped { reason: reason.clone(), schema };
        if source.state != state && !source.stopped_for(&reason) {
            effects.push(Effect::Emit(Event::SourceStopped { source: id.clone(), reason: reason.clone() }));
        }
        source.last_stop = Some(reason);
        source.halted = None;
        source.state = state;
        source.epoch += 1;
        source.drop_waiting();
        source.received = source.checkpoint.sequence;
        effects.push(Effect::Unfollow { source: id.clone() });
        self.forget_expected();
        self.set_observe_timer(id, OBSERVE_INTERVAL_MS, effects);
    }

    /// What is expected of each chain, from what is applied, with the store or queued.
    fn forget_expected(&mut self) {
        self.expected.clone_from(&self.positions);
        let queued = self.sources.values().flat_map(|source| &source.queue).map(|queued| &queued.group);
        for group in self.apply.groups().chain(queued) {
            let expected = self.expected.entry((group.origin, group.shard)).or_default();
            *expected = group.through.max(*expected);
        }
    }

    /// Why these are not the changes of our cluster for that shard.
    fn foreign(&self, id: &SourceId, stream: &StreamFacts) -> Option<String> {
        let shard = self.sources.get(id)?.shard;
        if stream.cluster != self.cluster {
            Some(format!(
                "the stream belongs to cluster {:?}, this node to {:?}",
                stream.cluster, self.cluster
            ))
        } else if stream.shards != self.shards {
            let (theirs, ours) = (stream.shards, self.shards);
            Some(format!(
                "its owner has replication_log.shards = {theirs}, this node {ours}: they must be equal"
            ))
        } else if stream.shard != shard {
            Some(format!("the stream carries shard {}, not {shard}", stream.shard))
        } else {
            None
        }
    }

    /// Rows that were there before the first start are not sent by themselves: say so when nodes began differently.
    fn compare_baseline(&mut self, id: &SourceId, stream: &StreamFacts, effects: &mut Effects) {
        let (Some(source), Some(theirs)) = (self.sources.get_mut(id), &stream.baseline) else { return };
        if source.is_ours() || std::mem::replace(&mut source.compared, true) {
            return;
        }
        let tables: std::collections::BTreeSet<_> = self.baseline.keys().chain(theirs.keys()).collect();
        let differs = |table: &&&String| self.baseline.get(**table) != theirs.get(**table);
        let differing: Vec<String> = tables.iter().filter(differs).map(|table| (*table).clone()).collect();
        if !differing.is_empty() {
            effects.push(Effect::Emit(Event::BaselineDiffers { source: id.clone(), tables: differing }));
        }
    }

    fn set_observe_timer(&self, id: &SourceId, after_ms: u64, effects: &mut Effects) {
        effects.push(Effect::SetTimer { timer: Timer::Observe(id.clone()), after_ms });
    }
}
