//! A deterministic simulator: the real core and the real SQLite code of several nodes in one thread, in virtual time,
//! from a seed.
//!
//! `docs/testing.md` says how to use it and how to read a failure. A seed makes a [`plan`]: how many nodes, which
//! faults, who writes when. The [`world`] runs it: one queue of happenings, models of the streams ([`stream`]), real
//! databases in memory ([`database`]), the application's statements ([`application`]). When the storm is over the world
//! must come to rest, and then every law in [`checkers`] holds. Nothing here knows tokio, NATS or the product's runtime.

mod application;
mod bus;
mod campaign;
mod checkers;
mod database;
mod faults;
mod history;
mod journal;
mod node;
mod plan;
mod random;
mod shrink;
pub mod stream;
mod world;

use std::fmt;

pub use campaign::{Campaign, Found, Tally};
pub use history::Counts;
pub use shrink::{Shrunk, shrink};

/// What went against a law, or against the simulator itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure(String);

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// The law's name: what stands before the first colon.
    #[must_use]
    pub fn law(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(format!("simulator: {error}"))
    }
}

/// Where the databases of a run live.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Medium {
    /// In the memory of this process.
    #[default]
    Memory,
    /// In files, in WAL mode: several times slower.
    Files,
}

/// One run: its plan, what happened, and how it ended.
#[derive(Debug)]
pub struct Run {
    /// One line about nodes, mode and profile.
    pub plan: String,
    /// What happened, when lines were wanted.
    pub lines: Vec<String>,
    /// Digest of all lines: equal histories have equal ones.
    pub digest: u64,
    /// How often each fault struck.
    pub counts: Counts,
    /// `Err` is the first law that was broken.
    pub outcome: Result<(), Failure>,
}

/// Runs one seed. Lines are kept when `lines`; the digest costs as much and is there only then.
#[must_use]
pub fn run_seed(seed: u64, medium: Medium, lines: bool) -> Run {
    run_plan(&plan::Plan::of_seed(seed), medium, lines)
}

pub(crate) fn run_plan(plan: &plan::Plan, medium: Medium, lines: bool) -> Run {
    let mut history = history::History::new(lines);
    let outcome = world::World::run(plan, medium, &mut history);
    let (lines, digest, counts) = history.into_parts();
    Run { plan: plan.to_string(), lines, digest, counts, outcome }
}
