//! Runs SQL from standard input on the database named by the only argument, with SQLite 3.35, and prints that
//! library's version. Tests use it as an application that links an old SQLite.
//!
//! Its own workspace: two versions of `libsqlite3-sys` cannot be in one.

use std::error::Error;
use std::io::Read;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: old-sqlite-writer <database>")?;
    let mut sql = String::new();
    std::io::stdin().read_to_string(&mut sql)?;
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.execute_batch(&sql)?;
    println!("{}", rusqlite::version());
    Ok(())
}
