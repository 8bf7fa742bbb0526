//! Why a node is not believed: the reason travels to the one that is refused, and both sides show it.

use std::fmt;

use crate::limits::KNOWN_MEMBERS_MAX;
use crate::model::NodeId;

use super::record::{MemberRecord, MemberVersion};

/// A refusal, as it travels.
#[derive(Clone, PartialEq, Eq, Debug, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Refusal {
    /// What it is about.
    #[n(0)]
    pub kind: RefusalKind,
    /// For people: both sides' values, and what to do.
    #[n(1)]
    pub reason: String,
    /// Who has the node id, for [`RefusalKind::Taken`].
    #[n(2)]
    pub holder: Option<Holder>,
}

/// What a refusal is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum RefusalKind {
    /// The bytes are no record, or one of a format that is not known here.
    #[n(0)]
    Format,
    /// Another cluster's name.
    #[n(1)]
    Cluster,
    /// Another number of shards.
    #[n(2)]
    Shards,
    /// The node id belongs to another live node.
    #[n(3)]
    Taken,
    /// Nothing is wrong with the caller; the one that is called cannot take it.
    #[n(4)]
    NotNow,
}

/// The live node that has an id.
#[derive(Clone, PartialEq, Eq, Debug, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Holder {
    /// The id.
    #[n(0)]
    pub node: NodeId,
    /// Its process.
    #[n(1)]
    pub process: u64,
    /// When that started, and its newest record: one that grows between two refusals by one teller is alive for certain.
    #[n(2)]
    pub version: MemberVersion,
    /// Where it is reached.
    #[n(3)]
    pub address: Option<String>,
    /// Which node says so: of the holder itself it is certain that it is alive.
    #[n(5)]
    pub teller: NodeId,
}

impl Holder {
    /// The node of `record`, as `teller` knows it.
    #[must_use]
    pub fn of(record: &MemberRecord, teller: NodeId) -> Self {
        Self {
            node: record.node,
            process: record.process,
            version: record.version,
            address: record.address.clone(),
            teller,
        }
    }

    /// Does the holder itself say so?
    #[must_use]
    pub fn is_teller(&self) -> bool {
        self.teller == self.node
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Refusal {
    /// The bytes were not understood.
    #[must_use]
    pub fn format(error: &super::MemberError) -> Self {
        Self { kind: RefusalKind::Format, reason: error.to_string(), holder: None }
    }

    pub(super) fn not_ready(callee: NodeId) -> Self {
        let reason = format!("node {callee} is just starting");
        Self { kind: RefusalKind::NotNow, reason, holder: None }
    }

    pub(super) fn full(callee: NodeId) -> Self {
        let reason = format!(
            "node {callee} knows {KNOWN_MEMBERS_MAX} members already: remove those that are gone for good with \
             `harmonylite node forget`"
        );
        Self { kind: RefusalKind::NotNow, reason, holder: None }
    }

    /// Both are named: the text is read on either side.
    pub(super) fn cluster(callee: (NodeId, &str), caller: (NodeId, &str)) -> Self {
        let ((callee, theirs), (caller, ours)) = (callee, caller);
        let reason = format!(
            "cluster.name must be the same on all nodes: node {callee} has {theirs:?}, node {caller} has {ours:?}"
        );
        Self { kind: RefusalKind::Cluster, reason, holder: None }
    }

    pub(super) fn shards(callee: (NodeId, u16), caller: (NodeId, u16)) -> Self {
        let ((callee, theirs), (caller, ours)) = (callee, caller);
        let reason = format!(
            "replication_log.shards must be the same on all nodes: node {callee} has {theirs}, node {caller} has {ours}"
        );
        Self { kind: RefusalKind::Shards, reason, holder: None }
    }

    pub(super) fn taken(holder: Holder) -> Self {
        let at = holder.address.as_deref().unwrap_or("an address that it does not tell");
        let reason = format!("node id {} is taken by another live node, reached at {at}", holder.node);
        Self { kind: RefusalKind::Taken, reason, holder: Some(holder) }
    }
}
