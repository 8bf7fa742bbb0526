//! Every key that is understood, in one table: its type, its default, what it means, whether this version acts on it.
//!
//! Files, environment variables, the example file and the documentation are all read off this table, so that none of
//! them can know a key that the others do not. Names and meanings are those of the original HarmonyLite where it has them.

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Section and name: `nats.urls`, or `db_path` when it stands before the first section.
    pub path: &'static str,
    /// What may stand there.
    pub kind: Kind,
    /// What holds when it is not set.
    pub preset: Preset,
    /// What it means, for people; one or more sentences.
    pub doc: &'static str,
    /// What this version does with it.
    pub support: Support,
}

/// What may stand in a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number within these bounds.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A text.
    Text,
    /// A text that is never shown.
    Secret,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts; separated by commas in the environment.
    List,
    /// A text such as `"90s"`, `"15m"`, `"12h"`, `"7d"`, or 0.
    Duration,
    /// A number of bytes, or a text such as `"64MiB"`, `"4GiB"`.
    Size,
}

/// The value that is written in the example file, as TOML.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preset {
    /// What holds when the key is not set.
    Default(&'static str),
    /// There is no default; this shows how a value looks.
    Example(&'static str),
    /// Must be set; this shows how a value looks.
    Required(&'static str),
}

/// What this version does with a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Support {
    /// Acts on it.
    Full,
    /// Checks its type and warns that it is not acted on.
    Ignored,
}

use Kind::{Bool, Choice, Duration, Integer, List, Secret, Size, Text};
use Preset::{Default, Example, Required};

/// The greatest number of shards.
pub const SHARDS_MAX: i64 = 256;

const fn key(path: &'static str, kind: Kind, preset: Preset, doc: &'static str) -> Key {
    Key { path, kind, preset, doc, support: Support::Full }
}

const fn ignored(path: &'static str, kind: Kind, preset: Preset, doc: &'static str) -> Key {
    Key { path, kind, preset, doc, support: Support::Ignored }
}

const fn within(min: i64, max: i64) -> Kind {
    Integer { min, max }
}

/// The table, in the order of the example file.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("db_path", Text, Required("\"/var/lib/app/app.db\""),
        "The application's SQLite database. It must exist. A relative path starts at the working directory."),
    key("node_id", within(0, i64::MAX), Example("1"),
        "Who this node is: a number of its own for every node of the cluster, and the same for the whole life of the \
         database. When it is not set (or 0) it is derived from the machine id; with two nodes on one machine it must be set."),
    key("seq_map_path", Text, Example("\"/var/lib/app/seq-map.cbor\""),
        "A file that shows how far each source is consumed: a CBOR map of source to the last sequence that is applied. The \
         positions that count are in the database. At start the lower of both holds, and a source that the file does not \
         name is read from its beginning; what was applied already is dropped."),
    key("publish", Bool, Default("true"),
        "Send local changes to the other nodes. What is not sent stays in the change log until this is true again."),
    key("replicate", Bool, Default("true"),
        "Apply the changes of other nodes. Where all nodes share their streams (nats.urls) it cannot be false."),
    ignored(
        "scan_max_changes",
        within(1, 100_000),
        Default("512"),
        "Rows of the change log that the original reads in one step; here a change set is read at once.",
    ),
    key("cleanup_interval", within(100, 3_600_000), Default("5000"),
        "Milliseconds between two runs of housekeeping, which trims what is sent from the change log."),
    key("polling_interval", within(0, 60_000), Default("0"),
        "Milliseconds between two looks at the database beside file events, for file systems that send none. \
         0 looks every 500 milliseconds."),
    key("sleep_timeout", within(0, 31_536_000_000), Default("0"),
        "Milliseconds without any event (a commit here, a change from elsewhere) after which the process ends with 0, when \
         nothing is left to be sent or applied; 0 is never."),

    key("replication_log.shards", within(1, SHARDS_MAX), Default("1"),
        "Streams that a node's changes are divided over. The same on all nodes. With more than one, a transaction is \
         atomic per shard only."),
    key("replication_log.compress", Bool, Default("true"), "Compress what is sent."),
    key("replication_log.update_existing", Bool, Default("false"),
        "Change an existing stream whose settings differ from these, instead of refusing to start."),
    key("replication_log.max_entries", within(0, i64::MAX), Default("0"),
        "Messages that a stream keeps; 0 is unlimited. A node that was away while more were sent cannot catch up from \
         the stream."),
    key("replication_log.max_age", Duration, Default("0"),
        "How long a stream keeps a message (\"12h\", \"7d\", at least two minutes); 0 is for ever. Beware as for max_entries."),
    key("replication_log.max_bytes", Size, Default("\"4GiB\""),
        "What a stream keeps (bytes, or \"512MiB\", \"4GiB\"; at least 256MiB); 0 is unlimited. Beware as for max_entries."),
    key("replication_log.replicas", within(1, 5), Default("1"),
        "Copies of each stream in the NATS cluster of nats.urls. The node's own server stands alone and keeps one."),

    key("cluster.name", Text, Default("\"e-harmonylite\""),
        "The cluster's name, the same on all nodes. Changes of another cluster are rejected."),
    key("cluster.listen", Text, Example("\"127.0.0.1:4221\""),
        "IP address and port on which this node's NATS server listens for the other nodes. Without a host it is \
         127.0.0.1; with port -1 the system chooses. Beyond loopback it needs nats.user_name and nats.user_password, or TLS. \
         The flag --cluster-addr sets it."),
    key("cluster.advertise", Text, Example("\"db1.example.net:4221\""),
        "Where the other nodes reach this one, when it is not what cluster.listen says; required when that is a \
         wildcard such as 0.0.0.0:4221."),
    key("cluster.peers", List, Example("[\"nats://127.0.0.1:4222\", \"nats://127.0.0.1:4223\"]"),
        "The NATS servers of other nodes. One that is there is enough: it tells the rest. This node's own address may be \
         among them. The flag --cluster-peers sets it."),
    key("cluster.leaf_servers", List, Default("[]"),
        "An existing NATS cluster to which this node's own server connects as a leaf node: nats-leaf://host:port (7422 when \
         there is none). The streams are on that cluster, in nats.jetstream_domain. The flag --leaf-servers sets it."),

    key("nats.mode", Choice(&["auto", "mesh", "shared"]), Default("\"auto\""),
        "mesh: every node runs its own NATS server and reads those of its peers. shared: all nodes share the streams of one \
         NATS cluster, or, without nats.urls, of this node's server. auto: shared when nats.urls is set, else mesh."),
    key("nats.urls", List, Default("[]"),
        "The servers of an existing NATS cluster: nats://, tls:// or dns://, user:password@ if need be. All addresses of a \
         name are tried, and it is looked up again at every connect. The node then runs no server of its own."),
    key("nats.jetstream_domain", Text, Example("\"hub\""),
        "The JetStream domain of the cluster that has the streams, when it is reached through leaf nodes: of its own, or \
         those that nats.urls names."),
    key("nats.user_name", Text, Example("\"cluster\""),
        "What nodes show one another, the same on every node, or what they show an existing cluster; with nats.user_password."),
    key("nats.user_password", Secret, Example("\"...\""),
        "The password to nats.user_name. Better given as HARMONYLITE_NATS_USER_PASSWORD than in a file that others read."),
    key("nats.user_password_file", Text, Example("\"/run/credentials/harmonylite.service/password\""),
        "A file that holds the password, in place of nats.user_password: a secret that a service manager hands over, for \
         example. A line end after it does not count."),
    key("nats.subject_prefix", Text, Default("\"harmonylite-change-log\""), "Subjects are <subject_prefix>-<shard>."),
    key("nats.stream_prefix", Text, Default("\"harmonylite-changes\""), "Streams are <stream_prefix>-<shard>."),
    key("nats.bind_address", Text, Default("\":-1\""),
        "Where this node's NATS server listens when cluster.listen is not set."),
    key("nats.server_binary", Text, Example("\"/usr/local/bin/nats-server\""),
        "The nats-server to run (2.12.8 or later). When it is not set: the one beside our own program, then the one in PATH."),
    key("nats.server_config", Text, Example("\"/etc/harmonylite/nats.conf\""),
        "A file with settings of nats-server that is included in its configuration, and wins."),
    key("nats.connect_retries", within(0, 10_000), Default("5"),
        "How often reaching nats.urls is tried again at start. Then the node runs without: changes wait in the database \
         until the cluster is there."),
    key("nats.reconnect_wait_seconds", within(1, 3600), Default("2"),
        "Seconds that each try of nats.connect_retries waits for an answer, and between two of them. A connection that is \
         lost later is tried again within a second."),
    key("nats.seed_file", Text, Example("\"/etc/harmonylite/user.nk\""),
        "A file with the seed of an NKey (SU...), in place of nats.user_name and nats.user_password; between nodes that run \
         their own servers the same on every node."),
    key("nats.ca_file", Text, Example("\"/etc/harmonylite/tls/ca.pem\""),
        "TLS: the authorities that servers and other nodes are checked against. With nats.urls, those of the system when it is \
         not set. A node that runs its own server takes nobody without a certificate of them, and needs all three files; \
         `harmonylite certs` makes them."),
    key("nats.cert_file", Text, Example("\"/etc/harmonylite/tls/node.pem\""),
        "TLS: this node's certificate, for the hosts by which other nodes reach it, or for a server that asks for one; with \
         nats.key_file."),
    key("nats.key_file", Text, Example("\"/etc/harmonylite/tls/node.key\""), "TLS: the key to the certificate."),

    key("logging.verbose", Bool, Default("false"), "Log what helps to debug, too."),
    key("logging.format", Choice(&["console", "json"]), Default("\"console\""), "console: for people. json: one object per line."),

    key("conflict.log_max_entries", within(0, i64::MAX), Default("10000"),
        "Entries that the conflict log keeps, the newest ones; 0 is unlimited."),
    key("conflict.log_max_age", Duration, Default("\"30d\""), "How long the conflict log keeps an entry; 0 is for ever."),
    key("conflict.max_clock_drift", Duration, Default("\"10s\""),
        "How far another node's clock may be ahead of this one's before it is an alarm, in the log and in status; 0 is \
         never. Its changes are applied all the same."),
    ignored("conflict.tombstone_retention", Duration, Example("\"7d\""), "How long deletes are remembered. In this version: for ever."),

    ignored("snapshot.enabled", Bool, Example("false"), "Take snapshots for nodes that join."),
    ignored("snapshot.interval", within(0, i64::MAX), Default("0"), "Milliseconds between two snapshots."),
    ignored("snapshot.leader_ttl", within(1, i64::MAX), Default("30000"), "Milliseconds after which a silent leader is replaced."),
    ignored("snapshot.store", Choice(&["nats", "s3", "webdav", "sftp", "file"]), Default("\"nats\""), "Where snapshots are kept."),
    ignored("snapshot.keep", within(1, i64::MAX), Example("3"), "Snapshots to keep."),
    ignored("snapshot.nats.replicas", within(1, 5), Default("1"), "Copies of the object store."),
    ignored("snapshot.nats.bucket", Text, Example("\"harmonylite-changes-snapshot-store\""), "Its name."),
    ignored("snapshot.s3.endpoint", Text, Example("\"s3.example.net\""), "The server."),
    ignored("snapshot.s3.bucket", Text, Example("\"backups\""), "The bucket."),
    ignored("snapshot.s3.path", Text, Example("\"harmonylite\""), "The folder in the bucket."),
    ignored("snapshot.s3.region", Text, Example("\"eu-central-1\""), "The region."),
    ignored("snapshot.s3.access_key", Secret, Example("\"...\""), "The key's name."),
    ignored("snapshot.s3.secret", Secret, Example("\"...\""), "The key."),
    ignored("snapshot.s3.session_token", Secret, Example("\"...\""), "The token of a temporary key."),
    ignored("snapshot.s3.use_ssl", Bool, Example("true"), "Use https."),
    ignored("snapshot.s3.force_path_style", Bool, Example("true"), "The bucket in the path, not in the host."),
    ignored("snapshot.webdav.url", Secret, Example("\"https://dav.example.net/?dir=/snapshots&login=...&secret=...\""), "The server."),
    ignored("snapshot.sftp.url", Secret, Example("\"sftp://user:...@host:22/path\""), "The server."),

    ignored("prometheus.enable", Bool, Default("false"), "Serve metrics."),
    ignored("prometheus.bind", Text, Default("\":3010\""), "Where."),
    ignored("prometheus.namespace", Text, Default("\"harmonylite\""), "The beginning of every metric's name."),
    ignored("prometheus.subsystem", Text, Default("\"\""), "What follows it."),

    ignored("health_check.enable", Bool, Default("false"), "Serve the health of the node."),
    ignored("health_check.bind", Text, Default("\"0.0.0.0:8090\""), "Where."),
    ignored("health_check.path", Text, Default("\"/health\""), "Under which path."),
    ignored("health_check.detailed", Bool, Default("true"), "With all details."),
];

impl Key {
    /// Does a new value take effect when the configuration is read again, without a restart?
    #[must_use]
    pub fn changes_at_run_time(&self) -> bool {
        AT_RUN_TIME.contains(&self.path)
    }

    /// The key of that path.
    #[must_use]
    pub fn find(path: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.path == path)
    }

    /// Its environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.path.replace('.', "_").to_ascii_uppercase())
    }

    /// Its section; empty before the first one.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Its name in its section.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }
}

impl Preset {
    /// The value, as TOML.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Default(text) | Self::Example(text) | Self::Required(text) => text,
        }
    }
}

/// Keys whose new values take effect when the configuration is read again.
const AT_RUN_TIME: &[&str] = &[
    "cleanup_interval",
    "polling_interval",
    "sleep_timeout",
    "logging.verbose",
    "conflict.log_max_entries",
    "conflict.log_max_age",
    "conflict.max_clock_drift",
];

/// What the variables of ours begin with.
pub const VARIABLE_PREFIX: &str = "HARMONYLITE_";

/// Is there a section of that name, or one within it?
#[must_use]
pub fn is_section(path: &str) -> bool {
    let inside = |key: &Key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
    KEYS.iter().any(inside)
}

/// All sections, in the table's order.
#[must_use]
pub fn sections() -> Vec<&'static str> {
    let mut sections: Vec<&'static str> = KEYS.iter().map(Key::section).collect();
    sections.dedup();
    sections
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_keys_share_a_path_or_a_variable() {
        let paths: BTreeSet<&str> = KEYS.iter().map(|key| key.path).collect();
        let variables: BTreeSet<String> = KEYS.iter().map(Key::variable).collect();
        assert_eq!((paths.len(), variables.len()), (KEYS.len(), KEYS.len()));
    }

    #[test]
    fn variables_are_spelled_as_documented() {
        assert_eq!(Key::find("db_path").unwrap().variable(), "HARMONYLITE_DB_PATH");
        assert_eq!(Key::find("snapshot.s3.bucket").unwrap().variable(), "HARMONYLITE_SNAPSHOT_S3_BUCKET");
    }

    #[test]
    fn each_section_stands_in_one_place() {
        let sections = sections();
        let distinct: BTreeSet<&str> = sections.iter().copied().collect();
        assert_eq!(distinct.len(), sections.len());
        assert!(
            is_section("snapshot.s3")
                && is_section("snapshot")
                && !is_section("snap")
                && !is_section("db_path")
        );
    }
}
