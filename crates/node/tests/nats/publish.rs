//! Publishing: all of a group in its order, or an error.

use harmonylite::nats::{Auth, Connection, observe_stream, publish_group};
use harmonylite_core::model::StreamSequence;

use crate::source::read_all;
use crate::support::{STREAM, SUBJECT, TestServer, credentials, messages, nkey, soon, with_stream};

async fn publish(connection: &Connection, first: usize, count: usize, expected: u64) -> Result<u64, String> {
    let expected = Some(StreamSequence(expected));
    let stored = publish_group(connection, STREAM, SUBJECT, messages(first, count), expected);
    soon("answer", stored).await.map(|last| last.0).map_err(|error| error.to_string())
}

#[tokio::test]
async fn groups_of_any_size_are_stored_in_order() {
    let test = TestServer::start().await;
    let connection = with_stream(&test).await;
    let mut stored = 0;
    for count in [1, 2, 500, 1000, 1001, 2500] {
        stored += count;
        let last = publish(&connection, stored - count, count, (stored - count) as u64).await.unwrap();
        assert_eq!(last, stored as u64);
    }
    let bodies = read_all(&connection, stored).await;
    let numbers: Vec<usize> =
        bodies.iter().map(|bytes| String::from_utf8_lossy(bytes).parse().unwrap()).collect();
    assert_eq!(numbers, (0..stored).collect::<Vec<_>>());
}

#[tokio::test]
async fn large_messages_make_a_batch() {
    let test = TestServer::start().await;
    let connection = with_stream(&test).await;
    let mut group = messages(0, 40);
    group.iter_mut().for_each(|message| message.bytes = vec![7; 1_000_000]);
    let last = publish_group(&connection, STREAM, SUBJECT, group, Some(StreamSequence(0))).await.unwrap();
    assert_eq!(last, StreamSequence(40));
}

#[tokio::test]
async fn a_group_for_another_end_of_the_stream_is_refused_whole() {
    let test = TestServer::start().await;
    let connection = with_stream(&test).await;
    publish(&connection, 0, 3, 0).await.unwrap();
    for count in [1, 2, 500] {
        let error = publish(&connection, 10, count, 1).await.unwrap_err();
        assert!(error.contains("10071") || error.contains("10164"), "{error}");
    }
    assert_eq!(publish(&connection, 3, 1, 3).await, Ok(4));
}

#[tokio::test]
async fn one_duplicate_refuses_the_whole_group() {
    let test = TestServer::start().await;
    let connection = with_stream(&test).await;
    publish(&connection, 0, 3, 0).await.unwrap();
    let error = publish(&connection, 2, 5, 3).await.unwrap_err();
    assert!(error.contains("10201"), "{error}");
    let error = publish(&connection, 1, 1, 3).await.unwrap_err();
    assert!(error.contains("already, at sequence 2"), "{error}");
    assert_eq!(read_all(&connection, 3).await.len(), 3);
    assert_eq!(publish(&connection, 3, 5, 3).await, Ok(8));
}

#[tokio::test]
async fn publishing_without_a_server_fails_at_once() {
    let mut test = TestServer::start().await;
    let connection = with_stream(&test).await;
    publish(&connection, 0, 1, 0).await.unwrap();
    test.kill();
    soon("news of the death", test.events.recv()).await;
    let error = publish(&connection, 1, 1, 1).await.unwrap_err();
    assert!(error.contains("connect"), "{error}");
}

#[tokio::test]
async fn a_stored_group_survives_the_servers_death() {
    let mut test = TestServer::start().await;
    let connection = with_stream(&test).await;
    publish(&connection, 0, 300, 0).await.unwrap();
    test.kill();
    soon("death", test.events.recv()).await;
    soon("restart", test.events.recv()).await;
    connection.ready(crate::support::DEADLINE).await.unwrap();
    assert_eq!(publish(&connection, 300, 1, 300).await, Ok(301));
}

/// The server is killed at different moments of a publish. What the stream holds afterwards is all or nothing of the
/// group, all of it when the publish succeeded, and nothing arrives later.
#[tokio::test]
async fn a_group_that_is_cut_off_is_stored_whole_or_not_at_all() {
    const GROUP: usize = 200;
    let mut test = TestServer::start().await;
    let connection = with_stream(&test).await;
    let mut last = 0;
    for (round, delay_ms) in [0, 1, 2, 4, 8, 16, 32].into_iter().enumerate() {
        let kill = async {
            tokio::time::sleep(std::time::Duration::from_millis(delay_ms)).await;
            test.kill();
        };
        let (outcome, ()) = tokio::join!(publish(&connection, round * GROUP, GROUP, last), kill);
        soon("death", test.events.recv()).await;
        soon("restart", test.events.recv()).await;
        connection.ready(crate::support::DEADLINE).await.unwrap();
        let facts = observe_stream(&connection, STREAM, StreamSequence::START).await.unwrap();
        let stored = facts.last.0 - last;
        assert!(stored == GROUP as u64 || (stored == 0 && outcome.is_err()), "{stored} of it, {outcome:?}");
        last = facts.last.0;
    }
    assert_eq!(publish(&connection, 10 * GROUP, 1, last).await, Ok(last + 1));
}

#[tokio::test]
async fn a_missing_stream_is_an_error() {
    let test = TestServer::start().await;
    let connection = test.connect().await;
    for count in [1, 2] {
        let error = publish(&connection, 0, count, 0).await.unwrap_err();
        assert!(error.contains("no responders"), "{error}");
    }
}

#[tokio::test]
async fn peers_cannot_publish() {
    for configured in [credentials("harmony", "right"), nkey(), Auth::Anonymous] {
        let test = TestServer::start_with(|settings| settings.peer_auth.clone_from(&configured)).await;
        let connection = with_stream(&test).await;
        let peer = test.connect_as_peer(configured).await;
        let error = publish(&peer, 0, 1, 0).await.unwrap_err().to_lowercase();
        assert!(error.contains("permissions violation"), "{error}");
        assert_eq!(publish(&connection, 0, 1, 0).await, Ok(1));
    }
}
