//! Applications that link other versions of SQLite than we do: the system's, by way of Python, and 3.35, the oldest
//! that is promised. They run statements on a database file, and tell what each of them gave.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, Statement};

/// Which SQLite the application has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Library {
    /// Ours, in a connection of its own.
    Bundled,
    /// What python3 has: 3.40 on Debian 12.
    System,
    /// 3.35, in `compat/sqlite-3.35`.
    Old,
}

impl Library {
    pub(crate) const ALL: [Library; 3] = [Library::Bundled, Library::System, Library::Old];

    /// Runs statements one by one, also behind one that fails. Gives the rows of all of them in order, as
    /// `|`-separated literals, and `error: <message>` for each that failed.
    pub(crate) fn try_run(self, database: &Path, sql: &str) -> Vec<String> {
        let printed = match self {
            Library::Bundled => return run_here(database, sql),
            Library::System => output(Command::new("python3").args(["-c", PYTHON]).arg(database), sql),
            Library::Old => output(Command::new(old_sqlite_writer()).arg(database), sql),
        };
        printed.lines().map(str::to_owned).collect()
    }

    /// The same with statements that all succeed.
    pub(crate) fn run(self, database: &Path, sql: &str) -> Vec<String> {
        let lines = self.try_run(database, sql);
        assert!(!lines.iter().any(|line| is_error(line)), "{self:?}: {sql}: {lines:?}");
        lines
    }

    /// As SQLite numbers itself: 3035004 is 3.35.4.
    pub(crate) fn version(self) -> u32 {
        static VERSIONS: [OnceLock<u32>; 3] = [const { OnceLock::new() }; 3];
        *VERSIONS[self as usize].get_or_init(|| {
            let text = self.run(Path::new(":memory:"), "SELECT sqlite_version()").remove(0);
            let parts = text.trim_matches('\'').split('.').map(|part| part.parse::<u32>().unwrap());
            parts.fold(0, |number, part| number * 1000 + part)
        })
    }
}

pub(crate) fn is_error(line: &str) -> bool {
    line.starts_with("error: ")
}

/// Runs a command with `input` and gives what it printed; it must succeed.
pub(crate) fn output(command: &mut Command, input: &str) -> String {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Statements are told apart as the shell does it, so that one may follow another that failed.
const PYTHON: &str = r#"
import sqlite3, sys
sys.stdout.reconfigure(encoding='utf-8')
db = sqlite3.connect(sys.argv[1], timeout=5, isolation_level=None)
def shown(value):
    if value is None: return 'NULL'
    if isinstance(value, bytes): return "x'%s'" % value.hex()
    return "'%s'" % value if isinstance(value, str) else repr(value)
statement = ''
for part in sys.stdin.buffer.read().decode('utf-8').split(';'):
    statement += part + ';'
    if not sqlite3.complete_statement(statement): continue
    try:
        for row in db.execute(statement).fetchall(): print('|'.join(map(shown, row)))
    except sqlite3.Error as error: print('error: %s' % error)
    statement = ''
"#;

/// The application with SQLite 3.35, built once.
fn old_sqlite_writer() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../compat/sqlite-3.35/Cargo.toml");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("old-sqlite-writer");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--locked", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&target);
        output(&mut build, "");
        target.join("debug/old-sqlite-writer")
    })
}

fn run_here(database: &Path, sql: &str) -> Vec<String> {
    let connection = Connection::open(database).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    let mut lines = Vec::new();
    if let Err(error) = run_each(Batch::new(&connection, sql), &mut lines) {
        lines.push(format!("error: {error}"));
    }
    lines
}

/// Ends at a statement that cannot be prepared.
fn run_each(mut batch: Batch<'_, '_>, lines: &mut Vec<String>) -> rusqlite::Result<()> {
    while let Some(mut statement) = batch.next()? {
        if let Err(error) = rows(&mut statement, lines) {
            lines.push(format!("error: {error}"));
        }
    }
    Ok(())
}

fn rows(statement: &mut Statement<'_>, lines: &mut Vec<String>) -> rusqlite::Result<()> {
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let cells: Vec<String> = (0..columns).map(|index| literal(row.get_ref(index).unwrap())).collect();
        lines.push(cells.join("|"));
    }
    Ok(())
}

fn literal(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(integer) => integer.to_string(),
        ValueRef::Real(real) => format!("{real:?}"),
        ValueRef::Text(text) => format!("'{}'", String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => {
            format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
    }
}
