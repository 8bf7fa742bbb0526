//! The alarm for clocks that are too far ahead of ours.
//!
//! Such a clock is merged all the same: a change that was made after seeing another must be above it (G3). But from then
//! on every node that saw it counts from there, and until real time has caught up the order of concurrent writes is no
//! longer that of the wall clocks. So people should know.

use std::collections::BTreeMap;

use crate::effect::{Effect, Effects};
use crate::event::Event;
use crate::input::Timestamp;
use crate::model::{Hlc, Origin};

/// Who is too far ahead.
#[derive(Debug)]
pub(crate) struct ClockDrift {
    /// In milliseconds; `None` never alarms.
    limit_ms: Option<u64>,
    /// The greatest clock of each origin that is beyond the limit.
    ahead: BTreeMap<Origin, Hlc>,
}

impl ClockDrift {
    /// Alarms beyond `limit_ms`.
    pub(crate) fn new(limit_ms: Option<u64>) -> Self {
        Self { limit_ms, ahead: BTreeMap::new() }
    }

    /// Alarms beyond `limit_ms` from now on.
    pub(crate) fn set_limit(&mut self, limit_ms: Option<u64>, now: Timestamp, effects: &mut Effects) {
        self.limit_ms = limit_ms;
        self.review(now, effects);
    }

    /// Changes with these clocks were merged.
    pub(crate) fn on_merged(
        &mut self,
        now: Timestamp,
        clocks: &BTreeMap<Origin, Hlc>,
        effects: &mut Effects,
    ) {
        for (&origin, &clock) in clocks {
            let ahead_ms = ahead_of(now, clock);
            if self.limit_ms.is_none_or(|limit| ahead_ms <= limit) {
                continue;
            }
            if self.ahead.insert(origin, clock).is_none() {
                effects.push(Effect::Emit(Event::ClockAhead { origin, ahead_ms }));
            }
        }
        self.review(now, effects);
    }

    /// Time went on: an origin's clocks only rise, so the greatest one tells when all of them are within the limit.
    pub(crate) fn review(&mut self, now: Timestamp, effects: &mut Effects) {
        let limit_ms = self.limit_ms.unwrap_or(u64::MAX);
        self.ahead.retain(|&origin, &mut clock| {
            let stays = ahead_of(now, clock) > limit_ms;
            if !stays {
                effects.push(Effect::Emit(Event::ClockWithinLimit { origin }));
            }
            stays
        });
    }

    /// Who is beyond the limit, and how far ahead of `now`.
    pub(crate) fn status(&self, now: Timestamp) -> BTreeMap<Origin, u64> {
        self.ahead.iter().map(|(&origin, &clock)| (origin, ahead_of(now, clock))).collect()
    }
}

fn ahead_of(now: Timestamp, clock: Hlc) -> u64 {
    clock.millis().saturating_sub(now.0)
}
