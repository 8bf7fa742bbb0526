//! Order, duplicates, gaps, groups, credit, checkpoints (R6, R7, R10).

use super::*;

/// Found by the simulator (seed 17 of its second version): the checkpoint stayed before a message that needed nothing
/// when it came while an apply was under way, until another message came.
#[test]
fn what_is_passed_during_an_apply_moves_the_checkpoint_after_it() {
    let mut node = Node::following();
    node.deliver_group(1, &group(0, 10));
    node.deliver_group(2, &group(5, 10));
    assert_eq!(node.checkpoint_of(&peer()), 0);
    node.applied();
    assert_eq!(node.checkpoint_of(&peer()), 2);
}
use harmonylite_core::effect::{Observe, Timer};
use harmonylite_core::input::{ApplyFailure, Hold, Housekept};
use harmonylite_core::limits::{APPLY_BUSY_MAX_MS, OBSERVE_INTERVAL_MS, SOURCE_WINDOW_MESSAGES};

#[test]
fn peers_are_not_followed_before_the_own_streams_are_checked() {
    let mut node = Node::fresh();
    node.send(Input::SourceAdded { source: peer(), shard: Shard::FIRST });
    let asked =
        |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Observe(o) if o.source == peer()));
    assert!(!asked(&node.take()));
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    assert!(asked(&node.take()));
}

#[test]
fn a_group_is_applied_with_its_checkpoint() {
    let mut node = Node::following();
    let messages = group(0, 10);
    node.deliver_group(1, &messages);
    let batch = node.take_apply();
    assert_eq!((batch.groups[0].prev, batch.groups[0].through), (position(0), position(10)));
    assert_eq!(batch.checkpoints[&peer()].sequence, StreamSequence(1));
    assert_eq!(batch.checkpoints[&peer()].mark, messages[0].mark);
    assert_eq!(batch.checkpoints[&peer()].stream_id, "stream");
    assert_eq!(node.checkpoint_of(&peer()), 0, "not before the commit");
    node.applied();
    assert_eq!(node.checkpoint_of(&peer()), 1);
}

#[test]
fn a_group_in_parts_is_applied_whole_or_not_at_all() {
    let mut node = Node::following();
    let messages = group_of(2, 0, 10, 20_000);
    assert!(messages.len() > 3);
    node.deliver_group(1, &messages[..messages.len() - 1]);
    assert!(!node.wants_apply());
    assert_eq!(node.checkpoint_of(&peer()), 0);
    node.deliver_group(messages.len() as u64, &messages[messages.len() - 1..]);
    let batch = node.take_apply();
    assert_eq!(batch.groups.len(), 1);
    assert_eq!(batch.checkpoints[&peer()].sequence.0, messages.len() as u64);
}

#[test]
fn a_group_whose_last_part_never_came_is_discarded_by_the_next_one() {
    let mut node = Node::following();
    let unfinished = group_of(2, 0, 10, 20_000);
    node.deliver_group(1, &unfinished[..2]);
    node.take();
    node.deliver_group(3, &group(0, 12));
    let effects = node.effects.clone();
    assert!(events(&effects).iter().any(|e| matches!(e, Event::GroupDiscarded { .. })));
    let batch = node.take_apply();
    assert_eq!(batch.groups[0].through, position(12));
    assert_eq!(batch.checkpoints[&peer()].sequence, StreamSequence(3));
}

#[test]
fn what_is_already_applied_is_dropped_and_what_overlaps_is_applied() {
    let mut node = Node::following();
    node.deliver_group(1, &group(0, 10));
    node.take();
    node.applied();
    node.deliver_group(2, &group(0, 10));
    assert!(!node.wants_apply());
    assert_eq!(node.replicator.status().counters.groups_dropped, 1);
    assert_eq!(node.checkpoint_of(&peer()), 2, "a dropped group moves the checkpoint");
    node.deliver_group(3, &group(5, 15));
    assert_eq!(node.take_apply().groups[0].through, position(15));
}

#[test]
fn a_gap_stops_the_source_and_leaves_its_checkpoint_and_the_others_alone() {
    let mut node = Node::following();
    let third = SourceId("3/changes-1".to_owned());
    node.send(Input::SourceAdded { source: third.clone(), shard: Shard::FIRST });
    node.send(Input::StreamObserved { source: third.clone(), stream: facts(0) });
    node.take();
    node.deliver_group(1, &group(5, 10));
    assert!(!node.wants_apply());
    assert_eq!(node.state_of(&peer()), "stopped");
    let reason = node.replicator.status().sources[&peer()].reason.clone().unwrap();
    assert!(reason.contains("missing"), "{reason}");
    assert_eq!(node.checkpoint_of(&peer()), 0);
    assert!(
        node.take()
            .iter()
            .any(|e| matches!(e, Effect::SetTimer { timer: Timer::Observe(s), .. } if *s == peer()))
    );
    node.deliver(&third, 1, &group_of(3, 0, 7, 1)[0].bytes);
    assert_eq!(node.take_apply().groups[0].origin, origin(3));
}

#[test]
fn a_stopped_source_is_tried_again_and_says_so_only_once() {
    let mut node = Node::following();
    node.deliver_group(1, &group(5, 10));
    assert_eq!(events(&node.take()).iter().filter(|e| matches!(e, Event::SourceStopped { .. })).count(), 1);
    node.send(Input::TimerFired(Timer::Observe(peer())));
    assert!(node.take().contains(&Effect::Observe(Observe { source: peer(), at: StreamSequence(0) })));
    node.send(Input::StreamObserved { source: peer(), stream: facts(1) });
    node.deliver_group(1, &group(5, 10));
    assert!(!events(&node.take()).iter().any(|e| matches!(e, Event::SourceStopped { .. })));
    assert_eq!(node.state_of(&peer()), "stopped");
}

/// A look at the peer's stream, which has so many messages.
fn look(node: &mut Node, last: u64) -> Vec<Effect> {
    node.send(Input::TimerFired(Timer::Observe(peer())));
    node.take();
    node.send(Input::StreamObserved { source: peer(), stream: facts(last) });
    node.take()
}

#[test]
fn a_stream_that_goes_on_while_nothing_of_it_comes_is_followed_anew_and_told_of_within_30_s() {
    let mut node = Node::following();
    node.deliver_group(1, &group(0, 10));
    look(&mut node, 1);
    let follows = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Follow(_)));
    let next_look = |effects: &[Effect]| {
        let after = effects.iter().find_map(|effect| match effect {
            Effect::SetTimer { timer: Timer::Observe(source), after_ms } if *source == peer() => {
                Some(*after_ms)
            }
            _ => None,
        });
        after.unwrap()
    };
    // Just after a look; the next one still finds what came before.
    node.deliver_group(2, &group(10, 20));
    let mut silent_ms = next_look(&look(&mut node, 3));
    let first = look(&mut node, 4);
    assert!(follows(&first), "{first:?}");
    assert_eq!(node.state_of(&peer()), "following");
    silent_ms += next_look(&first) + OBSERVE_INTERVAL_MS;
    let second = look(&mut node, 5);
    assert!(follows(&second) && silent_ms < 30_000, "{silent_ms} {second:?}");
    assert!(events(&second).contains(&Event::SourceStalled { source: peer(), behind: 3 }));
    assert_eq!(node.state_of(&peer()), "stalled");
    assert!(events(&look(&mut node, 6)).iter().all(|event| !matches!(event, Event::SourceStalled { .. })));
    node.deliver_group(3, &group(20, 30));
    assert_eq!(node.state_of(&peer()), "following");
}

#[test]
fn garbage_and_other_clusters_are_counted_and_skipped_and_never_applied() {
    let mut node = Node::following();
    let foreign = encode_group(
        &GroupPlace {
            cluster: "other".to_owned(),
            origin: origin(2),
            shard: Shard::FIRST,
            prev: position(0),
            through: position(10),
        },
        vec![body(origin(2), 10, 1)],
        4096,
    );
    node.deliver(&peer(), 1, b"garbage");
    node.deliver(&peer(), 2, &foreign[0].bytes);
    let mut broken = group(0, 10)[0].bytes.clone();
    *broken.last_mut().unwrap() ^= 1;
    node.deliver(&peer(), 3, &broken);
    assert!(!node.wants_apply());
    assert_eq!(node.replicator.status().counters.messages_rejected, 3);
    assert_eq!(node.state_of(&peer()), "following");
    node.deliver_group(4, &group(0, 10));
    assert_eq!(node.take_apply().checkpoints[&peer()].sequence, StreamSequence(4));
}

#[test]
fn what_was_rejected_is_not_counted_again_when_the_stream_is_read_again() {
    let mut node = Node::following();
    node.deliver(&peer(), 1, b"garbage");
    let epoch = node.epochs[&peer()];
    node.send(Input::SourceLost { source: peer(), epoch: Some(epoch), error: "cut".to_owned() });
    node.send(Input::StreamObserved { source: peer(), stream: facts(1) });
    node.deliver(&peer(), 1, b"garbage");
    assert_eq!(node.replicator.status().counters.messages_rejected, 1);
    node.deliver(&peer(), 2, b"more garbage");
    assert_eq!(node.replicator.status().counters.messages_rejected, 2);
}

#[test]
fn a_newer_format_stops_the_source() {
    let mut node = Node::following();
    let mut newer = group(0, 10)[0].bytes.clone();
    newer[4] += 1;
    node.deliver(&peer(), 1, &newer);
    assert_eq!(node.state_of(&peer()), "stopped");
    assert!(node.replicator.status().sources[&peer()].reason.as_ref().unwrap().contains("upgrade"));
}

#[test]
fn own_frames_of_the_current_origin_are_skipped_elsewhere() {
    let mut node = Node::following();
    node.deliver_group(1, &group_of(1, 0, 10, 1));
    assert!(!node.wants_apply());
    assert_eq!(node.state_of(&peer()), "following");
}

#[test]
fn streams_of_another_cluster_or_shard_count_are_not_followed() {
    for (change, word) in [
        ((|f: &mut StreamFacts| f.cluster = "other".to_owned()) as fn(&mut StreamFacts), "cluster"),
        (|f| f.shards = 4, "shards"),
    ] {
        let mut node = Node::ready();
        node.send(Input::SourceAdded { source: peer(), shard: Shard::FIRST });
        node.take();
        let mut stream = facts(3);
        change(&mut stream);
        node.send(Input::StreamObserved { source: peer(), stream });
        assert!(!node.take().iter().any(|e| matches!(e, Effect::Follow(_))));
        assert!(node.replicator.status().sources[&peer()].reason.as_ref().unwrap().contains(word));
    }
}

#[test]
fn one_transaction_at_a_time_and_what_gathers_goes_together() {
    let mut node = Node::following();
    node.deliver_group(1, &group(0, 10));
    node.take_apply();
    node.deliver_group(2, &group(10, 20));
    node.deliver_group(3, &group(20, 30));
    assert!(!node.wants_apply());
    node.applied();
    let batch = node.take_apply();
    assert_eq!(batch.groups.len(), 2);
    assert_eq!(batch.checkpoints[&peer()].sequence, StreamSequence(3));
}

#[test]
fn a_busy_database_delays_and_loses_nothing() {
    let mut node = Node::following();
    node.deliver_group(1, &group(0, 10));
    let first = node.take_apply();
    node.send(Input::ApplyFailed(ApplyFailure::Busy));
    assert!(!node.wants_apply());
    node.send(Input::TimerFired(Timer::RetryApply));
    assert_eq!(node.take_apply().groups, first.groups);
}

#[test]
fn an_apply_that_never_gets_the_lock_does_not_wait_longer_and_longer() {
    let mut node = Node::following();
    node.deliver_group(1, &group(0, 10));
    for _ in 0..20 {
        node.take_apply();
        node.send(Input::ApplyFailed(ApplyFailure::Busy));
        let waits = |effect: &Effect| match effect {
            Effect::SetTimer { timer: Timer::RetryApply, after_ms } => Some(*after_ms),
            _ => None,
        };
        let after_ms = node.take().iter().find_map(waits).unwrap();
        assert!(after_ms <= APPLY_BUSY_MAX_MS, "{after_ms} ms");
        node.send(Input::TimerFired(Timer::RetryApply));
    }
}

/// An apply and housekeeping never follow one another without a pause.
#[test]
fn housekeeping_and_applies_have_the_lock_in_turns_and_pause_in_between() {
    let mut node = Node::following();
    let saves = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Housekeep(_)));
    let hold = Hold {
        rows: 100,
        worked_us: 3_000,
        held_us: 3_000,
        late: false,
        application_writes: 1,
        apart_us: 5_000,
    };
    let paused = Effect::SetTimer { timer: Timer::RetryApply, after_ms: 3 };
    node.deliver_group(1, &group(0, 10));
    node.take_apply();
    node.deliver_group(2, &group(10, 20));
    node.send(Input::TimerFired(Timer::Housekeeping));
    assert!(!saves(&node.take()), "an apply has the lock");
    node.send(Input::Applied(Applied { hold, ..Applied::default() }));
    let effects = node.take();
    assert!(effects.contains(&paused) && !saves(&effects), "the application has its turn");
    node.send(Input::TimerFired(Timer::RetryApply));
    let effects = node.take();
    assert!(saves(&effects) && !effects.iter().any(|e| matches!(e, Effect::Apply(_))), "{effects:?}");
    let more = Housekept { stamped: 100, remaining_rows: 1_000_000, hold, ..Housekept::default() };
    node.send(Input::Housekept(more));
    let effects = node.take();
    assert!(effects.contains(&paused) && !saves(&effects), "so it has after housekeeping");
    node.send(Input::TimerFired(Timer::RetryApply));
    assert!(node.wants_apply(), "although housekeeping is not done");
    node.take_apply();
    node.send(Input::Applied(Applied { hold, ..Applied::default() }));
    node.send(Input::TimerFired(Timer::RetryApply));
    assert!(saves(&node.take()));
}

/// Found by chaos: an apply saved the published positions and trimmed a part of the log; the rest stayed for minutes.
#[test]
fn housekeeping_after_an_apply_looks_at_what_it_left_to_trim() {
    let mut node = Node::following();
    let saves = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Housekeep(_)));
    node.send(Input::TimerFired(Timer::Housekeeping));
    node.send(Input::Housekept(Housekept::default()));
    node.deliver_group(1, &group(0, 10));
    node.take_apply();
    node.send(Input::Applied(Applied::default()));
    node.send(Input::TimerFired(Timer::Housekeeping));
    assert!(saves(&node.take()));
    node.send(Input::Housekept(Housekept::default()));
    node.send(Input::TimerFired(Timer::Housekeeping));
    assert!(!saves(&node.take()), "nothing is left");
}

#[test]
fn a_log_that_is_stamped_first_delays_an_apply_and_loses_nothing() {
    let mut node = Node::following();
    node.deliver_group(1, &group(0, 10));
    let first = node.take_apply();
    let hold = Hold {
        rows: 500,
        worked_us: 2_500,
        held_us: 2_500,
        late: false,
        application_writes: 1,
        apart_us: 5_000,
    };
    node.send(Input::ApplyFailed(ApplyFailure::LogFirst { hold, unstamped_rows: 100 }));
    let effects = node.take();
    assert!(effects.contains(&Effect::SetTimer { timer: Timer::RetryApply, after_ms: 3 }), "{effects:?}");
    node.send(Input::TimerFired(Timer::RetryApply));
    assert_eq!(node.take_apply().groups, first.groups);
}

#[test]
fn after_an_apply_against_a_writing_application_we_pause_as_long_as_we_held() {
    let mut node = Node::following();
    node.deliver_group(1, &group(0, 10));
    node.take();
    node.deliver_group(2, &group(10, 20));
    let hold = Hold {
        rows: 1,
        worked_us: 7_000,
        held_us: 7_000,
        late: false,
        application_writes: 1,
        apart_us: 5_000,
    };
    node.send(Input::Applied(Applied { hold, ..Applied::default() }));
    assert!(!node.wants_apply());
    assert!(node.take().contains(&Effect::SetTimer { timer: Timer::RetryApply, after_ms: 7 }));
    node.send(Input::TimerFired(Timer::RetryApply));
    assert!(node.wants_apply());
}

#[test]
fn a_group_that_does_not_fit_the_schema_stops_its_source_until_the_schema_changes() {
    let mut node = Node::following();
    node.deliver_group(1, &group(0, 10));
    node.take();
    let reason = "table t has other columns".to_owned();
    node.send(Input::ApplyFailed(ApplyFailure::Source { source: peer(), reason, schema: true }));
    assert_eq!(node.state_of(&peer()), "stopped");
    assert!(!node.wants_apply());
    node.take();
    node.send(Input::SchemaRead(SchemaRead::default()));
    assert!(node.take().iter().any(|e| matches!(e, Effect::Observe(o) if o.source == peer())));
    node.send(Input::StreamObserved { source: peer(), stream: facts(1) });
    node.deliver_group(1, &group(0, 10));
    assert!(node.wants_apply());
}

#[test]
fn a_lost_source_goes_on_after_the_last_received_group() {
    let mut node = Node::following();
    node.deliver_group(1, &group(0, 10));
    node.deliver_group(2, &group_of(2, 10, 20, 20_000)[..2]);
    let epoch = node.epochs[&peer()];
    node.send(Input::SourceLost { source: peer(), epoch: Some(epoch), error: "cut".to_owned() });
    assert_eq!(node.state_of(&peer()), "lost");
    node.send(Input::TimerFired(Timer::Observe(peer())));
    node.take();
    node.send(Input::StreamObserved { source: peer(), stream: facts(9) });
    let follow = node.take().into_iter().find_map(|e| if let Effect::Follow(f) = e { Some(f) } else { None });
    assert_eq!(follow.unwrap().after, StreamSequence(1), "the unfinished group comes again");
}

#[test]
fn messages_of_an_earlier_follow_are_ignored() {
    let mut node = Node::following();
    let old = node.epochs[&peer()];
    node.send(Input::SourceLost { source: peer(), epoch: Some(old), error: "cut".to_owned() });
    node.send(Input::StreamObserved { source: peer(), stream: facts(1) });
    node.take();
    let (source, bytes) = (peer(), group(0, 10)[0].bytes.clone());
    node.send(Input::Delivered { source, epoch: old, sequence: StreamSequence(1), bytes });
    assert!(!node.wants_apply());
}

#[test]
fn a_stream_that_moves_without_us_is_followed_anew() {
    let mut node = Node::following();
    node.send(Input::StreamObserved { source: peer(), stream: facts(0) });
    assert!(!node.take().iter().any(|e| matches!(e, Effect::Follow(_))));
    node.send(Input::StreamObserved { source: peer(), stream: facts(4) });
    assert!(node.take().iter().any(|e| matches!(e, Effect::Follow(_))));
}

#[test]
fn credit_comes_back_in_lumps() {
    let mut node = Node::following();
    let mut credit = 0;
    for sequence in 1..=u64::from(SOURCE_WINDOW_MESSAGES) {
        node.deliver(&peer(), sequence, b"garbage");
        for effect in node.take() {
            if let Effect::Credit { messages, .. } = effect {
                credit += messages;
            }
        }
    }
    assert_eq!(credit, SOURCE_WINDOW_MESSAGES);
}

#[test]
fn nodes_that_began_with_other_rows_are_told_apart() {
    let mut node = Node::ready();
    node.send(Input::SourceAdded { source: peer(), shard: Shard::FIRST });
    let untold = StreamFacts { baseline: None, ..facts(0) };
    node.send(Input::StreamObserved { source: peer(), stream: untold });
    assert!(!events(&node.take()).iter().any(|e| matches!(e, Event::BaselineDiffers { .. })));
    let stream = StreamFacts { baseline: Some(BTreeMap::from([("t".to_owned(), 5)])), ..facts(0) };
    node.send(Input::StreamObserved { source: peer(), stream });
    let differs = Event::BaselineDiffers { source: peer(), tables: vec!["t".to_owned()] };
    assert!(events(&node.take()).contains(&differs));
}

#[test]
fn a_source_that_is_removed_is_left_alone_and_goes_on_where_it_was_when_it_comes_back() {
    let mut node = Node::following();
    let (first, second) = (group(0, 10), group(10, 20));
    node.deliver_group(1, &first);
    node.take_apply();
    node.deliver_group(2, &second);
    node.send(Input::SourceRemoved { source: peer() });
    assert!(node.take().contains(&Effect::Unfollow { source: peer() }));
    assert!(node.replicator.status().sources.keys().all(|id| *id != peer()));
    // Neither a late message nor the loss of the connection nor a timer brings it back.
    node.deliver_group(3, &group(20, 30));
    node.send(Input::SourceLost { source: peer(), epoch: None, error: "gone".to_owned() });
    node.send(Input::TimerFired(Timer::Observe(peer())));
    node.send(Input::StreamObserved { source: peer(), stream: facts(2) });
    assert_eq!(node.take(), []);
    // What was with the store is applied, what waited is not.
    node.applied();
    assert!(!node.wants_apply());
    node.take();
    node.send(Input::SourceAdded { source: peer(), shard: Shard::FIRST });
    let stream = StreamFacts { mark: Some(first[0].mark), ..facts(2) };
    node.send(Input::StreamObserved { source: peer(), stream });
    node.take();
    node.deliver_group(2, &second);
    assert_eq!(node.take_apply().groups[0].through, position(20));
}

/// It would be tried without a pause for ever, and nobody's changes would be applied.
#[test]
fn what_is_under_way_of_a_removed_source_is_dropped_when_it_fails() {
    let mut node = Node::following();
    node.deliver_group(1, &group(0, 10));
    node.take_apply();
    node.send(Input::SourceRemoved { source: peer() });
    let failure = ApplyFailure::Source { source: peer(), reason: "does not fit".to_owned(), schema: true };
    node.send(Input::ApplyFailed(failure));
    assert!(!node.wants_apply());
    node.take();
    node.send(Input::SourceAdded { source: peer(), shard: Shard::FIRST });
    node.send(Input::StreamObserved { source: peer(), stream: facts(1) });
    node.take();
    node.deliver_group(1, &group(0, 10));
    assert_eq!(node.take_apply().groups[0].through, position(10), "it comes again");
}
