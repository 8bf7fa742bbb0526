//! Finding the rows that stand in the way of another one (R13): for every UNIQUE index, those that it calls equal.
//!
//! An index over whole columns is searched by their values. For a partial one, or one over expressions or generated
//! columns, only SQLite can say what it compares: the row is put into a TEMP table with the definition of its table,
//! and the index's own words are evaluated there and here.

use harmonylite_core::model::{UniqueIndex, UniqueIndexKind, Value};
use harmonylite_core::planted::{Bug, is_planted};
use rusqlite::{Connection, OptionalExtension as _};

use super::index_text::{IndexText, table_definition};
use crate::catalog::Table;
use crate::error::{StoreError, StoreErrorKind};
use crate::identifier::{PREFIX, quote};
use crate::row_version::Lazy;
use crate::table_sql;
use crate::value::{bind, values_of};

/// Searches through the UNIQUE indexes of one table.
pub(crate) struct Rivals<'s> {
    connection: &'s Connection,
    table: &'s Table,
    plain: Vec<Plain<'s>>,
    candidate: Option<Candidate<'s>>,
}

/// An index over whole columns.
struct Plain<'s> {
    columns: Vec<usize>,
    select: Lazy<'s>,
}

/// The TEMP table for one row, and the searches that look into it.
struct Candidate<'s> {
    clear: Lazy<'s>,
    insert: Lazy<'s>,
    searches: Vec<Lazy<'s>>,
}

impl<'s> Rivals<'s> {
    /// Through the indexes of `table`. The TEMP table is made now if it is needed and not there.
    pub(crate) fn new(connection: &'s Connection, table: &'s Table) -> Result<Self, StoreError> {
        let mut rivals = Self { connection, table, plain: Vec::new(), candidate: None };
        for index in &table.schema.unique {
            match &index.kind {
                UniqueIndexKind::Plain(columns) => rivals.plain.push(Plain {
                    columns: columns.iter().map(|(column, _)| *column).collect(),
                    select: Lazy::new(table_sql::rivals(table, columns)),
                }),
                UniqueIndexKind::Text(_) if is_planted(Bug::PlainRivalsOnly) => {}
                UniqueIndexKind::Text(sql) => {
                    let text = index_text(connection, index, sql.as_deref())?;
                    let search = search(table, &text);
                    rivals.candidate()?.searches.push(Lazy::new(search));
                }
            }
        }
        Ok(rivals)
    }

    fn candidate(&mut self) -> Result<&mut Candidate<'s>, StoreError> {
        match &mut self.candidate {
            Some(candidate) => Ok(candidate),
            none => Ok(none.insert(Candidate::new(self.connection, self.table)?)),
        }
    }

    /// The keys of the rows that have a value of `values` (all stored columns) in a UNIQUE index. The row itself may be
    /// among them, and a row may be there twice. The error is the row's own when an index cannot be computed for it.
    pub(crate) fn find(&mut self, values: &[Value]) -> rusqlite::Result<Vec<Vec<Value>>> {
        let mut found = Vec::new();
        let key = self.table.schema.key.len();
        for index in &mut self.plain {
            let wanted: Vec<&Value> = index.columns.iter().map(|&column| &values[column]).collect();
            // NULLs never collide.
            if wanted.iter().any(|value| **value == Value::Null) {
                continue;
            }
            let select = index.select.get(self.connection)?;
            bind(select, 1, wanted)?;
            collect_keys(select, key, &mut found)?;
        }
        if let Some(candidate) = &mut self.candidate {
            candidate.find(self.connection, values, key, &mut found)?;
        }
        Ok(found)
    }
}

impl<'s> Candidate<'s> {
    fn new(connection: &Connection, table: &Table) -> Result<Self, StoreError> {
        make_candidate_table(connection, table)?;
        let name = candidate_name(table);
        Ok(Self {
            clear: Lazy::new(format!("DELETE FROM temp.{name}")),
            insert: Lazy::new(table_sql::insert_into(&format!("temp.{name}"), table)),
            searches: Vec::new(),
        })
    }

    fn find(
        &mut self,
        connection: &'s Connection,
        values: &[Value],
        key: usize,
        found: &mut Vec<Vec<Value>>,
    ) -> rusqlite::Result<()> {
        self.clear.get(connection)?.raw_execute()?;
        let insert = self.insert.get(connection)?;
        bind(insert, 1, values)?;
        insert.raw_execute()?;
        for search in &mut self.searches {
            collect_keys(search.get(connection)?, key, found)?;
        }
        Ok(())
    }
}

fn collect_keys(
    select: &mut rusqlite::Statement<'_>,
    key: usize,
    found: &mut Vec<Vec<Value>>,
) -> rusqlite::Result<()> {
    let mut rows = select.raw_query();
    while let Some(row) = rows.next()? {
        found.push(values_of(row, 0, key)?);
    }
    Ok(())
}

/// The keys of the rows that the index calls equal to the candidate. Inside the subqueries the names of columns mean
/// the candidate's, outside the table's own.
fn search(table: &Table, text: &IndexText) -> String {
    let candidate = candidate_name(table);
    let equal = text.terms.iter().map(|term| format!("({term}) = (SELECT {term} FROM temp.{candidate})"));
    let partial = text.condition.iter().map(|condition| {
        format!("({condition}) AND EXISTS(SELECT 1 FROM temp.{candidate} WHERE {condition})")
    });
    let terms: Vec<_> = equal.chain(partial).collect();
    format!("SELECT {} FROM main.{} WHERE {}", table_sql::key_columns(table), table.name, terms.join(" AND "))
}

/// What the index compares. One that SQLite made itself has no text: it stands on whole columns.
fn index_text(
    connection: &Connection,
    index: &UniqueIndex,
    sql: Option<&str>,
) -> Result<IndexText, StoreError> {
    let Some(sql) = sql else { return own_columns(connection, &index.name) };
    IndexText::parse(sql).ok_or_else(|| {
        let message = format!("the text of index {:?} is not understood: {sql}", index.name);
        StoreError::new(StoreErrorKind::Sqlite, message)
    })
}

fn own_columns(connection: &Connection, index: &str) -> Result<IndexText, StoreError> {
    let sql = "SELECT name, coll FROM pragma_index_xinfo(?1, 'main') WHERE key ORDER BY seqno";
    let mut statement = connection.prepare_cached(sql)?;
    let columns = statement.query_map([index], |row| {
        let (name, collation): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(format!("{} COLLATE {}", quote(&name), quote(&collation)))
    })?;
    Ok(IndexText { terms: columns.collect::<Result<_, _>>()?, condition: None })
}

/// The candidate table's name, quoted.
fn candidate_name(table: &Table) -> String {
    quote(&format!("{PREFIX}{}_candidate", table.schema.name))
}

/// Makes it anew when the table it stands for has changed.
fn make_candidate_table(connection: &Connection, table: &Table) -> Result<(), StoreError> {
    let name = candidate_name(table);
    let wanted = format!("CREATE TABLE {name}{}", definition(connection, table)?);
    let sql = "SELECT sql FROM temp.sqlite_schema WHERE type = 'table' AND name = ?1";
    let unquoted = format!("{PREFIX}{}_candidate", table.schema.name);
    let there: Option<String> =
        connection.prepare_cached(sql)?.query_row([unquoted], |row| row.get(0)).optional()?;
    if there.as_ref() != Some(&wanted) {
        let create = wanted.replacen("CREATE TABLE", "CREATE TEMP TABLE", 1);
        connection.execute_batch(&format!("DROP TABLE IF EXISTS temp.{name}; {create}"))?;
    }
    Ok(())
}

fn definition(connection: &Connection, table: &Table) -> Result<String, StoreError> {
    let sql = "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?1";
    let text: String = connection.prepare_cached(sql)?.query_row([&table.schema.name], |row| row.get(0))?;
    table_definition(&text).ok_or_else(|| {
        let message = format!("the text of table {:?} is not understood: {text}", table.schema.name);
        StoreError::new(StoreErrorKind::Sqlite, message)
    })
}
