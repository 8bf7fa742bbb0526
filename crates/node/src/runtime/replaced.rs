//! Notices that the database file is not the one that was opened.
//!
//! An open connection goes on with the old file, whatever stands at the path: an application that puts another file
//! there would no longer be replicated. The process ends, so that its supervisor starts it with every check anew.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::exit::{ExitCode, ExitError};

/// How often the path is looked at; only its inode is read, never the file.
const INTERVAL: Duration = Duration::from_secs(1);

/// Returns when another file stands at the path. A path without a file may be the middle of a rename: we wait.
pub(crate) async fn notice(database: &Path) {
    let opened = identity(database);
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = identity(database);
        if now.is_some() && now != opened {
            return;
        }
    }
}

/// What to tell.
pub(crate) fn error(database: &Path) -> ExitError {
    let message = format!("{}: another file was put in the place of the database", database.display());
    ExitError::new(ExitCode::Unexpected, message).with_hint(
        "start again: the new file is then checked like any other; stop this process before replacing it",
    )
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
