//! The application beside a node: a process of its own, so that it can be killed and have a clock of its own. It writes
//! until its standard input ends.

pub(super) mod schema;
mod statements;
mod writer;

use std::io::{Read as _, stdin};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use harmonylite_testkit::Rng;

use self::writer::{Outcome, Writer, connect, is_no_room};

/// How often it looks whether a transaction of another node is there by half.
const LOOK: Duration = Duration::from_millis(500);

/// What to write, and where.
#[derive(Args)]
pub(crate) struct Options {
    #[arg(long)]
    db: PathBuf,
    /// The folder of the journals.
    #[arg(long)]
    journal: PathBuf,
    #[arg(long)]
    node: u64,
    /// How often the application was started before.
    #[arg(long)]
    life: u64,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    writers: u64,
    #[arg(long)]
    per_second: u32,
    #[arg(long)]
    keys: u64,
    /// The disk gets full: a write that finds no room is no failure.
    #[arg(long)]
    may_fill: bool,
    /// Transactions of other nodes are to be seen wholly or not at all.
    #[arg(long)]
    whole: bool,
}

/// Writes until the standard input ends.
///
/// # Errors
/// When a write fails that no fault explains, or when a transaction is seen by half.
pub(crate) fn run(options: &Options) -> Result<()> {
    let ended = Arc::new(AtomicBool::new(false));
    let (sender, ends) = sync_channel(options.writers as usize + 2);
    let mut threads = Vec::new();
    for number in 0..options.writers {
        let writer = open(options, number)?;
        let interval = Duration::from_secs(1) / options.per_second;
        threads.push(start(&sender, &ended, move |ended| write(writer, interval, ended)));
    }
    if options.whole {
        let (db, may_fill) = (options.db.clone(), options.may_fill);
        threads.push(start(&sender, &ended, move |ended| watch(&db, may_fill, ended)));
    }
    // Not waited for: it may stand in `read` for ever.
    thread::spawn(move || {
        let _ = stdin().read_to_end(&mut Vec::new());
        sender.send(Ok(()))
    });
    // Whoever ends first: a failure, or the standard input.
    let first = ends.recv()?;
    ended.store(true, Ordering::Relaxed);
    first?;
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a thread of the application panicked"))?;
    }
    ends.try_iter().collect()
}

fn open(options: &Options, number: u64) -> Result<Writer> {
    let name = format!("{}-{}-{number}", options.node, options.life);
    let stream = (options.node << 40) | (options.life << 20) | number;
    let rng = Rng::new(options.seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    Writer::open(&options.db, &options.journal, name, options.keys, rng, options.may_fill)
}

fn start(
    sender: &SyncSender<Result<()>>,
    ended: &Arc<AtomicBool>,
    work: impl FnOnce(&AtomicBool) -> Result<()> + Send + 'static,
) -> thread::JoinHandle<()> {
    let (sender, ended) = (sender.clone(), Arc::clone(ended));
    thread::spawn(move || {
        let outcome = work(&ended);
        if outcome.is_err() || !ended.load(Ordering::Relaxed) {
            let _ = sender.send(outcome);
        }
    })
}

fn write(mut writer: Writer, interval: Duration, ended: &AtomicBool) -> Result<()> {
    let mut due = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        if writer.write()? == Outcome::NoRoom {
            due = Instant::now();
        }
        due = (due + interval).max(Instant::now());
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Both tables get one row of every transaction, so they always have as many rows (G4).
fn watch(db: &Path, may_fill: bool, ended: &AtomicBool) -> Result<()> {
    let connection = connect(db)?;
    let sql = "SELECT (SELECT count(*) FROM ledger), (SELECT count(*) FROM receipt)";
    while !ended.load(Ordering::Relaxed) {
        let counts: rusqlite::Result<(i64, i64)> =
            connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
        match counts {
            Ok((ledger, receipts)) => {
                ensure!(ledger == receipts, "a transaction is there by half: {ledger} and {receipts} rows");
            }
            Err(error) if may_fill && is_no_room(&error) => {}
            Err(error) => return Err(error.into()),
        }
        thread::sleep(LOOK);
    }
    Ok(())
}
