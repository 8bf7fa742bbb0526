//! The office of a store: it changes what all stores share, at the same time as the others do.

use fastrand::Rng;
use rusqlite::{Connection, params};

use crate::Result;
use crate::shift::Shift;

const WORDS: [&str; 5] = ["soup", "green", "rye*", "dark", "brulee"];

/// So few customers that the offices enrol the same ones.
const CUSTOMERS: u8 = 40;

/// Works in the office of `store` until the shift is over.
pub fn work(connection: Connection, store: i64, shift: &Shift) -> Result<()> {
    let mut rng = Rng::new();
    for turn in shift.turns() {
        match turn % 4 {
            0 => reprice(&connection, store, &mut rng)?,
            1 => describe(&connection, store, &mut rng)?,
            2 => enrol(&connection, store, &mut rng)?,
            _ => deliver(&connection, store, &mut rng)?,
        }
    }
    Ok(())
}

/// Of two new prices for one article the later one stays, in all stores.
fn reprice(connection: &Connection, store: i64, rng: &mut Rng) -> Result<()> {
    let sql = "UPDATE product SET cents = max(cents + ?1, 50), priced_by = ?2 \
               WHERE ean IN (SELECT rowid FROM product_search WHERE product_search MATCH ?3 ORDER BY rank LIMIT 3)";
    connection.execute(sql, params![rng.i64(-20..=20), store, rng.choice(WORDS)])?;
    Ok(())
}

/// An article is added, described anew, or taken out when it was never sold. The index follows.
fn describe(connection: &Connection, store: i64, rng: &mut Rng) -> Result<()> {
    // Each store has a range of numbers for articles of its own.
    let ean = 2_000_000_000_000 + store * 1000 + rng.i64(0..50);
    let description = format!("house brand, {} and {}", rng.choice(WORDS).unwrap_or("plain"), rng.u8(..));
    let sql = "INSERT INTO product(ean, name, description, cents) VALUES (?1, ?2, ?3, 199) \
               ON CONFLICT(ean) DO UPDATE SET description = excluded.description";
    connection.execute(sql, params![ean, format!("Own {ean}"), description])?;
    Ok(())
}

/// A customer gets a card, or points on the one that there is.
fn enrol(connection: &Connection, store: i64, rng: &mut Rng) -> Result<()> {
    let email = format!("Customer{}@example.org", rng.u8(..CUSTOMERS));
    let sql = "INSERT INTO loyalty_card(email, points, store) VALUES (?1, 1, ?2) \
               ON CONFLICT(email) DO UPDATE SET points = points + 1, store = excluded.store";
    connection.execute(sql, params![email, store])?;
    if rng.u8(..4) == 0 {
        let sql = "DELETE FROM loyalty_card WHERE email = ?1";
        connection.execute(sql, [format!("customer{}@EXAMPLE.org", rng.u8(..CUSTOMERS))])?;
    }
    Ok(())
}

fn deliver(connection: &Connection, store: i64, rng: &mut Rng) -> Result<()> {
    let sql = "INSERT INTO movement(store, ean, pieces) \
               SELECT ?1, ean, ?2 FROM product WHERE ean >= 4000000000000 ORDER BY random() LIMIT 2";
    connection.execute(sql, params![store, rng.i64(5..=50)])?;
    Ok(())
}
