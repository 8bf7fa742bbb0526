//! Looks at the memory of sidecars and servers once a second, and ends the run when one has more than the scenario allows.

use std::fs;
use std::time::Duration;

use harmonylite_testkit::ProcessId;

use super::faults::is_server;
use super::stage::Stage;

const LOOK: Duration = Duration::from_secs(1);

/// Watches for as long as the run lasts.
pub(super) fn watch(stage: &Stage<'_>) {
    while stage.timeline.wait(LOOK) {
        for index in 0..stage.scenario.nodes {
            let Some(sidecar) = stage.sidecar(index) else { continue };
            let server = sidecar.children().into_iter().find(|child| is_server(*child));
            let sidecar_mb = resident_mb(sidecar);
            let server_mb = server.map_or(0, resident_mb);
            stage.see_memory(|tally| {
                tally.sidecar_mb = tally.sidecar_mb.max(sidecar_mb);
                tally.server_mb = tally.server_mb.max(server_mb);
            });
            let bounds = stage.scenario.bounds;
            if sidecar_mb > bounds.sidecar_mb || server_mb > bounds.server_mb {
                let node = index + 1;
                stage.violation(format!(
                    "node {node}: memory of sidecar {sidecar_mb} MB, server {server_mb} MB; at most {bounds:?}"
                ));
            }
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
