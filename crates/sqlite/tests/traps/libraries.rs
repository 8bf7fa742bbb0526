//! The same statements by an application with each of three libraries: on a node of a cluster, and on a database that
//! never met us.

use std::path::Path;

use harmonylite_sqlite::ClockSql;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::applications::{Library, is_error};
use crate::nodes::{Cluster, Node, query};

/// What happens between two looks at the replica.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The application writes, each statement succeeds.
    Write(&'static str),
    /// Exactly one of the statements fails, and the application goes on.
    Fails(&'static str),
    /// The applications of both nodes change their schema.
    Migrate(&'static str),
}

/// What came of it.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    /// What the statements gave to the application.
    pub(crate) printed: Vec<String>,
    /// `<table>: <row>`, storage class and bytes, in order.
    pub(crate) rows: Vec<String>,
}

/// Runs the steps with every library that has what they need (`since`: SQLite's own number, 3037000 is 3.37.0). The
/// application, and after each step the replica, must come to what a database comes to that we never touched.
pub(crate) fn check_since(since: u32, schema: &str, steps: &[Step]) -> Outcome {
    let mut outcomes: Vec<(Library, Outcome)> = Vec::new();
    for library in Library::ALL.into_iter().filter(|library| library.version() >= since) {
        outcomes.push((library, check_with(library, schema, steps)));
    }
    let (_, first) = outcomes.remove(0);
    for (library, outcome) in outcomes {
        assert_eq!(outcome, first, "{library:?}");
    }
    first
}

/// The same with all three.
pub(crate) fn check(schema: &str, steps: &[Step]) -> Outcome {
    assert!(Library::Old.version() / 1000 == 3035 && Library::System.version() > Library::Old.version());
    check_since(0, schema, steps)
}

fn check_with(library: Library, schema: &str, steps: &[Step]) -> Outcome {
    let alone = database(library, schema);
    let mut cluster = replicated(library, schema);
    let mut printed = Vec::new();
    for step in steps {
        let expected = run(library, &alone.path().join("app.db"), step);
        let found = run(library, &cluster.nodes[0].path(), step);
        assert_eq!(found, expected, "{library:?} sees something else than without us: {step:?}");
        printed.extend(found);
        if let Step::Migrate(sql) = step {
            cluster.run(2, sql);
            for node in &mut cluster.nodes {
                let read = node.store.read_schema().unwrap();
                assert!(read.uncaptured.is_empty(), "{library:?}: {step:?}: {read:?}");
            }
        }
        cluster.converge();
        let replica = rows(&cluster.nodes[1], &cluster.tables());
        assert_eq!(rows(&cluster.nodes[0], &cluster.tables()), replica, "{library:?}: {step:?}");
        let expected = rows_of(&Connection::open(alone.path().join("app.db")).unwrap(), &cluster.tables());
        assert_eq!(replica, expected, "{library:?}: {step:?}: the replica, and without us");
    }
    Outcome { printed, rows: rows(&cluster.nodes[1], &cluster.tables()) }
}

/// Two nodes with clocks as in production; the first one's database is made by an application with `library`.
pub(crate) fn replicated(library: Library, schema: &str) -> Cluster {
    let node = |id, library| {
        Node::open_with(id, database(library, schema), |options| options.clock = ClockSql::default())
    };
    Cluster { nodes: vec![node(1, library), node(2, Library::Bundled)] }
}

/// A folder with a WAL database that an application with `library` made.
pub(crate) fn database(library: Library, schema: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    library.run(&path, &format!("PRAGMA synchronous = OFF; {schema}; PRAGMA journal_mode = WAL"));
    folder
}

fn run(library: Library, database: &Path, step: &Step) -> Vec<String> {
    let (sql, failures) = match step {
        Step::Write(sql) | Step::Migrate(sql) => (sql, 0),
        Step::Fails(sql) => (sql, 1),
    };
    let printed = library.try_run(database, &format!("PRAGMA synchronous = OFF; {sql}"));
    let failed = printed.iter().filter(|line| is_error(line)).count();
    assert_eq!(failed, failures, "{library:?}: {sql}: {printed:?}");
    // How a failure is worded is not the same in all versions.
    printed.into_iter().map(|line| if is_error(&line) { "error".to_owned() } else { line }).collect()
}

pub(crate) fn rows(node: &Node, tables: &[String]) -> Vec<String> {
    rows_of(&node.application, tables)
}

fn rows_of(connection: &Connection, tables: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for table in tables {
        let mut found = query(connection, &format!("SELECT * FROM \"{}\"", table.replace('"', "\"\"")));
        found.sort();
        lines.extend(found.into_iter().map(|row| format!("{table}: {row}")));
    }
    lines
}
