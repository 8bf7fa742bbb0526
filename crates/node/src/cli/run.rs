//! `harmonylite run`: prepares a node and hands over to the runtime; with `--dry-run` it only says what it would do.

use std::time::Duration;

use super::arguments::{ConfigArguments, RunArguments};
use super::{check_config, print, print_warnings, status};
use crate::config::environment::LOG_VARIABLE;
use crate::config::{Environment, Loaded, Problem, Settings};
use crate::exit::{ExitCode, ExitError};
use crate::runtime::{self, Reload, ServiceManager, Summary, Surroundings, allocator, scheduling, signals};
use crate::telemetry::{self, LogLevels};

pub(super) fn run(arguments: &RunArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    let loaded = arguments.config.load(environment)?;
    if arguments.dry_run {
        print_warnings(&loaded.warnings);
        return dry_run(&loaded.settings);
    }
    let levels = telemetry::init(loaded.settings.logging, environment.variable(LOG_VARIABLE))?;
    loaded.warnings.iter().for_each(log_warning);
    start(loaded, levels, &arguments.config, environment)?;
    Ok(ExitCode::Ok)
}

/// Runs the node until it is asked to end.
fn start(
    Loaded { settings, values: running, .. }: Loaded,
    levels: LogLevels,
    config: &ConfigArguments,
    environment: &Environment,
) -> Result<(), ExitError> {
    allocator::keep_small();
    scheduling::let_others_go_first();
    block_on(async {
        let deaf = |error| unexpected("cannot listen for signals", &error);
        let (stop, hang_ups) = (signals::stop().map_err(deaf)?, signals::hang_ups().map_err(deaf)?);
        let (config, variables) = (config.clone(), environment.clone());
        let load = Box::new(move || Ok(config.load(&variables)?));
        let manager = ServiceManager::of(environment);
        let reload = Some(Reload { load, running, levels, hang_ups });
        runtime::run(settings, Surroundings { stop, manager, reload }, Summary::log).await
    })
}

/// Runs `work` on this thread, the main one: the nats-server dies with the thread that started it.
pub(super) fn block_on(work: impl Future<Output = Result<(), ExitError>>) -> Result<(), ExitError> {
    /// For what still runs on other threads: looking up a name can take half a minute, and nobody needs it any more.
    const REST_WITHIN: Duration = Duration::from_millis(100);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| unexpected("cannot start the runtime", &error))?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_timeout(REST_WITHIN);
    outcome
}

fn unexpected(what: &str, error: &std::io::Error) -> ExitError {
    ExitError::new(ExitCode::Unexpected, format!("{what}: {error}"))
}

fn dry_run(settings: &Settings) -> Result<ExitCode, ExitError> {
    let plan = harmonylite_sqlite::plan(&settings.db_path)?;
    let tables: Vec<_> = plan.tables.iter().map(crate::status::TableStatus::from).collect();
    print(&format!("{}{}", check_config::summary(settings), status::tables(&tables)))?;
    Ok(ExitCode::Ok)
}

fn log_warning(warning: &Problem) {
    let hint = warning.hint.as_deref().unwrap_or_default();
    tracing::warn!(place = %warning.place, hint, "{}", warning.message);
}
