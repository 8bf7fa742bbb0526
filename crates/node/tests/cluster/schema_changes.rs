//! The application changes its schema while nodes run: capture survives it, and what does not fit waits.

use harmonylite_testkit::{Cluster, Result, ensure};

use crate::support::{DEADLINE, counter, following, no_panics, source_of, wait_number, wait_source};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT UNIQUE);
    CREATE TABLE u(id INTEGER PRIMARY KEY, v);
    CREATE TABLE gone(id INTEGER PRIMARY KEY, v);";

/// The same change of the schema on all nodes, then rows that need it, from every node in turn.
fn migrate(cluster: &Cluster, ddl: &str, rows: &[&str], tables: &[&str]) -> Result<()> {
    cluster.wait_published(DEADLINE)?;
    for node in &cluster.nodes {
        node.execute(ddl)?;
    }
    for (index, sql) in rows.iter().enumerate() {
        cluster.nodes[index % cluster.nodes.len()].execute(sql)?;
        cluster.wait_equal(tables, DEADLINE)?;
    }
    Ok(())
}

/// Waits until a row is at all nodes: equality alone may be that of before.
fn wait_row(cluster: &Cluster, sql: &str) -> Result<()> {
    cluster.nodes.iter().try_for_each(|node| wait_number(node, sql, 1))
}

#[test]
fn columns_and_tables_are_added_renamed_and_dropped_while_nodes_run() -> Result<()> {
    let cluster = following(3, SCHEMA)?;
    let both = &["t", "u"];
    migrate(
        &cluster,
        "SELECT 1",
        &["INSERT INTO t VALUES(1, 'a', 'b', 'c')", "INSERT INTO gone VALUES(1, 1)"],
        both,
    )?;
    wait_row(&cluster, "SELECT count(*) FROM gone")?;
    migrate(
        &cluster,
        "ALTER TABLE t ADD COLUMN d TEXT DEFAULT 'none'",
        &["INSERT INTO t(id, d) VALUES(2, 'd2')", "UPDATE t SET d = 'd1' WHERE id = 1"],
        both,
    )?;
    wait_row(&cluster, "SELECT count(*) FROM t WHERE d = 'd1'")?;
    migrate(&cluster, "ALTER TABLE t DROP COLUMN b", &["UPDATE t SET a = 'a2' WHERE id = 2"], both)?;
    wait_row(&cluster, "SELECT count(*) FROM t WHERE a = 'a2'")?;
    migrate(
        &cluster,
        "ALTER TABLE t RENAME COLUMN a TO alpha",
        &["UPDATE t SET alpha = 'a3' WHERE id = 1"],
        both,
    )?;
    wait_row(&cluster, "SELECT count(*) FROM t WHERE alpha = 'a3'")?;
    // The key's column: the triggers name it.
    migrate(&cluster, "ALTER TABLE t RENAME COLUMN id TO key", &["INSERT INTO t(key) VALUES(3)"], both)?;
    wait_row(&cluster, "SELECT count(*) FROM t WHERE key = 3")?;
    let renamed = &["table", "u"];
    migrate(
        &cluster,
        "ALTER TABLE t RENAME TO \"table\"",
        &["INSERT INTO \"table\"(key, alpha) VALUES(4, 'four')", "DELETE FROM \"table\" WHERE key = 1"],
        renamed,
    )?;
    wait_row(&cluster, "SELECT count(*) FROM \"table\" WHERE alpha = 'four'")?;
    wait_row(&cluster, "SELECT NOT EXISTS(SELECT 1 FROM \"table\" WHERE key = 1)")?;
    migrate(&cluster, "DROP TABLE gone", &["INSERT INTO u VALUES(1, 'after the drop')"], renamed)?;
    wait_row(&cluster, "SELECT count(*) FROM u")?;
    migrate(
        &cluster,
        "CREATE TABLE fresh(k TEXT PRIMARY KEY, v)",
        &["INSERT INTO fresh VALUES('k', 'v')"],
        &["fresh"],
    )?;
    wait_row(&cluster, "SELECT count(*) FROM fresh")?;
    for node in &cluster.nodes {
        assert_eq!(counter(node, "dead_letters")?, 0);
    }
    no_panics(&cluster)
}

#[test]
fn a_table_that_a_migration_rebuilds_is_captured_again() -> Result<()> {
    let cluster = following(2, SCHEMA)?;
    cluster.nodes[0].execute("INSERT INTO u VALUES(1, 'one'), (2, 'two')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM u", 2)?;
    let rebuild = "BEGIN IMMEDIATE; CREATE TABLE new(id INTEGER PRIMARY KEY, v, w); \
                   INSERT INTO new(id, v) SELECT id, v FROM u; DROP TABLE u; ALTER TABLE new RENAME TO u; COMMIT";
    for node in &cluster.nodes {
        node.execute(rebuild)?;
        wait_number(
            node,
            "SELECT count(*) > 0 FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'u'",
            1,
        )?;
    }
    cluster.nodes[0].execute("INSERT INTO u VALUES(3, 'three', 'new')")?;
    cluster.nodes[1].execute("UPDATE u SET w = 'old' WHERE id = 1")?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(w) FROM u", 2)?;
    }
    cluster.wait_equal(&["u"], DEADLINE)?;
    no_panics(&cluster)
}

#[test]
fn a_schema_that_does_not_fit_stops_its_source_alone_and_flows_again_when_it_fits() -> Result<()> {
    let cluster = following(3, SCHEMA)?;
    cluster.nodes[0].execute("ALTER TABLE t ADD COLUMN extra")?;
    cluster.nodes[0].execute(
        "BEGIN; INSERT INTO u VALUES(1, 'same transaction'); INSERT INTO t(id, extra) VALUES(1, 'x'); COMMIT",
    )?;
    for receiver in [1, 2] {
        let status = wait_source(&cluster.nodes[receiver], 1, "stopped")?;
        let reason = source_of(&status, 1).map(|source| source["reason"].to_string()).unwrap_or_default();
        ensure!(
            reason.contains("table t") || reason.contains("`t`") || reason.contains("\\\"t\\\""),
            "{reason}"
        );
        ensure!(status["stopped"].to_string().contains(&reason), "{status:#}");
    }
    // Others flow, and nothing of the stopped one is applied.
    cluster.nodes[2].execute("INSERT INTO u VALUES(3, 'from three')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM u WHERE id = 3", 1)?;
    wait_number(&cluster.nodes[0], "SELECT count(*) FROM u WHERE id = 3", 1)?;
    assert_eq!(cluster.nodes[1].query::<i64>("SELECT count(*) FROM t")?, 0);
    assert_eq!(cluster.nodes[1].query::<i64>("SELECT count(*) FROM u")?, 1);
    cluster.nodes[1].execute("ALTER TABLE t ADD COLUMN extra")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t WHERE extra = 'x'", 1)?;
    assert_eq!(cluster.nodes[2].query::<i64>("SELECT count(*) FROM t")?, 0);
    cluster.nodes[2].execute("ALTER TABLE t ADD COLUMN extra")?;
    cluster.wait_equal(&["t", "u"], DEADLINE)?;
    cluster.wait_following(DEADLINE)?;
    no_panics(&cluster)
}
