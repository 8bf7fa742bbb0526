//! Shrinking: which acts of a seed are really needed to break the law.

use crate::plan::Plan;
use crate::{Failure, Medium, Run, run_plan};

/// The smallest plan that was found.
#[derive(Debug)]
pub struct Shrunk {
    /// How many acts the seed has.
    pub acts_before: usize,
    /// The acts that are left, one a line.
    pub acts: Vec<String>,
    /// The run of those alone, with its history.
    pub run: Run,
}

/// Leaves out acts of `seed` as long as the same law is broken: halves, quarters, at last single ones (delta
/// debugging: Zeller, Hildebrandt 2002). `None` when the seed breaks none.
#[must_use]
pub fn shrink(seed: u64, medium: Medium) -> Option<Shrunk> {
    let mut plan = Plan::of_seed(seed);
    let acts_before = plan.acts.len();
    let failure = run_plan(&plan, medium, false).outcome.err()?;
    let mut size = plan.acts.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < plan.acts.len() {
            let smaller = without(&plan, at, size);
            if breaks(&smaller, medium, &failure) { plan = smaller } else { at += size }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    let acts = plan.acts.iter().enumerate();
    let acts = acts.map(|(index, it)| format!("act {index}: node {} {:?}", it.node + 1, it.act)).collect();
    Some(Shrunk { acts_before, acts, run: run_plan(&plan, medium, true) })
}

/// The others keep their times: what is left out passes its pause on to the next one.
fn without(plan: &Plan, at: usize, count: usize) -> Plan {
    let mut smaller = plan.clone();
    let end = (at + count).min(plan.acts.len());
    let pause: u64 = smaller.acts.drain(at..end).map(|act| act.after_ms).sum();
    if let Some(next) = smaller.acts.get_mut(at) {
        next.after_ms += pause;
    }
    smaller
}

fn breaks(plan: &Plan, medium: Medium, failure: &Failure) -> bool {
    run_plan(plan, medium, false).outcome.is_err_and(|found| found.law() == failure.law())
}
