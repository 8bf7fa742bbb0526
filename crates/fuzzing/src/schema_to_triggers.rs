//! Any schema: it is replicated or refused with a clear error, and the application notices neither. Whatever it writes
//! has the same outcome and leaves the same rows as without us, and arrives on another node.

use std::path::Path;

use harmonylite_core::input::TableReport;
use harmonylite_core::model::{Incarnation, NodeId};
use harmonylite_sqlite::{ClockSql, OpenOptions, Store, StoreErrorKind};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::nodes::{DATABASE, Node, Setup};
use crate::schema_script::Script;
use crate::twins::{Application, Phase, lines};

/// The tables and views of the application.
const LISTED: &str = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') \
                      AND name NOT LIKE '\\_\\_harmonylite\\_\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
/// SQLite's answer to triggers that call one another without end: ours are one level more.
const TOO_DEEP: &str = "too many levels of trigger recursion";

pub(crate) fn run(data: &[u8]) {
    let Some(script) = Script::read(data) else { return };
    let [alone, ours, replica] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let file = |folder: &TempDir| folder.path().join(DATABASE);
    let Some(settings) = make(&file(&alone), &script) else { return };
    std::fs::copy(file(&alone), file(&ours)).unwrap();
    std::fs::copy(file(&alone), file(&replica)).unwrap();
    let reports = open(&file(&ours));
    let twins = Twins {
        alone: Application::open(&file(&alone), Phase::Rows, &settings),
        ours: Application::open(&file(&ours), Phase::Rows, &settings),
    };
    if twins.write(&script.writes).is_some() {
        twins.compare(&listed(&file(&alone)));
        drop(twins);
        if let Some(reports) = reports {
            check_replica(ours, replica, &reports);
        }
    }
}

/// Makes the database; gives the settings of the application's connections, which are not in the file. `None` when the
/// schema takes too long.
fn make(file: &Path, script: &Script) -> Option<String> {
    let application = Application::open(file, Phase::Schema, "");
    for sql in &script.schema {
        // What SQLite refuses is not there.
        let _ = application.run(sql);
    }
    if !application.connection.is_autocommit() {
        application.run("ROLLBACK").unwrap();
    }
    let on = |name: &str| {
        let sql = format!("PRAGMA {name}");
        let on: bool = application.connection.query_row(&sql, [], |row| row.get(0)).unwrap();
        format!("{sql} = {on};")
    };
    let settings = ["recursive_triggers", "foreign_keys"].map(on).concat();
    (!application.was_stopped()).then_some(settings)
}

fn listed(file: &Path) -> Vec<String> {
    let connection = Connection::open(file).unwrap();
    let mut statement = connection.prepare(LISTED).unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}

/// What is said of the tables; `None` when the database is refused.
fn open(file: &Path) -> Option<Vec<TableReport>> {
    let options = OpenOptions {
        node_id: NodeId::new(1).unwrap(),
        fresh_incarnation: Incarnation::new(101).unwrap(),
        shards: 1,
        publish: true,
        clock: ClockSql::new("1000"),
    };
    match Store::open(file, &options) {
        Ok(store) => Some(store.opened_schema().tables),
        Err(error) => {
            assert_ne!(error.kind, StoreErrorKind::Sqlite, "not a clear error: {error}");
            assert!(!error.message.is_empty());
            None
        }
    }
}

/// The same application on a database without us and on one with our triggers.
struct Twins {
    alone: Application,
    ours: Application,
}

impl Twins {
    /// `None` when it took too long, or went too deep, for a comparison.
    fn write(&self, writes: &[String]) -> Option<()> {
        // What a statement that fails leaves in last_insert_rowid() is by chance.
        let mut failed = false;
        for sql in writes {
            let (alone, ours) = (self.alone.run(sql), self.ours.run(sql));
            let too_deep =
                [&alone, &ours].iter().any(|said| said.as_ref().is_err_and(|e| e.contains(TOO_DEEP)));
            if too_deep || self.alone.was_stopped() || self.ours.was_stopped() {
                return None;
            }
            // Of two constraints SQLite may name the other one first when there are BEFORE triggers.
            assert_eq!(ours.is_ok(), alone.is_ok(), "with us {ours:?}, without {alone:?}: {sql}");
            failed |= alone.is_err();
            if failed {
                continue;
            }
            assert_eq!(self.ours.connection.changes(), self.alone.connection.changes(), "changes(): {sql}");
            let last = |twin: &Application| twin.connection.last_insert_rowid();
            assert_eq!(last(&self.ours), last(&self.alone), "last_insert_rowid(): {sql}");
        }
        for twin in [&self.alone, &self.ours] {
            if !twin.connection.is_autocommit() {
                let _ = twin.run("COMMIT");
            }
            if !twin.connection.is_autocommit() {
                twin.run("ROLLBACK").unwrap();
            }
        }
        Some(())
    }

    fn compare(&self, names: &[String]) {
        for name in names {
            assert_eq!(self.ours.rows_of(name), self.alone.rows_of(name), "rows of {name:?}");
        }
    }
}

/// Everything that was written arrives on another node that began with the same rows.
fn check_replica(ours: TempDir, replica: TempDir, reports: &[TableReport]) {
    let node = |id, folder| Node::over(Setup { id, shards: 1, ahead_ms: 0, group_rows: 100_000 }, folder);
    let (mut ours, mut replica) = (node(1, ours), node(2, replica));
    let read = ours.read_log();
    for group in ours.acknowledge(&read) {
        let applied = replica.apply(&group).unwrap();
        assert_eq!(applied.dead_letters, 0);
    }
    // A note says of which tables not everything is noticed.
    for report in reports.iter().filter(|report| report.refused.is_none() && report.notes.is_empty()) {
        let sql = format!("SELECT * FROM \"{}\"", report.name.replace('"', "\"\""));
        let [ours, replica] = [&ours, &replica].map(|node| {
            let mut lines = lines(&node.application, &sql).unwrap();
            lines.sort();
            lines
        });
        assert_eq!(replica, ours, "rows of {:?} on the other node", report.name);
    }
}
