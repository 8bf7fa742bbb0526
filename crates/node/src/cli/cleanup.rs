//! `harmonylite cleanup`: removes everything of ours from a database.

use super::arguments::ConfigArguments;
use super::{print, print_warnings};
use crate::config::Environment;
use crate::exit::{ExitCode, ExitError};

pub(super) fn cleanup(arguments: &ConfigArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    let (database, warnings) = arguments.database(environment)?;
    print_warnings(&warnings);
    let removed = harmonylite_sqlite::cleanup(&database)?;
    print(&format!(
        "{}: removed {} triggers and {} tables of harmonylite\n",
        database.display(),
        removed.triggers,
        removed.tables
    ))?;
    Ok(ExitCode::Ok)
}
