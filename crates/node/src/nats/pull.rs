//! One pull consumer of our own: exactly the messages that were asked for, in order, or an error.
//!
//! The protocol is spoken directly: the client library's streams ask for more than there is credit, and its ordered
//! consumer stays silent or skips after a restart or a rollback of the store.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::{StatusCode, Subscriber, jetstream};
use futures_util::StreamExt;
use harmonylite_core::model::StreamSequence;
use tokio::time::{Instant, sleep_until};

use super::connect::Trouble;
use super::stream::stream_range;
use super::{Connection, NatsError, random_hex};

const CREATE_TIMEOUT: Duration = Duration::from_secs(3);
/// The server says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Without a word for so long, it is not.
const SILENCE_MAX: Duration = Duration::from_millis(2200);
/// A request for messages ends after this and is made anew.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// The server removes the consumer when nobody has asked it for messages for so long.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(60);
/// The most messages that one request asks for.
const PULL_MAX: u32 = 256;
/// Bytes that may be on their way, about: the answer to a ping comes behind them, and over a slow link (1 Mbit/s) they must not
/// take as long as the client waits for it (15 s).
const PULL_BYTES: usize = 2 << 20;
/// How large a message is as long as none has come: a full body, uncompressed.
const SIZE_AT_FIRST: usize = 256 << 10;

/// What came.
pub(super) enum Pulled {
    /// The next message.
    Message {
        /// Its place.
        sequence: StreamSequence,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Something else than a message; there may be reason to [ask](Puller::ask) again.
    Nothing,
    /// No more will come, for this reason.
    Ended(String),
}

/// Delivers a stream from one place on.
pub(super) struct Puller {
    connection: Connection,
    trouble: Trouble,
    subscription: Subscriber,
    inbox: String,
    next_subject: String,
    /// What the next message must be; the first one says itself where a stream begins that has lost its head.
    expected: StreamSequence,
    delivered: u64,
    /// Messages allowed, but not asked for.
    credit: u32,
    /// Messages asked for that have not come.
    outstanding: u32,
    /// The size of the largest messages of late, in bytes.
    size: usize,
    heard: Instant,
}

impl Puller {
    /// Makes the consumer. The first message will be the one after `after`, or the stream's first if that is later.
    pub(super) async fn start(
        connection: &Connection,
        stream: &str,
        after: StreamSequence,
        credit: u32,
    ) -> Result<Self, NatsError> {
        let trouble = connection.trouble(stream);
        let what = format!("following stream {stream}");
        let (first, last) = stream_range(connection, stream).await?;
        // The server would wait without a word until the stream gets there.
        if after > last {
            return Err(connection.failed(&what, format!("it ends at {last}, before {after}")));
        }
        let inbox = connection.client().new_inbox();
        let subscribe = connection.client().subscribe(inbox.clone());
        let subscription = connection.call(&what, stream, CREATE_TIMEOUT, subscribe).await?;
        let subscription = subscription.map_err(|error| connection.failed(&what, error))?;
        let name = format!("harmonylite-{}", random_hex(8)?);
        let config = config(&name, after.next());
        let create = connection.jetstream().create_consumer_strict_on_stream(config, stream);
        let created = connection.call(&what, stream, CREATE_TIMEOUT, create).await?;
        created.map_err(|error| connection.failed(&what, error))?;
        Ok(Self {
            connection: connection.clone(),
            trouble,
            subscription,
            inbox,
            next_subject: connection.api(&format!("CONSUMER.MSG.NEXT.{stream}.{name}")),
            expected: first.max(after.next()),
            delivered: 0,
            credit,
            outstanding: 0,
            size: SIZE_AT_FIRST,
            heard: Instant::now(),
        })
    }

    /// So many more messages may come.
    pub(super) fn allow(&mut self, messages: u32) {
        self.credit = self.credit.saturating_add(messages);
    }

    /// Asks for messages when there is credit and reason to. Few large requests instead of many small ones: a new
    /// one is made when what may be asked for has grown to what is outstanding.
    pub(super) async fn ask(&mut self) -> Result<(), NatsError> {
        loop {
            let batch = self.credit.min(self.room()).min(PULL_MAX);
            if batch == 0 || batch < self.outstanding.min(PULL_MAX) {
                return Ok(());
            }
            let request = serde_json::json!({
                "batch": batch,
                "expires": PULL_EXPIRES.as_nanos() as u64,
                "idle_heartbeat": HEARTBEAT.as_nanos() as u64,
            });
            let publish = self.connection.client().publish_with_reply(
                self.next_subject.clone(),
                self.inbox.clone(),
                request.to_string().into(),
            );
            let what = "asking for messages";
            let sent = self.connection.call(what, &self.next_subject, CREATE_TIMEOUT, publish).await?;
            sent.map_err(|error| self.connection.failed(what, error))?;
            if self.outstanding == 0 {
                self.heard = Instant::now();
            }
            self.credit -= batch;
            self.outstanding += batch;
        }
    }

    /// How many more messages may be on their way; one at least if there are none.
    fn room(&self) -> u32 {
        let messages = u32::try_from(PULL_BYTES / self.size.max(1)).unwrap_or(PULL_MAX).max(1);
        messages.saturating_sub(self.outstanding)
    }

    /// What comes next. Safe to cancel: nothing that came is lost.
    pub(super) async fn next(&mut self) -> Pulled {
        let silence = self.heard + SILENCE_MAX;
        let message = tokio::select! {
            biased;
            message = self.subscription.next() => message,
            reason = self.trouble.happens() => return Pulled::Ended(reason),
            () = sleep_until(silence), if self.outstanding > 0 => {
                return Pulled::Ended("the server is silent".to_owned());
            }
        };
        self.heard = Instant::now();
        match message {
            None => Pulled::Ended("connection closed".to_owned()),
            Some(message) => match message.status {
                Some(status) if status != StatusCode::OK => self.status(status, &message),
                _ => self.message(message),
            },
        }
    }

    fn message(&mut self, message: async_nats::Message) -> Pulled {
        let context = self.connection.jetstream().clone();
        let message = jetstream::Message { message, context };
        let (sequence, delivered) = match message.info() {
            Ok(info) => (StreamSequence(info.stream_sequence), info.consumer_sequence),
            Err(error) => return Pulled::Ended(format!("a message without its place: {error}")),
        };
        if sequence != self.expected || delivered != self.delivered + 1 {
            return Pulled::Ended(format!("message {} was to come, but {sequence} came", self.expected));
        }
        self.expected = sequence.next();
        self.delivered = delivered;
        self.outstanding = self.outstanding.saturating_sub(1);
        self.size = (self.size - self.size / 8).max(message.message.payload.len());
        Pulled::Message { sequence, bytes: message.message.payload.into() }
    }

    fn status(&mut self, status: StatusCode, message: &async_nats::Message) -> Pulled {
        let description = message.description.as_deref().unwrap_or_default();
        match status {
            StatusCode::IDLE_HEARTBEAT => Pulled::Nothing,
            StatusCode::TIMEOUT => self.expired(message),
            _ => Pulled::Ended(format!("the server ends delivery: {status} {description}")),
        }
    }

    /// A request is over: what it did not get may be asked for again.
    fn expired(&mut self, message: &async_nats::Message) -> Pulled {
        let pending = message.headers.as_ref().and_then(|headers| headers.get("Nats-Pending-Messages"));
        let Some(unserved) = pending.and_then(|number| number.as_str().parse::<u32>().ok()) else {
            return Pulled::Ended("a request for messages ended without saying what it had got".to_owned());
        };
        self.outstanding = self.outstanding.saturating_sub(unserved);
        self.credit = self.credit.saturating_add(unserved);
        Pulled::Nothing
    }
}

fn config(name: &str, start: StreamSequence) -> Config {
    Config {
        name: Some(name.to_owned()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start.0 },
        ack_policy: AckPolicy::None,
        inactive_threshold: INACTIVE_THRESHOLD,
        memory_storage: true,
        num_replicas: 1,
        ..Config::default()
    }
}
