//! What can go wrong with servers, connections and streams: what, where, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use super::server_binary::{SERVER_VERSION_MIN, Version};

/// An error of this module, for people.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NatsError {
    /// No nats-server anywhere.
    #[error(
        "no nats-server found: looked at {places}; install nats-server {SERVER_VERSION_MIN} or newer, \
         or name one in nats.server_binary"
    )]
    BinaryMissing {
        /// Where we looked.
        places: String,
    },
    /// It is there, but too old.
    #[error(
        "{} is nats-server {found}, but {SERVER_VERSION_MIN} or newer is needed: upgrade it, \
         or name another one in nats.server_binary", path.display()
    )]
    BinaryTooOld {
        /// Which one.
        path: PathBuf,
        /// What it says of itself.
        found: Version,
    },
    /// One that is not ours is too old.
    #[error(
        "the NATS server at {server} is nats-server {found}, but {SERVER_VERSION_MIN} or newer is needed: upgrade it"
    )]
    ServerTooOld {
        /// Where, without credentials.
        server: String,
        /// What it says of itself.
        found: Version,
    },
    /// It does not run, or is something else.
    #[error("{} is not a usable nats-server: {reason}", path.display())]
    BinaryUnusable {
        /// Which one.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Peers could reach the server, and so could anybody.
    #[error(
        "refusing to listen on {listen} without credentials: set nats.user_name and nats.user_password \
         (the same on every node), or TLS, or listen on a loopback address"
    )]
    ListenerOpen {
        /// The address.
        listen: SocketAddr,
    },
    /// A setting makes no sense to the server.
    #[error("invalid {what}: {reason}")]
    Invalid {
        /// Which setting.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// Somebody else listens there.
    #[error("cannot listen on {listen} for nats-server: {reason}{hint}")]
    PortTaken {
        /// The address.
        listen: SocketAddr,
        /// What the operating system says.
        reason: io::Error,
        /// What to do, when the port was not configured.
        hint: String,
    },
    /// Another process of ours uses the same JetStream files.
    #[error(
        "{} is locked: another harmonylite uses these JetStream files; stop it or give this node another \
         directory", path.display()
    )]
    StoreLocked {
        /// The lock file.
        path: PathBuf,
    },
    /// A server of an earlier life of ours does not go away.
    #[error(
        "nats-server {pid} of an earlier run still uses these JetStream files and cannot be stopped: {reason}"
    )]
    StaleServer {
        /// Its process id.
        pid: i32,
        /// Why.
        reason: String,
    },
    /// A file of ours.
    #[error("cannot {action} {}: {reason}", path.display())]
    File {
        /// What we tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the operating system says.
        reason: io::Error,
    },
    /// The server ended before it was ready.
    #[error("nats-server ended at start ({status}): {log}")]
    ServerEnded {
        /// Its exit status.
        status: String,
        /// Its last words.
        log: String,
    },
    /// It was killed or took too long when it was asked for its version: that says nothing about it.
    #[error("{} could not be asked for its version: {reason}", path.display())]
    BinarySilent {
        /// Where it is.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// The server was killed before it was ready: no fault of its own.
    #[error("nats-server was killed at start ({status})")]
    ServerKilled {
        /// By which signal.
        status: String,
    },
    /// The server runs, but does not answer.
    #[error("nats-server is not ready after {seconds} s: {reason}")]
    ServerNotReady {
        /// How long we waited.
        seconds: u64,
        /// What it waits for.
        reason: String,
    },
    /// Nobody answers there.
    #[error("cannot reach the NATS server at {server}: {reason}")]
    Unreachable {
        /// Where, without credentials.
        server: String,
        /// Why.
        reason: String,
    },
    /// The server does not know us.
    #[error(
        "wrong credentials for the NATS server at {server}: {user} is refused; see nats.user_name and \
         nats.user_password, or nats.seed_file: between nodes that run their own servers they are the same on every node"
    )]
    WrongCredentials {
        /// Where, without credentials.
        server: String,
        /// As whom we came.
        user: String,
    },
    /// TLS fails, and would again.
    #[error(
        "no trust in the NATS server at {server}, or it has none in us: {reason}; see nats.ca_file, nats.cert_file \
         and nats.key_file"
    )]
    Untrusted {
        /// Where, without credentials.
        server: String,
        /// Why.
        reason: String,
    },
    /// A request was refused or not answered.
    #[error("{what} at {server} failed: {reason}")]
    Request {
        /// What we asked for.
        what: String,
        /// Where.
        server: String,
        /// Why.
        reason: String,
    },
    /// The stream exists with other settings.
    #[error("stream {stream} exists with other settings: {differences}; {hint}")]
    StreamMismatch {
        /// Which stream.
        stream: String,
        /// Setting, what it is, what it should be.
        differences: String,
        /// What to do.
        hint: &'static str,
    },
    /// The server will not make the stream.
    #[error(
        "the NATS server at {server} refuses stream {stream}: {reason}; see replication_log.replicas, \
         nats.stream_prefix and nats.subject_prefix, and the rights of the user there"
    )]
    StreamRefused {
        /// Which stream.
        stream: String,
        /// Where, without credentials.
        server: String,
        /// Why.
        reason: String,
    },
    /// The stream is not one of this product, or of another cluster.
    #[error("stream {stream} is not ours: {reason}")]
    ForeignStream {
        /// Which stream.
        stream: String,
        /// Why.
        reason: String,
    },
    /// The operating system gives no random numbers.
    #[error("no random numbers from the operating system: {reason}")]
    Random {
        /// Why.
        reason: String,
    },
    /// We were told to stop.
    #[error("stopped while starting")]
    Cancelled,
}
