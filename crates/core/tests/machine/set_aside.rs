//! What is set aside or wrong without stopping anything: clocks that are ahead of ours, dead letters, old conflicts.

use super::*;
use harmonylite_core::effect::Timer;
use harmonylite_core::input::{ApplyFailure, Housekept, LettersTended, StoreRequest};
use harmonylite_core::limits::EXPIRY_INTERVAL_MS;

/// Node 2's group up to `through` is applied; its newest row is `ahead_ms` ahead of our clock.
fn apply_ahead(node: &mut Node, prev: i64, through: i64, ahead_ms: u64) -> Vec<Event> {
    node.deliver_group(through.unsigned_abs(), &group(prev, through));
    node.take();
    let clock = Hlc::from_millis(node.now + 1 + ahead_ms);
    let clocks = BTreeMap::from([(origin(2), clock)]);
    node.send(Input::Applied(Applied { newest: clock, clocks, ..Applied::default() }));
    alarms(&node.take())
}

fn alarms(effects: &[Effect]) -> Vec<Event> {
    let mut events = events(effects);
    events.retain(|event| matches!(event, Event::ClockAhead { .. } | Event::ClockWithinLimit { .. }));
    events
}

#[test]
fn a_clock_beyond_the_limit_alarms_once_until_it_is_within_again() {
    let mut node = Node::following();
    assert_eq!(apply_ahead(&mut node, 0, 1, 10_000), [], "at the limit");
    assert!(node.replicator.status().clocks_ahead.is_empty());
    let alarm = Event::ClockAhead { origin: origin(2), ahead_ms: 60_000 };
    assert_eq!(apply_ahead(&mut node, 1, 2, 60_000), [alarm]);
    assert_eq!(node.replicator.status().clocks_ahead, BTreeMap::from([(origin(2), 60_000)]));
    assert_eq!(apply_ahead(&mut node, 2, 3, 90_000), [], "said once");
    assert_eq!(node.replicator.status().clocks_ahead, BTreeMap::from([(origin(2), 90_000)]));
    // Time catches up although nothing more comes.
    node.now += 80_000;
    node.send(Input::TimerFired(Timer::Housekeeping));
    assert_eq!(alarms(&node.take()), [Event::ClockWithinLimit { origin: origin(2) }]);
    assert!(node.replicator.status().clocks_ahead.is_empty());
    assert_eq!(apply_ahead(&mut node, 3, 4, 20_000).len(), 1, "another time");
}

#[test]
fn without_a_limit_there_is_no_alarm() {
    let mut node = Node::with(state(), |settings| settings.clock_drift_max_ms = None);
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    node.send(Input::SourceAdded { source: peer(), shard: Shard::FIRST });
    node.send(Input::StreamObserved { source: peer(), stream: facts(0) });
    assert_eq!(apply_ahead(&mut node, 0, 1, 1 << 40), []);
}

#[test]
fn dead_letters_tried_again_are_counted_alarmed_about_and_published_when_they_displace() {
    let mut node = Node::following();
    let clocks = BTreeMap::from([(origin(2), Hlc::from_millis(node.now + 60_000))]);
    let rows_applied = BTreeMap::from([(peer(), 3)]);
    let applied = Applied { rows_applied, displaced: 1, clocks, ..Applied::default() };
    node.send(Input::LettersTended(LettersTended { applied, gone: 1 }));
    let effects = node.take();
    assert!(effects.iter().any(|effect| matches!(effect, Effect::ReadLog(_))), "{effects:?}");
    assert_eq!(alarms(&effects).len(), 1);
    let status = node.replicator.status();
    assert_eq!((status.counters.rows_applied, status.sources[&peer()].rows_applied), (3, 3));
}

#[test]
fn dead_letters_are_counted_over_the_lives_of_the_process() {
    let mut node = Node::with(StoreState { dead_letters: 5, ..state() }, |_| ());
    node.send(Input::Applied(Applied { dead_letters: 2, ..Applied::default() }));
    assert_eq!(node.replicator.status().dead_letters, 7);
    node.send(Input::LettersTended(LettersTended { gone: 3, ..LettersTended::default() }));
    assert_eq!(node.replicator.status().dead_letters, 4);
}

#[test]
fn what_tables_have_to_report_is_read_when_an_apply_or_a_letter_changed_it() {
    let mut node = Node::following();
    for reports_changed in [true, false] {
        let applied = Applied { reports_changed, ..Applied::default() };
        let tended = LettersTended { applied: applied.clone(), gone: 1 };
        for input in [Input::Applied(applied), Input::LettersTended(tended)] {
            node.send(input);
            let reads = node.take().iter().filter(|effect| matches!(effect, Effect::ReadSchema)).count();
            assert_eq!(reads, usize::from(reports_changed));
        }
    }
}

#[test]
fn nothing_is_published_for_others_to_work_with_before_the_own_stream_is_checked() {
    assert_eq!(Node::fresh().replicator.published(), None);
    assert!(Node::ready().replicator.published().is_some());
}

#[test]
fn an_idle_store_is_asked_now_and_then_whether_anything_became_too_old() {
    let mut node = Node::ready();
    let asked = |node: &mut Node| {
        node.send(Input::TimerFired(Timer::Housekeeping));
        node.take().iter().any(|effect| matches!(effect, Effect::Housekeep(_)))
    };
    assert!(asked(&mut node), "an earlier process may have left something");
    node.send(Input::Housekept(Default::default()));
    assert!(!asked(&mut node));
    node.now += EXPIRY_INTERVAL_MS;
    assert!(asked(&mut node));
    node.send(Input::Housekept(Housekept { conflicts_remain: true, ..Housekept::default() }));
    assert!(asked(&mut node), "it said that there is more");
    node.send(Input::Housekept(Housekept::default()));
    assert!(!asked(&mut node));
}

fn troubles(node: &Node) -> Vec<(&'static str, String)> {
    let status = node.replicator.status();
    status.troubles.into_iter().map(|trouble| (trouble.what, trouble.error)).collect()
}

#[test]
fn a_full_disk_is_said_once_and_shown_until_the_work_succeeds() {
    let mut node = Node::following();
    node.deliver_group(1, &group(0, 1));
    let full = || Input::ApplyFailed(ApplyFailure::Store { error: "disk is full".to_owned() });
    let mut said = Vec::new();
    for _ in 0..3 {
        node.send(full());
        said.extend(events(&node.take()));
        node.send(Input::TimerFired(Timer::RetryApply));
        assert!(node.wants_apply(), "it goes on trying");
    }
    assert_eq!(said, [Event::StoreTrouble { request: "apply", error: "disk is full".to_owned() }]);
    assert_eq!(troubles(&node), [("apply", "disk is full".to_owned())]);
    let failed = |error: &str| Input::StoreFailed {
        request: StoreRequest::Housekeep,
        busy: false,
        error: error.to_owned(),
    };
    node.take();
    node.send(failed("disk is full"));
    node.send(failed("read-only"));
    let said = events(&node.take());
    assert_eq!(said.len(), 2, "another reason is news: {said:?}");
    assert_eq!(troubles(&node).len(), 2);
    node.applied();
    let over = Event::TroubleOver { what: "apply" };
    assert!(events(&node.take()).contains(&over));
    node.send(Input::Housekept(Housekept::default()));
    assert_eq!(troubles(&node), []);
}

#[test]
fn a_busy_database_is_no_trouble() {
    let mut node = Node::following();
    let (request, error) = (StoreRequest::Scan, "database is locked".to_owned());
    node.send(Input::StoreFailed { request, busy: true, error });
    assert_eq!((troubles(&node), events(&node.take())), (vec![], vec![]));
}
