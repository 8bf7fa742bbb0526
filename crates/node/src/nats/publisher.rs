//! Publishing durably: one message, or groups as an atomic batch.
//!
//! More than one message goes out as the server's atomic batch, written by hand: an id, a sequence in the
//! batch, a commit mark on the last. The first message is a request, so that a server that takes no batches says so
//! before the rest is sent; the others are only answered together with the commit.

use std::time::Duration;

use async_nats::{HeaderMap, header};
use bytes::Bytes;
use harmonylite_core::codec::Message;
use harmonylite_core::limits::ATOMIC_BATCH_MAX;
use harmonylite_core::model::StreamSequence;
use serde::Deserialize;
use thiserror::Error;

use super::{Connection, NatsError, random_hex};

/// The server gives up a batch of which it hears nothing for so long.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

const BATCH_ID: &str = "Nats-Batch-Id";
const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";
const BATCH_COMMIT: &str = "Nats-Batch-Commit";

/// The group is not known to be stored: refused, or nobody answered. What the stream holds decides.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{error}")]
pub struct PublishError {
    /// For people.
    pub error: String,
}

impl From<NatsError> for PublishError {
    fn from(error: NatsError) -> Self {
        Self { error: error.to_string() }
    }
}

/// Stores `messages` in order, atomically up to 1000 of them, and gives the sequence of the last. With
/// `expected_last` it is refused unless that is the stream's last sequence. An empty group is an error. Dropped
/// before it ends, it leaves the outcome unknown, like an error.
pub async fn publish_group(
    connection: &Connection,
    stream: &str,
    subject: &str,
    messages: Vec<Message>,
    expected_last: Option<StreamSequence>,
) -> Result<StreamSequence, PublishError> {
    let target = Target { connection, stream, subject };
    let mut messages = messages.into_iter().peekable();
    let mut expected = expected_last;
    let mut last = None;
    while messages.peek().is_some() {
        let batch: Vec<_> = messages.by_ref().take(ATOMIC_BATCH_MAX).collect();
        let stored = target.publish(batch, expected).await?;
        expected = expected.map(|_| stored);
        last = Some(stored);
    }
    last.ok_or_else(|| PublishError { error: "nothing to publish".to_owned() })
}

struct Target<'a> {
    connection: &'a Connection,
    stream: &'a str,
    subject: &'a str,
}

impl Target<'_> {
    async fn publish(
        &self,
        mut batch: Vec<Message>,
        expected_last: Option<StreamSequence>,
    ) -> Result<StreamSequence, NatsError> {
        let count = batch.len() as u64;
        let Some(last) = batch.pop() else { return Err(self.failed("nothing to publish")) };
        let mut headers = self.headers(&last, expected_last.filter(|_| count == 1));
        if count > 1 {
            let id = random_hex(16)?;
            self.send_all_but_last(&id, batch, expected_last).await?;
            set_place(&mut headers, &id, count);
            headers.insert(BATCH_COMMIT, "1");
        }
        let reply = self.request(headers, last.bytes).await?;
        self.stored(&reply, count, expected_last)
    }

    async fn send_all_but_last(
        &self,
        id: &str,
        messages: Vec<Message>,
        expected_last: Option<StreamSequence>,
    ) -> Result<(), NatsError> {
        for (message, place) in messages.into_iter().zip(1..) {
            let first = place == 1;
            // On each message it would be refused (10164): the batch has one place to begin at.
            let mut headers = self.headers(&message, expected_last.filter(|_| first));
            set_place(&mut headers, id, place);
            if first {
                self.begin(headers, message.bytes).await?;
            } else {
                self.send(headers, message.bytes).await?;
            }
        }
        Ok(())
    }

    /// The answer to a batch's first message is empty, or an error.
    async fn begin(&self, headers: HeaderMap, bytes: Vec<u8>) -> Result<(), NatsError> {
        let reply = self.request(headers, bytes).await?;
        if reply.is_empty() {
            return Ok(());
        }
        let refusal = serde_json::from_slice::<Acknowledgement>(&reply).ok().and_then(|ack| ack.error);
        Err(match refusal {
            Some(refusal) => self.refused(&refusal),
            None => self.failed("the server stored a message of a batch by itself: is it older than 2.12?"),
        })
    }

    fn headers(&self, message: &Message, expected_last: Option<StreamSequence>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_ID, message.id.as_str());
        headers.insert(header::NATS_EXPECTED_STREAM, self.stream);
        if let Some(last) = expected_last {
            // Of the stream, not of the subject: when age or size has emptied the stream, the subject's is 0.
            headers.insert(header::NATS_EXPECTED_LAST_SEQUENCE, last.to_string());
        }
        headers
    }

    async fn send(&self, headers: HeaderMap, bytes: Vec<u8>) -> Result<(), NatsError> {
        let subject = self.subject.to_owned();
        let sent = self.connection.client().publish_with_headers(subject, headers, bytes.into());
        let sent = self.connection.call(&self.what(), self.subject, REPLY_TIMEOUT, sent).await?;
        sent.map_err(|error| self.failed(error))
    }

    async fn request(&self, headers: HeaderMap, bytes: Vec<u8>) -> Result<Bytes, NatsError> {
        let request =
            async_nats::Request::new().headers(headers).payload(bytes.into()).timeout(Some(REPLY_TIMEOUT));
        let reply = self.connection.client().send_request(self.subject.to_owned(), request);
        let reply = self.connection.call(&self.what(), self.subject, REPLY_TIMEOUT, reply).await?;
        reply.map(|message| message.payload).map_err(|error| self.failed(error))
    }

    fn stored(
        &self,
        reply: &[u8],
        count: u64,
        expected_last: Option<StreamSequence>,
    ) -> Result<StreamSequence, NatsError> {
        let ack: Acknowledgement = serde_json::from_slice(reply).map_err(|error| self.failed(error))?;
        if let Some(refusal) = &ack.error {
            return Err(self.refused(refusal));
        }
        // Stored, but not now and perhaps not here: only a look at the stream tells what follows it.
        if ack.duplicate {
            return Err(self.failed(format!("the stream has it already, at sequence {}", ack.seq)));
        }
        if ack.count.is_some_and(|stored| stored != count) {
            return Err(self.failed(format!("{} of {count} messages were stored", ack.count.unwrap_or(0))));
        }
        if expected_last.is_some_and(|last| last.0 + count != ack.seq) {
            return Err(self.failed(format!("the last of {count} messages got sequence {}", ack.seq)));
        }
        Ok(StreamSequence(ack.seq))
    }

    fn what(&self) -> String {
        format!("publishing to stream {}", self.stream)
    }

    fn failed(&self, reason: impl std::fmt::Display) -> NatsError {
        self.connection.failed(&self.what(), reason)
    }

    fn refused(&self, refusal: &Refusal) -> NatsError {
        self.failed(format!("{} ({})", refusal.description, refusal.err_code))
    }
}

fn set_place(headers: &mut HeaderMap, batch: &str, place: u64) {
    headers.insert(BATCH_ID, batch);
    headers.insert(BATCH_SEQUENCE, place.to_string());
}

/// What JetStream answers to a publish.
#[derive(Deserialize)]
struct Acknowledgement {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    /// Messages of the batch; absent for a single message.
    count: Option<u64>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}
