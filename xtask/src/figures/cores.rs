//! Which processors a node, its server and its application run on.

use anyhow::Result;
use harmonylite_testkit::Cluster;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How the nodes of one machine share it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cores {
    /// A processor for each node and its application, as on machines of their own: what is measured is then not that the load
    /// on one node takes the processor from another.
    Own,
    /// Wherever the system puts them.
    Shared,
}

impl Cores {
    /// Runs `work` where node `index` belongs: so do the processes and threads that it starts.
    pub(super) fn with<T>(self, index: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self == Self::Shared {
            return work();
        }
        let all = sched_getaffinity(None)?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        let mut own = CpuSet::new();
        own.set(cores[index % cores.len()]);
        sched_setaffinity(None, &own)?;
        let done = work();
        sched_setaffinity(None, &all)?;
        done
    }

    pub(super) fn start_all(self, cluster: &mut Cluster) -> Result<()> {
        for (index, node) in cluster.nodes.iter_mut().enumerate() {
            self.with(index, || node.start())?;
        }
        // Those that run already are only waited for.
        cluster.start_all()
    }
}
