//! Scenario files: a topology, a load, and how often which fault happens. What they say is checked here and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// One file of `xtask/scenarios/`.
#[derive(Clone, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    /// The file's name without its ending.
    #[serde(skip)]
    pub(super) name: String,
    pub(super) mode: Mode,
    pub(super) nodes: usize,
    /// Servers that all nodes share.
    #[serde(default)]
    pub(super) servers: usize,
    #[serde(default = "one")]
    pub(super) shards: u64,
    /// Exit codes with which a sidecar may end by itself. Whoever supervises it starts it again.
    #[serde(default)]
    pub(super) may_exit: BTreeSet<i32>,
    /// Exit codes, besides 0, of an end that was asked for.
    #[serde(default)]
    pub(super) may_stop: BTreeSet<i32>,
    pub(super) load: Load,
    pub(super) small_disks: Option<SmallDisks>,
    pub(super) bounds: Bounds,
    pub(super) faults: BTreeMap<Kind, Rate>,
}

/// How the nodes reach one another.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// Every node runs a server and reads those of the others.
    Mesh,
    /// All nodes use the same servers.
    Shared,
}

/// What the application of every node does.
#[derive(Clone, Copy, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Load {
    /// Connections that write.
    pub(super) writers: u64,
    /// Transactions a second of each.
    pub(super) per_second: u32,
    /// Rows of each table that all fight over.
    pub(super) keys: u64,
}

/// Nodes whose database and streams are on a file system of their own.
#[derive(Clone, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct SmallDisks {
    /// Which, by node id.
    pub(super) nodes: BTreeSet<usize>,
    pub(super) size_mb: u64,
}

/// Resident memory that a process may reach.
#[derive(Clone, Copy, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Bounds {
    pub(super) sidecar_mb: u64,
    pub(super) server_mb: u64,
}

/// How often a fault happens, and how it is.
#[derive(Clone, Copy, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Rate {
    /// The mean time between two of them in the whole cluster.
    pub(super) every_s: f64,
    /// How long it lasts; for a kill: until the process is started again.
    #[serde(default)]
    pub(super) lasts_s: [f64; 2],
    /// How much: milliseconds of delay, seconds of a clock's step.
    #[serde(default)]
    pub(super) by: [f64; 2],
}

/// The kinds of faults.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// SIGKILL for the sidecar.
    KillSidecar,
    /// SIGTERM for the sidecar, which has to end with success.
    RestartSidecar,
    /// SIGSTOP and SIGCONT for the sidecar.
    PauseSidecar,
    /// SIGKILL for the nats-server of a node, or for one that all share.
    KillServer,
    /// SIGSTOP and SIGCONT for it.
    PauseServer,
    /// SIGKILL for the application.
    KillApplication,
    /// Connections over a link are closed, new ones too.
    CutLink,
    /// Nothing moves over a link, and nobody is told.
    StallLink,
    /// What goes over a link takes its time.
    DelayLink,
    /// A small disk is filled to its last byte.
    FillDisk,
    /// The clock of sidecar and application is so far off.
    StepClock,
}

impl Kind {
    /// As in the scenario files.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::KillSidecar => "kill_sidecar",
            Self::RestartSidecar => "restart_sidecar",
            Self::PauseSidecar => "pause_sidecar",
            Self::KillServer => "kill_server",
            Self::PauseServer => "pause_server",
            Self::KillApplication => "kill_application",
            Self::CutLink => "cut_link",
            Self::StallLink => "stall_link",
            Self::DelayLink => "delay_link",
            Self::FillDisk => "fill_disk",
            Self::StepClock => "step_clock",
        }
    }
}

impl Scenario {
    /// Reads one file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text).with_context(|| path.display().to_string())
    }

    fn parse(name: &str, text: &str) -> Result<Self> {
        let mut scenario: Self = toml::from_str(text)?;
        name.clone_into(&mut scenario.name);
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.nodes >= 2, "`nodes` has to be at least 2");
        let shares = self.mode == Mode::Shared;
        ensure!(
            shares == (self.servers > 0),
            "`servers` are those that nodes share: none in a mesh, else 1 or 3"
        );
        ensure!(self.load.writers > 0 && self.load.per_second > 0 && self.load.keys > 0, "`load` is none");
        ensure!(!self.faults.is_empty(), "there is no fault");
        for (kind, rate) in &self.faults {
            rate.check().with_context(|| format!("faults.{}", kind.name()))?;
        }
        let nodes = self.small_disks.iter().flat_map(|disks| &disks.nodes);
        let mut unknown = nodes.filter(|node| !(1..=self.nodes).contains(node));
        ensure!(unknown.next().is_none(), "`small_disks` names a node that is not there");
        let fills = self.faults.contains_key(&Kind::FillDisk);
        ensure!(!fills || self.small_disks.is_some(), "`fill_disk` needs `small_disks`");
        Ok(())
    }

    /// Do sidecars and applications run with a clock that can be moved?
    pub(super) fn moves_clocks(&self) -> bool {
        self.faults.contains_key(&Kind::StepClock)
    }

    /// The nodes with a small disk, by index.
    pub(super) fn small_disks(&self) -> Vec<usize> {
        self.small_disks.iter().flat_map(|disks| &disks.nodes).map(|node| node - 1).collect()
    }

    /// How many servers there are.
    pub(super) fn server_count(&self) -> usize {
        match self.mode {
            Mode::Mesh => self.nodes,
            Mode::Shared => self.servers,
        }
    }

    /// Who reaches whom over a link of its own, by index: a node another one, or a shared server.
    pub(super) fn links(&self) -> Vec<(usize, usize)> {
        let all = (0..self.nodes).flat_map(|from| (0..self.nodes).map(move |to| (from, to)));
        match self.mode {
            Mode::Mesh => all.filter(|(from, to)| from != to).collect(),
            Mode::Shared => {
                (0..self.nodes).flat_map(|from| (0..self.servers).map(move |to| (from, to))).collect()
            }
        }
    }
}

impl Rate {
    fn check(&self) -> Result<()> {
        ensure!(self.every_s > 0.0, "`every_s` has to be above 0");
        ensure!(self.lasts_s[0] >= 0.0 && self.lasts_s[0] <= self.lasts_s[1], "`lasts_s` is no range");
        ensure!(self.by[0] <= self.by[1], "`by` is no range");
        Ok(())
    }
}

const fn one() -> u64 {
    1
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const SMALL: &str = "mode = \"mesh\"\nnodes = 3\nload = { writers = 1, per_second = 5, keys = 9 }\n\
        bounds = { sidecar_mb = 1, server_mb = 1 }\n\
        [faults]\nkill_sidecar = { every_s = 2 }\ncut_link = { every_s = 3, lasts_s = [1, 2] }\n";

    pub(crate) fn small() -> Scenario {
        Scenario::parse("small", SMALL).unwrap()
    }

    #[test]
    fn every_pair_of_a_mesh_has_a_link_in_each_direction() {
        assert_eq!(small().links(), [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]);
    }

    #[test]
    fn every_node_has_a_link_to_every_shared_server() {
        let text = SMALL.replace("\"mesh\"", "\"shared\"\nservers = 2");
        let scenario = Scenario::parse("shared", &text).unwrap();
        assert_eq!(scenario.links(), [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        let cases = [
            ("nodes = 3", "nodes = 1", "`nodes`"),
            ("\"mesh\"", "\"shared\"", "`servers`"),
            ("kill_sidecar", "kill_nobody", "kill_nobody"),
            ("lasts_s = [1, 2]", "lasts_s = [2, 1]", "faults.cut_link"),
            ("kill_sidecar", "fill_disk", "`small_disks`"),
        ];
        for (from, to, complaint) in cases {
            let error = format!("{:#}", Scenario::parse("x", &SMALL.replace(from, to)).unwrap_err());
            assert!(error.contains(complaint), "{error}");
        }
    }
}
