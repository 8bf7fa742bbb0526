//! Own streams: made once, kept, refused when they are not as they should be.

use harmonylite::nats::{Auth, StreamIdentity, ensure_stream, observe_stream, publish_group};
use harmonylite_core::codec::{EncodedBody, GroupPlace, Message, encode_group};
use harmonylite_core::limits::MESSAGE_SIZE_MAX;
use harmonylite_core::model::{LogPosition, NodeId, Origin, Shard, StreamSequence};

use crate::support::{STREAM, SUBJECT, TestServer, identity, messages, stream_settings, with_stream};

#[tokio::test]
async fn a_stream_keeps_its_identity() {
    let test = TestServer::start().await;
    let connection = test.connect().await;
    let made = ensure_stream(&connection, &stream_settings(), &identity()).await.unwrap();
    assert!(!made.stream_id.is_empty());
    assert_eq!((made.first, made.last), (StreamSequence(1), StreamSequence(0)));
    assert_eq!((made.node, made.shards), (NodeId::new(1), 1));
    assert_eq!(made.baseline, Some(identity().baseline));
    let found = ensure_stream(&connection, &stream_settings(), &identity()).await.unwrap();
    assert_eq!(found, made);
    assert_eq!(observe_stream(&connection, STREAM, StreamSequence::START).await.unwrap(), made);
}

#[tokio::test]
async fn of_two_that_make_a_shared_stream_at_once_the_second_takes_that_of_the_first() {
    let test = TestServer::start().await;
    let (one, two) = (test.connect().await, test.connect().await);
    let shared = StreamIdentity { node: None, ..identity() };
    for number in 0..3 {
        let mut settings = stream_settings();
        (settings.name, settings.subject) = (format!("race-{number}"), format!("race-{number}"));
        let made =
            tokio::join!(ensure_stream(&one, &settings, &shared), ensure_stream(&two, &settings, &shared));
        let (first, second) = (made.0.unwrap(), made.1.unwrap());
        assert_eq!((first.stream_id, first.node), (second.stream_id, None));
    }
}

#[tokio::test]
async fn another_stream_in_its_place_has_another_identity() {
    let ids = [TestServer::start().await, TestServer::start().await];
    let first = ensure_stream(&ids[0].connect().await, &stream_settings(), &identity()).await.unwrap();
    let second = ensure_stream(&ids[1].connect().await, &stream_settings(), &identity()).await.unwrap();
    assert_ne!(first.stream_id, second.stream_id);
}

#[tokio::test]
async fn a_new_baseline_is_written_and_the_identity_stays() {
    let test = TestServer::start().await;
    let connection = test.connect().await;
    let made = ensure_stream(&connection, &stream_settings(), &identity()).await.unwrap();
    let mut changed = identity();
    changed.baseline.insert("authors".to_owned(), 7);
    let updated = ensure_stream(&connection, &stream_settings(), &changed).await.unwrap();
    assert_eq!(updated.baseline, Some(changed.baseline));
    assert_eq!(updated.stream_id, made.stream_id);
}

#[tokio::test]
async fn other_settings_are_refused_and_shown_unless_they_may_be_changed() {
    let test = TestServer::start().await;
    let connection = with_stream(&test).await;
    let mut other = stream_settings();
    other.max_messages = 1000;
    let error = ensure_stream(&connection, &other, &identity()).await.unwrap_err().to_string();
    assert!(error.contains("max_entries is -1, should be 1000"), "{error}");
    assert!(error.contains("update_existing"), "{error}");
    other.update_existing = true;
    ensure_stream(&connection, &other, &identity()).await.unwrap();
    let error = ensure_stream(&connection, &stream_settings(), &identity()).await.unwrap_err().to_string();
    assert!(error.contains("max_entries is 1000, should be -1"), "{error}");
}

#[tokio::test]
async fn a_stream_of_another_cluster_or_node_is_refused_even_when_it_may_be_changed() {
    let test = TestServer::start().await;
    let connection = with_stream(&test).await;
    let mut settings = stream_settings();
    settings.update_existing = true;
    let mut foreign = identity();
    foreign.cluster = "another".to_owned();
    foreign.node = NodeId::new(2);
    let error = ensure_stream(&connection, &settings, &foreign).await.unwrap_err().to_string();
    assert!(error.contains("harmonylite-cluster is e-harmonylite, should be another"), "{error}");
    assert!(error.contains("harmonylite-node-id is 1, should be 2"), "{error}");
}

#[tokio::test]
async fn a_missing_stream_is_an_error_not_a_new_stream() {
    let test = TestServer::start().await;
    let connection = test.connect().await;
    for _ in 0..2 {
        let error = observe_stream(&connection, STREAM, StreamSequence::START).await.unwrap_err().to_string();
        assert!(error.contains("no such stream"), "{error}");
    }
}

#[tokio::test]
async fn what_the_limits_discard_moves_the_first_sequence() {
    let test = TestServer::start().await;
    let connection = test.connect().await;
    let mut settings = stream_settings();
    settings.max_messages = 3;
    ensure_stream(&connection, &settings, &identity()).await.unwrap();
    publish_group(&connection, STREAM, SUBJECT, messages(0, 5), None).await.unwrap();
    let facts = observe_stream(&connection, STREAM, StreamSequence::START).await.unwrap();
    assert_eq!((facts.first, facts.last), (StreamSequence(3), StreamSequence(5)));
}

/// A group of one message, another one for every `through`.
pub(crate) fn group(through: i64) -> Vec<Message> {
    let place = GroupPlace {
        cluster: "e-harmonylite".to_owned(),
        origin: Origin::from_raw(1, 1).unwrap(),
        shard: Shard::FIRST,
        prev: LogPosition::START,
        through: LogPosition::new(through).unwrap(),
    };
    let body = EncodedBody { bytes: vec![7; 300], compressed: false, raw_size: 300, rows: 1 };
    encode_group(&place, vec![body], MESSAGE_SIZE_MAX)
}

#[tokio::test]
async fn the_mark_of_a_message_is_the_one_it_was_published_with() {
    let test = TestServer::start().await;
    let connection = with_stream(&test).await;
    let groups = [group(1), group(2)];
    for group in &groups {
        publish_group(&connection, STREAM, SUBJECT, group.clone(), None).await.unwrap();
    }
    let peer = test.connect_as_peer(Auth::Anonymous).await;
    for (at, mark) in
        [(0, None), (1, Some(groups[0][0].mark)), (2, Some(groups[1][0].mark)), (3, None), (u64::MAX, None)]
    {
        let facts = observe_stream(&peer, STREAM, StreamSequence(at)).await.unwrap();
        assert_eq!(facts.mark, mark, "at {at}");
    }
    assert_ne!(groups[0][0].mark, groups[1][0].mark);
}

#[tokio::test]
async fn a_message_that_is_none_of_ours_has_no_mark() {
    let test = TestServer::start().await;
    let connection = with_stream(&test).await;
    publish_group(&connection, STREAM, SUBJECT, messages(0, 1), None).await.unwrap();
    let facts = observe_stream(&connection, STREAM, StreamSequence(1)).await.unwrap();
    assert_eq!((facts.last, facts.mark), (StreamSequence(1), None));
}

#[tokio::test]
async fn peers_cannot_change_delete_or_empty_a_stream() {
    let test = TestServer::start().await;
    let connection = with_stream(&test).await;
    publish_group(&connection, STREAM, SUBJECT, messages(0, 3), None).await.unwrap();
    let peer = test.raw_client(false).await;
    for request in ["STREAM.DELETE", "STREAM.PURGE", "STREAM.UPDATE", "STREAM.MSG.DELETE", "STREAM.CREATE"] {
        peer.publish_with_reply(
            format!("$JS.API.{request}.{STREAM}"),
            peer.new_inbox(),
            "{\"seq\":1}".into(),
        )
        .await
        .unwrap();
    }
    // The server handles one connection's requests in order: after this answer the others are decided.
    async_nats::jetstream::new(peer).get_stream(STREAM).await.unwrap();
    let facts = observe_stream(&connection, STREAM, StreamSequence::START).await.unwrap();
    assert_eq!((facts.first, facts.last), (StreamSequence(1), StreamSequence(3)));
}

#[tokio::test]
async fn an_emptied_stream_keeps_its_last_sequence_and_can_be_published_to() {
    let test = TestServer::start().await;
    let connection = with_stream(&test).await;
    publish_group(&connection, STREAM, SUBJECT, messages(0, 3), None).await.unwrap();
    let raw = async_nats::jetstream::new(test.raw_client(true).await);
    raw.get_stream(STREAM).await.unwrap().purge().await.unwrap();
    let facts = observe_stream(&connection, STREAM, StreamSequence::START).await.unwrap();
    assert_eq!((facts.first, facts.last), (StreamSequence(4), StreamSequence(3)));
    for (first, count, stored) in [(3, 1, 4), (4, 2, 6)] {
        let expected = Some(StreamSequence(stored - count as u64));
        let last = publish_group(&connection, STREAM, SUBJECT, messages(first, count), expected).await;
        assert_eq!(last, Ok(StreamSequence(stored)));
        raw.get_stream(STREAM).await.unwrap().purge().await.unwrap();
    }
}
