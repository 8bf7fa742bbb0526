//! Frames: cutting and joining, and what is refused.

use harmonylite_core::codec::{
    Body, DecodeError, EncodedBody, FrameHeader, GroupPlace, Message, decode_body, decode_frame,
    encode_group, peek_mark,
};
use harmonylite_core::limits::{BODY_RAW_SIZE_MAX, CLUSTER_NAME_MAX, PARTS_MAX};
use harmonylite_core::model::{LogPosition, Origin, Shard};
use minicbor::Encoder;
use proptest::collection::vec;
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use crate::rows::{expected, sections, write};

fn place() -> GroupPlace {
    GroupPlace {
        cluster: "test".to_owned(),
        origin: Origin::from_raw(1, 2).unwrap(),
        shard: Shard::FIRST,
        prev: LogPosition::new(5).unwrap(),
        through: LogPosition::new(9).unwrap(),
    }
}

fn opaque(bytes: Vec<u8>) -> EncodedBody {
    let raw_size = u32::try_from(bytes.len()).unwrap();
    EncodedBody { bytes, compressed: false, raw_size, rows: raw_size.min(3) }
}

/// What a consumer does: joins the pieces of each body.
fn join(messages: &[Message]) -> (Vec<FrameHeader>, Vec<EncodedBody>) {
    let (mut headers, mut bodies, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for message in messages {
        let (header, mark, start) = decode_frame(&message.bytes).unwrap();
        assert_eq!((mark, peek_mark(&message.bytes)), (message.mark, Some(message.mark)));
        bytes.extend_from_slice(&message.bytes[start..]);
        if !header.continued {
            let (compressed, raw_size, rows) = (header.compressed, header.raw_size, header.rows);
            bodies.push(EncodedBody { bytes: std::mem::take(&mut bytes), compressed, raw_size, rows });
        }
        headers.push(header);
    }
    assert!(bytes.is_empty(), "the last piece ends its body");
    (headers, bodies)
}

proptest! {
    #[test]
    fn groups_come_back_in_pieces_that_fit(
        bodies in vec(vec(any::<u8>(), 0..3000).prop_map(opaque), 1..5), size_max in 300usize..2000,
    ) {
        let messages = encode_group(&place(), bodies.clone(), size_max);
        prop_assert!(messages.iter().all(|message| message.bytes.len() <= size_max));
        let (headers, joined) = join(&messages);
        prop_assert_eq!(joined, bodies);
        for (index, header) in headers.iter().enumerate() {
            prop_assert_eq!(&header.place, &place());
            prop_assert_eq!((header.part as usize, header.parts as usize), (index, messages.len()));
            prop_assert_eq!(header.group, headers[0].group);
            prop_assert_eq!(header.is_last(), index + 1 == messages.len());
            prop_assert!(!header.continued || header.rows == 0);
        }
        let ids: std::collections::BTreeSet<_> = messages.iter().map(|message| &message.id).collect();
        prop_assert_eq!(ids.len(), messages.len());
    }

    #[test]
    fn garbage_is_no_frame(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(decode_frame(&bytes).is_err());
        let framed = seal(b"HLFR", 1, 0, &bytes);
        prop_assert!(decode_frame(&framed).is_err(), "whatever the checksum says");
    }

    #[test]
    fn rows_and_pieces_together(sections in sections(), compress: bool) {
        let body = write(&sections, compress);
        let (_, joined) = join(&encode_group(&place(), vec![body.clone()], 200));
        let decoded = decode_body(&joined[0].bytes, joined[0].compressed, joined[0].raw_size);
        prop_assert_eq!(decoded, Ok(expected(&sections)));
    }
}

fn one_message() -> Message {
    encode_group(&place(), vec![opaque(vec![1, 2, 3, 4, 5])], 1000).remove(0)
}

/// An envelope with the right length and checksum around anything, written as `docs/format.md` says.
fn seal(magic: &[u8], version: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut checked = vec![version, flags];
    checked.extend_from_slice(&u32::try_from(rest.len()).unwrap().to_be_bytes());
    let start = checked.clone();
    checked.extend_from_slice(rest);
    [magic, &start, &xxh3_64(&checked).to_be_bytes(), rest].concat()
}

#[test]
fn a_message_with_any_byte_changed_is_refused() {
    let message = one_message();
    for at in 0..message.bytes.len() {
        for flip in 1..=255u8 {
            let mut changed = message.bytes.clone();
            changed[at] ^= flip;
            assert!(decode_frame(&changed).is_err(), "byte {at} changed by {flip:02x}");
        }
    }
}

#[test]
fn a_message_of_any_other_length_is_refused() {
    let mut bytes = one_message().bytes;
    for length in 0..bytes.len() {
        assert!(decode_frame(&bytes[..length]).is_err(), "{length} bytes");
    }
    bytes.push(0);
    assert_eq!(decode_frame(&bytes), Err(DecodeError::Damaged("not as long as its envelope says")));
}

#[test]
fn a_newer_format_is_named_whatever_else_it_changes() {
    let error = Err(DecodeError::NewerFormat { found: 2, supported: 1 });
    assert_eq!(decode_frame(b"HLFR\x02"), error);
    assert_eq!(decode_frame(b"HLFR\x02 another envelope altogether"), error);
}

#[test]
fn foreign_bytes_are_not_a_frame() {
    for bytes in [&b""[..], b"H", b"HLFR", b"HLFR\x01", b"{\"node_id\": 1, \"payload\": []}"] {
        assert_eq!(decode_frame(bytes), Err(DecodeError::NotAFrame), "{bytes:?}");
        assert_eq!(peek_mark(bytes), None, "{bytes:?}");
    }
}

#[test]
fn a_group_without_bodies_is_one_frame() {
    let messages = encode_group(&place(), Vec::new(), 1000);
    let (header, _, start) = decode_frame(&messages[0].bytes).unwrap();
    assert_eq!((messages.len(), header.parts, header.rows, header.raw_size), (1, 1, 0, 0));
    assert_eq!(
        decode_body(&messages[0].bytes[start..], header.compressed, header.raw_size),
        Ok(Body::default())
    );
}

#[test]
fn attempts_at_one_place_are_told_apart() {
    let group = |place: &GroupPlace, bytes: &[u8], size_max| {
        let messages = encode_group(place, vec![opaque(bytes.to_vec())], size_max);
        (decode_frame(&messages[0].bytes).unwrap().0.group, messages[0].id.clone())
    };
    let long = [7; 400];
    let mut elsewhere = place();
    elsewhere.prev = LogPosition::START;
    let all = [
        group(&place(), &long, 1000),
        group(&place(), &long, 300),
        group(&place(), &[8; 400], 1000),
        group(&elsewhere, &long, 1000),
    ];
    for (index, (digest, id)) in all.iter().enumerate() {
        assert!(all[..index].iter().all(|(other, other_id)| other != digest && other_id != id), "{index}");
    }
    assert_eq!(all[0], group(&place(), &long, 1000), "the same attempt again is the same group");
}

#[test]
fn the_message_id_names_place_and_content() {
    let message = one_message();
    let digest = format!("{:016x}", message.mark.0);
    assert_eq!(message.id, format!("1/0000000000000002:1:5:9:0:{digest}"));
}

/// A header written by another encoder: fields by number, all numbers but the cluster.
fn header(cluster: &str, fields: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut map = Encoder::new(&mut bytes);
    map.map(fields.len() as u64 + 1).unwrap().u64(0).unwrap().str(cluster).unwrap();
    for (field, number) in fields {
        map.u64(*field).unwrap().u64(*number).unwrap();
    }
    bytes
}

const FIELDS: [(u64, u64); 10] =
    [(1, 1), (2, 2), (3, 1), (4, 5), (5, 9), (6, 77), (7, 0), (8, 1), (9, 0), (10, 0)];

fn decode_fields(flags: u8, cluster: &str, fields: &[(u64, u64)]) -> Result<FrameHeader, DecodeError> {
    decode_frame(&seal(b"HLFR", 1, flags, &header(cluster, fields))).map(|decoded| decoded.0)
}

#[test]
fn unknown_fields_are_ignored_and_order_does_not_matter() {
    let reference = decode_fields(0, "test", &FIELDS).unwrap();
    let mut fields = FIELDS.to_vec();
    fields.reverse();
    fields.insert(3, (11, 4));
    fields.push((1_000_000, 5));
    assert_eq!(decode_fields(0, "test", &fields), Ok(reference.clone()));
    assert_eq!(reference.place, place());
}

#[test]
fn forged_headers_are_refused() {
    let refused = |what: &str, changes: &[(u64, u64)]| {
        let changed = |field| changes.iter().find(|change| change.0 == field).copied();
        let fields: Vec<_> = FIELDS.iter().map(|field| changed(field.0).unwrap_or(*field)).collect();
        let result = decode_fields(0, "test", &fields);
        assert!(matches!(result, Err(DecodeError::Invalid(_))), "{what}: {result:?}");
    };
    refused("no origin", &[(1, 0), (2, 0)]);
    refused("half an origin", &[(2, 0)]);
    refused("shard 0", &[(3, 0)]);
    refused("shard 65536", &[(3, 65_536)]);
    refused("a position beyond 2^63-1", &[(5, 1 << 63)]);
    refused("backwards", &[(4, 10)]);
    refused("a part beyond the last", &[(7, 1)]);
    refused("no parts", &[(8, 0)]);
    refused("more rows than bytes", &[(9, 1)]);
    refused("2^32 rows", &[(9, 1 << 32)]);
    for missing in 0..FIELDS.len() {
        let mut fields = FIELDS.to_vec();
        fields.remove(missing);
        assert!(decode_fields(0, "test", &fields).is_err(), "without field {}", missing + 1);
    }
    let twice = [&FIELDS[..], &[(6, 77)]].concat();
    assert!(decode_fields(0, "test", &twice).is_err(), "a field twice");
    assert!(decode_fields(4, "test", &FIELDS).is_err(), "an unknown flag");
    assert!(decode_fields(2, "test", &FIELDS).is_err(), "the last part continues");
}

#[test]
fn headers_beyond_a_limit_are_refused() {
    let too_large = |result: Result<FrameHeader, DecodeError>, name: &str| match result {
        Err(DecodeError::TooLarge { what, .. }) => assert_eq!(what, name),
        other => panic!("{name}: {other:?}"),
    };
    let with = |field: u64, number: u64| {
        FIELDS.map(|(known, value)| if known == field { (known, number) } else { (known, value) })
    };
    too_large(decode_fields(0, &"x".repeat(CLUSTER_NAME_MAX + 1), &FIELDS), "cluster name");
    too_large(decode_fields(0, "test", &with(8, u64::from(PARTS_MAX) + 1)), "number of parts");
    too_large(decode_fields(0, "test", &with(10, BODY_RAW_SIZE_MAX as u64 + 1)), "body size");
    assert!(decode_fields(0, &"x".repeat(CLUSTER_NAME_MAX), &FIELDS).is_ok());
    assert!(decode_fields(0, &"x".repeat(2000), &FIELDS).is_err(), "a header beyond its bound");
}

#[test]
fn a_piece_longer_than_its_body_is_refused() {
    let mut rest = header("test", &FIELDS);
    rest.push(0);
    assert!(matches!(decode_frame(&seal(b"HLFR", 1, 0, &rest)), Err(DecodeError::Invalid(_))));
}
