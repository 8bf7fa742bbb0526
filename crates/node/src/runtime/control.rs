//! The control socket: whoever connects gets the status as one JSON document.
//!
//! A Unix socket beside the database, so the rights of the folder decide who may ask. Its path may be longer than the
//! 107 bytes that an address holds: it is reached through `/proc/self/fd`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::driver::Call;
use crate::status::socket_path;

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
                        tracing::debug!(%error, "status not delivered");
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
    let (reply, status) = oneshot::channel();
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    calls.send(Call::Status(reply)).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    let document = render(&status.await.map_err(gone)?);
    stream.write_all(document.as_bytes()).await?;
    stream.shutdown().await
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
