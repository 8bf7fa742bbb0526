//! Several nats-servers that are one NATS cluster: streams have copies on all of them, and a leader that can be killed.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::nats_server::NatsServer;
use crate::ports::Port;
use crate::waiting::wait_for;

/// An election takes some seconds, on a busy machine more.
const ELECTION_DEADLINE: Duration = Duration::from_secs(60);

/// A cluster by routes on loopback. Index 0 is the server `n1`.
#[derive(Debug)]
pub struct NatsCluster {
    servers: Vec<NatsServer>,
    // Held for as long as the servers: they listen there again after a restart.
    _routes: Vec<Port>,
}

impl NatsCluster {
    /// Starts `size` servers, each of whose configurations ends in `settings`, and waits until they have a leader.
    ///
    /// # Errors
    /// As [`NatsServer::start_with`], or when no leader is elected in time.
    pub fn start_with(size: usize, settings: &str) -> Result<NatsCluster> {
        let routes: Vec<Port> = (0..size).map(|_| Port::reserve()).collect::<Result<_>>()?;
        let urls: Vec<String> = routes.iter().map(|port| format!("\"nats://{}\"", port.address())).collect();
        let mut servers = Vec::new();
        for (number, route) in (1..).zip(&routes) {
            let mut text = String::new();
            let (listen, urls) = (route.address(), urls.join(", "));
            writeln!(text, "server_name: n{number}")?;
            writeln!(
                text,
                "cluster {{ name: testkit, listen: \"{listen}\", routes: [{urls}] }}\n{settings}"
            )?;
            servers.push(NatsServer::start_with(&text)?);
        }
        let cluster = NatsCluster { servers, _routes: routes };
        cluster.wait_elected()?;
        Ok(cluster)
    }

    /// Its servers.
    #[must_use]
    pub fn servers(&self) -> &[NatsServer] {
        &self.servers
    }

    /// One of them, to be stopped and started.
    pub fn server(&mut self, index: usize) -> &mut NatsServer {
        &mut self.servers[index]
    }

    /// Their URLs.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(NatsServer::url).collect()
    }

    /// Waits until JetStream answers.
    ///
    /// # Errors
    /// When it does not in time; with what was last said.
    pub fn wait_elected(&self) -> Result<()> {
        wait_for("a JetStream that answers", ELECTION_DEADLINE, || self.ask("$JS.API.STREAM.NAMES").map(drop))
    }

    /// The index of the server that leads `stream`.
    ///
    /// # Errors
    /// When none does in time.
    pub fn leader_of(&self, stream: &str) -> Result<usize> {
        wait_for(&format!("a leader of {stream}"), ELECTION_DEADLINE, || {
            let info = self.ask(&format!("$JS.API.STREAM.INFO.{stream}"))?;
            let leader = info["cluster"]["leader"].as_str().context("there is none")?;
            let number: usize = leader.trim_start_matches('n').parse()?;
            number.checked_sub(1).filter(|index| *index < self.servers.len()).context("a stranger")
        })
    }

    /// Asks the first server that answers.
    fn ask(&self, subject: &str) -> Result<Value> {
        let running = self.servers.iter().filter(|server| server.pid().is_some());
        let mut last = None;
        for server in running {
            match server.request(subject, "") {
                Ok(answer) if answer["error"].is_null() => return Ok(answer),
                Ok(answer) => last = Some(anyhow::anyhow!("{}", answer["error"])),
                Err(error) => last = Some(error),
            }
        }
        ensure!(last.is_some(), "no server runs");
        Err(last.context("no server runs")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_another_leader_after_its_leader_was_killed() -> Result<()> {
        let mut cluster = NatsCluster::start_with(3, "")?;
        let stream = r#"{"name":"s","subjects":["s.>"],"storage":"file","num_replicas":3}"#;
        let made = cluster.servers[0].request("$JS.API.STREAM.CREATE.s", stream)?;
        assert!(made["error"].is_null(), "{made}");
        let first = cluster.leader_of("s")?;
        cluster.server(first).kill9()?;
        wait_for("another leader", ELECTION_DEADLINE, || {
            let second = cluster.leader_of("s")?;
            ensure!(second != first, "still {first}");
            Ok(())
        })?;
        cluster.server(first).restart()?;
        cluster.wait_elected()
    }
}
