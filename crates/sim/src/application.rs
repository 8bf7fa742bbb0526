//! An application: random statements on hot rows, and the record of what it wrote and what it saw.

use std::collections::BTreeMap;

use rusqlite::{Connection, ErrorCode, Result};

use crate::journal::{RowKey, Write};
use crate::random::Random;

/// Every table has few keys, so that nodes meet on them. `sim_clock` has no key, so it is not replicated; it is the
/// wall clock of the triggers. `v` is another number in every write, so a row tells who wrote it.
pub(crate) const SCHEMA: &str = "
    PRAGMA page_size = 1024;
    CREATE TABLE sim_clock(now INTEGER NOT NULL); INSERT INTO sim_clock VALUES(1);
    CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, w, x INTEGER, v);
    CREATE UNIQUE INDEX t_w ON t(w) WHERE x IS NOT NULL;
    CREATE UNIQUE INDEX t_x ON t(x * 2);
    CREATE TABLE p(a NOT NULL, b NOT NULL, v, PRIMARY KEY(a, b)) WITHOUT ROWID;
    CREATE TABLE q(n INTEGER NOT NULL, i INTEGER NOT NULL, v, PRIMARY KEY(n, i));
    CREATE TABLE k(name TEXT PRIMARY KEY COLLATE NOCASE NOT NULL, v);
    CREATE TABLE c(id INTEGER PRIMARY KEY, t INTEGER REFERENCES t(id) ON DELETE CASCADE ON UPDATE CASCADE, v);
    CREATE TABLE d(id INTEGER PRIMARY KEY, slug UNIQUE, body TEXT, v);
    CREATE VIRTUAL TABLE d_index USING fts5(body, content='d', content_rowid='id');
    CREATE TRIGGER d_inserted AFTER INSERT ON d BEGIN
      INSERT INTO d_index(rowid, body) VALUES(NEW.id, NEW.body);
    END;
    CREATE TRIGGER d_deleted AFTER DELETE ON d BEGIN
      INSERT INTO d_index(d_index, rowid, body) VALUES('delete', OLD.id, OLD.body);
    END;
    CREATE TRIGGER d_updated AFTER UPDATE ON d BEGIN
      INSERT INTO d_index(d_index, rowid, body) VALUES('delete', OLD.id, OLD.body);
      INSERT INTO d_index(rowid, body) VALUES(NEW.id, NEW.body);
    END;
    CREATE TABLE audit(id TEXT PRIMARY KEY NOT NULL, v);
    CREATE TRIGGER p_audit AFTER UPDATE ON p BEGIN
      INSERT INTO audit VALUES(NEW.a || '-' || NEW.b, NEW.v) ON CONFLICT(id) DO UPDATE SET v = excluded.v;
    END;";

/// The clock in the triggers' slot.
pub(crate) const CLOCK: &str = "(SELECT now FROM sim_clock)";

/// A replicated table.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) key: &'static [&'static str],
    pub(crate) columns: &'static [&'static str],
    /// Keys that differ in case only are one.
    pub(crate) folds_case: bool,
}

/// All of them.
pub(crate) const TABLES: [Table; 7] = [
    table("t", &["id"], &["id", "u", "w", "x", "v"], false),
    table("p", &["a", "b"], &["a", "b", "v"], false),
    table("q", &["n", "i"], &["n", "i", "v"], false),
    table("k", &["name"], &["name", "v"], true),
    table("c", &["id"], &["id", "t", "v"], false),
    table("d", &["id"], &["id", "slug", "body", "v"], false),
    table("audit", &["id"], &["id", "v"], false),
];

const fn table(
    name: &'static str,
    key: &'static [&'static str],
    columns: &'static [&'static str],
    folds_case: bool,
) -> Table {
    Table { name, key, columns, folds_case }
}

impl Table {
    /// SQL for the key as one text; `prefix` stands before each column's name.
    pub(crate) fn key_text(&self, prefix: &str) -> String {
        let text = quoted(self.key, prefix);
        if self.folds_case { format!("lower({text})") } else { text }
    }

    /// SQL for the whole row as one text: storage classes and bytes.
    pub(crate) fn row_text(&self, prefix: &str) -> String {
        quoted(self.columns, prefix)
    }
}

fn quoted(columns: &[&str], prefix: &str) -> String {
    let parts: Vec<_> = columns.iter().map(|column| format!("quote({prefix}{column})")).collect();
    parts.join(" || ',' || ")
}

/// The rows that the application sees.
pub(crate) type Rows = BTreeMap<RowKey, String>;

/// What a transaction is about to commit.
#[derive(Debug)]
pub(crate) struct Transaction {
    /// What it saw before it wrote.
    pub(crate) before: Rows,
    pub(crate) writes: Vec<Write>,
}

/// Begins a transaction of random statements at `now_ms` of the node's wall clock; the caller commits it.
pub(crate) fn begin(app: &Connection, random: &mut Random, now_ms: u64, node: u64) -> Result<Transaction> {
    app.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    app.prepare_cached("UPDATE sim_clock SET now = ?1")?.execute([now_ms.cast_signed()])?;
    let (before, newest) = (read_rows(app)?, newest(app)?);
    for _ in 0..=random.below(3) {
        for sql in statement(random, node) {
            match app.execute_batch(&sql) {
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {}
                outcome => outcome?,
            }
        }
    }
    let writes = written(app, newest, node, &read_rows(app)?)?;
    Ok(Transaction { before, writes })
}

/// All replicated rows as they are.
pub(crate) fn read_rows(app: &Connection) -> Result<Rows> {
    let mut all = Rows::new();
    for table in &TABLES {
        let sql = format!("SELECT {}, {} FROM {}", table.key_text(""), table.row_text(""), table.name);
        let mut statement = app.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            all.insert((table.name, row.get(0)?), row.get(1)?);
        }
    }
    Ok(all)
}

fn statement(random: &mut Random, node: u64) -> Vec<String> {
    let (id, other, v) = (1 + random.below(5), 1 + random.below(5), random.below(1 << 40));
    let u = random.pick(&["'x'", "'y'", "'z'", "NULL"]);
    let (w, x) = (random.pick(&["'q'", "'r'", "NULL"]), random.pick(&["1", "2", "3", "NULL", "NULL"]));
    let (a, b) = (id % 3, other % 3);
    let name = random.pick(&["Ada", "ada", "BOB", "bob", "eve"]);
    let body = random.pick(&["one", "one two", "two three", ""]);
    let sql = match random.below(24) {
        0 => format!("INSERT INTO t VALUES({id}, {u}, {w}, {x}, {v})"),
        1 => format!("UPDATE t SET v = {v} WHERE id = {id}"),
        2 => format!("UPDATE t SET u = {u}, w = {w}, x = {x}, v = {v} WHERE id = {id}"),
        3 => format!("DELETE FROM t WHERE id = {id}"),
        4 => format!("UPDATE t SET id = {other}, v = {v} WHERE id = {id}"),
        // Not through the partial index or the one over an expression: nothing captures what those remove.
        5 => format!("INSERT OR REPLACE INTO t VALUES({id}, {u}, NULL, NULL, {v})"),
        6 => format!("UPDATE OR REPLACE t SET u = {u}, v = {v} WHERE id = {id}"),
        7 => format!("INSERT OR IGNORE INTO t VALUES({id}, {u}, {w}, {x}, {v})"),
        8 => format!(
            "INSERT INTO t VALUES({id}, {u}, {w}, {x}, {v}) ON CONFLICT(id) DO UPDATE SET v = excluded.v"
        ),
        9 => return swap(id, other, u, v),
        10 => format!("INSERT OR REPLACE INTO p VALUES({a}, {b}, {v})"),
        11 => format!("UPDATE p SET b = {b}, v = {v} WHERE a = {a}"),
        12 => format!("UPDATE OR IGNORE p SET a = {a}, v = {v} WHERE b = {b}"),
        13 => format!("DELETE FROM p WHERE a = {a} AND b = {b}"),
        14..=16 => format!(
            "INSERT INTO q VALUES({node}, 1, {v}), ({node}, 2, {v}) ON CONFLICT DO UPDATE SET v = excluded.v"
        ),
        17 => format!(
            "INSERT INTO k VALUES('{name}', {v}) ON CONFLICT(name) DO UPDATE SET name = excluded.name, v = {v}"
        ),
        18 => format!("DELETE FROM k WHERE name = '{name}'"),
        // Without REPLACE: in the application itself it would leave the index behind (it fires no delete triggers).
        20 => format!(
            "INSERT INTO d VALUES({id}, {u}, '{body}', {v}) ON CONFLICT(id) DO UPDATE SET body = excluded.body, v = {v}"
        ),
        21 => format!("UPDATE d SET slug = {u}, body = '{body}', v = {v} WHERE id = {id}"),
        22 => format!("DELETE FROM d WHERE id = {id}"),
        19 => format!("DELETE FROM audit WHERE id = '{a}-{b}'"),
        _ => {
            format!("INSERT OR REPLACE INTO c VALUES({id}, (SELECT min(id) FROM t WHERE id >= {other}), {v})")
        }
    };
    vec![sql]
}

/// Two rows swap a UNIQUE value.
fn swap(id: u64, other: u64, u: &str, v: u64) -> Vec<String> {
    vec![
        format!("UPDATE t SET u = NULL, v = {v} WHERE id = {id}"),
        format!("UPDATE t SET u = {u}, v = {v} + 1 WHERE id = {other}"),
        format!("UPDATE t SET u = 'm{}', v = {v} + 2 WHERE id = {id}", v % 3),
    ]
}

/// The greatest id that the triggers must go beyond.
fn newest(app: &Connection) -> Result<i64> {
    let sql = "SELECT max(coalesce((SELECT max(id) FROM __harmonylite___change_log_global), 0),
                          (SELECT observed FROM __harmonylite___clock))";
    app.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

/// What the log says of the transaction, with the rows as it leaves them. Keys that only `maybe` entries name and whose
/// rows are there were not written.
fn written(app: &Connection, before: i64, node: u64, after: &Rows) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    for table in &TABLES {
        let key = table.key_text("val_");
        let sql = format!(
            "SELECT {key}, id, type FROM __harmonylite__{}_change_log WHERE id > ?1 ORDER BY id",
            table.name
        );
        let mut statement = app.prepare_cached(&sql)?;
        let mut rows = statement.query([before])?;
        let mut clocks = BTreeMap::<String, i64>::new();
        while let Some(row) = rows.next()? {
            let (key, clock, kind): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if kind != "maybe" || !after.contains_key(&(table.name, key.clone())) {
                clocks.insert(key, clock);
            }
        }
        writes.extend(clocks.into_iter().map(|(key, clock)| {
            let row = (table.name, key);
            Write { node, image: after.get(&row).cloned(), row, clock }
        }));
    }
    Ok(writes)
}
