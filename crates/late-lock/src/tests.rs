//! Against SQLite itself, with connections that know nothing of late locks beside ours.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tempfile::TempDir;

mod commits;

use super::{Lock, clashed, commit_at_once, held_for, is_lost, is_pending, prefer};

/// Small pages, so that a few rows fill many.
const SCHEMA: &str = "PRAGMA page_size = 512; PRAGMA journal_mode = WAL;
    CREATE TABLE t(id INTEGER PRIMARY KEY, n INTEGER NOT NULL, filling BLOB NOT NULL)";
const ROWS: i64 = 60;
/// A cache for ten pages: a transaction writes others to the log before it commits.
const SMALL_CACHE: &str = "PRAGMA cache_size = 10";

struct Database {
    _folder: TempDir,
    path: PathBuf,
    /// Stays open: who closes the last one writes everything back.
    first: Connection,
    /// To close it drops all locks that this process has on the database, so that comes last.
    file: File,
}

impl Database {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let first = Connection::open(&path).unwrap();
        first.execute_batch(SCHEMA).unwrap();
        for id in 1..=ROWS {
            first.execute("INSERT INTO t VALUES(?1, 0, zeroblob(300))", [id]).unwrap();
        }
        let file = File::open(&path).unwrap();
        Self { _folder: folder, path, first, file }
    }

    fn application(&self) -> Connection {
        application(&self.path)
    }

    fn ours(&self) -> Connection {
        ours(&self.path)
    }

    /// What a newcomer finds, who has no cache.
    fn counts(&self) -> BTreeMap<i64, i64> {
        counts(&self.application())
    }

    /// What is found when the index of the log is gone, and it has to be read from its beginning.
    fn counts_after_a_power_loss(&self) -> BTreeMap<i64, i64> {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy.db");
        let mut bytes = vec![0; self.file.metadata().unwrap().len() as usize];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        std::fs::write(&copy, bytes).unwrap();
        std::fs::copy(wal(&self.path), wal(&copy)).unwrap();
        counts(&application(&copy))
    }

    fn assert_sound(&self) {
        let connection = self.application();
        let result: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(result, "ok");
    }
}

fn application(path: &Path) -> Connection {
    settled(Connection::open(path).unwrap())
}

fn ours(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    settled(super::open(path, flags).unwrap())
}

fn settled(connection: Connection) -> Connection {
    connection.busy_timeout(Duration::ZERO).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 0").unwrap();
    connection
}

fn counts(connection: &Connection) -> BTreeMap<i64, i64> {
    let mut statement = connection.prepare("SELECT id, n FROM t WHERE n > 0").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn begin(connection: &Connection) -> rusqlite::Result<()> {
    prefer(connection, Lock::Late);
    let begun = connection.execute_batch("BEGIN IMMEDIATE");
    prefer(connection, Lock::Early);
    begun
}

fn count(connection: &Connection, ids: std::ops::RangeInclusive<i64>) -> rusqlite::Result<()> {
    let sql = "UPDATE t SET n = n + 1, filling = randomblob(300) WHERE id BETWEEN ?1 AND ?2";
    connection.execute(sql, [ids.start(), ids.end()]).map(|_| ())
}

fn commit(connection: &Connection) -> rusqlite::Result<()> {
    commit_at_once(connection)?;
    connection.execute_batch("COMMIT")
}

fn is_busy<T>(done: &rusqlite::Result<T>) -> bool {
    done.as_ref().is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
}

#[test]
fn nobody_is_shut_out_before_the_lock_is_taken_and_everybody_after_it() {
    let database = Database::new();
    let (ours, application) = (database.ours(), database.application());
    begin(&ours).unwrap();
    count(&ours, 1..=3).unwrap();
    assert!(is_pending(&ours) && !is_lost(&ours));
    // It gets the lock, and changes nothing.
    application.execute_batch("BEGIN IMMEDIATE; ROLLBACK").unwrap();
    assert!(counts(&application).is_empty());
    commit(&ours).unwrap();
    assert!(!is_pending(&ours) && held_for(&ours).is_some());
    count(&application, 3..=3).unwrap();
    assert_eq!(database.counts(), BTreeMap::from([(1, 1), (2, 1), (3, 2)]));
    assert!(!clashed(&ours));
}

#[test]
fn whoever_commits_in_between_goes_first_and_nothing_of_ours_is_left() {
    let database = Database::new();
    let (ours, application) = (database.ours(), database.application());
    begin(&ours).unwrap();
    count(&ours, 1..=30).unwrap();
    count(&application, 2..=2).unwrap();
    assert!(is_busy(&commit(&ours)));
    ours.execute_batch("ROLLBACK").unwrap();
    assert!(clashed(&ours) && !clashed(&ours));
    assert_eq!(database.counts(), BTreeMap::from([(2, 1)]));
    begin(&ours).unwrap();
    assert_eq!(counts(&ours), BTreeMap::from([(2, 1)]));
    count(&ours, 2..=3).unwrap();
    commit(&ours).unwrap();
    assert_eq!(database.counts(), BTreeMap::from([(2, 2), (3, 1)]));
    database.assert_sound();
}

#[test]
fn whoever_is_at_it_goes_first() {
    let database = Database::new();
    let (ours, application) = (database.ours(), database.application());
    begin(&ours).unwrap();
    count(&ours, 1..=3).unwrap();
    application.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(is_busy(&commit(&ours)));
    ours.execute_batch("ROLLBACK").unwrap();
    assert!(clashed(&ours));
    // There is no sense in beginning before it is done, and it is in nobody's way.
    assert!(is_busy(&begin(&ours)));
    assert!(!clashed(&ours));
    count(&application, 1..=1).unwrap();
    application.execute_batch("COMMIT").unwrap();
    assert_eq!(database.counts(), BTreeMap::from([(1, 1)]));
}

/// SQLite cleans the index of the log up behind a rollback, from the end of the last commit on: where another is just writing.
#[test]
fn a_rollback_leaves_alone_what_another_writes_meanwhile() {
    let endings: [fn(Connection); 4] = [
        |ours| ours.execute_batch("ROLLBACK").unwrap(),
        |ours| assert!(is_busy(&commit(&ours)) && ours.execute_batch("ROLLBACK").is_ok()),
        // By itself, in the middle of a statement.
        |ours| {
            assert!(
                ours.execute("INSERT OR ROLLBACK INTO t VALUES(1, 0, x'')", []).is_err()
                    && ours.is_autocommit()
            )
        },
        drop,
    ];
    for end in endings {
        let database = Database::new();
        let (ours, application) = (database.ours(), database.application());
        application.execute_batch(SMALL_CACHE).unwrap();
        begin(&ours).unwrap();
        count(&ours, 1..=30).unwrap();
        count(&application, 1..=1).unwrap();
        application.execute_batch("BEGIN IMMEDIATE").unwrap();
        count(&application, 1..=ROWS).unwrap();
        end(ours);
        assert_eq!(counts(&application).len() as i64, ROWS);
        count(&application, 1..=ROWS).unwrap();
        application.execute_batch("COMMIT").unwrap();
        let wanted: BTreeMap<_, _> = (1..=ROWS).map(|id| (id, if id == 1 { 3 } else { 2 })).collect();
        assert_eq!(database.counts(), wanted);
        database.assert_sound();
    }
}

#[test]
fn a_full_cache_takes_the_lock() {
    let database = Database::new();
    let (ours, application) = (database.ours(), database.application());
    ours.execute_batch(SMALL_CACHE).unwrap();
    begin(&ours).unwrap();
    count(&ours, 1..=ROWS).unwrap();
    assert!(!is_pending(&ours));
    assert!(is_busy(&application.execute_batch("BEGIN IMMEDIATE")));
    assert!(counts(&application).is_empty());
    commit(&ours).unwrap();
    assert_eq!(counts(&application).len() as i64, ROWS);
    database.assert_sound();
}

#[test]
fn a_full_cache_writes_nothing_when_another_has_committed() {
    let database = Database::new();
    let (ours, application) = (database.ours(), database.application());
    ours.execute_batch(SMALL_CACHE).unwrap();
    begin(&ours).unwrap();
    count(&application, 1..=1).unwrap();
    let size = || std::fs::metadata(wal(&database.path)).unwrap().len();
    let before = size();
    count(&ours, 1..=ROWS).unwrap();
    assert_eq!((is_pending(&ours), is_lost(&ours), size()), (true, true, before));
    assert!(is_busy(&commit(&ours)));
    ours.execute_batch("ROLLBACK").unwrap();
    assert_eq!(database.counts(), BTreeMap::from([(1, 1)]));
    database.assert_sound();
}

/// SQLite counts a page into the checksums of those behind it before it writes it.
#[test]
fn a_transaction_whose_page_was_refused_is_not_committed_although_the_lock_is_free_again() {
    let database = Database::new();
    let (ours, application) = (database.ours(), database.application());
    ours.execute_batch(SMALL_CACHE).unwrap();
    begin(&ours).unwrap();
    application.execute_batch("BEGIN IMMEDIATE").unwrap();
    count(&ours, 1..=ROWS).unwrap();
    application.execute_batch("ROLLBACK").unwrap();
    count(&ours, 1..=ROWS).unwrap();
    assert!(is_busy(&commit(&ours)));
    ours.execute_batch("ROLLBACK").unwrap();
    count(&application, 1..=1).unwrap();
    assert_eq!(database.counts(), BTreeMap::from([(1, 1)]));
    assert_eq!(database.counts_after_a_power_loss(), BTreeMap::from([(1, 1)]));
}

fn wal(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Who writes first after everything was written back starts the log over, and needs the lock for more than its pages.
#[test]
fn the_lock_is_taken_early_where_the_log_may_start_over() {
    let database = Database::new();
    let (ours, application) = (database.ours(), database.application());
    application.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").unwrap();
    begin(&ours).unwrap();
    assert!(!is_pending(&ours));
    assert!(is_busy(&application.execute_batch("BEGIN IMMEDIATE")));
    count(&ours, 1..=1).unwrap();
    commit(&ours).unwrap();
    begin(&ours).unwrap();
    assert!(is_pending(&ours));
}

#[test]
fn without_a_write_ahead_log_the_lock_is_taken_early() {
    let database = Database::new();
    database.first.execute_batch("PRAGMA journal_mode = DELETE").unwrap();
    let (ours, application) = (database.ours(), database.application());
    begin(&ours).unwrap();
    assert!(!is_pending(&ours));
    assert!(is_busy(&application.execute_batch("BEGIN IMMEDIATE")));
    count(&ours, 1..=1).unwrap();
    commit(&ours).unwrap();
    // And again with one.
    drop(database.application());
    ours.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    count(&application, 1..=1).unwrap();
    begin(&ours).unwrap();
    assert!(is_pending(&ours));
    count(&ours, 1..=1).unwrap();
    commit(&ours).unwrap();
    assert_eq!(database.counts(), BTreeMap::from([(1, 3)]));
}

#[test]
fn a_database_in_memory_has_no_late_lock() {
    let ours = Connection::open_in_memory().unwrap();
    begin(&ours).unwrap();
    assert!(!is_pending(&ours) && !clashed(&ours));
}

#[derive(Clone, Debug)]
enum Step {
    Begin,
    Count(std::ops::RangeInclusive<i64>),
    Commit,
    Rollback,
    WriteBack,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let ids = prop_oneof![3 => (1..=ROWS, 0..3_i64), 1 => (1..=ROWS, 0..ROWS)]
        .prop_map(|(first, more)| first..=(first + more).min(ROWS));
    let step = prop_oneof![
        4 => Just(Step::Begin),
        6 => ids.prop_map(Step::Count),
        4 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        1 => Just(Step::WriteBack),
    ];
    prop::collection::vec((0..4_usize, step), 1..80)
}

/// One of four connections, two of them ours, one of each with a small cache.
struct Writer {
    connection: Connection,
    ours: bool,
    /// What its transaction has counted.
    counted: Option<BTreeMap<i64, i64>>,
}

impl Writer {
    /// Gives what it committed.
    fn step(&mut self, step: &Step) -> BTreeMap<i64, i64> {
        let connection = &self.connection;
        match (step, &mut self.counted) {
            (Step::Begin, none @ None) => {
                let begun =
                    if self.ours { begin(connection) } else { connection.execute_batch("BEGIN IMMEDIATE") };
                assert!(begun.is_ok() || is_busy(&begun));
                *none = begun.is_ok().then(BTreeMap::new);
            }
            (Step::Count(ids), Some(counted)) => {
                count(connection, ids.clone()).unwrap();
                ids.clone().for_each(|id| *counted.entry(id).or_default() += 1);
            }
            (Step::Commit, Some(_)) => {
                let committed = if self.ours {
                    commit(connection).is_ok()
                } else {
                    connection.execute_batch("COMMIT").is_ok()
                };
                if !committed {
                    assert!(self.ours && clashed(connection));
                    connection.execute_batch("ROLLBACK").unwrap();
                }
                return self.counted.take().filter(|_| committed).unwrap_or_default();
            }
            (Step::Rollback, Some(_)) => {
                connection.execute_batch("ROLLBACK").unwrap();
                self.counted = None;
            }
            (Step::WriteBack, None) => connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE)").unwrap(),
            _ => {}
        }
        BTreeMap::new()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Every count that was committed is there, whoever counted and whatever became of others.
    #[test]
    fn nothing_committed_is_lost(steps in steps()) {
        let database = Database::new();
        let mut writers = [(false, false), (true, false), (false, true), (true, true)].map(|(ours, small)| {
            let connection = if ours { database.ours() } else { database.application() };
            connection.execute_batch(if small { SMALL_CACHE } else { "" }).unwrap();
            Writer { connection, ours, counted: None }
        });
        let mut wanted = BTreeMap::new();
        for (writer, step) in &steps {
            for (id, count) in writers[*writer].step(step) {
                *wanted.entry(id).or_default() += count;
            }
            prop_assert_eq!(&database.counts(), &wanted);
            if matches!(step, Step::Commit | Step::WriteBack) {
                prop_assert_eq!(&database.counts_after_a_power_loss(), &wanted);
            }
        }
        drop(writers);
        prop_assert_eq!(&database.counts(), &wanted);
        prop_assert_eq!(&database.counts_after_a_power_loss(), &wanted);
        database.assert_sound();
    }
}

/// The moments that no order of steps has: within each other's commits.
#[test]
fn nothing_committed_is_lost_between_threads() {
    const EACH: i64 = 400;
    let database = Database::new();
    let path = &database.path;
    let write = |is_ours: bool| {
        let connection = if is_ours { ours(path) } else { application(path) };
        // The log starts over now and then.
        connection.execute_batch("PRAGMA wal_autocheckpoint = 50").unwrap();
        let mut done = 0;
        while done < EACH {
            let begun =
                if is_ours { begin(&connection) } else { connection.execute_batch("BEGIN IMMEDIATE") };
            if is_busy(&begun) {
                std::thread::yield_now();
                continue;
            }
            count(&connection, 1..=5).unwrap();
            // What becomes of a statement that fails.
            let _failed = connection.execute("INSERT INTO t VALUES(1, 0, x'')", []).unwrap_err();
            match commit(&connection) {
                Ok(()) => done += 1,
                failed => {
                    assert!(is_ours && is_busy(&failed), "{failed:?}");
                    connection.execute_batch("ROLLBACK").unwrap();
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for is_ours in [true, false, true, false] {
            scope.spawn(move || write(is_ours));
        }
    });
    assert_eq!(database.counts(), (1..=5).map(|id| (id, 4 * EACH)).collect());
    database.assert_sound();
}
