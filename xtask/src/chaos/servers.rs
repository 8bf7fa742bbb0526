//! The servers of shared mode: one, or a NATS cluster of several, that belong to none of the nodes.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};
use harmonylite_testkit::{NatsCluster, NatsServer, ProcessId};

use super::plan::{Act, Place};
use super::scenario::Kind;
use super::stage::Stage;

/// All of them.
pub(super) struct Servers {
    running: Mutex<Running>,
}

enum Running {
    One(Box<NatsServer>),
    Several(NatsCluster),
}

impl Servers {
    /// Starts so many, and waits until they answer.
    pub(super) fn start(count: usize) -> Result<Self> {
        let mut running = match count {
            1 => Running::One(Box::new(NatsServer::start()?)),
            _ => Running::Several(NatsCluster::start_with(count, "")?),
        };
        // They are kept where something is wrong.
        (0..count).for_each(|index| running.server(index).hide_log());
        Ok(Self { running: Mutex::new(running) })
    }

    /// Where they listen.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.lock().all().iter().map(|server| server.url().replace("nats://", "")).collect()
    }

    /// Those that run.
    pub(super) fn processes(&self) -> Vec<ProcessId> {
        let pids: Vec<u32> = self.lock().all().iter().filter_map(NatsServer::pid).collect();
        pids.into_iter().filter_map(ProcessId::of).collect()
    }

    /// What they keep.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        self.lock().all().iter().map(|server| server.folder().to_owned()).collect()
    }

    /// Kills and pauses one of them. At the end it runs.
    pub(super) fn disturb(&self, stage: &Stage<'_>, index: usize) {
        for act in stage.acts(Place::Server(index)) {
            if !stage.timeline.wait_until(act.at) {
                return;
            }
            if let Err(error) = self.act(stage, index, act) {
                return stage.violation(format!("server {}: {error:#}", index + 1));
            }
            stage.count(act.kind);
        }
    }

    fn act(&self, stage: &Stage<'_>, index: usize, act: &Act) -> Result<()> {
        let pid = self.lock().server(index).pid().context("it does not run")?;
        let Some(process) = ProcessId::of(pid) else { bail!("it ended by itself") };
        if act.kind == Kind::PauseServer {
            process.pause();
            stage.timeline.wait(act.lasts);
            process.resume();
            return Ok(());
        }
        self.lock().server(index).kill9()?;
        stage.timeline.wait(act.lasts);
        self.lock().server(index).restart()
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn all(&self) -> &[NatsServer] {
        match self {
            Self::One(server) => std::slice::from_ref(server),
            Self::Several(cluster) => cluster.servers(),
        }
    }

    fn server(&mut self, index: usize) -> &mut NatsServer {
        match self {
            Self::One(server) => server,
            Self::Several(cluster) => cluster.server(index),
        }
    }
}
