//! Commits whose pages are kept until they are all there: where that ends, and what is in the way.

use std::fs::OpenOptions;

use super::*;
use crate::commits;

fn frames(connection: &Connection) -> i64 {
    connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1)).unwrap()
}

fn count_late(ours: &Connection, ids: std::ops::RangeInclusive<i64>) {
    begin(ours).unwrap();
    assert!(is_pending(ours));
    count(ours, ids).unwrap();
    commit(ours).unwrap();
}

#[test]
fn the_lock_is_held_for_less_than_the_transaction_lasts() {
    let database = Database::new();
    let ours = database.ours();
    let start = std::time::Instant::now();
    count_late(&ours, 1..=ROWS);
    assert!(held_for(&ours).unwrap() < start.elapsed());
    assert_eq!(held_for(&ours), None);
    begin(&ours).unwrap();
    commit(&ours).unwrap();
    assert_eq!(held_for(&ours), None, "nothing was written");
}

#[test]
fn a_transaction_is_known_to_be_lost_before_it_commits() {
    let database = Database::new();
    let (ours, application) = (database.ours(), database.application());
    begin(&ours).unwrap();
    let before = commits(&ours).unwrap();
    count(&ours, 1..=3).unwrap();
    assert!(!is_lost(&ours));
    count(&application, 1..=1).unwrap();
    assert!(is_lost(&ours));
    assert_eq!(commits(&ours).unwrap() - before, 1);
    assert!(is_busy(&commit(&ours)));
    ours.execute_batch("ROLLBACK").unwrap();
    assert!(clashed(&ours));
    assert_eq!(database.counts(), BTreeMap::from([(1, 1)]));
}

/// Its entries are then in two parts of the index.
#[test]
fn a_log_grows_beyond_what_the_first_part_of_its_index_tells() {
    let database = Database::new();
    let (ours, application) = (database.ours(), database.application());
    let mut counts = 0;
    while frames(&application) < 4_000 {
        count(&application, 1..=ROWS).unwrap();
        counts += 1;
    }
    let mut wanted: BTreeMap<i64, i64> = (1..=ROWS).map(|id| (id, counts)).collect();
    for first in 1..=ROWS - 5 {
        count_late(&ours, first..=first + 5);
        (first..=first + 5).for_each(|id| *wanted.entry(id).or_default() += 1);
        assert_eq!(database.counts(), wanted);
    }
    assert!(frames(&application) > 4_200);
    assert_eq!(database.counts_after_a_power_loss(), wanted);
    database.assert_sound();
}

#[test]
fn a_transaction_with_more_pages_than_are_kept_is_written_as_sqlite_writes_it() {
    let database = Database::new();
    let (ours, application) = (database.ours(), database.application());
    ours.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = 10000").unwrap();
    begin(&ours).unwrap();
    for id in 1_001..=4_000 {
        ours.execute("INSERT INTO t VALUES(?1, 1, randomblob(300))", [id]).unwrap();
    }
    assert!(is_pending(&ours));
    commit(&ours).unwrap();
    let wanted: BTreeMap<i64, i64> = (1_001..=4_000).map(|id| (id, 1)).collect();
    assert_eq!(counts(&application), wanted);
    assert_eq!(database.counts_after_a_power_loss(), wanted);
    database.assert_sound();
}

/// A database that becomes smaller with a commit moves its last pages first, and a small cache has no room for them. What
/// is written then is no commit yet.
#[test]
fn pages_that_make_room_while_a_transaction_commits_are_not_taken_for_its_last_ones() {
    for cache in [10, 20, 40, 80] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let application = settled(Connection::open(&path).unwrap());
        let schema = SCHEMA.replace("journal_mode", "auto_vacuum = FULL; PRAGMA journal_mode");
        application.execute_batch(&schema).unwrap();
        application.execute_batch("INSERT INTO t VALUES(1, 1, randomblob(100000))").unwrap();
        let sql = "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
            INSERT INTO t SELECT i, 1, randomblob(300) FROM n";
        application.execute_batch(sql).unwrap();
        let ours = ours(&path);
        ours.execute_batch(&format!("PRAGMA cache_size = {cache}")).unwrap();
        begin(&ours).unwrap();
        ours.execute_batch("DELETE FROM t WHERE id = 1").unwrap();
        let wanted = if is_pending(&ours) && commit(&ours).is_err() {
            // Done again, as it is by whoever calls us, with the lock.
            assert!(clashed(&ours), "{cache}");
            if !ours.is_autocommit() {
                ours.execute_batch("ROLLBACK").unwrap();
            }
            1
        } else {
            if !ours.is_autocommit() {
                commit(&ours).unwrap();
            }
            2
        };
        let first: i64 = application.query_row("SELECT min(id) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(first, wanted, "{cache}");
        ours.execute_batch("BEGIN IMMEDIATE; DELETE FROM t WHERE id = 1; COMMIT").unwrap();
        let rows: i64 = application.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 399);
        let result: String =
            super::application(&path).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(result, "ok", "{cache}");
    }
}

/// Its entries are behind the end of the log.
#[test]
fn what_a_killed_writer_left_in_the_index_is_in_nobodys_way() {
    let database = Database::new();
    let ours = database.ours();
    count_late(&ours, 1..=3);
    let mut name = database.path.as_os_str().to_owned();
    name.push("-shm");
    let shared = OpenOptions::new().read(true).write(true).open(name).unwrap();
    let frames = frames(&database.first) as u64;
    // Of the frame behind the last one: the page, and a slot by which it is found.
    shared.write_all_at(&2_u32.to_ne_bytes(), 136 + 4 * frames).unwrap();
    let (mut slot, mut found) = (2 * 383, [1; 2]);
    while found != [0; 2] {
        slot = (slot + 1) % 8192;
        shared.read_exact_at(&mut found, (16 << 10) + 2 * slot).unwrap();
    }
    shared.write_all_at(&(frames as u16 + 1).to_ne_bytes(), (16 << 10) + 2 * slot).unwrap();
    count_late(&ours, 3..=9);
    let wanted: BTreeMap<i64, i64> = (1..=9).map(|id| (id, if id == 3 { 2 } else { 1 })).collect();
    assert_eq!(database.counts(), wanted);
    database.assert_sound();
    // To close it drops all locks that this process has on the index, so that comes last.
    drop(ours);
    drop(shared);
}

/// A full-text index writes what it has gathered when the transaction commits, and reads it again.
#[test]
fn a_full_text_index_that_has_no_room_while_a_transaction_commits_is_left_to_another_try() {
    let mut again = 0;
    for (cache, documents) in (10..=80).step_by(10).flat_map(|cache| [(cache, 20), (cache, 60)]) {
        let database = Database::new();
        database.first.execute_batch("CREATE VIRTUAL TABLE f USING fts5(body, content = '')").unwrap();
        let ours = database.ours();
        ours.execute_batch(&format!("PRAGMA cache_size = {cache}")).unwrap();
        let write = || {
            for document in 1..=documents {
                let words: Vec<String> =
                    (0..40).map(|word| format!("w{}", document * 37 + word * 11)).collect();
                let sql = "INSERT INTO f(rowid, body) VALUES(?1, ?2)";
                ours.execute(sql, rusqlite::params![document, words.join(" ")]).unwrap();
            }
        };
        begin(&ours).unwrap();
        write();
        if commit(&ours).is_err() {
            assert!(clashed(&ours), "{cache} {documents}");
            if !ours.is_autocommit() {
                ours.execute_batch("ROLLBACK").unwrap();
            }
            again += 1;
            ours.execute_batch("BEGIN IMMEDIATE").unwrap();
            write();
            ours.execute_batch("COMMIT").unwrap();
        }
        let sql = "INSERT INTO f(f) VALUES('integrity-check')";
        database.application().execute(sql, []).unwrap();
        let found: i64 =
            database.application().query_row("SELECT count(*) FROM f('w37')", [], |row| row.get(0)).unwrap();
        assert_eq!(found, 1);
        database.assert_sound();
    }
    assert!(again > 0, "no transaction was in need of room while it committed");
}
