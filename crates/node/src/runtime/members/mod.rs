//! The other nodes: called at the addresses of the configuration and at those that members tell, believed or refused as
//! the core's [`Roster`] decides, and followed as long as they are believed.
//!
//! Three kinds of tasks share one state: a *link* per address sends our record and takes the answer; the *pulse* makes
//! the next record, and dials and drops links as the member list changes; one task answers those who call us. On shared
//! servers a *channel* on which all hear all is in the place of links and calls.

mod channel;
mod identity;
mod link;
mod pulse;
mod report;
mod start;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use harmonylite_core::input::Input;
use harmonylite_core::members::{
    Answer, Holder, Identity, Life, Moment, Refusal, Roster, SavedMember, decode_hello, decode_saved,
    encode_answer, encode_hello,
};
use harmonylite_core::model::NodeId;
use harmonylite_core::status::Status;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::identity::identity;
pub(crate) use self::start::check as check_start;

use self::link::LinkState;
use self::pulse::Pulse;
use super::clock::wall_ms;
use super::driver::Call;
use super::own_streams;
use crate::config::{HostPort, Mode, Settings};
use crate::exit::{ExitCode, ExitError};
use crate::nats::{self, Connection, MemberChannel};

/// How long a goodbye may take: an end must not wait for who is not there.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// A peer, for the status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PeerState {
    /// Its address, without credentials.
    pub url: String,
    /// It stands in the configuration; else a member told it.
    pub configured: bool,
    /// Who answers there; `None` until somebody did.
    pub node_id: Option<NodeId>,
    /// There is a connection now.
    pub connected: bool,
    /// Why there is none, or why it is of no use.
    pub error: Option<String>,
}

/// The members and the ways to them; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    shared: Arc<Shared>,
}

/// What the tasks share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    inputs: mpsc::Sender<Input>,
    calls: mpsc::Sender<Call>,
    tasks: CancellationToken,
    /// To the server that our streams are on.
    local: Connection,
    began: Instant,
    state: Mutex<State>,
    /// Our newest record, as it travels; empty before the first.
    record: watch::Sender<Vec<u8>>,
    /// The member list changed.
    changed: Notify,
    /// Another live node has our id and came first.
    displaced: CancellationToken,
}

#[derive(Debug)]
struct State {
    roster: Roster,
    links: BTreeMap<HostPort, LinkState>,
    /// Over which address the streams of a node are read.
    serving: BTreeMap<NodeId, HostPort>,
    /// Why a call that was no record was refused last: said once.
    malformed: Option<Refusal>,
    /// Why we were refused last on the channel: said once.
    channel_refusal: Option<Refusal>,
}

impl Members {
    /// Begins to call, and to answer calls over `local`, the server that our streams are on. `saved` is what an earlier process kept.
    pub(crate) fn start(
        settings: &Settings,
        me: Identity,
        saved: Option<&[u8]>,
        local: &Connection,
        (inputs, calls, tasks): (&mpsc::Sender<Input>, &mpsc::Sender<Call>, &CancellationToken),
    ) -> Self {
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            inputs: inputs.clone(),
            calls: calls.clone(),
            tasks: tasks.clone(),
            local: local.clone(),
            began: Instant::now(),
            state: Mutex::new(State {
                roster: Roster::new(me, read_saved(saved)),
                links: BTreeMap::new(),
                serving: BTreeMap::new(),
                malformed: None,
                channel_refusal: None,
            }),
            record: watch::Sender::new(Vec::new()),
            changed: Notify::new(),
            displaced: CancellationToken::new(),
        });
        let members = Self { shared };
        members.spawn(Pulse::new(members.shared.clone()).run());
        if settings.nats.mode == Mode::Shared {
            members.spawn(channel::run(members.shared.clone(), local.clone()));
        } else {
            members.spawn(answer_calls(members.shared.clone(), local.clone()));
        }
        members
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let tasks = self.shared.tasks.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = tasks.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Waits until another live node turns out to have our id, and to have started first.
    pub(crate) async fn displaced(&self) -> ExitError {
        self.shared.displaced.cancelled().await;
        let state = self.shared.state();
        displaced_error(state.roster.holder(), state.roster.me().node)
    }

    /// Tells everybody who is reached that we end.
    pub(crate) async fn leave(&self, status: &Status) {
        let (record, connections) = {
            let mut state = self.shared.state();
            let samples = state.roster.own().map(|own| own.progress.samples.clone()).unwrap_or_default();
            let progress = pulse::progress(status, &samples);
            let incarnation = pulse::incarnation(status);
            let record = state.roster.beat(self.shared.now(), Life::Stopped, incarnation, progress);
            let connections: Vec<Connection> =
                state.links.values().filter_map(LinkState::connected).cloned().collect();
            (encode_hello(&record), connections)
        };
        if self.shared.settings.nats.mode == Mode::Shared {
            return self.leave_channel(record).await;
        }
        let goodbyes = connections.iter().map(|connection| {
            let goodbye = nats::send_hello(connection, record.clone(), GOODBYE_WITHIN);
            async move {
                if let Err(error) = tokio::time::timeout(GOODBYE_WITHIN, goodbye).await {
                    tracing::debug!(%error, "goodbye not answered");
                }
            }
        });
        join_all(goodbyes).await;
    }
}

impl Members {
    async fn leave_channel(&self, record: Vec<u8>) {
        let goodbye = async {
            let subject = own_streams::members_subject(&self.shared.settings);
            MemberChannel::open(&self.shared.local, subject).await?.say_at_once(record).await
        };
        match tokio::time::timeout(GOODBYE_WITHIN, goodbye).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "goodbye not said"),
            Err(_) => tracing::debug!("goodbye not said in time"),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        let steady_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Moment { wall_ms: wall_ms(), steady_ms }
    }

    /// After every word of somebody else: is it still us who has our id? The rest is the pulse's.
    fn look_again(&self, state: &State) {
        if state.roster.holder().is_some() {
            self.displaced.cancel();
        }
        self.changed.notify_one();
    }

    /// What a record is answered, and whether its node waits for that: it is about to start.
    fn answer(&self, hello: &[u8]) -> (Answer, bool) {
        let now = self.now();
        let mut state = self.state();
        let record = match decode_hello(hello) {
            Ok(record) => record,
            Err(error) => {
                let refusal = Refusal::format(&error);
                if state.malformed.replace(refusal.clone()).as_ref() != Some(&refusal) {
                    tracing::warn!(reason = %refusal, "a caller is refused");
                }
                return (Answer::Refused(refusal), true);
            }
        };
        let answer = state.roster.on_hello(now, &record);
        if let Answer::Refused(refusal) = &answer {
            let callers = state.roster.refused(now);
            if callers.iter().any(|caller| caller.process == record.process && caller.first == now) {
                let address = record.address.as_deref().unwrap_or("unknown");
                tracing::warn!(node = %record.node, address, reason = %refusal, "a caller is refused");
            }
        }
        self.look_again(&state);
        (answer, record.life == Life::Starting)
    }
}

async fn answer_calls(shared: Arc<Shared>, local: Connection) {
    let answer = |hello: &[u8]| encode_answer(&shared.answer(hello).0);
    if let Err(error) = nats::answer_hellos(&local, answer).await {
        tracing::error!(%error, "other nodes cannot call this one");
    }
}

/// A list that cannot be read is begun anew: the configuration names at least one member, and that one the others.
fn read_saved(saved: Option<&[u8]>) -> Vec<SavedMember> {
    saved.map_or(Ok(Vec::new()), decode_saved).unwrap_or_else(|error| {
        tracing::warn!(%error, "the list of members in the database is not understood, beginning a new one");
        Vec::new()
    })
}

fn displaced_error(holder: Option<&Holder>, node: NodeId) -> ExitError {
    let (address, since) = holder.map_or(("unknown", "unknown".to_owned()), |holder| {
        let since = report::time_of(holder.version.started_ms).unwrap_or_default();
        (holder.address.as_deref().unwrap_or("unknown"), since)
    });
    let message = format!(
        "another live node has node id {node}: it is reached at {address} and has been running since {since}"
    );
    ExitError::new(ExitCode::Duplicate, message).with_hint(
        "give every node a node_id of its own (the id of a database stays for life); if this is the same node on \
         another machine, stop the one there first",
    )
}
