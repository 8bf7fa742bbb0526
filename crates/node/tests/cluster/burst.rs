//! Many rows at once arrive everywhere.

use harmonylite_testkit::{Result, Rng, ensure};

use crate::support::{DEADLINE, following, no_panics, rows_applied, wait_number};

const ROWS: u64 = 50_000;
const TRANSACTION_MAX: u64 = 6_000;

#[test]
fn a_burst_of_50_000_rows_is_seen_everywhere_though_a_receiver_restarts() -> Result<()> {
    let mut rng = Rng::from_environment();
    let mut cluster = following(3, "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, n INTEGER)")?;
    let mut written = 0;
    let mut transactions = 0;
    while written < ROWS {
        // Most are small, some are large.
        let bound = if rng.chance(30) { TRANSACTION_MAX } else { 200 };
        let end = (written + 1 + rng.below(bound)).min(ROWS);
        cluster.nodes[0].execute(&format!(
            "WITH RECURSIVE i(id) AS (SELECT {written} UNION ALL SELECT id + 1 FROM i WHERE id + 1 < {end}) \
             INSERT INTO t SELECT id, 'row ' || hex(randomblob(20)), id * 7 FROM i"
        ))?;
        (written, transactions) = (end, transactions + 1);
        if transactions == 10 {
            ensure!(cluster.nodes[2].stop()?.success());
        }
        if transactions == 20 {
            cluster.nodes[2].start()?;
            cluster.nodes[2].wait_ready()?;
            cluster.nodes[1].kill9()?;
            cluster.nodes[1].start()?;
        }
    }
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM t", ROWS as i64)?;
    }
    cluster.wait_equal(&["t"], DEADLINE)?;
    assert_eq!(rows_applied(&cluster.nodes[1], 1)?, ROWS as i64);
    assert_eq!(rows_applied(&cluster.nodes[2], 1)?, ROWS as i64);
    no_panics(&cluster)
}
