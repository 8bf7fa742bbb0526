//! From the log to the own stream (R3, R6), and what housekeeping saves.

use super::*;
use harmonylite_core::codec::decode_frame;
use harmonylite_core::effect::{Publish, ReadLog, Timer};
use harmonylite_core::input::{Housekept, StoreRequest};

fn reads(effects: &[Effect]) -> Vec<ReadLog> {
    effects
        .iter()
        .filter_map(|e| if let Effect::ReadLog(read) = e { Some(read.clone()) } else { None })
        .collect()
}

fn publishes(effects: &[Effect]) -> Vec<Publish> {
    effects.iter().filter_map(|e| if let Effect::Publish(it) = e { Some(it.clone()) } else { None }).collect()
}

fn read(through: i64) -> Input {
    let groups = BTreeMap::from([(Shard::FIRST, vec![body(origin(1), through, 10)])]);
    Input::LogRead(one_set(position(through), groups))
}

fn published(last: u64) -> Input {
    Input::Published { shard: Shard::FIRST, last: StreamSequence(last) }
}

#[test]
fn nothing_is_read_before_the_own_stream_is_checked() {
    let mut node = Node::fresh();
    node.send(Input::LogChanged);
    assert!(reads(&node.take()).is_empty());
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    assert_eq!(reads(&node.take()).len(), 1);
}

#[test]
fn each_group_continues_the_chain_of_the_one_before() {
    let mut node = Node::ready();
    node.send(Input::LogChanged);
    node.send(read(10));
    let first = publishes(&node.take());
    assert_eq!(first[0].expected_last, Some(StreamSequence(0)));
    node.send(published(1));
    node.send(Input::LogChanged);
    assert_eq!(reads(&node.take())[0].settled, position(10));
    node.send(read(20));
    let second = publishes(&node.take());
    assert_eq!(second[0].expected_last, Some(StreamSequence(1)));
    let place = decode_frame(&second[0].messages[0].bytes).unwrap().0.place;
    assert_eq!((place.prev, place.through), (position(10), position(20)));
}

#[test]
fn what_gathers_while_a_group_is_under_way_makes_the_next_one() {
    let mut node = Node::ready();
    node.send(Input::LogChanged);
    node.send(read(10));
    node.take();
    node.send(Input::LogChanged);
    node.send(Input::LogChanged);
    assert!(reads(&node.take()).is_empty(), "one change set at a time");
    node.send(published(1));
    assert_eq!(reads(&node.take()).len(), 1);
}

#[test]
fn a_position_moves_only_with_the_acknowledgement() {
    let mut node = Node::ready();
    node.send(Input::LogChanged);
    node.send(read(10));
    assert_eq!(node.replicator.status().publisher.settled, position(0));
    node.send(published(1));
    assert_eq!(node.replicator.status().publisher.settled, position(10));
}

#[test]
fn after_an_unknown_outcome_the_stream_decides() {
    let mut node = Node::ready();
    node.send(Input::LogChanged);
    node.send(read(10));
    let sent = publishes(&node.take()).remove(0).messages;
    node.send(Input::PublishFailed { shard: Shard::FIRST, error: "timeout".to_owned() });
    node.send(Input::LogChanged);
    assert!(reads(&node.take()).is_empty(), "not before the stream was read");
    node.send(Input::TimerFired(Timer::RetryPublish));
    assert!(node.take().iter().any(|e| matches!(e, Effect::Observe(o) if o.source == own())));
    // It was stored after all.
    node.send(Input::StreamObserved { source: own(), stream: facts(1) });
    node.deliver(&own(), 1, &sent[0].bytes);
    assert!(node.take().iter().any(|e| matches!(e, Effect::InspectOwnFrames(_))));
    node.send(Input::OwnFramesInspected { older_copy: None });
    let again = reads(&node.take()).remove(0);
    assert_eq!(again.published[&Shard::FIRST], position(10));
    node.send(read(20));
    assert_eq!(publishes(&node.take())[0].expected_last, Some(StreamSequence(1)));
}

#[test]
fn a_refused_group_is_read_and_cut_again_from_the_last_acknowledged_place() {
    let mut node = Node::ready();
    node.send(Input::LogChanged);
    node.send(read(10));
    node.send(Input::PublishFailed { shard: Shard::FIRST, error: "refused".to_owned() });
    node.send(Input::TimerFired(Timer::RetryPublish));
    node.take();
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    let again = reads(&node.take()).remove(0);
    assert_eq!(again.settled, position(0));
    node.send(read(12));
    let place = decode_frame(&publishes(&node.take())[0].messages[0].bytes).unwrap().0.place;
    assert_eq!((place.prev, place.through), (position(0), position(12)));
}

#[test]
fn one_of_two_shards_failing_does_not_move_the_settled_position() {
    let second = Shard::new(2).unwrap();
    let mut node = with_two_shards(second);
    let groups = [Shard::FIRST, second].map(|shard| (shard, vec![body(origin(1), 10, 1)])).into();
    node.send(Input::LogRead(one_set(position(10), groups)));
    assert_eq!(publishes(&node.take()).len(), 2);
    node.send(published(1));
    node.send(Input::PublishFailed { shard: second, error: "timeout".to_owned() });
    assert_eq!(node.replicator.status().publisher.settled, position(0));
    node.send(Input::TimerFired(Timer::RetryPublish));
    node.take();
    let stream = StreamFacts { shard: second, shards: 2, ..facts(0) };
    node.send(Input::StreamObserved { source: SourceId("1/changes-2".to_owned()), stream });
    let again = reads(&node.take()).remove(0);
    assert_eq!(again.published.get(&Shard::FIRST), Some(&position(10)));
    assert_eq!(again.published.get(&second).copied().unwrap_or_default(), position(0));
}

/// Node 1 with two shards whose streams are empty and checked.
fn with_two_shards(second: Shard) -> Node {
    let mut node = Node::with(state(), |settings| {
        settings.shards = 2;
        settings.own_sources.insert(second, SourceId("1/changes-2".to_owned()));
    });
    for (source, shard) in [(own(), Shard::FIRST), (SourceId("1/changes-2".to_owned()), second)] {
        node.send(Input::StreamObserved { source, stream: StreamFacts { shard, shards: 2, ..facts(0) } });
    }
    node
}

fn places(publish: &Publish) -> Vec<(LogPosition, LogPosition)> {
    let place = |message: &Message| decode_frame(&message.bytes).unwrap().0.place;
    publish.messages.iter().map(place).map(|place| (place.prev, place.through)).collect()
}

#[test]
fn change_sets_of_one_reading_are_sent_at_once_and_continue_one_another() {
    let second = Shard::new(2).unwrap();
    let mut node = with_two_shards(second);
    node.take();
    let set = |through, shards: &[Shard]| ChangeSet {
        through: position(through),
        log_rows: 5,
        groups: shards.iter().map(|shard| (*shard, vec![body(origin(1), through, 1)])).collect(),
    };
    let sets = vec![set(10, &[Shard::FIRST, second]), set(20, &[Shard::FIRST]), set(30, &[])];
    node.send(Input::LogRead(LogRead { sets, ..LogRead::default() }));
    let sent = publishes(&node.take());
    assert_eq!(places(&sent[0]), [(position(0), position(10)), (position(10), position(20))]);
    assert_eq!(places(&sent[1]), [(position(0), position(10))]);
    node.send(published(2));
    assert_eq!(node.replicator.status().publisher.settled, position(0), "one shard has not answered");
    node.send(Input::Published { shard: second, last: StreamSequence(1) });
    let status = node.replicator.status();
    assert_eq!(status.publisher.settled, position(30));
    let by_shard = BTreeMap::from([(Shard::FIRST, position(20)), (second, position(10))]);
    assert_eq!(status.publisher.by_shard, by_shard);
    assert_eq!((status.counters.published_groups, status.counters.published_log_rows), (3, 15));

    node.send(Input::LogChanged);
    node.send(Input::LogRead(LogRead { sets: vec![set(40, &[second])], ..LogRead::default() }));
    assert_eq!(places(&publishes(&node.take())[0]), [(position(10), position(40))]);
}

#[test]
fn of_change_sets_with_an_unknown_outcome_those_in_the_stream_are_published() {
    let mut node = Node::ready();
    node.send(Input::LogChanged);
    let set =
        |through| one_set(position(through), [(Shard::FIRST, vec![body(origin(1), through, 1)])].into());
    let sets = [10, 20].into_iter().flat_map(|through| set(through).sets).collect();
    node.send(Input::LogRead(LogRead { sets, ..LogRead::default() }));
    let sent = publishes(&node.take()).remove(0).messages;
    node.send(Input::PublishFailed { shard: Shard::FIRST, error: "timeout".to_owned() });
    node.send(Input::TimerFired(Timer::RetryPublish));
    node.send(Input::StreamObserved { source: own(), stream: facts(1) });
    node.deliver(&own(), 1, &sent[0].bytes);
    node.take();
    node.send(Input::OwnFramesInspected { older_copy: None });
    let again = reads(&node.take()).remove(0);
    assert_eq!((again.settled, again.published[&Shard::FIRST]), (position(0), position(10)));
}

/// A publish that was given up is stored late, while the log is being read again: the sets of that reading end elsewhere.
#[test]
fn change_sets_continue_from_where_they_were_read_whatever_comes_back_meanwhile() {
    let mut node = Node::with(state(), |settings| settings.shared = true);
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    let set =
        |through| one_set(position(through), [(Shard::FIRST, vec![body(origin(1), through, 1)])].into());
    let sets = |ends: [i64; 2]| {
        let sets = ends.into_iter().flat_map(|through| set(through).sets).collect();
        Input::LogRead(LogRead { sets, ..LogRead::default() })
    };
    node.send(sets([5, 10]));
    let late = publishes(&node.take()).remove(0).messages;
    node.send(Input::PublishFailed { shard: Shard::FIRST, error: "timeout".to_owned() });
    node.send(Input::TimerFired(Timer::RetryPublish));
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    assert_eq!(reads(&node.take()).len(), 1);
    for (message, sequence) in late.iter().zip(1..) {
        node.deliver(&own(), sequence, &message.bytes);
    }
    assert_eq!(node.replicator.status().publisher.by_shard[&Shard::FIRST], position(10));
    node.send(sets([7, 12]));
    assert_eq!(
        places(&publishes(&node.take())[0]),
        [(position(0), position(7)), (position(7), position(12))]
    );
}

#[test]
fn a_change_set_that_was_cut_is_followed_by_the_rest_at_once() {
    let mut node = Node::ready();
    node.send(Input::LogChanged);
    let groups = BTreeMap::from([(Shard::FIRST, vec![body(origin(1), 10, 10)])]);
    node.send(Input::LogRead(LogRead {
        remaining_rows: 7,
        closed_early: true,
        ..one_set(position(10), groups)
    }));
    assert!(
        events(&node.effects).iter().any(|e| matches!(e, Event::GroupClosedEarly { remaining_rows: 7, .. }))
    );
    node.take();
    node.send(published(1));
    assert_eq!(reads(&node.take()).len(), 1);
}

#[test]
fn housekeeping_saves_what_moved_and_nothing_when_nothing_did() {
    let mut node = Node::ready();
    let saves = |effects: &[Effect]| effects.iter().filter(|e| matches!(e, Effect::Housekeep(_))).count();
    // The first one looks at what an earlier process left.
    node.send(Input::TimerFired(Timer::Housekeeping));
    node.take();
    node.send(Input::Housekept(Housekept::default()));
    node.send(Input::TimerFired(Timer::Housekeeping));
    assert_eq!(saves(&node.take()), 0);
    node.send(Input::LogChanged);
    node.send(read(10));
    node.send(published(1));
    assert_eq!(saves(&node.take()), 0, "publishing writes nothing to the database");
    node.send(Input::TimerFired(Timer::Housekeeping));
    let effects = node.take();
    let save =
        effects.iter().find_map(|e| if let Effect::Housekeep(h) = e { Some(h) } else { None }).unwrap();
    assert_eq!(save.published.settled, position(10));
    assert_eq!(save.checkpoints[&own()].sequence, StreamSequence(1));
    node.send(Input::Housekept(Housekept::default()));
    node.send(Input::TimerFired(Timer::Housekeeping));
    assert_eq!(saves(&node.take()), 0);
}

#[test]
fn a_schema_change_is_read_before_anything_is_published() {
    let mut node = Node::ready();
    node.send(Input::LogChanged);
    node.take();
    node.send(Input::SchemaChanged);
    assert_eq!(node.take(), [Effect::ReadSchema]);
    node.send(Input::SchemaRead(SchemaRead::default()));
    assert_eq!(reads(&node.take()).len(), 1);
}

/// A migration while the server is away: triggers that it took with it must not be missing until the server is back.
#[test]
fn a_schema_change_that_nobody_asked_about_is_read_whatever_the_publisher_does() {
    let checking = Node::fresh();
    let waiting = {
        let mut node = Node::ready();
        node.send(Input::LogChanged);
        let groups = BTreeMap::from([(Shard::FIRST, vec![body(origin(1), 10, 1)])]);
        node.send(Input::LogRead(one_set(position(10), groups)));
        node.send(Input::PublishFailed { shard: Shard::FIRST, error: "away".to_owned() });
        node
    };
    let off = {
        let mut node = Node::with(state(), |settings| settings.publish = false);
        node.send(Input::StreamObserved { source: own(), stream: facts(0) });
        node
    };
    for mut node in [checking, waiting, off] {
        node.take();
        node.send(Input::SchemaDiffers);
        node.send(Input::SchemaDiffers);
        assert_eq!(node.take(), [Effect::ReadSchema], "once");
        node.send(Input::SchemaRead(SchemaRead::default()));
        node.take();
        node.send(Input::SchemaDiffers);
        assert_eq!(node.take(), [Effect::ReadSchema]);
    }
}

#[test]
fn a_busy_database_is_asked_again() {
    let mut node = Node::ready();
    node.send(Input::LogChanged);
    node.take();
    node.send(Input::StoreFailed { request: StoreRequest::ReadLog, busy: true, error: "busy".to_owned() });
    assert!(node.take().iter().any(|e| matches!(e, Effect::SetTimer { timer: Timer::RetryRead, .. })));
    node.send(Input::TimerFired(Timer::RetryRead));
    assert_eq!(reads(&node.take()).len(), 1);
}

#[test]
fn with_publish_off_nothing_is_read_and_peers_are_followed_all_the_same() {
    let mut node = Node::with(state(), |settings| settings.publish = false);
    node.send(Input::SourceAdded { source: peer(), shard: Shard::FIRST });
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    node.send(Input::LogChanged);
    let effects = node.take();
    assert!(reads(&effects).is_empty());
    assert!(effects.iter().any(|e| matches!(e, Effect::Observe(o) if o.source == peer())));
}

#[test]
fn the_end_waits_for_what_is_under_way_and_saves_it() {
    let mut node = Node::ready();
    node.send(Input::LogChanged);
    node.send(read(10));
    node.send(Input::ShutdownRequested);
    assert!(!node.take().contains(&Effect::Exit));
    node.send(published(1));
    let effects = node.take();
    assert!(effects.iter().any(|e| matches!(e, Effect::Housekeep(_))));
    assert!(!effects.contains(&Effect::Exit));
    node.send(Input::Housekept(Housekept::default()));
    assert_eq!(node.take().last(), Some(&Effect::Exit));
}
