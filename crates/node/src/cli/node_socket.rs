//! Asking the running node of a database, over the socket beside it.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::exit::{ExitCode, ExitError};
use crate::orders::{Order, Outcome};
use crate::status::socket_path;

/// A node answers within a millisecond; one that is busy, or shutting down, may take longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than thousands of tables need.
const DOCUMENT_SIZE_MAX: u64 = 64 << 20;

/// What the running node answers to `request`; `None` when none runs.
pub(super) fn ask(database: &Path, request: &str) -> Result<Option<String>, ExitError> {
    talk(database, request).map_err(|error| unanswered(database, &error))
}

fn talk(database: &Path, request: &str) -> io::Result<Option<String>> {
    let mut stream = match connect(&socket_path(database)) {
        Ok(stream) => stream,
        // The file is gone, or it was left behind by a process that was killed.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut document = String::new();
    stream.take(DOCUMENT_SIZE_MAX).read_to_string(&mut document)?;
    Ok(Some(document))
}

/// An address holds 107 bytes, a path 4095: the folder is named by a descriptor.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(ErrorKind::NotFound.into());
    };
    let folder = File::open(folder)?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    UnixStream::connect(short)
}

fn unanswered(database: &Path, error: &io::Error) -> ExitError {
    let socket = socket_path(database);
    let message = format!("{}: the node does not answer: {error}", socket.display());
    let hint = if error.kind() == ErrorKind::PermissionDenied {
        "ask as the user that runs the node"
    } else {
        "look into the log of the node"
    };
    ExitError::new(ExitCode::Unexpected, message).with_hint(hint)
}

/// Has the running node carry out an order, and gives what came of it.
pub(super) fn order<T: DeserializeOwned>(database: &Path, order: &Order) -> Result<T, ExitError> {
    let request = serde_json::to_string(order)
        .map_err(|error| ExitError::new(ExitCode::Unexpected, format!("cannot write json: {error}")))?;
    let Some(document) = ask(database, &request)? else {
        let message = format!("{}: no harmonylite process runs for this database", database.display());
        return Err(
            ExitError::new(ExitCode::NotRunning, message).with_hint("start it with `harmonylite run`")
        );
    };
    let outcome: Outcome<T> = serde_json::from_str(&document).map_err(|error| {
        ExitError::new(ExitCode::Unexpected, format!("the node's answer is not understood: {error}"))
            .with_hint("the node may be of another version, or just ending: compare `harmonylite version`")
    })?;
    outcome.into()
}
