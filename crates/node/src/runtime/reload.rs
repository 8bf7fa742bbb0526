//! Reads the configuration again while the node runs, because of SIGHUP or of `harmonylite reload`.
//!
//! What can change at once does; what cannot is named, and stays as it was until the next start. A configuration with
//! errors changes nothing.

use std::fmt;
use std::time::Duration;

use harmonylite_core::input::Tuning;
use harmonylite_sqlite::ConflictRetention;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};

use super::driver::Call;
use super::in_ms;
use super::service_manager::ServiceManager;
use crate::config::{Loaded, Settings, Values};
use crate::exit::ExitError;
use crate::nats::ServerPid;
use crate::orders::Reloaded;
use crate::telemetry::LogLevels;

/// Somebody wants the configuration read again, and to know what came of it.
pub(crate) type ReloadCall = oneshot::Sender<Result<Reloaded, ExitError>>;

/// Where the configuration comes from, and what of it is in effect.
pub struct Reload {
    /// Reads it again, as it was read at start.
    pub load: Box<dyn Fn() -> Result<Loaded, ExitError> + Send + Sync>,
    /// What is in effect.
    pub running: Values,
    /// The log.
    pub levels: LogLevels,
    /// SIGHUP.
    pub hang_ups: Signal,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("running", &self.running).finish_non_exhaustive()
    }
}

/// What the parts of a node are told of new settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retuning {
    pub(crate) core: Tuning,
    pub(crate) retention: ConflictRetention,
    pub(crate) poll: Duration,
}

impl Retuning {
    /// As `settings` say.
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            core: Tuning {
                housekeeping_interval_ms: in_ms(settings.cleanup_interval),
                clock_drift_max_ms: settings.conflict.max_clock_drift.map(in_ms),
                sleep_after_ms: settings.sleep_timeout.map(in_ms),
            },
            retention: ConflictRetention {
                entries_max: settings.conflict.log_max_entries,
                age_ms_max: settings.conflict.log_max_age.map(in_ms),
            },
            poll: settings.polling_interval,
        }
    }
}

/// Carries it out.
pub(crate) struct Reloader {
    reload: Reload,
    manager: ServiceManager,
    calls: mpsc::Sender<Call>,
    /// Our own server, if there is one.
    server: ServerPid,
}

impl Reloader {
    pub(crate) fn new(
        reload: Reload,
        manager: ServiceManager,
        calls: mpsc::Sender<Call>,
        server: ServerPid,
    ) -> Self {
        Self { reload, manager, calls, server }
    }

    /// Until the task is dropped.
    pub(crate) async fn serve(mut self, mut requests: mpsc::Receiver<ReloadCall>) {
        loop {
            let reply = tokio::select! {
                Some(()) = self.reload.hang_ups.recv() => None,
                Some(reply) = requests.recv() => Some(reply),
                else => return,
            };
            self.manager.reloading();
            let outcome = self.again().await;
            self.manager.ready();
            log(&outcome);
            if let Some(reply) = reply {
                // Whoever asked may have gone; that is no concern of ours.
                let _gone = reply.send(outcome);
            }
        }
    }

    async fn again(&mut self) -> Result<Reloaded, ExitError> {
        let Loaded { settings, values, warnings } = (self.reload.load)()?;
        let changed = self.reload.running.changed(&values);
        let (at_once, later): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|key| key.changes_at_run_time());
        self.reload.levels.configure(settings.logging.verbose)?;
        // The driver is gone only when the node ends.
        let _ending = self.calls.send(Call::Retune(Retuning::of(&settings))).await;
        self.reload.running.adopt(&values, &at_once);
        // The files may have changed although their names have not. Connections of ours read them by themselves.
        if settings.nats.tls.is_some() {
            self.server.reload_certificates();
        }
        let paths =
            |keys: Vec<&crate::config::keys::Key>| keys.iter().map(|key| key.path.to_owned()).collect();
        Ok(Reloaded {
            changed: paths(at_once),
            needs_restart: paths(later),
            warnings: warnings.iter().map(ToString::to_string).collect(),
        })
    }
}

fn log(outcome: &Result<Reloaded, ExitError>) {
    match outcome {
        Ok(reloaded) => {
            tracing::info!(changed = reloaded.changed.join(","), "configuration read again");
            for warning in &reloaded.warnings {
                tracing::warn!("{warning}");
            }
            if !reloaded.needs_restart.is_empty() {
                let keys = reloaded.needs_restart.join(",");
                tracing::warn!(keys, "these keys have changed, too: their new values need a restart");
            }
        }
        Err(error) => {
            let hint = error.hint.as_deref().unwrap_or_default();
            tracing::error!(hint, "the configuration stays as it was: {error}");
        }
    }
}
