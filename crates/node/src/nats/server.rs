//! The supervised server: started, watched, restarted, stopped.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::access::{Auth, Credentials, Tls};
use super::child::{ServerProcess, stop_stale};
use super::connect::{ConnectSettings, Connection};
use super::own_certificate::OwnCertificate;
use super::server_config::{ServerFiles, ServerSettings, check_listener, write_config, write_private};
use super::store_trouble::StoreTrouble;
use super::{NatsError, Version, find_server_binary, random_hex, server_name};
use crate::secret::Secret;

/// 30 ms with an empty store, 0.3 s with 100,000 messages; a slow disk and millions of them take longer.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(5);
const RESTART_DELAY_MIN: Duration = Duration::from_millis(100);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(2);
/// How often a server is started at first that is killed again and again. Whoever supervises us may go on after that.
const FIRST_LAUNCHES: u32 = 5;
/// A server that lived for so long had no trouble starting: the next delay is the smallest again.
const STEADY_AFTER: Duration = Duration::from_secs(1);

/// What happens to a running server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerEvent {
    /// It is down; it will be started again.
    Down {
        /// How it ended, or why it could not be started.
        reason: String,
        /// When it is tried next, from now.
        retry_ms: u64,
    },
    /// It was restarted and answers.
    Restarted,
}

/// A nats-server that runs as our child. Dropping it stops it, too, but does not wait for the end.
#[derive(Debug)]
pub struct Server {
    listen: SocketAddr,
    version: Version,
    connect: ConnectSettings,
    pid: ServerPid,
    trouble: StoreTrouble,
    stop: DropGuard,
    supervisor: JoinHandle<()>,
}

/// The server's process, followed over restarts.
#[derive(Clone, Debug, Default)]
pub struct ServerPid(Arc<AtomicU32>);

impl ServerPid {
    /// Its process id; `None` while it is down.
    #[must_use]
    pub fn get(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// Has the server read its certificates again. Connections that exist stay; new ones see the new certificates.
    /// Without effect while it is down: it reads them at its start, too.
    pub fn reload_certificates(&self) {
        let pid = self.get().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Fails when it has just ended, which is a start soon.
            let _ = rustix::process::kill_process(pid, Signal::HUP);
        }
    }

    fn set(&self, process: Option<&ServerProcess>) {
        let pid =
            process.and_then(ServerProcess::pid).map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
        self.0.store(pid, Ordering::Relaxed);
    }
}

impl Server {
    /// What can be said without starting anything: is there a usable nats-server, may it listen there?
    ///
    /// # Errors
    /// When [`start`](Self::start) would fail for one of these reasons.
    pub fn check(settings: &ServerSettings) -> Result<(), NatsError> {
        check_listener(settings)?;
        find_server_binary(settings.binary.as_deref()).map(drop)
    }

    /// Starts the server and waits until JetStream answers. It is restarted whenever it ends, until `cancel` or
    /// [`stop`](Self::stop); what happens is told to `events` as far as there is room.
    ///
    /// The runtime must be a current-thread one, on a thread that lives as long as the process (the main thread):
    /// the kernel kills the server when the thread that started it ends.
    pub async fn start(
        settings: ServerSettings,
        events: mpsc::Sender<ServerEvent>,
        cancel: CancellationToken,
    ) -> Result<Self, NatsError> {
        check_listener(&settings)?;
        let own = own_certificate(&settings)?;
        let (binary, version) = find_server_binary(settings.binary.as_deref())?;
        let files = ServerFiles::prepare(&settings)?;
        let lock = lock_store(files.lock())?;
        stop_stale(&files).await?;
        let listen = choose_listener(settings.listen, &files)?;
        let local = local_credentials()?;
        write_config(&settings, &files, listen, &local)?;
        announce(&settings);
        let connect = connect_settings(&settings, listen, local, own);
        let stop = cancel.child_token();
        let (pid, trouble) = (ServerPid::default(), StoreTrouble::default());
        let mut launcher = Launcher {
            binary,
            withheld_variables: settings.withheld_variables,
            files,
            connect: connect.clone(),
            listen,
            keeps_streams: settings.role.keeps_streams(),
            pid: pid.clone(),
            trouble: trouble.clone(),
            stop: stop.clone(),
            _lock: lock,
        };
        let process = launcher.first_launch().await?;
        let supervisor = tokio::spawn(launcher.supervise(process, events));
        Ok(Self { listen, version, connect, pid, trouble, stop: stop.drop_guard(), supervisor })
    }

    /// Where it listens: stays the same over restarts.
    #[must_use]
    pub const fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The URL for clients on this machine.
    #[must_use]
    pub fn client_url(&self) -> String {
        client_url(self.listen)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> ServerPid {
        self.pid.clone()
    }

    /// Why it stores nothing, when it does not; followed over restarts.
    #[must_use]
    pub fn store_trouble(&self) -> StoreTrouble {
        self.trouble.clone()
    }

    /// The server's version.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Connects with all rights: for our own use only.
    #[must_use]
    pub fn connect_settings(&self) -> ConnectSettings {
        self.connect.clone()
    }

    /// Stops it in order and waits for its end.
    pub async fn stop(self) {
        drop(self.stop);
        let _ = self.supervisor.await;
    }
}

/// Everything that a start and a restart need.
struct Launcher {
    binary: PathBuf,
    withheld_variables: Vec<String>,
    files: ServerFiles,
    connect: ConnectSettings,
    listen: SocketAddr,
    /// JetStream has to answer.
    keeps_streams: bool,
    pid: ServerPid,
    trouble: StoreTrouble,
    stop: CancellationToken,
    /// Two servers on one directory both start and corrupt it silently. Held until the child is gone.
    _lock: StoreLock,
}

impl Launcher {
    /// What the server itself says against starting is an error of ours at start. That somebody killed it (the kernel,
    /// when memory is short) is not: it is tried again, as later.
    async fn first_launch(&mut self) -> Result<ServerProcess, NatsError> {
        let mut delay = RESTART_DELAY_MIN;
        for _ in 1..FIRST_LAUNCHES {
            match self.launch().await {
                Err(error @ NatsError::ServerKilled { .. }) => tracing::warn!("{error}, starting it again"),
                outcome => return outcome,
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(NatsError::Cancelled),
                () = sleep(delay) => {}
            }
            delay = (delay * 2).min(RESTART_DELAY_MAX);
        }
        self.launch().await
    }

    async fn launch(&mut self) -> Result<ServerProcess, NatsError> {
        remove_ports_files(&self.files);
        self.trouble.clear();
        let withheld = &self.withheld_variables;
        let mut process = ServerProcess::spawn(&self.binary, &self.files, withheld, &self.trouble)?;
        let pid = process.pid();
        let outcome = tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(NatsError::Cancelled),
            status = process.ended() => Err(NatsError::ServerEnded { status, log: String::new() }),
            ready = self.ready(pid) => ready,
        };
        match outcome {
            Ok(()) => {
                self.pid.set(Some(&process));
                Ok(process)
            }
            Err(NatsError::ServerEnded { status, .. }) if process.was_killed() => {
                Err(NatsError::ServerKilled { status })
            }
            Err(NatsError::ServerEnded { status, .. }) => {
                Err(NatsError::ServerEnded { status, log: process.final_words().await })
            }
            Err(error) => {
                process.stop().await;
                Err(error)
            }
        }
    }

    /// Waits for the ports file, then for a connection, then for its JetStream.
    async fn ready(&self, pid: Option<Pid>) -> Result<(), NatsError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let late = |reason: &str| NatsError::ServerNotReady {
            seconds: READY_TIMEOUT.as_secs(),
            reason: reason.to_owned(),
        };
        while !self.listens(pid)? {
            if Instant::now() > deadline {
                return Err(late("it has not opened its ports"));
            }
            sleep(READY_POLL).await;
        }
        let connection = Connection::open(&self.connect).await?;
        match connection.ready(deadline.saturating_duration_since(Instant::now())).await {
            Err(NatsError::WrongCredentials { .. }) => {
                return Err(overruled(
                    "has accounts of its own in place of those of this node and its peers",
                ));
            }
            answer => answer?,
        };
        if !self.keeps_streams {
            return Ok(());
        }
        while let Err(error) = connection.query_jetstream().await {
            if Instant::now() > deadline {
                return Err(late(&error.to_string()));
            }
            sleep(READY_POLL).await;
        }
        Ok(())
    }

    /// Has it opened its ports, and the right one?
    fn listens(&self, pid: Option<Pid>) -> Result<bool, NatsError> {
        let Some(urls) = listed_urls(&self.files, pid) else { return Ok(false) };
        let port = format!(":{}", self.listen.port());
        if urls.iter().any(|url| url.ends_with(&port)) {
            return Ok(true);
        }
        Err(overruled("makes it listen elsewhere: set nats.bind_address instead"))
    }

    async fn supervise(mut self, mut process: ServerProcess, events: mpsc::Sender<ServerEvent>) {
        let stop = self.stop.clone();
        let mut delay = RESTART_DELAY_MIN;
        loop {
            let started = Instant::now();
            let store = self.files.store();
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => return process.stop().await,
                status = process.ended() => Some(status),
                () = self.trouble.is_over(&store) => None,
            };
            self.pid.set(None);
            if started.elapsed() > STEADY_AFTER {
                delay = RESTART_DELAY_MIN;
            }
            let reason = match ended {
                Some(status) => format!("nats-server ended ({status}): {}", process.final_words().await),
                None => {
                    process.stop().await;
                    "nats-server has stopped to store, and its disk takes files again".to_owned()
                }
            };
            match self.restart(&mut delay, reason, &events).await {
                Some(restarted) => process = restarted,
                None => return,
            }
            tracing::info!("nats-server is running again");
            let _ = events.try_send(ServerEvent::Restarted);
        }
    }

    /// Tries until it works; `None` when we are to stop.
    async fn restart(
        &mut self,
        delay: &mut Duration,
        mut reason: String,
        events: &mpsc::Sender<ServerEvent>,
    ) -> Option<ServerProcess> {
        let stop = self.stop.clone();
        loop {
            let retry_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(retry_ms, "{reason}");
            let _ = events.try_send(ServerEvent::Down { reason, retry_ms });
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                () = sleep(*delay) => {}
            }
            *delay = (*delay * 2).min(RESTART_DELAY_MAX);
            match self.launch().await {
                Ok(process) => return Some(process),
                Err(NatsError::Cancelled) => return None,
                Err(error) => reason = error.to_string(),
            }
        }
    }
}

/// The lock on a directory of streams.
#[derive(Debug)]
struct StoreLock(File);

/// Not left to the closing of the file, of which a child that is just being started has a copy for a moment.
impl Drop for StoreLock {
    fn drop(&mut self) {
        // The closing does it then.
        let _ = self.0.unlock();
    }
}

fn lock_store(path: PathBuf) -> Result<StoreLock, NatsError> {
    let open = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = open.map_err(|reason| NatsError::File { action: "open", path: path.clone(), reason })?;
    match lock.try_lock() {
        Ok(()) => Ok(StoreLock(lock)),
        Err(fs::TryLockError::WouldBlock) => Err(NatsError::StoreLocked { path }),
        Err(fs::TryLockError::Error(reason)) => Err(NatsError::File { action: "lock", path, reason }),
    }
}

/// Checks that nobody listens there. Port 0 means: any, but the same at every start, because peers know it.
fn choose_listener(configured: SocketAddr, files: &ServerFiles) -> Result<SocketAddr, NatsError> {
    let kept = fs::read_to_string(files.port()).ok().and_then(|port| port.trim().parse::<u16>().ok());
    let (port, hint) = match (configured.port(), kept) {
        (0, Some(kept)) => (kept, format!("; remove {} to have another port chosen", files.port().display())),
        (port, _) => (port, String::new()),
    };
    let wanted = SocketAddr::new(configured.ip(), port);
    let taken = |reason| NatsError::PortTaken { listen: wanted, reason, hint };
    let listen = TcpListener::bind(wanted).and_then(|listener| listener.local_addr()).map_err(taken)?;
    if configured.port() == 0 && kept.is_none() {
        write_private(&files.port(), &format!("{}\n", listen.port()))?;
    }
    Ok(listen)
}

fn local_credentials() -> Result<Credentials, NatsError> {
    // A random name, too: it cannot be the one that peers use.
    Ok(Credentials { user: format!("local-{}", random_hex(4)?), password: Secret::new(random_hex(24)?) })
}

fn own_certificate(settings: &ServerSettings) -> Result<Option<Tls>, NatsError> {
    let Some(tls) = &settings.tls else { return Ok(None) };
    Ok(Some(Tls::Own(Arc::new(OwnCertificate::read(tls.certificate.clone())?))))
}

fn connect_settings(
    settings: &ServerSettings,
    listen: SocketAddr,
    local: Credentials,
    own: Option<Tls>,
) -> ConnectSettings {
    ConnectSettings {
        name: server_name(settings.node_id),
        servers: vec![client_url(listen)],
        auth: Auth::Password(local),
        tls: own,
    }
}

/// A wildcard is no address to connect to: the loopback address reaches it.
fn client_url(listen: SocketAddr) -> String {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("nats://{address}")
}

fn overruled(how: &str) -> NatsError {
    NatsError::Invalid { what: "nats.server_config", reason: format!("it {how}") }
}

/// Says what would otherwise surprise.
fn announce(settings: &ServerSettings) {
    let open = settings.peer_auth == Auth::Anonymous && settings.tls.is_none();
    if open && settings.role.keeps_streams() {
        tracing::info!("no nats.user_password: any process on this machine can read this node's changes");
    }
    let Some(path) = &settings.server_config else { return };
    let text = fs::read_to_string(path).unwrap_or_default();
    if text.lines().any(|line| line.split([' ', ':', '=', '{']).next() == Some("jetstream")) {
        // A block in the user's file replaces ours of that name whole.
        tracing::warn!(file = %path.display(), "its jetstream block replaces ours: see to sync_interval and limits");
    }
}

fn ports_files(files: &ServerFiles) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(files.store()).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "ports"))
}

/// A server that was killed leaves its ports file behind.
fn remove_ports_files(files: &ServerFiles) {
    ports_files(files).for_each(|path| {
        let _ = fs::remove_file(path);
    });
}

/// The URLs under which clients reach it; `None` as long as it has not said so.
fn listed_urls(files: &ServerFiles, pid: Option<Pid>) -> Option<Vec<String>> {
    let suffix = format!("_{}.ports", pid?.as_raw_nonzero());
    let path = ports_files(files).find(|path| path.to_string_lossy().ends_with(&suffix))?;
    let listed: ListedPorts = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    Some(listed.nats)
}

/// The part of the server's ports file that concerns us.
#[derive(serde::Deserialize)]
struct ListedPorts {
    nats: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_let_go_can_be_had_although_a_child_still_has_a_copy_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = lock_store(path.clone()).unwrap();
        let _copy = first.0.try_clone().unwrap();
        assert!(matches!(lock_store(path.clone()), Err(NatsError::StoreLocked { .. })));
        drop(first);
        lock_store(path).unwrap();
    }
}
