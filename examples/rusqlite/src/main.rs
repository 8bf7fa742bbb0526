//! A small point of sale on SQLite. It knows nothing of HarmonyLite.
//!
//! ```text
//! till DATABASE open                        make the database, with an assortment
//! till DATABASE search WORDS                what there is, what it costs, how many pieces
//! till DATABASE sell --store N [--sales N]  three tills and an office work at the same time
//! till DATABASE watch                       looks for receipts that do not add up, while others sell
//! till DATABASE check --store N             that everything adds up, and what a store has sold
//! ```
//!
//! Without `--sales`, `sell` (as `watch`) says `ready`, begins when a line is typed, and goes on until its input ends.

mod assortment;
mod check;
mod office;
mod register;
mod shift;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rusqlite::Connection;

use crate::shift::Shift;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(printed) => {
            println!("{printed}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("till: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<String> {
    match arguments {
        [database, "open"] => assortment::create(&connect(Path::new(database))?),
        [database, "search", words @ ..] => {
            assortment::search(&connect(Path::new(database))?, &words.join(" "))
        }
        [database, "sell", "--store", store] => sell(Path::new(database), store.parse()?, Shift::typed()?),
        [database, "sell", "--store", store, "--sales", sales] => {
            sell(Path::new(database), store.parse()?, Shift::of(sales.parse()?))
        }
        [database, "watch"] => check::watch(&mut connect(Path::new(database))?, &Shift::typed()?),
        [database, "check", "--store", store] => {
            let connection = connect(Path::new(database))?;
            check::everything(&connection)?;
            check::report(&connection, store.parse()?)
        }
        _ => Err("what is there to do? open, search, sell, watch, check: see src/main.rs".into()),
    }
}

/// A connection as every thread of the application has its own.
///
/// Another process writes this file, too, for a few milliseconds at a time: a connection waits for it.
fn connect(database: &Path) -> Result<Connection> {
    let connection = Connection::open(database)?;
    connection.busy_timeout(Duration::from_secs(20))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

/// Three tills and an office, each a thread with a connection of its own. Ends with what the store has sold.
fn sell(database: &Path, store: i64, shift: Shift) -> Result<String> {
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 1..=3 {
            let shift = &shift;
            threads.push(scope.spawn(move || register::work(connect(database)?, store, number, shift)));
        }
        threads.push(scope.spawn(|| office::work(connect(database)?, store, &shift)));
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })?;
    check::report(&connect(database)?, store)
}
