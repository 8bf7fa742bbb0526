//! What a peer's credentials do not allow: everything but looking at streams and reading them.

use std::sync::{Arc, Mutex};

use async_nats::Event;
use futures_util::StreamExt;
use harmonylite::nats::{observe_stream, publish_group};
use harmonylite_core::model::StreamSequence;

use crate::support::{STREAM, SUBJECT, TestServer, credentials, eventually, messages, soon, with_stream};

/// A bare client as a peer, and what the server refused it.
struct Peer {
    client: async_nats::Client,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    async fn connect(test: &TestServer) -> Self {
        let refused = Arc::<Mutex<Vec<String>>>::default();
        let heard = refused.clone();
        let options = async_nats::ConnectOptions::with_user_and_password("harmony".into(), "right".into());
        let options = options.event_callback(move |event| {
            if let Event::ServerError(error) = event {
                heard.lock().unwrap().push(error.to_string().to_lowercase());
            }
            std::future::ready(())
        });
        Self { client: options.connect(test.server.client_url()).await.unwrap(), refused }
    }

    /// Waits for the refusal of that operation.
    async fn expect_refused(&self, operation: &str, subject: &str) {
        let wanted = format!("permissions violation for {operation} to \"{}\"", subject.to_lowercase());
        self.client.flush().await.unwrap();
        eventually(&wanted, || self.refused.lock().unwrap().iter().any(|text| text.contains(&wanted))).await;
    }
}

async fn server() -> TestServer {
    TestServer::start_with(|settings| settings.peer_auth = credentials("harmony", "right")).await
}

#[tokio::test]
async fn a_peer_cannot_write_delete_purge_or_change_anything() {
    let test = server().await;
    let owner = with_stream(&test).await;
    publish_group(&owner, STREAM, SUBJECT, messages(1, 3), None).await.unwrap();
    let before = observe_stream(&owner, STREAM, StreamSequence::START).await.unwrap();
    let peer = Peer::connect(&test).await;
    let api = [
        "STREAM.CREATE",
        "STREAM.UPDATE",
        "STREAM.DELETE",
        "STREAM.PURGE",
        "STREAM.MSG.DELETE",
        "STREAM.SNAPSHOT",
        "STREAM.RESTORE",
        "STREAM.LEADER.STEPDOWN",
        "CONSUMER.LIST",
    ]
    .map(|request| format!("$JS.API.{request}.{STREAM}"));
    // Not those of others, either: who reads makes one of its own, and lets it expire.
    let consumers = ["INFO", "DELETE"].map(|request| format!("$JS.API.CONSUMER.{request}.{STREAM}.another"));
    let others = [SUBJECT, "$JS.API.STREAM.NAMES", "$JS.API.STREAM.CREATE.KV_x", "$KV.x.y", "_INBOX.x.y"];
    let system = ["$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.PING.CONNZ", "$JS.API.SERVER.REMOVE"];
    let api = api.iter().chain(&consumers).map(String::as_str);
    for subject in api.chain(others).chain(system) {
        peer.client.publish(subject.to_owned(), "{}".into()).await.unwrap();
        peer.expect_refused("publish", subject).await;
    }
    let after = observe_stream(&owner, STREAM, StreamSequence::START).await.unwrap();
    assert_eq!(format!("{after:?}"), format!("{before:?}"));
}

#[tokio::test]
async fn a_peer_cannot_listen_to_the_server_or_to_what_is_published() {
    let test = server().await;
    let owner = with_stream(&test).await;
    let peer = Peer::connect(&test).await;
    let mut subscriptions = Vec::new();
    for subject in [">", "*", "*.>", "$SYS.>", "$SYS.ACCOUNT.>", "$JS.>", "$JS.EVENT.ADVISORY.>", SUBJECT] {
        subscriptions.push(peer.client.subscribe(subject).await.unwrap());
        peer.expect_refused("subscription", subject).await;
    }
    publish_group(&owner, STREAM, SUBJECT, messages(1, 3), None).await.unwrap();
    // A request that is answered comes after whatever would have been heard.
    let info = peer.client.request(format!("$JS.API.STREAM.INFO.{STREAM}"), "".into());
    assert!(soon("the stream's state", info).await.unwrap().length > 0, "what a peer may do is answered");
    for mut subscription in subscriptions {
        let heard = std::future::poll_fn(|context| {
            std::task::Poll::Ready(match subscription.poll_next_unpin(context) {
                std::task::Poll::Ready(message) => message.map(|message| message.subject.to_string()),
                std::task::Poll::Pending => None,
            })
        });
        assert_eq!(heard.await, None);
    }
}
