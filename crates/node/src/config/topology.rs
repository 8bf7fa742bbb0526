//! Where this node listens, how it is reached, and who its peers are: the keys that only make sense together.

use super::address::{HostPort, Listen};
use super::problem::Problem;
use super::raw::Raw;
use super::server_url::ServerUrl;
use super::settings::{Cluster, Mode, Nats};
use super::value::Value;

/// Judges `[cluster]` and `nats.bind_address`.
pub(super) fn cluster(raw: &mut Raw, nats: &Nats, leaf_servers: Vec<ServerUrl>) -> Cluster {
    let mut cluster = Cluster { leaf_servers, ..Cluster::default() };
    super::validate::cluster_name(raw, &mut cluster.name);
    let (listen_key, listen) = listen(raw);
    let known = listen.is_some();
    cluster.listen = listen.unwrap_or(Listen::LOOPBACK);
    cluster.peers = peers(raw);
    cluster.advertise = advertise(raw, listen_key, known.then_some(&cluster.listen));
    let (listen, advertise) = (cluster.listen.clone(), cluster.advertise.clone());
    cluster.peers.retain(|peer| Some(peer) != advertise.as_ref() && !leads_to(peer, &listen));
    if !nats.urls.is_empty() {
        check_elsewhere(raw, nats, &cluster);
    } else if !cluster.leaf_servers.is_empty() {
        check_leaf(raw, nats);
    } else if known {
        check_own_server(raw, listen_key, &cluster, nats);
    }
    cluster
}

/// The streams are on servers that are not ours: what is about a server of ours means nothing.
fn check_elsewhere(raw: &mut Raw, nats: &Nats, cluster: &Cluster) {
    if !cluster.leaf_servers.is_empty() {
        let hint = "name the cluster in one of them: nats.urls is all that a node needs to reach it";
        raw.error(
            "cluster.leaf_servers",
            "with nats.urls the node runs no server that could be a leaf node",
            hint,
        );
    }
    if nats.mode == Mode::Mesh {
        let hint = "remove `nats.urls` and name the other nodes in cluster.peers; or remove `nats.mode`";
        raw.error("nats.urls", "in mesh mode every node runs its own server", hint);
        return;
    }
    for key in ["cluster.listen", "cluster.advertise", "nats.server_config"] {
        raw.warn(key, "with nats.urls the node runs no server of its own", "remove it");
    }
    raw.warn("cluster.peers", NO_PEERS, "remove it");
}

/// The node's own server leads to a cluster that has the streams.
fn check_leaf(raw: &mut Raw, nats: &Nats) {
    if nats.mode == Mode::Mesh {
        let hint =
            "remove `cluster.leaf_servers` and name the other nodes in cluster.peers; or remove `nats.mode`";
        raw.error("cluster.leaf_servers", "in mesh mode every node has its streams on its own server", hint);
    }
    if nats.jetstream_domain.is_none() && !raw.is_set("nats.jetstream_domain") {
        let message = "`nats.jetstream_domain` is missing: without a domain a cluster keeps its streams from leaf nodes";
        let hint = "give the cluster's servers one (`domain` in their `jetstream` block) and name it here";
        raw.error("cluster.leaf_servers", message, hint);
    }
    raw.warn("cluster.peers", NO_PEERS, "remove it");
}

const NO_PEERS: &str =
    "in shared mode nodes meet on the streams that they share, and need not know one another";

fn check_own_server(raw: &mut Raw, listen_key: &'static str, cluster: &Cluster, nats: &Nats) {
    if raw.is_set("replication_log.replicas") && raw.integer("replication_log.replicas") != Some(1) {
        let message = "the embedded server stands alone: it keeps one copy";
        raw.warn("replication_log.replicas", message, "every node has the rows of all others anyway");
    }
    if nats.mode == Mode::Mesh {
        check_reach(raw, listen_key, cluster, nats);
    } else {
        check_hub(raw, listen_key, cluster, nats);
    }
}

/// The others name this node's server in their `nats.urls`.
fn check_hub(raw: &mut Raw, listen_key: &'static str, cluster: &Cluster, nats: &Nats) {
    raw.warn("cluster.peers", NO_PEERS, "the other nodes name this one in their `nats.urls`");
    if cluster.listen.port.is_none() {
        let hint =
            "set cluster.listen, for example 127.0.0.1:4221; or name an existing cluster in `nats.urls`";
        raw.error(
            "nats.mode",
            "the other nodes cannot reach this node's server: its port is not fixed",
            hint,
        );
    }
    check_credentials(raw, listen_key, cluster, nats);
}

/// Which key says where to listen, and what it says; `None` when that is wrong.
fn listen(raw: &mut Raw) -> (&'static str, Option<Listen>) {
    let key = if raw.is_set("cluster.listen") { "cluster.listen" } else { "nats.bind_address" };
    if key == "cluster.listen" && raw.text("nats.bind_address").is_some_and(|text| text != ":-1") {
        raw.warn("nats.bind_address", "cluster.listen wins", "remove one of them");
    }
    let Some(text) = raw.text(key).map(str::to_owned) else {
        return (key, (!raw.is_set(key)).then_some(Listen::LOOPBACK));
    };
    match Listen::parse(&text) {
        Ok(listen) => {
            if text.starts_with(':') && listen.port.is_some() {
                let message = "without a host it is 127.0.0.1: other machines do not reach it";
                raw.warn(key, message, "write 0.0.0.0:PORT to listen on all interfaces");
            }
            (key, Some(listen))
        }
        Err(error) => {
            raw.error(key, &error.to_string(), error.hint());
            (key, None)
        }
    }
}

/// Where peers reach us. `listen` is `None` when it is wrong.
fn advertise(raw: &mut Raw, listen_key: &'static str, listen: Option<&Listen>) -> Option<HostPort> {
    let Some(text) = raw.text("cluster.advertise").map(str::to_owned) else {
        if listen.is_some_and(|listen| listen.is_wildcard() && listen.port.is_some()) {
            let hint =
                "name the address at which the other nodes reach this one: cluster.advertise = \"host:port\"";
            raw.error(listen_key, "listens on all interfaces, so `cluster.advertise` is required", hint);
        }
        return listen.and_then(own_address);
    };
    match HostPort::parse(&text) {
        Ok(address) if matches!(address.host.as_str(), "0.0.0.0" | "::") => {
            raw.error("cluster.advertise", "is no address that others can reach", "name this machine");
            None
        }
        Ok(address) => {
            if listen.is_some_and(|listen| listen.port.is_none()) {
                let hint = "set cluster.listen, for example 0.0.0.0:4221";
                raw.error("cluster.advertise", "needs a fixed port to listen on", hint);
            }
            Some(address)
        }
        Err(error) => {
            raw.error("cluster.advertise", &error.to_string(), error.hint());
            None
        }
    }
}

fn own_address(listen: &Listen) -> Option<HostPort> {
    let port = listen.port.filter(|_| !listen.is_wildcard())?;
    Some(HostPort { host: listen.host.to_string(), port })
}

/// Does this address lead to our own listener, as far as it can be told without looking up names?
fn leads_to(peer: &HostPort, listen: &Listen) -> bool {
    let here = if listen.is_wildcard() {
        peer.is_loopback()
    } else if peer.host.eq_ignore_ascii_case("localhost") {
        listen.is_loopback()
    } else {
        peer.host.parse() == Ok(listen.host)
    };
    here && Some(peer.port) == listen.port
}

fn peers(raw: &mut Raw) -> Vec<HostPort> {
    let Some(Value::List(items)) = raw.value("cluster.peers") else { return Vec::new() };
    let mut peers = Vec::new();
    for (index, item) in items.clone().iter().enumerate() {
        match HostPort::parse(item) {
            Ok(peer) if peers.contains(&peer) => {
                raw.warn("cluster.peers", &format!("{peer} stands there twice"), "remove one of them");
            }
            Ok(peer) => peers.push(peer),
            Err(error) => raw.error("cluster.peers", &format!("entry {}: {error}", index + 1), error.hint()),
        }
    }
    peers
}

/// Can the others reach us, and can nobody else?
fn check_reach(raw: &mut Raw, listen_key: &'static str, cluster: &Cluster, nats: &Nats) {
    check_credentials(raw, listen_key, cluster, nats);
    if cluster.peers.is_empty() {
        return;
    }
    if cluster.listen.port.is_none() {
        let problem = "there are peers, but they cannot reach this node: its port is not fixed";
        let hint = "set cluster.listen (or --cluster-addr), for example 127.0.0.1:4221";
        match raw.place("cluster.peers") {
            Some(place) => raw.problems.push(Problem::error(place, problem).hint(hint)),
            None => raw.error(listen_key, problem, hint),
        }
    } else if cluster.listen.is_loopback() && !cluster.peers.iter().all(HostPort::is_loopback) {
        let message = "listens on this machine only, but there are peers on other machines";
        raw.warn(listen_key, message, "they cannot read from this node unless something forwards to it");
    }
}

fn check_credentials(raw: &mut Raw, listen_key: &'static str, cluster: &Cluster, nats: &Nats) {
    let has_credentials = nats.credentials.is_some() || nats.seed.is_some() || nats.tls.is_some();
    let asked_for_credentials = ASKED_FOR_CREDENTIALS.iter().any(|key| raw.is_set(key));
    if !cluster.listen.is_loopback() && !has_credentials && !asked_for_credentials {
        let hint = "set nats.user_name and nats.user_password, or nats.seed_file, the same on every node; or TLS; or listen on 127.0.0.1";
        raw.error(listen_key, "a server that other machines reach needs credentials", hint);
    }
}

/// Keys by which one means to have credentials, even when something is wrong with them.
const ASKED_FOR_CREDENTIALS: [&str; 7] = [
    "nats.user_name",
    "nats.user_password",
    "nats.user_password_file",
    "nats.seed_file",
    "nats.ca_file",
    "nats.cert_file",
    "nats.key_file",
];
