//! Values by applications with three versions of SQLite: what was written is what arrives.

use crate::libraries::Step::Write;
use crate::libraries::check;

#[test]
fn dates_and_booleans_are_not_rewritten() {
    let outcome = check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, day DATE, moment DATETIME, stamp TIMESTAMP, flag BOOLEAN, j JSON, d DECIMAL(9, 2))",
        &[
            Write(
                "INSERT INTO t VALUES(1, '2024-03-31', '2024-03-31T02:30:00+02:00', '2024-03-31 02:30:00', TRUE, '{\"a\": 1}', '1.10'),
                     (2, 20240331, 1711848600.25, 1711848600000, 2, '', 3), (3, 'tomorrow', '', x'00', 'yes', NULL, 'n/a'),
                     (4, '0000-00-00', '2024-02-30 25:61:61Z', '1969-12-31 23:59:59.999999999', -1, 'null', 1e20),
                     (5, NULL, '2024-03-31 02:30:00 Europe/Berlin', '12:00', FALSE, 0, -0.0)",
            ),
            Write("UPDATE t SET flag = 7, moment = moment || ' ' WHERE id = 1; UPDATE t SET stamp = '24:00' WHERE id = 5"),
        ],
    );
    let first =
        "t: 1|'2024-03-31'|'2024-03-31T02:30:00+02:00 '|'2024-03-31 02:30:00'|7|'{\"a\": 1}'|real:1.1";
    assert_eq!(outcome.rows[0], first);
    assert!(
        outcome.rows[1].starts_with("t: 2|20240331|real:1711848600.25|1711848600000|2|''|3"),
        "{outcome:?}"
    );
}

#[test]
fn values_that_json_would_destroy_arrive_as_they_were() {
    let outcome = check(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE k(k NOT NULL PRIMARY KEY, v) WITHOUT ROWID",
        &[
            Write(
                "INSERT INTO t VALUES(1, 9223372036854775807), (2, -9223372036854775808), (3, 9007199254740993), (4, 9e999),
                     (5, -9e999), (6, -0.0), (7, 5e-324), (8, 0.1 + 0.2), (9, NULL), (10, ''), (11, x''), (12, '1'), (13, x'31'),
                     (14, 1.0), (15, CAST(x'610062' AS TEXT)), (16, CAST(x'ff41fe' AS TEXT)), (17, x'00ff'), (18, '\u{1F600}e\u{301}')",
            ),
            Write("INSERT INTO k SELECT v, id FROM t WHERE v IS NOT NULL"),
            Write("UPDATE k SET v = -v; DELETE FROM k WHERE k = CAST(x'ff41fe' AS TEXT) OR k = x'31'; UPDATE t SET v = v WHERE id > 5"),
        ],
    );
    let row =
        |id: usize| outcome.rows.iter().find(|row| row.starts_with(&format!("t: {id}|"))).unwrap().as_str();
    assert_eq!(row(2), "t: 2|-9223372036854775808");
    assert_eq!(row(6), "t: 6|real:-0.0");
    assert_eq!(row(15), "t: 15|'a\\0b'");
    assert_eq!(row(16), "t: 16|text:\\xffA\\xfe");
}
