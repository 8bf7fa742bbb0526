//! The member list, driven by records: whom a node believes, whom it refuses, what it passes on, how far behind it
//! calls somebody.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

mod lag;
mod list;
mod second;
mod wire;

use harmonylite_core::members::{
    Answer, Heard, Identity, Life, MemberRecord, MemberState, Moment, Progress, Refusal, RefusalKind, Roster,
};
use harmonylite_core::model::{Incarnation, NodeId};

fn node(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

fn at(seconds: u64) -> Moment {
    Moment { wall_ms: 1_700_000_000_000 + seconds * 1000, steady_ms: seconds * 1000 }
}

/// Node `id`, started `started` seconds into the test, as process `process` in home `home`.
fn identity(id: u64, process: u64, home: u64, started: u64) -> Identity {
    Identity {
        node: node(id),
        process,
        home,
        started_ms: at(started).wall_ms,
        cluster: "test".to_owned(),
        shards: 1,
        release: "0.1.0".to_owned(),
        address: Some(format!("10.0.0.{id}:4221")),
    }
}

/// A node with a process and a home of its own, that runs since the beginning.
fn roster(id: u64) -> Roster {
    running(identity(id, id * 100, id, 0), 0)
}

fn running(me: Identity, seconds: u64) -> Roster {
    let mut roster = Roster::new(me, Vec::new());
    beat(&mut roster, seconds);
    roster
}

fn beat(roster: &mut Roster, seconds: u64) -> MemberRecord {
    beat_as(roster, seconds, Life::Running)
}

fn beat_as(roster: &mut Roster, seconds: u64, life: Life) -> MemberRecord {
    roster.beat(at(seconds), life, Incarnation::new(7), Progress::default())
}

/// `caller` sends its next record to `callee`, and takes the answer.
fn call(caller: &mut Roster, callee: &mut Roster, seconds: u64) -> Heard {
    let record = beat(caller, seconds);
    let answer = callee.on_hello(at(seconds), &record);
    caller.on_answer(at(seconds), &answer)
}

fn refusal_of(heard: &Heard) -> &Refusal {
    match heard {
        Heard::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn state_of(roster: &Roster, id: u64, seconds: u64) -> Option<MemberState> {
    let views = roster.views(at(seconds));
    views.iter().find(|view| view.node == node(id)).map(|view| view.state)
}

fn is_refused(answer: &Answer, kind: RefusalKind) -> bool {
    matches!(answer, Answer::Refused(refusal) if refusal.kind == kind)
}
