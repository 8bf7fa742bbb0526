//! Those who cause faults: a thread for each place, which does one planned act after the other and undoes each at its end,
//! or at the end of the run. Whoever owns a process supervises it, too.

use std::path::{Path, PathBuf};
use std::time::Duration;

use harmonylite_testkit::{Context as _, Node, ProcessId, Proxy, Result, bail};

use super::clock::{self, Clock};
use super::plan::{Act, Place};
use super::scenario::Kind;
use super::stage::Stage;

/// How often a supervisor looks at its process.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// After that a service manager starts a process again that ended by itself.
const RESTART_WAIT: Duration = Duration::from_secs(1);

/// How long a fault waits for a server to be there.
const SERVER_WAIT: Duration = Duration::from_secs(10);

/// Kills, stops, pauses and supervises the sidecar of a node. At the end it runs.
pub(super) fn sidecar(stage: &Stage<'_>, index: usize, node: &mut Node) {
    let mut work = || -> Result<()> {
        stage.set_sidecar(index, node.process());
        for act in stage.acts(Place::Sidecar(index)) {
            if !supervise(stage, index, node, act.at)? {
                break;
            }
            let acted = act_on_sidecar(stage, node, act).with_context(|| act.kind.name())?;
            stage.set_sidecar(index, node.process());
            if acted {
                stage.count(act.kind);
            }
        }
        while supervise(stage, index, node, Duration::MAX)? {}
        Ok(())
    };
    if let Err(error) = work() {
        stage.violation(format!("node {}: {error:#}", index + 1));
    }
}

/// Starts the sidecar again when it ended by itself in a way that it may. False when the run is over.
fn supervise(stage: &Stage<'_>, index: usize, node: &mut Node, until: Duration) -> Result<bool> {
    while stage.timeline.wait_until(until.min(stage.timeline.now() + LOOK)) {
        if !node.is_running() {
            let status = node.wait_exit(Duration::ZERO)?;
            match status.code() {
                Some(code) if stage.scenario.may_exit.contains(&code) => stage.count_exit(code),
                _ => bail!("the sidecar ended by itself with {status}\n{}", node.log()),
            }
            stage.timeline.wait(RESTART_WAIT);
            node.start()?;
            stage.set_sidecar(index, node.process());
        }
        if stage.timeline.now() >= until {
            return Ok(true);
        }
    }
    Ok(false)
}

/// False when there was no moment for it.
fn act_on_sidecar(stage: &Stage<'_>, node: &mut Node, act: &Act) -> Result<bool> {
    let process = node.process().context("it does not run")?;
    match act.kind {
        Kind::PauseSidecar => {
            process.pause();
            stage.timeline.wait(act.lasts);
            process.resume();
            return Ok(true);
        }
        Kind::RestartSidecar => {
            // One that has just begun may not listen yet, and then ends as any process would.
            while process.is_running() && !catches_term(process) && stage.timeline.wait(LOOK) {}
            if !catches_term(process) {
                return Ok(false);
            }
            let status = node.stop()?;
            match status.code() {
                Some(0) => {}
                Some(code) if stage.scenario.may_stop.contains(&code) => stage.count_exit(code),
                _ => bail!("the sidecar stopped with {status}\n{}", node.log()),
            }
        }
        _ => node.kill9()?,
    }
    clock::forget(process.pid());
    stage.timeline.wait(act.lasts);
    node.start()?;
    Ok(true)
}

/// Has it a handler for SIGTERM?
fn catches_term(process: ProcessId) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap_or_default();
    let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    // proc(5): bit 0 is signal 1; SIGTERM is 15.
    mask >> 14 & 1 == 1
}

/// Kills and pauses the nats-server of a node in a mesh.
pub(super) fn server(stage: &Stage<'_>, index: usize) {
    for act in stage.acts(Place::Server(index)) {
        if !stage.timeline.wait_until(act.at) {
            return;
        }
        let Some(server) = server_of(stage, index) else { continue };
        if act.kind == Kind::KillServer {
            server.kill9();
        } else {
            server.pause();
            stage.timeline.wait(act.lasts);
            server.resume();
        }
        stage.count(act.kind);
    }
}

/// The server of a node, as soon as there is one.
fn server_of(stage: &Stage<'_>, index: usize) -> Option<ProcessId> {
    let end = stage.timeline.now() + SERVER_WAIT;
    loop {
        let children = stage.sidecar(index).map(ProcessId::children).unwrap_or_default();
        if let Some(server) = children.into_iter().find(|child| is_server(*child)) {
            return Some(server);
        }
        if stage.timeline.now() > end || !stage.timeline.wait(LOOK) {
            return None;
        }
    }
}

/// A server that serves: not one that was asked for its version, nor a fork of the sidecar that is none yet.
pub(super) fn is_server(process: ProcessId) -> bool {
    let arguments = std::fs::read(format!("/proc/{}/cmdline", process.pid())).unwrap_or_default();
    let mut arguments = arguments.split(|byte| *byte == 0);
    arguments.next().is_some_and(|program| program.ends_with(b"nats-server"))
        && arguments.any(|one| one == b"-c")
}

/// Cuts, stalls and delays a link.
pub(super) fn link(stage: &Stage<'_>, index: usize, proxy: &Proxy) {
    for act in stage.acts(Place::Link(index)) {
        if !stage.timeline.wait_until(act.at) {
            return;
        }
        match act.kind {
            Kind::CutLink => proxy.cut(),
            Kind::StallLink => proxy.stall(),
            _ => proxy.delay(Duration::from_secs_f64(act.by / 1000.0)),
        }
        stage.timeline.wait(act.lasts);
        proxy.resume();
        proxy.delay(Duration::ZERO);
        stage.count(act.kind);
    }
}

/// Fills a small disk to its last byte, and makes room again.
pub(super) fn disk(stage: &Stage<'_>, index: usize, folder: &Path) {
    let filler = folder.join("filler");
    for act in stage.acts(Place::Disk(index)) {
        if !stage.timeline.wait_until(act.at) {
            return;
        }
        fill(&filler);
        stage.timeline.wait(act.lasts);
        if let Err(error) = std::fs::remove_file(&filler) {
            return stage.violation(format!("removing {}: {error}", filler.display()));
        }
        stage.count(act.kind);
    }
}

/// Writes until no block is left.
fn fill(filler: &PathBuf) {
    use std::io::Write as _;
    let Ok(mut file) = std::fs::File::create(filler) else { return };
    let mut size = 1 << 20;
    while size >= 512 {
        if file.write_all(&vec![0; size]).is_err() {
            size /= 2;
        }
    }
}

/// Moves the clock of a node's machine.
pub(super) fn clock(stage: &Stage<'_>, index: usize, clock: &Clock) {
    let work = || -> Result<()> {
        for act in stage.acts(Place::Clock(index)) {
            if !stage.timeline.wait_until(act.at) {
                break;
            }
            clock.step(act.by)?;
            stage.count(act.kind);
        }
        // In the end it goes right again, which is one more jump.
        while stage.timeline.wait(LOOK) {}
        clock.set(0.0)
    };
    if let Err(error) = work() {
        stage.violation(format!("clock of node {}: {error:#}", index + 1));
    }
}
