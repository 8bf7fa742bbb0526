//! Every kind of statement, by applications with three versions of SQLite: the application sees what it would see
//! without us, and the replica comes to the same rows.

use crate::libraries::Step::{Fails, Migrate, Write};
use crate::libraries::{check, check_since};

#[test]
fn changes_last_insert_rowid_and_returning_seen_by_the_application_are_unaffected() {
    let outcome = check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v)",
        &[
            Write(
                "SELECT changes(), last_insert_rowid();
                 INSERT INTO t(u) VALUES('a'), ('b'), ('c'); SELECT changes(), last_insert_rowid();
                 INSERT INTO t VALUES(70, 'd', 1) RETURNING id, v + 1; SELECT changes(), last_insert_rowid();
                 REPLACE INTO t(u) VALUES('a') RETURNING *; SELECT changes(), last_insert_rowid();
                 INSERT OR IGNORE INTO t(u) VALUES('a'); SELECT changes(), last_insert_rowid()",
            ),
            Write(
                "UPDATE t SET v = 5 WHERE id < 10 RETURNING u; SELECT changes(), last_insert_rowid();
                 INSERT INTO t VALUES(2, 'x', 0) ON CONFLICT(id) DO UPDATE SET v = 6 RETURNING id, v;
                 SELECT changes(), last_insert_rowid();
                 UPDATE t SET v = 0 WHERE id = 1000; SELECT changes(), last_insert_rowid();
                 DELETE FROM t WHERE id = 70 RETURNING u; SELECT changes(), last_insert_rowid();
                 DELETE FROM t; SELECT changes(), last_insert_rowid()",
            ),
        ],
    );
    let counts = ["0|0", "3|3", "70|2", "1|70", "71|'a'|NULL", "1|71", "0|71"];
    assert_eq!(outcome.printed[..7], counts);
}

#[test]
fn a_delete_without_where_reaches_every_row_of_the_replica() {
    let outcome = check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE w(k TEXT PRIMARY KEY) WITHOUT ROWID",
        &[
            Write(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                 INSERT INTO t SELECT i, 'row ' || i FROM n; INSERT INTO w SELECT v FROM t",
            ),
            Write("DELETE FROM t; SELECT changes(); DELETE FROM w"),
        ],
    );
    assert_eq!((outcome.printed, outcome.rows), (vec!["3000".into()], vec![]));
}

#[test]
fn every_form_of_insert_update_and_delete_is_captured() {
    check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v DEFAULT 'default', n INT);
         CREATE TABLE source(k TEXT NOT NULL, n INT, PRIMARY KEY(k, n))",
        &[
            Write(
                "INSERT INTO t DEFAULT VALUES; INSERT INTO t(n) VALUES(1), (2), (3);
                 INSERT INTO source VALUES('a', 1), ('b', 2), ('b', 3);
                 INSERT INTO t(v, n) SELECT k, n * 100 FROM source;
                 WITH more(x) AS (VALUES(7), (8)) INSERT INTO t(n) SELECT x FROM more",
            ),
            Write(
                "UPDATE t SET v = 'changed' WHERE n = 2;
                 UPDATE t SET v = s.k, n = s.n FROM source AS s WHERE s.n * 100 = t.n;
                 UPDATE t SET (v, n) = (SELECT 'pair', max(n) FROM source) WHERE id = 1;
                 UPDATE t SET n = n; UPDATE source SET k = k || '+', n = n + 1",
            ),
            Write(
                "DELETE FROM t WHERE n IN (SELECT n FROM source) AND id > 3;
                 WITH doomed AS (SELECT id FROM t ORDER BY id DESC LIMIT 1) DELETE FROM t WHERE id IN doomed;
                 UPDATE t SET id = id + 100 WHERE n IS NOT NULL; UPDATE t SET rowid = -1 WHERE id = 102",
            ),
        ],
    );
}

#[test]
fn upserts_and_conflict_clauses_are_captured_as_what_they_did() {
    let outcome = check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE, b UNIQUE, v);
         CREATE TABLE r(id INTEGER PRIMARY KEY ON CONFLICT REPLACE, u UNIQUE ON CONFLICT REPLACE, v);
         CREATE TABLE i(id INTEGER PRIMARY KEY, u UNIQUE ON CONFLICT IGNORE, n NOT NULL ON CONFLICT REPLACE DEFAULT 5)",
        &[
            Write(
                "INSERT INTO t VALUES(1, 'a', 'x', 1), (2, 'b', 'y', 2), (3, 'c', 'z', 3);
                 INSERT INTO r VALUES(1, 'a', 1), (2, 'b', 2); INSERT INTO i VALUES(1, 'a', 1)",
            ),
            Write(
                "INSERT INTO t VALUES(1, 'q', 'q', 0) ON CONFLICT(id) DO UPDATE SET v = excluded.v + v;
                 INSERT INTO t VALUES(9, 'b', 'q', 0) ON CONFLICT(a) DO UPDATE SET v = 'by a' WHERE v < 9;
                 INSERT INTO t VALUES(9, 'q', 'z', 0) ON CONFLICT(a) DO NOTHING ON CONFLICT(b) DO UPDATE SET a = 'new';
                 INSERT INTO t VALUES(3, 'q', 'q', 0) ON CONFLICT DO NOTHING;
                 INSERT OR IGNORE INTO t VALUES(4, 'a', 'q', 0), (5, 'free', 'free', 0), (6, 'b', 'f', 0)",
            ),
            Write(
                "INSERT OR REPLACE INTO t VALUES(7, 'a', 'y', 'took two');
                 UPDATE OR REPLACE t SET b = 'free' WHERE id = 7; UPDATE OR IGNORE t SET a = 'new';
                 REPLACE INTO r VALUES(1, 'b', 'took both'); INSERT INTO r VALUES(5, 'b', 'again');
                 INSERT INTO i VALUES(2, 'a', 2), (3, 'c', NULL); UPDATE i SET u = 'c' WHERE id = 1",
            ),
        ],
    );
    assert!(outcome.rows.contains(&"r: 5|'b'|'again'".to_owned()), "{outcome:?}");
}

#[test]
fn statements_that_fail_half_way_leave_on_the_replica_what_they_left_here() {
    let outcome = check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v CHECK(v <> 'bad'))",
        &[
            Write("INSERT INTO t VALUES(1, 'a', 1)"),
            Fails("INSERT INTO t VALUES(10, 'k', 0), (11, 'a', 0)"),
            Fails("INSERT OR FAIL INTO t VALUES(20, 'l', 0), (21, 'm', 0), (22, 'a', 0), (23, 'n', 0)"),
            Fails("BEGIN; INSERT INTO t VALUES(30, 'o', 0); INSERT OR ROLLBACK INTO t VALUES(31, 'a', 0)"),
            Fails("BEGIN; INSERT INTO t VALUES(40, 'p', 0); INSERT INTO t VALUES(41, 'q', 'bad'); COMMIT"),
            Fails("UPDATE OR FAIL t SET u = 'same' WHERE id >= 20"),
            Write(
                "BEGIN; INSERT INTO t VALUES(50, 'r', 0); SAVEPOINT s; DELETE FROM t; SAVEPOINT inner;
                 INSERT INTO t VALUES(51, 'a', 0); RELEASE inner; ROLLBACK TO s; UPDATE t SET v = 1; COMMIT;
                 BEGIN; DELETE FROM t; ROLLBACK",
            ),
        ],
    );
    let rows = ["t: 1|'a'|1", "t: 20|'same'|1", "t: 21|'m'|1", "t: 40|'p'|1", "t: 50|'r'|1"];
    assert_eq!(outcome.rows, rows);
}

#[test]
fn triggers_of_the_application_that_touch_the_same_row_leave_its_last_state_on_the_replica() {
    let outcome = check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v, touched INT DEFAULT 0);
         CREATE TABLE audit(id INTEGER PRIMARY KEY, what TEXT); CREATE TABLE gone(id INTEGER PRIMARY KEY, v);
         CREATE TRIGGER aa BEFORE UPDATE ON t BEGIN INSERT INTO audit(what) VALUES('before ' || OLD.v); END;
         CREATE TRIGGER zz AFTER INSERT ON t BEGIN
             UPDATE t SET v = upper(v), touched = touched + 1 WHERE id = NEW.id;
             DELETE FROM t WHERE id = NEW.id AND v = 'NEVER';
         END;
         CREATE TRIGGER keep AFTER DELETE ON t BEGIN INSERT INTO gone VALUES(OLD.id, OLD.v); END;
         CREATE TRIGGER moves AFTER UPDATE OF v ON t WHEN NEW.v = 'MOVE' BEGIN
             UPDATE t SET id = id + 1000 WHERE id = NEW.id;
         END",
        &[
            Write("INSERT INTO t(id, v) VALUES(1, 'a'), (2, 'b'), (3, 'never'), (4, 'move')"),
            Write("UPDATE t SET v = 'c' WHERE id = 2; DELETE FROM t WHERE id = 1"),
            Write("PRAGMA recursive_triggers = ON; REPLACE INTO t(id, v) VALUES(2, 'again')"),
        ],
    );
    assert!(outcome.rows.contains(&"t: 1004|'MOVE'|1".to_owned()), "{outcome:?}");
}

#[test]
fn writes_through_views_and_by_temporary_triggers_are_captured() {
    let outcome = check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE log(id INTEGER PRIMARY KEY, v);
         CREATE VIEW shown AS SELECT id, v FROM t WHERE v <> 'hidden';
         CREATE TRIGGER i INSTEAD OF INSERT ON shown BEGIN INSERT INTO t VALUES(NEW.id, NEW.v); END;
         CREATE TRIGGER u INSTEAD OF UPDATE ON shown BEGIN UPDATE t SET v = NEW.v WHERE id = OLD.id; END;
         CREATE TRIGGER d INSTEAD OF DELETE ON shown BEGIN UPDATE t SET v = 'hidden' WHERE id = OLD.id; END",
        &[
            Write("INSERT INTO shown VALUES(1, 'a'), (2, 'b'), (3, 'c')"),
            Write("UPDATE shown SET v = v || '!' WHERE id > 1; DELETE FROM shown WHERE id = 1"),
            Write(
                "CREATE TEMP TRIGGER passing AFTER INSERT ON main.t BEGIN
                     INSERT INTO log(v) VALUES('saw ' || NEW.v); UPDATE t SET v = 'seen' WHERE id = NEW.id;
                 END; INSERT INTO t VALUES(4, 'd')",
            ),
        ],
    );
    assert_eq!(outcome.rows, ["log: 1|'saw d'", "t: 1|'hidden'", "t: 2|'b!'", "t: 3|'c!'", "t: 4|'seen'"]);
}

#[test]
fn a_trigger_of_the_application_that_ends_the_statement_hides_no_write() {
    check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v);
         CREATE TRIGGER quiet BEFORE INSERT ON t WHEN NEW.v = 'skip' BEGIN SELECT raise(IGNORE); END;
         CREATE TRIGGER enough AFTER INSERT ON t WHEN NEW.v = 'stop' BEGIN SELECT raise(IGNORE); END;
         CREATE TRIGGER kept AFTER DELETE ON t WHEN OLD.v = 'stop' BEGIN SELECT raise(IGNORE); END",
        &[
            Write("INSERT INTO t VALUES(1, 'a'), (2, 'skip'), (3, 'b'), (4, 'stop'), (5, 'c')"),
            Write("DELETE FROM t WHERE id > 2"),
        ],
    );
}

/// Of the triggers for one event, SQLite fires the one first that was made last.
#[test]
fn a_later_trigger_of_the_application_that_ends_the_statement_hides_no_write() {
    check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v)",
        &[
            Migrate(
                "CREATE TRIGGER enough AFTER INSERT ON t WHEN NEW.v = 'stop' BEGIN SELECT raise(IGNORE); END;
                 CREATE TRIGGER kept AFTER DELETE ON t WHEN OLD.v = 'stop' BEGIN SELECT raise(IGNORE); END;
                 CREATE TRIGGER moved AFTER UPDATE ON t WHEN NEW.v = 'stop' BEGIN SELECT raise(IGNORE); END",
            ),
            Write("INSERT INTO t VALUES(1, 'a'), (2, 'stop'), (3, 'b')"),
            Write("UPDATE t SET id = id + 10"),
            Write("DELETE FROM t WHERE id > 10"),
        ],
    );
}

#[test]
fn foreign_keys_that_act_or_are_deferred_leave_equal_tables() {
    let outcome = check(
        "CREATE TABLE parent(id INTEGER PRIMARY KEY, k TEXT UNIQUE);
         CREATE TABLE child(id INTEGER PRIMARY KEY, p REFERENCES parent(id) ON DELETE CASCADE ON UPDATE CASCADE);
         CREATE TABLE named(id INTEGER PRIMARY KEY, k REFERENCES parent(k) ON DELETE SET NULL ON UPDATE SET DEFAULT);
         CREATE TABLE tree(id INTEGER PRIMARY KEY, up REFERENCES tree(id) ON DELETE CASCADE
             DEFERRABLE INITIALLY DEFERRED)",
        &[
            Write(
                "PRAGMA foreign_keys = ON; INSERT INTO parent VALUES(1, 'a'), (2, 'b'), (3, 'c');
                 INSERT INTO child VALUES(10, 1), (11, 1), (12, 2), (13, 3); INSERT INTO named VALUES(1, 'a'), (2, 'b');
                 BEGIN; INSERT INTO tree VALUES(2, 1), (3, 2), (4, 3); INSERT INTO tree VALUES(1, NULL); COMMIT",
            ),
            Write(
                "PRAGMA foreign_keys = ON; UPDATE parent SET id = 20 WHERE id = 2; DELETE FROM parent WHERE id = 1;
                 DELETE FROM tree WHERE id = 2; REPLACE INTO parent VALUES(30, 'c')",
            ),
            Fails("PRAGMA foreign_keys = ON; INSERT INTO child VALUES(99, 999)"),
        ],
    );
    let children: Vec<_> = outcome.rows.iter().filter(|row| row.starts_with("child")).collect();
    assert_eq!(children, ["child: 12|20"]);
}

#[test]
fn a_transaction_over_an_attached_database_is_captured_where_it_is_ours() {
    check_since(
        0,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v)",
        &[Write(
            "ATTACH ':memory:' AS other; CREATE TABLE other.t(id, u, v); CREATE TABLE other.__harmonylite___clock(x);
             BEGIN; INSERT INTO other.t VALUES(1, 'x', 'theirs'), (2, 'y', 'theirs');
             INSERT INTO main.t SELECT * FROM other.t; REPLACE INTO main.t VALUES(3, 'x', 'ours'); COMMIT;
             DELETE FROM other.t",
        )],
    );
}

#[test]
fn a_temporary_table_of_the_same_name_takes_no_part() {
    let outcome = check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE)",
        &[Write(
            "INSERT INTO t VALUES(1, 'a'); CREATE TEMP TABLE t(id INTEGER PRIMARY KEY, u UNIQUE);
             CREATE TEMP TABLE __harmonylite___change_log_global(id INTEGER PRIMARY KEY, table_name TEXT NOT NULL);
             CREATE TEMP TABLE __harmonylite__t_change_log(id INTEGER PRIMARY KEY, val_id, type TEXT);
             INSERT INTO t VALUES(1, 'b'), (2, 'c'); REPLACE INTO main.t VALUES(3, 'a'); DELETE FROM temp.t",
        )],
    );
    assert_eq!(outcome.rows, ["t: 3|'a'"]);
}

#[test]
fn counts_are_unaffected_inside_the_applications_own_triggers_too() {
    let outcome = check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE);
         CREATE TABLE child(id INTEGER PRIMARY KEY, of, n, c);
         CREATE TRIGGER a AFTER INSERT ON t BEGIN
             INSERT INTO child(of) VALUES(NEW.id);
             UPDATE child SET n = last_insert_rowid(), c = changes() WHERE id = last_insert_rowid();
         END",
        &[
            Write("INSERT INTO child VALUES(500, 0, 0, 0); INSERT INTO t(u) VALUES('a'), ('b')"),
            Write("REPLACE INTO t VALUES(9, 'a'); SELECT changes(), last_insert_rowid()"),
        ],
    );
    assert!(outcome.rows.contains(&"child: 501|1|501|1".to_owned()), "{outcome:?}");
    assert_eq!(outcome.printed, ["1|9"]);
}
