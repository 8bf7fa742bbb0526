//! A till: it sells, parks sales, takes goods back, and hesitates.

use fastrand::Rng;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::Result;
use crate::shift::Shift;

/// Works at a till of `store` until the shift is over.
pub fn work(mut connection: Connection, store: i64, number: i64, shift: &Shift) -> Result<()> {
    let till = format!("{store}-{number}");
    let mut rng = Rng::new();
    let open = "INSERT INTO till(till, store) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    connection.execute(open, params![till, store])?;
    for turn in shift.turns() {
        // It reads before it writes, so it asks for the write lock at once: a transaction that only asks for it later is
        // refused when anybody, the sidecar too, has written in between.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match turn % 8 {
            6 => park(&transaction, &till, &mut rng)?,
            7 => fetch(&transaction, &till)?,
            _ => sell(&transaction, &till, &mut rng)?,
        }
        if turn % 8 == 5 {
            // The customer has no money with him: no receipt, no number, nothing.
            transaction.rollback()?;
        } else {
            transaction.commit()?;
        }
    }
    Ok(())
}

/// A receipt with its lines, the till's counters and takings: all of it or nothing.
fn sell(transaction: &Transaction<'_>, till: &str, rng: &mut Rng) -> Result<()> {
    let next = "UPDATE till SET last_number = last_number + 1 WHERE till = ?1 RETURNING last_number";
    let number: i64 = transaction.query_row(next, [till], |row| row.get(0))?;
    let payment = if rng.bool() { "cash" } else { "card" };
    let receipt = "INSERT INTO receipt(till, number, cents, payment) VALUES (?1, ?2, 0, ?3)";
    transaction.execute(receipt, params![till, number, payment])?;
    for line in 1..=rng.i64(1..=5) {
        // Sometimes goods come back.
        let pieces = if rng.u8(..20) == 0 { -1 } else { rng.i64(1..=4) };
        let sql = "INSERT INTO receipt_line(till, number, line, ean, pieces, cents) \
                   SELECT ?1, ?2, ?3, ean, ?4, cents FROM product ORDER BY random() LIMIT 1";
        transaction.execute(sql, params![till, number, line, pieces])?;
    }
    let total = "UPDATE receipt SET cents = (SELECT sum(total) FROM receipt_line AS l WHERE l.till = ?1 AND l.number = ?2) \
                 WHERE till = ?1 AND number = ?2 RETURNING cents";
    let cents: i64 = transaction.query_row(total, params![till, number], |row| row.get(0))?;
    let takings = "INSERT INTO takings(till, payment, receipts, cents) VALUES (?1, ?2, 1, ?3) \
                   ON CONFLICT(till, payment) DO UPDATE SET receipts = receipts + 1, cents = cents + excluded.cents";
    transaction.execute(takings, params![till, payment, cents])?;
    Ok(())
}

fn park(transaction: &Transaction<'_>, till: &str, rng: &mut Rng) -> Result<()> {
    let id: String =
        transaction
            .query_row("INSERT INTO parked(till) VALUES (?1) RETURNING id", [till], |row| row.get(0))?;
    let lines = "INSERT INTO parked_line(parked, ean, pieces) SELECT ?1, ean, 1 FROM product ORDER BY random() LIMIT ?2";
    transaction.execute(lines, params![id, rng.i64(1..=3)])?;
    Ok(())
}

/// The customer is back: whatever this till has parked goes, with its lines.
fn fetch(transaction: &Transaction<'_>, till: &str) -> Result<()> {
    transaction.execute("DELETE FROM parked WHERE till = ?1", [till])?;
    Ok(())
}
