//! A shared stream that stops at a message of another node, and what is ours behind it.

use super::*;
use harmonylite_core::effect::Timer;

/// A message of node 2 that nobody can take here, for each reason: its predecessor is missing, or its format is newer.
fn untakeable() -> [Vec<u8>; 2] {
    let gap = group_of(2, 10, 20, 1)[0].bytes.clone();
    let mut newer = group_of(2, 0, 20, 1)[0].bytes.clone();
    newer[AT_FORMAT] += 1;
    [gap, newer]
}

/// Where a message has its format.
const AT_FORMAT: usize = 4;

fn published(effects: &[Effect]) -> Option<LogPosition> {
    effects.iter().find_map(|effect| match effect {
        Effect::ReadLog(read) => read.published.get(&Shard::FIRST).copied(),
        _ => None,
    })
}

/// What is read of a stream with two messages, ours behind one of node 2, after the source had to stop at that.
fn read_on(node: &mut Node, theirs: &[u8], ours: &[u8]) {
    assert!(node.take().iter().any(|effect| matches!(effect, Effect::Observe(_))), "it is looked at");
    node.send(Input::StreamObserved { source: own(), stream: facts(2) });
    node.take();
    node.deliver(&own(), 1, theirs);
    node.deliver(&own(), 2, ours);
    assert!(node.take().iter().any(|effect| matches!(effect, Effect::InspectOwnFrames(_))));
    node.send(Input::OwnFramesInspected { older_copy: None });
    assert_eq!(node.state_of(&own()), "stopped", "at the message of node 2");
    assert_eq!(node.checkpoint_of(&own()), 0);
}

/// Nothing of ours would ever be sent again (G6).
#[test]
fn a_shared_stream_that_stops_at_a_message_of_another_node_tells_first_what_it_holds_of_ours() {
    for theirs in untakeable() {
        let mut node = Node::with(state(), |settings| settings.shared = true);
        node.send(Input::StreamObserved { source: own(), stream: facts(0) });
        node.send(Input::LogRead(LogRead::default()));
        node.send(Input::LogChanged);
        let groups = BTreeMap::from([(Shard::FIRST, vec![body(origin(1), 30, 1)])]);
        node.send(Input::LogRead(one_set(position(30), groups)));
        let sent =
            node.take().into_iter().find_map(|e| if let Effect::Publish(p) = e { Some(p) } else { None });
        let ours = sent.unwrap().messages[0].bytes.clone();
        // The acknowledgement is lost; the message of node 2 came first.
        node.send(Input::PublishFailed { shard: Shard::FIRST, error: "no answer".to_owned() });
        node.send(Input::TimerFired(Timer::RetryPublish));
        node.send(Input::StreamObserved { source: own(), stream: facts(2) });
        node.take();
        node.deliver(&own(), 1, &theirs);
        read_on(&mut node, &theirs, &ours);
        assert_eq!(published(&node.take()), Some(position(30)), "it goes on behind what was stored");
        // Later tries stop at the same message at once.
        node.send(Input::TimerFired(Timer::Observe(own())));
        node.send(Input::StreamObserved { source: own(), stream: facts(2) });
        node.deliver(&own(), 1, &theirs);
        assert_eq!(node.state_of(&own()), "stopped");
    }
}

#[test]
fn a_restart_beside_such_a_message_finds_its_own_and_publishes() {
    let [gap, _] = untakeable();
    let mut node = Node::with(state(), |settings| settings.shared = true);
    let ours = group_of(1, 0, 30, 1)[0].bytes.clone();
    node.send(Input::StreamObserved { source: own(), stream: facts(2) });
    node.take();
    node.deliver(&own(), 1, &gap);
    node.deliver(&own(), 2, &ours);
    node.send(Input::OwnFramesInspected { older_copy: None });
    assert!(published(&node.take()).is_none(), "the second pass comes first");
    node.deliver(&own(), 1, &gap);
    read_on(&mut node, &gap, &ours);
    assert_eq!(published(&node.take()), Some(position(30)));
}
