//! The member list for people: who is alive or since when not, and how far everybody is.

use std::collections::BTreeMap;

use crate::model::NodeId;

use super::backlog::Lag;
use super::record::{Life, MemberRecord};
use super::refusal::Refusal;
use super::roster::{Moment, Roster};

/// One member at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberView {
    /// Who.
    pub node: NodeId,
    /// It is the node that was asked.
    pub myself: bool,
    /// Where it is reached.
    pub address: Option<String>,
    /// How it is.
    pub state: MemberState,
    /// When we heard of it last, milliseconds since the epoch.
    pub heard_ms: Option<u64>,
    /// When somebody else says to have heard of it last, by that node's clock.
    pub told_ms: Option<u64>,
    /// The newest record that we have of it.
    pub record: Option<Box<MemberRecord>>,
    /// How far it is behind each other origin; one that is missing is not known.
    pub lags: BTreeMap<NodeId, Lag>,
}

/// How a member is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberState {
    /// We hear it.
    Alive,
    /// It ended in order at that time.
    Stopped {
        /// Milliseconds since the epoch, by our clock.
        since_ms: u64,
    },
    /// We do not hear it.
    Silent {
        /// When we heard it last; `None` when this process never did.
        since_ms: Option<u64>,
    },
}

/// A caller that was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedCaller {
    /// Who it says to be.
    pub node: NodeId,
    /// Its process.
    pub process: u64,
    /// Where it says to be reached.
    pub address: Option<String>,
    /// Why.
    pub refusal: Refusal,
    /// When it came first.
    pub first: Moment,
    /// When it came last.
    pub last: Moment,
}

impl Roster {
    /// All members, this node among them, by node id.
    #[must_use]
    pub fn views(&self, now: Moment) -> Vec<MemberView> {
        let mut views: Vec<MemberView> = self.own_view(now).into_iter().collect();
        for (node, member) in self.members.iter().filter(|(_, member)| !member.forgotten) {
            let alive = member.is_alive(now);
            let heard = member.heard.as_ref();
            let state = match heard {
                Some(_) if alive => MemberState::Alive,
                Some((at, record)) if record.life == Life::Stopped => {
                    MemberState::Stopped { since_ms: at.wall_ms }
                }
                _ => MemberState::Silent { since_ms: heard.map(|(at, _)| at.wall_ms) },
            };
            let record = heard.map(|(_, record)| record.clone());
            views.push(MemberView {
                node: *node,
                myself: false,
                address: member.address.clone(),
                state,
                heard_ms: heard.map(|(at, _)| at.wall_ms),
                told_ms: member.told_ms,
                // Who says nothing any more falls behind all the same; who is alive is compared with what the others
                // had said when its record came, or each heartbeat would look like a lag.
                lags: match &record {
                    Some(record) if !alive => self.lags_of(record),
                    _ => member.lags.clone(),
                },
                record,
            });
        }
        views.sort_by_key(|view| view.node);
        views
    }

    fn own_view(&self, now: Moment) -> Option<MemberView> {
        let own = self.own.clone()?;
        Some(MemberView {
            node: own.node,
            myself: true,
            address: own.address.clone(),
            state: MemberState::Alive,
            heard_ms: Some(now.wall_ms),
            told_ms: None,
            lags: self.own_lags.clone(),
            record: Some(own),
        })
    }
}
