//! What the application writes: every kind of statement, over few keys and few values, so that nodes collide.

use harmonylite_testkit::Rng;

/// The statements of one transaction, with the rows that nobody touches again at its end. Every row that one of them
/// leaves carries `tag`, which is plain ASCII without quotes.
pub(super) fn transaction(rng: &mut Rng, keys: u64, tag: &str) -> Vec<String> {
    let count = 1 + rng.below(4);
    let mut statements: Vec<String> = (0..count).map(|_| statement(rng, keys, tag)).collect();
    let size = rng.below(200);
    statements.push(format!("INSERT INTO ledger VALUES('{tag}', randomblob({size}))"));
    statements.push(format!("INSERT INTO receipt VALUES('{tag}')"));
    statements
}

fn statement(rng: &mut Rng, keys: u64, tag: &str) -> String {
    match rng.below(10) {
        0..=4 => account(rng, keys, tag),
        5..=6 => item(rng, keys, tag),
        7..=8 => note(rng, keys, tag),
        _ => transfer(rng, keys, tag),
    }
}

fn account(rng: &mut Rng, keys: u64, tag: &str) -> String {
    let mut number = |bound: u64| rng.below(bound);
    let (id, other, value, amount) = (number(keys), number(keys), number(keys), number(1000));
    match number(8) {
        0 => {
            format!("INSERT OR REPLACE INTO account VALUES({id}, 'e{value}', 'N{other}', {amount}, '{tag}')")
        }
        1 => format!(
            "INSERT INTO account VALUES({id}, 'e{value}', NULL, {amount}, '{tag}') \
             ON CONFLICT(id) DO UPDATE SET balance = balance + 1, tag = excluded.tag ON CONFLICT DO NOTHING"
        ),
        2 => format!("UPDATE account SET balance = balance + {amount}, tag = '{tag}' WHERE id = {id}"),
        3 => format!("UPDATE OR IGNORE account SET email = 'e{value}', tag = '{tag}' WHERE id = {id}"),
        4 => format!("UPDATE OR REPLACE account SET id = {other}, tag = '{tag}' WHERE id = {id}"),
        5 => format!("UPDATE OR REPLACE account SET nick = 'n{value}', tag = '{tag}' WHERE id = {id}"),
        6 => format!("DELETE FROM account WHERE id = {id}"),
        _ => format!(
            "UPDATE account SET balance = {amount}, tag = '{tag}' WHERE id BETWEEN {id} AND {}",
            id + 5
        ),
    }
}

fn item(rng: &mut Rng, keys: u64, tag: &str) -> String {
    let mut number = |bound: u64| rng.below(bound);
    let (house, sku, other, value) = (number(4), number(keys / 4 + 1), number(keys / 4 + 1), number(keys));
    match number(6) {
        0 => format!("INSERT OR REPLACE INTO item VALUES('w{house}', {sku}, 's{value}', {value}.5, '{tag}')"),
        1 => format!(
            "INSERT INTO item VALUES('W{house}', {sku}, NULL, 0.1, '{tag}') \
             ON CONFLICT(warehouse, sku) DO UPDATE SET amount = amount + 0.1, tag = excluded.tag"
        ),
        2 => format!("UPDATE OR REPLACE item SET serial = 's{value}', tag = '{tag}' WHERE sku = {sku}"),
        3 => format!(
            "UPDATE OR REPLACE item SET warehouse = upper(warehouse), sku = {other}, tag = '{tag}' \
             WHERE warehouse = 'w{house}' AND sku = {sku}"
        ),
        4 => format!(
            "UPDATE OR IGNORE item SET serial = 's{value}', tag = '{tag}' WHERE warehouse = 'w{house}'"
        ),
        _ => format!("DELETE FROM item WHERE warehouse = 'w{house}' AND sku = {sku}"),
    }
}

fn note(rng: &mut Rng, keys: u64, tag: &str) -> String {
    let mut number = |bound: u64| rng.below(bound);
    let (id, word, other) = (number(keys), number(50), number(50));
    match number(5) {
        0..=1 => format!(
            "INSERT INTO note VALUES({id}, 'word{word}', 'word{other} of {tag}', '{tag}') \
             ON CONFLICT(id) DO UPDATE SET title = excluded.title, body = excluded.body, tag = excluded.tag"
        ),
        2 => format!(
            "UPDATE note SET body = body || ' word{word}', tag = '{tag}' WHERE id = {id} AND length(body) < 500"
        ),
        3 => format!("UPDATE note SET title = 'word{word}', tag = '{tag}' WHERE id % {} = 0", keys / 3 + 1),
        _ => format!("DELETE FROM note WHERE id = {id}"),
    }
}

/// Three rows of two tables.
fn transfer(rng: &mut Rng, keys: u64, tag: &str) -> String {
    let (source, target, amount, number) =
        (rng.below(keys), rng.below(keys), rng.below(100), rng.below(1 << 40));
    format!(
        "INSERT INTO transfer VALUES('t{number}', {source}, {target}, {amount}, '{tag}'); \
         UPDATE account SET balance = balance - {amount}, tag = '{tag}' WHERE id = {source}; \
         UPDATE account SET balance = balance + {amount}, tag = '{tag}' WHERE id = {target}"
    )
}
