//! One address: connected to, called with every heartbeat, and remembered with what came of it.

use std::sync::Arc;
use std::time::Duration;

use harmonylite_core::limits::HEARTBEAT_MS;
use harmonylite_core::members::{Answer, Heard, decode_answer};
use harmonylite_core::model::NodeId;
use tokio_util::sync::CancellationToken;

use super::{PeerState, Shared, State};
use crate::config::HostPort;
use crate::nats::{self, Connection};
use crate::runtime::peers;

/// One try to learn who answers.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two tries; a refused connection answers at once.
const RETRY: Duration = Duration::from_millis(500);
/// Should no new record come, the last one is sent again.
const HEARTBEAT_LATE: Duration = Duration::from_millis(2 * HEARTBEAT_MS);

/// What is known of an address.
#[derive(Debug)]
pub(super) struct LinkState {
    /// It stands in the configuration, and stays whatever happens.
    pub(super) configured: bool,
    connection: Option<Connection>,
    /// Who answered there.
    node: Option<NodeId>,
    error: Option<String>,
    /// Whoever answers there is not to be followed.
    refused: bool,
    /// Ends the link.
    pub(super) stop: CancellationToken,
}

impl LinkState {
    pub(super) fn new(configured: bool, stop: CancellationToken) -> Self {
        Self { configured, connection: None, node: None, error: None, refused: false, stop }
    }

    /// The connection, while there is one.
    pub(super) fn connected(&self) -> Option<&Connection> {
        self.connection.as_ref().filter(|connection| connection.is_connected())
    }

    /// Does it lead to `node`, and is that believed?
    pub(super) fn leads_to(&self, node: NodeId) -> bool {
        self.node == Some(node) && !self.refused && self.connected().is_some()
    }

    /// Why nothing of `node` comes over it.
    pub(super) fn trouble(&self, node: NodeId) -> Option<(&str, bool)> {
        let error = self.error.as_deref().filter(|_| self.node.is_none_or(|found| found == node))?;
        Some((error, self.refused))
    }

    /// Who answered there and is refused, and why.
    pub(super) fn refusal(&self) -> Option<(NodeId, &str)> {
        self.node.zip(self.error.as_deref()).filter(|_| self.refused)
    }

    pub(super) fn peer(&self, address: &HostPort) -> PeerState {
        let connected = self.connected().is_some();
        let lost = || (!connected).then(|| "the connection is lost, connecting again".to_owned());
        PeerState {
            url: address.to_string(),
            configured: self.configured,
            node_id: self.node,
            connected,
            error: self.error.clone().or_else(lost),
        }
    }
}

/// The task of one address.
pub(super) struct Link {
    pub(super) shared: Arc<Shared>,
    pub(super) address: HostPort,
}

/// What is to be done about the streams of a node.
enum Follow {
    Begin(NodeId),
    End(NodeId),
    AsItIs,
}

impl Link {
    /// Until the task is dropped.
    pub(super) async fn run(self) {
        let connection = match peers::connect(&self.shared.settings, &self.address).await {
            Ok(connection) => connection,
            Err(error) => return self.fail(error.to_string()),
        };
        self.with_state(|link| link.connection = Some(connection.clone()));
        let mut record = self.shared.record.subscribe();
        loop {
            let Ok(bytes) = record.wait_for(|bytes| !bytes.is_empty()).await.map(|bytes| bytes.clone())
            else {
                return;
            };
            record.mark_unchanged();
            let reached = match self.call(&connection, bytes).await {
                Ok((node, answer)) => {
                    self.take(node, &answer, &connection).await;
                    true
                }
                Err(error) => {
                    self.fail(error);
                    false
                }
            };
            tokio::select! {
                _ = record.changed(), if reached => {}
                () = tokio::time::sleep(if reached { HEARTBEAT_LATE } else { RETRY }) => {}
            }
        }
    }

    async fn call(&self, connection: &Connection, record: Vec<u8>) -> Result<(NodeId, Answer), String> {
        let found = connection.ready(READY_TIMEOUT).await.map_err(|error| error.to_string())?;
        let Some(node) = found.node else {
            return Err(format!("the server there ({}) belongs to no HarmonyLite node", found.server_name));
        };
        self.with_state(|link| link.node = Some(node));
        let answer = nats::send_hello(connection, record, ANSWER_TIMEOUT).await;
        let answer = answer.map_err(|error| format!("node {node} does not answer: {error}"))?;
        decode_answer(&answer).map(|answer| (node, answer)).map_err(|error| format!("node {node}: {error}"))
    }

    /// What somebody answered.
    async fn take(&self, node: NodeId, answer: &Answer, connection: &Connection) {
        let Shared { settings, inputs, calls, tasks, .. } = &*self.shared;
        match self.note(node, answer) {
            Follow::Begin(node) => peers::follow(settings, node, connection, inputs, calls, tasks).await,
            Follow::End(node) => peers::unfollow(settings, node, calls).await,
            Follow::AsItIs => {}
        }
    }

    fn note(&self, node: NodeId, answer: &Answer) -> Follow {
        let now = self.shared.now();
        let mut state = self.shared.state();
        let heard = state.roster.on_answer(now, answer);
        self.shared.look_again(&state);
        let Some(link) = state.links.get_mut(&self.address) else { return Follow::AsItIs };
        let before = (link.node, link.error.take(), link.refused);
        link.refused = false;
        match heard {
            Heard::Myself => {
                link.node = Some(node);
                if before.1.is_some() {
                    tracing::info!(peer = %self.address, "this peer is the node itself");
                }
                Follow::AsItIs
            }
            Heard::Member(node) => {
                let recovered = before.1.is_some() || before.2;
                link.node = Some(node);
                self.begin(&mut state, node, recovered)
            }
            Heard::Refused(refusal) => {
                link.refused = true;
                link.error = Some(refusal.to_string());
                if before.1 != link.error {
                    tracing::warn!(peer = %self.address, %node, reason = %refusal, "peer refused");
                }
                self.end(&mut state, node)
            }
        }
    }

    /// The node may be followed; over this address when it is not yet over one that works.
    fn begin(&self, state: &mut State, node: NodeId, recovered: bool) -> Follow {
        let served = state.serving.get(&node);
        let works = |address: &HostPort| state.links.get(address).is_some_and(|link| link.leads_to(node));
        let new = served.is_none();
        if new || recovered {
            tracing::info!(peer = %self.address, %node, "peer reached");
        }
        if served.is_some_and(|address| *address == self.address || works(address)) {
            return Follow::AsItIs;
        }
        state.serving.insert(node, self.address.clone());
        Follow::Begin(node)
    }

    fn end(&self, state: &mut State, node: NodeId) -> Follow {
        if state.serving.get(&node) != Some(&self.address) {
            return Follow::AsItIs;
        }
        state.serving.remove(&node);
        Follow::End(node)
    }

    fn fail(&self, error: String) {
        self.with_state(|link| {
            if link.error.as_ref() != Some(&error) {
                tracing::warn!(peer = %self.address, error, "peer not reached, trying again");
            }
            link.error = Some(error);
        });
    }

    fn with_state(&self, change: impl FnOnce(&mut LinkState)) {
        if let Some(link) = self.shared.state().links.get_mut(&self.address) {
            change(link);
        }
    }
}
