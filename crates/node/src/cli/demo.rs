//! `harmonylite demo`: three nodes with a sample database, to try it out.

use super::arguments::DemoArguments;
use crate::config::environment::LOG_VARIABLE;
use crate::config::{Environment, Logging};
use crate::exit::{ExitCode, ExitError};
use crate::telemetry;

pub(super) fn demo(arguments: &DemoArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    telemetry::init(Logging::default(), environment.variable(LOG_VARIABLE))?;
    start(arguments)?;
    Ok(ExitCode::Ok)
}

/// Runs the demonstration until it is asked to end, or once.
fn start(_arguments: &DemoArguments) -> Result<(), ExitError> {
    Err(ExitError::new(ExitCode::Unexpected, "the runtime is not connected to `demo`"))
}
