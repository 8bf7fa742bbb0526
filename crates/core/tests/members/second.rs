//! Two nodes with one id: the one that started first goes on, a restart is none.

use harmonylite_core::limits::{RECORD_LATE_MAX_MS, SILENT_AFTER_MS};
use harmonylite_core::members::{Answer, Heard, Life, RefusalKind, Roster};

use super::{at, beat, beat_as, call, identity, is_refused, node, refusal_of, roster, running};

const SILENT_S: u64 = SILENT_AFTER_MS / 1000;

/// Node 1 asks whether it may start.
fn ask(starting: &mut Roster, callee: &mut Roster, seconds: u64) -> Answer {
    let record = beat_as(starting, seconds, Life::Starting);
    callee.on_hello(at(seconds), &record)
}

fn starting(process: u64, home: u64, seconds: u64) -> Roster {
    Roster::new(identity(1, process, home, seconds), Vec::new())
}

#[test]
fn a_second_node_is_refused_at_start_while_the_first_is_alive_and_not_after() {
    let (mut first, mut witness) = (roster(1), roster(2));
    call(&mut first, &mut witness, 1);
    let mut second = starting(11, 99, 5);
    let answer = ask(&mut second, &mut witness, 5);
    assert!(is_refused(&answer, RefusalKind::Taken), "{answer:?}");
    let heard = second.on_answer(at(5), &answer);
    assert!(second.holder().is_none(), "it may be gone since it was heard");
    let holder = refusal_of(&heard).holder.clone().unwrap();
    assert_eq!((holder.process, holder.teller), (100, node(2)));
    assert_eq!(holder.address.as_deref(), Some("10.0.0.1:4221"));
    // The first one is heard again: its record grew.
    call(&mut first, &mut witness, 6);
    let again = ask(&mut second, &mut witness, 7);
    second.on_answer(at(7), &again);
    assert!(second.holder().is_some_and(|again| again.version > holder.version));
    // It falls silent: the node may move.
    assert!(matches!(ask(&mut second, &mut witness, 6 + SILENT_S), Answer::Welcome(_)));
}

#[test]
fn a_clock_that_is_behind_does_not_make_a_starting_node_the_first() {
    let (mut first, mut witness) = (running(identity(1, 10, 1, 500), 500), roster(2));
    call(&mut first, &mut witness, 500);
    let mut second = starting(11, 99, 5);
    let record = beat_as(&mut second, 501, Life::Starting);
    assert!(is_refused(&witness.on_hello(at(501), &record), RefusalKind::Taken));
    assert!(is_refused(&first.on_hello(at(501), &record), RefusalKind::Taken));
}

#[test]
fn a_restart_is_welcome_at_once() {
    let (mut first, mut witness) = (roster(1), roster(2));
    call(&mut first, &mut witness, 1);
    let mut again = starting(11, 1, 2);
    assert!(matches!(ask(&mut again, &mut witness, 2), Answer::Welcome(_)));
    assert_eq!(call(&mut again, &mut witness, 2), Heard::Member(node(2)));
    assert_eq!(call(&mut again, &mut witness, 4), Heard::Member(node(2)));
}

#[test]
fn a_goodbye_that_comes_late_does_not_hide_the_restarted_node() {
    let (mut first, mut witness) = (roster(1), roster(2));
    call(&mut first, &mut witness, 1);
    let goodbye = beat_as(&mut first, 2, Life::Stopped);
    let mut again = running(identity(1, 11, 1, 2), 2);
    call(&mut again, &mut witness, 3);
    witness.on_hello(at(3), &goodbye);
    let views = witness.views(at(3));
    let of_first = views.iter().find(|view| view.node == node(1)).unwrap();
    assert_eq!(of_first.record.as_ref().unwrap().process, 11);
}

#[test]
fn after_a_partition_the_one_that_started_later_is_told_to_stop_whoever_comes_first() {
    for first_comes_first in [true, false] {
        let (mut first, mut witness) = (running(identity(1, 10, 1, 3), 3), roster(2));
        let mut second = running(identity(1, 11, 99, 5), 5);
        for seconds in [10, 12, 14] {
            let mut both = [&mut first, &mut second];
            if !first_comes_first {
                both.reverse();
            }
            for roster in both {
                call(roster, &mut witness, seconds);
            }
        }
        assert!(first.holder().is_none(), "the first goes on");
        assert_eq!(second.holder().map(|holder| holder.process), Some(10));
        assert!(witness.refused(at(14)).iter().any(|caller| caller.process == 11));
    }
}

#[test]
fn two_nodes_with_one_id_that_meet_directly_agree_on_who_stays() {
    let mut first = running(identity(1, 10, 1, 3), 3);
    let mut second = running(identity(1, 11, 99, 5), 5);
    let heard = call(&mut second, &mut first, 6);
    assert_eq!(refusal_of(&heard).kind, RefusalKind::Taken);
    assert!(first.holder().is_none() && second.holder().is_some());
    // The other way round: the later one is called.
    let mut second = running(identity(1, 11, 99, 5), 5);
    let heard = call(&mut first, &mut second, 7);
    assert_eq!(refusal_of(&heard).kind, RefusalKind::Taken);
    assert!(first.holder().is_none() && second.holder().is_some());
}

#[test]
fn two_processes_that_look_like_a_restart_are_told_apart_by_the_older_one_going_on() {
    let (mut first, mut witness) = (roster(1), roster(2));
    call(&mut first, &mut witness, 1);
    let mut twin = running(identity(1, 11, 1, 2), 2);
    assert_eq!(call(&mut twin, &mut witness, 2), Heard::Member(node(2)), "taken for a restart");
    assert_eq!(call(&mut first, &mut witness, 3), Heard::Member(node(2)));
    assert_eq!(refusal_of(&call(&mut twin, &mut witness, 4)).kind, RefusalKind::Taken);
    assert_eq!(call(&mut first, &mut witness, 5), Heard::Member(node(2)));
    assert_eq!(refusal_of(&call(&mut twin, &mut witness, 6)).kind, RefusalKind::Taken);
    assert!(first.holder().is_none() && twin.holder().is_some());
    // Once the first is gone, the other may have the id.
    let twin_later = call(&mut twin, &mut witness, 7 + SILENT_S);
    assert_eq!(twin_later, Heard::Member(node(2)));
}

/// Found by chaos: what a killed process had said came, over a link that stood still, after its restart was heard.
#[test]
fn a_record_of_a_killed_process_that_comes_late_is_no_sign_of_life() {
    let (mut first, mut witness) = (roster(1), roster(2));
    call(&mut first, &mut witness, 1);
    let late = [beat(&mut first, 4), beat(&mut first, 6)];
    let mut again = running(identity(1, 11, 1, 7), 7);
    assert_eq!(call(&mut again, &mut witness, 8), Heard::Member(node(2)));
    for (record, seconds) in late.iter().zip([9, 11]) {
        assert!(matches!(witness.on_hello(at(seconds), record), Answer::Welcome(_)));
        assert_eq!(call(&mut again, &mut witness, seconds + 1), Heard::Member(node(2)));
    }
    assert!(again.holder().is_none());
}

#[test]
fn a_twin_whose_clock_is_behind_is_found_out_a_minute_later() {
    let late_s = RECORD_LATE_MAX_MS / 1000;
    let (mut first, mut witness) = (roster(1), roster(2));
    call(&mut first, &mut witness, 1);
    // Its clock, and the start that it tells by it, are an hour ahead of the first one's.
    let mut twin = running(identity(1, 11, 1, 3602), 3602);
    call(&mut twin, &mut witness, 2);
    let mut refused = 0;
    for seconds in (3..late_s + 10).step_by(2) {
        call(&mut first, &mut witness, seconds);
        refused += u64::from(matches!(call(&mut twin, &mut witness, seconds), Heard::Refused(_)));
        assert!(seconds >= late_s || refused == 0);
    }
    assert!(refused > 0 && first.holder().is_none() && twin.holder().is_some());
}

#[test]
fn one_refusal_because_of_a_node_that_is_not_heard_again_ends_nobody() {
    let (mut first, mut witness) = (roster(1), roster(2));
    let mut second = running(identity(1, 11, 99, 5), 5);
    call(&mut first, &mut witness, 6);
    for seconds in [7, 9, 11, 13] {
        assert_eq!(refusal_of(&call(&mut second, &mut witness, seconds)).kind, RefusalKind::Taken);
    }
    assert!(second.holder().is_none());
    assert_eq!(call(&mut second, &mut witness, 6 + SILENT_S), Heard::Member(node(2)));
}

/// What the second one knows of the killed node is newer than what the first knows: that is no sign of life.
#[test]
fn refusals_of_two_tellers_who_heard_a_killed_node_at_different_times_end_nobody() {
    let (mut first, mut early, mut late) = (roster(1), roster(2), roster(3));
    let mut second = running(identity(1, 11, 99, 5), 5);
    call(&mut first, &mut early, 6);
    call(&mut first, &mut late, 7);
    for seconds in [8, 9, 11, 13] {
        for witness in [&mut early, &mut late] {
            assert_eq!(refusal_of(&call(&mut second, witness, seconds)).kind, RefusalKind::Taken);
        }
    }
    assert!(second.holder().is_none());
    // Heard again by one of them, it is one.
    call(&mut first, &mut early, 14);
    call(&mut second, &mut early, 15);
    assert!(second.holder().is_some());
}

/// A node that starts hears two others that have one id: that is their trouble.
#[test]
fn two_nodes_with_one_id_of_others_are_no_rivals_of_ours() {
    let (mut first, mut second) = (running(identity(1, 10, 1, 3), 3), running(identity(1, 11, 99, 5), 5));
    let mut witness = roster(2);
    call(&mut witness, &mut first, 6);
    let heard = call(&mut witness, &mut second, 7);
    assert_eq!(refusal_of(&heard).holder.as_ref().unwrap().process, 10);
    assert_eq!((witness.rival(refusal_of(&heard)), witness.holder()), (None, None));
}

#[test]
fn a_node_that_reaches_itself_under_another_address_knows_it() {
    let mut node = roster(1);
    let record = beat(&mut node, 1);
    let answer = node.on_hello(at(1), &record);
    assert_eq!(node.on_answer(at(1), &answer), Heard::Myself);
}
