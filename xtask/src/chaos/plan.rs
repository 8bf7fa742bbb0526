//! What a seed decides: which fault happens when, to whom, for how long. Drawn before anything starts, so the same seed
//! and scenario give the same plan, whatever the processes do.

use std::collections::BTreeMap;
use std::time::Duration;

use harmonylite_testkit::Rng;

use super::scenario::{Kind, Rate, Scenario};

/// One fault.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Act {
    /// From the start of the load.
    pub(super) at: Duration,
    pub(super) kind: Kind,
    pub(super) lasts: Duration,
    /// Milliseconds of delay, seconds of a clock's step.
    pub(super) by: f64,
}

/// What a fault happens to. Faults of one place happen one after the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Place {
    Sidecar(usize),
    Server(usize),
    Application(usize),
    Link(usize),
    Disk(usize),
    Clock(usize),
}

/// All faults, by place and in the order of time.
pub(super) type Plan = BTreeMap<Place, Vec<Act>>;

/// Draws the plan of a run. Every kind happens at least once.
pub(super) fn draw(scenario: &Scenario, seed: u64, duration: Duration) -> Plan {
    let mut plan = Plan::new();
    for (&kind, rate) in &scenario.faults {
        // Numbers of its own for every kind: another rate of one leaves the others as they were.
        let mut rng = Rng::new(seed ^ ((kind as u64 + 1) << 32));
        for at in moments(&mut rng, rate, duration) {
            let place = place(&mut rng, kind, scenario);
            let lasts = Duration::from_secs_f64(within(&mut rng, rate.lasts_s));
            let act = Act { at, kind, lasts, by: within(&mut rng, rate.by) };
            plan.entry(place).or_default().push(act);
        }
    }
    plan.values_mut().for_each(|acts| acts.sort_by_key(|act| act.at));
    plan
}

/// When a fault of this rate happens: gaps of half to one and a half times the mean.
fn moments(rng: &mut Rng, rate: &Rate, duration: Duration) -> Vec<Duration> {
    let total = duration.as_secs_f64();
    let mut moments = Vec::new();
    let mut at = within(rng, [0.0, rate.every_s]);
    while at < total {
        moments.push(Duration::from_secs_f64(at));
        at += within(rng, [0.5, 1.5]) * rate.every_s;
    }
    if moments.is_empty() {
        moments.push(Duration::from_secs_f64(total * within(rng, [0.2, 0.7])));
    }
    moments
}

fn place(rng: &mut Rng, kind: Kind, scenario: &Scenario) -> Place {
    let mut below = |count: usize| rng.below(count as u64) as usize;
    match kind {
        Kind::KillSidecar | Kind::RestartSidecar | Kind::PauseSidecar => {
            Place::Sidecar(below(scenario.nodes))
        }
        Kind::KillServer | Kind::PauseServer => Place::Server(below(scenario.server_count())),
        Kind::KillApplication => Place::Application(below(scenario.nodes)),
        Kind::CutLink | Kind::StallLink | Kind::DelayLink => Place::Link(below(scenario.links().len())),
        Kind::StepClock => Place::Clock(below(scenario.nodes)),
        Kind::FillDisk => {
            let disks = scenario.small_disks();
            Place::Disk(disks.get(below(disks.len())).copied().unwrap_or_default())
        }
    }
}

/// A number of the range, in thousandths of it.
fn within(rng: &mut Rng, [low, high]: [f64; 2]) -> f64 {
    low + (high - low) * rng.below(1001) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::scenario::tests::small;
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
        let plan = |seed| draw(&small(), seed, Duration::from_secs(60));
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }

    #[test]
    fn faults_come_at_their_rate_in_order_and_never_after_the_end() {
        let plan = draw(&small(), 5, Duration::from_secs(100));
        let mut kills = 0;
        for acts in plan.values() {
            assert!(acts.is_sorted_by_key(|act| act.at));
            assert!(acts.iter().all(|act| act.at < Duration::from_secs(100)));
            kills += acts.iter().filter(|act| act.kind == Kind::KillSidecar).count();
        }
        assert!((35..=70).contains(&kills), "{kills}");
    }

    #[test]
    fn every_kind_happens_in_a_run_that_is_shorter_than_its_gap() {
        let plan = draw(&small(), 9, Duration::from_millis(500));
        assert_eq!(plan.values().flatten().count(), 2);
    }
}
