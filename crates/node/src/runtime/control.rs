//! The control socket: whoever connects sends a request and ends it, and gets one JSON document. An empty request asks
//! for the status, another one is about dead letters.
//!
//! A Unix socket beside the database, so the rights of the folder decide who may ask. Its path may be longer than the
//! 107 bytes that an address holds: it is reached through `/proc/self/fd`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::driver::Call;
use super::letters::LettersCall;
use crate::letters::LettersRequest;
use crate::status::socket_path;

/// A request is that large at most, in bytes.
const REQUEST_SIZE_MAX: u64 = 64 << 10;
/// Calls are served one at a time: who does not end its request must not keep the others waiting.
const REQUEST_WITHIN: Duration = Duration::from_secs(2);

/// The listening socket; the file goes with it.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Listens. A socket left behind by a process that was killed is replaced: the lock file says that we are alone.
    pub(crate) fn bind(database: &Path) -> io::Result<Self> {
        let path = socket_path(database);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (_folder, short) = short_path(&path)?;
        Ok(Self { listener: UnixListener::bind(short)?, path })
    }

    /// Answers until the task is dropped. `render` makes the document.
    pub(crate) async fn serve<F>(self, calls: mpsc::Sender<Call>, render: F)
    where
        F: Fn(&harmonylite_core::status::Status) -> String,
    {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = answer(stream, &calls, &render).await {
                        tracing::debug!(%error, "control request not answered");
                    }
                }
                Err(error) => tracing::warn!(%error, "control socket"),
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "control socket not removed");
        }
    }
}

async fn answer<F>(mut stream: UnixStream, calls: &mpsc::Sender<Call>, render: &F) -> io::Result<()>
where
    F: Fn(&harmonylite_core::status::Status) -> String,
{
    let mut request = String::new();
    let mut reading = (&mut stream).take(REQUEST_SIZE_MAX);
    // Who does not end its request in time gets the status.
    let _late = tokio::time::timeout(REQUEST_WITHIN, reading.read_to_string(&mut request)).await;
    let document = if request.is_empty() {
        render(&call(calls, Call::Status).await?)
    } else {
        let request: LettersRequest = serde_json::from_str(&request)?;
        let reply = call(calls, |reply| Call::Letters(LettersCall { request, reply })).await?;
        serde_json::to_string(&reply)?
    };
    stream.write_all(document.as_bytes()).await?;
    stream.shutdown().await
}

/// Makes a call that is answered, and waits for the answer.
async fn call<T>(calls: &mpsc::Sender<Call>, make: impl FnOnce(oneshot::Sender<T>) -> Call) -> io::Result<T> {
    let (reply, answer) = oneshot::channel();
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    calls.send(make(reply)).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())
}

/// A path to the same file that is short enough for a socket address, valid while the folder is kept open.
pub(crate) fn short_path(path: &Path) -> io::Result<(File, PathBuf)> {
    let folder = match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?,
        None => File::open(".")?,
    };
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((folder, short))
}
