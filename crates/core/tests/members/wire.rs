//! The bytes of records come from outside: they are understood as they were written, or refused.

use harmonylite_core::limits::{CLUSTER_NAME_MAX, RECORD_SIZE_MAX};
use harmonylite_core::members::{
    Acquaintance, Answer, Holder, Life, MemberError, MemberRecord, MemberVersion, Progress, Refusal,
    RefusalKind, Sample, SavedMember, decode_answer, decode_hello, decode_saved, encode_answer, encode_hello,
    encode_saved,
};
use harmonylite_core::model::{Incarnation, LogPosition, NodeId, Origin, Shard};
use proptest::prelude::*;

use super::roster;

fn node_id() -> impl Strategy<Value = NodeId> {
    (1..=NodeId::MAX).prop_map(|id| NodeId::new(id).unwrap())
}

fn position() -> impl Strategy<Value = LogPosition> {
    (0..=i64::MAX).prop_map(|raw| LogPosition::new(raw).unwrap())
}

fn version() -> impl Strategy<Value = MemberVersion> {
    (any::<u64>(), any::<u64>()).prop_map(|(started_ms, beat)| MemberVersion { started_ms, beat })
}

fn address() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[a-zä0-9.:-]{1,40}")
}

fn acquaintance() -> impl Strategy<Value = Acquaintance> {
    (node_id(), version(), address(), any::<Option<u64>>(), any::<bool>()).prop_map(
        |(node, version, address, heard_ms, forgotten)| Acquaintance {
            node,
            version,
            address,
            heard_ms,
            forgotten,
        },
    )
}

fn progress() -> impl Strategy<Value = Progress> {
    let shard = (1..=u16::MAX).prop_map(|number| Shard::new(number).unwrap());
    let origin = (node_id(), 1..=NodeId::MAX)
        .prop_map(|(node, incarnation)| Origin::new(node, Incarnation::new(incarnation).unwrap()));
    let applied = prop::collection::btree_map((origin, shard.clone()), position(), 0..5);
    let sample = (position(), any::<u64>(), any::<u64>()).prop_map(|(position, rows, at_ms)| Sample {
        position,
        rows,
        at_ms,
    });
    let published = prop::collection::vec((shard, position()), 0..5);
    let samples = prop::collection::vec(sample, 0..5);
    let checkpoints = prop::collection::vec(("[a-z0-9/-]{1,20}", any::<u64>()), 0..3);
    (applied, published, samples, checkpoints, any::<[u64; 3]>()).prop_map(
        |(applied, published, samples, checkpoints, [pending_rows, dead_letters, stopped_sources])| {
            Progress {
                published,
                applied: applied
                    .into_iter()
                    .map(|((origin, shard), position)| (origin, shard, position))
                    .collect(),
                checkpoints,
                samples,
                pending_rows,
                dead_letters,
                stopped_sources,
            }
        },
    )
}

fn record() -> impl Strategy<Value = MemberRecord> {
    let life = prop_oneof![Just(Life::Starting), Just(Life::Running), Just(Life::Stopped)];
    let known = prop::collection::vec(acquaintance(), 0..4);
    (node_id(), any::<[u64; 3]>(), life, version(), "[a-z]{0,9}", address(), progress(), known).prop_map(
        |(node, [process, home, beat_ms], life, version, cluster, address, progress, known)| MemberRecord {
            node,
            incarnation: Incarnation::new(home >> 1),
            process,
            home,
            life,
            version,
            beat_ms,
            cluster,
            shards: 3,
            release: "0.1.0".to_owned(),
            address,
            progress,
            known,
        },
    )
}

proptest! {
    #[test]
    fn reading_undoes_writing(record in record()) {
        prop_assert_eq!(&decode_hello(&encode_hello(&record)).unwrap(), &record);
        let saved = record.known.iter().map(|known| SavedMember {
            node: known.node,
            version: known.version,
            address: known.address.clone(),
            forgotten: known.forgotten,
        });
        let saved: Vec<_> = saved.collect();
        prop_assert_eq!(&decode_saved(&encode_saved(&saved)).unwrap(), &saved);
        let answer = Answer::Welcome(Box::new(record));
        prop_assert_eq!(&decode_answer(&encode_answer(&answer)).unwrap(), &answer);
    }

    #[test]
    fn damaged_bytes_are_refused_or_are_another_record(record in record(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = encode_hello(&record);
        let index = at.index(bytes.len());
        bytes[index] ^= 1 << bit;
        if let Ok(read) = decode_hello(&bytes) {
            prop_assert_eq!(&decode_hello(&encode_hello(&read)).unwrap(), &read);
        }
        prop_assert!(decode_hello(&bytes[..index]).is_err(), "half a record is none");
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = (decode_hello(&bytes), decode_answer(&bytes), decode_saved(&bytes));
    }
}

#[test]
fn what_a_terminal_would_act_on_is_refused() {
    let mut record = super::beat(&mut roster(1), 1);
    record.release = "0.1\u{1b}[2J".to_owned();
    assert!(matches!(decode_hello(&encode_hello(&record)), Err(MemberError::Malformed { .. })));
    let refusal = Refusal { kind: RefusalKind::Cluster, reason: "a\nb".to_owned(), holder: None };
    assert!(decode_answer(&encode_answer(&Answer::Refused(refusal))).is_err());
}

#[test]
fn what_is_larger_than_a_node_sends_is_refused() {
    let mut record = super::beat(&mut roster(1), 1);
    record.cluster = "c".repeat(CLUSTER_NAME_MAX + 1);
    assert!(decode_hello(&encode_hello(&record)).is_err());
    let bytes = vec![0x82; RECORD_SIZE_MAX + 1];
    assert_eq!(decode_hello(&bytes), Err(MemberError::TooLarge { size: bytes.len() }));
}

#[test]
fn positions_out_of_order_are_refused() {
    let mut record = super::beat(&mut roster(1), 1);
    let origin = |node| Origin::new(NodeId::new(node).unwrap(), Incarnation::new(1).unwrap());
    let place = |node| (origin(node), Shard::FIRST, LogPosition::START);
    record.progress.applied = vec![place(2), place(1)];
    assert!(decode_hello(&encode_hello(&record)).is_err());
}

#[test]
fn another_format_is_named_and_a_field_more_is_skipped() {
    // An array of two: the format, a map.
    assert_eq!(decode_hello(&[0x82, 2, 0xa0]), Err(MemberError::Format { found: 2 }));
    let mut bytes = encode_saved(&[]);
    assert_eq!(bytes, [0x82, 1, 0x80]);
    // [1, [{0: 5, 1: {0: 1, 1: 2}, 3: true, 9: "more"}]]
    bytes = vec![0x82, 1, 0x81, 0xa4, 0, 5, 1, 0xa2, 0, 1, 1, 2, 3, 0xf5, 9, 0x64];
    bytes.extend_from_slice(b"more");
    let read = decode_saved(&bytes).unwrap();
    assert_eq!((read[0].node.get(), read[0].forgotten, &read[0].address), (5, true, &None));
}

#[test]
fn a_refusal_travels_with_its_holder() {
    let record = super::beat(&mut roster(1), 1);
    let holder = Some(Holder::of(&record, record.node));
    let refusal = Refusal { kind: RefusalKind::Taken, reason: "taken".to_owned(), holder };
    let answer = Answer::Refused(refusal);
    assert_eq!(decode_answer(&encode_answer(&answer)), Ok(answer));
}
