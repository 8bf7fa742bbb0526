//! How far somebody is behind an origin: in rows and in time, as far as that can be known.
//!
//! A position is a clock, not a count, so an origin keeps a few samples of how its published position grew. A position
//! between two samples is at most as far behind as the older of them.

use std::collections::VecDeque;

use crate::limits::BACKLOG_SAMPLES_MAX;
use crate::model::{LogPosition, Origin};

use super::record::{MemberRecord, Progress};

/// At `at_ms` an origin had published everything up to `position`, which were `rows` rows since its process started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Sample {
    /// Everything up to here was published, on every shard.
    #[n(0)]
    pub position: LogPosition,
    /// Log rows that this process had published.
    #[n(1)]
    pub rows: u64,
    /// The last time at which this was so, milliseconds since the epoch on the origin's clock.
    #[n(2)]
    pub at_ms: u64,
}

/// The samples of one process, oldest first, the closer together the newer they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Backlog {
    samples: VecDeque<Sample>,
}

/// How far a member is behind an origin, as of what both said last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lag {
    /// Rows that it has not applied, at most; `None` when nobody has counted that far back.
    pub rows: Option<u64>,
    /// For how long the oldest of them has been published, at most, in milliseconds; `None` when nothing tells.
    pub ms: Option<u64>,
}

impl Backlog {
    /// Notes that everything up to `position` is published now, `rows` rows since the start.
    pub fn note(&mut self, position: LogPosition, rows: u64, at_ms: u64) {
        match self.samples.back_mut() {
            Some(last) if last.position == position => last.at_ms = at_ms,
            _ => self.samples.push_back(Sample { position, rows, at_ms }),
        }
        if self.samples.len() > BACKLOG_SAMPLES_MAX {
            self.thin();
        }
    }

    /// The samples, oldest first.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        self.samples.iter().copied().collect()
    }

    /// Every second one of the older half goes: the span doubles, what is recent stays exact.
    fn thin(&mut self) {
        let half = self.samples.len() / 2;
        let mut index = 0;
        self.samples.retain(|_| {
            index += 1;
            index > half || index % 2 == 1
        });
    }
}

impl Lag {
    /// Nothing is missing.
    pub const NONE: Self = Self { rows: Some(0), ms: Some(0) };
    /// Nobody knows.
    pub const UNKNOWN: Self = Self { rows: None, ms: None };

    /// How far `progress` is behind what `origin` said of itself.
    #[must_use]
    pub fn behind(progress: &Progress, origin: &MemberRecord) -> Self {
        origin.origin().map_or(Self::UNKNOWN, |id| Self::of(progress, id, origin))
    }

    fn of(progress: &Progress, id: Origin, origin: &MemberRecord) -> Self {
        let applied = |(shard, published): &(_, LogPosition)| {
            let applied = progress.applied_of(id, *shard);
            (applied < *published).then_some(applied)
        };
        let Some(covered) = origin.progress.published.iter().filter_map(applied).min() else {
            return Self::NONE;
        };
        let samples = &origin.progress.samples;
        let sample = samples.iter().rev().find(|sample| sample.position <= covered);
        let newest = samples.last().map_or(0, |sample| sample.rows);
        let complete_at = covered.hlc().millis().max(sample.map_or(0, |sample| sample.at_ms));
        Self {
            rows: sample.map(|sample| newest.saturating_sub(sample.rows)),
            ms: (complete_at > 0).then(|| origin.beat_ms.saturating_sub(complete_at)),
        }
    }
}
