//! What is shown of the members, and removing one because somebody asked.

use harmonylite_core::members::{
    Forgetting, Lag, MemberRecord, MemberState, MemberView, Progress, RefusedCaller,
};
use harmonylite_core::model::NodeId;
use jiff::Timestamp;

use super::link::LinkState;
use super::{Members, PeerState, State};
use crate::cluster_status::{
    CheckpointStatus, ClusterStatus, LagStatus, MemberStatus, PublishedStatus, RefusedNode,
};
use crate::exit::{ExitCode, ExitError};
use crate::status::PositionStatus;

impl Members {
    /// The addresses and what came of them.
    pub(crate) fn peers(&self) -> Vec<PeerState> {
        let state = self.shared.state();
        state.links.iter().map(|(address, link)| link.peer(address)).collect()
    }

    /// Who came and was refused of late.
    pub(crate) fn refused(&self) -> Vec<RefusedNode> {
        let now = self.shared.now();
        self.shared.state().roster.refused(now).iter().map(refused_caller).collect()
    }

    /// All members, for people and programs.
    pub(crate) fn cluster(&self) -> ClusterStatus {
        let now = self.shared.now();
        let mut refused = self.refused();
        let state = self.shared.state();
        let called = state.links.iter().filter_map(|(address, link)| {
            let (node, reason) = link.refusal().filter(|(node, _)| !state.roster.is_member(*node))?;
            let address = Some(address.to_string());
            Some(RefusedNode { node_id: node.get(), address, reason: reason.to_owned(), since: None })
        });
        refused.extend(called);
        ClusterStatus {
            node_id: state.roster.me().node.get(),
            cluster: state.roster.me().cluster.clone(),
            mode: self.shared.settings.nats.mode.to_string(),
            at: Timestamp::now().to_string(),
            members: state.roster.views(now).iter().map(|view| member_status(view, &state)).collect(),
            refused,
        }
    }

    /// Removes a member, here and, with our next records, everywhere.
    pub(crate) fn forget(&self, node: u64) -> Result<(), ExitError> {
        let now = self.shared.now();
        let mut state = self.shared.state();
        let forgotten = NodeId::new(node).map_or(Err(Forgetting::Unknown), |id| state.roster.forget(now, id));
        self.shared.look_again(&state);
        let refused = |code, error: Forgetting, hint: &str| {
            ExitError::new(code, format!("node {node} cannot be removed: {error}")).with_hint(hint)
        };
        match forgotten {
            Ok(()) => {
                tracing::info!(node, "member removed");
                Ok(())
            }
            Err(error @ Forgetting::Unknown) => {
                Err(refused(ExitCode::Usage, error, "`harmonylite node list` shows the members"))
            }
            Err(error @ Forgetting::Myself) => {
                let hint = "stop it, and ask another node to remove it";
                Err(refused(ExitCode::Usage, error, hint))
            }
            Err(error @ Forgetting::Alive) => {
                let hint = "stop it first; it counts as alive until it said goodbye or was silent for 10 s";
                Err(refused(ExitCode::Unexpected, error, hint))
            }
        }
    }
}

/// RFC 3339 in UTC, of milliseconds since the epoch; `None` when that is no date.
pub(super) fn time_of(ms: u64) -> Option<String> {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map(|time| time.to_string())
}

fn refused_caller(caller: &RefusedCaller) -> RefusedNode {
    RefusedNode {
        node_id: caller.node.get(),
        address: caller.address.clone(),
        reason: caller.refusal.to_string(),
        since: time_of(caller.first.wall_ms),
    }
}

fn member_status(view: &MemberView, state: &State) -> MemberStatus {
    let trouble = state.links.values().find_map(|link: &LinkState| link.trouble(view.node));
    let (word, since_ms) = match view.state {
        MemberState::Alive => ("alive", None),
        MemberState::Stopped { since_ms } => ("stopped", Some(since_ms)),
        MemberState::Silent { since_ms } if trouble.is_some_and(|(_, refused)| refused) => {
            ("refused", since_ms)
        }
        MemberState::Silent { since_ms } => ("unreachable", since_ms),
    };
    let status = MemberStatus {
        node_id: view.node.get(),
        this_node: view.myself,
        address: view.address.clone(),
        state: word.to_owned(),
        since: since_ms.and_then(time_of),
        // That nobody answers there is what stopped means.
        reason: trouble.filter(|_| word != "stopped").map(|(reason, _)| reason.to_owned()),
        heard: view.heard_ms.and_then(time_of),
        heard_by_others: view.told_ms.and_then(time_of),
        lag: view.lags.iter().map(|(node, lag)| lag_status(*node, *lag)).collect(),
        ..MemberStatus::default()
    };
    view.record.as_deref().map_or(status.clone(), |record| with_record(status, record))
}

fn with_record(status: MemberStatus, record: &MemberRecord) -> MemberStatus {
    let Progress { published, applied, checkpoints, pending_rows, dead_letters, stopped_sources, .. } =
        &record.progress;
    MemberStatus {
        version: Some(record.release.clone()),
        started_at: time_of(record.version.started_ms),
        incarnation: record.incarnation.map(|incarnation| incarnation.to_string()),
        pending_rows: Some(*pending_rows),
        dead_letters: Some(*dead_letters),
        stopped_sources: Some(*stopped_sources),
        published: published
            .iter()
            .map(|(shard, at)| PublishedStatus { shard: shard.get(), position: at.get() })
            .collect(),
        positions: applied
            .iter()
            .map(|(origin, shard, at)| PositionStatus {
                origin: origin.to_string(),
                shard: shard.get(),
                position: at.get(),
            })
            .collect(),
        checkpoints: checkpoints
            .iter()
            .map(|(source, sequence)| CheckpointStatus { source: source.clone(), sequence: *sequence })
            .collect(),
        ..status
    }
}

fn lag_status(node: NodeId, lag: Lag) -> LagStatus {
    LagStatus { node_id: node.get(), rows: lag.rows, ms: lag.ms }
}
