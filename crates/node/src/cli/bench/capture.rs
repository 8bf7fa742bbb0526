//! What the triggers cost an insert of the application. No node runs: nothing but the triggers is measured.

use std::ops::Range;
use std::path::Path;

use harmonylite_core::model::{Incarnation, NodeId};
use harmonylite_sqlite::workload::Application;
use harmonylite_sqlite::{ClockSql, OpenOptions, Store};

use super::Bench;
use super::arguments::Subject;
use super::cluster::{BATCH, FIRST_ROW};
use super::figure::{Definition, Figure, Unit};
use super::pace::at_full_speed;
use crate::exit::{ExitCode, ExitError};

const REFERENCE: &str = "without triggers";

/// Name and description of the figure of many rows in a transaction, and of that of single ones.
const FIGURES: [(&str, &str); 2] =
    [("insert_1000", "an insert, 1000 rows a transaction"), ("insert_1", "an insert, 1 row a transaction")];

/// Microseconds per row, with triggers and without.
type Pair = (f64, f64);

pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>, ExitError> {
    let mut rounds = Vec::new();
    for round in 1..=bench.plan.rounds {
        bench.say(Subject::Capture, "inserts", round);
        rounds.push(one_round(bench, round)?);
    }
    let figures = FIGURES.iter().enumerate().map(|(case, (name, what))| {
        let (subject, unit, reference) = (Subject::Capture, Unit::MicrosecondsPerRow, REFERENCE);
        let definition = Definition { subject, name, what, unit, reference };
        definition.figure(rounds.iter().map(|round| round[case]))
    });
    Ok(figures.collect())
}

fn one_round(bench: &Bench, round: u32) -> Result<[Pair; 2], ExitError> {
    let folder = bench.subfolder()?;
    let captured = Application::create(&folder.path().join("captured.db"))?;
    install_triggers(&folder.path().join("captured.db"))?;
    let plain = Application::create(&folder.path().join("plain.db"))?;
    for application in [&captured, &plain] {
        at_full_speed(application, 1..FIRST_ROW, BATCH, || bench.check())?;
    }
    let many = FIRST_ROW..FIRST_ROW + bench.plan.rows;
    let single = many.end..many.end + bench.plan.single_rows;
    let pair = |ids: &Range<i64>, batch| {
        let per_row = |application| {
            let time = at_full_speed(application, ids.clone(), batch, || bench.check())?;
            Ok::<_, ExitError>(time.as_secs_f64() * 1e6 / (ids.end - ids.start) as f64)
        };
        // Each of them is first every other time: what the first one does to caches and disk evens out.
        if round.is_multiple_of(2) {
            let with = per_row(&captured)?;
            return Ok::<Pair, ExitError>((with, per_row(&plain)?));
        }
        let without = per_row(&plain)?;
        Ok((per_row(&captured)?, without))
    };
    let pairs = [pair(&many, BATCH)?, pair(&single, 1)?];
    if captured.contents()? != plain.contents()? {
        return Err(ExitError::new(ExitCode::Unequal, "no figures: the triggers changed what was written"));
    }
    Ok(pairs)
}

fn install_triggers(database: &Path) -> Result<(), ExitError> {
    let unexpected = || ExitError::new(ExitCode::Unexpected, "node id");
    let options = OpenOptions {
        node_id: NodeId::new(1).ok_or_else(unexpected)?,
        fresh_incarnation: Incarnation::new(1).ok_or_else(unexpected)?,
        shards: 1,
        publish: true,
        clock: ClockSql::default(),
    };
    Store::open(database, &options).map(drop)?;
    Ok(())
}
