//! Two databases on one machine, each with two nodes of a cluster of its own: how they share the machine.
//!
//! First one pair has a load, then both at once; then an application of the second pair writes now and then, alone and
//! beside the load of the first.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use harmonylite_testkit::Cluster;
use rusqlite::Connection;

use super::kindness::{Figure, NOTE, Pace, Phase, write_notes};
use super::report::{Expected, Report};
use super::workload::{self, SCHEMA, ensure_equal, write_until};

/// Times the rows of the slower of two equal pairs.
const FAIR: f64 = 1.5;
/// The loads are running for so long before anything is measured.
const LEAD: Duration = Duration::from_millis(500);

pub(super) fn measure(binary: &Path, repeat: usize, seconds: u64, report: &mut Report) -> Result<()> {
    let phase = Duration::from_secs(seconds);
    let mut pairs = [Pair::new(binary)?, Pair::new(binary)?];
    let (mut alone, mut slower, mut faster) = (Vec::new(), Vec::new(), Vec::new());
    let (mut quiet, mut beside) = (Vec::new(), Vec::new());
    let mut noted = 1;
    let rest = || {
        thread::sleep(phase);
        Ok(())
    };
    for turn in 0..repeat {
        alone.extend(loaded(&mut pairs[turn % 2..=turn % 2], rest)?.1);
        let (_, mut rates) = loaded(&mut pairs, rest)?;
        rates.sort_by(f64::total_cmp);
        slower.push(rates[0]);
        faster.push(rates[1]);
        let application = pairs[1].cluster.nodes[1].connection()?;
        let mut notes = || write_some(&application, phase, &mut noted);
        quiet.push(notes()?);
        beside.push(loaded(&mut pairs[..1], notes)?.0);
    }
    let ratios = |of: &[f64], to: &[f64]| of.iter().zip(to).map(|(of, to)| of / to).collect::<Vec<_>>();
    let subject = "two databases, both written to at full speed";
    let shares = ratios(&faster, &slower);
    let sums: Vec<f64> = slower.iter().zip(&faster).map(|(one, other)| one + other).collect();
    let both = ratios(&sums, &alone);
    let mut add = |name: &str, unit, samples, expected| report.add(subject, name, unit, samples, expected);
    add("applied, one alone", "rows/s", alone, Expected::Nothing);
    add("applied, the slower of both", "rows/s", slower, Expected::Nothing);
    add("applied, the faster of both", "rows/s", faster, Expected::Nothing);
    add("the faster / the slower", "x", shares, Expected::Below(FAIR));
    add("both together / one alone", "x", both, Expected::Nothing);
    let subject = "two databases, 200 writes/s to one";
    for (when, phases) in [("alone", &quiet), ("beside the other's full speed", &beside)] {
        let figures: [(&str, Figure); 3] =
            [("p50", |phase| phase.p50), ("p99", |phase| phase.p99), ("most", |phase| phase.most)];
        for (what, value) in figures {
            let samples = phases.iter().map(value).collect();
            report.add(subject, &format!("writes {when}, {what}"), "ms", samples, Expected::Nothing);
        }
    }
    Ok(())
}

/// Two nodes: the load is written to the first.
struct Pair {
    cluster: Cluster,
    written: u64,
}

impl Pair {
    fn new(binary: &Path) -> Result<Self> {
        let cluster = Cluster::start(binary, 2, &format!("{SCHEMA}; {NOTE}"))?;
        cluster.wait_following(workload::DEADLINE)?;
        Ok(Self { cluster, written: 0 })
    }

    /// The last row that has come to the second node.
    fn applied(&self) -> Result<i64> {
        self.cluster.nodes[1].query("SELECT coalesce(max(id), 0) FROM item")
    }
}

/// Does `meanwhile` while all `pairs` are written to at full speed; gives what each applied in that time, in rows per second.
fn loaded<T>(pairs: &mut [Pair], meanwhile: impl FnOnce() -> Result<T>) -> Result<(T, Vec<f64>)> {
    let stop = AtomicBool::new(false);
    let applied = |pairs: &[Pair]| pairs.iter().map(Pair::applied).collect::<Result<Vec<_>>>();
    let (done, rates, written) = thread::scope(|scope| {
        let told = &stop;
        let loads: Vec<_> = pairs
            .iter()
            .map(|pair| {
                let (connection, from) = (pair.cluster.nodes[0].connection()?, pair.written);
                connection.pragma_update(None, "synchronous", "NORMAL")?;
                Ok(scope.spawn(move || write_until(&connection, from, told)))
            })
            .collect::<Result<_>>()?;
        thread::sleep(LEAD);
        let measured = (|| {
            let (start, before) = (Instant::now(), applied(pairs)?);
            let done = meanwhile()?;
            let (after, took) = (applied(pairs)?, start.elapsed().as_secs_f64());
            let rates = before.iter().zip(&after).map(|(before, after)| (after - before) as f64 / took);
            anyhow::Ok((done, rates.collect()))
        })();
        stop.store(true, Ordering::Relaxed);
        let join = |load: thread::ScopedJoinHandle<'_, Result<u64>>| {
            load.join().map_err(|_| anyhow!("a load panicked"))?
        };
        let written = loads.into_iter().map(join).collect::<Result<Vec<_>>>()?;
        let (done, rates) = measured?;
        anyhow::Ok((done, rates, written))
    })?;
    for (pair, written) in pairs.iter_mut().zip(written) {
        pair.written = written;
        ensure_equal(&pair.cluster, "item", written)?;
    }
    Ok((done, rates))
}

/// The application writes a note now and then.
fn write_some(application: &Connection, phase: Duration, next: &mut u64) -> Result<Phase> {
    let never = AtomicBool::new(false);
    let written = write_notes(application, Pace::Interval { for_time: phase }, "NORMAL", *next, &never)?;
    *next = written.next;
    Ok(written.phase)
}
