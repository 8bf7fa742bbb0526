//! What all who cause faults share: the time, the plan, what happened so far, and what went wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use harmonylite_testkit::ProcessId;

use super::plan::{Act, Place, Plan};
use super::scenario::{Kind, Scenario};
use super::timeline::Timeline;

/// Shared by all threads of a run.
pub(super) struct Stage<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) seed: u64,
    pub(super) timeline: Timeline,
    plan: &'a Plan,
    /// The sidecars that run now, by node.
    sidecars: Vec<Mutex<Option<ProcessId>>>,
    tally: Mutex<Tally>,
    violations: Mutex<Vec<String>>,
}

/// What happened.
#[derive(Clone, Default, Debug)]
pub(super) struct Tally {
    pub(super) faults: BTreeMap<Kind, u64>,
    /// How often a sidecar ended otherwise than well in an allowed way, by exit code.
    pub(super) exits: BTreeMap<i32, u64>,
    /// Resident memory at its highest, in MB.
    pub(super) sidecar_mb: u64,
    pub(super) server_mb: u64,
}

impl<'a> Stage<'a> {
    pub(super) fn new(scenario: &'a Scenario, seed: u64, plan: &'a Plan, timeline: Timeline) -> Self {
        Self {
            scenario,
            seed,
            timeline,
            plan,
            sidecars: (0..scenario.nodes).map(|_| Mutex::new(None)).collect(),
            tally: Mutex::default(),
            violations: Mutex::default(),
        }
    }

    /// What is planned for a place.
    pub(super) fn acts(&self, place: Place) -> &'a [Act] {
        self.plan.get(&place).map_or(&[], Vec::as_slice)
    }

    /// A fault has happened.
    pub(super) fn count(&self, kind: Kind) {
        *lock(&self.tally).faults.entry(kind).or_default() += 1;
    }

    /// A sidecar ended otherwise than well, as it may.
    pub(super) fn count_exit(&self, code: i32) {
        *lock(&self.tally).exits.entry(code).or_default() += 1;
    }

    /// Changes the memory that was seen.
    pub(super) fn see_memory(&self, see: impl FnOnce(&mut Tally)) {
        see(&mut lock(&self.tally));
    }

    /// What happened so far.
    pub(super) fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Something is wrong: the run ends.
    pub(super) fn violation(&self, text: String) {
        lock(&self.violations).push(text);
        self.timeline.end();
    }

    /// What went wrong so far.
    pub(super) fn violations(&self) -> Vec<String> {
        lock(&self.violations).clone()
    }

    pub(super) fn sidecar(&self, index: usize) -> Option<ProcessId> {
        *lock(&self.sidecars[index])
    }

    pub(super) fn set_sidecar(&self, index: usize, process: Option<ProcessId>) {
        *lock(&self.sidecars[index]) = process;
    }
}

impl Tally {
    /// `kill_sidecar 5, cut_link 12`
    pub(super) fn faults_text(&self) -> String {
        let mut text = String::new();
        for (kind, count) in &self.faults {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}{} {count}", kind.name());
        }
        text
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
