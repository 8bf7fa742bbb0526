//! One message comes in: is it ours to apply, now, later, never?

use std::sync::Arc;

use super::Consumer;
use super::group::OpenGroup;
use super::source::{Kind, Pass, Place, QueuedGroup, State};
use crate::codec::{DecodeError, FrameHeader, decode_frame};
use crate::effect::{Effect, Effects, ReceivedBody, ReceivedGroup};
use crate::event::Event;
use crate::model::{FrameMark, LogPosition, Origin, SourceId, StreamSequence};
use crate::planted::{Bug, is_planted};

/// What a frame means for its chain (R7).
enum Standing {
    /// The chain is here already.
    Behind,
    /// It continues the chain.
    Next,
    /// Something of the chain before it is missing.
    Gap { have: LogPosition },
}

impl Consumer {
    /// One message of a followed source.
    pub(crate) fn on_delivered(
        &mut self,
        id: &SourceId,
        epoch: u64,
        sequence: StreamSequence,
        bytes: &[u8],
        effects: &mut Effects,
    ) {
        let Some(source) = self.sources.get_mut(id) else { return };
        if source.epoch != epoch || source.state != State::Following || self.stopping {
            return;
        }
        source.received = sequence;
        source.last = source.last.max(sequence);
        source.moved = true;
        source.stuck = 0;
        source.owed += 1;
        match decode_frame(bytes) {
            Ok((header, mark, body)) => self.take(id, &header, (sequence, mark), &bytes[body..], effects),
            // This process sent nothing of the kind: it is another node's.
            Err(DecodeError::NewerFormat { .. }) if source.halted.is_some() => source.foreign = true,
            Err(error @ DecodeError::NewerFormat { .. }) => {
                self.stop_at_message(id, error.to_string(), false, effects)
            }
            Err(error) => self.reject(id, sequence, error.to_string(), effects),
        }
        self.return_credit(id, effects);
    }

    pub(super) fn return_credit(&mut self, id: &SourceId, effects: &mut Effects) {
        let Some(source) = self.sources.get_mut(id) else { return };
        if source.state == State::Following {
            let messages = source.take_credit();
            if messages > 0 {
                effects.push(Effect::Credit { source: id.clone(), messages });
            }
        }
    }

    fn take(
        &mut self,
        id: &SourceId,
        header: &FrameHeader,
        place: Place,
        body: &[u8],
        effects: &mut Effects,
    ) {
        let Some(source) = self.sources.get(id) else { return };
        let (own, ours) = (source.is_ours(), self.is_ours(header.place.origin));
        if header.place.cluster != self.cluster {
            let error = format!("it belongs to cluster {:?}", header.place.cluster);
            return self.reject(id, place.0, error, effects);
        }
        if header.place.shard != source.shard {
            let error = format!("it belongs to shard {}", header.place.shard);
            return self.reject(id, place.0, error, effects);
        }
        // In a shared stream a frame may be late by more than the life of the process that sent it: one that this process
        // did not send is compared with the database whenever it comes (R9).
        let strange = source.kind == Kind::Shared && !self.sent.contains(&header.group);
        if ours && !(own && (source.pass == Pass::Inspect || strange)) {
            // Only our own *current* origin is a reason to skip a frame (R9).
            return self.skip_own(id, header, place);
        }
        if ours {
            return self.assemble(id, header, place, body, effects);
        }
        if own && source.pass == Pass::Inspect {
            return self.leave_to_next_pass(id);
        }
        match self.standing(header) {
            Standing::Behind => {
                self.counters.groups_dropped += u64::from(header.is_last());
                self.pass(id, place);
            }
            Standing::Next => self.assemble(id, header, place, body, effects),
            Standing::Gap { have } => self.stop_at_message(id, gap(header, have), false, effects),
        }
    }

    fn is_ours(&self, origin: Origin) -> bool {
        origin == self.origin && !is_planted(Bug::OwnFramesApplied)
    }

    fn standing(&self, header: &FrameHeader) -> Standing {
        let chain = (header.place.origin, header.place.shard);
        let have = self.expected.get(&chain).copied().unwrap_or_default();
        if header.place.through <= have {
            Standing::Behind
        } else if header.place.prev <= have || is_planted(Bug::PositionOverGap) {
            Standing::Next
        } else {
            Standing::Gap { have }
        }
    }

    fn assemble(
        &mut self,
        id: &SourceId,
        header: &FrameHeader,
        place: Place,
        body: &[u8],
        effects: &mut Effects,
    ) {
        let Some(source) = self.sources.get_mut(id) else { return };
        let origin = header.place.origin;
        let open = source.open.remove(&origin);
        let fits = open.as_ref().is_some_and(|open| open.continues_with(header));
        if open.is_some() && !fits {
            effects.push(Effect::Emit(Event::GroupDiscarded { source: id.clone(), origin }));
        }
        let group = if fits { open } else { OpenGroup::start(header, place.0) };
        // A frame from the middle of a group that was discarded: its successor will show the gap, if it is one.
        let Some(mut group) = group else { return };
        if !group.add(header, body) {
            let reason = format!("a group of origin {origin} is larger than any node may send");
            return self.stop(id, reason, false, effects);
        }
        if header.is_last() {
            self.complete(id, group, place);
        } else {
            source.open.insert(origin, group);
        }
    }

    fn complete(&mut self, id: &SourceId, group: OpenGroup, place: Place) {
        let own = self.is_ours(group.origin());
        let Some(source) = self.sources.get_mut(id) else { return };
        let group = group.finish(id);
        let chain = (group.origin, group.shard);
        let bytes = group.bodies.iter().map(|body| body.bytes.len()).sum();
        let checkpoint = (!source.is_inside_group() && !source.foreign).then_some(place);
        let through = group.through;
        source.queued_bytes += bytes;
        if is_planted(Bug::GroupsInParts) && !own && group.bodies.len() > 1 {
            for (part, bytes) in parts_of(group) {
                let queued = QueuedGroup { group: Arc::new(part), bytes, life: source.life, checkpoint };
                source.queue.push_back(queued);
            }
            self.expected.insert(chain, through);
            return;
        }
        let queued = QueuedGroup { group: Arc::new(group), bytes, life: source.life, checkpoint };
        if own {
            source.inspect.push_back(queued);
        } else {
            source.queue.push_back(queued);
            self.expected.insert(chain, through);
        }
    }

    /// A frame that we sent ourselves. A checkpoint inside a group would be of no use to the next process: it needs the whole
    /// group to learn what is published.
    fn skip_own(&mut self, id: &SourceId, header: &FrameHeader, place: Place) {
        let Some(source) = self.sources.get_mut(id) else { return };
        source.own_open = !header.is_last();
        if header.is_last() && source.is_ours() {
            let through = self.own_through.entry(header.place.shard).or_default();
            *through = header.place.through.max(*through);
        }
        self.pass(id, place);
    }

    fn leave_to_next_pass(&mut self, id: &SourceId) {
        if let Some(source) = self.sources.get_mut(id) {
            source.foreign = true;
        }
    }

    fn pass(&mut self, id: &SourceId, place: Place) {
        if let Some(source) = self.sources.get_mut(id) {
            source.pass(place);
        }
    }

    /// Counted, logged, skipped; once, even when the stream is read again. The checkpoint moves past it with the next
    /// message that is one of ours.
    fn reject(&mut self, id: &SourceId, sequence: StreamSequence, error: String, effects: &mut Effects) {
        let Some(source) = self.sources.get_mut(id) else { return };
        if sequence <= source.rejected {
            return;
        }
        source.rejected = sequence;
        self.counters.messages_rejected += 1;
        effects.push(Effect::Emit(Event::MessageRejected { source: id.clone(), sequence, error }));
    }

    /// Own groups to the store, to be compared with the database (R9).
    pub(crate) fn inspect_own(&mut self, effects: &mut Effects) {
        if !self.inspecting.is_empty() || self.stopping {
            return;
        }
        let mut groups = Vec::new();
        for source in self.sources.values_mut() {
            for queued in source.inspect.drain(..) {
                source.in_flight += 1;
                source.queued_bytes -= queued.bytes;
                let place = queued.checkpoint.unwrap_or((StreamSequence::START, FrameMark::default()));
                self.inspecting.push((source.id.clone(), place));
                groups.push(queued.group);
            }
        }
        if !groups.is_empty() {
            self.inspected_groups.clone_from(&groups);
            effects.push(Effect::InspectOwnFrames(groups));
        }
    }

    /// The inspection could not be done: the same groups again, or not at all when the end is near. The next start
    /// reads them again.
    pub(crate) fn retry_inspection(&mut self, effects: &mut Effects) {
        if self.stopping {
            self.inspecting.clear();
            self.inspected_groups.clear();
        } else if !self.inspected_groups.is_empty() {
            effects.push(Effect::InspectOwnFrames(self.inspected_groups.clone()));
        }
    }

    /// Own frames fit the database: they are what we published.
    pub(crate) fn on_inspected(&mut self, effects: &mut Effects) {
        for (id, place) in std::mem::take(&mut self.inspecting) {
            if let Some(source) = self.sources.get_mut(&id) {
                // Groups of others that came before it may still wait to be applied.
                source.pass(place);
                source.done();
            }
            self.return_credit(&id, effects);
        }
        for group in std::mem::take(&mut self.inspected_groups) {
            let through = self.own_through.entry(group.shard).or_default();
            *through = group.through.max(*through);
        }
    }
}

/// For [`Bug::GroupsInParts`]: each body of a group as a group of its own.
fn parts_of(group: ReceivedGroup) -> Vec<(ReceivedGroup, usize)> {
    let place = |part: usize| LogPosition::new(group.prev.get() + part as i64).unwrap_or_default();
    let last = group.bodies.len() - 1;
    let part = |(index, body): (usize, &ReceivedBody)| {
        let through = if index == last { group.through } else { place(index + 1) };
        let (prev, bodies) = (place(index), vec![body.clone()]);
        (ReceivedGroup { prev, through, bodies, ..group.clone() }, body.bytes.len())
    };
    group.bodies.iter().enumerate().map(part).collect()
}

fn gap(header: &FrameHeader, have: LogPosition) -> String {
    let place = &header.place;
    format!(
        "changes of origin {} on shard {} are missing: we have them through {have}, the stream goes on after {}; \
         a snapshot or another node would have to bring them",
        place.origin, place.shard, place.prev
    )
}
