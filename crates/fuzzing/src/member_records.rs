//! Any bytes as what members say: refused, or written and read the same again; and a member list survives whatever it is
//! told.

use harmonylite_core::limits::{HEARTBEAT_MS, KNOWN_MEMBERS_MAX, SILENT_AFTER_MS};
use harmonylite_core::members::{
    Answer, Identity, Life, MemberRecord, Moment, Progress, Roster, decode_answer, decode_hello,
    decode_saved, encode_answer, encode_hello, encode_saved,
};
use harmonylite_core::model::NodeId;

pub(crate) fn run(data: &[u8]) {
    if let Ok(record) = decode_hello(data) {
        assert_eq!(decode_hello(&encode_hello(&record)).as_ref(), Ok(&record));
        tell(&Answer::Welcome(Box::new(record)));
    }
    if let Ok(answer) = decode_answer(data) {
        assert_eq!(decode_answer(&encode_answer(&answer)).as_ref(), Ok(&answer));
        tell(&answer);
    }
    if let Ok(saved) = decode_saved(data) {
        assert_eq!(decode_saved(&encode_saved(&saved)).as_ref(), Ok(&saved));
        let nodes: std::collections::BTreeSet<_> = saved.iter().map(|member| member.node).collect();
        assert!(Roster::new(identity(), saved).to_save().len() <= nodes.len());
    }
}

/// Says it to a node twice, as an answer and as a call, and looks at its list before and after a silence.
fn tell(answer: &Answer) {
    let mut roster = Roster::new(identity(), Vec::new());
    for (beat, steady_ms) in [0, HEARTBEAT_MS, SILENT_AFTER_MS * 2].into_iter().enumerate() {
        let now = Moment { wall_ms: 1_700_000_000_000 + steady_ms, steady_ms };
        let own = roster.beat(now, Life::Running, None, Progress::default());
        assert_eq!(decode_hello(&encode_hello(&own)).as_ref(), Ok(&own), "what a node says can be read");
        if beat < 2 {
            roster.on_answer(now, answer);
            if let Answer::Welcome(record) = answer {
                check_answer(&roster.on_hello(now, record), &roster, record);
            }
        }
        assert!(roster.to_save().len() <= KNOWN_MEMBERS_MAX);
        let views = roster.views(now);
        assert!(views.is_sorted_by(|a, b| a.node < b.node), "each member once");
        assert!(views.iter().filter(|view| view.myself).count() == 1);
    }
}

fn check_answer(answer: &Answer, roster: &Roster, record: &MemberRecord) {
    let ours = record.cluster == roster.me().cluster && record.shards == roster.me().shards;
    assert!(ours || matches!(answer, Answer::Refused(_)), "another cluster is refused");
    assert!(ours || roster.to_save().is_empty(), "and nothing is learnt from it");
    assert_eq!(decode_answer(&encode_answer(answer)).as_ref(), Ok(answer));
}

fn identity() -> Identity {
    Identity {
        node: NodeId::new(1).unwrap(),
        process: 7,
        home: 7,
        started_ms: 1_700_000_000_000,
        cluster: "test".to_owned(),
        shards: 1,
        release: "0.1.0".to_owned(),
        address: Some("127.0.0.1:4221".to_owned()),
    }
}
