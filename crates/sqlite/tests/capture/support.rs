//! A database file with an application on one side and the store on the other.

use std::path::{Path, PathBuf};
use std::process::Command;

use harmonylite_core::input::SchemaRead;
use harmonylite_core::model::{Incarnation, NodeId};
use harmonylite_sqlite::{ClockSql, OpenOptions, Store, StoreError};
use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;

use crate::applications::output;

/// A database in its own directory, gone on drop.
pub(crate) struct Database {
    directory: TempDir,
    /// What the application has open.
    pub(crate) application: Connection,
}

impl Database {
    /// A WAL database with `schema`, untouched by us.
    pub(crate) fn bare(schema: &str) -> Self {
        Self::with_settings("PRAGMA journal_mode = WAL", schema)
    }

    /// The same with other settings.
    pub(crate) fn with_settings(settings: &str, schema: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let application = Connection::open(directory.path().join("app.db")).unwrap();
        application.execute_batch(settings).unwrap();
        application.execute_batch(schema).unwrap();
        Self { directory, application }
    }

    /// A WAL database with `schema` and our triggers.
    pub(crate) fn captured(schema: &str) -> Self {
        let database = Self::bare(schema);
        database.open();
        database
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("app.db")
    }

    /// The application ends: its connection is closed, a WAL is checkpointed.
    pub(crate) fn close(&mut self) {
        self.application = Connection::open_in_memory().unwrap();
    }

    pub(crate) fn try_open(&self) -> Result<Store, StoreError> {
        Store::open(&self.path(), &options())
    }

    pub(crate) fn open(&self) -> Store {
        self.try_open().unwrap()
    }

    /// What the application does.
    pub(crate) fn run(&self, sql: &str) {
        self.application.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// A query as lines of `|`-separated SQL literals.
    pub(crate) fn query(&self, sql: &str) -> Vec<String> {
        query(&self.application, sql)
    }

    /// The log in order: `<table> <key literals> <type>`; ids must agree in both logs.
    pub(crate) fn log(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for entry in self.raw("SELECT id, table_name FROM __harmonylite___change_log_global ORDER BY id") {
            let [Value::Integer(id), Value::Text(table)] = &entry[..] else { panic!("{entry:?}") };
            let log = format!("\"__harmonylite__{}_change_log\"", table.replace('"', "\"\""));
            let columns = self.raw(&format!("SELECT * FROM {log} WHERE id = {id}"));
            assert_eq!(columns.len(), 1, "log row {id} of {table}");
            let row = &columns[0];
            let key: Vec<String> = row[1..row.len() - 1].iter().map(literal).collect();
            let Some(Value::Text(log_type)) = row.last() else { panic!("{row:?}") };
            lines.push(format!("{table} {} {log_type}", key.join(",")));
        }
        lines
    }

    /// The log since the last call: what was read is forgotten.
    pub(crate) fn take_log(&self) -> Vec<String> {
        let log = self.log();
        for table in self.raw(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB '__harmonylite__*_change_log'",
        ) {
            let [Value::Text(name)] = &table[..] else { panic!("{table:?}") };
            self.run(&format!("DELETE FROM \"{}\"", name.replace('"', "\"\"")));
        }
        self.run(
            "UPDATE __harmonylite___clock SET observed = max(observed, \
             coalesce((SELECT max(id) FROM __harmonylite___change_log_global), 0)); \
             DELETE FROM __harmonylite___change_log_global",
        );
        log
    }

    /// An application in Python: `script` finds its connection in `db`. The library is the system's, 3.40 on Debian 12.
    pub(crate) fn python(&self, script: &str) -> String {
        let opening = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=5)\n";
        let mut command = Command::new("python3");
        command.arg("-c").arg(format!("{opening}{script}\ndb.commit()\n")).arg(self.path());
        output(&mut command, "")
    }

    fn raw(&self, sql: &str) -> Vec<Vec<Value>> {
        raw(&self.application, sql)
    }
}

pub(crate) fn query(connection: &Connection, sql: &str) -> Vec<String> {
    raw(connection, sql).iter().map(|row| row.iter().map(literal).collect::<Vec<_>>().join("|")).collect()
}

fn raw(connection: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|index| row.get(index)).collect()).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(integer) => integer.to_string(),
        Value::Real(real) => format!("{real:?}"),
        Value::Text(text) => format!("'{text}'"),
        Value::Blob(bytes) => format!("x'{}'", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}

pub(crate) fn options() -> OpenOptions {
    OpenOptions {
        node_id: NodeId::new(1).unwrap(),
        fresh_incarnation: Incarnation::new(77).unwrap(),
        shards: 1,
        publish: true,
        clock: ClockSql::default(),
    }
}

/// Names of the tables that are replicated.
pub(crate) fn replicated(schema: &SchemaRead) -> Vec<&str> {
    schema.tables.iter().filter(|table| table.refused.is_none()).map(|table| table.name.as_str()).collect()
}

/// Why `table` is not.
pub(crate) fn refusal<'a>(schema: &'a SchemaRead, table: &str) -> &'a str {
    let report = schema.tables.iter().find(|report| report.name == table);
    report
        .and_then(|report| report.refused.as_deref())
        .unwrap_or_else(|| panic!("{table} is not refused: {schema:?}"))
}
