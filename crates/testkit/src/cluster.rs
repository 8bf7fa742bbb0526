//! Several nodes that are each other's peers, and whether their databases are equal.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::contents::{Contents, difference};
use crate::node::Node;
use crate::waiting::wait_for;

/// Nodes 1 .. n, every one a peer of every other. Index 0 is node 1.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// Nodes that do not run yet, with databases made by the same statements. Ports are reserved, peers named.
    ///
    /// # Errors
    /// As [`Node::new`].
    pub fn new(binary: impl AsRef<Path>, size: usize, schema: &str) -> Result<Cluster> {
        let ids = 1..=size as u64;
        Ok(Cluster::of(ids.map(|id| Node::new(&binary, id, schema)).collect::<Result<_>>()?))
    }

    /// These nodes, none of which runs yet; from now on they know each other.
    pub fn of(nodes: Vec<Node>) -> Cluster {
        let mut cluster = Cluster { nodes };
        cluster.name_peers();
        cluster
    }

    /// Nodes 1 .. n that do not run yet and share the streams of the NATS servers at `urls`.
    ///
    /// # Errors
    /// As [`Node::new`].
    pub fn sharing(binary: impl AsRef<Path>, size: usize, schema: &str, urls: &[String]) -> Result<Cluster> {
        let mut cluster = Cluster::new(binary, size, schema)?;
        for node in &mut cluster.nodes {
            node.set_urls(urls.iter().map(String::as_str));
        }
        Ok(cluster)
    }

    /// As [`Cluster::new`], started, and all of them answering.
    ///
    /// # Errors
    /// When one of them does not get ready.
    pub fn start(binary: impl AsRef<Path>, size: usize, schema: &str) -> Result<Cluster> {
        let mut cluster = Cluster::new(binary, size, schema)?;
        cluster.start_all()?;
        Ok(cluster)
    }

    /// Starts those that do not run, and waits until all answer.
    ///
    /// # Errors
    /// When one of them does not get ready.
    pub fn start_all(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if !node.is_running() {
                node.start()?;
            }
        }
        self.nodes.iter_mut().try_for_each(Node::wait_ready)
    }

    /// Stops those that run, in order (SIGTERM), and expects that they succeed.
    ///
    /// # Errors
    /// When one does not end in time, or not with success.
    pub fn stop_all(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if !node.is_running() {
                continue;
            }
            let status = node.stop()?;
            if !status.success() {
                bail!("node {} stopped with {status}\n{}", node.id(), node.log());
            }
        }
        Ok(())
    }

    /// Waits until every node follows a source of every other, or the stream that they share.
    ///
    /// # Errors
    /// When one does not within `deadline`: with its last status and its log.
    pub fn wait_following(&self, deadline: Duration) -> Result<()> {
        let others = self.nodes.len() - 1;
        for node in &self.nodes {
            let wanted = |status: &Value| if status["mode"] == "shared" { 1 } else { others };
            node.wait_status("sources that are followed", deadline, |status| {
                followed(status) >= wanted(status)
            })?;
        }
        Ok(())
    }

    /// Waits until no node has anything left to publish.
    ///
    /// # Errors
    /// When one has after `deadline`: with its last status and its log.
    pub fn wait_published(&self, deadline: Duration) -> Result<()> {
        for node in &self.nodes {
            let nothing_left = |status: &Value| status["publisher"]["pending_rows"] == 0;
            node.wait_status("an empty outbox", deadline, nothing_left)?;
        }
        Ok(())
    }

    /// Waits until `tables` have the same rows on all nodes, every value with the same storage class and bytes.
    ///
    /// Equality now proves nothing about writes that are still to come: write first, then wait.
    ///
    /// # Errors
    /// When they are not equal within `deadline`: with the rows that differ and the logs.
    pub fn wait_equal(&self, tables: &[&str], deadline: Duration) -> Result<Contents> {
        let equal = wait_for("equal tables", deadline, || self.equal_contents(tables));
        equal.with_context(|| self.logs())
    }

    /// What all nodes hold.
    ///
    /// # Errors
    /// When they differ (with the rows), or one cannot be read.
    pub fn equal_contents(&self, tables: &[&str]) -> Result<Contents> {
        let (first, others) = self.nodes.split_first().context("a cluster without nodes")?;
        let contents = Contents::read(&first.db(), tables)?;
        for other in others {
            if let Some(text) = difference(&contents, &Contents::read(&other.db(), tables)?) {
                bail!("node {} differs from node {}:\n{text}", other.id(), first.id());
            }
        }
        Ok(contents)
    }

    /// The last lines of all logs.
    #[must_use]
    pub fn logs(&self) -> String {
        self.nodes.iter().map(Node::log).collect::<Vec<_>>().join("\n")
    }

    fn name_peers(&mut self) {
        let urls: Vec<String> = self.nodes.iter().map(Node::url).collect();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let others = urls.iter().enumerate().filter(|(other, _)| *other != index);
            node.set_peers(others.map(|(_, url)| url.as_str()));
        }
    }
}

/// How many of a node's sources are being followed.
fn followed(status: &Value) -> usize {
    let sources = status["sources"].as_array().into_iter().flatten();
    sources.filter(|source| source["state"] == "following").count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_sources_that_are_followed_count() {
        let status = json!({"sources": [{"state": "following"}, {"state": "lost"}, {"state": "following"}]});
        assert_eq!(followed(&status), 2);
        assert_eq!(followed(&json!({})), 0);
    }

    const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";

    #[test]
    fn every_node_names_every_other() -> Result<()> {
        let cluster = Cluster::new("harmonylite", 3, SCHEMA)?;
        for node in &cluster.nodes {
            for other in &cluster.nodes {
                let named = node.config_text().contains(&other.url());
                assert_eq!(named, node.id() != other.id());
            }
        }
        Ok(())
    }

    #[test]
    fn differing_rows_are_named_and_equal_ones_are_given() -> Result<()> {
        let cluster = Cluster::new("harmonylite", 3, SCHEMA)?;
        cluster.nodes[2].execute("INSERT INTO t VALUES(7, 'only here')")?;
        let error = format!("{:#}", cluster.wait_equal(&["t"], Duration::ZERO).unwrap_err());
        assert!(error.contains("node 3 differs from node 1") && error.contains("only here"), "{error}");
        for node in &cluster.nodes[..2] {
            node.execute("INSERT INTO t VALUES(7, 'only here')")?;
        }
        assert_eq!(cluster.wait_equal(&["t"], Duration::ZERO)?.rows("t"), 1);
        assert_eq!(cluster.nodes[0].query::<i64>("SELECT count(*) FROM t")?, 1);
        Ok(())
    }
}
