//! The Django example: two instances of one shop on two of three nodes, through an upgrade of the application.
//!
//! Tables with UUID keys are written on both nodes at the same time, tables with integer keys in turns. Whatever Django
//! wrote, every table must be equal on all nodes, and no write may have failed.

mod project;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harmonylite_testkit::{Cluster, Contents, Node, Rng, wait_for};
use serde_json::Value;

use self::project::{Project, Release};
use super::say;

const DEADLINE: Duration = Duration::from_secs(90);

/// What an instance does in one go: some seconds of writing without a pause.
const TRADE_ROUNDS: u32 = 300;
const EDIT_ROUNDS: u32 = 12;

/// The only table that is left out, see the example's own `migrate`.
const LOCAL_TABLE: &str = "django_migrations";

/// Runs the example.
pub(crate) fn run(root: &Path, binary: &Path) -> Result<()> {
    let project = Project::install(root)?;
    let mut rng = Rng::from_environment();
    let mut cluster = prepare(&project, binary)?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    only_the_list_of_migrations_is_left_out(&cluster)?;
    do_business(&cluster, &project, Release::First, &mut rng)?;
    upgrade(&cluster, &project)?;
    do_business(&cluster, &project, Release::Second, &mut rng)?;
    cluster.stop_all()?;
    finish(cluster)
}

/// Three nodes whose databases are copies of one that Django's migrations made.
fn prepare(project: &Project, binary: &Path) -> Result<Cluster> {
    say("django: one database is made by migrations and copied to three nodes");
    let cluster = Cluster::new(binary, 3, "")?;
    let (first, others) = cluster.nodes.split_first().context("no nodes")?;
    for app in ["contenttypes", "auth", "sessions", "shop"] {
        let target = if app == "shop" { &["shop", "0001"][..] } else { &[app] };
        project.run(first, Release::First, &[&["migrate", "--verbosity=0"], target].concat())?;
    }
    project.run(first, Release::First, &["stock"])?;
    for other in others {
        // Nobody has it open, so the file is all of it.
        std::fs::copy(first.db(), other.db()).context("copying the database")?;
    }
    Ok(cluster)
}

fn only_the_list_of_migrations_is_left_out(cluster: &Cluster) -> Result<()> {
    for node in &cluster.nodes {
        let status = node.status()?;
        let tables = status["tables"].as_array().context("the status lists no tables")?;
        let left_out: Vec<&Value> =
            tables.iter().filter(|table| table["replicated"] != true).map(|table| &table["name"]).collect();
        ensure!(left_out == [LOCAL_TABLE], "node {} leaves out {left_out:?}", node.id());
    }
    Ok(())
}

/// Both instances at the same time where keys cannot collide, then one after the other where they could.
fn do_business(cluster: &Cluster, project: &Project, release: Release, rng: &mut Rng) -> Result<()> {
    trade(cluster, project, release, rng)?;
    for node in cluster.nodes.iter().take(2).cycle().take(3) {
        edit(cluster, project, release, node, rng)?;
    }
    Ok(())
}

fn trade(cluster: &Cluster, project: &Project, release: Release, rng: &mut Rng) -> Result<()> {
    say(&format!("django: two instances of the {release} release write at the same time"));
    let seed = rng.below(1_000_000).to_string();
    let before = conflicts(cluster)?;
    let mut instances = Vec::new();
    for node in &cluster.nodes[..2] {
        let (id, rounds) = (node.id().to_string(), TRADE_ROUNDS.to_string());
        let arguments = ["trade", "--wait", "--node", &id, "--rounds", &rounds, "--seed", &seed];
        instances.push((node.id(), project.start(node, release, &arguments)?));
    }
    instances.iter_mut().try_for_each(|(_, instance)| instance.wait_ready())?;
    instances.iter_mut().try_for_each(|(_, instance)| instance.begin())?;
    let mut reports = Vec::new();
    for (id, instance) in instances {
        reports.push((id, instance.finish()?));
    }
    let contents = settle(cluster)?;
    for (id, report) in &reports {
        nothing_of_its_own_is_lost(cluster, *id, report)?;
    }
    let conflicts = conflicts(cluster)? - before;
    let orders = contents.rows("shop_order");
    say(&format!("django: all nodes are equal, with {orders} orders; {conflicts} rows lost against others"));
    ensure!(conflicts > 0, "the instances never met: this tried nothing");
    Ok(())
}

/// Rows that only one instance writes: there are as many everywhere as it left.
fn nothing_of_its_own_is_lost(cluster: &Cluster, id: u64, report: &Value) -> Result<()> {
    let customers = format!("shop_customer WHERE node = {id}");
    let orders = format!("shop_order WHERE customer_id IN (SELECT id FROM {customers})");
    let lines = format!("shop_orderline WHERE order_id IN (SELECT id FROM {orders})");
    for (name, rows) in [("customers", customers), ("orders", orders), ("lines", lines)] {
        let wanted = report[name].as_i64().with_context(|| format!("no {name} in {report}"))?;
        for node in &cluster.nodes {
            let found: i64 = node.query(&format!("SELECT count(*) FROM {rows}"))?;
            ensure!(found == wanted, "node {}: {found} {name} of node {id}, not {wanted}", node.id());
        }
    }
    Ok(())
}

fn edit(cluster: &Cluster, project: &Project, release: Release, node: &Node, rng: &mut Rng) -> Result<()> {
    say(&format!("django: the instance on node {} writes the tables with integer keys", node.id()));
    let (seed, rounds) = (rng.below(1_000_000).to_string(), EDIT_ROUNDS.to_string());
    let report = project.run(node, release, &["edit", "--rounds", &rounds, "--seed", &seed])?;
    let contents = settle(cluster)?;
    for (table, rows) in report.as_object().context("edit printed no object")? {
        ensure!(
            contents.rows(table) as u64 == *rows,
            "{table} has {} rows, not {rows}",
            contents.rows(table)
        );
    }
    Ok(())
}

/// Migrates one node after the other while all of them run. Nobody writes meanwhile, and everything is replicated.
fn upgrade(cluster: &Cluster, project: &Project) -> Result<()> {
    say("django: every node is migrated to the second release, beside the running sidecars");
    for node in &cluster.nodes {
        project.run(node, Release::Second, &["migrate", "--verbosity=0"])?;
        let added =
            "SELECT count(*) FROM pragma_table_info('shop_product') WHERE name IN ('origin', 'warehouse')";
        ensure!(node.query::<i64>(added)? == 2, "node {}: the migration added no columns", node.id());
    }
    for node in &cluster.nodes {
        wait_for("triggers on the rebuilt tables", DEADLINE, || capture_is_complete(node))?;
    }
    settle(cluster).map(drop)
}

/// Django adds a column by making the table anew, without triggers; the sidecar puts them back.
fn capture_is_complete(node: &Node) -> Result<()> {
    let missing = "SELECT count(*) FROM sqlite_schema t WHERE t.type = 'table' AND substr(t.name, 1, 5) = 'shop_' \
         AND NOT EXISTS (SELECT 1 FROM sqlite_schema g WHERE g.type = 'trigger' AND g.tbl_name = t.name \
         AND g.name = '__harmonylite__' || t.name || '_change_log_on_insert')";
    let missing: i64 = node.query(missing)?;
    ensure!(missing == 0, "node {}: {missing} tables without triggers", node.id());
    Ok(())
}

/// Waits until everything is sent and applied; then all tables must be equal.
fn settle(cluster: &Cluster) -> Result<Contents> {
    cluster.wait_published(DEADLINE)?;
    let tables = tables(cluster)?;
    let names: Vec<&str> = tables.iter().map(String::as_str).collect();
    let contents = cluster.wait_equal(&names, DEADLINE)?;
    for node in &cluster.nodes {
        let status = node.wait_status("sources read to their end", DEADLINE, is_read_to_the_end)?;
        ensure!(status["counters"]["dead_letters"] == 0, "node {} has dead letters: {status:#}", node.id());
    }
    Ok(contents)
}

fn is_read_to_the_end(status: &Value) -> bool {
    let sources = status["sources"].as_array();
    sources.is_some_and(|sources| {
        sources.iter().all(|source| source["behind"] == 0 && source["state"] != "stopped")
    })
}

/// All tables of the application but the local one.
fn tables(cluster: &Cluster) -> Result<Vec<String>> {
    let node = cluster.nodes.first().context("no nodes")?;
    let names: String = node.query(&format!(
        "SELECT group_concat(name) FROM sqlite_schema WHERE type = 'table' AND name <> '{LOCAL_TABLE}' \
         AND substr(name, 1, 7) <> 'sqlite_' AND substr(name, 1, 13) <> '__harmonylite'"
    ))?;
    Ok(names.split(',').map(str::to_owned).collect())
}

fn conflicts(cluster: &Cluster) -> Result<u64> {
    let mut sum = 0;
    for node in &cluster.nodes {
        sum += node.status()?["counters"]["conflicts"].as_u64().context("no count of conflicts")?;
    }
    Ok(sum)
}

/// The databases as they are left: equal, sound, and as SQLite and Django want them.
fn finish(mut cluster: Cluster) -> Result<()> {
    let tables = tables(&cluster)?;
    cluster.equal_contents(&tables.iter().map(String::as_str).collect::<Vec<_>>())?;
    for node in &mut cluster.nodes {
        let sound: String = node.query("PRAGMA integrity_check")?;
        ensure!(sound == "ok", "node {}: {sound}", node.id());
        let orphans: i64 = node.query("SELECT count(*) FROM pragma_foreign_key_check")?;
        ensure!(orphans == 0, "node {}: {orphans} foreign keys lead nowhere", node.id());
        node.hide_log();
    }
    say(&format!("django: {} tables are equal on three nodes", tables.len()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_source_that_is_behind_or_stopped_is_not_read_to_its_end() {
        let status = |behind: u64, state: &str| json!({"sources": [{"behind": 0, "state": "own"}, {"behind": behind, "state": state}]});
        assert!(is_read_to_the_end(&status(0, "following")));
        assert!(!is_read_to_the_end(&status(1, "following")));
        assert!(!is_read_to_the_end(&status(0, "stopped")));
        assert!(!is_read_to_the_end(&json!({})));
    }
}
