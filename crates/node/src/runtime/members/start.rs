//! Before a node touches its database: does another live node have its id?
//!
//! Everybody who is known is asked at once. Who is not reached cannot know anything: a node that is alone, or whose peers
//! are all away, starts after a moment. Should two nodes with one id only meet later, the one that started later ends.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use harmonylite_core::limits::{HEARTBEAT_MS, SILENT_AFTER_MS};
use harmonylite_core::members::{
    Answer, Heard, Holder, Identity, Life, Moment, Progress, Roster, decode_answer, encode_hello,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{displaced_error, read_saved};
use crate::config::{HostPort, Mode, Settings};
use crate::exit::ExitError;
use crate::nats::{self, Connection, MemberChannel, NatsError, Word};
use crate::runtime::clock::wall_ms;
use crate::runtime::{home, own_streams, peers};

/// How long who is asked may take: a start must not wait for who is not there.
const ASK_WITHIN: Duration = Duration::from_millis(1500);
/// How long answers are waited for on shared servers.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);
/// Between two times of asking whether the other node is still heard.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// A node that was heard until just now counts as alive for so long; then whoever is asked says that it is silent.
const DECIDED_WITHIN: Duration = Duration::from_millis(SILENT_AFTER_MS + 2 * HEARTBEAT_MS);

/// Asks the nodes of the configuration and those that an earlier process knew. Returns at once when there are none.
///
/// # Errors
/// When another live node has our id.
pub(crate) async fn check(
    settings: &Settings,
    me: &Identity,
    saved: Option<&[u8]>,
    stop: &CancellationToken,
) -> Result<(), ExitError> {
    let mut roster = Roster::new(me.clone(), read_saved(saved));
    let told = roster.addresses().into_values().filter_map(|address| HostPort::parse(&address).ok());
    let mut addresses: Vec<HostPort> = settings.cluster.peers.iter().cloned().chain(told).collect();
    addresses.sort();
    addresses.dedup();
    let others = Others::find(settings, &addresses).await;
    let asking = Instant::now();
    let mut waits = false;
    while others.may_know() && !stop.is_cancelled() {
        let Some(suspect) = others.ask(&mut roster).await else { return Ok(()) };
        if let Some(holder) = roster.holder() {
            return Err(displaced_error(Some(holder), me.node));
        }
        if asking.elapsed() > DECIDED_WITHIN {
            return Err(displaced_error(Some(&suspect), me.node));
        }
        if !std::mem::replace(&mut waits, true) {
            tracing::warn!("another node with our id was alive until just now, waiting whether it still is");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(AGAIN_AFTER) => {}
        }
    }
    Ok(())
}

/// Who may know.
enum Others {
    /// In a mesh: each by itself.
    Peers(Vec<Connection>),
    /// Whoever hears us on the shared servers.
    Channel(Box<Connection>, String),
}

impl Others {
    async fn find(settings: &Settings, addresses: &[HostPort]) -> Self {
        if settings.nats.mode == Mode::Shared {
            return match home::connect_elsewhere(settings).await {
                Ok(Some(connection)) => {
                    Self::Channel(Box::new(connection), own_streams::members_subject(settings))
                }
                // The others are on our own server, which does not run yet.
                _ => Self::Peers(Vec::new()),
            };
        }
        let mut connections = Vec::new();
        for address in addresses {
            match peers::connect(settings, address).await {
                Ok(connection) => connections.push(connection),
                Err(error) => tracing::debug!(%address, %error, "not asked whether our node id is free"),
            }
        }
        Self::Peers(connections)
    }

    fn may_know(&self) -> bool {
        !matches!(self, Self::Peers(connections) if connections.is_empty())
    }

    /// Everybody at once, until all have answered or the id is taken for certain. Who has it, if somebody says so.
    async fn ask(&self, roster: &mut Roster) -> Option<Holder> {
        let now = Moment { wall_ms: wall_ms(), steady_ms: 0 };
        let record = encode_hello(&roster.beat(now, Life::Starting, None, Progress::default()));
        let mut suspect = None;
        let mut is_decided = |answer: &Answer| {
            if let Heard::Refused(refusal) = roster.on_answer(now, answer)
                && let Some(rival) = roster.rival(&refusal)
            {
                suspect = Some(rival.clone());
            }
            roster.holder().is_some()
        };
        match self {
            Self::Peers(connections) => {
                let mut answers: FuturesUnordered<_> =
                    connections.iter().map(|connection| ask_one(connection, record.clone())).collect();
                while let Some(answer) = answers.next().await {
                    if answer.is_some_and(|answer| is_decided(&answer)) {
                        break;
                    }
                }
            }
            Self::Channel(connection, subject) => {
                let asked = ask_channel(connection, subject, record, &mut is_decided);
                if let Ok(Err(error)) = tokio::time::timeout(ASK_WITHIN, asked).await {
                    tracing::debug!(%error, "not asked whether our node id is free");
                }
            }
        }
        suspect
    }
}

/// Nobody knows how many will answer: those who do, do so at once.
async fn ask_channel(
    connection: &Connection,
    subject: &str,
    record: Vec<u8>,
    mut is_decided: impl FnMut(&Answer) -> bool,
) -> Result<(), NatsError> {
    connection.ready_at_once(ASK_WITHIN).await?;
    let mut channel = MemberChannel::open(connection, subject.to_owned()).await?;
    channel.say_at_once(record).await?;
    let deadline = Instant::now() + ANSWERS_WITHIN;
    while let Ok(Some(word)) = tokio::time::timeout_at(deadline, channel.next()).await {
        let Word::Answer(bytes) = word else { continue };
        if decode_answer(&bytes).is_ok_and(|answer| is_decided(&answer)) {
            break;
        }
    }
    Ok(())
}

async fn ask_one(connection: &Connection, record: Vec<u8>) -> Option<Answer> {
    let asked = async {
        connection.ready_at_once(ASK_WITHIN).await?;
        nats::send_hello(connection, record, ASK_WITHIN).await
    };
    match tokio::time::timeout(ASK_WITHIN, asked).await {
        Ok(Ok(answer)) => decode_answer(&answer).ok(),
        Ok(Err(error)) => {
            tracing::debug!(server = connection.server(), %error, "not asked whether our node id is free");
            None
        }
        Err(_) => None,
    }
}
