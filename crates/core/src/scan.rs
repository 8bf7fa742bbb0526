//! When the tables are compared with their row versions, to find writes that no trigger saw.
//!
//! At start and after triggers had to be mended the tables that the store has marked; now and then, when somebody has
//! written, all of them, slowly. One bounded step is with the store at a time. It knows neither rows nor what is found.

use crate::effect::{Effect, Effects, PublishedPositions, Scan, Timer};
use crate::event::Event;
use crate::input::{Found, Scanned, SchemaRead};
use crate::limits::{
    SCAN_INTERVAL_MS, SCAN_PAUSE_MARKED_MS, SCAN_PAUSE_WHOLE_MS, SCAN_RETRY_MS, SCAN_TROUBLE_MS,
};

/// The scan's part of a node.
#[derive(Debug)]
pub(crate) struct Scanner {
    /// A pass over the marked tables is wanted.
    marked: bool,
    /// A pass over all tables is wanted.
    whole: bool,
    /// Somebody has written since the last pass over all tables began. What was written before the start counts.
    written: bool,
    /// A step is with the store: over all tables or not.
    in_flight: Option<bool>,
    /// The timer of a pause is set.
    resting: bool,
    /// The schema changed while a step was with the store: its pass does not count.
    again: bool,
    /// What was found in the table that the pass is in.
    found: Found,
}

impl Scanner {
    /// Something may have happened while nobody ran.
    pub(crate) const fn new() -> Self {
        Self {
            marked: true,
            whole: false,
            written: true,
            in_flight: None,
            resting: false,
            again: false,
            found: Found::NONE,
        }
    }

    /// Somebody committed.
    pub(crate) fn on_log_changed(&mut self) {
        self.written = true;
    }

    /// Tables whose triggers were missing are marked by the store; so are those whose versions had to be made.
    pub(crate) fn on_schema(&mut self, schema: &SchemaRead) {
        if schema.repaired > 0 || !schema.uncaptured.is_empty() {
            self.marked = true;
            self.again = self.in_flight.is_some();
        }
    }

    /// The pause is over, or it is time for a pass over all tables.
    pub(crate) fn on_timer(&mut self, effects: &mut Effects) {
        if std::mem::take(&mut self.resting) {
            return;
        }
        if std::mem::take(&mut self.written) {
            self.whole = true;
        } else {
            effects.push(Effect::SetTimer { timer: Timer::Scan, after_ms: SCAN_INTERVAL_MS });
        }
    }

    /// Asks for the next step, if one is due.
    pub(crate) fn step(&mut self, published: &PublishedPositions, effects: &mut Effects) {
        if self.in_flight.is_none() && !self.resting && (self.marked || self.whole) {
            let whole = !self.marked;
            self.in_flight = Some(whole);
            effects.push(Effect::Scan(Scan { whole, published: published.clone() }));
        }
    }

    /// A step was taken; gives how many writes it logged.
    pub(crate) fn on_scanned(&mut self, scanned: Scanned, effects: &mut Effects) -> u64 {
        let whole = self.in_flight.take().unwrap_or_default();
        let logged = scanned.found.rows();
        self.found.add(scanned.found);
        if scanned.table_done {
            let found = std::mem::take(&mut self.found);
            if found.rows() > 0 {
                effects.push(Effect::Emit(Event::UncapturedFound { table: scanned.table, found }));
            }
        }
        if scanned.more {
            self.rest(if whole { SCAN_PAUSE_WHOLE_MS } else { SCAN_PAUSE_MARKED_MS }, effects);
        } else {
            self.end_pass(whole, effects);
        }
        logged
    }

    fn end_pass(&mut self, whole: bool, effects: &mut Effects) {
        self.found = Found::NONE;
        if whole {
            self.whole = false;
        } else {
            self.marked = std::mem::take(&mut self.again);
        }
        if !self.marked && !self.whole {
            effects.push(Effect::SetTimer { timer: Timer::Scan, after_ms: SCAN_INTERVAL_MS });
        }
    }

    /// The store refused; the step is taken again.
    pub(crate) fn on_failed(&mut self, busy: bool, effects: &mut Effects) {
        self.in_flight = None;
        self.rest(if busy { SCAN_RETRY_MS } else { SCAN_TROUBLE_MS }, effects);
    }

    fn rest(&mut self, after_ms: u64, effects: &mut Effects) {
        self.resting = true;
        effects.push(Effect::SetTimer { timer: Timer::Scan, after_ms });
    }
}
