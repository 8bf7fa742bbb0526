//! The configuration of the supervised nats-server: what it may do, where it listens, who may come in.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use harmonylite_core::model::NodeId;

use super::{Auth, Credentials, HELLO_SUBJECT, NatsError, SERVER_NAME_PREFIX, random_hex};
use crate::private_files::{self, Readers};
use crate::tls::{CertificateFiles, TlsFiles};

/// Largest message of a server of ours; external ones usually have 1 MB.
const MAX_PAYLOAD: &str = "8MB";
/// The name of the account that peers get on loopback when no credentials are configured.
const ANONYMOUS_PEER: &str = "peer";

/// What the supervised server is to be.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The nats-server to run; `None`: beside our executable, else in `PATH`.
    pub binary: Option<PathBuf>,
    /// The directory of the database; the server's files go to `nats/` in it.
    pub data_dir: PathBuf,
    /// Whose server it is.
    pub node_id: NodeId,
    /// Where it listens for clients. Port 0: a free port is chosen once and kept in the data directory.
    pub listen: SocketAddr,
    /// As whom peers come. `Anonymous` is allowed on loopback, where anybody may read the streams then, and with `tls`.
    pub peer_auth: Auth,
    /// Who connects shows a certificate of the authority, and sees ours. `None`: in clear text.
    pub tls: Option<ListenerTls>,
    /// A configuration file of the user; what stands in it wins. A block there replaces ours of that name whole.
    pub server_config: Option<PathBuf>,
    /// The streams that peers may read.
    pub stream_names: Vec<String>,
    /// What it is to the others.
    pub role: ServerRole,
    /// Bytes that all streams together may take on disk.
    pub max_file_store: u64,
    /// Variables of our environment that the server does not get: they may hold secrets, and a server's environment is
    /// shown to whoever may look at its process.
    pub withheld_variables: Vec<String>,
}

/// What a server of ours is to the other nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerRole {
    /// Its streams are its node's alone: the others read them.
    Mesh,
    /// Its streams are everybody's (shared mode): the others publish to them, too.
    Hub {
        /// The subjects of the streams.
        subjects: Vec<String>,
        /// The subject on which members hear one another.
        members: String,
    },
    /// It has no streams, and no peers: it is a leaf node, and leads its node to a cluster that has them.
    Leaf(Leaf),
}

/// The cluster that a leaf node belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// Where it takes leaf nodes: `nats-leaf://host:port`, or `tls://host:port`.
    pub urls: Vec<String>,
    /// As whom we come.
    pub auth: Auth,
    /// The files of TLS.
    pub tls: Option<TlsFiles>,
}

impl ServerRole {
    /// Are there streams on it?
    pub(super) const fn keeps_streams(&self) -> bool {
        !matches!(self, Self::Leaf(_))
    }
}

/// TLS on both sides: no connection without a certificate of the authority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerTls {
    /// The authorities of the nodes.
    pub ca_file: PathBuf,
    /// What the server shows.
    pub certificate: CertificateFiles,
}

/// The name of the server of `node`: peers read the node from it.
#[must_use]
pub fn server_name(node: NodeId) -> String {
    format!("{SERVER_NAME_PREFIX}{node}")
}

/// Where the files of one node's server are.
#[derive(Clone, Debug)]
pub(super) struct ServerFiles {
    /// The directory of all of them: `<data>/nats`, without symbolic links.
    dir: PathBuf,
    name: String,
}

impl ServerFiles {
    /// Makes the directory, private to us, when it is missing.
    pub(super) fn prepare(settings: &ServerSettings) -> Result<Self, NatsError> {
        let dir = settings.data_dir.join("nats");
        let file_error = |reason| NatsError::File { action: "make", path: dir.clone(), reason };
        private_files::make_folder(&dir).map_err(file_error)?;
        let files =
            Self { dir: dir.canonicalize().map_err(file_error)?, name: server_name(settings.node_id) };
        private_files::make_folder(&files.store()).map_err(file_error)?;
        Ok(files)
    }

    /// The JetStream files, and the server's ports file.
    pub(super) fn store(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.with_extension("lock")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.with_extension("conf")
    }

    /// Process id and start time of the running server.
    pub(super) fn child_record(&self) -> PathBuf {
        self.with_extension("child")
    }

    /// The port that was chosen.
    pub(super) fn port(&self) -> PathBuf {
        self.with_extension("port")
    }

    fn with_extension(&self, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", self.name))
    }
}

/// Refuses what would let strangers in.
pub(super) fn check_listener(settings: &ServerSettings) -> Result<(), NatsError> {
    let anybody = settings.peer_auth == Auth::Anonymous && settings.tls.is_none();
    if anybody && !settings.listen.ip().is_loopback() {
        return Err(NatsError::ListenerOpen { listen: settings.listen });
    }
    Ok(())
}

/// Writes the configuration, readable by us only.
pub(super) fn write_config(
    settings: &ServerSettings,
    files: &ServerFiles,
    listen: SocketAddr,
    local: &Credentials,
) -> Result<(), NatsError> {
    let text = render(settings, files, listen, local)?;
    write_private(&files.config(), &text)
}

/// Writes a file that only we may read; a reader never sees half of it.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), NatsError> {
    private_files::replace(path, text, Readers::Owner).map_err(|reason| NatsError::File {
        action: "write",
        path: path.to_owned(),
        reason,
    })
}

fn render(
    settings: &ServerSettings,
    files: &ServerFiles,
    listen: SocketAddr,
    local: &Credentials,
) -> Result<String, NatsError> {
    let mut text = String::new();
    let mut line = |content: String| {
        text.push_str(&content);
        text.push('\n');
    };
    line(format!("server_name: {}", quoted("node id", &server_name(settings.node_id))?));
    line(format!("listen: \"{listen}\""));
    line("http: \"127.0.0.1:-1\"".to_owned());
    line(format!("ports_file_dir: {}", quoted_path(&files.store())?));
    line(format!("max_payload: {MAX_PAYLOAD}"));
    line("max_pending: 64MB".to_owned());
    // Over a slow link what a peer asked for takes its time: closing the connection would only begin it anew.
    line("write_deadline: \"60s\"".to_owned());
    line("ping_interval: \"20s\"".to_owned());
    line("logtime: false".to_owned());
    match &settings.role {
        ServerRole::Leaf(leaf) => line(leaf_node(leaf, local)?),
        ServerRole::Mesh | ServerRole::Hub { .. } => {
            line(jetstream(settings.max_file_store));
            if let Some(tls) = &settings.tls {
                line(tls_block(tls)?);
            }
            line(accounts(settings, local)?);
        }
    }
    if let Some(path) = &settings.server_config {
        line(format!("include {}", quoted_path(&relative_include(&files.dir, path)?)?));
    }
    Ok(text)
}

fn jetstream(max_file_store: u64) -> String {
    // Its store_dir is given on the command line: a second one, in the user's file, is then an error of the server,
    // and the lock guards the directory that is used.
    // JetStream's own default syncs every 2 minutes and loses acknowledged messages when the machine crashes.
    format!(
        "jetstream {{\n  max_memory_store: 64MB\n  max_file_store: {max_file_store}\n  sync_interval: always\n}}"
    )
}

/// Only its own node may come in.
fn leaf_node(leaf: &Leaf, local: &Credentials) -> Result<String, NatsError> {
    let mut text = String::new();
    let (user, password) = (&local.user, local.password.reveal());
    let _ = writeln!(text, "authorization {{\n  users: [ {{ {} }} ]\n}}", user_line(user, password)?);
    let _ = writeln!(text, "leafnodes {{\n  remotes: [ {{\n    urls: [");
    for url in &leaf.urls {
        let url = match &leaf.auth {
            Auth::Password(credentials) => with_credentials(url, credentials),
            Auth::Anonymous | Auth::NKey(_) => url.clone(),
        };
        let _ = writeln!(text, "      {}", quoted("cluster.leaf_servers", &url)?);
    }
    let _ = writeln!(text, "    ]");
    if let Auth::NKey(key) = &leaf.auth {
        let _ = writeln!(text, "    nkey: {}", quoted("nats.seed_file", key.seed())?);
    }
    if let Some(tls) = &leaf.tls {
        let _ = writeln!(text, "    tls {{\n{}    }}", leaf_tls(tls)?);
    }
    let _ = writeln!(text, "  }} ]\n}}");
    Ok(text)
}

fn leaf_tls(tls: &TlsFiles) -> Result<String, NatsError> {
    let mut text = String::new();
    if let Some(path) = &tls.ca_file {
        let _ = writeln!(text, "      ca_file: {}", quoted_path(path)?);
    }
    if let Some(pair) = &tls.certificate {
        let _ = writeln!(text, "      cert_file: {}", quoted_path(&pair.cert_file)?);
        let _ = writeln!(text, "      key_file: {}", quoted_path(&pair.key_file)?);
    }
    Ok(text)
}

/// `url` with user and password in it, every byte that could mean something there escaped.
fn with_credentials(url: &str, credentials: &Credentials) -> String {
    let escaped = |text: &str| -> String {
        let byte = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    let (user, password) = (escaped(&credentials.user), escaped(credentials.password.reveal()));
    url.replacen("://", &format!("://{user}:{password}@"), 1)
}

/// Both sides show a certificate. A handshake may take a while on a small machine under load: the server's own limit
/// is 2 s.
fn tls_block(tls: &ListenerTls) -> Result<String, NatsError> {
    Ok(format!(
        "tls {{\n  cert_file: {}\n  key_file: {}\n  ca_file: {}\n  verify: true\n  timeout: 10\n}}",
        quoted_path(&tls.certificate.cert_file)?,
        quoted_path(&tls.certificate.key_file)?,
        quoted_path(&tls.ca_file)?,
    ))
}

fn accounts(settings: &ServerSettings, local: &Credentials) -> Result<String, NatsError> {
    let peer = match &settings.peer_auth {
        Auth::Password(Credentials { user, password }) => user_line(user, password.reveal())?,
        Auth::NKey(key) => format!("nkey: {}", quoted("nats.seed_file", key.public())?),
        // Nobody needs this password: who brings none becomes this user.
        Auth::Anonymous => user_line(ANONYMOUS_PEER, &random_hex(16)?)?,
    };
    let mut text = String::new();
    if settings.peer_auth == Auth::Anonymous {
        let _ = writeln!(text, "no_auth_user: \"{ANONYMOUS_PEER}\"");
    }
    let _ = writeln!(text, "authorization {{\n  users: [");
    let _ = writeln!(text, "    {{ {} }}", user_line(&local.user, local.password.reveal())?);
    let _ = writeln!(text, "    {{ {peer}, permissions: {{");
    let _ = writeln!(text, "        publish: {{ allow: [");
    for subject in peer_subjects(settings) {
        let _ = writeln!(text, "          {}", quoted("stream name", &subject)?);
    }
    let mut heard = "\"_INBOX.>\"".to_owned();
    if let ServerRole::Hub { members, .. } = &settings.role {
        let _ = write!(heard, ", {}", quoted("nats.subject_prefix", members)?);
    }
    let _ = writeln!(text, "        ] }}\n        subscribe: {{ allow: [{heard}] }} }} }}\n  ]\n}}");
    Ok(text)
}

fn user_line(user: &str, password: &str) -> Result<String, NatsError> {
    Ok(format!(
        "user: {}, password: {}",
        quoted("nats.user_name", user)?,
        quoted("nats.user_password", password)?
    ))
}

/// All that a peer may send: its record, and what it takes to look at our streams and read them, or to publish when they
/// are everybody's. Names in full: wildcards match whole tokens, `changes-*` would match nothing.
fn peer_subjects(settings: &ServerSettings) -> Vec<String> {
    let of_stream = |stream: &String| {
        [
            format!("$JS.API.STREAM.INFO.{stream}"),
            format!("$JS.API.CONSUMER.CREATE.{stream}.>"),
            format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.*"),
            format!("$JS.API.DIRECT.GET.{stream}"),
            format!("$JS.API.DIRECT.GET.{stream}.>"),
        ]
    };
    let streams = &settings.stream_names;
    let mut all = vec!["$JS.API.INFO".to_owned()];
    all.extend(streams.iter().flat_map(of_stream));
    match &settings.role {
        ServerRole::Mesh => all.push(HELLO_SUBJECT.to_owned()),
        ServerRole::Hub { subjects, members } => {
            // Who publishes asks the stream's leader what became of it.
            all.extend(streams.iter().map(|stream| format!("$JS.API.STREAM.MSG.GET.{stream}")));
            all.extend(subjects.iter().cloned());
            all.push(members.clone());
        }
        ServerRole::Leaf(_) => {}
    }
    all
}

/// A string as the server's configuration language writes it: `$` and comments mean nothing inside.
fn quoted(what: &'static str, value: &str) -> Result<String, NatsError> {
    if value.is_empty() || value.chars().any(char::is_control) {
        let reason = "it is empty or has control characters".to_owned();
        return Err(NatsError::Invalid { what, reason });
    }
    Ok(format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
}

fn quoted_path(path: &Path) -> Result<String, NatsError> {
    let text = path.to_str().ok_or_else(|| NatsError::Invalid {
        what: "path",
        reason: format!("{} is not valid UTF-8", path.display()),
    })?;
    quoted("path", text)
}

/// The server reads the path of an include as relative to the including file, whatever it starts with.
fn relative_include(dir: &Path, path: &Path) -> Result<PathBuf, NatsError> {
    let path = path.canonicalize().map_err(|reason| NatsError::File {
        action: "read nats.server_config",
        path: path.to_owned(),
        reason,
    })?;
    let is_name = |component: &Component<'_>| matches!(component, Component::Normal(_));
    let up = dir.components().filter(is_name).map(|_| Component::ParentDir);
    Ok(up.chain(path.components().filter(is_name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn settings(listen: &str, password: Option<&str>) -> ServerSettings {
        ServerSettings {
            binary: None,
            data_dir: PathBuf::from("/data"),
            node_id: NodeId::new(7).unwrap(),
            listen: listen.parse().unwrap(),
            peer_auth: password.map_or(Auth::Anonymous, |password| {
                let password = Secret::new(password.to_owned());
                Auth::Password(Credentials { user: "harmony".to_owned(), password })
            }),
            tls: None,
            server_config: None,
            stream_names: vec!["changes-1".to_owned(), "changes-2".to_owned()],
            role: ServerRole::Mesh,
            max_file_store: 1 << 30,
            withheld_variables: Vec::new(),
        }
    }

    fn rendered(settings: &ServerSettings) -> Result<String, NatsError> {
        let files = ServerFiles { dir: PathBuf::from("/data/nats"), name: server_name(settings.node_id) };
        let local = Credentials { user: "local".to_owned(), password: Secret::new("l".to_owned()) };
        render(settings, &files, settings.listen, &local)
    }

    #[test]
    fn beyond_loopback_credentials_are_required() {
        assert!(check_listener(&settings("127.0.0.1:1", None)).is_ok());
        assert!(check_listener(&settings("[::1]:1", None)).is_ok());
        assert!(check_listener(&settings("0.0.0.0:1", Some("x"))).is_ok());
        let refused = check_listener(&settings("0.0.0.0:1", None)).unwrap_err().to_string();
        assert!(refused.contains("nats.user_password"), "{refused}");
    }

    #[test]
    fn a_password_cannot_break_out_of_its_quotes() {
        let text = rendered(&settings("127.0.0.1:1", Some(r#"a"b\c # $HOME"#))).unwrap();
        assert!(text.contains(r#"password: "a\"b\\c # $HOME""#), "{text}");
        assert!(rendered(&settings("127.0.0.1:1", Some("two\nlines"))).is_err());
        assert!(rendered(&settings("127.0.0.1:1", Some(""))).is_err());
    }

    #[test]
    fn peers_may_read_each_stream_by_its_full_name_and_nothing_else() {
        let text = rendered(&settings("127.0.0.1:1", Some("x"))).unwrap();
        assert!(text.contains("\"$JS.API.STREAM.INFO.changes-1\""), "{text}");
        assert!(text.contains("\"$JS.API.CONSUMER.CREATE.changes-2.>\""), "{text}");
        assert!(!text.contains("STREAM.DELETE") && !text.contains("no_auth_user"), "{text}");
        assert!(rendered(&settings("127.0.0.1:1", None)).unwrap().contains("no_auth_user: \"peer\""));
    }

    #[test]
    fn a_leaf_has_no_streams_and_no_peers_and_its_password_stays_in_its_place() {
        let mut leaf = settings("127.0.0.1:1", Some("x"));
        let password = Secret::new("p@ss/wo:rd%".to_owned());
        leaf.role = ServerRole::Leaf(Leaf {
            urls: vec!["nats-leaf://n1:7422".to_owned()],
            auth: Auth::Password(Credentials { user: "me".to_owned(), password }),
            tls: Some(TlsFiles { ca_file: Some("/etc/ca.pem".into()), certificate: None }),
        });
        let text = rendered(&leaf).unwrap();
        assert!(text.contains("\"nats-leaf://me:p%40ss%2Fwo%3Ard%25@n1:7422\""), "{text}");
        assert!(text.contains("ca_file: \"/etc/ca.pem\"") && !text.contains("jetstream"), "{text}");
        assert!(!text.contains("harmony") || !text.contains("user: \"harmony\""), "{text}");
    }

    #[test]
    fn at_a_hub_peers_may_publish_to_the_streams_and_still_not_make_or_change_one() {
        let mut hub = settings("127.0.0.1:1", Some("x"));
        hub.role = ServerRole::Hub {
            subjects: vec!["log-1".to_owned(), "log-2".to_owned()],
            members: "log-members".to_owned(),
        };
        let text = rendered(&hub).unwrap();
        assert!(
            text.contains("\n          \"log-2\"\n") && text.contains("STREAM.MSG.GET.changes-2"),
            "{text}"
        );
        assert!(text.contains("subscribe: { allow: [\"_INBOX.>\", \"log-members\"] }"), "{text}");
        assert!(!text.contains("STREAM.CREATE") && !text.contains("STREAM.UPDATE"), "{text}");
        assert!(!rendered(&settings("127.0.0.1:1", Some("x"))).unwrap().contains("log-1"));
    }

    #[test]
    fn certificates_of_the_nodes_are_credentials_and_are_asked_for() {
        let certificate =
            CertificateFiles { cert_file: "/tls/a \"b\".pem".into(), key_file: "/tls/node.key".into() };
        let mut settings = settings("0.0.0.0:1", None);
        assert!(!rendered(&settings).unwrap().contains("tls {"));
        settings.tls = Some(ListenerTls { ca_file: "/tls/ca.pem".into(), certificate });
        assert!(check_listener(&settings).is_ok());
        let text = rendered(&settings).unwrap();
        assert!(text.contains("verify: true") && text.contains(r#"cert_file: "/tls/a \"b\".pem""#), "{text}");
    }

    #[test]
    fn the_include_is_relative_to_the_configuration() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().canonicalize().unwrap();
        let relative = relative_include(Path::new("/data/nats"), &path).unwrap();
        assert_eq!(relative, Path::new("../..").join(path.strip_prefix("/").unwrap()));
        assert!(relative_include(Path::new("/data"), Path::new("/no/such/file")).is_err());
    }
}
