//! `harmonylite detach`: removes the triggers only, for a migration that they stand in the way of.

use super::arguments::ConfigArguments;
use super::{print, print_warnings};
use crate::config::Environment;
use crate::exit::{ExitCode, ExitError};

pub(super) fn detach(arguments: &ConfigArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    let (database, warnings) = arguments.database(environment)?;
    print_warnings(&warnings);
    let removed = harmonylite_sqlite::detach(&database)?;
    print(&format!(
        "{}: removed {} triggers; nothing is captured until the next `harmonylite run`\n",
        database.display(),
        removed.triggers
    ))?;
    Ok(ExitCode::Ok)
}
