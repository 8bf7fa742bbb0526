//! The control socket: whoever connects sends a request and ends it, and gets one JSON document. An empty request asks
//! for the status, another one is about dead letters, or an order to the node itself.
//!
//! A Unix socket beside the database that only its owner may write to. Its path may be longer than the
//! 107 bytes that an address holds: it is reached through `/proc/self/fd`.

use std::fs::File;
use std::fs::Permissions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::driver::Call;
use super::letters::LettersCall;
use super::members::Members;
use super::reload::ReloadCall;
use crate::exit::{ExitCode, ExitError};
use crate::letters::LettersRequest;
use crate::orders::{Forgotten, Levels, Order, Outcome};
use crate::status::socket_path;
use crate::telemetry::LogLevels;

/// A request is that large at most, in bytes.
const REQUEST_SIZE_MAX: u64 = 64 << 10;
/// Calls are served one at a time: who does not end its request must not keep the others waiting.
/// After an error of the socket itself, no free file descriptors for instance: it would be reported without a pause.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_secs(1);
const REQUEST_WITHIN: Duration = Duration::from_secs(2);

/// What is asked for, when it is not the status.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Request {
    Letters(LettersRequest),
    Order(Order),
}

/// Where requests go.
pub(crate) struct Receivers {
    pub(crate) calls: mpsc::Sender<Call>,
    /// `None`: the settings of this node are not its process's to change.
    pub(crate) own: Option<(LogLevels, mpsc::Sender<ReloadCall>)>,
    pub(crate) members: Members,
}

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
        let listener = UnixListener::bind(short)?;
        // Who may write to it may drop dead letters. As with any usual umask, that is the owner; here with every umask.
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Answers until the task is dropped. `render` makes the document.
    pub(crate) async fn serve<F>(self, receivers: Receivers, render: F)
    where
        F: Fn(&harmonylite_core::status::Status) -> String,
    {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = answer(stream, &receivers, &render).await {
                        tracing::debug!(%error, "control request not answered");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
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

async fn answer<F>(mut stream: UnixStream, receivers: &Receivers, render: &F) -> io::Result<()>
where
    F: Fn(&harmonylite_core::status::Status) -> String,
{
    let mut request = String::new();
    let mut reading = (&mut stream).take(REQUEST_SIZE_MAX);
    // Who does not end its request in time gets the status.
    let _late = tokio::time::timeout(REQUEST_WITHIN, reading.read_to_string(&mut request)).await;
    let calls = &receivers.calls;
    let document = if request.is_empty() {
        render(&call(calls, Call::Status).await?)
    } else {
        match serde_json::from_str(&request)? {
            Request::Letters(request) => {
                let reply = call(calls, |reply| Call::Letters(LettersCall { request, reply })).await?;
                serde_json::to_string(&reply)?
            }
            Request::Order(order) => receivers.obey(order).await?,
        }
    };
    let writing = async {
        stream.write_all(document.as_bytes()).await?;
        stream.shutdown().await
    };
    // One that asks and does not read must not keep the others from asking.
    tokio::time::timeout(REQUEST_WITHIN, writing).await?
}

impl Receivers {
    async fn obey(&self, order: Order) -> io::Result<String> {
        match (order, &self.own) {
            (Order::Cluster, _) => document(Ok(self.members.cluster())),
            (Order::Forget { node_id }, _) => {
                document(self.members.forget(node_id).map(|()| Forgotten { node_id }))
            }
            (Order::Reload, Some((_, reloads))) => {
                let outcome = call(reloads, |reply| reply).await?;
                document(outcome)
            }
            (Order::LogLevel { level, target }, Some((levels, _))) => {
                let set = level.map_or(Ok(()), |level| levels.set(&level, target.as_deref()));
                document(set.map(|()| Levels { filter: levels.filter() }))
            }
            (_, None) => document::<()>(Err(ExitError::new(
                ExitCode::Unexpected,
                "this node was started without a configuration of its own",
            )
            .with_hint("start it with `harmonylite run`"))),
        }
    }
}

fn document<T: Serialize>(result: Result<T, ExitError>) -> io::Result<String> {
    Ok(serde_json::to_string(&Outcome::from(result))?)
}

/// Makes a call that is answered, and waits for the answer.
async fn call<C, T>(calls: &mpsc::Sender<C>, make: impl FnOnce(oneshot::Sender<T>) -> C) -> io::Result<T> {
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
