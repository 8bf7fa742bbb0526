//! The world: nodes, streams, one queue of happenings in virtual time.
//!
//! It carries out what the cores ask for, as the runtime of the product does, with delays. What the outside does to it
//! stands in `faults.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use harmonylite_core::effect::{Effect, Publish};
use harmonylite_core::event::Event as CoreEvent;
use harmonylite_core::input::{Input, Timestamp};
use harmonylite_core::limits::OBSERVE_INTERVAL_MS;
use harmonylite_core::model::{Incarnation, NodeId, Shard, SourceId};

use crate::checkers;
use crate::database::Database;
use crate::history::History;
use crate::journal::Journal;
use crate::node::{Following, Node, Request, options};
use crate::plan::{Mode, Plan};
use crate::random::Random;
use crate::stream::Stream;
use crate::{Failure, Medium};

/// Virtual time begins here: any time after 1970 would do, as long as clocks can be hours behind.
const BEGIN_MS: u64 = 10_000_000;
/// How long the healed world has to come to rest: several times the longest pause of the product.
const CALM_MS: u64 = 90_000;
/// How often it is looked at meanwhile.
const LOOK_MS: u64 = 250;
/// Happenings of one run: more, and something goes round in circles.
const HAPPENINGS_MAX: u64 = 400_000;

/// Something that happens at a time.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The act of that number in the plan.
    Act(usize),
    /// The application commits the transaction that it has open.
    Commit(usize),
    /// A node's process starts.
    Start(usize),
    /// The store of a node works off a request.
    Work(usize, u64),
    /// An input reaches a node's core.
    Input(usize, u64, Input),
    /// A timer of a node's core is due.
    Timer(usize, u64),
    /// A group reaches its stream. `answered`: its acknowledgement finds the way back.
    Arrive { node: usize, life: u64, publish: Publish, answered: bool },
    /// A followed source delivers its next message.
    Deliver(usize, u64, SourceId),
    /// A server is back.
    Back(usize),
    /// No more faults.
    Heal,
}

/// A stream, where it is, and what became of it.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) stream: Stream,
    pub(crate) shard: Shard,
    /// Whose server it is on; `None` in shared mode.
    pub(crate) owner: Option<usize>,
    pub(crate) id: SourceId,
}

/// A world.
pub(crate) struct World<'r> {
    pub(crate) plan: &'r Plan,
    pub(crate) nodes: Vec<Node>,
    pub(crate) streams: Vec<Placed>,
    pub(crate) journal: Journal,
    pub(crate) history: &'r mut History,
    queue: BTreeMap<(u64, u64), Happening>,
    pub(crate) now: u64,
    ticket: u64,
    pub(crate) random: Random,
    /// Pairs of nodes that do not reach one another; in shared mode (n, n): a node that does not reach the streams.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// Servers that are away, by owner; in shared mode 0 is the only one.
    pub(crate) away: BTreeSet<usize>,
    pub(crate) healed: bool,
    /// A stream lost messages that somebody may still have needed: at this stage nodes stop there, and say so.
    pub(crate) lost_messages: bool,
    /// What was sent under each message id (R6): one content only.
    pub(crate) sent: BTreeMap<String, u64>,
}

impl<'r> World<'r> {
    /// The whole life of a world: start, storm, calm, judgement.
    pub(crate) fn run(plan: &'r Plan, medium: Medium, history: &'r mut History) -> Result<(), Failure> {
        let folder = match medium {
            Medium::Memory => None,
            Medium::Files => Some(tempfile::tempdir()?),
        };
        let path = folder.as_ref().map_or(Path::new(""), |folder| folder.path());
        let mut world = Self::new(plan, medium, path, history)?;
        world.begin();
        world.storm()?;
        world.calm()?;
        checkers::judge(&mut world)?;
        if world.replays() {
            let before = checkers::contents(&world)?;
            world.replay()?;
            world.calm()?;
            checkers::judge(&mut world)?;
            checkers::nothing_changed(&world, &before)?;
        }
        Ok(())
    }

    fn new(plan: &'r Plan, medium: Medium, folder: &Path, history: &'r mut History) -> Result<Self, Failure> {
        let mut world = Self {
            plan,
            nodes: Vec::new(),
            streams: Vec::new(),
            journal: Journal::default(),
            history,
            queue: BTreeMap::new(),
            now: BEGIN_MS,
            ticket: 0,
            random: Random::new(plan.seed.rotate_left(32) ^ 0x51),
            cut: BTreeSet::new(),
            away: BTreeSet::new(),
            healed: false,
            lost_messages: false,
            sent: BTreeMap::new(),
        };
        let number =
            |number: usize| NodeId::new(number as u64 + 1).ok_or_else(|| Failure::new("simulator: node id"));
        for index in 0..plan.nodes {
            let id = number(index)?;
            let incarnation = Incarnation::from_random(index as u64 + 1);
            let options = options(id, incarnation, plan.profile.shards);
            let database = Database::fresh(medium, folder, plan.profile.schema, &options)?;
            world.nodes.push(Node::new(id, database));
        }
        let owners: Vec<Option<usize>> = match plan.profile.mode {
            Mode::Mesh => (0..plan.nodes).map(Some).collect(),
            Mode::Shared => vec![None],
        };
        for owner in owners {
            for shard in (1..=plan.profile.shards).filter_map(Shard::new) {
                let id = owner.map_or_else(String::new, |owner| format!("{}/", owner + 1));
                let id = SourceId(format!("{id}changes-{shard}"));
                world.streams.push(Placed { stream: Stream::new(format!("{id}.0")), shard, owner, id });
            }
        }
        world.history.note(world.now, || plan.to_string());
        Ok(world)
    }

    fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            self.schedule(0, Happening::Start(node));
        }
        let mut at = 20;
        for (index, planned) in self.plan.acts.iter().enumerate() {
            at += planned.after_ms;
            self.schedule(at, Happening::Act(index));
        }
        self.schedule(at + 1, Happening::Heal);
    }

    fn storm(&mut self) -> Result<(), Failure> {
        while !self.healed {
            self.step()?;
        }
        Ok(())
    }

    /// Until the world is at rest, or time is up: then the judges will say why it is not.
    fn calm(&mut self) -> Result<(), Failure> {
        if self.lost_messages {
            // A stream that lost its end is noticed by the next look at it, or by the one after.
            self.rest_ms(3 * OBSERVE_INTERVAL_MS)?;
        }
        let end = self.now + CALM_MS;
        let mut look = self.now + LOOK_MS;
        while self.now < end {
            self.step()?;
            if self.now >= look {
                look = self.now + LOOK_MS;
                match checkers::at_rest(self) {
                    Ok(()) => return Ok(()),
                    Err(reason) => self.history.note(self.now, || format!("not at rest: {reason}")),
                }
            }
        }
        Ok(())
    }

    /// Lets so much virtual time pass.
    pub(crate) fn rest_ms(&mut self, ms: u64) -> Result<(), Failure> {
        let end = self.now + ms;
        while self.now < end {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Failure> {
        let Some(((at, _), happening)) = self.queue.pop_first() else {
            return Err(Failure::new("simulator: nothing will ever happen again"));
        };
        if self.ticket > HAPPENINGS_MAX {
            return Err(Failure::new("liveness: the nodes are busy for ever"));
        }
        self.now = at;
        self.happen(happening)
    }

    pub(crate) fn is_publish_under_way(&self) -> bool {
        self.queue.values().any(|happening| matches!(happening, Happening::Arrive { .. }))
    }

    pub(crate) fn schedule(&mut self, after_ms: u64, happening: Happening) {
        self.ticket += 1;
        self.queue.insert((self.now + after_ms, self.ticket), happening);
    }

    pub(crate) fn delay(&mut self) -> u64 {
        self.random.below(self.plan.profile.delay_ms + 1)
    }

    /// What the wall clock of a node shows.
    pub(crate) fn clock(&self, node: usize) -> u64 {
        let tick = self.plan.profile.tick_ms;
        (self.now / tick * tick).saturating_add_signed(self.nodes[node].clock_off_ms)
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Failure> {
        match happening {
            Happening::Act(index) => self.act(index),
            Happening::Commit(node) => self.commit(node),
            Happening::Start(node) => self.start(node),
            Happening::Work(node, life) => self.work(node, life),
            Happening::Input(node, life, input) if self.lives(node, life) => self.input(node, input),
            Happening::Timer(node, life) if self.lives(node, life) => self.timers(node),
            Happening::Input(..) | Happening::Timer(..) => Ok(()),
            Happening::Arrive { node, life, publish, answered } => self.arrive(node, life, publish, answered),
            Happening::Deliver(node, life, id) => {
                self.deliver(node, life, &id);
                Ok(())
            }
            Happening::Back(owner) => {
                self.away.remove(&owner);
                Ok(())
            }
            Happening::Heal => self.heal(),
        }
    }

    pub(crate) fn lives(&self, node: usize, life: u64) -> bool {
        self.nodes[node].process.is_some() && self.nodes[node].life == life
    }

    pub(crate) fn start(&mut self, node: usize) -> Result<(), Failure> {
        if self.nodes[node].process.is_some() {
            return Ok(());
        }
        if self.nodes[node].open.is_some() {
            // Opening waits for the application's lock.
            self.schedule(5, Happening::Start(node));
            return Ok(());
        }
        let own = |placed: &&Placed| placed.owner.is_none_or(|owner| owner == node);
        let own_sources = self.streams.iter().filter(own).map(|it| (it.shard, it.id.clone())).collect();
        let effects = self.nodes[node].start(&self.plan.profile, own_sources, &mut self.random)?;
        self.history.note(self.now, || format!("node {} starts", node + 1));
        self.perform(node, effects)?;
        let peers: Vec<_> = self
            .streams
            .iter()
            .filter(|it| it.owner.is_some_and(|owner| owner != node))
            .map(|it| Input::SourceAdded { source: it.id.clone(), shard: it.shard })
            .collect();
        for added in peers {
            self.input(node, added)?;
        }
        self.tell(node, Input::LogChanged);
        Ok(())
    }

    /// An input that reaches the node's core after a moment, if its process still lives.
    pub(crate) fn tell(&mut self, node: usize, input: Input) {
        let (after, life) = (self.random.below(3), self.nodes[node].life);
        self.schedule(after, Happening::Input(node, life, input));
    }

    pub(crate) fn input(&mut self, node: usize, input: Input) -> Result<(), Failure> {
        let now = Timestamp(self.now);
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        if matches!(input, Input::LogChanged) && self.plan.profile.set_rows.is_some() {
            // As the store's thread does when it notices a commit; whoever has the lock is not waited for.
            match process.store.note_log_ends() {
                Err(error) if !error.is_busy() => return Err(error.into()),
                _ => {}
            }
        }
        let mut effects = Vec::new();
        process.replicator.handle(now, input, &mut effects);
        self.perform(node, effects)
    }

    fn timers(&mut self, node: usize) -> Result<(), Failure> {
        let now = self.now;
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        let due: Vec<_> =
            process.timers.iter().filter(|(_, at)| **at <= now).map(|(timer, _)| timer.clone()).collect();
        for timer in due {
            if let Some(process) = &mut self.nodes[node].process {
                process.timers.remove(&timer);
            }
            self.input(node, Input::TimerFired(timer))?;
        }
        Ok(())
    }

    fn perform(&mut self, node: usize, effects: Vec<Effect>) -> Result<(), Failure> {
        for effect in effects {
            match effect {
                Effect::ReadLog(request) => self.ask_store(node, Request::ReadLog(request)),
                Effect::Apply(batch) => self.ask_store(node, Request::Apply(batch)),
                Effect::InspectOwnFrames(groups) => self.ask_store(node, Request::Inspect(groups)),
                Effect::MintIncarnation => self.ask_store(node, Request::Mint),
                Effect::Housekeep(request) => self.ask_store(node, Request::Housekeep(request)),
                Effect::Scan(request) => self.ask_store(node, Request::Scan(request)),
                Effect::ReadSchema => self.ask_store(node, Request::ReadSchema),
                Effect::Publish(publish) => self.publish(node, publish)?,
                Effect::Observe(look) => self.observe(node, look.source, look.at),
                Effect::Follow(follow) => self.follow(node, follow),
                Effect::Credit { source, messages } => {
                    self.with_following(node, |all| {
                        all.entry(source.clone()).and_modify(|following| following.credit += messages);
                    });
                    self.pump(node, &source);
                }
                Effect::Unfollow { source } => self.with_following(node, |all| {
                    all.remove(&source);
                }),
                Effect::SetTimer { timer, after_ms } => {
                    let (at, life) = (self.now + after_ms, self.nodes[node].life);
                    if let Some(process) = &mut self.nodes[node].process {
                        process.timers.insert(timer, at);
                    }
                    self.schedule(after_ms, Happening::Timer(node, life));
                }
                Effect::Emit(event) => self.emitted(node, &event),
                Effect::Exit => self.nodes[node].end(),
            }
        }
        Ok(())
    }

    fn emitted(&mut self, node: usize, event: &CoreEvent) {
        match event {
            CoreEvent::IncarnationMinted { .. } => self.history.counts.note("new incarnations"),
            CoreEvent::SourceStopped { .. } => self.history.counts.note("stopped sources"),
            CoreEvent::StreamRestarted { .. } => self.history.counts.note("streams read again"),
            CoreEvent::GroupClosedEarly { .. } => self.history.counts.note("groups closed early"),
            CoreEvent::ConflictsLogged { .. } => self.history.counts.note("conflicts logged"),
            _ => {}
        }
        self.history.note(self.now, || format!("node {}: {event:?}", node + 1));
    }

    pub(crate) fn with_following(
        &mut self,
        node: usize,
        change: impl FnOnce(&mut BTreeMap<SourceId, Following>),
    ) {
        if let Some(process) = &mut self.nodes[node].process {
            change(&mut process.following);
        }
    }

    fn ask_store(&mut self, node: usize, request: Request) {
        let most = if self.plan.profile.slow == Some(node) { 120 } else { 6 };
        let (after, life) = (self.random.below(most), self.nodes[node].life);
        if let Some(process) = &mut self.nodes[node].process {
            process.requests.push_back(request);
            self.schedule(after, Happening::Work(node, life));
        }
    }

    fn work(&mut self, node: usize, life: u64) -> Result<(), Failure> {
        if !self.lives(node, life) {
            return Ok(());
        }
        let now_ms = self.clock(node);
        let request = self.nodes[node].process.as_mut().and_then(|process| process.requests.pop_front());
        let Some(request) = request else { return Ok(()) };
        let Some(input) = self.nodes[node].carry_out(request, now_ms, &mut self.random) else {
            return Ok(());
        };
        self.history.note(self.now, || format!("node {} store: {}", node + 1, brief(&input)));
        checkers::after_store(self, node, &input)?;
        if matches!(&input, Input::LogRead(read) if read.sets.len() > 1) {
            self.history.counts.note("several change sets at once");
        }
        self.tell(node, input);
        Ok(())
    }
}

fn brief(input: &Input) -> String {
    match input {
        Input::LogRead(read) => {
            let through: Vec<_> = read.sets.iter().map(|set| set.through.to_string()).collect();
            format!("log read through {}, {} rows", through.join(", "), read.log_rows())
        }
        Input::IncarnationMinted(state) => format!("new incarnation {}", state.origin),
        other => format!("{other:?}"),
    }
}
