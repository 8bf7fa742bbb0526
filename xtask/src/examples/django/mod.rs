//! The Django example: two instances of one shop on two of three nodes, through an upgrade of the application.
//!
//! Tables with UUID keys are written on both nodes at the same time, tables with integer keys in turns. Whatever Django
//! wrote, every table must be equal on all nodes, and no write may have failed.

mod project;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use harmonylite_testkit::{Node, Rng, wait_for};
use serde_json::Value;

use self::project::{Project, Release};
use super::stage::{DEADLINE, Stage};

const EDIT_ROUNDS: u32 = 12;

/// The only table that is left out, see the example's own `migrate`.
const LOCAL_TABLE: &str = "django_migrations";

/// Runs the example.
pub(crate) fn run(root: &Path, binary: &Path) -> Result<()> {
    let project = Project::install(root)?;
    let mut rng = Rng::from_environment();
    let mut stage =
        Stage::prepare("django", binary, &[LOCAL_TABLE], |node| migrate_and_stock(&project, node))?;
    do_business(&mut stage, &project, Release::First, &mut rng)?;
    upgrade(&stage, &project)?;
    do_business(&mut stage, &project, Release::Second, &mut rng)?;
    stage.finish()
}

fn migrate_and_stock(project: &Project, node: &Node) -> Result<()> {
    for app in ["contenttypes", "auth", "sessions", "shop"] {
        let target = if app == "shop" { &["shop", "0001"][..] } else { &[app] };
        project.run(node, Release::First, &[&["migrate", "--verbosity=0"], target].concat())?;
    }
    project.run(node, Release::First, &["stock"]).map(drop)
}

/// Both instances at the same time where keys cannot collide, then one after the other where they could.
fn do_business(stage: &mut Stage, project: &Project, release: Release, rng: &mut Rng) -> Result<()> {
    trade(stage, project, release, rng)?;
    for index in [0, 1, 0] {
        edit(stage, project, release, &stage.cluster.nodes[index], rng)?;
    }
    Ok(())
}

fn trade(stage: &mut Stage, project: &Project, release: Release, rng: &mut Rng) -> Result<()> {
    stage.say(&format!("two instances of the {release} release write at the same time"));
    let seed = rng.below(1_000_000).to_string();
    let before = stage.conflicts()?;
    let reports = stage.write_at_once(
        &|node, writes| {
            let id = node.id().to_string();
            let arguments = if writes { &["trade", "--node", &id, "--seed", &seed][..] } else { &["watch"] };
            project.start(node, release, arguments)
        },
        "SELECT count(*) FROM shop_orderline",
        rng,
    )?;
    for (id, report) in &reports {
        nothing_of_its_own_is_lost(stage, *id, report)?;
    }
    ensure!(stage.conflicts()? > before, "the instances never met: this tried nothing");
    Ok(())
}

/// Rows that only one instance writes: there are as many everywhere as it left.
fn nothing_of_its_own_is_lost(stage: &Stage, id: u64, report: &Value) -> Result<()> {
    let customers = format!("shop_customer WHERE node = {id}");
    let orders = format!("shop_order WHERE customer_id IN (SELECT id FROM {customers})");
    let lines = format!("shop_orderline WHERE order_id IN (SELECT id FROM {orders})");
    for (name, rows) in [("customers", customers), ("orders", orders), ("lines", lines)] {
        let wanted = report[name].as_i64().with_context(|| format!("no {name} in {report}"))?;
        for node in &stage.cluster.nodes {
            let found: i64 = node.query(&format!("SELECT count(*) FROM {rows}"))?;
            ensure!(found == wanted, "node {}: {found} {name} of node {id}, not {wanted}", node.id());
        }
    }
    Ok(())
}

fn edit(stage: &Stage, project: &Project, release: Release, node: &Node, rng: &mut Rng) -> Result<()> {
    stage.say(&format!("the instance on node {} writes the tables with integer keys", node.id()));
    let (seed, rounds) = (rng.below(1_000_000).to_string(), EDIT_ROUNDS.to_string());
    let report = project.run(node, release, &["edit", "--rounds", &rounds, "--seed", &seed])?;
    let contents = stage.settle()?;
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
fn upgrade(stage: &Stage, project: &Project) -> Result<()> {
    stage.say("every node is migrated to the second release, beside the running sidecars");
    for node in &stage.cluster.nodes {
        project.run(node, Release::Second, &["migrate", "--verbosity=0"])?;
        let added =
            "SELECT count(*) FROM pragma_table_info('shop_product') WHERE name IN ('origin', 'warehouse')";
        ensure!(node.query::<i64>(added)? == 2, "node {}: the migration added no columns", node.id());
    }
    for node in &stage.cluster.nodes {
        wait_for("triggers on the rebuilt tables", DEADLINE, || stage.capture_is_complete(node))?;
    }
    stage.settle().map(drop)
}
