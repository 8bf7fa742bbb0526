//! Connections: they never block for good, reconnect by themselves, and say why they do not work.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::{Client, ClientError, ConnectOptions, Event, ReconnectToServer, ServerError};
use harmonylite_core::model::NodeId;
use tokio::sync::watch;
use tokio::time::timeout;

use super::access::{Auth, Tls};
use super::{NatsError, SERVER_VERSION_MIN, Version, node_of_server};
use crate::tls::refusal;

/// Reconnecting starts at once and slows down to this: the library's own default grows to 4 s.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);
const RECONNECT_DELAY_STEP: Duration = Duration::from_millis(100);
/// A dead TCP connection is noticed after two of these.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const TCP_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where to connect, and as whom.
#[derive(Clone, Debug)]
pub struct ConnectSettings {
    /// What the server calls this client in its logs.
    pub name: String,
    /// URLs of one server or of one cluster: `nats://host:port`, or `tls://host:port`. All addresses of a name are
    /// tried, and the name is looked up again at every connect.
    pub servers: Vec<String>,
    /// As whom. `Anonymous`: as what the URL says, if it does.
    pub auth: Auth,
    /// With them the connection is encrypted, or it is none; `None`: encrypted when the server or the URL asks for it.
    pub tls: Option<Tls>,
}

impl ConnectSettings {
    /// The servers, for people: a URL may hold a password.
    fn shown_servers(&self) -> String {
        let shown: Vec<_> = self.servers.iter().map(|url| without_password(url)).collect();
        shown.join(", ")
    }
}

fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
}

/// Who answers at the other end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The server's name.
    pub server_name: String,
    /// Its node; `None` when it is not the server of a node.
    pub node: Option<NodeId>,
    /// The server's version; `None` when it is written as never seen before.
    pub version: Option<Version>,
    /// The largest message it takes, in bytes.
    pub max_payload: usize,
}

impl Peer {
    /// Is it new enough to publish to? `server` says where it is.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_version(&self, server: &str) -> Result<(), NatsError> {
        match self.version {
            Some(found) if found < SERVER_VERSION_MIN => {
                Err(NatsError::ServerTooOld { server: server.to_owned(), found })
            }
            _ => Ok(()),
        }
    }
}

/// What the connection has gone through; counters, so that nothing short is missed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Health {
    connected: bool,
    disconnects: u64,
    denials: u64,
    /// The last refusal of a permission: to the one who asked it looks like a timeout.
    denial: String,
    /// Why the last attempt to connect failed.
    failure: Option<Failure>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Failure {
    Credentials,
    /// One of the two does not trust the other's certificate, or does not speak TLS.
    Tls(String),
    Other(String),
}

/// A connection to one server (or cluster); clones share it. Dropping the last one closes it.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    jetstream: Context,
    /// What the subjects of JetStream's requests begin with.
    api: String,
    health: watch::Receiver<Health>,
    server: String,
    user: String,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Connection {
    /// Begins to connect, and goes on until it is connected; [`ready`](Self::ready) tells when it has worked. From then
    /// on it connects again whenever the connection is lost. Fails only when a URL makes no sense.
    pub async fn open(settings: &ConnectSettings) -> Result<Self, NatsError> {
        let server = settings.shown_servers();
        let (health_sender, health) = watch::channel(Health::default());
        let client = options(settings, health_sender, server.clone())
            .connect(settings.servers.clone())
            .await
            .map_err(|error| NatsError::Unreachable { server: server.clone(), reason: error.to_string() })?;
        let user = settings.auth.shown().to_owned();
        let jetstream = async_nats::jetstream::new(client.clone());
        Ok(Self { client, jetstream, api: "$JS.API".to_owned(), health, server, user })
    }

    /// The same for JetStream in a domain of that name: behind a leaf node it is another one than that of the server
    /// which the connection leads to.
    #[must_use]
    pub fn in_domain(mut self, domain: &str) -> Self {
        self.jetstream = async_nats::jetstream::with_domain(self.client.clone(), domain);
        self.api = format!("$JS.{domain}.API");
        self
    }

    /// Waits until the server answers, at most `within`. Wrong credentials, and certificates that are not trusted, are
    /// reported at once.
    pub async fn ready(&self, within: Duration) -> Result<Peer, NatsError> {
        match timeout(within, self.wait_ready()).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unreachable(within)),
        }
    }

    /// As [`ready`](Self::ready), but the first attempt that fails is the answer.
    pub async fn ready_at_once(&self, within: Duration) -> Result<Peer, NatsError> {
        let mut health = self.health.clone();
        let failed = async {
            while health.borrow_and_update().failure.is_none() {
                if health.changed().await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            biased;
            ready = self.ready(within) => ready,
            () = failed => Err(self.unreachable(within)),
        }
    }

    /// Is there a connection right now?
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.health.borrow().connected
    }

    /// Where it leads, for people.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    async fn wait_ready(&self) -> Result<Peer, NatsError> {
        let mut health = self.health.clone();
        loop {
            {
                let now = health.borrow_and_update();
                if now.connected {
                    break;
                }
                if let Some(refusal) = now.failure.as_ref().and_then(|failure| self.refusal(failure)) {
                    return Err(refusal);
                }
            }
            if health.changed().await.is_err() {
                return Err(self.failed("connecting", "the connection is closed"));
            }
        }
        // The event comes a moment before the client knows whom it talks to; a flush is answered after that.
        self.client.flush().await.map_err(|error| self.failed("connecting", error))?;
        Ok(self.peer())
    }

    /// Asks JetStream for a sign of life.
    pub async fn query_jetstream(&self) -> Result<(), NatsError> {
        const WITHIN: Duration = Duration::from_secs(2);
        let what = "asking JetStream for its state";
        let answer = self.call(what, &self.api, WITHIN, self.jetstream.query_account()).await?;
        answer.map(drop).map_err(|error| self.failed(what, error))
    }

    fn peer(&self) -> Peer {
        let info = self.client.server_info();
        Peer {
            node: node_of_server(&info.server_name),
            server_name: info.server_name,
            version: Version::parse(&info.version),
            max_payload: info.max_payload,
        }
    }

    /// Awaits a request at most `within`; ends it as soon as the connection is lost or the server refuses
    /// a permission for `about`. All errors leave open whether the server has carried it out.
    pub(super) async fn call<T>(
        &self,
        what: &str,
        about: &str,
        within: Duration,
        request: impl Future<Output = T>,
    ) -> Result<T, NatsError> {
        let mut trouble = self.trouble(about);
        if !self.is_connected() {
            return Err(self.failed(what, "not connected"));
        }
        tokio::select! {
            biased;
            answer = timeout(within, request) => {
                answer.map_err(|_| self.failed(what, format!("no answer within {} s", within.as_secs())))
            }
            reason = trouble.happens() => Err(self.failed(what, reason)),
        }
    }

    /// Watches from now on for the loss of the connection and for refusals that concern `about`: the name of a stream,
    /// or a subject.
    pub(super) fn trouble(&self, about: &str) -> Trouble {
        let mut health = self.health.clone();
        let since = health.borrow_and_update().clone();
        Trouble { health, since, about: about.to_owned() }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    /// The subject of a request to JetStream.
    pub(super) fn api(&self, request: &str) -> String {
        format!("{}.{request}", self.api)
    }

    pub(super) fn failed(&self, what: &str, reason: impl fmt::Display) -> NatsError {
        NatsError::Request { what: what.to_owned(), server: self.server.clone(), reason: reason.to_string() }
    }

    /// What waiting does not mend.
    fn refusal(&self, failure: &Failure) -> Option<NatsError> {
        let server = self.server.clone();
        match failure {
            Failure::Credentials => Some(NatsError::WrongCredentials { server, user: self.user.clone() }),
            Failure::Tls(reason) => Some(NatsError::Untrusted { server, reason: reason.clone() }),
            Failure::Other(_) => None,
        }
    }

    fn unreachable(&self, within: Duration) -> NatsError {
        let health = self.health.borrow();
        if let Some(refusal) = health.failure.as_ref().and_then(|failure| self.refusal(failure)) {
            return refusal;
        }
        let reason = match &health.failure {
            Some(Failure::Other(reason)) => reason.clone(),
            _ => format!("no answer within {} ms", within.as_millis()),
        };
        NatsError::Unreachable { server: self.server.clone(), reason }
    }
}

/// Sees everything that happens to a connection after it was made.
pub(super) struct Trouble {
    health: watch::Receiver<Health>,
    since: Health,
    about: String,
}

impl Trouble {
    /// Waits for the loss of the connection or the refusal of a permission, and says which. Safe to cancel.
    pub(super) async fn happens(&mut self) -> String {
        loop {
            {
                let now = self.health.borrow_and_update();
                if now.disconnects != self.since.disconnects {
                    return "connection lost".to_owned();
                }
                // Others share the connection: what they are refused is no trouble of ours.
                if now.denials != self.since.denials && concerns(&now.denial, &self.about) {
                    return now.denial.clone();
                }
                self.since.denials = now.denials;
            }
            if self.health.changed().await.is_err() {
                return "connection closed".to_owned();
            }
        }
    }
}

/// Does `denial` name `about`, and not only something that begins so?
fn concerns(denial: &str, about: &str) -> bool {
    let goes_on = |character: char| character.is_alphanumeric() || character == '-' || character == '_';
    denial.match_indices(about).any(|(at, _)| !denial[at + about.len()..].starts_with(goes_on))
}

fn options(settings: &ConnectSettings, health: watch::Sender<Health>, server: String) -> ConnectOptions {
    let health = Arc::new(health);
    let attempts = health.clone();
    let options = ConnectOptions::new()
        .name(&settings.name)
        .retry_on_initial_connect()
        .ignore_discovered_servers()
        .connection_timeout(TCP_CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(reconnect_delay)
        .reconnect_to_server_callback(move |servers, _| {
            note_attempts(&servers, &attempts);
            // Which one is tried next is left to the library.
            std::future::ready(None::<ReconnectToServer>)
        })
        .event_callback(move |event| {
            note_event(&event, &health, &server);
            std::future::ready(())
        });
    let options = settings.auth.apply(options);
    settings.tls.as_ref().map_or(options.clone(), |tls| tls.apply(options))
}

/// Before each attempt: how the ones before it ended. The library's events say of what kind an error was, no more.
fn note_attempts(servers: &[async_nats::Server], health: &watch::Sender<Health>) {
    let failures: Vec<Failure> =
        servers.iter().filter_map(|server| server.last_error.as_deref()).map(failure).collect();
    // A server of a cluster that cannot be reached says less than another one that refuses us.
    let refusal = failures.iter().find(|failure| !matches!(failure, Failure::Other(_)));
    let Some(failure) = refusal.or(failures.first()).cloned() else { return };
    health.send_if_modified(|health| {
        let news = !health.connected && health.failure.as_ref() != Some(&failure);
        if news {
            health.failure = Some(failure);
        }
        news
    });
}

fn reconnect_delay(attempt: usize) -> Duration {
    let steps = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    RECONNECT_DELAY_STEP.saturating_mul(steps).min(RECONNECT_DELAY_MAX)
}

fn note_event(event: &Event, health: &watch::Sender<Health>, server: &str) {
    tracing::debug!(%server, %event, "connection event");
    health.send_modify(|health| match event {
        Event::Connected => {
            health.connected = true;
            health.failure = None;
        }
        Event::Disconnected | Event::Closed => {
            health.connected = false;
            health.disconnects += 1;
        }
        Event::ServerError(ServerError::AuthorizationViolation) => {
            health.failure = Some(Failure::Credentials);
        }
        Event::ServerError(ServerError::Other(error))
            if error.to_lowercase().contains("permissions violation") =>
        {
            health.denials += 1;
            health.denial.clone_from(error);
        }
        // Of what kind it was; an attempt may have said more already.
        Event::ClientError(ClientError::Other(error)) => {
            health.failure.get_or_insert_with(|| failure(error));
        }
        _ => {}
    });
}

fn failure(error: &str) -> Failure {
    let lower = error.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    // "Authentication Timeout": our word came too late, whatever it would have been.
    if says(&["authorization violation", "authentication"]) && !says(&["timeout"]) {
        Failure::Credentials
    } else {
        refusal(error).map_or_else(|| Failure::Other(error.to_owned()), Failure::Tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_waited_too_long_for_our_credentials_has_not_refused_them() {
        assert!(matches!(failure("-ERR 'Authentication Timeout'"), Failure::Other(_)));
        assert!(matches!(failure("-ERR 'Authorization Violation'"), Failure::Credentials));
    }

    #[test]
    fn passwords_in_urls_are_not_shown() {
        assert_eq!(without_password("nats://me:p@ss@host:4222"), "nats://host:4222");
        assert_eq!(without_password("me:secret@host:4222"), "host:4222");
        assert_eq!(without_password("nats://host:4222"), "nats://host:4222");
    }

    #[test]
    fn a_denial_concerns_the_stream_that_it_names() {
        let denial = "Permissions Violation for Publish to \"$JS.API.STREAM.INFO.changes-10\"";
        assert!(concerns(denial, "changes-10"));
        assert!(!concerns(denial, "changes-1"));
        assert!(!concerns(denial, "changes-2"));
    }

    #[test]
    fn reconnecting_starts_at_once_and_is_capped() {
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        assert_eq!(reconnect_delay(2), RECONNECT_DELAY_STEP);
        assert_eq!(reconnect_delay(usize::MAX), RECONNECT_DELAY_MAX);
    }
}
