//! Starting again: where the own stream ends, which stream it is, and whether the database is the one it was (R6, R9).

use super::*;
use harmonylite_core::effect::Follow;
use harmonylite_core::effect::Timer;
use harmonylite_core::input::{ApplyFailure, Housekept, StoreRequest};

fn follows(effects: &[Effect]) -> Vec<Follow> {
    effects.iter().filter_map(|e| if let Effect::Follow(f) = e { Some(f.clone()) } else { None }).collect()
}

/// A node that saved less than it published: killed before housekeeping.
fn behind() -> Node {
    let mut state = state();
    let first = group_of(1, 0, 10, 1);
    state.published.settled = position(10);
    state.published.by_shard.insert(Shard::FIRST, position(10));
    state.checkpoints.insert(own(), checkpoint(1, first[0].mark));
    let mut node = Node::with(state, |_| ());
    let stream = StreamFacts { mark: Some(first[0].mark), ..facts(3) };
    node.send(Input::StreamObserved { source: own(), stream });
    node
}

#[test]
fn the_own_stream_is_read_from_the_checkpoint_and_tells_what_is_published() {
    let mut node = behind();
    assert_eq!(follows(&node.take())[0].after, StreamSequence(1));
    node.deliver(&own(), 2, &group_of(1, 10, 20, 1)[0].bytes);
    node.deliver(&own(), 3, &group_of(1, 20, 30, 1)[0].bytes);
    let effects = node.take();
    assert!(effects.iter().any(|e| matches!(e, Effect::InspectOwnFrames(_))));
    assert!(!effects.iter().any(|e| matches!(e, Effect::ReadLog(_))), "not before the store has looked");
    node.send(Input::OwnFramesInspected { older_copy: None });
    node.send(Input::OwnFramesInspected { older_copy: None });
    let read = node.take().into_iter().find_map(|e| if let Effect::ReadLog(r) = e { Some(r) } else { None });
    assert_eq!(read.unwrap().published[&Shard::FIRST], position(30));
    assert_eq!(node.checkpoint_of(&own()), 3);
}

/// Found by the simulator (seed 190 of its first version): the application held the lock, then SIGTERM came.
#[test]
fn an_inspection_that_the_store_refused_does_not_hold_up_the_end() {
    let mut node = behind();
    node.deliver(&own(), 2, &group_of(1, 10, 20, 1)[0].bytes);
    let (request, error) = (StoreRequest::InspectOwnFrames, "database is locked".to_owned());
    node.send(Input::StoreFailed { request, busy: true, error });
    node.send(Input::ShutdownRequested);
    assert!(!node.take().contains(&Effect::Exit), "the retry is still due");
    node.send(Input::TimerFired(Timer::RetryStore));
    assert!(node.take().contains(&Effect::Exit));
}

/// Found by the simulator (seed 3503 of its first version): the checkpoint of an own stream was saved by an apply before
/// the published position that it implied. A power loss then began a new life that missed the frames between the two.
#[test]
fn what_own_frames_tell_is_saved_together_with_their_checkpoint() {
    let mut node = behind();
    node.deliver(&own(), 2, &group_of(1, 10, 20, 1)[0].bytes);
    // A frame of an older life of ours: the own stream is read once more, to apply it.
    let older = group_from(Origin::from_raw(1, 3).unwrap(), 0, 5, 1);
    node.deliver(&own(), 3, &older[0].bytes);
    node.send(Input::OwnFramesInspected { older_copy: None });
    node.deliver(&own(), 3, &older[0].bytes);
    let batch = node.take_apply();
    assert_eq!(batch.checkpoints[&own()].sequence, StreamSequence(3));
    assert_eq!(batch.published.by_shard[&Shard::FIRST], position(20));
}

/// Found by the simulator (seed 1049 of its second version): a group of a process that lost power came late.
#[test]
fn a_strange_own_frame_in_a_shared_stream_is_inspected_whenever_it_comes() {
    let mut node = Node::with(state(), |settings| settings.shared = true);
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    node.send(Input::LogRead(LogRead::default()));
    // Its own groups, which it sends and which come back, are known.
    node.send(Input::LogChanged);
    let set =
        |through| one_set(position(through), [(Shard::FIRST, vec![body(origin(1), through, 1)])].into());
    node.take();
    let sets = [5, 10].into_iter().flat_map(|through| set(through).sets).collect();
    node.send(Input::LogRead(LogRead { sets, ..LogRead::default() }));
    let sent = node.take().into_iter().find_map(|effect| match effect {
        Effect::Publish(publish) => Some(publish.messages),
        _ => None,
    });
    let inspects = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::InspectOwnFrames(_)));
    for (message, sequence) in sent.unwrap().iter().zip(1..) {
        node.deliver(&own(), sequence, &message.bytes);
        assert!(!inspects(&node.take()));
    }
    node.deliver(&own(), 3, &group_of(1, 10, 20, 1)[0].bytes);
    assert!(inspects(&node.take()), "this process did not send it");
    node.send(Input::OwnFramesInspected { older_copy: Some("not in the log".to_owned()) });
    assert!(!node.take().contains(&Effect::MintIncarnation), "the old life waits for an acknowledgement");
    node.send(Input::Published { shard: Shard::FIRST, last: StreamSequence(2) });
    assert_eq!(node.take(), [Effect::MintIncarnation], "and reads no more");
}

/// Found by the simulator (seed 2014754): the next process saw the end of the group only, did not know it for published, and
/// sent it again, a duplicate, until the server had forgotten it.
#[test]
fn the_checkpoint_never_stands_inside_a_group_of_our_own() {
    let mut node = Node::with(state(), |settings| settings.shared = true);
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    node.send(Input::LogRead(LogRead::default()));
    node.send(Input::LogChanged);
    node.take();
    let groups = BTreeMap::from([(Shard::FIRST, vec![body(origin(1), 10, 5000)])]);
    node.send(Input::LogRead(one_set(position(10), groups)));
    let sent = node.take().into_iter().find_map(|effect| match effect {
        Effect::Publish(publish) => Some(publish.messages),
        _ => None,
    });
    let sent = sent.unwrap();
    assert_eq!(sent.len(), 2);
    node.deliver(&own(), 1, &sent[0].bytes);
    assert_eq!(node.checkpoint_of(&own()), 0);
    // Another node's group, stored between two batches of ours.
    node.deliver(&own(), 2, &group(0, 5)[0].bytes);
    node.take();
    node.applied();
    assert_eq!(node.checkpoint_of(&own()), 0);
    node.deliver(&own(), 3, &sent[1].bytes);
    assert_eq!(node.checkpoint_of(&own()), 3);
}

/// Found by the simulator (seed 3012968): an own frame that was inspected while another node's group before it waited, because
/// the application held the lock, moved the checkpoint beyond that group; after a kill it never came again.
#[test]
fn an_inspected_own_frame_does_not_move_the_checkpoint_beyond_what_waits() {
    let mut node = Node::with(state(), |settings| settings.shared = true);
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    node.send(Input::LogRead(LogRead::default()));
    node.take();
    node.deliver(&own(), 1, &group(0, 5)[0].bytes);
    node.take_apply();
    node.send(Input::ApplyFailed(ApplyFailure::Busy));
    node.deliver(&own(), 2, &group_of(1, 0, 10, 1)[0].bytes);
    assert!(node.take().iter().any(|effect| matches!(effect, Effect::InspectOwnFrames(_))));
    node.send(Input::OwnFramesInspected { older_copy: None });
    assert_eq!(node.checkpoint_of(&own()), 0);
    node.send(Input::TimerFired(Timer::RetryApply));
    assert_eq!(node.take_apply().checkpoints[&own()].sequence, StreamSequence(2), "with that group");
    node.applied();
    assert_eq!(node.checkpoint_of(&own()), 2);
}

/// In shared mode, with a write of ours that is being read: a group of a lost life comes.
fn older_copy_while_reading() -> Node {
    let mut node = Node::with(state(), |settings| settings.shared = true);
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    node.send(Input::LogRead(LogRead::default()));
    node.send(Input::LogChanged);
    node.take();
    node.deliver(&own(), 1, &group_of(1, 10, 20, 1)[0].bytes);
    node.send(Input::OwnFramesInspected { older_copy: Some("not in the log".to_owned()) });
    node
}

/// Found by the simulator (seed 1054948): what the old life had asked the store for was answered to the new one, which took a
/// row for sent that was not, and then sent groups in the wrong order.
#[test]
fn a_new_life_begins_when_the_old_one_has_its_answers_and_sends_nothing_more() {
    let mut node = older_copy_while_reading();
    assert!(!node.take().contains(&Effect::MintIncarnation), "the log is being read");
    let groups = BTreeMap::from([(Shard::FIRST, vec![body(origin(1), 30, 1)])]);
    node.send(Input::LogRead(one_set(position(30), groups)));
    assert_eq!(node.take(), [Effect::MintIncarnation], "and nothing is sent");
    node.send(Input::LogChanged);
    node.send(Input::TimerFired(Timer::RetryRead));
    assert_eq!(node.take(), []);
}

#[test]
fn a_new_life_does_not_wait_for_a_read_that_the_store_refused() {
    let mut node = older_copy_while_reading();
    let (request, error) = (StoreRequest::ReadLog, "database is locked".to_owned());
    node.send(Input::StoreFailed { request, busy: true, error });
    let effects = node.take();
    assert!(effects.contains(&Effect::MintIncarnation), "{effects:?}");
    node.send(Input::TimerFired(Timer::RetryRead));
    assert_eq!(node.take(), []);
}

/// Found by the simulator (seed 5073940): the answer came to the sources of the new life, whose groups it seemed to settle;
/// they counted less than none under way, and the own streams were never read to their end.
#[test]
fn a_new_life_begins_when_the_apply_under_way_is_answered() {
    let committed = Input::Applied(Applied::default());
    for answer in [committed, Input::ApplyFailed(ApplyFailure::Busy)] {
        let mut node = Node::with(state(), |settings| settings.shared = true);
        node.send(Input::StreamObserved { source: own(), stream: facts(0) });
        node.send(Input::LogRead(LogRead::default()));
        node.deliver(&own(), 1, &group_of(2, 0, 10, 1)[0].bytes);
        node.take_apply();
        node.deliver(&own(), 2, &group_of(1, 10, 20, 1)[0].bytes);
        node.send(Input::OwnFramesInspected { older_copy: Some("not in the log".to_owned()) });
        assert!(!node.take().contains(&Effect::MintIncarnation), "an apply is under way");
        node.send(answer);
        let effects = node.take();
        assert!(effects.contains(&Effect::MintIncarnation), "{effects:?}");
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Apply(_))), "{effects:?}");
    }
}

#[test]
fn a_new_life_begins_when_the_housekeeping_under_way_is_answered() {
    let (request, error) = (StoreRequest::Housekeep, "database is locked".to_owned());
    for answer in [Input::Housekept(Housekept::default()), Input::StoreFailed { request, busy: true, error }]
    {
        let mut node = Node::with(state(), |settings| settings.shared = true);
        node.send(Input::StreamObserved { source: own(), stream: facts(0) });
        node.send(Input::LogRead(LogRead::default()));
        node.send(Input::TimerFired(Timer::Housekeeping));
        assert!(node.take().iter().any(|effect| matches!(effect, Effect::Housekeep(_))));
        node.deliver(&own(), 1, &group_of(1, 10, 20, 1)[0].bytes);
        node.send(Input::OwnFramesInspected { older_copy: Some("not in the log".to_owned()) });
        assert!(!node.take().contains(&Effect::MintIncarnation), "housekeeping is under way");
        node.send(answer);
        assert!(node.take().contains(&Effect::MintIncarnation));
    }
}

/// Its positions are of the old life: saved after the new one has begun, they would hide rows that it has to send.
#[test]
fn nothing_is_saved_between_the_sign_of_an_older_copy_and_the_new_life() {
    let mut node = older_copy_while_reading();
    node.take();
    node.send(Input::TimerFired(Timer::Housekeeping));
    let effects = node.take();
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Housekeep(_))), "{effects:?}");
}

/// Found by the simulator: a node that was killed between publishing and trimming kept its log until the next write.
#[test]
fn the_first_housekeeping_after_a_start_looks_at_what_was_left() {
    let mut node = Node::ready();
    node.send(Input::TimerFired(Timer::Housekeeping));
    assert!(node.take().iter().any(|effect| matches!(effect, Effect::Housekeep(_))));
    node.send(Input::Housekept(Housekept::default()));
    node.send(Input::TimerFired(Timer::Housekeeping));
    assert!(!node.take().iter().any(|effect| matches!(effect, Effect::Housekeep(_))), "nothing is left");
}

#[test]
fn an_older_copy_gets_its_own_frames_back_before_it_publishes() {
    let mut node = behind();
    node.deliver(&own(), 2, &group_of(1, 10, 20, 1)[0].bytes);
    node.deliver(&own(), 3, &group_of(1, 20, 30, 1)[0].bytes);
    node.take();
    let older_copy = Some("row t 5 is not in the log".to_owned());
    node.send(Input::OwnFramesInspected { older_copy });
    assert!(node.take().contains(&Effect::MintIncarnation));
    let mut state = state();
    state.origin = Origin::new(NodeId::new(1).unwrap(), Incarnation::new(99).unwrap());
    state.positions.insert((origin(1), Shard::FIRST), position(10));
    let first = group_of(1, 0, 10, 1)[0].mark;
    state.checkpoints.insert(own(), checkpoint(1, first));
    node.send(Input::IncarnationMinted(state));
    node.take();
    node.send(Input::StreamObserved { source: own(), stream: StreamFacts { mark: Some(first), ..facts(3) } });
    // The first pass finds nothing of the new origin; the second applies what the old one had sent.
    for _ in 0..2 {
        node.deliver(&own(), 2, &group_of(1, 10, 20, 1)[0].bytes);
        node.deliver(&own(), 3, &group_of(1, 20, 30, 1)[0].bytes);
    }
    let mut applied = Vec::new();
    while node.wants_apply() {
        applied.extend(node.take_apply().groups.iter().map(|group| (group.origin, group.through)));
        assert!(!node.effects.iter().any(|e| matches!(e, Effect::ReadLog(_))), "own frames come back first");
        node.applied();
    }
    assert_eq!(applied, [(origin(1), position(20)), (origin(1), position(30))]);
    let read = node.take().into_iter().find_map(|e| if let Effect::ReadLog(r) = e { Some(r) } else { None });
    assert_eq!(read.unwrap().settled, position(0));
}

#[test]
fn a_stream_made_anew_is_read_from_its_start() {
    for (change, word) in [
        ((|f: &mut StreamFacts| f.stream_id = "another".to_owned()) as fn(&mut StreamFacts), "anew"),
        (|f| f.last = StreamSequence(2), "ends at"),
        (|f| f.mark = Some(FrameMark(1)), "another message"),
        (|f| f.mark = None, "another message"),
    ] {
        let mut state = state();
        state.checkpoints.insert(peer(), checkpoint(5, FrameMark(77)));
        state.positions.insert((origin(2), Shard::FIRST), position(50));
        let mut node = Node::with(state, |_| ());
        node.send(Input::StreamObserved { source: own(), stream: facts(0) });
        node.send(Input::SourceAdded { source: peer(), shard: Shard::FIRST });
        node.take();
        let mut stream = StreamFacts { mark: Some(FrameMark(77)), ..facts(9) };
        change(&mut stream);
        node.send(Input::StreamObserved { source: peer(), stream });
        let effects = node.take();
        let restarted =
            |e: &Event| matches!(e, Event::StreamRestarted { reason, .. } if reason.contains(word));
        assert!(events(&effects).iter().any(restarted), "{word}");
        assert_eq!(follows(&effects)[0].after, StreamSequence(0), "{word}");
        node.deliver_group(1, &group(0, 50));
        assert!(!node.wants_apply(), "positions still decide");
        node.deliver_group(2, &group(50, 60));
        assert!(node.wants_apply());
    }
}

#[test]
fn the_same_stream_is_followed_from_the_checkpoint_even_when_its_head_is_gone() {
    let mut state = state();
    state.checkpoints.insert(peer(), checkpoint(5, FrameMark(77)));
    state.positions.insert((origin(2), Shard::FIRST), position(50));
    let mut node = Node::with(state, |_| ());
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    node.send(Input::SourceAdded { source: peer(), shard: Shard::FIRST });
    node.take();
    node.send(Input::StreamObserved {
        source: peer(),
        stream: StreamFacts { first: StreamSequence(8), ..facts(9) },
    });
    assert_eq!(follows(&node.take())[0].after, StreamSequence(5));
    node.deliver_group(8, &group(60, 70));
    assert_eq!(node.state_of(&peer()), "stopped", "what is gone is missing");
}

/// A replica at sequence 1 of its peer's stream, one group with the store and one waiting, whose stream is rolled back:
/// a killed server had shown messages that it had not stored.
fn rolled_back() -> Node {
    let mut node = Node::following();
    node.deliver_group(1, &group(0, 10));
    node.take_apply();
    node.applied();
    node.deliver_group(2, &group(10, 20));
    assert_eq!(node.take_apply().groups[0].through, position(20));
    node.deliver_group(3, &group(20, 30));
    node.send(Input::TimerFired(Timer::Observe(peer())));
    let stream = StreamFacts { mark: Some(FrameMark(1)), ..facts(2) };
    node.send(Input::StreamObserved { source: peer(), stream });
    assert_eq!(follows(&node.take())[0].after, StreamSequence(0));
    node.deliver_group(1, &group(0, 10));
    node
}

#[test]
fn what_waited_when_its_stream_was_rolled_back_is_taken_when_it_comes_again() {
    let mut node = rolled_back();
    // The same rows, grouped otherwise.
    node.deliver_group(2, &group(10, 30));
    node.applied();
    assert_eq!(node.take_apply().groups[0].through, position(30));
    assert_eq!(node.replicator.status().counters.groups_dropped, 1, "only what is applied");
}

#[test]
fn an_apply_that_fails_after_its_stream_was_rolled_back_is_tried_again() {
    let mut node = rolled_back();
    node.deliver_group(2, &group(10, 20));
    node.deliver_group(3, &group(20, 30));
    node.send(Input::ApplyFailed(ApplyFailure::Busy));
    node.send(Input::TimerFired(Timer::RetryApply));
    let throughs: Vec<_> = node.take_apply().groups.iter().map(|group| group.through).collect();
    assert_eq!(throughs, [position(20), position(30)]);
    node.applied();
    assert_eq!((node.state_of(&peer()), node.checkpoint_of(&peer())), ("following", 3));
}

#[test]
fn a_checkpoint_that_moves_while_the_stream_is_looked_at_is_no_other_stream() {
    let mut node = Node::following();
    let (first, second) = (group(0, 10), group(10, 20));
    node.deliver_group(1, &first);
    node.applied();
    node.deliver_group(2, &second);
    node.take();
    node.send(Input::TimerFired(Timer::Observe(peer())));
    node.applied();
    assert_eq!(node.checkpoint_of(&peer()), 2);
    // The answer is about the checkpoint at which we asked.
    node.send(Input::StreamObserved {
        source: peer(),
        stream: StreamFacts { mark: Some(first[0].mark), ..facts(2) },
    });
    assert!(!events(&node.take()).iter().any(|e| matches!(e, Event::StreamRestarted { .. })));
    assert_eq!(node.state_of(&peer()), "following");
}

#[test]
fn a_stream_that_lost_its_end_is_read_again_from_the_checkpoint_before() {
    let mut node = Node::following();
    let (first, lost) = (group(0, 10), group(10, 20));
    for (sequence, messages) in [(1, &first), (2, &lost)] {
        node.deliver_group(sequence, messages);
        node.applied();
    }
    let epoch = node.epochs[&peer()];
    node.send(Input::SourceLost { source: peer(), epoch: Some(epoch), error: "killed".to_owned() });
    node.send(Input::TimerFired(Timer::Observe(peer())));
    node.take();
    // Its origin published the same writes again, cut otherwise.
    let again = group(10, 25);
    node.send(Input::StreamObserved {
        source: peer(),
        stream: StreamFacts { mark: Some(again[0].mark), ..facts(2) },
    });
    let effects = node.take();
    let looks = |e: &Effect| matches!(e, Effect::Observe(look) if look.at == StreamSequence(1));
    assert!(effects.iter().any(looks) && follows(&effects).is_empty(), "{effects:?}");
    node.send(Input::StreamObserved {
        source: peer(),
        stream: StreamFacts { mark: Some(first[0].mark), ..facts(2) },
    });
    assert_eq!(follows(&node.take())[0].after, StreamSequence(1));
    node.deliver_group(2, &again);
    let batch = node.take_apply();
    assert_eq!(batch.groups[0].through, position(25));
    assert_eq!(batch.checkpoints[&peer()].mark, again[0].mark);
}

#[test]
fn a_checkpoint_whose_message_nobody_knows_is_taken_for_what_the_stream_holds() {
    let mut state = state();
    state.checkpoints.insert(peer(), checkpoint(2, FrameMark::UNKNOWN));
    let mut node = Node::with(state, |_| ());
    node.send(Input::StreamObserved { source: own(), stream: facts(0) });
    node.send(Input::SourceAdded { source: peer(), shard: Shard::FIRST });
    node.take();
    let stream = StreamFacts { mark: Some(FrameMark(7)), ..facts(3) };
    node.send(Input::StreamObserved { source: peer(), stream });
    let effects = node.take();
    assert_eq!(follows(&effects)[0].after, StreamSequence(2));
    assert!(
        !events(&effects).iter().any(|event| matches!(event, Event::StreamRestarted { .. })),
        "{effects:?}"
    );
}
