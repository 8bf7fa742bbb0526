//! What capture costs the application: the same for every write, however much there is already.

use rusqlite::{Connection, StatementStatus};

use crate::nodes::Node;

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v)";

/// Steps of SQLite's machine, triggers included, and steps of full scans.
fn cost(application: &Connection, sql: &str) -> (i32, i32) {
    let mut statement = application.prepare(sql).unwrap();
    statement.raw_execute().unwrap();
    (statement.get_status(StatementStatus::VmStep), statement.get_status(StatementStatus::FullscanStep))
}

fn costs(node: &Node) -> Vec<(i32, i32)> {
    let writes = [
        "INSERT INTO t VALUES(-1, 'new', 0)",
        "UPDATE t SET v = 1 WHERE id = -1",
        "REPLACE INTO t VALUES(-2, 'new', 0)",
        "UPDATE t SET id = -3 WHERE id = -2",
        "DELETE FROM t WHERE id = -3",
    ];
    writes.iter().map(|sql| cost(&node.application, sql)).collect()
}

#[test]
fn a_write_costs_as_much_with_a_long_log_and_a_large_table_as_with_none() {
    let node = Node::new(1, SCHEMA);
    node.run("INSERT INTO t VALUES(0, 'first', 0)");
    let before = costs(&node);
    node.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO t SELECT i, 'u' || i, i FROM n",
    );
    assert!(node.count("SELECT count(*) FROM __harmonylite___change_log_global") > 5000);
    assert_eq!(costs(&node), before);
    assert!(before.iter().all(|(steps, scanned)| *steps < 300 && *scanned == 0), "{before:?}");
}

#[test]
fn triggers_call_no_table_valued_function_and_read_no_schema() {
    let node = Node::new(1, SCHEMA);
    let suspicious = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND (sql LIKE '%pragma%' OR sql LIKE '%sqlite_%')";
    assert_eq!(node.count(suspicious), 0);
    assert_eq!(node.count("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 't'"), 6);
}
