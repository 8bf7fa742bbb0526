//! One run of a scenario: build, start, do what the seed says under load, heal, wait until all is at rest, judge.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use harmonylite_testkit::{Node, wait_for};
use serde_json::Value;

use super::application::schema::TABLES;
use super::application_process::Application;
use super::final_state::{FinalState, check_integrity};
use super::journal;
use super::plan::{self, Plan};

use super::scenario::{Kind, Scenario};
use super::stage::{Stage, Tally};
use super::timeline::Timeline;
use super::world::World;
use super::{faults, judge, memory, say};

/// From the end of the last fault until all nodes are equal and nothing is under way.
const REST_DEADLINE: Duration = Duration::from_secs(180);

/// What no fault explains: a bug of ours, a message that is none of ours, a write that the triggers missed.
const NEVER_LOGGED: [&str; 3] = ["panicked", "message rejected", "no trigger saw"];

/// How often a line says what is going on.
const PROGRESS: Duration = Duration::from_secs(15);

/// What to run.
pub(super) struct Run<'a> {
    pub(super) root: &'a Path,
    pub(super) binary: &'a Path,
    pub(super) scenario: &'a Scenario,
    pub(super) seed: u64,
    pub(super) duration: Duration,
}

/// What a run without a violation saw.
pub(super) struct Seen {
    /// How often each fault was to happen.
    pub(super) planned: BTreeMap<Kind, u64>,
    pub(super) tally: Tally,
    pub(super) transactions: usize,
    pub(super) conflicts: usize,
    /// From the last fault to rest.
    pub(super) rest: Duration,
}

impl Run<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// At a violation: with what and where, and the folder in which everything is kept.
    pub(super) fn perform(&self) -> Result<Seen> {
        let plan = plan::draw(self.scenario, self.seed, self.duration);
        let mut world = World::build(self.root, self.scenario, self.binary)?;
        let outcome = self.play(&mut world, &plan);
        outcome.map_err(|error| match self.keep(&mut world) {
            Ok(folder) => error.context(format!("everything is kept in {}", folder.display())),
            Err(reason) => error.context(format!("nothing could be kept: {reason:#}")),
        })
    }

    fn play(&self, world: &mut World, plan: &Plan) -> Result<Seen> {
        world.start().context("before any fault")?;
        let stage = Stage::new(self.scenario, self.seed, plan, Timeline::start(self.duration));
        act(&stage, world);
        ensure!(stage.violations().is_empty(), "{}", stage.violations().join("\n"));
        let tally = stage.tally();
        let mut planned = BTreeMap::new();
        for act in plan.values().flatten() {
            *planned.entry(act.kind).or_default() += 1;
        }
        let healed = Instant::now();
        let states = rest(world)?;
        let rest = healed.elapsed();
        let entries = journal::read_all(&world.journals())?;
        let wrong = judge::judge(&entries, &states);
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        check_end(world)?;
        Ok(Seen {
            planned,
            tally,
            transactions: entries.iter().filter(|entry| entry.committed).count(),
            conflicts: states.iter().map(|state| state.lost.len()).sum(),
            rest,
        })
    }

    fn keep(&self, world: &mut World) -> Result<PathBuf> {
        let name = format!("{}-{}", self.scenario.name, self.seed);
        let folder = self.root.join("target/chaos").join(name);
        world.keep(&folder)?;
        Ok(folder)
    }
}

/// The load and the faults, until the end of the timeline.
fn act(stage: &Stage<'_>, world: &mut World) {
    let journals = world.journals();
    let disks: Vec<PathBuf> = (0..stage.scenario.nodes).map(|index| world.disk(index)).collect();
    let logs: Vec<PathBuf> = (0..stage.scenario.nodes).map(|index| world.application_log(index)).collect();
    let World { cluster, servers, links, clocks, .. } = world;
    thread::scope(|scope| {
        for (index, node) in cluster.nodes.iter_mut().enumerate() {
            let clock = clocks.get(index);
            let (journals, log) = (journals.clone(), logs[index].clone());
            let application = Application { index, db: node.db(), journals, log, clock };
            let disk = disks[index].as_path();
            scope.spawn(move || faults::sidecar(stage, index, node));
            scope.spawn(move || application.perform(stage));
            if servers.is_none() {
                scope.spawn(move || faults::server(stage, index));
            }
            scope.spawn(move || faults::disk(stage, index, disk));
            if let Some(clock) = clock {
                scope.spawn(move || faults::clock(stage, index, clock));
            }
        }
        for index in 0..stage.scenario.servers {
            let servers = servers.as_ref();
            scope.spawn(move || servers.inspect(|servers| servers.disturb(stage, index)));
        }
        for (index, proxy) in links.iter().enumerate() {
            scope.spawn(move || faults::link(stage, index, proxy));
        }
        let shared = servers.as_ref();
        scope.spawn(move || memory::watch(stage, shared));
        while stage.timeline.wait(PROGRESS) {
            let seconds = stage.timeline.now().as_secs();
            say(&format!("  {seconds} s: {}", stage.tally().faults_text()));
        }
    });
}

/// Waits until all nodes follow one another, nothing is under way, and all tables are equal.
fn rest(world: &mut World) -> Result<Vec<FinalState>> {
    let names: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
    wait_for("rest", REST_DEADLINE, || {
        for node in &mut world.cluster.nodes {
            ensure!(node.is_running(), "node {} has ended\n{}", node.id(), node.log());
            check_status(node)?;
        }
        world.cluster.equal_contents(&names)?;
        let states: Vec<FinalState> =
            world.cluster.nodes.iter().map(|node| FinalState::read(&node.db())).collect::<Result<_>>()?;
        let under_way: i64 = states.iter().map(|state| state.log_rows).sum();
        ensure!(under_way == 0, "there are {under_way} rows in change logs");
        Ok(states)
    })
}

/// It follows everybody to the end, and has nothing left to publish.
fn check_status(node: &Node) -> Result<()> {
    let status = node.status()?;
    let sources = status["sources"].as_array().context("no sources in the status")?;
    let at_rest = |state: &Value| state == "following" || state == "own";
    let mut behind = sources.iter().filter(|source| source["behind"] != 0 || !at_rest(&source["state"]));
    if let Some(source) = behind.next() {
        bail!("node {} does not follow {source:#}", node.id());
    }
    ensure!(status["publisher"]["pending_rows"] == 0, "node {} has rows to publish: {status:#}", node.id());
    for count in ["dead_letters", "messages_rejected", "uncaptured_found"] {
        ensure!(status["counters"][count] == 0, "node {}: {count} in {status:#}", node.id());
    }
    ensure!(status["dead_letters"] == 0, "node {} has dead letters: {status:#}", node.id());
    Ok(())
}

/// Files and indexes are sound, nobody panicked, and all stop in order.
fn check_end(world: &mut World) -> Result<()> {
    for node in &world.cluster.nodes {
        check_integrity(&node.db()).with_context(|| format!("node {}", node.id()))?;
        // Of all its processes: the counters of the status are those of the last one.
        let log = std::fs::read(node.log_file())?;
        let log = String::from_utf8_lossy(&log);
        let wrong = NEVER_LOGGED.iter().find(|words| log.contains(**words));
        ensure!(wrong.is_none(), "node {} logged {wrong:?}", node.id());
    }
    world.cluster.stop_all()
}
