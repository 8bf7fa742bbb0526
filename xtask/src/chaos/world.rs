//! What a scenario's topology is made of: nodes with their databases, links between them, small disks, clocks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harmonylite_testkit::{Cluster, Node, Proxy};
use tempfile::TempDir;

use super::application::schema::SCHEMA;
use super::clock::Clock;
use super::mounts;
use super::scenario::{Mode, Scenario};
use super::servers::Servers;

/// For what takes a second or two on a quiet machine.
const DEADLINE: Duration = Duration::from_secs(90);

/// Everything that runs, and where it is.
pub(super) struct World {
    pub(super) cluster: Cluster,
    /// Those of shared mode.
    pub(super) servers: Option<Servers>,
    /// As [`Scenario::links`] orders them.
    pub(super) links: Vec<Proxy>,
    /// One of every node, when clocks can be moved.
    pub(super) clocks: Vec<Clock>,
    /// Folders that are a file system of their own.
    mounted: Vec<PathBuf>,
    /// Last: what runs in it ends before.
    folder: TempDir,
}

impl World {
    /// Makes it, and starts nothing yet.
    pub(super) fn build(root: &Path, scenario: &Scenario, binary: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("harmonylite-chaos-").tempdir()?;
        let mut world = Self {
            cluster: Cluster { nodes: Vec::new() },
            servers: None,
            links: Vec::new(),
            clocks: Vec::new(),
            mounted: Vec::new(),
            folder,
        };
        fs::create_dir(world.journals())?;
        for index in 0..scenario.nodes {
            world.add_node(scenario, binary, index)?;
        }
        if scenario.mode == Mode::Shared {
            world.servers = Some(Servers::start(scenario.servers)?);
        }
        world.link(scenario)?;
        if scenario.moves_clocks() {
            world.add_clocks(root, scenario.nodes)?;
        }
        Ok(world)
    }

    /// Starts the nodes, and waits until each follows all others.
    pub(super) fn start(&mut self) -> Result<()> {
        self.cluster.start_all()?;
        self.cluster.wait_following(DEADLINE)
    }

    /// The folder of a node's database; its file system, when it has a small disk.
    pub(super) fn disk(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("node-{}", index + 1))
    }

    /// The folder of the applications' journals.
    pub(super) fn journals(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    /// What an application complains of.
    pub(super) fn application_log(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("application-{}.log", index + 1))
    }

    /// Copies everything to a folder, after killing what still runs.
    pub(super) fn keep(&mut self, folder: &Path) -> Result<()> {
        for node in &mut self.cluster.nodes {
            // Those that have ended need no killing.
            let _ = node.kill9();
        }
        fs::create_dir_all(folder)?;
        copy(self.folder.path(), folder)?;
        for node in &self.cluster.nodes {
            let own = folder.join(format!("node-{}", node.id()));
            copy(node.folder(), &own)?;
        }
        let servers = self.servers.iter().flat_map(Servers::folders);
        for (number, server) in (1..).zip(servers) {
            copy(&server, &folder.join(format!("server-{number}")))?;
        }
        Ok(())
    }

    fn add_node(&mut self, scenario: &Scenario, binary: &Path, index: usize) -> Result<()> {
        let disk = self.disk(index);
        fs::create_dir(&disk)?;
        if let Some(disks) = scenario.small_disks.as_ref().filter(|_| scenario.small_disks().contains(&index))
        {
            mounts::mount(&disk, disks.size_mb)?;
            self.mounted.push(disk.clone());
        }
        let mut node = Node::with_database(binary, index as u64 + 1, SCHEMA, &disk.join("app.db"))?;
        node.set("replication_log.shards", scenario.shards);
        node.set("replication_log.replicas", scenario.servers.max(1));
        node.set("replication_log.max_bytes", "\"256MiB\"");
        // Every value that lost is looked for.
        node.set("conflict.log_max_entries", 0);
        // They are kept where something is wrong.
        node.hide_log();
        self.cluster.nodes.push(node);
        Ok(())
    }

    fn link(&mut self, scenario: &Scenario) -> Result<()> {
        let links = scenario.links();
        let targets = match &self.servers {
            Some(servers) => servers.addresses(),
            None => self.cluster.nodes.iter().map(Node::address).collect(),
        };
        for (_, to) in &links {
            self.links.push(Proxy::start(&targets[*to])?);
        }
        for (index, node) in self.cluster.nodes.iter_mut().enumerate() {
            let own = links.iter().zip(&self.links).filter(|((from, _), _)| *from == index);
            let urls: Vec<String> = own.map(|(_, proxy)| format!("nats://{}", proxy.address())).collect();
            let urls = urls.iter().map(String::as_str);
            match scenario.mode {
                Mode::Mesh => {
                    node.set_peers(urls);
                    // Each link is cut by itself: nobody is told an address that leads around it.
                    node.set("cluster.advertise", "\"127.0.0.1:1\"");
                }
                Mode::Shared => node.set_urls(urls),
            }
        }
        Ok(())
    }

    fn add_clocks(&mut self, root: &Path, nodes: usize) -> Result<()> {
        for index in 0..nodes {
            let clock = Clock::new(root, self.folder.path(), index + 1)?;
            for (name, value) in clock.environment() {
                self.cluster.nodes[index].set_variable(name, value);
            }
            self.clocks.push(clock);
        }
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The processes first: they have files open there.
        self.cluster.nodes.clear();
        self.mounted.iter().for_each(|folder| mounts::unmount(folder));
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    // Not by this process: closing a descriptor of a database would drop the locks of its own connections. The sockets
    // among the files are copied as such.
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().context("running cp")?;
    ensure!(status.success(), "cp of {} ended with {status}", from.display());
    Ok(())
}
