//! From what was written to [`Settings`]: what keys mean together, and what this version cannot do.
//!
//! Every check goes on after an error, so that all of them are reported at once.

use std::path::PathBuf;
use std::time::Duration;

use harmonylite_core::limits::CLUSTER_NAME_MAX;
use harmonylite_core::model::NodeId;

use super::environment::{Environment, derive_node_id, fingerprint_machine};
use super::problem::{Place, Problem};
use super::raw::Raw;
use super::server_url::ServerUrl;
use super::settings::{Conflict, LogFormat, Mode, Nats, ReplicationLog, STREAM_BYTES_DEFAULT, Settings};
use super::value::Value;

/// A stream cannot keep messages for less than its duplicate window, which is two minutes.
const STREAM_AGE_MIN: Duration = Duration::from_secs(120);
/// Below that, a stream would not hold the parts of one large group.
const STREAM_BYTES_MIN: u64 = 256 << 20;
/// The longest prefix of streams and subjects: nats-server uses a stream's name as a folder's.
const PREFIX_LENGTH_MAX: usize = 128;

/// Judges `raw`. `None` when a setting without which nothing can be built is missing; problems are added to `raw`.
pub(super) fn settings(raw: &mut Raw, whole: &Place, environment: &Environment) -> Option<Settings> {
    raw.warn_about_ignored();
    let db_path = db_path(raw, whole);
    let node_id = node_id(raw, whole, environment);
    let replication_log = replication_log(raw);
    let (nats, leaf_servers) = nats(raw, environment.now_s);
    let cluster = super::topology::cluster(raw, &nats, leaf_servers);
    if nats.urls.is_empty() && cluster.leaf_servers.is_empty() {
        super::certificates::check_hosts(raw, nats.tls.as_ref(), cluster.advertise.as_ref());
    }
    let mut settings = Settings::new(db_path?, node_id?.0);
    settings.node_id_derived = node_id?.1;
    settings.machine = fingerprint_machine(environment.machine_id.as_deref());
    raw.read_bool("publish", &mut settings.publish);
    raw.read_bool("replicate", &mut settings.replicate);
    if !settings.replicate && nats.mode == Mode::Shared {
        // The own streams, which a node has to read, are everybody's there.
        let hint = "let each node have its streams on its own server (mesh), or set replicate = true";
        raw.error("replicate", "cannot be false where all nodes share their streams", hint);
    }
    settings.cleanup_interval = raw.ms("cleanup_interval").unwrap_or(settings.cleanup_interval);
    settings.polling_interval = raw.ms("polling_interval").unwrap_or(settings.polling_interval);
    settings.seq_map_path = raw.path("seq_map_path");
    settings.sleep_timeout = raw.ms("sleep_timeout");
    settings.conflict = conflict(raw);
    settings.replication_log = replication_log;
    settings.nats = nats;
    settings.cluster = cluster;
    raw.read_bool("logging.verbose", &mut settings.logging.verbose);
    if raw.text("logging.format") == Some("json") {
        settings.logging.format = LogFormat::Json;
    }
    Some(settings)
}

fn db_path(raw: &mut Raw, whole: &Place) -> Option<PathBuf> {
    if raw.text("db_path").is_none() && !raw.is_set("db_path") && !raw.incomplete {
        let problem = Problem::error(whole.clone(), "`db_path` is missing");
        raw.problems.push(problem.hint("name the application's database: db_path = \"/var/lib/app/app.db\""));
    }
    raw.path("db_path")
}

/// The node id, and whether it was derived.
fn node_id(raw: &mut Raw, whole: &Place, environment: &Environment) -> Option<(NodeId, bool)> {
    let written = raw.integer("node_id").and_then(|id| u64::try_from(id).ok()).and_then(NodeId::new);
    if let Some(id) = written {
        return Some((id, false));
    }
    let derived = environment.machine_id.as_deref().and_then(derive_node_id);
    // 0 was written: that says as much as nothing. A value that was refused has its error already.
    let zero = raw.place("node_id");
    if derived.is_none() && (zero.is_some() || !raw.is_set("node_id")) && !raw.incomplete {
        let message = "`node_id` is missing, and this machine has no /etc/machine-id to derive it from";
        let problem = Problem::error(zero.unwrap_or_else(|| whole.clone()), message);
        raw.problems.push(problem.hint("give every node a number of its own: node_id = 1"));
    }
    derived.map(|id| (id, true))
}

fn replication_log(raw: &mut Raw) -> ReplicationLog {
    let mut log = ReplicationLog::default();
    raw.read_integer("replication_log.shards", &mut log.shards);
    raw.read_bool("replication_log.compress", &mut log.compress);
    raw.read_bool("replication_log.update_existing", &mut log.update_existing);
    raw.read_integer("replication_log.replicas", &mut log.replicas);
    raw.read_count("replication_log.max_entries", &mut log.max_entries);
    raw.read_duration("replication_log.max_age", &mut log.max_age);
    if let Some(Value::Size(bytes)) = raw.value("replication_log.max_bytes") {
        log.max_bytes = Some(*bytes).filter(|bytes| *bytes > 0);
    }
    check_retention(raw, &log);
    log
}

fn conflict(raw: &mut Raw) -> Conflict {
    let mut conflict = Conflict::default();
    raw.read_count("conflict.log_max_entries", &mut conflict.log_max_entries);
    raw.read_duration("conflict.log_max_age", &mut conflict.log_max_age);
    raw.read_duration("conflict.max_clock_drift", &mut conflict.max_clock_drift);
    conflict
}

fn check_retention(raw: &mut Raw, log: &ReplicationLog) {
    if log.max_age.is_some_and(|age| age < STREAM_AGE_MIN) {
        raw.error(
            "replication_log.max_age",
            "must be at least two minutes, or 0",
            "for example: max_age = \"7d\"",
        );
    } else if log.max_age.is_some() {
        raw.warn("replication_log.max_age", CATCH_UP, CATCH_UP_HINT);
    }
    if log.max_entries.is_some() {
        raw.warn("replication_log.max_entries", CATCH_UP, CATCH_UP_HINT);
    }
    if log.max_bytes.is_some_and(|bytes| bytes < STREAM_BYTES_MIN) {
        raw.error(
            "replication_log.max_bytes",
            "must be at least 256MiB, or 0",
            "for example: max_bytes = \"4GiB\"",
        );
    } else if log.max_bytes.is_some_and(|bytes| bytes < STREAM_BYTES_DEFAULT) {
        raw.warn("replication_log.max_bytes", CATCH_UP, CATCH_UP_HINT);
    }
}

const CATCH_UP: &str =
    "a node that is away while this is exceeded stops consuming that stream when it comes back";
const CATCH_UP_HINT: &str = "0 keeps everything, within the other limits";

fn nats(raw: &mut Raw, now_s: Option<u64>) -> (Nats, Vec<ServerUrl>) {
    let mut nats = Nats::default();
    raw.read_integer("nats.connect_retries", &mut nats.connect_retries);
    if let Some(Value::Integer(seconds)) = raw.value("nats.reconnect_wait_seconds") {
        nats.reconnect_wait = Duration::from_secs(seconds.unsigned_abs());
    }
    check_prefix(raw, "nats.subject_prefix", &mut nats.subject_prefix, &[]);
    check_prefix(raw, "nats.stream_prefix", &mut nats.stream_prefix, &['.']);
    nats.server_config = existing_file(raw, "nats.server_config");
    nats.server_binary = existing_file(raw, "nats.server_binary");
    let leaf_servers = super::access::read(raw, &mut nats, now_s);
    (nats, leaf_servers)
}

/// Names of streams and tokens of subjects: nats-server refuses the rest.
fn check_prefix(raw: &mut Raw, path: &'static str, prefix: &mut String, refused: &[char]) {
    let Some(text) = raw.text(path).map(str::to_owned) else { return };
    let allowed = |c: char| {
        c.is_ascii_graphic() && !matches!(c, '*' | '>' | '/' | '\\' | '"' | '$') && !refused.contains(&c)
    };
    let dots = text.starts_with('.') || text.ends_with('.') || text.contains("..");
    if dots || !text.chars().all(allowed) {
        let hint = "use letters, digits, - and _, for example \"harmonylite-changes\"";
        raw.error(path, "has characters that NATS does not allow there", hint);
    } else if text.len() > PREFIX_LENGTH_MAX {
        raw.error(path, &format!("is longer than {PREFIX_LENGTH_MAX} characters"), "choose a shorter one");
    } else {
        *prefix = text;
    }
}

pub(super) fn existing_file(raw: &mut Raw, path: &'static str) -> Option<PathBuf> {
    let file = raw.path(path)?;
    if !file.is_file() {
        let message = format!("no such file: {}", file.display());
        raw.error(path, &message, "correct the path, or remove the key");
    }
    Some(file)
}

/// The cluster's name, which travels in every message.
pub(super) fn cluster_name(raw: &mut Raw, name: &mut String) {
    let Some(text) = raw.text("cluster.name").map(str::to_owned) else { return };
    if text.len() > CLUSTER_NAME_MAX {
        raw.error(
            "cluster.name",
            &format!("is longer than {CLUSTER_NAME_MAX} bytes"),
            "choose a shorter one",
        );
    } else if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        raw.error("cluster.name", "holds spaces or control characters", "for example: name = \"shop\"");
    } else {
        *name = text;
    }
}

impl Raw {
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        match self.value(path) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn integer(&self, path: &str) -> Option<i64> {
        match self.value(path) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    fn ms(&self, path: &str) -> Option<Duration> {
        self.integer(path).filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms.unsigned_abs()))
    }

    pub(super) fn path(&self, path: &str) -> Option<PathBuf> {
        self.text(path).map(|text| std::path::absolute(text).unwrap_or_else(|_| PathBuf::from(text)))
    }

    fn read_bool(&self, path: &str, into: &mut bool) {
        if let Some(Value::Bool(on)) = self.value(path) {
            *into = *on;
        }
    }

    /// A number; 0 is none.
    fn read_count(&self, path: &str, into: &mut Option<u64>) {
        if let Some(number) = self.integer(path) {
            *into = u64::try_from(number).ok().filter(|number| *number > 0);
        }
    }

    /// A duration; 0 is none.
    fn read_duration(&self, path: &str, into: &mut Option<Duration>) {
        if let Some(Value::Duration(duration)) = self.value(path) {
            *into = Some(*duration).filter(|duration| !duration.is_zero());
        }
    }

    /// The bounds in the key table fit the type; a test reads each bound.
    fn read_integer<T: TryFrom<i64>>(&self, path: &str, into: &mut T) {
        if let Some(Ok(number)) = self.integer(path).map(T::try_from) {
            *into = number;
        }
    }

    /// An error at the key's place; nothing when it was not set.
    pub(super) fn error(&mut self, path: &'static str, message: &str, hint: &str) {
        if let Some(place) = self.place(path) {
            self.problems.push(Problem::error(place, format!("`{path}`: {message}")).hint(hint));
        }
    }

    /// The same as a warning.
    pub(super) fn warn(&mut self, path: &'static str, message: &str, hint: &str) {
        if let Some(place) = self.place(path) {
            self.problems.push(Problem::warning(place, format!("`{path}`: {message}")).hint(hint));
        }
    }
}
