//! Records of members: in a mesh a peer sends its own to our server as a request and gets an answer; on shared servers all
//! hear all on one subject. What the bytes mean is not known here.

use std::time::Duration;

use async_nats::{Subject, Subscriber};
use futures_util::StreamExt as _;

use super::{Connection, NatsError};

/// The one subject, beside those that read our streams, to which a peer may publish.
pub const HELLO_SUBJECT: &str = "harmonylite.hello";

/// Sends `record` to the node whose server the connection leads to; gives its answer.
///
/// # Errors
/// When there is no connection, nobody listens there (the node is starting, or is no node), or it does not answer
/// within `within`.
pub async fn send_hello(
    connection: &Connection,
    record: Vec<u8>,
    within: Duration,
) -> Result<Vec<u8>, NatsError> {
    let what = "sending our member record";
    let request = connection.client().request(HELLO_SUBJECT, record.into());
    let answer = connection.call(what, HELLO_SUBJECT, within, request).await?;
    answer.map(|message| message.payload.to_vec()).map_err(|error| connection.failed(what, error))
}

/// Answers records with `answer`, until the connection is dropped.
///
/// # Errors
/// When the server is not reached at all.
pub async fn answer_hellos(
    connection: &Connection,
    mut answer: impl FnMut(&[u8]) -> Vec<u8>,
) -> Result<(), NatsError> {
    let what = "listening for member records";
    let subscribed = connection.client().subscribe(HELLO_SUBJECT).await;
    let mut hellos = subscribed.map_err(|error| connection.failed(what, error))?;
    while let Some(hello) = hellos.next().await {
        if let Some(reply) = hello.reply {
            let bytes = answer(&hello.payload);
            // Whoever asked comes again with its next heartbeat.
            if let Err(error) = connection.client().publish(reply, bytes.into()).await {
                tracing::debug!(%error, "member record not answered");
            }
        }
    }
    Ok(())
}

/// The subject on which the members of a shared cluster hear one another, and an inbox of our own for answers.
#[derive(Debug)]
pub struct MemberChannel {
    connection: Connection,
    subject: String,
    inbox: String,
    records: Subscriber,
    answers: Subscriber,
}

/// What comes over a [`MemberChannel`].
#[derive(Debug)]
pub enum Word {
    /// Somebody's record, our own ones among them.
    Record {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Where an answer is waited for.
        reply: Option<String>,
    },
    /// Somebody's answer to a record of ours.
    Answer(Vec<u8>),
}

impl MemberChannel {
    /// Listens on `subject`; also across reconnects.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn open(connection: &Connection, subject: String) -> Result<Self, NatsError> {
        let inbox = connection.client().new_inbox();
        let listen = async |subject: &str| {
            let subscribed = connection.client().subscribe(subject.to_owned()).await;
            subscribed.map_err(|error| connection.failed("listening for members", error))
        };
        let (records, answers) = (listen(&subject).await?, listen(&inbox).await?);
        Ok(Self { connection: connection.clone(), subject, inbox, records, answers })
    }

    /// Tells everybody our record.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn say(&self, record: Vec<u8>) -> Result<(), NatsError> {
        let (subject, inbox) = (self.subject.clone(), self.inbox.clone());
        let sent = self.connection.client().publish_with_reply(subject, inbox, record.into()).await;
        sent.map_err(|error| self.connection.failed("sending our member record", error))
    }

    /// As [`say`](Self::say), and waits until the server has it.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn say_at_once(&self, record: Vec<u8>) -> Result<(), NatsError> {
        self.say(record).await?;
        let flushed = self.connection.client().flush().await;
        flushed.map_err(|error| self.connection.failed("sending our member record", error))
    }

    /// Answers a record.
    pub async fn answer(&self, reply: String, answer: Vec<u8>) {
        // Whoever asked comes again with its next heartbeat.
        if let Err(error) = self.connection.client().publish(Subject::from(reply), answer.into()).await {
            tracing::debug!(%error, "member record not answered");
        }
    }

    /// What comes next; `None` when the connection is closed. Safe to cancel.
    pub async fn next(&mut self) -> Option<Word> {
        tokio::select! {
            record = self.records.next() => record.map(|message| Word::Record {
                bytes: message.payload.to_vec(),
                reply: message.reply.map(|reply| reply.to_string()),
            }),
            answer = self.answers.next() => answer.map(|message| Word::Answer(message.payload.to_vec())),
        }
    }
}
