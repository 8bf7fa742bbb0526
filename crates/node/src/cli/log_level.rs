//! `harmonylite log-level`: what the running node logs, changed without a restart.

use super::arguments::LogLevelArguments;
use super::node_socket::order;
use super::{print, print_warnings, to_json};
use crate::config::Environment;
use crate::exit::{ExitCode, ExitError};
use crate::orders::{Levels, Order};

pub(super) fn log_level(
    arguments: &LogLevelArguments,
    environment: &Environment,
) -> Result<ExitCode, ExitError> {
    let (database, warnings) = arguments.report.config.database(environment)?;
    if !arguments.report.json {
        print_warnings(&warnings);
    }
    let (level, target) = (arguments.level.clone(), arguments.target.clone());
    let levels: Levels = order(&database, &Order::LogLevel { level, target })?;
    if arguments.report.json {
        print(&to_json(&levels)?)?
    } else {
        print(&format!("{}\n", levels.filter))?
    }
    Ok(ExitCode::Ok)
}
