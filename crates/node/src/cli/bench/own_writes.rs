//! What an application waits for its own writes while the load of another node is applied to its database: a steady one, and
//! as much as that node can write.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harmonylite_sqlite::workload::{Application, Durability};

use super::arguments::Subject;
use super::cluster::{BATCH, Cluster, FIRST_ROW};
use super::figure::{Definition, Figure, Unit, quantile};
use super::machines::{Machines, Side};
use super::pace::{calls_in, paced};
use super::{Bench, joined};
use crate::exit::{ExitCode, ExitError};

/// 200 writes per second: an application that has something to do, and time left.
const WRITE_EVERY: Duration = Duration::from_millis(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The load writes these rows again and again: databases do not grow from round to round. So many that none is written twice within
/// a second: between two changes of a row that was not read yet no change set can end (ADR 0010), and one would have all of them.
const LOAD_ROWS: i64 = 200_000;
/// The application's own rows begin far behind them.
const OWN_FIRST: i64 = 1 << 40;

/// Of the nodes, the one that is written to by the load, and the one beside which the application writes.
const LOAD: usize = 0;
const APPLICATION: usize = 1;

/// One round: milliseconds of each write, and what became of the load meanwhile, in rows per second.
struct Round {
    quiet: Vec<f64>,
    loaded: Vec<f64>,
    load_written: f64,
    load_applied: f64,
}

/// How the other node writes.
#[derive(Clone, Copy)]
struct Loading {
    /// Rows in a transaction.
    batch: i64,
    /// From one transaction to the next; without it, as fast as it can.
    every: Option<Duration>,
}

const STEADY: Loading = Loading { batch: 10, every: Some(Duration::from_millis(1)) };
/// A transaction is applied whole: one of 1000 rows would be what is measured, and not the pace.
const FULL_SPEED: Loading = Loading { batch: 100, every: None };

/// How the application commits, what load it meets, and what the figures are called then.
struct Case {
    durability: Durability,
    loading: Loading,
    title: &'static str,
    /// Name and description: p50, p99, the slowest, the load.
    figures: [(&'static str, &'static str); 4],
}

const CASES: [Case; 3] = [
    Case {
        durability: Durability::Normal,
        loading: STEADY,
        title: "synchronous NORMAL, a steady load",
        figures: [
            ("steady_p50", "NORMAL, steady: a write, p50"),
            ("steady_p99", "NORMAL, steady: a write, p99"),
            ("steady_max", "NORMAL, steady: a write, the slowest"),
            ("steady_load", "NORMAL, steady: the load, applied"),
        ],
    },
    Case {
        durability: Durability::Normal,
        loading: FULL_SPEED,
        title: "synchronous NORMAL, full speed",
        figures: [
            ("normal_p50", "NORMAL, full speed: a write, p50"),
            ("normal_p99", "NORMAL, full speed: a write, p99"),
            ("normal_max", "NORMAL, full speed: a write, the slowest"),
            ("normal_load", "NORMAL, full speed: the load, applied"),
        ],
    },
    Case {
        durability: Durability::Full,
        loading: FULL_SPEED,
        title: "synchronous FULL, full speed",
        figures: [
            ("full_p50", "FULL, full speed: a write, p50"),
            ("full_p99", "FULL, full speed: a write, p99"),
            ("full_max", "FULL, full speed: a write, the slowest"),
            ("full_load", "FULL, full speed: the load, applied"),
        ],
    },
];
const REFERENCE: &str = "the other nodes are quiet";
const LOAD_REFERENCE: &str = "the load, written meanwhile";

pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>, ExitError> {
    let load_seconds = CASES.len() as u64 * u64::from(bench.plan.rounds) * bench.plan.seconds;
    let machines = Machines::split((!bench.plan.share_machine).then_some(load_seconds))?;
    let cluster = Cluster::start_on(bench, &machines, side_of)?;
    let load = cluster.nodes[LOAD].application(Durability::Normal)?;
    let load_end = FIRST_ROW + LOAD_ROWS;
    cluster.write(&load, FIRST_ROW..load_end, BATCH)?;
    cluster.settle_equal()?;
    let count = calls_in(bench.plan.span(), WRITE_EVERY);
    let (mut next, mut figures) = (OWN_FIRST, Vec::new());
    for case in CASES {
        let mut rounds = Vec::new();
        for round in 1..=bench.plan.rounds {
            bench.say(Subject::Application, case.title, round);
            let measured = Measured { cluster: &cluster, machines: &machines, case: &case };
            rounds.push(machines.on(Side::Application, || measured.one_round(load_end, next, count))?);
            next += 2 * i64::from(count);
            cluster.settle_equal()?;
        }
        figures.extend(case.figures(&rounds));
    }
    Ok(figures)
}

/// Of node `id`, from 1.
fn side_of(id: usize) -> Side {
    if id == APPLICATION + 1 { Side::Application } else { Side::Others }
}

/// What rounds of one case share.
struct Measured<'m, 'c> {
    cluster: &'m Cluster<'c>,
    machines: &'m Machines,
    case: &'m Case,
}

impl Measured<'_, '_> {
    fn one_round(&self, load_end: i64, first: i64, count: u32) -> Result<Round, ExitError> {
        let (cluster, machines) = (self.cluster, self.machines);
        let application = cluster.nodes[APPLICATION].application(self.case.durability)?;
        let quiet = own_writes(&application, first, count)?;
        cluster.settle_equal()?;
        let (ended, written) = (&AtomicBool::new(false), &AtomicI64::new(0));
        let load = cluster.nodes[LOAD].application(Durability::Normal)?;
        // No two rounds write the same values: an equal row might be less work.
        let writes = Load { loading: self.case.loading, end: load_end, generation: first << 20 };
        thread::scope(|scope| {
            let run = move || machines.on(Side::Others, || writes.run(cluster, &load, ended, written));
            let loader = scope.spawn(move || cluster.or_end_all(run()));
            let measured = under_load(cluster, &application, first + i64::from(count), count, written);
            ended.store(true, Ordering::Relaxed);
            joined(loader.join())?;
            let (loaded, load_written, load_applied) = measured?;
            Ok(Round { quiet, loaded, load_written, load_applied })
        })
    }
}

/// The rows before `end`, with values of a generation.
struct Load {
    loading: Loading,
    end: i64,
    generation: i64,
}

impl Load {
    /// Writes them at its pace, again and again, until it is told to end. Whoever is late does not wait.
    fn run(
        mut self,
        cluster: &Cluster<'_>,
        application: &Application,
        ended: &AtomicBool,
        written: &AtomicI64,
    ) -> Result<(), ExitError> {
        let (mut guard, mut next) = (cluster.guard(), FIRST_ROW);
        let mut due = Instant::now();
        while !ended.load(Ordering::Relaxed) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due += self.loading.every.unwrap_or_default();
            let end = self.end.min(next + self.loading.batch);
            application.overwrite(next..end, self.generation)?;
            written.fetch_add(end - next, Ordering::Relaxed);
            next = end;
            if end == self.end {
                (next, self.generation) = (FIRST_ROW, self.generation + 1);
            }
            guard.look()?;
        }
        Ok(())
    }
}

/// Milliseconds of each write once the load arrives; rows per second of the load, written and applied at that time.
fn under_load(
    cluster: &Cluster<'_>,
    application: &Application,
    first: i64,
    count: u32,
    written: &AtomicI64,
) -> Result<(Vec<f64>, f64, f64), ExitError> {
    let before = applied(cluster)?;
    cluster.wait("the load", LOOK_EVERY, || Ok(applied(cluster)? > before))?;
    let (start, written_before) = (Instant::now(), written.load(Ordering::Relaxed));
    let applied_before = applied(cluster)?;
    let times = own_writes(application, first, count)?;
    // On a machine that is very busy nothing may have arrived in so short a time: then until something has.
    cluster.wait("more of the load", LOOK_EVERY, || Ok(applied(cluster)? > applied_before))?;
    let per_second = |rows: f64| rows / start.elapsed().as_secs_f64();
    let load_written = per_second((written.load(Ordering::Relaxed) - written_before) as f64);
    let load_applied = per_second(applied(cluster)?.saturating_sub(applied_before) as f64);
    Ok((times, load_written, load_applied))
}

fn own_writes(application: &Application, first: i64, count: u32) -> Result<Vec<f64>, ExitError> {
    paced(WRITE_EVERY, count, |number| {
        let id = first + i64::from(number);
        Ok(application.insert(id..id + 1)?)
    })
}

/// Rows of the load that have changed the application's database.
fn applied(cluster: &Cluster<'_>) -> Result<u64, ExitError> {
    let status = cluster.nodes[APPLICATION].status();
    let silent = || ExitError::new(ExitCode::Unequal, "no figures: node 2 does not answer");
    Ok(status.ok_or_else(silent)?.replication.counters.rows_applied)
}

impl Case {
    fn figures(&self, rounds: &[Round]) -> [Figure; 4] {
        let [p50, p99, most, load] = self.figures;
        let definition = |(name, what), unit, reference| {
            let subject = Subject::Application;
            Definition { subject, name, what, unit, reference }
        };
        let wait = |named, q: f64| {
            let pairs = rounds.iter().map(|round| (quantile(&round.loaded, q), quantile(&round.quiet, q)));
            definition(named, Unit::Milliseconds, REFERENCE).figure(pairs)
        };
        let pairs = rounds.iter().map(|round| (round.load_applied, round.load_written));
        let load = definition(load, Unit::RowsPerSecond, LOAD_REFERENCE).figure(pairs);
        [wait(p50, 0.5), wait(p99, 0.99), wait(most, 1.0), load]
    }
}
