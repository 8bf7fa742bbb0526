//! Starts, kills and supervises the application of a node, which may never fail because of us.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use harmonylite_testkit::wait_for;

use super::clock::{self, Clock};
use super::faults::LOOK;
use super::plan::Place;
use super::stage::Stage;

/// A write that waits for a lock may take its time, and the application ends after it.
const END_DEADLINE: Duration = Duration::from_secs(90);

/// The application of one node: where it is, and by which clock it goes.
pub(super) struct Application<'a> {
    pub(super) index: usize,
    pub(super) db: PathBuf,
    pub(super) journals: PathBuf,
    pub(super) log: PathBuf,
    pub(super) clock: Option<&'a Clock>,
}

impl Application<'_> {
    /// Has it write for as long as the run lasts.
    pub(super) fn perform(&self, stage: &Stage<'_>) {
        if let Err(error) = self.live(stage) {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            stage.violation(format!("application of node {}: {error:#}\n{log}", self.index + 1));
        }
    }

    fn live(&self, stage: &Stage<'_>) -> Result<()> {
        let mut life = Life::start(self, stage, 0)?;
        for (number, act) in (1..).zip(stage.acts(Place::Application(self.index))) {
            if !life.supervise(stage, act.at)? {
                break;
            }
            life.kill()?;
            stage.timeline.wait(act.lasts);
            life = Life::start(self, stage, number)?;
            stage.count(act.kind);
        }
        while life.supervise(stage, Duration::MAX)? {}
        let status = life.end()?;
        if !status.success() {
            bail!("it ended with {status}");
        }
        Ok(())
    }

    fn command(&self, stage: &Stage<'_>, life: u64) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command.arg("chaos-application").arg("--db").arg(&self.db).arg("--journal").arg(&self.journals);
        let load = stage.scenario.load;
        let numbers = [
            ("--node", self.index as u64 + 1),
            ("--life", life),
            ("--seed", stage.seed),
            ("--writers", load.writers),
            ("--per-second", u64::from(load.per_second)),
            ("--keys", load.keys),
        ];
        for (name, number) in numbers {
            command.arg(name).arg(number.to_string());
        }
        if stage.scenario.small_disks().contains(&self.index) {
            command.arg("--may-fill");
        }
        if stage.scenario.shards == 1 {
            command.arg("--whole");
        }
        command.envs(self.clock.map(Clock::environment).unwrap_or_default());
        Ok(command)
    }
}

/// One process of it; killed when dropped.
struct Life {
    child: Child,
}

impl Life {
    fn start(application: &Application<'_>, stage: &Stage<'_>, number: u64) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(&application.log)?;
        let mut command = application.command(stage, number)?;
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { child: command.spawn().context("starting the application")? })
    }

    /// False when the run is over.
    fn supervise(&mut self, stage: &Stage<'_>, until: Duration) -> Result<bool> {
        while stage.timeline.wait_until(until.min(stage.timeline.now() + LOOK)) {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended by itself with {status}");
            }
            if stage.timeline.now() >= until {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        clock::forget(self.child.id());
        Ok(())
    }

    /// In order: it ends with its standard input.
    fn end(&mut self) -> Result<ExitStatus> {
        drop(self.child.stdin.take());
        wait_for("the end of the application", END_DEADLINE, || {
            self.child.try_wait()?.context("it still runs")
        })
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.kill();
        }
    }
}
