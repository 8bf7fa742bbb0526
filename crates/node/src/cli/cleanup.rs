//! `harmonylite cleanup`: removes everything of ours from a database.

use std::path::{Path, PathBuf};

use super::arguments::ConfigArguments;
use super::{print, print_warnings};
use crate::config::Environment;
use crate::exit::{ExitCode, ExitError};
use crate::status::socket_path;

pub(super) fn cleanup(arguments: &ConfigArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    let (database, warnings) = arguments.database(environment)?;
    print_warnings(&warnings);
    let removed = harmonylite_sqlite::cleanup(&database)?;
    // The lock is ours alone until here: a socket that is still there was left behind by a process that was killed.
    let _ = std::fs::remove_file(socket_path(&database));
    print(&format!(
        "{}: removed {} triggers and {} tables of harmonylite\n",
        database.display(),
        removed.triggers,
        removed.tables
    ))?;
    if let Some(folder) = streams(&database) {
        // Peers may not have read them yet, so they are not ours to remove.
        let advice = "remove that folder when no other node needs them";
        print(&format!("the streams that this node published are kept in {}; {advice}\n", folder.display()))?;
    }
    Ok(ExitCode::Ok)
}

/// Where the node's server keeps its streams, when there are any.
fn streams(database: &Path) -> Option<PathBuf> {
    Some(database.parent()?.join("nats")).filter(|folder| folder.is_dir())
}
