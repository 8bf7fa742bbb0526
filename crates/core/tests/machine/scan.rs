//! When the scan takes its steps: after the own streams are checked, at start, after a repair, and slowly now and then.

use super::*;
use harmonylite_core::effect::{Scan, Timer};
use harmonylite_core::input::{Found, Scanned, StoreRequest};
use harmonylite_core::limits::{
    SCAN_INTERVAL_MS, SCAN_PAUSE_MARKED_MS, SCAN_PAUSE_WHOLE_MS, SCAN_RETRY_MS, SCAN_TROUBLE_MS,
};

impl Node {
    /// The step that was asked for, at most one: over all tables or not.
    fn take_scan(&mut self) -> Option<bool> {
        let scans: Vec<_> = self.effects.iter().filter_map(scan).map(|scan| scan.whole).collect();
        assert!(scans.len() <= 1, "one step at a time");
        self.effects.retain(|effect| scan(effect).is_none());
        scans.first().copied()
    }

    /// When the scan's timer was last set to fire.
    fn take_pause(&mut self) -> Option<u64> {
        let of_scan = |effect: &Effect| match effect {
            Effect::SetTimer { timer: Timer::Scan, after_ms } => Some(*after_ms),
            _ => None,
        };
        let pause = self.effects.iter().filter_map(of_scan).next_back();
        self.effects.retain(|effect| of_scan(effect).is_none());
        pause
    }

    /// A step was taken; the pass goes on when `more`.
    fn scanned(&mut self, more: bool) {
        self.send(Input::Scanned(Scanned { more, ..Scanned::default() }));
    }

    /// The wake-up of the scan.
    fn wake(&mut self) {
        self.send(Input::TimerFired(Timer::Scan));
    }

    /// Checked, and the first pass over marked tables is over.
    fn scanned_once() -> Self {
        let mut node = Self::fresh();
        node.send(Input::StreamObserved { source: own(), stream: facts(0) });
        assert_eq!(node.take_scan(), Some(false));
        node.send(Input::LogRead(LogRead::default()));
        node.scanned(false);
        assert_eq!((node.take_pause(), node.take_scan()), (Some(SCAN_INTERVAL_MS), None));
        node.take();
        node
    }
}

fn scan(effect: &Effect) -> Option<&Scan> {
    match effect {
        Effect::Scan(scan) => Some(scan),
        _ => None,
    }
}

#[test]
fn nothing_is_scanned_before_the_own_streams_are_checked() {
    let mut node = Node::fresh();
    node.send(Input::LogChanged);
    node.wake();
    assert_eq!(node.take_scan(), None);
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    assert_eq!(node.take_scan(), Some(false), "marked tables, at start");
}

#[test]
fn nothing_is_scanned_while_nothing_is_published() {
    let mut node = Node::with(state(), |settings| settings.publish = false);
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    node.wake();
    assert_eq!(node.take_scan(), None);
}

#[test]
fn steps_follow_one_another_with_a_pause() {
    let mut node = Node::fresh();
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    for _ in 0..3 {
        assert_eq!(node.take_scan(), Some(false));
        node.send(Input::LogChanged);
        assert_eq!(node.take_scan(), None, "not a second one");
        node.scanned(true);
        assert_eq!((node.take_pause(), node.take_scan()), (Some(SCAN_PAUSE_MARKED_MS), None));
        node.wake();
    }
}

#[test]
fn all_tables_are_looked_at_now_and_then_when_somebody_has_written() {
    let mut node = Node::scanned_once();
    node.wake();
    assert_eq!(node.take_scan(), Some(true), "what was written before the start counts");
    node.scanned(true);
    assert_eq!(node.take_pause(), Some(SCAN_PAUSE_WHOLE_MS));
    node.wake();
    assert_eq!(node.take_scan(), Some(true));
    node.scanned(false);
    assert_eq!(node.take_pause(), Some(SCAN_INTERVAL_MS));
    node.wake();
    assert_eq!((node.take_scan(), node.take_pause()), (None, Some(SCAN_INTERVAL_MS)), "nobody has written");
    node.send(Input::LogChanged);
    node.wake();
    assert_eq!(node.take_scan(), Some(true));
}

#[test]
fn a_repair_has_the_marked_tables_scanned_at_once() {
    let mut node = Node::scanned_once();
    node.wake();
    assert_eq!(node.take_scan(), Some(true));
    let schema = SchemaRead { uncaptured: vec!["t".to_owned()], ..SchemaRead::default() };
    node.send(Input::SchemaRead(schema.clone()));
    node.scanned(true);
    node.wake();
    assert_eq!(node.take_scan(), Some(false), "before the rest of the slow pass");
    // The triggers are lost again while a step is under way: what it saw does not count.
    node.send(Input::SchemaRead(schema));
    node.scanned(false);
    assert_eq!(node.take_scan(), Some(false));
    node.scanned(false);
    assert_eq!(node.take_scan(), Some(true), "now the rest");
    node.send(Input::SchemaRead(SchemaRead::default()));
    node.scanned(false);
    assert_eq!((node.take_scan(), node.take_pause()), (None, Some(SCAN_INTERVAL_MS)), "nothing was mended");
}

#[test]
fn what_is_found_is_told_by_table_and_published() {
    let mut node = Node::fresh();
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    node.send(Input::LogRead(LogRead::default()));
    node.take();
    let step = |new, deleted, table_done| {
        let found = Found { new, changed: 0, deleted };
        Input::Scanned(Scanned { table: "t".to_owned(), found, table_done, more: true })
    };
    node.send(step(2, 0, false));
    let effects = node.take();
    assert!(effects.iter().any(|effect| matches!(effect, Effect::ReadLog(_))));
    assert!(events(&effects).is_empty());
    node.wake();
    node.send(step(1, 3, true));
    let found = Found { new: 3, changed: 0, deleted: 3 };
    assert_eq!(events(&node.take()), [Event::UncapturedFound { table: "t".to_owned(), found }]);
    assert_eq!(node.replicator.status().counters.uncaptured_found, 6);
    node.wake();
    node.send(step(0, 0, true));
    assert!(events(&node.take()).is_empty(), "nothing to tell");
}

#[test]
fn a_refused_step_is_taken_again() {
    let mut node = Node::fresh();
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    for (busy, pause) in [(true, SCAN_RETRY_MS), (false, SCAN_TROUBLE_MS)] {
        assert_eq!(node.take_scan(), Some(false));
        node.send(Input::StoreFailed { request: StoreRequest::Scan, busy, error: "no".to_owned() });
        assert_eq!((node.take_pause(), node.take_scan()), (Some(pause), None));
        node.wake();
    }
    assert_eq!(node.take_scan(), Some(false));
}

#[test]
fn no_step_is_begun_at_the_end() {
    let mut node = Node::scanned_once();
    node.send(Input::LogChanged);
    node.send(Input::ShutdownRequested);
    node.wake();
    assert_eq!(node.take_scan(), None);
}
