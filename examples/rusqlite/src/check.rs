//! What must be true of the database of any node, whoever wrote what.

use rusqlite::{Connection, TransactionBehavior};

use crate::Result;
use crate::shift::Shift;

/// Faults, each found by a query that names it; no row is no fault.
const FAULTS: &[(&str, &str)] = &[
    (
        "a receipt is not the sum of its lines",
        "SELECT till || '/' || number FROM receipt AS r WHERE cents IS NOT \
         (SELECT sum(pieces * cents) FROM receipt_line AS l WHERE l.till = r.till AND l.number = r.number)",
    ),
    (
        "receipts are not numbered from one without a gap",
        "SELECT till FROM till AS t WHERE (last_number, last_number, 1) IS NOT \
         (SELECT count(*), max(number), min(number) FROM receipt AS r WHERE r.till = t.till) AND last_number > 0",
    ),
    (
        "takings are not the sum of the receipts",
        "SELECT till || '/' || payment FROM takings AS s WHERE (receipts, cents) IS NOT \
         (SELECT count(*), sum(cents) FROM receipt AS r WHERE r.till = s.till AND r.payment = s.payment)",
    ),
    (
        "a store's stock did not move as it sold",
        "SELECT till.store || '/' || ean FROM receipt_line JOIN till USING (till) GROUP BY till.store, ean \
         HAVING sum(pieces) IS NOT (SELECT -sum(m.pieces) FROM movement AS m \
         WHERE m.store = till.store AND m.ean = receipt_line.ean AND m.pieces BETWEEN -4 AND 1)",
    ),
    (
        "a parked sale has lines and is gone, or none and is there",
        "SELECT parked FROM parked_line WHERE parked NOT IN (SELECT id FROM parked) \
         UNION ALL SELECT id FROM parked WHERE id NOT IN (SELECT parked FROM parked_line)",
    ),
];

/// Words, and what the index must find for them.
const SEARCHES: &[(&str, &str)] = &[
    ("soup", "' ' || description || ' ' LIKE '% soup %'"),
    ("dark", "description LIKE '%dark%'"),
    ("own", "name LIKE 'Own %'"),
];

/// What a store has done. Only its own instance writes these rows.
const REPORT: &str = "SELECT json_object( \
    'tills', (SELECT count(*) FROM till WHERE store = ?1), \
    'receipts', (SELECT sum(last_number) FROM till WHERE store = ?1), \
    'cents', (SELECT sum(cents) FROM takings JOIN till USING (till) WHERE store = ?1), \
    'lines', (SELECT count(*) FROM receipt_line JOIN till USING (till) WHERE store = ?1), \
    'movements', (SELECT count(*) FROM movement WHERE store = ?1), \
    'stock', (SELECT sum(pieces) FROM movement WHERE store = ?1), \
    'parked', (SELECT count(*) FROM parked JOIN till USING (till) WHERE store = ?1), \
    'own products', (SELECT count(*) FROM product WHERE ean / 1000 = 2000000000 + ?1))";

/// Fails with the first thing that does not add up.
pub fn everything(connection: &Connection) -> Result<()> {
    FAULTS.iter().try_for_each(|(fault, sql)| none(connection, fault, sql))?;
    // An error when the index does not fit its rows.
    connection
        .execute("INSERT INTO product_search(product_search, rank) VALUES ('integrity-check', 1)", [])?;
    for (word, condition) in SEARCHES {
        let found = format!("SELECT rowid FROM product_search WHERE product_search MATCH '{word}'");
        let there = format!("SELECT ean FROM product WHERE {condition}");
        let sql = format!(
            "SELECT * FROM ({found} EXCEPT {there}) UNION ALL SELECT * FROM ({there} EXCEPT {found})"
        );
        none(connection, &format!("the index does not find {word:?} where it is"), &sql)?;
    }
    Ok(())
}

/// What a store has done, as JSON.
pub fn report(connection: &Connection, store: i64) -> Result<String> {
    Ok(connection.query_row(REPORT, [store], |row| row.get(0))?)
}

/// Looks again and again: a sale of another store must never be seen in part.
pub fn watch(connection: &mut Connection, shift: &Shift) -> Result<String> {
    let mut looks = 0;
    for _ in shift.turns() {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        FAULTS.iter().try_for_each(|(fault, sql)| none(&transaction, fault, sql))?;
        transaction.commit()?;
        looks += 1;
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    Ok(format!("{{\"looks\": {looks}}}"))
}

fn none(connection: &Connection, fault: &str, sql: &str) -> Result<()> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    match rows.next()? {
        None => Ok(()),
        Some(row) => Err(format!("{fault}: {:?}", row.get_ref(0)?).into()),
    }
}
