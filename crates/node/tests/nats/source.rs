//! Sources: looked at, followed, lost, followed again.

use std::time::Duration;

use harmonylite::nats::{
    Auth, Connection, SourceInput, SourceSettings, observe_stream, publish_group, spawn_source,
};
use harmonylite_core::effect::{Follow, Observe};
use harmonylite_core::input::{Input, StreamFacts};
use harmonylite_core::model::{SourceId, StreamSequence};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, STREAM, SUBJECT, TestServer, credentials, messages, nkey, soon, with_stream};

/// A source and the core's side of it.
pub(crate) struct Followed {
    requests: mpsc::Sender<SourceInput>,
    inputs: mpsc::Receiver<Input>,
}

impl Followed {
    pub(crate) fn new(connection: &Connection) -> Self {
        let (requests, receiver) = mpsc::channel(8);
        let (sender, inputs) = mpsc::channel(8);
        let settings = SourceSettings {
            id: source_id(),
            stream: STREAM.to_owned(),
            connection: connection.clone(),
            own: None,
        };
        spawn_source(settings, receiver, sender, CancellationToken::new());
        Self { requests, inputs }
    }

    pub(crate) async fn send(&self, request: SourceInput) {
        self.requests.send(request).await.unwrap();
    }

    pub(crate) async fn observe(&mut self) -> Result<StreamFacts, String> {
        self.send(SourceInput::Observe(Observe { source: source_id(), at: StreamSequence::START })).await;
        match self.next().await {
            Input::StreamObserved { stream, .. } => Ok(stream),
            Input::SourceLost { epoch: None, error, .. } => Err(error),
            other => panic!("not an answer: {other:?}"),
        }
    }

    pub(crate) async fn follow(&self, epoch: u64, after: u64, credit: u32) {
        let after = StreamSequence(after);
        self.send(SourceInput::Follow(Follow { source: source_id(), epoch, after, credit })).await;
    }

    pub(crate) async fn next(&mut self) -> Input {
        soon("an input", self.inputs.recv()).await.unwrap()
    }

    /// The next `count` deliveries must be those from `first` on.
    async fn expect(&mut self, epoch: u64, first: u64, count: u64) {
        for sequence in first..first + count {
            match self.next().await {
                Input::Delivered { epoch: e, sequence: s, .. } => assert_eq!((e, s.0), (epoch, sequence)),
                other => panic!("not message {sequence}: {other:?}"),
            }
        }
    }

    async fn expect_lost(&mut self, epoch: u64) -> String {
        match self.next().await {
            Input::SourceLost { epoch: Some(e), error, .. } => {
                assert_eq!(e, epoch);
                error
            }
            other => panic!("not lost: {other:?}"),
        }
    }

    /// Nothing comes for a while that is long against a delivery.
    async fn expect_nothing(&mut self) {
        let input = timeout(Duration::from_millis(200), self.inputs.recv()).await;
        assert!(input.is_err(), "unexpected: {input:?}");
    }
}

fn source_id() -> SourceId {
    SourceId(format!("1/{STREAM}"))
}

/// The bodies of the first `count` messages.
pub(crate) async fn read_all(connection: &Connection, count: usize) -> Vec<Vec<u8>> {
    let mut source = Followed::new(connection);
    source.follow(1, 0, u32::try_from(count).unwrap()).await;
    let mut bodies = Vec::new();
    while bodies.len() < count {
        match source.next().await {
            Input::Delivered { bytes, .. } => bodies.push(bytes),
            other => panic!("not a message: {other:?}"),
        }
    }
    bodies
}

async fn publish(connection: &Connection, first: usize, count: usize) {
    publish_group(connection, STREAM, SUBJECT, messages(first, count), None).await.unwrap();
}

#[tokio::test]
async fn a_peer_reads_from_the_checkpoint_on() {
    for configured in [credentials("harmony", "right"), nkey(), Auth::Anonymous] {
        let test = TestServer::start_with(|settings| settings.peer_auth.clone_from(&configured)).await;
        let owner = with_stream(&test).await;
        publish(&owner, 0, 10).await;
        let mut source = Followed::new(&test.connect_as_peer(configured).await);
        let facts = source.observe().await.unwrap();
        assert_eq!((facts.first, facts.last), (StreamSequence(1), StreamSequence(10)));
        source.follow(3, 4, 100).await;
        source.expect(3, 5, 6).await;
        publish(&owner, 10, 2).await;
        source.expect(3, 11, 2).await;
    }
}

#[tokio::test]
async fn no_more_comes_than_there_is_credit() {
    let test = TestServer::start().await;
    let owner = with_stream(&test).await;
    publish(&owner, 0, 600).await;
    let mut source = Followed::new(&owner);
    source.follow(1, 0, 5).await;
    source.expect(1, 1, 5).await;
    source.expect_nothing().await;
    source.send(SourceInput::Credit(3)).await;
    source.send(SourceInput::Credit(1)).await;
    source.expect(1, 6, 4).await;
    source.expect_nothing().await;
    source.send(SourceInput::Credit(500)).await;
    source.expect(1, 10, 500).await;
    source.expect_nothing().await;
}

#[tokio::test]
async fn credit_given_one_by_one_is_not_lost() {
    let test = TestServer::start().await;
    let owner = with_stream(&test).await;
    publish(&owner, 0, 1500).await;
    let mut source = Followed::new(&owner);
    source.follow(1, 0, 64).await;
    for sequence in 1..=1500 {
        source.expect(1, sequence, 1).await;
        source.send(SourceInput::Credit(1)).await;
    }
}

#[tokio::test]
async fn a_full_channel_does_not_lock_the_source_out() {
    let test = TestServer::start().await;
    let owner = with_stream(&test).await;
    publish(&owner, 0, 200).await;
    let mut source = Followed::new(&owner);
    source.follow(1, 0, 200).await;
    // Nobody reads the 8 places of the inputs, and more requests than the requests' 8 places still get through.
    for _ in 0..50 {
        soon("room for a request", source.requests.send(SourceInput::Credit(1))).await.unwrap();
    }
    source.expect(1, 1, 200).await;
}

#[tokio::test]
async fn a_stream_that_lost_its_head_is_delivered_from_its_first_message() {
    let test = TestServer::start().await;
    let owner = test.connect().await;
    let mut settings = crate::support::stream_settings();
    settings.max_messages = 3;
    harmonylite::nats::ensure_stream(&owner, &settings, &crate::support::identity()).await.unwrap();
    publish(&owner, 0, 10).await;
    let mut source = Followed::new(&owner);
    source.follow(1, 2, 10).await;
    source.expect(1, 8, 3).await;
}

#[tokio::test]
async fn messages_discarded_while_they_are_followed_are_missed_aloud() {
    let test = TestServer::start().await;
    let owner = test.connect().await;
    let mut settings = crate::support::stream_settings();
    settings.max_messages = 3;
    harmonylite::nats::ensure_stream(&owner, &settings, &crate::support::identity()).await.unwrap();
    publish(&owner, 0, 2).await;
    let mut source = Followed::new(&owner);
    source.follow(1, 0, 1).await;
    source.expect(1, 1, 1).await;
    publish(&owner, 2, 10).await;
    source.send(SourceInput::Credit(5)).await;
    let error = source.expect_lost(1).await;
    assert!(error.contains("message 2 was to come, but 10 came"), "{error}");
}

#[tokio::test]
async fn a_stream_shorter_than_the_checkpoint_is_not_waited_for() {
    let test = TestServer::start().await;
    let owner = with_stream(&test).await;
    publish(&owner, 0, 3).await;
    let mut source = Followed::new(&owner);
    source.follow(1, 4, 10).await;
    let error = source.expect_lost(1).await;
    assert!(error.contains("it ends at 3, before 4"), "{error}");
}

#[tokio::test]
async fn a_killed_server_is_noticed_and_the_source_comes_back() {
    let test = TestServer::start().await;
    let owner = with_stream(&test).await;
    publish(&owner, 0, 3).await;
    let mut source = Followed::new(&test.connect_as_peer(Auth::Anonymous).await);
    source.follow(1, 0, 10).await;
    source.expect(1, 1, 3).await;
    let killed = Instant::now();
    test.kill();
    source.expect_lost(1).await;
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    let deadline = Instant::now() + DEADLINE;
    while let Err(error) = source.observe().await {
        assert!(Instant::now() < deadline, "{error}");
    }
    source.follow(2, 3, 10).await;
    owner.ready(DEADLINE).await.unwrap();
    publish(&owner, 3, 2).await;
    source.expect(2, 4, 2).await;
}

#[tokio::test]
async fn a_stopped_server_process_is_noticed_by_its_silence() {
    let test = TestServer::start().await;
    let owner = with_stream(&test).await;
    let mut source = Followed::new(&owner);
    source.follow(1, 0, 10).await;
    publish(&owner, 0, 1).await;
    source.expect(1, 1, 1).await;
    let pid = rustix::process::Pid::from_raw(test.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let error = source.expect_lost(1).await;
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert!(error.contains("silent"), "{error}");
}

#[tokio::test]
async fn an_idle_source_is_not_taken_for_a_lost_one() {
    let test = TestServer::start().await;
    let owner = with_stream(&test).await;
    let mut source = Followed::new(&owner);
    source.follow(1, 0, 10).await;
    let input = timeout(Duration::from_secs(4), source.inputs.recv()).await;
    assert!(input.is_err(), "{input:?}");
    publish(&owner, 0, 1).await;
    source.expect(1, 1, 1).await;
}

#[tokio::test]
async fn unfollowing_ends_delivery_and_a_new_epoch_begins_another() {
    let test = TestServer::start().await;
    let owner = with_stream(&test).await;
    publish(&owner, 0, 2).await;
    let mut source = Followed::new(&owner);
    source.follow(1, 0, 10).await;
    source.expect(1, 1, 2).await;
    source.send(SourceInput::Unfollow).await;
    source.observe().await.unwrap();
    publish(&owner, 2, 1).await;
    source.expect_nothing().await;
    source.follow(2, 0, 10).await;
    source.expect(2, 1, 3).await;
}

#[tokio::test]
async fn a_missing_stream_and_a_refused_one_are_told_apart() {
    let test = TestServer::start_with(|settings| settings.stream_names.clear()).await;
    let owner = test.connect().await;
    let error = Followed::new(&owner).observe().await.unwrap_err();
    assert!(error.contains("no such stream"), "{error}");
    let peer = test.connect_as_peer(Auth::Anonymous).await;
    let error = Followed::new(&peer).observe().await.unwrap_err().to_lowercase();
    assert!(error.contains("permissions violation"), "{error}");
}

#[tokio::test]
async fn wrong_credentials_are_the_sources_error() {
    let right = credentials("harmony", "right");
    let test = TestServer::start_with(|settings| settings.peer_auth = right).await;
    let settings = test.peer_settings(credentials("harmony", "wrong"));
    let connection = Connection::open(&settings).await.unwrap();
    let error = Followed::new(&connection).observe().await.unwrap_err();
    assert!(error.contains("wrong credentials"), "{error}");
}

#[tokio::test]
async fn a_consumer_that_is_deleted_is_a_lost_source() {
    let test = TestServer::start().await;
    let owner = with_stream(&test).await;
    let mut source = Followed::new(&owner);
    for (epoch, credit) in [(1, 10), (2, 0)] {
        source.follow(epoch, 0, credit).await;
        source.observe().await.unwrap();
        let raw = async_nats::jetstream::new(test.raw_client(true).await);
        let stream = raw.get_stream(STREAM).await.unwrap();
        let mut names = stream.consumer_names();
        while let Some(name) = futures_util::StreamExt::next(&mut names).await {
            stream.delete_consumer(&name.unwrap()).await.unwrap();
        }
        source.send(SourceInput::Credit(1)).await;
        let error = source.expect_lost(epoch).await;
        assert!(error.contains("the server ends delivery"), "{error}");
    }
}

#[tokio::test]
async fn what_others_on_the_connection_are_refused_is_no_loss() {
    let test = TestServer::start().await;
    let owner = with_stream(&test).await;
    let peer = test.connect_as_peer(Auth::Anonymous).await;
    let mut source = Followed::new(&peer);
    source.follow(1, 0, 10).await;
    source.observe().await.unwrap();
    for stream in ["harmonylite-changes-10", "foreign"] {
        let error = observe_stream(&peer, stream, StreamSequence::START).await.unwrap_err().to_string();
        assert!(error.to_lowercase().contains("permissions violation"), "{error}");
    }
    publish(&owner, 0, 1).await;
    source.expect(1, 1, 1).await;
}
