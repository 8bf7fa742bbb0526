//! The heartbeat: makes our next record from what the core knows, sees to it that there is a link to every member, keeps
//! the list in the database, and logs who came and went.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use harmonylite_core::limits::HEARTBEAT_MS;
use harmonylite_core::members::{
    Backlog, Life, MemberState, Progress, Sample, SavedMember, encode_hello, encode_saved,
};
use harmonylite_core::model::{Incarnation, NodeId};
use harmonylite_core::status::Status;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::link::{Link, LinkState};
use super::{Shared, State};
use crate::config::{HostPort, Mode};
use crate::runtime::driver::Call;
use crate::runtime::peers;

const HEARTBEAT: Duration = Duration::from_millis(HEARTBEAT_MS);

/// The task.
pub(super) struct Pulse {
    shared: Arc<Shared>,
    backlog: Backlog,
    /// What the database has: who, where, removed or not.
    saved: BTreeSet<(NodeId, Option<String>, bool)>,
    /// As it was logged.
    states: BTreeMap<NodeId, &'static str>,
}

impl Pulse {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let saved = kept(&shared.state().roster.to_save());
        Self { shared, backlog: Backlog::default(), saved, states: BTreeMap::new() }
    }

    /// Until the driver is gone.
    pub(super) async fn run(mut self) {
        loop {
            let next = Instant::now() + HEARTBEAT;
            let Some(status) = self.ask_driver(Call::Status).await else { return };
            self.beat(&status);
            loop {
                self.tend().await;
                tokio::select! {
                    () = tokio::time::sleep_until(next) => break,
                    () = self.shared.changed.notified() => {}
                }
            }
        }
    }

    async fn ask_driver<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.shared.calls.send(call(reply)).await.ok()?;
        answer.await.ok()
    }

    fn beat(&mut self, status: &Status) {
        let now = self.shared.now();
        self.backlog.note(status.publisher.settled, status.counters.published_log_rows, now.wall_ms);
        let progress = progress(status, &self.backlog.samples());
        let record = self.shared.state().roster.beat(now, Life::Running, incarnation(status), progress);
        self.shared.record.send_replace(encode_hello(&record));
    }

    async fn tend(&mut self) {
        let gone = {
            let shared = self.shared.clone();
            let mut state = shared.state();
            self.dial(&mut state);
            self.log_states(&state);
            forgotten(&mut state)
        };
        for node in gone {
            peers::unfollow(&self.shared.settings, node, &self.shared.calls).await;
        }
        self.save().await;
    }

    /// A link for every configured address and every member that none leads to; none to where nobody is any more.
    fn dial(&self, state: &mut State) {
        if self.shared.settings.nats.mode == Mode::Shared {
            return;
        }
        let mut told = told_addresses(state);
        state.links.retain(|address, link| {
            let wanted = link.configured || told.contains_key(address);
            if !wanted {
                link.stop.cancel();
            }
            wanted
        });
        told.retain(|_, node| !state.links.values().any(|link| link.leads_to(*node)));
        let configured = self.shared.settings.cluster.peers.iter().map(|address| (address.clone(), true));
        for (address, configured) in configured.chain(told.into_keys().map(|address| (address, false))) {
            if !state.links.contains_key(&address) {
                let stop = self.shared.tasks.child_token();
                state.links.insert(address.clone(), LinkState::new(configured, stop.clone()));
                self.begin_link(address, stop);
            }
        }
    }

    fn begin_link(&self, address: HostPort, stop: CancellationToken) {
        let link = Link { shared: self.shared.clone(), address };
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = link.run() => {}
            }
        });
    }

    /// A commit of ours can be in the application's way (G1): only when somebody came, went or moved.
    async fn save(&mut self) {
        let members = self.shared.state().roster.to_save();
        let now = kept(&members);
        if now == self.saved {
            return;
        }
        let bytes = encode_saved(&members);
        let saved = self.ask_driver(|reply| Call::SaveMembers(bytes, reply)).await;
        if saved == Some(true) {
            self.saved = now;
        }
    }

    fn log_states(&mut self, state: &State) {
        let views = state.roster.views(self.shared.now());
        for view in views.iter().filter(|view| !view.myself) {
            let address = view.address.as_deref().unwrap_or("unknown");
            let word = match view.state {
                MemberState::Alive => "alive",
                MemberState::Stopped { .. } => "stopped",
                MemberState::Silent { .. } => "silent",
            };
            let before = self.states.insert(view.node, word);
            match (before, view.state) {
                (before, _) if before == Some(word) => {}
                (_, MemberState::Alive) => tracing::info!(node = %view.node, address, "member is alive"),
                (_, MemberState::Stopped { .. }) => {
                    tracing::info!(node = %view.node, address, "member stopped in order");
                }
                (Some(_), MemberState::Silent { .. }) => {
                    tracing::warn!(node = %view.node, address, "member says nothing any more");
                }
                (None, MemberState::Silent { .. }) => {
                    tracing::info!(node = %view.node, address, "member known, not heard yet");
                }
            }
        }
        self.states.retain(|node, _| state.roster.is_member(*node));
    }
}

/// Where members say they are.
fn told_addresses(state: &State) -> BTreeMap<HostPort, NodeId> {
    let mut told = BTreeMap::new();
    for (node, text) in state.roster.addresses() {
        match HostPort::parse(&text) {
            Ok(address) => {
                told.insert(address, node);
            }
            Err(error) => tracing::debug!(%node, %error, "a member told an address that is none"),
        }
    }
    told
}

/// Nodes that are followed and were removed.
fn forgotten(state: &mut State) -> Vec<NodeId> {
    let gone: Vec<NodeId> =
        state.serving.keys().filter(|node| !state.roster.is_member(**node)).copied().collect();
    for node in &gone {
        state.serving.remove(node);
    }
    gone
}

fn kept(members: &[SavedMember]) -> BTreeSet<(NodeId, Option<String>, bool)> {
    members.iter().map(|member| (member.node, member.address.clone(), member.forgotten)).collect()
}

/// Which life of the database the core works on.
pub(super) fn incarnation(status: &Status) -> Option<Incarnation> {
    Incarnation::new(status.origin.raw_incarnation())
}

/// How far we are.
pub(super) fn progress(status: &Status, samples: &[Sample]) -> Progress {
    let sources = status.sources.iter();
    Progress {
        published: status.publisher.by_shard.iter().map(|(shard, at)| (*shard, *at)).collect(),
        applied: status.positions.iter().map(|((origin, shard), at)| (*origin, *shard, *at)).collect(),
        checkpoints: sources.clone().map(|(id, source)| (id.to_string(), source.checkpoint.0)).collect(),
        samples: samples.to_vec(),
        pending_rows: status.publisher.pending_rows,
        dead_letters: status.dead_letters,
        stopped_sources: sources.filter(|(_, source)| source.state == "stopped").count() as u64,
    }
}
