//! Looks at the memory of sidecars and servers once a second, and ends the run when one has more than the scenario allows.

use std::fs;
use std::time::Duration;

use harmonylite_testkit::ProcessId;

use super::faults::is_server;
use super::servers::Servers;
use super::stage::Stage;

const LOOK: Duration = Duration::from_secs(1);

/// Watches for as long as the run lasts. `shared` are the servers that belong to no node.
pub(super) fn watch(stage: &Stage<'_>, shared: Option<&Servers>) {
    while stage.timeline.wait(LOOK) {
        let sidecars: Vec<_> = (0..stage.scenario.nodes).filter_map(|index| stage.sidecar(index)).collect();
        let children = sidecars.iter().flat_map(|sidecar| sidecar.children());
        let servers = children.filter(|child| is_server(*child));
        let servers = servers.chain(shared.into_iter().flat_map(Servers::processes));
        let sidecar_mb = sidecars.iter().copied().map(resident_mb).max().unwrap_or_default();
        let server_mb = servers.map(resident_mb).max().unwrap_or_default();
        stage.see_memory(|tally| {
            tally.sidecar_mb = tally.sidecar_mb.max(sidecar_mb);
            tally.server_mb = tally.server_mb.max(server_mb);
        });
        let bounds = stage.scenario.bounds;
        if sidecar_mb > bounds.sidecar_mb || server_mb > bounds.server_mb {
            stage.violation(format!(
                "memory: a sidecar has {sidecar_mb} MB, or a server {server_mb} MB; at most {bounds:?}"
            ));
        }
    }
}

/// Nothing when it is gone.
fn resident_mb(process: ProcessId) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}
