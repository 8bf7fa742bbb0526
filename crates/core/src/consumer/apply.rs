//! Which groups go into the next apply transaction, and what becomes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Consumer;
use super::source::{Place, QueuedGroup, Source, State};
use crate::backoff::Backoff;
use crate::effect::{ApplyBatch, Effect, Effects, PublishedPositions, ReceivedGroup, Timer};
use crate::event::Event;
use crate::input::{Applied, ApplyFailure, Hold, Timestamp};
use crate::limits::APPLY_BUSY_MAX_MS;
use crate::model::{Checkpoint, SourceId};
use crate::pace::Pace;
use crate::planted::{Bug, is_planted};

/// The applier's turn: one transaction at a time, as large as the lock target allows.
#[derive(Debug)]
pub(super) struct ApplyQueue {
    in_flight: Vec<(SourceId, QueuedGroup)>,
    checkpoints: BTreeMap<SourceId, Checkpoint>,
    /// The published positions that the transaction under way saves.
    saving: PublishedPositions,
    turn: Turn,
    /// How large the next transaction is; at least one group goes in whatever its size.
    pace: Pace,
    backoff: Backoff,
    /// What the publisher has had acknowledged; saved along.
    published: PublishedPositions,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// Apply as soon as there is something.
    Ours,
    /// The application's turn, or a pause after an error: a timer is set.
    Paused,
    /// The schema is being read.
    Schema,
}

impl Default for ApplyQueue {
    fn default() -> Self {
        Self {
            in_flight: Vec::new(),
            checkpoints: BTreeMap::new(),
            saving: PublishedPositions::default(),
            turn: Turn::Ours,
            pace: Pace::default(),
            backoff: Backoff::default(),
            published: PublishedPositions::default(),
        }
    }
}

impl ApplyQueue {
    pub(super) fn in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &Arc<ReceivedGroup>> {
        self.in_flight.iter().map(|(_, queued)| &queued.group)
    }

    pub(super) fn resume(&mut self) {
        self.turn = Turn::Ours;
    }
}

impl Consumer {
    /// The positions to save with the next apply.
    pub(crate) fn set_published(&mut self, published: PublishedPositions) {
        self.apply.published = published;
    }

    /// Starts the next transaction, if it is our turn and there is something.
    ///
    /// Once after every input, when the positions to save with it are known: a checkpoint of an own stream must never be
    /// saved without the published position that it implies (R9 begins a new life from both).
    pub(crate) fn pump(&mut self, effects: &mut Effects) {
        // Inspection first: an apply stamps our log, and would hide what the inspection looks for (R9).
        let blocked = !self.inspecting.is_empty() || self.stopping;
        if blocked || self.apply.in_flight() || self.apply.turn != Turn::Ours {
            return;
        }
        let taken = self.take_groups();
        if taken.is_empty() {
            return;
        }
        let mut checkpoints = self.unsaved();
        for (id, queued) in &taken {
            if let (Some(place), Some(source)) = (queued.checkpoint, self.sources.get(id))
                && source.life == queued.life
            {
                checkpoints.insert(id.clone(), at(&source.checkpoint, place));
            }
        }
        self.apply.checkpoints.clone_from(&checkpoints);
        let groups = taken.iter().map(|(_, queued)| queued.group.clone()).collect();
        self.apply.in_flight = taken;
        let published = self.apply.published.clone();
        self.apply.saving.clone_from(&published);
        let stamp_rows = self.apply.pace.rows_to_stamp();
        effects.push(Effect::Apply(ApplyBatch { groups, checkpoints, published, stamp_rows }));
    }

    /// Groups in turn from every source, until the target is reached.
    fn take_groups(&mut self) -> Vec<(SourceId, QueuedGroup)> {
        let rows_target = self.apply.pace.rows_to_apply();
        let mut taken = Vec::new();
        let mut rows = 0;
        loop {
            let before = taken.len();
            for source in self.sources.values_mut() {
                let fits = |group: &QueuedGroup| rows == 0 || rows + group.group.rows <= rows_target;
                if source.queue.front().is_some_and(fits)
                    && let Some(queued) = source.queue.pop_front()
                {
                    rows += queued.group.rows.max(1);
                    source.in_flight += 1;
                    taken.push((source.id.clone(), queued));
                }
            }
            let full = rows >= rows_target || is_planted(Bug::GroupsInParts);
            if taken.len() == before || full {
                return taken;
            }
        }
    }

    /// The transaction is committed; gives the published positions that it saved.
    pub(crate) fn on_applied(
        &mut self,
        now: Timestamp,
        applied: &Applied,
        effects: &mut Effects,
    ) -> PublishedPositions {
        let saved_positions = std::mem::take(&mut self.apply.saving);
        let taken = std::mem::take(&mut self.apply.in_flight);
        self.apply.backoff.reset();
        self.count(applied, effects);
        for (id, queued) in taken {
            let group = &queued.group;
            let position = self.positions.entry((group.origin, group.shard)).or_default();
            *position = group.through.max(*position);
            if let Some(source) = self.sources.get_mut(&id) {
                settle(source, &queued, now, applied);
            }
            self.return_credit(&id, effects);
        }
        self.count_by_source(applied);
        let saved = std::mem::take(&mut self.apply.checkpoints);
        self.saved(&saved);
        let pause_us = self.apply.pace.on_applied(applied.hold);
        self.leave_to_application(pause_us, effects);
        saved_positions
    }

    /// May housekeeping have the write lock? No apply has it, and it is not left to the application.
    pub(crate) fn is_lock_free(&self) -> bool {
        !self.apply.in_flight() && self.apply.turn != Turn::Paused
    }

    /// How many rows housekeeping may have.
    pub(crate) fn rows_to_tend(&self) -> u64 {
        self.apply.pace.rows_to_tend()
    }

    /// Housekeeping held the lock: the application has its turn as after an apply.
    pub(crate) fn on_housekept(&mut self, hold: Hold, effects: &mut Effects) {
        let pause_us = self.apply.pace.on_housekept(hold);
        self.leave_to_application(pause_us, effects);
    }

    fn leave_to_application(&mut self, pause_us: u64, effects: &mut Effects) {
        if pause_us > 0 && self.apply.turn == Turn::Ours {
            self.pause(pause_us.div_ceil(1000), effects);
        }
    }

    /// Dead letters were tried again, beside the applies: nothing moves but what is counted.
    pub(crate) fn on_retried(&mut self, applied: &Applied, effects: &mut Effects) {
        self.count(applied, effects);
        self.count_by_source(applied);
    }

    fn count_by_source(&mut self, applied: &Applied) {
        for (id, rows) in &applied.rows_applied {
            if let Some(source) = self.sources.get_mut(id) {
                source.checkpoint.rows_applied += rows;
            }
        }
    }

    /// The transaction was rolled back: nothing is lost, the groups wait again.
    pub(crate) fn on_apply_failed(&mut self, failure: &ApplyFailure, effects: &mut Effects) {
        self.requeue();
        match failure {
            ApplyFailure::Busy => {
                // Not for long: an application that writes without pause leaves the lock free for moments only.
                let wait = self.apply.backoff.next_ms().min(APPLY_BUSY_MAX_MS);
                self.pause(wait, effects);
            }
            &ApplyFailure::LogFirst { hold, unstamped_rows } => {
                self.apply.backoff.reset();
                let pause_us = self.apply.pace.on_stamped(hold, unstamped_rows);
                self.leave_to_application(pause_us, effects);
            }
            ApplyFailure::SchemaChanged => {
                self.apply.turn = Turn::Schema;
                effects.push(Effect::ReadSchema);
            }
            ApplyFailure::Source { source, reason, schema } => {
                self.stop_at_message(source, reason.clone(), *schema, effects)
            }
            ApplyFailure::Store { .. } => {
                let wait = self.apply.backoff.next_ms();
                self.pause(wait, effects);
            }
        }
    }

    /// The pause is over.
    pub(crate) fn on_apply_timer(&mut self) {
        if self.apply.turn == Turn::Paused {
            self.apply.turn = Turn::Ours;
        }
    }

    fn pause(&mut self, after_ms: u64, effects: &mut Effects) {
        self.apply.turn = Turn::Paused;
        effects.push(Effect::SetTimer { timer: Timer::RetryApply, after_ms });
    }

    /// What nobody wants any more is dropped: it would be tried for ever. Should its source come back, it comes again.
    fn requeue(&mut self) {
        let mut dropped = false;
        for (id, queued) in std::mem::take(&mut self.apply.in_flight).into_iter().rev() {
            let Some(source) = self.sources.get_mut(&id) else { continue };
            source.in_flight -= 1;
            if source.state == State::Removed {
                source.queued_bytes -= queued.bytes;
                dropped = true;
            } else {
                source.put_back(queued);
            }
        }
        if dropped {
            self.forget_expected();
        }
    }

    fn count(&mut self, applied: &Applied, effects: &mut Effects) {
        self.counters.rows_applied += applied.rows_applied.values().sum::<u64>();
        self.counters.rows_skipped += applied.rows_skipped;
        self.counters.conflicts += applied.conflicts;
        self.counters.dead_letters += applied.dead_letters;
        if applied.conflicts > 0 {
            effects.push(Effect::Emit(Event::ConflictsLogged { rows: applied.conflicts }));
        }
        if applied.dead_letters > 0 {
            effects.push(Effect::Emit(Event::DeadLettered { rows: applied.dead_letters }));
        }
    }
}

fn at(checkpoint: &Checkpoint, (sequence, mark): Place) -> Checkpoint {
    Checkpoint { sequence, mark, ..checkpoint.clone() }
}

fn settle(source: &mut Source, queued: &QueuedGroup, now: Timestamp, applied: &Applied) {
    source.queued_bytes -= queued.bytes;
    source.last_stop = None;
    source.lag_ms = Some(now.0.saturating_sub(applied.newest.millis()));
    if let Some(place) = queued.checkpoint.filter(|_| source.life == queued.life) {
        source.move_checkpoint(place);
    }
    source.done();
}
