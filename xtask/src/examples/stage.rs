//! The three nodes of an example, and what is demanded of every one of them: equal tables, nothing lost, no write that failed.
//!
//! Instances on nodes 1 and 2 write; on node 3 only HarmonyLite does. Whatever an application has to say of its own data
//! it says itself: this knows no table by name.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harmonylite_testkit::{Cluster, Contents, Node, Rng, wait_for};
use serde_json::Value;

use super::instance::Instance;
use super::say;

/// How long anything may take that should take a moment, on a machine that does other things, too.
pub(super) const DEADLINE: Duration = Duration::from_secs(90);

/// How many nodes have an instance that writes: the first ones.
const WRITERS: usize = 2;

/// By how much a number must rise to show that an instance is writing.
const PROGRESS: i64 = 25;

/// Ordinary tables of the application.
const TABLES: &str = "SELECT coalesce(group_concat(name), '') FROM pragma_table_list WHERE schema = 'main' \
    AND type = 'table' AND substr(name, 1, 7) <> 'sqlite_' AND substr(name, 1, 13) <> '__harmonylite'";

/// Values that lost and are kept. Unlike the status' counter it survives a restart.
const CONFLICTS: &str = "SELECT count(*) FROM __harmonylite___conflict_log";

/// Three nodes whose databases began as copies of one.
pub(super) struct Stage {
    name: &'static str,
    pub(super) cluster: Cluster,
    left_out: &'static [&'static str],
}

/// How an instance is started beside a node: one that writes, or (false) one that only looks.
pub(super) type Start<'a> = dyn Fn(&Node, bool) -> Result<Instance> + 'a;

impl Stage {
    /// Has `make` fill the database of one node, copies it to the others, and starts all of them. `left_out` are the tables
    /// that must not be replicated, in the order of their names.
    pub(super) fn prepare(
        name: &'static str,
        binary: &Path,
        left_out: &'static [&'static str],
        make: impl FnOnce(&Node) -> Result<()>,
    ) -> Result<Stage> {
        let cluster = Cluster::new(binary, 3, "")?;
        let mut stage = Stage { name, cluster, left_out };
        stage.say("one database is made and copied to three nodes");
        let (first, others) = stage.cluster.nodes.split_first().context("no nodes")?;
        make(first)?;
        for other in others {
            // Nobody has it open, so the file is all of it.
            std::fs::copy(first.db(), other.db()).context("copying the database")?;
        }
        stage.cluster.start_all()?;
        stage.cluster.wait_following(DEADLINE)?;
        stage.only_what_should_be_is_left_out()?;
        Ok(stage)
    }

    /// A line on what is going on.
    pub(super) fn say(&self, text: &str) {
        say(&format!("{}: {text}", self.name));
    }

    fn only_what_should_be_is_left_out(&self) -> Result<()> {
        for node in &self.cluster.nodes {
            let status = node.status()?;
            let tables = status["tables"].as_array().context("the status lists no tables")?;
            let left_out: Vec<&Value> = tables
                .iter()
                .filter(|table| table["replicated"] != true)
                .map(|table| &table["name"])
                .collect();
            ensure!(left_out == self.left_out, "node {} leaves out {left_out:?}", node.id());
        }
        Ok(())
    }

    /// Lets one instance beside every node work at the same time, and a node of any choice end in the middle and come back.
    /// Gives what the writing instances reported when all nodes are equal again, with the ids of their nodes.
    ///
    /// `progress` is a query for a number that rises while an instance writes.
    pub(super) fn write_at_once(
        &mut self,
        start: &Start<'_>,
        progress: &str,
        rng: &mut Rng,
    ) -> Result<Vec<(u64, Value)>> {
        let before = self.conflicts()?;
        let nodes = self.cluster.nodes.iter().enumerate();
        let mut instances =
            nodes.map(|(index, node)| start(node, index < WRITERS)).collect::<Result<Vec<_>>>()?;
        instances.iter_mut().try_for_each(Instance::wait_ready)?;
        instances.iter_mut().try_for_each(Instance::begin)?;
        self.restart_in_the_middle(&mut instances, progress, rng)?;
        instances.iter_mut().for_each(Instance::end_input);
        let mut reports = Vec::new();
        for (node, instance) in self.cluster.nodes.iter().zip(instances) {
            reports.push((node.id(), instance.finish()?));
        }
        reports.truncate(WRITERS);
        self.settle()?;
        let conflicts = self.conflicts()? - before;
        self.say(&format!("all nodes are equal; {conflicts} rows lost against others"));
        Ok(reports)
    }

    /// Any node, killed or stopped in order, while the instances write; and started again when they have gone on without it.
    fn restart_in_the_middle(
        &mut self,
        instances: &mut [Instance],
        progress: &str,
        rng: &mut Rng,
    ) -> Result<()> {
        let nodes = self.cluster.nodes.len();
        let (victim, kill) = (rng.below(nodes as u64) as usize, rng.chance(50));
        // Where nobody writes, rows come only while the node is up: there another node shows that time has passed.
        let witness = if victim < WRITERS { victim } else { 0 };
        self.wait_progress(instances, witness, progress)?;
        let node = &mut self.cluster.nodes[victim];
        say(&format!("{}: node {} is {}", self.name, node.id(), if kill { "killed" } else { "stopped" }));
        if kill {
            node.kill9()?;
        } else {
            let status = node.stop()?;
            ensure!(status.success(), "node {} stopped with {status}\n{}", node.id(), node.log());
        }
        self.wait_progress(instances, witness, progress)?;
        let node = &mut self.cluster.nodes[victim];
        // What it logged stays in its file, and is shown if the rest fails.
        node.hide_log();
        node.start()?;
        node.wait_ready()?;
        self.say("and back again");
        (0..WRITERS).try_for_each(|index| self.wait_progress(instances, index, progress))
    }

    /// Waits until the instance beside a node has written more; fails when any instance ends before.
    fn wait_progress(&self, instances: &mut [Instance], index: usize, progress: &str) -> Result<()> {
        let node = self.cluster.nodes.get(index).context("no such node")?;
        let start: i64 = node.query(progress)?;
        wait_for("writes of the instances", DEADLINE, || {
            if let Some(ended) = instances.iter_mut().find_map(|instance| instance.ensure_running().err()) {
                return Ok(Err(ended));
            }
            let now: i64 = node.query(progress)?;
            ensure!(now >= start + PROGRESS, "node {}: {start}, then {now}", node.id());
            Ok(Ok(()))
        })?
    }

    /// Demands that `check`, which the application runs on the database of every node, finds no fault and says of each
    /// writing instance what that reported itself: nobody else writes what is its own.
    pub(super) fn nothing_is_lost(
        &self,
        reports: &[(u64, Value)],
        check: &dyn Fn(&Node, u64) -> Result<Value>,
    ) -> Result<()> {
        for (id, report) in reports {
            ensure!(
                report.as_object().is_some_and(|report| !report.is_empty()),
                "node {id} reported {report}"
            );
            for node in &self.cluster.nodes {
                let found = check(node, *id)?;
                ensure!(
                    found == *report,
                    "node {} has of node {id}: {found}, not what that reported: {report}",
                    node.id()
                );
            }
        }
        Ok(())
    }

    /// Waits until everything is sent and applied; then all tables must be equal.
    pub(super) fn settle(&self) -> Result<Contents> {
        self.cluster.wait_published(DEADLINE)?;
        let tables = self.tables()?;
        let names: Vec<&str> = tables.iter().map(String::as_str).collect();
        let contents = self.cluster.wait_equal(&names, DEADLINE)?;
        for node in &self.cluster.nodes {
            let status = node.wait_status("sources read to their end", DEADLINE, is_read_to_the_end)?;
            ensure!(status["dead_letters"] == 0, "node {} has dead letters: {status:#}", node.id());
        }
        Ok(contents)
    }

    /// The application's tables that are replicated.
    pub(super) fn tables(&self) -> Result<Vec<String>> {
        let node = self.cluster.nodes.first().context("no nodes")?;
        let names: String = node.query(TABLES)?;
        let all = names.split(',').filter(|name| !name.is_empty() && !self.left_out.contains(name));
        Ok(all.map(str::to_owned).collect())
    }

    /// How many rows have lost against others.
    pub(super) fn conflicts(&self) -> Result<i64> {
        self.cluster.nodes.iter().map(|node| node.query::<i64>(CONFLICTS)).sum()
    }

    /// An error while a table has no triggers: a migration has made it anew, and the sidecar has not noticed yet.
    pub(super) fn capture_is_complete(&self, node: &Node) -> Result<()> {
        for table in self.tables()? {
            let trigger = format!("__harmonylite__{table}_change_log_on_insert");
            let sql =
                format!("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name = '{trigger}'");
            ensure!(node.query::<i64>(&sql)? == 1, "node {}: no triggers on {table}", node.id());
        }
        Ok(())
    }

    /// The databases as they are left: equal, sound, and with references that lead somewhere.
    pub(super) fn finish(mut self) -> Result<()> {
        self.cluster.stop_all()?;
        let tables = self.tables()?;
        self.cluster.equal_contents(&tables.iter().map(String::as_str).collect::<Vec<_>>())?;
        for node in &mut self.cluster.nodes {
            let sound: String = node.query("PRAGMA integrity_check")?;
            ensure!(sound == "ok", "node {}: {sound}", node.id());
            let orphans: i64 = node.query("SELECT count(*) FROM pragma_foreign_key_check")?;
            ensure!(orphans == 0, "node {}: {orphans} foreign keys lead nowhere", node.id());
            node.hide_log();
        }
        self.say(&format!("{} tables are equal on three nodes", tables.len()));
        Ok(())
    }
}

fn is_read_to_the_end(status: &Value) -> bool {
    let sources = status["sources"].as_array();
    sources.is_some_and(|sources| {
        sources.iter().all(|source| source["behind"] == 0 && source["state"] != "stopped")
    })
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
