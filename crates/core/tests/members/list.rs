//! One known peer is enough; addresses follow their nodes; who leaves, falls silent or is removed.

use harmonylite_core::limits::{HEARTBEAT_MS, KNOWN_MEMBERS_MAX, SILENT_AFTER_MS};
use harmonylite_core::members::{Answer, Forgetting, Heard, Life, MemberState, RefusalKind, Roster};

use super::{at, beat, beat_as, call, identity, is_refused, node, refusal_of, roster, running, state_of};

const SILENT_S: u64 = SILENT_AFTER_MS / 1000;

#[test]
fn a_node_that_knows_one_member_learns_the_addresses_of_the_others() {
    let (mut a, mut b, mut c) = (roster(1), roster(2), roster(3));
    assert_eq!(call(&mut c, &mut b, 1), Heard::Member(node(2)));
    beat(&mut b, 2);
    assert_eq!(call(&mut a, &mut b, 2), Heard::Member(node(2)));
    assert_eq!(a.addresses()[&node(3)], "10.0.0.3:4221");
    assert_eq!(state_of(&a, 3, 2), Some(MemberState::Silent { since_ms: None }));
    call(&mut a, &mut c, 3);
    assert_eq!(state_of(&a, 3, 3), Some(MemberState::Alive));
}

#[test]
fn the_one_that_is_called_learns_who_called() {
    let (mut a, mut b) = (roster(1), roster(2));
    call(&mut a, &mut b, 1);
    assert_eq!(b.addresses()[&node(1)], "10.0.0.1:4221");
    assert_eq!(state_of(&b, 1, 1), Some(MemberState::Alive));
}

#[test]
fn an_older_address_that_somebody_still_tells_does_not_come_back() {
    let (mut a, mut b, mut c) = (roster(1), roster(2), roster(3));
    call(&mut c, &mut b, 1);
    call(&mut c, &mut a, 1);
    let mut moved = identity(3, 301, 3, 20);
    moved.address = Some("10.0.0.99:4221".to_owned());
    let mut c = running(moved, 20);
    call(&mut c, &mut a, 21);
    // Node 2 has not heard of the move and still tells the old address, also after node 3 is silent again.
    for seconds in [22, 40] {
        let telling_the_old = Answer::Welcome(Box::new(beat(&mut b, seconds)));
        assert_eq!(a.on_answer(at(seconds), &telling_the_old), Heard::Member(node(2)));
        assert_eq!(a.addresses()[&node(3)], "10.0.0.99:4221");
    }
    call(&mut a, &mut b, 41);
    // And node 2, which does not hear node 3, takes over the new one.
    assert_eq!(b.addresses()[&node(3)], "10.0.0.99:4221");
}

#[test]
fn a_record_that_comes_late_does_not_replace_a_newer_one() {
    let (mut a, mut b) = (roster(1), roster(2));
    let old = beat(&mut a, 1);
    let new = beat_as(&mut a, 2, Life::Stopped);
    b.on_hello(at(2), &new);
    b.on_hello(at(2), &old);
    assert_eq!(state_of(&b, 1, 2), Some(MemberState::Stopped { since_ms: at(2).wall_ms }));
}

#[test]
fn one_that_says_goodbye_is_stopped_and_one_that_says_nothing_is_silent() {
    let (mut a, mut b, mut c) = (roster(1), roster(2), roster(3));
    call(&mut a, &mut b, 1);
    call(&mut c, &mut b, 1);
    let goodbye = beat_as(&mut a, 3, Life::Stopped);
    b.on_hello(at(3), &goodbye);
    let since_ms = at(3).wall_ms;
    assert_eq!(state_of(&b, 1, 3), Some(MemberState::Stopped { since_ms }));
    assert_eq!(state_of(&b, 3, SILENT_S), Some(MemberState::Alive));
    let silent = MemberState::Silent { since_ms: Some(at(1).wall_ms) };
    assert_eq!(state_of(&b, 3, 1 + SILENT_S), Some(silent));
    assert_eq!(state_of(&b, 1, 60), Some(MemberState::Stopped { since_ms }));
}

#[test]
fn silence_is_measured_by_the_clock_that_nobody_sets() {
    let (mut a, mut b) = (roster(1), roster(2));
    call(&mut a, &mut b, 1);
    let mut now = at(1);
    now.wall_ms += 3_600_000;
    now.steady_ms += HEARTBEAT_MS;
    let views = b.views(now);
    assert!(views.iter().all(|view| view.state == MemberState::Alive), "{views:?}");
}

#[test]
fn a_node_of_another_cluster_or_with_other_shards_is_refused_and_nothing_is_learnt_from_it() {
    let mut other = identity(2, 200, 2, 0);
    other.cluster = "else".to_owned();
    let mut sharded = identity(3, 300, 3, 0);
    sharded.shards = 4;
    for (identity, kind) in [(other, RefusalKind::Cluster), (sharded, RefusalKind::Shards)] {
        let (mut a, mut b) = (roster(1), running(identity, 0));
        let answer = a.on_hello(at(1), &beat(&mut b, 1));
        assert!(is_refused(&answer, kind), "{answer:?}");
        let refused = a.refused(at(1));
        assert_eq!((refused.len(), refused[0].refusal.kind), (1, kind));
        assert_eq!(refusal_of(&b.on_answer(at(1), &answer)).kind, kind);
        assert!(a.addresses().is_empty() && b.addresses().is_empty());
        // The caller is no member; it is shown while it comes, and a while longer.
        assert!(a.refused(at(30)).len() == 1 && a.refused(at(90)).is_empty());
    }
}

#[test]
fn a_forgotten_member_is_gone_everywhere_until_it_comes_back() {
    let (mut a, mut b, mut c) = (roster(1), roster(2), roster(3));
    for (x, y) in [(1, 2), (1, 3), (2, 3)] {
        let mut all = [&mut a, &mut b, &mut c];
        let (left, right) = all.split_at_mut(y - 1);
        call(left[x - 1], right[0], 1);
    }
    assert_eq!(a.forget(at(2), node(3)), Err(Forgetting::Alive));
    assert_eq!(a.forget(at(2), node(9)), Err(Forgetting::Unknown));
    assert_eq!(a.forget(at(2), node(1)), Err(Forgetting::Myself));
    // Node 3 is gone; the others go on.
    call(&mut a, &mut b, 20);
    assert_eq!(a.forget(at(20), node(3)), Ok(()));
    assert!(!a.is_member(node(3)) && state_of(&a, 3, 20).is_none());
    assert_eq!(a.forget(at(20), node(3)), Err(Forgetting::Unknown));
    call(&mut a, &mut b, 22);
    assert!(!b.is_member(node(3)) && !b.addresses().contains_key(&node(3)));
    // What node 2 tells does not bring it back, a word of its own does, at each node that hears it.
    call(&mut b, &mut a, 23);
    assert!(!a.is_member(node(3)));
    call(&mut c, &mut a, 30);
    assert!(a.is_member(node(3)));
    call(&mut a, &mut b, 31);
    assert!(b.is_member(node(3)), "a newer word than the removal");
}

#[test]
fn members_are_known_again_after_a_restart_and_removals_too() {
    let (mut a, mut b, mut c) = (roster(1), roster(2), roster(3));
    call(&mut b, &mut a, 1);
    call(&mut c, &mut a, 1);
    a.forget(at(20), node(3)).unwrap();
    let again = Roster::new(identity(1, 101, 1, 30), a.to_save());
    assert_eq!(again.addresses().into_keys().collect::<Vec<_>>(), [node(2)]);
    assert!(!again.is_member(node(3)));
    assert_eq!(again.to_save(), a.to_save());
}

#[test]
fn the_list_is_bounded_and_makes_room_of_what_was_removed() {
    let mut a = roster(10_000);
    for id in 1..=KNOWN_MEMBERS_MAX as u64 {
        a.on_hello(at(1), &beat(&mut roster(id), 1));
    }
    let answer = a.on_hello(at(1), &beat(&mut roster(999), 1));
    assert!(is_refused(&answer, RefusalKind::NotNow), "{answer:?}");
    a.forget(at(60), node(1)).unwrap();
    a.on_hello(at(60), &beat(&mut roster(999), 60));
    assert!(a.is_member(node(999)) && a.to_save().len() == KNOWN_MEMBERS_MAX);
}
