//! A supervised server in a directory of its own, connections to it, and waiting with a deadline.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harmonylite::nats::{
    Auth, ConnectSettings, Connection, Credentials, NKey, Server, ServerEvent, ServerRole, ServerSettings,
    StreamIdentity, StreamSettings, ensure_stream,
};
use harmonylite::secret::Secret;
use harmonylite_core::codec::Message;
use harmonylite_core::model::{FrameMark, NodeId, Shard};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const STREAM: &str = "harmonylite-changes-1";
pub(crate) const SUBJECT: &str = "harmonylite-change-log-1";

/// The nats-server to test with.
pub(crate) fn server_binary() -> PathBuf {
    let path = std::env::var_os("HARMONYLITE_NATS_SERVER").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/nats-server"),
        PathBuf::from,
    );
    assert!(path.is_file(), "no nats-server at {}: run make tools", path.display());
    path
}

pub(crate) fn node(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

pub(crate) fn settings(data_dir: &Path) -> ServerSettings {
    ServerSettings {
        binary: Some(server_binary()),
        data_dir: data_dir.to_owned(),
        node_id: node(1),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        peer_auth: Auth::Anonymous,
        tls: None,
        role: ServerRole::Mesh,
        server_config: None,
        stream_names: vec![STREAM.to_owned()],
        max_file_store: 1 << 30,
        withheld_variables: Vec::new(),
    }
}

pub(crate) fn credentials(user: &str, password: &str) -> Auth {
    Auth::Password(Credentials { user: user.to_owned(), password: Secret::new(password.to_owned()) })
}

/// An NKey that was made for nothing else.
pub(crate) fn nkey() -> Auth {
    Auth::NKey(NKey::of_seed("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY").unwrap())
}

/// A server and what a test needs around it.
pub(crate) struct TestServer {
    pub(crate) server: Server,
    pub(crate) events: mpsc::Receiver<ServerEvent>,
    pub(crate) dir: TempDir,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ServerSettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path());
        change(&mut settings);
        let (server, events) = start(settings).await;
        Self { server, events, dir }
    }

    /// A connection with all rights.
    pub(crate) async fn connect(&self) -> Connection {
        connect(&self.server.connect_settings()).await
    }

    /// A connection as peers have it.
    pub(crate) async fn connect_as_peer(&self, auth: Auth) -> Connection {
        connect(&self.peer_settings(auth)).await
    }

    pub(crate) fn peer_settings(&self, auth: Auth) -> ConnectSettings {
        ConnectSettings { name: "peer".to_owned(), servers: vec![self.server.client_url()], auth, tls: None }
    }

    /// A bare client with all rights (`true`) or as a peer without credentials: for what the product never does.
    pub(crate) async fn raw_client(&self, all_rights: bool) -> async_nats::Client {
        if all_rights {
            return raw_client(&self.server, self.dir.path()).await;
        }
        async_nats::connect(self.server.client_url()).await.unwrap()
    }

    /// The process id of the nats-server.
    pub(crate) fn pid(&self) -> i32 {
        child_pid(self.dir.path())
    }

    pub(crate) fn kill(&self) {
        kill(self.pid());
    }
}

/// A bare client with all rights to node 1's server in `data_dir`.
pub(crate) async fn raw_client(server: &Server, data_dir: &Path) -> async_nats::Client {
    let config = std::fs::read_to_string(data_dir.join("nats/harmonylite-node-1.conf")).unwrap();
    let line = config.lines().find(|line| line.contains("\"local-")).unwrap();
    let quoted: Vec<_> = line.split('"').collect();
    let options =
        async_nats::ConnectOptions::with_user_and_password(quoted[1].to_owned(), quoted[3].to_owned());
    options.connect(server.client_url()).await.unwrap()
}

pub(crate) async fn start(settings: ServerSettings) -> (Server, mpsc::Receiver<ServerEvent>) {
    let (sender, events) = mpsc::channel(16);
    let server = Server::start(settings, sender, CancellationToken::new()).await.unwrap();
    (server, events)
}

pub(crate) async fn connect(settings: &ConnectSettings) -> Connection {
    let connection = Connection::open(settings).await.unwrap();
    connection.ready(DEADLINE).await.unwrap();
    connection
}

/// The process that the note of node 1's server in `data_dir` names.
pub(crate) fn child_pid(data_dir: &Path) -> i32 {
    let note = std::fs::read_to_string(data_dir.join("nats/harmonylite-node-1.child")).unwrap();
    note.split(' ').next().unwrap().parse().unwrap()
}

pub(crate) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Runs, or is at least not yet reaped and not a zombie.
pub(crate) fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for something that is to come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("never came: {what}"))
}

pub(crate) fn stream_settings() -> StreamSettings {
    StreamSettings {
        name: STREAM.to_owned(),
        subject: SUBJECT.to_owned(),
        replicas: 1,
        max_bytes: Some(1 << 28),
        max_age: Duration::ZERO,
        max_messages: 0,
        update_existing: false,
    }
}

pub(crate) fn identity() -> StreamIdentity {
    StreamIdentity {
        cluster: "e-harmonylite".to_owned(),
        node: Some(node(1)),
        shard: Shard::FIRST,
        shards: 1,
        baseline: [("books".to_owned(), u64::MAX)].into(),
    }
}

/// A connection with all rights to a server that has the stream.
pub(crate) async fn with_stream(server: &TestServer) -> Connection {
    let connection = server.connect().await;
    ensure_stream(&connection, &stream_settings(), &identity()).await.unwrap();
    connection
}

/// `count` messages that say which they are, from `first` on.
pub(crate) fn messages(first: usize, count: usize) -> Vec<Message> {
    let message = |number: usize| Message {
        id: format!("message-{number}"),
        bytes: number.to_string().into_bytes(),
        mark: FrameMark(number as u64),
    };
    (first..first + count).map(message).collect()
}
