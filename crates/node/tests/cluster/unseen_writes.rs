//! Writes while the triggers were missing: the scan finds them, at once and after a restart.

use harmonylite_testkit::{Result, ensure};

use crate::support::{DEADLINE, following, no_panics, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v);
    INSERT INTO t VALUES(1, 'from before'), (2, 'from before'), (3, 'from before');";

#[test]
fn a_table_rebuilt_in_a_transaction_that_goes_on_writing_is_caught_up_with() -> Result<()> {
    let cluster = following(2, SCHEMA)?;
    wait_number(&cluster.nodes[0], "SELECT enrolled FROM __harmonylite___scan WHERE table_name = 't'", 1)?;
    cluster.nodes[0].execute(
        "BEGIN IMMEDIATE; CREATE TABLE n(id INTEGER PRIMARY KEY, v); INSERT INTO n SELECT * FROM t; DROP TABLE t;
         ALTER TABLE n RENAME TO t; INSERT INTO t VALUES(4, 'new'); UPDATE t SET v = 'changed' WHERE id = 1;
         DELETE FROM t WHERE id = 2; COMMIT",
    )?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t WHERE v IN ('new', 'changed')", 2)?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 3)?;
    cluster.wait_equal(&["t"], DEADLINE)?;
    ensure!(cluster.nodes[0].log().contains("no trigger saw"), "{}", cluster.nodes[0].log());
    no_panics(&cluster)
}

#[test]
fn what_the_application_writes_after_detach_is_sent_at_the_next_start() -> Result<()> {
    let mut cluster = following(2, SCHEMA)?;
    wait_number(&cluster.nodes[0], "SELECT enrolled FROM __harmonylite___scan WHERE table_name = 't'", 1)?;
    cluster.nodes[0].execute("INSERT INTO t VALUES(4, 'captured')")?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 4)?;
    cluster.nodes[0].stop()?;
    let database = cluster.nodes[0].db();
    let output = cluster.nodes[0].command_output(&["detach", "--db", &database.to_string_lossy()])?;
    ensure!(output.status.success(), "{output:?}");
    cluster.nodes[0].execute(
        "UPDATE t SET v = 'meanwhile' WHERE id IN (1, 4); DELETE FROM t WHERE id = 3; INSERT INTO t VALUES(5, 'meanwhile')",
    )?;
    cluster.nodes[1].execute("UPDATE t SET v = 'theirs' WHERE id = 2")?;
    cluster.nodes[0].start()?;
    cluster.nodes[0].wait_ready()?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t WHERE v = 'meanwhile'", 3)?;
    wait_number(&cluster.nodes[0], "SELECT count(*) FROM t WHERE v = 'theirs'", 1)?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", 4)?;
    cluster.wait_equal(&["t"], DEADLINE)?;
    no_panics(&cluster)
}
