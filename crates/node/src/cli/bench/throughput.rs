//! Rows per second: from the first write on one node until the last row is visible on all three.

use std::thread;
use std::time::{Duration, Instant};

use harmonylite_sqlite::workload::{Application, Durability};

use super::arguments::Subject;
use super::cluster::{BATCH, Cluster, FIRST_ROW};
use super::figure::{Definition, Figure, Unit};
use super::{Bench, joined};
use crate::exit::ExitError;

const REFERENCE: &str = "the same without us";

/// Rows per second of one round.
struct Rates {
    plain: f64,
    written: f64,
    visible: f64,
}

/// How the rows are written, and what the figures are called then.
struct Case {
    batch: i64,
    rows: i64,
    /// Name and description: of what the application has written, and of what is visible everywhere.
    written: (&'static str, &'static str),
    visible: (&'static str, &'static str),
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>, ExitError> {
    let cluster = Cluster::start(bench)?;
    let (mut next, mut figures) = (FIRST_ROW, Vec::new());
    for case in cases(bench) {
        let mut rounds = Vec::new();
        for round in 1..=bench.plan.rounds {
            bench.say(Subject::Throughput, &format!("{} at a time", case.batch), round);
            rounds.push(one_round(&cluster, next, &case)?);
            next += case.rows;
            cluster.settle()?;
        }
        figures.extend(case.figures(&rounds));
    }
    Ok(figures)
}

fn cases(bench: &Bench) -> [Case; 2] {
    [
        Case {
            batch: BATCH,
            rows: bench.plan.rows,
            written: ("written_1000", "1000 rows a transaction, written"),
            visible: ("visible_1000", "1000 rows a transaction, visible on all nodes"),
        },
        Case {
            batch: 1,
            rows: bench.plan.single_rows,
            written: ("written_1", "1 row a transaction, written"),
            visible: ("visible_1", "1 row a transaction, visible on all nodes"),
        },
    ]
}

/// The reference and the nodes in turn, so that a slow minute of the machine slows both.
fn one_round(cluster: &Cluster<'_>, first: i64, case: &Case) -> Result<Rates, ExitError> {
    let ids = first..first + case.rows;
    let per_second = |time: Duration| case.rows as f64 / time.as_secs_f64();
    let plain = cluster.write(&cluster.plain()?, ids.clone(), case.batch)?;
    let application = cluster.nodes[0].application(Durability::Normal)?;
    let replicas = cluster.nodes[1..].iter().map(|node| node.application(Durability::Normal));
    let replicas: Vec<Application> = replicas.collect::<Result<_, _>>()?;
    let (start, last) = (Instant::now(), ids.end - 1);
    thread::scope(|scope| {
        let waiting: Vec<_> = replicas
            .into_iter()
            .map(|replica| {
                scope.spawn(move || cluster.wait_visible(&replica, last).map(|()| start.elapsed()))
            })
            .collect();
        let written = cluster.or_end_all(cluster.write(&application, ids, case.batch))?;
        let mut visible = Duration::ZERO;
        for replica in waiting {
            visible = visible.max(joined(replica.join())?);
        }
        Ok(Rates { plain: per_second(plain), written: per_second(written), visible: per_second(visible) })
    })
}

impl Case {
    fn figures(&self, rounds: &[Rates]) -> [Figure; 2] {
        let figure = |(name, what), rate: fn(&Rates) -> f64| {
            let (subject, unit, reference) = (Subject::Throughput, Unit::RowsPerSecond, REFERENCE);
            let definition = Definition { subject, name, what, unit, reference };
            definition.figure(rounds.iter().map(|round| (rate(round), round.plain)))
        };
        [figure(self.written, |rates| rates.written), figure(self.visible, |rates| rates.visible)]
    }
}
