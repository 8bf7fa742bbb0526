//! Publishing writes nothing to the database; our own commits are rare, and none with nothing to do.

use std::time::{Duration, Instant};

use harmonylite_core::limits::APPLY_ROWS_MIN;
use harmonylite_testkit::{Node, Result, ensure, wait_for};
use rusqlite::Connection;

use crate::support::{BINARY, DEADLINE, counter, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";

fn node(cleanup_interval_ms: u64) -> Result<Node> {
    let mut node = Node::new(BINARY, 1, SCHEMA)?;
    node.set("cleanup_interval", cleanup_interval_ms);
    node.start()?;
    node.wait_ready()?;
    node.wait_status("the own stream checked", DEADLINE, |status| status["publisher"]["state"] == "idle")?;
    Ok(node)
}

/// Counts other connections' commits: `data_version` does not move with the own ones.
struct Commits {
    last: i64,
    seen: u64,
}

impl Commits {
    fn of(connection: &Connection) -> Result<Commits> {
        Ok(Commits { last: data_version(connection)?, seen: 0 })
    }

    fn look(&mut self, connection: &Connection) -> Result<()> {
        let version = data_version(connection)?;
        self.seen += u64::from(version != self.last);
        self.last = version;
        Ok(())
    }

    /// Looks for so long.
    fn watch(&mut self, connection: &Connection, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        wait_for("the end of the observation", time + DEADLINE, || {
            self.look(connection)?;
            ensure!(Instant::now() >= end, "not over");
            Ok(())
        })
    }
}

fn data_version(connection: &Connection) -> Result<i64> {
    Ok(connection.query_row("PRAGMA data_version", [], |row| row.get(0))?)
}

#[test]
fn local_writes_cost_few_commits_of_ours_and_silence_none() -> Result<()> {
    let node = node(1000)?;
    let connection = node.connection()?;
    let (start, mut commits) = (Instant::now(), Commits::of(&connection)?);
    let mut written = 0;
    wait_for("five seconds of writes", DEADLINE, || {
        connection.execute("INSERT INTO t(v) VALUES('x')", [])?;
        written += 1;
        commits.look(&connection)?;
        ensure!(start.elapsed() >= Duration::from_secs(5), "not over");
        Ok(())
    })?;
    // One round per interval. On a slow machine it takes several steps to hold the lock for a short time only, each with no fewer
    // rows than that to stamp or trim (R13).
    let intervals = start.elapsed().as_secs() + 1;
    let most = intervals + 2 * written / APPLY_ROWS_MIN;
    ensure!(written > 50 && (1..=most).contains(&commits.seen), "{} commits", commits.seen);
    // Everything is stamped, saved and trimmed; after that there is nothing to do.
    wait_number(&node, "SELECT count(*) FROM __harmonylite___change_log_global", 0)?;
    ensure!(counter(&node, "published_log_rows")? == written, "not all is published");
    let mut settled = Commits::of(&connection)?;
    settled.watch(&connection, Duration::from_secs(1))?;
    ensure!(settled.seen <= 1, "{} commits after the last write", settled.seen);
    let mut idle = Commits::of(&connection)?;
    idle.watch(&connection, Duration::from_secs(5))?;
    ensure!(idle.seen == 0, "{} commits with nothing to do\n{}", idle.seen, node.log());
    Ok(())
}

#[test]
fn housekeeping_runs_after_10_000_log_rows_without_waiting_for_its_interval() -> Result<()> {
    let node = node(3_600_000)?;
    let connection = node.connection()?;
    let mut commits = Commits::of(&connection)?;
    for thousand in 1..=25 {
        connection.execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
             INSERT INTO t(v) SELECT i FROM n",
        )?;
        let wanted = thousand * 1000;
        wait_for("the rows published", DEADLINE, || {
            commits.look(&connection)?;
            let published = counter(&node, "published_log_rows")?;
            ensure!(published == wanted, "{published} of {wanted}");
            Ok(())
        })?;
    }
    commits.watch(&connection, Duration::from_secs(1))?;
    // How many there are depends on the machine: each is short while the application writes.
    ensure!(commits.seen >= 1, "no commit\n{}", node.log());
    wait_for("a log that was trimmed", DEADLINE, || {
        let left = node.query::<i64>("SELECT count(*) FROM __harmonylite___change_log_global")?;
        ensure!(left < 15_000, "{left} rows left in the log");
        Ok(())
    })
}
