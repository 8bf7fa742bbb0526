//! What an application's writes take while its node applies what another node writes at full speed.
//!
//! Three phases in turns: undisturbed; with the load; and with the load, against a database of its own without us, which
//! tells what the busy machine alone does. The application waits for locks as applications do, by `busy_timeout`: SQLite
//! then sleeps 1, 2, 5, 10, 15, 20, 25 .. ms between two tries, so whoever meets a lock at all waits a millisecond at
//! least.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use harmonylite_testkit::{Cluster, Node, Rng};
use rusqlite::{Connection, params};
use tempfile::TempDir;

use super::cores::Cores;
use super::report::{Expected, Report, quantile};
use super::workload::{self, SCHEMA, ensure_equal, write_until};

/// What the application writes, in a table of its own.
pub(super) const NOTE: &str = "CREATE TABLE note(id INTEGER PRIMARY KEY, body TEXT NOT NULL);";
const INSERT_NOTE: &str = "INSERT INTO note(id, body) VALUES(?1, ?2)";
/// Mean time between two writes of an application that has something else to do.
const INTERVAL: Duration = Duration::from_millis(5);
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The load is running for so long before anything is measured.
const LEAD: Duration = Duration::from_millis(500);
/// Times the undisturbed 99th percentile, with a write-ahead log.
const TARGET: f64 = 3.0;

/// How the application keeps its database.
#[derive(Clone, Copy)]
struct Setting {
    journal: &'static str,
    synchronous: &'static str,
    /// It writes without pause.
    busy: bool,
}

impl Setting {
    fn subject(self) -> String {
        let pace = if self.busy { "without pause" } else { "200/s" };
        format!("{} {}, {pace}", self.journal, self.synchronous)
    }

    /// With a rollback journal whoever writes waits for the disk of whoever wrote before.
    fn target(self) -> Expected {
        if self.journal == "WAL" { Expected::Below(TARGET) } else { Expected::Nothing }
    }
}

/// The latencies of one phase, in milliseconds.
pub(super) struct Phase {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) most: f64,
    per_second: f64,
}

/// How it is measured.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) cores: Cores,
    /// The node that is written to has its files where the application has its own. Else they are in memory: what is
    /// measured is then not that the load on one machine takes the disk from another.
    pub(super) share_disk: bool,
    pub(super) repeat: usize,
    pub(super) phase: Duration,
}

pub(super) fn measure(binary: &Path, plan: Plan, report: &mut Report) -> Result<()> {
    for (journal, synchronous) in [("WAL", "NORMAL"), ("WAL", "FULL"), ("DELETE", "FULL")] {
        let mut bench = Bench::new(binary, plan, journal)?;
        for busy in [false, true] {
            bench.measure(Setting { journal, synchronous, busy }, plan.repeat, report)?;
        }
    }
    Ok(())
}

/// A folder in memory, on Linux.
fn folder_in_memory() -> Result<TempDir> {
    let no = "no folder in memory for the node that is written to; --share-disk goes without";
    tempfile::tempdir_in("/dev/shm").context(no)
}

/// Of two nodes, the one that is written to as fast as it goes.
const LOAD: usize = 0;
/// The one beside which the application writes.
const APPLICATION: usize = 1;

/// A cluster of these two, and what was written so far.
struct Bench {
    cluster: Cluster,
    cores: Cores,
    phase: Duration,
    loaded: u64,
    noted: u64,
    _memory: Option<TempDir>,
}

/// What the three phases of the repetitions gave.
#[derive(Default)]
struct Samples {
    undisturbed: Vec<Phase>,
    disturbed: Vec<Phase>,
    beside: Vec<Phase>,
    applied: Vec<f64>,
    written: Vec<f64>,
}

impl Bench {
    fn new(binary: &Path, plan: Plan, journal: &str) -> Result<Self> {
        let Plan { cores, phase, .. } = plan;
        let schema = format!("{SCHEMA}; {NOTE}");
        let memory = if plan.share_disk { None } else { Some(folder_in_memory()?) };
        let loaded = match &memory {
            Some(folder) => Node::with_database(binary, 1, &schema, &folder.path().join("app.db"))?,
            None => Node::new(binary, 1, &schema)?,
        };
        let mut cluster = Cluster::of(vec![loaded, Node::new(binary, 2, &schema)?]);
        for node in &cluster.nodes {
            node.query::<String>(&format!("PRAGMA journal_mode = {journal}"))?;
        }
        cores.start_all(&mut cluster)?;
        cluster.wait_following(workload::DEADLINE)?;
        Ok(Self { cluster, cores, phase, loaded: 0, noted: 1, _memory: memory })
    }

    fn measure(&mut self, setting: Setting, repeat: usize, report: &mut Report) -> Result<()> {
        let mut samples = Samples::default();
        for _ in 0..repeat {
            let own = self.cluster.nodes[APPLICATION].connection()?;
            samples.undisturbed.push(self.write(&own, setting)?);
            let before = self.applied()?;
            let start = Instant::now();
            let (phase, rate) = self.under_load(&own, setting)?;
            let after = self.applied()?;
            samples.applied.push((after - before) as f64 / start.elapsed().as_secs_f64());
            samples.written.push(rate);
            samples.disturbed.push(phase);
            ensure_equal(&self.cluster, "item", self.loaded)?;
            let reference = Reference::new(setting)?;
            let (phase, _) = self.under_load(&reference.connection, setting)?;
            samples.beside.push(phase);
            ensure_equal(&self.cluster, "item", self.loaded)?;
        }
        samples.report(setting, report);
        Ok(())
    }

    fn write(&mut self, connection: &Connection, setting: Setting) -> Result<Phase> {
        let for_time = self.phase;
        let pace = if setting.busy { Pace::WithoutPause { for_time } } else { Pace::Interval { for_time } };
        let never = AtomicBool::new(false);
        let write = || write_notes(connection, pace, setting.synchronous, self.noted, &never);
        let written = self.cores.with(APPLICATION, write)?;
        self.noted = written.next;
        Ok(written.phase)
    }

    fn applied(&self) -> Result<i64> {
        self.cluster.nodes[APPLICATION].query("SELECT coalesce(max(id), 0) FROM item")
    }

    /// One phase while the first node is written to as fast as it goes; gives the load's rows per second, too.
    fn under_load(&mut self, connection: &Connection, setting: Setting) -> Result<(Phase, f64)> {
        let (loaded, cores) = (self.loaded, self.cores);
        let load = self.cluster.nodes[LOAD].connection()?;
        load.execute_batch("PRAGMA synchronous = NORMAL")?;
        let stop = AtomicBool::new(false);
        let (phase, (last, took)) = thread::scope(|scope| {
            let told = &stop;
            let start = Instant::now();
            let loading = scope.spawn(move || {
                cores.with(LOAD, || write_until(&load, loaded, told)).map(|last| (last, start.elapsed()))
            });
            thread::sleep(LEAD);
            let phase = self.write(connection, setting);
            stop.store(true, Ordering::Relaxed);
            let last = loading.join().map_err(|_| anyhow!("the load panicked"))??;
            anyhow::Ok((phase?, last))
        })?;
        self.loaded = last;
        Ok((phase, (last - loaded) as f64 / took.as_secs_f64()))
    }
}

/// How often the application writes, and for how long.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// One write after the other.
    WithoutPause { for_time: Duration },
    /// About 200 a second.
    Interval { for_time: Duration },
}

/// A phase of notes, and the number of the next one.
pub(super) struct Written {
    pub(super) phase: Phase,
    pub(super) next: u64,
}

/// The application writes notes from number `first` on, until the time of the phase is over or it is told to stop.
pub(super) fn write_notes(
    connection: &Connection,
    pace: Pace,
    synchronous: &str,
    first: u64,
    stop: &AtomicBool,
) -> Result<Written> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    let (Pace::WithoutPause { for_time } | Pace::Interval { for_time }) = pace;
    let mut statement = connection.prepare(INSERT_NOTE)?;
    let mut random = Rng::new(first);
    let (start, mut latencies, mut due, mut next) = (Instant::now(), Vec::new(), Duration::ZERO, first);
    while start.elapsed() < for_time && !stop.load(Ordering::Relaxed) {
        if let Pace::Interval { .. } = pace {
            // At random moments: a steady pace could fall into step with us.
            due += INTERVAL * random.below(2000) as u32 / 1000;
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        let before = Instant::now();
        statement.execute(params![next.cast_signed(), "a note of some thirty characters"])?;
        latencies.push(before.elapsed().as_secs_f64() * 1e3);
        next += 1;
    }
    let at = |q| quantile(&latencies, q);
    let per_second = latencies.len() as f64 / start.elapsed().as_secs_f64();
    Ok(Written { phase: Phase { p50: at(0.5), p99: at(0.99), most: at(1.0), per_second }, next })
}

/// What is taken of a phase.
pub(super) type Figure = fn(&Phase) -> f64;

impl Samples {
    fn report(&self, setting: Setting, report: &mut Report) {
        let subject = &setting.subject();
        let phases = [
            ("undisturbed", &self.undisturbed),
            ("under apply", &self.disturbed),
            ("a database beside", &self.beside),
        ];
        for (name, phases) in phases {
            let figures: [(&str, &'static str, Figure); 4] = [
                ("p50", "ms", |phase| phase.p50),
                ("p99", "ms", |phase| phase.p99),
                ("most", "ms", |phase| phase.most),
                ("writes", "/s", |phase| phase.per_second),
            ];
            for (what, unit, value) in figures {
                let samples = phases.iter().map(value).collect();
                report.add(subject, &format!("{name}, {what}"), unit, samples, Expected::Nothing);
            }
        }
        let ratio =
            |of: &[Phase], to: &[Phase]| of.iter().zip(to).map(|(a, b)| a.p99 / b.p99).collect::<Vec<_>>();
        let ratios = ratio(&self.disturbed, &self.undisturbed);
        report.add(subject, "p99, under apply / undisturbed", "x", ratios, setting.target());
        let ratios = ratio(&self.disturbed, &self.beside);
        report.add(subject, "p99, under apply / a database beside", "x", ratios, Expected::Nothing);
        report.add(
            subject,
            "load written on the other node",
            "rows/s",
            self.written.clone(),
            Expected::Nothing,
        );
        report.add(subject, "of it applied meanwhile", "rows/s", self.applied.clone(), Expected::Nothing);
    }
}

/// A database without us.
struct Reference {
    connection: Connection,
    _folder: TempDir,
}

impl Reference {
    fn new(setting: Setting) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let connection = Connection::open(folder.path().join("app.db"))?;
        connection.pragma_update(None, "journal_mode", setting.journal)?;
        connection.execute_batch(NOTE)?;
        Ok(Self { connection, _folder: folder })
    }
}
