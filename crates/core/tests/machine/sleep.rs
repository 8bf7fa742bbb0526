//! Falling asleep when nothing happens (`sleep_timeout`), and settings that change while the node runs.

use super::*;
use harmonylite_core::effect::Timer;
use harmonylite_core::input::{Housekept, Tuning};

const TUNING: Tuning =
    Tuning { housekeeping_interval_ms: 5000, clock_drift_max_ms: Some(10_000), sleep_after_ms: Some(60_000) };

/// Ready, following node 2, and asleep after a minute.
fn drowsy() -> Node {
    let mut node = Node::following();
    node.send(Input::Retuned(TUNING));
    assert!(wound_up(&node.take()), "the minute begins");
    node
}

fn wound_up(effects: &[Effect]) -> bool {
    effects.contains(&Effect::SetTimer { timer: Timer::Sleep, after_ms: 60_000 })
}

fn falls_asleep(node: &mut Node) -> bool {
    node.send(Input::TimerFired(Timer::Sleep));
    events(&node.effects).contains(&Event::FallsAsleep { after_ms: 60_000 })
}

#[test]
fn a_node_with_nothing_to_do_ends_in_order() {
    let mut node = drowsy();
    assert!(falls_asleep(&mut node));
    if node.effects.iter().any(|effect| matches!(effect, Effect::Housekeep(_))) {
        node.send(Input::Housekept(Housekept::default()));
    }
    assert!(node.take().contains(&Effect::Exit));
}

#[test]
fn the_time_begins_with_the_start() {
    let mut effects = Effects::new();
    let node = Node::with(state(), |settings| settings.sleep_after_ms = Some(60_000));
    effects.extend(node.effects);
    assert!(wound_up(&effects));
}

#[test]
fn a_write_here_or_elsewhere_begins_the_time_again() {
    let mut node = drowsy();
    node.send(Input::LogChanged);
    assert!(wound_up(&node.take()), "a local commit");
    node.send(Input::LogRead(LogRead::default()));
    node.take();
    node.deliver_group(1, &group(0, 1));
    assert!(wound_up(&node.take()), "a change of another node");
    node.applied();
    assert!(wound_up(&node.take()), "its apply");
}

#[test]
fn what_is_not_sent_or_not_applied_keeps_it_awake() {
    let mut node = drowsy();
    node.deliver_group(1, &group(0, 1));
    node.take();
    assert!(!falls_asleep(&mut node), "an apply is under way");
    assert!(wound_up(&node.take()));
    node.applied();
    node.send(Input::LogChanged);
    assert!(!falls_asleep(&mut node), "the log is being read");
    node.send(Input::LogRead(one_set(
        position(10),
        BTreeMap::from([(Shard::FIRST, vec![body(origin(1), 10, 1)])]),
    )));
    assert!(!falls_asleep(&mut node), "it is not acknowledged");
    node.send(Input::PublishFailed { shard: Shard::FIRST, error: "nobody answers".to_owned() });
    assert!(!falls_asleep(&mut node), "nobody knows whether it is stored");
}

#[test]
fn a_peer_that_is_out_of_reach_keeps_nobody_awake() {
    let mut node = drowsy();
    let (source, epoch) = (peer(), node.epochs.get(&peer()).copied());
    node.send(Input::SourceLost { source, epoch, error: "refused".to_owned() });
    assert!(falls_asleep(&mut node));
}

#[test]
fn without_a_time_nothing_falls_asleep() {
    let mut node = drowsy();
    node.send(Input::Retuned(Tuning { sleep_after_ms: None, ..TUNING }));
    assert!(!falls_asleep(&mut node), "a timer that was wound up before");
    node.send(Input::LogChanged);
    assert!(!wound_up(&node.take()));
}

#[test]
fn another_interval_of_housekeeping_holds_at_once() {
    let mut node = Node::ready();
    node.send(Input::Retuned(Tuning { housekeeping_interval_ms: 200, ..TUNING }));
    let timer = Effect::SetTimer { timer: Timer::Housekeeping, after_ms: 200 };
    assert!(node.take().contains(&timer));
    node.send(Input::TimerFired(Timer::Housekeeping));
    assert!(node.take().contains(&timer), "and from then on");
}

#[test]
fn a_clock_within_a_wider_limit_is_no_alarm_any_more() {
    let mut node = Node::following();
    node.deliver_group(1, &group(0, 1));
    let clocks = BTreeMap::from([(origin(2), Hlc::from_millis(node.now + 60_000))]);
    node.send(Input::Applied(Applied { clocks, ..Applied::default() }));
    assert_eq!(node.replicator.status().clocks_ahead.len(), 1);
    node.send(Input::Retuned(Tuning { clock_drift_max_ms: None, ..TUNING }));
    assert!(node.replicator.status().clocks_ahead.is_empty());
}
