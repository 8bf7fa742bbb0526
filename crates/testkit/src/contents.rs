//! What the tables of a database hold, to the last bit, and how two databases differ.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

/// Values up to here are shown in full; of longer ones, length and digest are kept.
const SHOWN_SIZE: usize = 60;

/// How many differing rows of one table are shown.
const SHOWN_ROWS: usize = 8;

/// Rows of one table by key, each cell written so that two cells are equal exactly when storage class and bytes are.
type Rows = BTreeMap<Vec<String>, Vec<String>>;

/// The rows of some tables, read in one transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contents {
    tables: BTreeMap<String, Rows>,
}

impl Contents {
    /// Reads `tables` of the database at `path`, on a connection that cannot write.
    ///
    /// # Errors
    /// When the database or one of the tables cannot be read.
    pub fn read(path: &Path, tables: &[&str]) -> Result<Contents> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .with_context(|| format!("opening {}", path.display()))?;
        connection.busy_timeout(Duration::from_secs(10))?;
        let snapshot = connection.unchecked_transaction()?;
        let mut read = BTreeMap::new();
        for table in tables {
            let rows = read_table(&snapshot, table).with_context(|| format!("reading table {table}"))?;
            read.insert((*table).to_owned(), rows);
        }
        Ok(Contents { tables: read })
    }

    /// How many rows a table has; none when it was not read.
    #[must_use]
    pub fn rows(&self, table: &str) -> usize {
        self.tables.get(table).map_or(0, BTreeMap::len)
    }
}

/// What `right` has otherwise than `left`, for people; nothing when they are equal.
#[must_use]
pub fn difference(left: &Contents, right: &Contents) -> Option<String> {
    let mut text = String::new();
    for (table, rows) in &left.tables {
        let none = Rows::new();
        let others = right.tables.get(table).unwrap_or(&none);
        describe(&mut text, table, rows, others);
    }
    (left != right).then_some(text)
}

fn describe(text: &mut String, table: &str, left: &Rows, right: &Rows) {
    let missing = left.iter().filter(|(key, _)| !right.contains_key(*key)).map(|row| ("missing", row));
    let extra = right.iter().filter(|(key, _)| !left.contains_key(*key)).map(|row| ("extra", row));
    let changed = right.iter().filter(|(key, row)| left.get(*key).is_some_and(|own| own != *row));
    let differing: Vec<_> = missing.chain(extra).chain(changed.map(|row| ("different", row))).collect();
    for (what, (key, row)) in differing.iter().take(SHOWN_ROWS) {
        let _ = writeln!(text, "  {table}: {what} {key:?}: {row:?}");
        if let (&"different", Some(own)) = (what, left.get(*key)) {
            let _ = writeln!(text, "  {table}:   instead of {own:?}");
        }
    }
    if differing.len() > SHOWN_ROWS {
        let _ = writeln!(text, "  {table}: and {} more rows", differing.len() - SHOWN_ROWS);
    }
}

fn read_table(connection: &Connection, table: &str) -> Result<Rows> {
    let key = key_columns(connection, table)?;
    let mut statement = connection.prepare(&format!("SELECT * FROM {}", quoted(table)))?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut found = statement.query([])?;
    let mut rows = Rows::new();
    while let Some(row) = found.next()? {
        let cells = cells(row, names.len())?;
        let mut key = select(&names, &cells, &key);
        // Rows without a key, or with equal NULL keys, stay apart: the copies are counted.
        while rows.contains_key(&key) {
            key.push("again".into());
        }
        rows.insert(key, cells);
    }
    Ok(rows)
}

/// The columns of the primary key, in its order; none when the table has no declared one.
fn key_columns(connection: &Connection, table: &str) -> Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk";
    let mut statement = connection.prepare(sql)?;
    let names = statement.query_map([table], |row| row.get(0))?;
    names.collect::<Result<_, _>>().context("reading the key")
}

fn select(names: &[String], cells: &[String], key: &[String]) -> Vec<String> {
    if key.is_empty() {
        return cells.to_vec();
    }
    key.iter()
        .filter_map(|column| Some(cells[names.iter().position(|name| name == column)?].clone()))
        .collect()
}

fn cells(row: &Row<'_>, count: usize) -> Result<Vec<String>> {
    (0..count).map(|index| Ok(cell(row.get_ref(index)?))).collect()
}

/// Storage class and value. A real by its bits too: quoting has 15 digits, and -0.0 equals 0.0.
fn cell(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".into(),
        ValueRef::Integer(number) => format!("integer {number}"),
        ValueRef::Real(number) => format!("real {number} ({:016x})", number.to_bits()),
        ValueRef::Text(bytes) => format!("text {}", shown(bytes)),
        ValueRef::Blob(bytes) => format!("blob {}", shown(bytes)),
    }
}

fn shown(bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN_SIZE {
        return format!("'{}'", bytes.escape_ascii());
    }
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let start = bytes[..SHOWN_SIZE / 3].escape_ascii();
    format!("'{start}'.. of {} bytes, digest {:016x}", bytes.len(), hasher.finish())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The difference between two databases made by these statements.
    fn compare(left: &str, right: &str, tables: &[&str]) -> Result<Option<String>> {
        let folder = tempfile::tempdir()?;
        let mut contents = Vec::new();
        for (name, sql) in [("left", left), ("right", right)] {
            let path = folder.path().join(name);
            Connection::open(&path)?.execute_batch(sql)?;
            contents.push(Contents::read(&path, tables)?);
        }
        Ok(difference(&contents[0], &contents[1]))
    }

    fn compare_values(left: &str, right: &str) -> Result<Option<String>> {
        let sql =
            |value| format!("CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, {value})");
        compare(&sql(left), &sql(right), &["t"])
    }

    #[test]
    fn values_that_look_alike_and_are_not_the_same_differ() -> Result<()> {
        let pairs = [
            ("1", "1.0"),
            ("'1'", "1"),
            ("'ab'", "x'6162'"),
            ("0.1", "0.1 + 1e-17 + 1e-17"),
            ("'a' || char(0) || 'b'", "'a' || char(0) || 'c'"),
            ("CAST(x'ff' AS TEXT)", "CAST(x'fe' AS TEXT)"),
            ("zeroblob(20000)", "zeroblob(20001)"),
            ("NULL", "''"),
            ("9e999", "-9e999"),
        ];
        for (left, right) in pairs {
            assert!(compare_values(left, right)?.is_some(), "{left} and {right}");
            assert_eq!(compare_values(left, left)?, None, "{left}");
        }
        Ok(())
    }

    #[test]
    fn missing_extra_and_changed_rows_are_told_apart() -> Result<()> {
        let schema = "CREATE TABLE t(a, b, v, PRIMARY KEY(b, a)) WITHOUT ROWID;";
        let left = format!("{schema} INSERT INTO t VALUES(1, 1, 'x'), (1, 2, 'y')");
        let right = format!("{schema} INSERT INTO t VALUES(1, 2, 'z'), (2, 2, 'w')");
        let text = compare(&left, &right, &["t"])?.context("equal")?;
        for part in ["missing [\"integer 1\", \"integer 1\"]", "extra", "different", "instead of"] {
            assert!(text.contains(part), "{text}");
        }
        Ok(())
    }

    #[test]
    fn order_of_insertion_does_not_matter_and_the_number_of_equal_rows_does() -> Result<()> {
        let schema = "CREATE TABLE t(v);";
        let left = format!("{schema} INSERT INTO t VALUES(1), (2), (1)");
        let same = format!("{schema} INSERT INTO t VALUES(1), (1), (2)");
        let fewer = format!("{schema} INSERT INTO t VALUES(1), (2)");
        assert_eq!(compare(&left, &same, &["t"])?, None);
        assert!(compare(&left, &fewer, &["t"])?.is_some());
        Ok(())
    }

    #[test]
    fn a_missing_table_is_an_error_and_not_an_empty_one() -> Result<()> {
        let error = compare("CREATE TABLE t(v)", "CREATE TABLE u(v)", &["t"]).unwrap_err();
        assert!(format!("{error:#}").contains("reading table t"), "{error:#}");
        Ok(())
    }
}
