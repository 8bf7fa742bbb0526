//! The member list of one node: whom it believes, where they are, whom it refuses and why.
//!
//! A record that was heard from its node itself always counts for more than what others tell of it: addresses and
//! removals that are passed on only matter while we do not hear the node ourselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::limits::{
    KNOWN_MEMBERS_MAX, RECORD_LATE_MAX_MS, REFUSED_CALLERS_MAX, REFUSED_SHOWN_MS, SILENT_AFTER_MS,
};
use crate::model::{Incarnation, NodeId};

use super::backlog::Lag;
use super::record::{Acquaintance, Life, MemberRecord, MemberVersion, Progress};
use super::refusal::{Holder, Refusal};
use super::view::RefusedCaller;
use super::wire::{Answer, SavedMember};

/// A moment on two clocks: one for people, and one that is never set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// Milliseconds since the epoch.
    pub wall_ms: u64,
    /// Milliseconds since some moment of this process; decides about silence.
    pub steady_ms: u64,
}

/// Who we are, as long as the process lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Our node id.
    pub node: NodeId,
    /// Random per start of the process.
    pub process: u64,
    /// Machine and database.
    pub home: u64,
    /// When the process started, milliseconds since the epoch.
    pub started_ms: u64,
    /// Our cluster's name.
    pub cluster: String,
    /// Our number of shards.
    pub shards: u16,
    /// Our version.
    pub release: String,
    /// Where others reach our server.
    pub address: Option<String>,
}

/// What became of an answer or a record that we asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// A member that we believe: its streams may be followed.
    Member(NodeId),
    /// It was ourselves under another address.
    Myself,
    /// It refuses us, or we refuse it: none of its streams is followed.
    Refused(Refusal),
}

/// Why a member cannot be removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Forgetting {
    /// There is no such member.
    #[error("there is no such member")]
    Unknown,
    /// It is the node that was asked.
    #[error("it is this node itself")]
    Myself,
    /// It is heard.
    #[error("it is alive")]
    Alive,
}

/// Another node, as far as it is known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Member {
    /// The newest record of it that anybody knew of.
    pub(super) version: MemberVersion,
    pub(super) address: Option<String>,
    /// The newest record that we heard ourselves, and when.
    pub(super) heard: Option<(Moment, Box<MemberRecord>)>,
    /// How far it was behind each origin when that record came.
    pub(super) lags: BTreeMap<NodeId, Lag>,
    /// When others heard of it last, by their clocks.
    pub(super) told_ms: Option<u64>,
    pub(super) forgotten: bool,
    /// The process of the same home that was heard before: if it is heard again there are two of them.
    predecessor: Option<Predecessor>,
    /// Processes that turned out to be second ones.
    second: BTreeSet<u64>,
}

/// A process that another one of the same home has replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Predecessor {
    process: u64,
    /// Its newest record then.
    beat: u64,
    /// When the other one was heard first, on the clock that is never set.
    replaced_ms: u64,
}

impl Predecessor {
    /// Does `record` show that it goes on beside `successor`? What it said before it was killed may still be under way when
    /// the next process is heard. Both have the clock of one machine; where they have not, since a whole machine was copied
    /// and its clock is behind, that is found out when nothing can be under way any more.
    fn goes_on(&self, now: Moment, record: &MemberRecord, successor: &MemberRecord) -> bool {
        let is_newer = self.process == record.process && record.version.beat > self.beat;
        let may_be_late = record.beat_ms <= successor.version.started_ms
            && now.steady_ms.saturating_sub(self.replaced_ms) < RECORD_LATE_MAX_MS;
        is_newer && !may_be_late
    }
}

/// The member list of one node.
#[derive(Clone, Debug)]
pub struct Roster {
    me: Identity,
    /// Our newest record; none before the first heartbeat.
    pub(super) own: Option<Box<MemberRecord>>,
    pub(super) own_lags: BTreeMap<NodeId, Lag>,
    beat: u64,
    pub(super) members: BTreeMap<NodeId, Member>,
    refused: VecDeque<RefusedCaller>,
    /// Who says that there is a live node with our id that came first, and what was said last.
    suspects: BTreeMap<NodeId, Holder>,
    /// There is one.
    holder: Option<Holder>,
}

impl Member {
    /// Do we hear it? A stopped one is not heard.
    pub(super) fn is_alive(&self, now: Moment) -> bool {
        self.heard.as_ref().is_some_and(|(at, record)| {
            record.life != Life::Stopped && now.steady_ms.saturating_sub(at.steady_ms) < SILENT_AFTER_MS
        })
    }
}

impl Roster {
    /// With the members that an earlier life of this node knew.
    #[must_use]
    pub fn new(me: Identity, saved: Vec<SavedMember>) -> Self {
        let mut members = BTreeMap::new();
        for SavedMember { node, version, address, forgotten } in saved {
            if node != me.node {
                members.insert(node, Member { version, address, forgotten, ..Member::default() });
            }
        }
        Self {
            me,
            own: None,
            own_lags: BTreeMap::new(),
            beat: 0,
            members,
            refused: VecDeque::new(),
            suspects: BTreeMap::new(),
            holder: None,
        }
    }

    /// Who we are.
    #[must_use]
    pub fn me(&self) -> &Identity {
        &self.me
    }

    /// Our newest record; `None` before the first heartbeat.
    #[must_use]
    pub fn own(&self) -> Option<&MemberRecord> {
        self.own.as_deref()
    }

    /// Makes our next record.
    pub fn beat(
        &mut self,
        now: Moment,
        life: Life,
        incarnation: Option<Incarnation>,
        progress: Progress,
    ) -> MemberRecord {
        self.beat += 1;
        let version = MemberVersion { started_ms: self.me.started_ms, beat: self.beat };
        let me = &self.me;
        let mut record = MemberRecord {
            node: me.node,
            incarnation,
            process: me.process,
            home: me.home,
            life,
            version,
            beat_ms: now.wall_ms,
            cluster: me.cluster.clone(),
            shards: me.shards,
            release: me.release.clone(),
            address: me.address.clone(),
            progress,
            known: self.acquaintances(),
        };
        record.cut();
        self.own_lags = self.lags_of(&record);
        self.own = Some(Box::new(record.clone()));
        record
    }

    /// Somebody sent its record to us.
    pub fn on_hello(&mut self, now: Moment, record: &MemberRecord) -> Answer {
        match self.judge(now, record) {
            Err(refusal) => {
                self.note_refused(now, record, &refusal);
                Answer::Refused(refusal)
            }
            Ok(()) => match &self.own {
                Some(own) => Answer::Welcome(own.clone()),
                // Nobody is listened to before the first heartbeat.
                None => Answer::Refused(Refusal::not_ready(self.me.node)),
            },
        }
    }

    /// What somebody answered to our record, or its record that we read from where all put theirs.
    pub fn on_answer(&mut self, now: Moment, answer: &Answer) -> Heard {
        match answer {
            Answer::Welcome(record) if self.is_me(record) => Heard::Myself,
            Answer::Welcome(record) => match self.judge(now, record) {
                Ok(()) => Heard::Member(record.node),
                Err(refusal) => Heard::Refused(refusal),
            },
            Answer::Refused(refusal) => {
                if let Some(holder) = self.rival(refusal).cloned() {
                    self.suspect(holder);
                }
                Heard::Refused(refusal.clone())
            }
        }
    }

    /// Who has our id, if that is what a refusal says: it may have ended since its teller heard it.
    #[must_use]
    pub fn rival<'a>(&self, refusal: &'a Refusal) -> Option<&'a Holder> {
        let other = |holder: &&Holder| holder.node == self.me.node && holder.process != self.me.process;
        refusal.holder.as_ref().filter(other)
    }

    /// The live node that has our id and came first: this process must not go on.
    #[must_use]
    pub fn holder(&self) -> Option<&Holder> {
        self.holder.as_ref()
    }

    /// It is alive for certain when it speaks itself, or when it was heard again since its teller refused us before:
    /// what one knows of it may be older than what another does.
    fn suspect(&mut self, holder: Holder) {
        if self.suspects.len() >= KNOWN_MEMBERS_MAX {
            self.suspects.clear();
        }
        let before = self.suspects.insert(holder.teller, holder.clone());
        let grown =
            before.is_some_and(|before| before.process == holder.process && before.version < holder.version);
        if holder.is_teller() || grown {
            self.holder = Some(holder);
        }
    }

    /// Removes a member, here and wherever our records come to. One that comes back is a member again.
    ///
    /// # Errors
    /// When it is not there, or alive.
    pub fn forget(&mut self, now: Moment, node: NodeId) -> Result<(), Forgetting> {
        if node == self.me.node {
            return Err(Forgetting::Myself);
        }
        let member = self.members.get_mut(&node).filter(|member| !member.forgotten);
        let member = member.ok_or(Forgetting::Unknown)?;
        if member.is_alive(now) {
            return Err(Forgetting::Alive);
        }
        *member = Member { version: member.version, forgotten: true, ..Member::default() };
        Ok(())
    }

    /// Where members are reached: those that are worth a call.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<NodeId, String> {
        let members = self.members.iter().filter(|(_, member)| !member.forgotten);
        let addressed = members.filter_map(|(node, member)| Some((*node, member.address.clone()?)));
        addressed.filter(|(_, address)| Some(address) != self.me.address.as_ref()).collect()
    }

    /// Is it a member?
    #[must_use]
    pub fn is_member(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|member| !member.forgotten)
    }

    /// What is to be kept across a restart. Heartbeats alone change nothing of it but versions.
    #[must_use]
    pub fn to_save(&self) -> Vec<SavedMember> {
        let saved = |(node, member): (&NodeId, &Member)| SavedMember {
            node: *node,
            version: member.version,
            address: member.address.clone(),
            forgotten: member.forgotten,
        };
        self.members.iter().map(saved).collect()
    }

    /// Callers that were refused of late, the newest last.
    pub fn refused(&mut self, now: Moment) -> Vec<RefusedCaller> {
        let fresh =
            |caller: &RefusedCaller| now.steady_ms.saturating_sub(caller.last.steady_ms) < REFUSED_SHOWN_MS;
        self.refused.retain(fresh);
        self.refused.iter().cloned().collect()
    }

    fn is_me(&self, record: &MemberRecord) -> bool {
        record.node == self.me.node && record.process == self.me.process
    }

    /// Believes a record or does not. `Ok` for a second node of our own id means that we stay and it has to go.
    fn judge(&mut self, now: Moment, record: &MemberRecord) -> Result<(), Refusal> {
        if record.cluster != self.me.cluster {
            return Err(Refusal::cluster((self.me.node, &self.me.cluster), (record.node, &record.cluster)));
        }
        if record.shards != self.me.shards {
            return Err(Refusal::shards((self.me.node, self.me.shards), (record.node, record.shards)));
        }
        if record.node == self.me.node {
            return if self.is_me(record) { Ok(()) } else { Err(self.judge_second(record)) };
        }
        if !self.has_room_for(record.node) {
            return Err(Refusal::full(self.me.node));
        }
        // One that starts has nothing to be followed yet, and may have to give way.
        if self.judge_process(now, record)? && record.life != Life::Starting {
            self.believe(now, record);
        }
        Ok(())
    }

    /// Two live nodes have our id: the one that started first goes on, and one that only starts never does.
    fn judge_second(&mut self, record: &MemberRecord) -> Refusal {
        let Some(own) = self.own.as_deref() else {
            return Refusal::not_ready(self.me.node);
        };
        let ours = (own.life != Life::Running, own.version.started_ms, own.process);
        let theirs = (record.life != Life::Running, record.version.started_ms, record.process);
        if ours < theirs {
            return Refusal::taken(Holder::of(own, own.node));
        }
        let holder = Holder::of(record, record.node);
        if record.life == Life::Running {
            self.holder = Some(holder.clone());
        }
        Refusal::taken(holder)
    }

    /// When the list is full, what was removed longest ago makes room.
    fn has_room_for(&mut self, node: NodeId) -> bool {
        if self.members.contains_key(&node) || self.members.len() < KNOWN_MEMBERS_MAX {
            return true;
        }
        let forgotten = self.members.iter().filter(|(_, member)| member.forgotten);
        let oldest = forgotten.min_by_key(|(_, member)| member.version).map(|(node, _)| *node);
        oldest.is_some_and(|oldest| self.members.remove(&oldest).is_some())
    }

    /// Is that process the one that has its node id? `false`: its word comes late and changes nothing.
    fn judge_process(&mut self, now: Moment, record: &MemberRecord) -> Result<bool, Refusal> {
        let Some(member) = self.members.get_mut(&record.node) else { return Ok(true) };
        let alive = member.is_alive(now);
        let Some((_, current)) = member.heard.as_ref().filter(|_| alive) else {
            member.second.clear();
            member.predecessor = None;
            return Ok(true);
        };
        if current.process == record.process {
            return Ok(true);
        }
        if record.life == Life::Stopped {
            return Ok(false);
        }
        if member.predecessor.is_some_and(|predecessor| predecessor.goes_on(now, record, current)) {
            // We took the newer one for a restart of this one.
            member.second.insert(current.process);
            member.predecessor = None;
            return Ok(true);
        }
        if member.predecessor.is_some_and(|predecessor| predecessor.process == record.process) {
            return Ok(false);
        }
        if current.home == record.home && !member.second.contains(&record.process) {
            member.predecessor = Some(Predecessor {
                process: current.process,
                beat: current.version.beat,
                replaced_ms: now.steady_ms,
            });
            return Ok(true);
        }
        let earlier =
            (record.version.started_ms, record.process) < (current.version.started_ms, current.process);
        if earlier && record.life == Life::Running {
            return Ok(true);
        }
        Err(Refusal::taken(Holder::of(current, self.me.node)))
    }

    fn believe(&mut self, now: Moment, record: &MemberRecord) {
        let lags = self.lags_of(record);
        let member = self.members.entry(record.node).or_default();
        // Two ways lead here, calls and answers: a record may come late.
        let stale = member.heard.as_ref().is_some_and(|(_, heard)| {
            heard.process == record.process && heard.version.beat >= record.version.beat
        });
        if stale {
            return;
        }
        member.version = record.version;
        member.address.clone_from(&record.address);
        member.forgotten = false;
        member.lags = lags;
        member.heard = Some((now, Box::new(record.clone())));
        for acquaintance in &record.known {
            self.learn(now, acquaintance);
        }
    }

    /// Somebody knows somebody.
    fn learn(&mut self, now: Moment, told: &Acquaintance) {
        if told.node == self.me.node || !self.has_room_for(told.node) {
            return;
        }
        let member = self.members.entry(told.node).or_default();
        member.told_ms = member.told_ms.max(told.heard_ms);
        if member.is_alive(now) || (told.version, told.forgotten) <= (member.version, member.forgotten) {
            return;
        }
        member.version = told.version;
        member.address.clone_from(&told.address);
        if told.forgotten {
            *member = Member { version: told.version, forgotten: true, ..Member::default() };
        } else {
            member.forgotten = false;
        }
    }

    fn acquaintances(&self) -> Vec<Acquaintance> {
        let told = |(node, member): (&NodeId, &Member)| Acquaintance {
            node: *node,
            version: member.version,
            address: member.address.clone(),
            heard_ms: member.heard.as_ref().map(|(at, _)| at.wall_ms),
            forgotten: member.forgotten,
        };
        self.members.iter().map(told).collect()
    }

    /// How far the node of `record` is behind what the others said last.
    pub(super) fn lags_of(&self, record: &MemberRecord) -> BTreeMap<NodeId, Lag> {
        let heard = self.members.values().filter(|member| !member.forgotten).filter_map(|member| {
            let (_, origin) = member.heard.as_ref()?;
            Some(origin)
        });
        let origins = heard.chain(&self.own).filter(|origin| origin.node != record.node);
        origins.map(|origin| (origin.node, Lag::behind(&record.progress, origin))).collect()
    }

    fn note_refused(&mut self, now: Moment, record: &MemberRecord, refusal: &Refusal) {
        let same = |caller: &&mut RefusedCaller| {
            caller.process == record.process && caller.refusal.kind == refusal.kind
        };
        if let Some(caller) = self.refused.iter_mut().find(same) {
            caller.last = now;
            return;
        }
        if self.refused.len() >= REFUSED_CALLERS_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back(RefusedCaller {
            node: record.node,
            process: record.process,
            address: record.address.clone(),
            refusal: refusal.clone(),
            first: now,
            last: now,
        });
    }
}
