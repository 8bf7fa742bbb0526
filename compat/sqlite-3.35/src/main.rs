//! Runs SQL from standard input on the database named by the only argument, with SQLite 3.35, statement by statement.
//! Prints the rows of each as `|`-separated literals, and `error: <message>` for one that fails; then goes on. Tests
//! use it as an application that links an old SQLite.
//!
//! Its own workspace: two versions of `libsqlite3-sys` cannot be in one.

use std::error::Error;
use std::io::Read;

use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, Statement};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: old-sqlite-writer <database>")?;
    let mut sql = String::new();
    std::io::stdin().read_to_string(&mut sql)?;
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    if let Err(error) = run_each(Batch::new(&connection, &sql)) {
        println!("error: {error}");
    }
    Ok(())
}

/// Ends at a statement that cannot be prepared.
fn run_each(mut batch: Batch<'_, '_>) -> rusqlite::Result<()> {
    while let Some(mut statement) = batch.next()? {
        if let Err(error) = print_rows(&mut statement) {
            println!("error: {error}");
        }
    }
    Ok(())
}

fn print_rows(statement: &mut Statement<'_>) -> rusqlite::Result<()> {
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let cells: Result<Vec<String>, _> =
            (0..columns).map(|index| row.get_ref(index).map(literal)).collect();
        println!("{}", cells?.join("|"));
    }
    Ok(())
}

fn literal(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(integer) => integer.to_string(),
        ValueRef::Real(real) => format!("{real:?}"),
        ValueRef::Text(text) => format!("'{}'", String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => {
            format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
    }
}
