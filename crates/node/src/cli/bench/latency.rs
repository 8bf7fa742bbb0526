//! From the end of a commit until the row is visible elsewhere, at 100 writes per second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harmonylite_sqlite::workload::{Application, Durability};

use super::arguments::Subject;
use super::cluster::{Cluster, FIRST_ROW};
use super::figure::{Definition, Figure, Unit, quantile};
use super::pace::{calls_in, paced};
use super::{Bench, joined};
use crate::exit::ExitError;

const WRITE_EVERY: Duration = Duration::from_millis(10);
/// Between two looks at the replica: an error of half of this, for a twentieth of a core.
const LOOK_EVERY: Duration = Duration::from_micros(200);

const REFERENCE: &str = "within one database, without us";

/// Milliseconds of each row of one round, here and there.
struct Round {
    replicated: Vec<f64>,
    plain: Vec<f64>,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>, ExitError> {
    let cluster = Cluster::start(bench)?;
    let count = calls_in(bench.plan.span(), WRITE_EVERY);
    let (mut next, mut rounds) = (FIRST_ROW, Vec::new());
    for round in 1..=bench.plan.rounds {
        bench.say(Subject::Latency, "100 writes a second", round);
        let plain = latencies(&cluster, &cluster.plain()?, cluster.plain()?, next, count)?;
        let application = cluster.nodes[0].application(Durability::Normal)?;
        let replica = cluster.nodes[1].application(Durability::Normal)?;
        let replicated = latencies(&cluster, &application, replica, next, count)?;
        rounds.push(Round { replicated, plain });
        next += i64::from(count);
        cluster.settle()?;
    }
    Ok(figures(&rounds).into())
}

fn figures(rounds: &[Round]) -> [Figure; 3] {
    let figure = |name, what, q: f64| {
        let (subject, unit, reference) = (Subject::Latency, Unit::Milliseconds, REFERENCE);
        let definition = Definition { subject, name, what, unit, reference };
        let pair = |round: &Round| (quantile(&round.replicated, q), quantile(&round.plain, q));
        definition.figure(rounds.iter().map(pair))
    };
    [
        figure("p50", "commit to visible, p50", 0.5),
        figure("p99", "commit to visible, p99", 0.99),
        figure("max", "commit to visible, the slowest", 1.0),
    ]
}

/// Milliseconds from the end of each commit of `application` until `replica` sees its row.
fn latencies(
    cluster: &Cluster<'_>,
    application: &Application,
    replica: Application,
    first: i64,
    count: u32,
) -> Result<Vec<f64>, ExitError> {
    let start = Instant::now();
    // In nanoseconds since `start`.
    let committed: Vec<AtomicU64> = (0..count).map(|_| AtomicU64::new(0)).collect();
    let seen = thread::scope(|scope| {
        let watcher = scope.spawn(move || watch(cluster, &replica, first, count as usize, start));
        let mut guard = cluster.guard();
        let written = paced(WRITE_EVERY, count, |number| {
            let id = first + i64::from(number);
            application.insert(id..id + 1)?;
            committed[number as usize].store(nanoseconds(start), Ordering::Relaxed);
            guard.look()
        });
        cluster.or_end_all(written)?;
        joined(watcher.join())
    })?;
    let latency = |(seen, committed): (&u64, &AtomicU64)| {
        // The watcher may be the quicker one of the two to look at its watch.
        seen.saturating_sub(committed.load(Ordering::Relaxed)) as f64 / 1e6
    };
    Ok(seen.iter().zip(&committed).map(latency).collect())
}

/// When each row was first seen, in nanoseconds since `start`.
fn watch(
    cluster: &Cluster<'_>,
    replica: &Application,
    first: i64,
    count: usize,
    start: Instant,
) -> Result<Vec<u64>, ExitError> {
    let (mut seen, mut known) = (Vec::with_capacity(count), None);
    cluster.wait("the rows of a round", LOOK_EVERY, || {
        let version = replica.data_version()?;
        if known.replace(version) != Some(version) {
            let there = usize::try_from(replica.last_id()? + 1 - first).unwrap_or(0);
            seen.resize(there.clamp(seen.len(), count), nanoseconds(start));
        }
        Ok(seen.len() == count)
    })?;
    Ok(seen)
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
