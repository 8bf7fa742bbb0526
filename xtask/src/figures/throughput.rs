//! Rows per second from the first write on one node until the last row is visible on the two others.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use harmonylite_testkit::Cluster;
use rusqlite::Connection;
use tempfile::TempDir;

use super::Options;
use super::report::{Expected, Report};
use super::workload::{self, INSERT, SCHEMA, UPSERT, ensure_equal, settle, wait_visible, write};

/// The least that is good enough.
const ROWS_PER_SECOND: f64 = 10_000.0;

/// Rows per second of one repetition.
struct Rates {
    plain: f64,
    upserts: f64,
    written: f64,
    visible: f64,
}

/// One figure of a run.
type Rate = fn(&Rates) -> f64;

pub(super) fn measure(binary: &Path, options: &Options, report: &mut Report) -> Result<()> {
    let cluster = workload::cluster(binary)?;
    let mut next = 1;
    for (subject, rows, batch) in [
        ("rows/s, 1000 rows per transaction", options.rows, 1000),
        ("rows/s, 1 row per transaction", options.single_rows, 1),
    ] {
        let mut rates = Vec::new();
        for _ in 0..options.repeat {
            rates.push(repetition(&cluster, next, rows, batch)?);
            next += rows;
            ensure_equal(&cluster, "item", next - 1)?;
            settle(&cluster)?;
        }
        add(report, subject, &rates);
    }
    Ok(())
}

fn add(report: &mut Report, subject: &str, rates: &[Rates]) {
    let samples = |rate: fn(&Rates) -> f64| rates.iter().map(rate).collect::<Vec<_>>();
    let figures: [(&str, Rate, Expected); 4] = [
        ("reference: inserts, no triggers", |rates| rates.plain, Expected::Nothing),
        ("reference: bare upserts", |rates| rates.upserts, Expected::Nothing),
        ("written by the application", |rates| rates.written, Expected::Nothing),
        ("visible on all three nodes", |rates| rates.visible, Expected::AtLeast(ROWS_PER_SECOND)),
    ];
    for (name, rate, expected) in figures {
        report.add(subject, name, "rows/s", samples(rate), expected);
    }
    report.add(
        subject,
        "reference / visible",
        "x",
        samples(|rates| rates.plain / rates.visible),
        Expected::Nothing,
    );
}

/// References and replication in turn, so that a slow minute of the machine slows all of them.
fn repetition(cluster: &Cluster, first: u64, rows: u64, batch: u64) -> Result<Rates> {
    let per_second = |time: Duration| rows as f64 / time.as_secs_f64();
    let ids = first..first + rows;
    let plain = Reference::new()?;
    let plain_time = write(&plain.connection, INSERT, ids.clone(), batch)?;
    let upserts = Reference::new()?;
    let upserts_time = write(&upserts.connection, UPSERT, ids.clone(), batch)?;
    let application = cluster.nodes[0].connection()?;
    application.execute_batch("PRAGMA synchronous = NORMAL")?;
    let replicas: Vec<Connection> =
        cluster.nodes[1..].iter().map(|node| node.connection()).collect::<Result<_>>()?;
    let start = Instant::now();
    let (written, visible) = thread::scope(|scope| {
        let last = ids.end - 1;
        let waiting: Vec<_> = replicas
            .into_iter()
            .map(|replica| {
                scope.spawn(move || wait_visible(&replica, "item", last).map(|()| start.elapsed()))
            })
            .collect();
        let written = write(&application, INSERT, ids, batch)?;
        let mut visible = Duration::ZERO;
        for replica in waiting {
            visible = visible.max(replica.join().map_err(|_| anyhow!("a thread panicked"))??);
        }
        anyhow::Ok((written, visible))
    })?;
    Ok(Rates {
        plain: per_second(plain_time),
        upserts: per_second(upserts_time),
        written: per_second(written),
        visible: per_second(visible),
    })
}

/// A database without us.
struct Reference {
    connection: Connection,
    _folder: TempDir,
}

impl Reference {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let connection = Connection::open(folder.path().join("app.db"))?;
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection, _folder: folder })
    }
}
