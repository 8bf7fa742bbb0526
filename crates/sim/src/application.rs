//! An application: random statements on hot rows, and the record of what it wrote and what it saw.

use std::collections::BTreeMap;

use rusqlite::{Connection, ErrorCode, Result};

use crate::journal::{RowKey, Write};
use crate::random::Random;

/// Which tables the application has. Small schemas make short runs: nodes meet on the same rows all the more often.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Schema {
    /// UNIQUE indexes of all kinds, and a foreign key with cascades.
    Unique,
    /// Keys of all kinds, and a trigger of the application's own.
    Keys,
    /// A full-text index.
    Index,
    /// Everything.
    All,
}

impl Schema {
    /// The statements that make it. Every table has few keys. `sim_clock` has none, so it is not replicated; it is
    /// the wall clock of the triggers. `v` is another number in every write, so a row tells who wrote it.
    pub(crate) fn sql(self) -> String {
        let parts: &[&str] = match self {
            Self::Unique => &[UNIQUE],
            Self::Keys => &[KEYS],
            Self::Index => &[INDEX],
            Self::All => &[UNIQUE, KEYS, INDEX],
        };
        format!("{COMMON} {}", parts.concat())
    }

    /// Its replicated tables.
    pub(crate) fn tables(self) -> &'static [Table] {
        const ALL: [Table; 7] = [
            table("t", &["id"], &["id", "u", "w", "x", "v"], false),
            table("c", &["id"], &["id", "t", "v"], false),
            table("q", &["n", "i"], &["n", "i", "v"], false),
            table("p", &["a", "b"], &["a", "b", "v"], false),
            table("k", &["name"], &["name", "v"], true),
            table("audit", &["id"], &["id", "v"], false),
            table("d", &["id"], &["id", "slug", "body", "v"], false),
        ];
        const UNIQUE: &[Table] = ALL.split_at(3).0;
        const KEYS: &[Table] = ALL.split_at(6).0.split_at(2).1;
        const INDEX: &[Table] = &[
            table("q", &["n", "i"], &["n", "i", "v"], false),
            table("d", &["id"], &["id", "slug", "body", "v"], false),
        ];
        match self {
            Self::Unique => UNIQUE,
            Self::Keys => KEYS,
            Self::Index => INDEX,
            Self::All => &ALL,
        }
    }

    /// Its table of that name.
    pub(crate) fn table(self, name: &str) -> Option<&'static Table> {
        self.tables().iter().find(|table| table.name == name)
    }
}

const COMMON: &str = "
    PRAGMA page_size = 1024;
    CREATE TABLE sim_clock(now INTEGER NOT NULL); INSERT INTO sim_clock VALUES(1);
    CREATE TABLE q(n INTEGER NOT NULL, i INTEGER NOT NULL, v, PRIMARY KEY(n, i));";
const UNIQUE: &str = "
    CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, w, x INTEGER, v);
    CREATE UNIQUE INDEX t_w ON t(w) WHERE x IS NOT NULL;
    CREATE UNIQUE INDEX t_x ON t(x * 2);
    CREATE TABLE c(id INTEGER PRIMARY KEY, t INTEGER REFERENCES t(id) ON DELETE CASCADE ON UPDATE CASCADE, v);";
const KEYS: &str = "
    CREATE TABLE p(a NOT NULL, b NOT NULL, v, PRIMARY KEY(a, b)) WITHOUT ROWID;
    CREATE TABLE k(name TEXT PRIMARY KEY COLLATE NOCASE NOT NULL, v);
    CREATE TABLE audit(id TEXT PRIMARY KEY NOT NULL, v);
    CREATE TRIGGER p_audit AFTER UPDATE ON p BEGIN
      INSERT INTO audit VALUES(NEW.a || '-' || NEW.b, NEW.v) ON CONFLICT(id) DO UPDATE SET v = excluded.v;
    END;";
const INDEX: &str = "
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
pub(crate) fn begin(
    app: &Connection,
    schema: Schema,
    random: &mut Random,
    now_ms: u64,
    node: u64,
) -> Result<Transaction> {
    app.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    app.prepare_cached("UPDATE sim_clock SET now = ?1")?.execute([now_ms.cast_signed()])?;
    let (before, newest) = (read_rows(app, schema)?, newest(app)?);
    for _ in 0..=random.below(3) {
        for sql in statement(schema, random, node) {
            match app.execute_batch(&sql) {
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {}
                outcome => outcome?,
            }
        }
    }
    let writes = written(app, schema, newest, node, &read_rows(app, schema)?)?;
    Ok(Transaction { before, writes })
}

/// All replicated rows as they are.
pub(crate) fn read_rows(app: &Connection, schema: Schema) -> Result<Rows> {
    let mut all = Rows::new();
    for table in schema.tables() {
        let sql = format!("SELECT {}, {} FROM {}", table.key_text(""), table.row_text(""), table.name);
        let mut statement = app.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            all.insert((table.name, row.get(0)?), row.get(1)?);
        }
    }
    Ok(all)
}

fn statement(schema: Schema, random: &mut Random, node: u64) -> Vec<String> {
    let pairs = random.chance(15);
    match schema {
        _ if pairs => pair(random, node),
        Schema::Unique => unique(random),
        Schema::Keys => keys(random),
        Schema::Index => indexed(random),
        Schema::All => match random.below(5) {
            0 | 1 => unique(random),
            2 | 3 => keys(random),
            _ => indexed(random),
        },
    }
}

/// Two rows that are always written together.
fn pair(random: &mut Random, node: u64) -> Vec<String> {
    let v = random.below(1 << 40);
    vec![format!(
        "INSERT INTO q VALUES({node}, 1, {v}), ({node}, 2, {v}) ON CONFLICT DO UPDATE SET v = excluded.v"
    )]
}

fn unique(random: &mut Random) -> Vec<String> {
    let (id, other, v) = (1 + random.below(5), 1 + random.below(5), random.below(1 << 40));
    let u = random.pick(&["'x'", "'y'", "'z'", "NULL"]);
    let (w, x) = (random.pick(&["'q'", "'r'", "NULL"]), random.pick(&["1", "2", "3", "NULL", "NULL"]));
    let sql = match random.below(14) {
        0 => format!("INSERT INTO t VALUES({id}, {u}, {w}, {x}, {v})"),
        1 => format!("UPDATE t SET v = {v} WHERE id = {id}"),
        2 | 3 => format!("UPDATE t SET u = {u}, w = {w}, x = {x}, v = {v} WHERE id = {id}"),
        4 => format!("DELETE FROM t WHERE id = {id}"),
        5 => format!("UPDATE t SET id = {other}, v = {v} WHERE id = {id}"),
        // Not through the partial index or the one over an expression: only the hourly scan finds what those remove.
        6 => format!("INSERT OR REPLACE INTO t VALUES({id}, {u}, NULL, NULL, {v})"),
        7 => format!("UPDATE OR REPLACE t SET u = {u}, v = {v} WHERE id = {id}"),
        8 => format!("INSERT OR IGNORE INTO t VALUES({id}, {u}, {w}, {x}, {v})"),
        9 | 10 => format!(
            "INSERT INTO t VALUES({id}, {u}, {w}, {x}, {v}) ON CONFLICT(id) DO UPDATE SET v = excluded.v"
        ),
        11 => return swap(id, other, u, v),
        _ => {
            format!("INSERT OR REPLACE INTO c VALUES({id}, (SELECT min(id) FROM t WHERE id >= {other}), {v})")
        }
    };
    vec![sql]
}

fn keys(random: &mut Random) -> Vec<String> {
    let (a, b, v) = (random.below(3), random.below(3), random.below(1 << 40));
    let name = random.pick(&["Ada", "ada", "BOB", "bob", "eve"]);
    let sql = match random.below(9) {
        0 | 1 => format!("INSERT OR REPLACE INTO p VALUES({a}, {b}, {v})"),
        2 => format!("UPDATE OR IGNORE p SET b = {b}, v = {v} WHERE a = {a}"),
        3 => format!("UPDATE OR REPLACE p SET a = {a}, v = {v} WHERE b = {b}"),
        4 => format!("DELETE FROM p WHERE a = {a} AND b = {b}"),
        5 | 6 => format!(
            "INSERT INTO k VALUES('{name}', {v}) ON CONFLICT(name) DO UPDATE SET name = excluded.name, v = {v}"
        ),
        7 => format!("DELETE FROM k WHERE name = '{name}'"),
        _ => format!("DELETE FROM audit WHERE id = '{a}-{b}'"),
    };
    vec![sql]
}

/// Without REPLACE: in the application itself it would leave the index behind (it fires no delete triggers).
fn indexed(random: &mut Random) -> Vec<String> {
    let (id, v) = (1 + random.below(5), random.below(1 << 40));
    let slug = random.pick(&["'x'", "'y'", "'z'", "NULL"]);
    let body = random.pick(&["one", "one two", "two three", ""]);
    let sql = match random.below(4) {
        0 | 1 => format!(
            "INSERT INTO d VALUES({id}, {slug}, '{body}', {v})
             ON CONFLICT(id) DO UPDATE SET body = excluded.body, v = {v}"
        ),
        2 => format!("UPDATE d SET slug = {slug}, body = '{body}', v = {v} WHERE id = {id}"),
        _ => format!("DELETE FROM d WHERE id = {id}"),
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
fn written(app: &Connection, schema: Schema, before: i64, node: u64, after: &Rows) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    for table in schema.tables() {
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
