//! Random statements of all nodes over the same few rows, with restarts in between: all end equal, whatever collided.

use std::time::Duration;

use harmonylite_testkit::{Cluster, Node, Result, Rng, Writer, ensure, wait, wait_for};
use rusqlite::{Connection, TransactionBehavior};

use crate::support::{BINARY, DEADLINE, no_panics};

const SCHEMA: &str =
    "CREATE TABLE named(id INTEGER PRIMARY KEY, email TEXT UNIQUE, nick TEXT COLLATE NOCASE, v,
                                         UNIQUE(nick, v));
    CREATE TABLE pair(a TEXT COLLATE NOCASE, b, v UNIQUE, PRIMARY KEY(a, b)) WITHOUT ROWID;
    CREATE TABLE parent(id INTEGER PRIMARY KEY, v);
    CREATE TABLE child(id TEXT PRIMARY KEY, parent INTEGER REFERENCES parent(id) ON DELETE CASCADE);";

const TABLES: &[&str] = &["named", "pair", "parent", "child"];

/// Writes of each node, and how often nodes are restarted or killed meanwhile.
const WRITES: u64 = 600;
const RESTARTS: u64 = 6;

fn statement(rng: &mut Rng) -> String {
    let mut number = |bound: u64| rng.below(bound);
    let (id, other, value) = (number(12), number(12), number(8));
    match number(16) {
        0 => format!("INSERT OR REPLACE INTO named VALUES({id}, 'e{value}', 'N{other}', {})", number(3)),
        1 => format!("INSERT OR IGNORE INTO named VALUES({id}, 'e{value}', 'n{other}', {})", number(3)),
        2 => format!("UPDATE OR REPLACE named SET email = 'e{value}' WHERE id = {id}"),
        3 => format!("UPDATE OR REPLACE named SET id = {other} WHERE id = {id}"),
        4 => format!("UPDATE OR IGNORE named SET nick = 'N{value}', v = NULL WHERE id <> {id}"),
        5 => format!("DELETE FROM named WHERE id = {id} OR email = 'e{value}'"),
        6 => format!(
            "INSERT INTO named VALUES({id}, 'e{value}', NULL, 1) \
             ON CONFLICT(email) DO UPDATE SET v = v + 1 ON CONFLICT DO NOTHING"
        ),
        7 => format!("INSERT OR REPLACE INTO pair VALUES('k{id}', {other}, {value})"),
        8 => format!("INSERT OR REPLACE INTO pair VALUES('K{id}', {}, NULL)", number(2)),
        9 => format!("UPDATE OR REPLACE pair SET a = upper(a), b = {other} WHERE v = {value}"),
        10 => format!("DELETE FROM pair WHERE b = {other}"),
        11 => format!("INSERT OR REPLACE INTO parent VALUES({id}, {value})"),
        12 => format!(
            "INSERT OR REPLACE INTO child VALUES('c{value}', (SELECT id FROM parent WHERE id >= {id}))"
        ),
        13 => format!("DELETE FROM parent WHERE id = {id}"),
        14 => format!("UPDATE OR IGNORE parent SET id = {other} WHERE id = {id}"),
        _ => format!(
            "UPDATE named SET email = NULL WHERE id = {id}; \
             UPDATE OR IGNORE named SET email = 'e{value}' WHERE id = {other}"
        ),
    }
}

/// A transaction of one to four statements. One that a constraint refuses is no failure: applications meet that, too.
fn write(connection: &mut Connection, rng: &mut Rng) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for _ in 0..=rng.below(4) {
        match transaction.execute_batch(&statement(rng)) {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {}
            other => other?,
        }
    }
    transaction.commit()
}

fn start(node: &Node, seed: u64) -> Result<Writer> {
    let connection = node.connection()?;
    connection.execute_batch("PRAGMA foreign_keys = ON")?;
    let mut rng = Rng::new(seed);
    Ok(Writer::start(connection, Duration::from_millis(6), move |connection, _| write(connection, &mut rng)))
}

fn restart(node: &mut Node, rng: &mut Rng) -> Result<()> {
    match rng.below(3) {
        0 => {
            // Before it listens for signals, one would end it as any program.
            node.wait_ready()?;
            let status = node.stop()?;
            ensure!(status.success(), "{status}\n{}", node.log());
        }
        1 => node.kill9()?,
        _ => return node.kill9_server(),
    }
    node.start()
}

fn all_end_equal(shards: u64) -> Result<()> {
    let mut rng = Rng::from_environment();
    let mut cluster = Cluster::new(BINARY, 3, SCHEMA)?;
    for node in &mut cluster.nodes {
        node.set("replication_log.shards", shards);
        node.set("replication_log.compress", node.id() != 2);
    }
    cluster.start_all()?;
    let writers: Vec<Writer> =
        cluster.nodes.iter().map(|node| start(node, rng.next_u64())).collect::<Result<_>>()?;
    for round in 1..=RESTARTS {
        let moment = WRITES * round / RESTARTS;
        wait("more writes", DEADLINE, || writers.iter().all(|writer| writer.written() >= moment))?;
        let index = rng.below(3) as usize;
        restart(&mut cluster.nodes[index], &mut rng)?;
    }
    for writer in writers {
        writer.stop()?;
    }
    cluster.start_all()?;
    wait_settled(&cluster)?;
    no_panics(&cluster)
}

/// Nothing is left to publish or to read, and all is equal; and it stays so.
fn wait_settled(cluster: &Cluster) -> Result<()> {
    let settled = wait_for("equal tables and nothing under way", DEADLINE, || {
        for node in &cluster.nodes {
            let status = node.status()?;
            let sources = status["sources"].as_array().into_iter().flatten();
            let behind =
                sources.filter(|source| source["behind"] != 0 || source["state"] == "stopped").count();
            ensure!(
                behind == 0 && status["publisher"]["pending_rows"] == 0,
                "node {}: {status:#}",
                node.id()
            );
            ensure!(status["dead_letters"] == 0, "dead letters at node {}", node.id());
        }
        cluster.equal_contents(TABLES)
    });
    settled.map(drop).map_err(|error| error.context(cluster.logs()))
}

#[test]
fn random_statements_that_collide_on_keys_and_unique_columns_end_equal() -> Result<()> {
    all_end_equal(1)
}

#[test]
fn random_statements_over_several_shards_end_equal() -> Result<()> {
    all_end_equal(3)
}
