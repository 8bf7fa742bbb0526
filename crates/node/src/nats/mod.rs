//! NATS JetStream: the supervised server, connections, own streams, publishing and following.
//!
//! Mechanics only: what to publish, what to read from where and what a stream's state means is decided by the core.
//! This module carries out its requests and answers with its inputs. The client library's own types stay inside.
//! Everything here is for a single-threaded tokio runtime; see [`Server::start`] for what the thread must promise.

mod access;
mod child;
mod connect;
mod error;
mod hello;
mod own_certificate;
mod publisher;
mod pull;
mod server;
mod server_binary;
mod server_config;
mod source;
mod store_trouble;
mod stream;

pub use access::{Auth, Credentials, NKey, Tls};
pub use connect::{ConnectSettings, Connection, Peer};
pub use error::NatsError;
pub use hello::{HELLO_SUBJECT, MemberChannel, Word, answer_hellos, send_hello};
pub use own_certificate::OwnCertificate;
pub use publisher::{PublishError, publish_group};
pub use server::{Server, ServerEvent, ServerPid};
pub use server_binary::{SERVER_VERSION_MIN, Version, find_server_binary};
pub use server_config::{Leaf, ListenerTls, ServerRole, ServerSettings, server_name};
pub use source::{SourceInput, SourceSettings, spawn_source};
pub use store_trouble::StoreTrouble;
pub use stream::{StreamIdentity, StreamSettings, ensure_stream, observe_stream};

use harmonylite_core::model::NodeId;

/// How a server of ours is called: its node can be read from it.
const SERVER_NAME_PREFIX: &str = "harmonylite-node-";

/// The node whose server has that name; `None` when it is not one of ours.
fn node_of_server(name: &str) -> Option<NodeId> {
    name.strip_prefix(SERVER_NAME_PREFIX)?.parse().ok().and_then(NodeId::new)
}

/// `bytes` random bytes from the operating system, in hex.
fn random_hex(bytes: usize) -> Result<String, NatsError> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(|error| NatsError::Random { reason: error.to_string() })?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
