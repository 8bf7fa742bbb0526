//! A node that was off while others wrote: how fast it catches up, and in how much memory.

use std::time::Instant;

use harmonylite_sqlite::workload::Durability;

use super::Bench;
use super::arguments::Subject;
use super::cluster::{BATCH, Cluster, FIRST_ROW};
use super::figure::{Definition, Figure, Unit};
use super::node::Node;
use super::process::{peak_mb, resident_mb};
use crate::exit::{ExitCode, ExitError};

/// One round: rows per second of the node and of the reference, MB of the node at its peak and before.
struct Round {
    rate: f64,
    plain: f64,
    peak_mb: f64,
    resting_mb: f64,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>, ExitError> {
    let mut rounds = Vec::new();
    for round in 1..=bench.plan.rounds {
        bench.say(Subject::CatchUp, &format!("{} rows", bench.plan.backlog), round);
        // A cluster of its own, or disks would have to hold the rows of all rounds.
        rounds.push(one_round(&Cluster::start(bench)?, bench)?);
    }
    Ok(figures(&rounds).into())
}

fn one_round(cluster: &Cluster<'_>, bench: &Bench) -> Result<Round, ExitError> {
    let rows = bench.plan.backlog;
    let ids = FIRST_ROW..FIRST_ROW + rows;
    let late = &cluster.nodes[2];
    let resting_mb = resident_mb(pid(late)?)?;
    late.stop();
    let plain = cluster.write(&cluster.plain()?, ids.clone(), BATCH)?;
    cluster.write(&cluster.nodes[0].application(Durability::Normal)?, ids.clone(), BATCH)?;
    // The stream has everything when another node has.
    cluster.wait_visible(&cluster.nodes[1].application(Durability::Normal)?, ids.end - 1)?;
    let start = Instant::now();
    late.start(bench)?;
    cluster.wait_visible(&late.application(Durability::Normal)?, ids.end - 1)?;
    let took = start.elapsed();
    let peak_mb = peak_mb(pid(late)?)?;
    cluster.settle()?;
    let rows = rows as f64;
    Ok(Round { rate: rows / took.as_secs_f64(), plain: rows / plain.as_secs_f64(), peak_mb, resting_mb })
}

fn pid(node: &Node) -> Result<u32, ExitError> {
    let message =
        || ExitError::new(ExitCode::Unequal, format!("no figures: node {} does not run", node.id()));
    node.pid().ok_or_else(message)
}

fn figures(rounds: &[Round]) -> [Figure; 2] {
    let rate = Definition {
        subject: Subject::CatchUp,
        name: "rate",
        what: "from its start until it has all rows",
        unit: Unit::RowsPerSecond,
        reference: "the same inserts without us",
    };
    let peak = Definition {
        subject: Subject::CatchUp,
        name: "peak",
        what: "its greatest memory, without its server",
        unit: Unit::Megabytes,
        reference: "before, at rest",
    };
    [
        rate.figure(rounds.iter().map(|round| (round.rate, round.plain))),
        peak.figure(rounds.iter().map(|round| (round.peak_mb, round.resting_mb))),
    ]
}
