//! The articles of all stores: made once, found by full-text search.

use rusqlite::{Connection, params};

use crate::Result;

const THINGS: [(&str, &str); 8] = [
    ("Müsli", "oats, raisins and nuts"),
    ("Crème brûlée", "vanilla, burnt sugar"),
    ("Kaffee", "beans, dark roast"),
    ("Thé vert", "green tea, loose leaves"),
    ("Jalapeños", "green and hot, in vinegar"),
    ("Smørrebrød", "rye bread, ready to eat"),
    ("味噌", "miso, dark, for soups"),
    ("Żurek", "soup of fermented rye"),
];

/// Every thing comes in so many sizes.
const SIZES: i64 = 10;

/// Makes the tables, an assortment and its first delivery. The file must have none yet.
pub fn create(connection: &Connection) -> Result<String> {
    connection.execute_batch(&format!("BEGIN; {} COMMIT", include_str!("schema.sql")))?;
    let transaction = connection.unchecked_transaction()?;
    for (thing, (name, description)) in (0..).zip(THINGS) {
        for size in 1..=SIZES {
            let ean = 4_000_000_000_000 + thing * 1000 + size;
            let name = format!("{name} {}g", size * 50);
            let product = "INSERT INTO product(ean, name, description, cents) VALUES (?1, ?2, ?3, ?4)";
            transaction.execute(product, params![ean, name, description, size * 95])?;
            for store in 1..=2 {
                let delivery = "INSERT INTO movement(store, ean, pieces) VALUES (?1, ?2, 1000)";
                transaction.execute(delivery, params![store, ean])?;
            }
        }
    }
    transaction.commit()?;
    Ok(connection.query_row("SELECT json_object('products', count(*)) FROM product", [], |row| row.get(0))?)
}

/// What there is, best first, with the pieces in all stores.
pub fn search(connection: &Connection, words: &str) -> Result<String> {
    let sql = "SELECT product.name, cents, (SELECT sum(pieces) FROM movement WHERE movement.ean = product.ean) \
               FROM product_search JOIN product ON product.ean = product_search.rowid \
               WHERE product_search MATCH ?1 ORDER BY rank, product.ean LIMIT 10";
    let mut statement = connection.prepare(sql)?;
    let lines = statement.query_map([words], |row| {
        let (name, cents, pieces): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(format!("{name}: {}.{:02}, {pieces} pieces", cents / 100, cents % 100))
    })?;
    Ok(lines.collect::<rusqlite::Result<Vec<_>>>()?.join("\n"))
}
