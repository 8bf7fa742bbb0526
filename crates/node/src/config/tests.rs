//! What a configuration means, and what is said about a wrong one.

use std::path::Path;
use std::time::Duration;

use super::keys::{KEYS, Kind};
use super::*;
use crate::secret::Secret;

mod access;
mod certificates;

fn environment() -> Environment {
    Environment::new(&[], Some("0123456789abcdef0123456789abcdef"))
}

fn load_text(text: &str) -> Result<Loaded, Invalid> {
    judge(Some(("node.toml", text)), &environment(), &[])
}

fn settings(text: &str) -> Settings {
    load_text(&format!("db_path = '/data/app.db'\nnode_id = 1\n{text}")).unwrap().settings
}

/// What is said about these lines, below a `db_path` and a `node_id`.
fn said(text: &str) -> String {
    match load_text(&format!("db_path = '/data/app.db'\nnode_id = 1\n{text}")) {
        Ok(loaded) => Invalid { problems: loaded.warnings, db_path: None }.to_string(),
        Err(invalid) => invalid.to_string(),
    }
}

#[track_caller]
fn assert_said(text: &str, parts: &[&str]) {
    let said = said(text);
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}

#[test]
fn a_database_is_all_that_must_be_named() {
    let loaded = load_text("db_path = '/data/app.db'").unwrap();
    assert!(loaded.warnings.is_empty());
    let mut expected = Settings::new("/data/app.db".into(), loaded.settings.node_id);
    expected.machine = loaded.settings.machine;
    expected.node_id_derived = true;
    assert_eq!(loaded.settings, expected);
}

#[test]
fn a_node_id_of_zero_on_a_machine_without_an_id_is_explained() {
    for text in ["db_path = 'x'\n\nnode_id = 0", "db_path = 'x'"] {
        let said = judge(Some(("node.toml", text)), &Environment::default(), &[]).unwrap_err().to_string();
        assert!(said.contains("`node_id` is missing"), "{text}: {said}");
        assert_eq!(said.contains("node.toml:3: "), text.contains("node_id"), "{said}");
    }
}

#[test]
fn a_configuration_for_three_nodes_on_one_machine_is_understood() {
    let settings = settings(
        "[cluster]\nlisten = '127.0.0.1:4221'\n\
         peers = ['nats://127.0.0.1:4221', 'nats://127.0.0.1:4222', '127.0.0.1:4223']",
    );
    assert_eq!(settings.cluster.advertise.map(|a| a.to_string()).as_deref(), Some("127.0.0.1:4221"));
    let peers: Vec<String> = settings.cluster.peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["127.0.0.1:4222", "127.0.0.1:4223"], "our own address is no peer");
}

#[test]
fn every_key_that_is_acted_on_changes_the_settings() {
    let changed = settings(
        "publish = false\nreplicate = false\ncleanup_interval = 100\npolling_interval = 20\n\
         sleep_timeout = 500\nseq_map_path = '/data/map'\n[replication_log]\nshards = 4\ncompress = false\nupdate_existing = true\nmax_entries = 10\nmax_age = '2h'\n\
         max_bytes = '256MiB'\nreplicas = 3\n\
         [cluster]\nname = 'shop'\nlisten = '0.0.0.0:4221'\nadvertise = 'db1:9'\npeers = ['db2']\n\
         [nats]\nmode = 'mesh'\nuser_name = 'u'\nuser_password = 'p'\nsubject_prefix = 's'\nstream_prefix = 't'\n\
         server_binary = '/proc/self/exe'\nserver_config = '/proc/self/status'\nconnect_retries = 9\n\
         reconnect_wait_seconds = 3\n[logging]\nverbose = true\nformat = 'json'\n",
    );
    let mut expected = Settings::new("/data/app.db".into(), changed.node_id);
    expected.machine = changed.machine;
    (expected.publish, expected.replicate) = (false, false);
    expected.cleanup_interval = Duration::from_millis(100);
    expected.polling_interval = Duration::from_millis(20);
    expected.sleep_timeout = Some(Duration::from_millis(500));
    expected.seq_map_path = Some("/data/map".into());
    expected.replication_log = ReplicationLog {
        shards: 4,
        compress: false,
        update_existing: true,
        max_entries: Some(10),
        replicas: 3,
        max_age: Some(Duration::from_secs(7200)),
        max_bytes: Some(256 << 20),
    };
    expected.nats = Nats {
        mode: Mode::Mesh,
        urls: Vec::new(),
        jetstream_domain: None,
        subject_prefix: "s".into(),
        stream_prefix: "t".into(),
        server_config: Some("/proc/self/status".into()),
        server_binary: Some("/proc/self/exe".into()),
        credentials: Some(Credentials { user_name: "u".into(), user_password: Secret::new("p") }),
        seed: None,
        tls: None,
        connect_retries: 9,
        reconnect_wait: Duration::from_secs(3),
    };
    expected.cluster = Cluster {
        name: "shop".into(),
        listen: Listen::parse("0.0.0.0:4221").unwrap(),
        advertise: Some(HostPort { host: "db1".into(), port: 9 }),
        peers: vec![HostPort { host: "db2".into(), port: 4222 }],
        leaf_servers: Vec::new(),
    };
    expected.logging = Logging { verbose: true, format: LogFormat::Json };
    assert_eq!(changed, expected);
}

#[test]
fn all_errors_are_reported_at_once_each_with_file_line_and_hint() {
    let text = "\
nod_id = 1
publish = \"yes\"
[replication_log]
shards = 0
compres = true
max_bytes = \"lots\"
[nats]
urls = [\"http://a:1\"]
user_name = \"cluster\"
ca_file = \"/nowhere/ca.pem\"
[clusters]
listen = \"127.0.0.1:4221\"
[cluster]
name = \"two words\"
peers = [\"nats://127.0.0.1:99999\"]
";
    let invalid = load_text(text).unwrap_err();
    let expected = "\
node.toml: error: `db_path` is missing
  hint: name the application's database: db_path = \"/var/lib/app/app.db\"
node.toml:1: error: unknown key `nod_id`
  hint: did you mean `node_id`?
node.toml:2: error: `publish`: expected true or false, found a string
  hint: for example: publish = true
node.toml:4: error: `replication_log.shards`: is 0, must be from 1 to 256
  hint: for example: shards = 1
node.toml:5: error: unknown key `replication_log.compres`
  hint: did you mean `replication_log.compress`?
node.toml:6: error: `replication_log.max_bytes`: expected a number of bytes, or a number with a unit (KB, MB, GB, KiB, MiB, GiB), such as \"64MiB\"
  hint: for example: max_bytes = \"4GiB\"
node.toml:8: error: `nats.urls`: entry 1: only nats://, tls:// and dns:// addresses are understood
  hint: write for example nats://n1.example.net:4222
node.toml:9: error: `nats.user_name`: `nats.user_password` is missing
  hint: set both, the same on every node
node.toml:10: error: `nats.ca_file`: no such file: /nowhere/ca.pem
  hint: correct the path, or remove the key
node.toml:10: error: `nats.ca_file`: `nats.cert_file` is missing
  hint: nodes that run their own servers show one another certificates: set all three; `harmonylite certs` makes them
node.toml:11: error: unknown section `clusters`
  hint: did you mean [cluster]?
node.toml:14: error: `cluster.name`: holds spaces or control characters
  hint: for example: name = \"shop\"
node.toml:15: error: `cluster.peers`: entry 1: the port is not a number from 1 to 65535
  hint: write host:port or nats://host:port, for example nats://10.0.0.2:4221";
    assert_eq!(invalid.to_string(), expected);
}

#[test]
fn each_integer_key_takes_its_bounds_and_nothing_beyond() {
    for key in KEYS {
        let Kind::Integer { min, max } = key.kind else { continue };
        for (number, fits) in
            [(min, true), (max, true), (min.wrapping_sub(1), false), (max.wrapping_add(1), false)]
        {
            let line = format!("{} = {number}\n", key.path);
            let text = if key.path == "node_id" {
                format!("db_path = 'a'\n{line}")
            } else {
                format!("db_path = 'a'\nnode_id = 1\n{line}")
            };
            let problems = load_text(&text).map_or_else(|invalid| invalid.problems, |loaded| loaded.warnings);
            assert_eq!(!problems.iter().any(Problem::is_error), fits, "{line}{problems:?}");
        }
    }
}

#[test]
fn a_value_of_another_type_is_an_error_for_every_key() {
    for key in KEYS {
        let line = format!("{} = 1979-05-27\n", key.path);
        let said = load_text(&line).unwrap_err().to_string();
        assert!(said.contains(&format!("node.toml:1: error: `{}`: expected", key.path)), "{said}");
        assert!(!said.contains("missing") || key.path != "db_path", "it is there, only wrong: {said}");
    }
}

#[test]
fn broken_toml_is_reported_with_its_line_and_missing_keys_are_not_guessed() {
    let invalid = load_text("publish = true\ndb_path = \"/data/app.db\nnode_id = 1\n").unwrap_err();
    let said = invalid.to_string();
    assert!(said.starts_with("node.toml:2: error: not valid TOML: "), "{said}");
    assert!(!said.contains("missing"), "{said}");
}

#[test]
fn other_errors_are_reported_beside_broken_toml() {
    let said = load_text("db_path = \"a\"\npublish = = 1\nnod_id = 1\nshards = 0\n").unwrap_err().to_string();
    for part in
        ["node.toml:2: error: not valid TOML", "node.toml:3: error: unknown key `nod_id`", "node.toml:4:"]
    {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_judged_without_a_panic() {
    let example = reference::example_file().replace("\n#", "\n");
    for end in (0..example.len()).step_by(13).filter(|end| example.is_char_boundary(*end)) {
        if let Err(invalid) = load_text(&example[..end]) {
            assert!(invalid.problems.iter().any(Problem::is_error), "{end}");
        }
    }
}

#[test]
fn a_key_set_twice_is_an_error() {
    assert_said("publish = true\npublish = false", &["node.toml:4: error: not valid TOML: duplicate key"]);
}

#[test]
fn keys_below_the_wrong_header_are_sent_to_the_right_one() {
    assert_said("user_name = 'u'", &["did you mean `nats.user_name`? it belongs below [nats]"]);
    assert_said("[nats]\ndb_path = 'a'", &["did you mean `db_path`? it stands before the first section"]);
    assert_said("nats = 1", &["`nats` is a section, not a value"]);
    assert_said(
        "[snapshot.s4]\nbucket = 'a'",
        &["unknown section `snapshot.s4`", "did you mean [snapshot.s3]?"],
    );
    assert_said("qwertyuiop = 1", &["docs/configuration.md lists every key"]);
}

#[test]
fn dotted_keys_and_inline_tables_are_the_same_as_sections() {
    assert_eq!(settings("nats.connect_retries = 7").nats.connect_retries, 7);
    assert_eq!(settings("nats = { connect_retries = 7 }").nats.connect_retries, 7);
}

#[test]
fn keys_that_are_not_acted_on_warn_once_each_and_empty_ones_do_not() {
    let text = "health_check.path = 'x'\nhealth_check.enable = true\n[prometheus]\nenable = true\n[snapshot]\nstore = 's3'\n";
    assert_eq!(said(text).matches("is not acted on by this version").count(), 4);
    assert_eq!(
        said(
            "snapshot.interval = 0\nprometheus.enable = false\nnats.seed_file = ''\ncluster.leaf_servers = []"
        ),
        ""
    );
}

#[test]
fn a_file_as_the_original_ships_it_is_accepted() {
    let text = "\
[snapshot]\nenabled = true\nstore = 'nats'\ninterval = 0\n[snapshot.nats]\nreplicas = 1\n[snapshot.s3]\npath = ''\n\
[replication_log]\nshards = 1\nmax_entries = 1024\nreplicas = 1\ncompress = true\nupdate_existing = false\n\
[nats]\nurls = []\nsubject_prefix = 'harmonylite-change-log'\nstream_prefix = 'harmonylite-changes'\n\
server_config = ''\nseed_file = ''\nuser_name = ''\nuser_password = ''\nbind_address = ':-1'\nconnect_retries = 5\n\
reconnect_wait_seconds = 2\n[prometheus]\nenable = false\n[logging]\nverbose = true\nformat = 'console'\n";
    let loaded =
        load_text(&format!("db_path = '/data/app.db'\nnode_id = 1\ncleanup_interval = 5000\n{text}"))
            .unwrap();
    assert_eq!(loaded.settings.replication_log.max_entries, Some(1024));
}

#[test]
fn limits_that_can_lose_sight_of_a_node_warn() {
    for line in ["max_entries = 1024", "max_age = '7d'", "max_bytes = '1GiB'"] {
        assert_said(&format!("[replication_log]\n{line}"), &["node.toml:4: warning", "stops consuming"]);
    }
    assert_said("replication_log.max_age = '60s'", &["error", "at least two minutes"]);
    assert_said("replication_log.max_bytes = 1", &["error", "at least 256MiB"]);
    assert_eq!(settings("replication_log.max_bytes = 0").replication_log.max_bytes, None);
}

#[test]
fn a_server_that_others_reach_needs_credentials() {
    let open = "[cluster]\nlisten = '10.0.0.1:4221'\n";
    assert_said(open, &["node.toml:4: error: `cluster.listen`", "needs credentials"]);
    assert_said("nats.bind_address = '10.0.0.1:4221'", &["error: `nats.bind_address`", "needs credentials"]);
    let closed = format!("{open}[nats]\nuser_name = 'u'\nuser_password = 'p'");
    assert!(settings(&closed).nats.credentials.is_some());
}

#[test]
fn an_address_that_peers_cannot_use_is_an_error() {
    let credentials = "[nats]\nuser_name = 'u'\nuser_password = 'p'\n";
    assert_said(
        &format!("{credentials}[cluster]\nlisten = '0.0.0.0:1'"),
        &["`cluster.advertise` is required"],
    );
    assert_said(
        &format!("{credentials}[cluster]\nlisten = '0.0.0.0:1'\nadvertise = '0.0.0.0:1'"),
        &["no address"],
    );
    assert_said("cluster.advertise = 'db1:4221'", &["needs a fixed port"]);
    assert_said("cluster.peers = ['127.0.0.1:1']", &["error", "its port is not fixed"]);
    assert_said("[cluster]\nlisten = '127.0.0.1:1'\npeers = ['db2:1']", &["warning", "this machine only"]);
    assert_said("[cluster]\nlisten = ':4221'", &["warning", "without a host it is 127.0.0.1"]);
}

#[test]
fn the_original_listener_is_used_until_ours_is_set() {
    assert_eq!(settings("nats.bind_address = '127.0.0.1:5'").cluster.listen.port, Some(5));
    assert_said(
        "nats.bind_address = '127.0.0.1:5'\ncluster.listen = '127.0.0.1:6'",
        &["cluster.listen wins"],
    );
}

#[test]
fn our_own_address_is_no_peer_however_it_is_spelled() {
    let credentials = "nats.user_name = 'u'\nnats.user_password = 'p'\n";
    for (listen, peer, is_own) in [
        ("127.0.0.1:1", "localhost:1", true),
        ("127.0.0.1:1", "127.0.0.2:1", false),
        ("127.0.0.1:1", "127.0.0.1:2", false),
        ("[::1]:1", "[0:0::1]:1", true),
        ("0.0.0.0:1", "127.0.0.1:1", true),
        ("0.0.0.0:1", "db1:9", true),
        ("0.0.0.0:1", "db2:9", false),
    ] {
        let text =
            format!("{credentials}[cluster]\nlisten = '{listen}'\nadvertise = 'db1:9'\npeers = ['{peer}']");
        assert_eq!(settings(&text).cluster.peers.is_empty(), is_own, "{listen} {peer}");
    }
}

#[test]
fn peers_named_twice_warn_and_count_once() {
    let text = "[cluster]\nlisten = '127.0.0.1:1'\npeers = ['127.0.0.1:2', 'nats://127.0.0.1:2']";
    assert_said(text, &["127.0.0.1:2 stands there twice"]);
    assert_eq!(settings(text).cluster.peers.len(), 1);
}

#[test]
fn prefixes_that_nats_refuses_are_refused_here() {
    for bad in ["a.b", "a*", "a >", "a b", "a/b", "\u{e4}", "$JS"] {
        assert_said(&format!("nats.stream_prefix = '{bad}'"), &["error: `nats.stream_prefix`"]);
    }
    assert_eq!(settings("nats.subject_prefix = 'a.b'").nats.subject_prefix, "a.b");
    assert_said("nats.subject_prefix = 'a..b'", &["error"]);
}

#[test]
fn files_that_are_named_must_be_there() {
    assert_said(
        "nats.server_binary = '/nowhere/nats-server'",
        &["error: `nats.server_binary`: no such file"],
    );
    assert_said("nats.server_config = '/nowhere'", &["error: `nats.server_config`: no such file"]);
}

#[test]
fn options_win_over_variables_and_variables_over_the_file() {
    let file = Some(("node.toml", "db_path = 'file.db'\nnode_id = 1\n[replication_log]\nshards = 2\n"));
    let environment =
        Environment::new(&[("HARMONYLITE_NODE_ID", "2"), ("HARMONYLITE_DB_PATH", "env.db")], None);
    let options = [Override { key: "node_id", option: "--node-id", value: "3".into() }];
    let settings = judge(file, &environment, &options).unwrap().settings;
    assert_eq!((settings.node_id.get(), settings.replication_log.shards), (3, 2));
    assert!(settings.db_path.ends_with("env.db"));
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    for key in KEYS.iter() {
        let value = key.preset.text().replace(['"', '[', ']'], "");
        let variable = key.variable();
        let environment = Environment::new(&[(&variable, &value)], None);
        let problems = match judge(None, &environment, &[]) {
            Ok(loaded) => loaded.warnings,
            Err(invalid) => invalid.problems,
        };
        let strange: Vec<&Problem> = problems
            .iter()
            .filter(|p| p.message.contains("expected") || p.message.contains("no key"))
            .collect();
        assert!(strange.is_empty(), "{variable}={value}: {strange:?}");
    }
}

#[test]
fn errors_in_variables_and_options_name_them() {
    let environment = Environment::new(
        &[("HARMONYLITE_REPLICATION_LOG_SHARDS", "many"), ("HARMONYLITE_DBPATH", "a")],
        None,
    );
    let options = [Override { key: "node_id", option: "--node-id", value: "x".into() }];
    let said = judge(None, &environment, &options).unwrap_err().to_string();
    for part in [
        "HARMONYLITE_REPLICATION_LOG_SHARDS: error: `replication_log.shards`: expected a whole number",
        "HARMONYLITE_DBPATH: warning: no key belongs to this variable; it changes nothing\n  hint: did you mean HARMONYLITE_DB_PATH?",
        "--node-id: error: `node_id`: expected a whole number",
        "configuration: error: `db_path` is missing",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    assert!(!said.contains("`node_id` is missing"), "{said}");
}

#[test]
fn lists_come_from_variables_with_commas_and_empty_variables_count_as_not_set() {
    let environment = Environment::new(
        &[
            ("HARMONYLITE_DB_PATH", "a"),
            ("HARMONYLITE_NODE_ID", "1"),
            ("HARMONYLITE_CLUSTER_LISTEN", "127.0.0.1:1"),
            ("HARMONYLITE_CLUSTER_PEERS", "127.0.0.1:2, nats://127.0.0.1:3"),
            ("HARMONYLITE_PUBLISH", ""),
        ],
        None,
    );
    let settings = judge(None, &environment, &[]).unwrap().settings;
    assert_eq!(settings.cluster.peers.len(), 2);
    assert!(settings.publish);
}

#[test]
fn a_machine_without_an_id_needs_a_node_id() {
    let said =
        judge(Some(("n", "db_path = 'a'")), &Environment::new(&[], None), &[]).unwrap_err().to_string();
    assert!(said.contains("`node_id` is missing") && said.contains("node_id = 1"), "{said}");
    assert!(load_text("db_path = 'a'\nnode_id = 0").unwrap().settings.node_id_derived);
}

#[test]
fn secrets_are_never_shown() {
    const SECRET: &str = "hunter2secret";
    let good = settings(&format!("[nats]\nuser_name = 'u'\nuser_password = '{SECRET}'"));
    assert!(!format!("{good:?}{good:#?}").contains(SECRET));
    let lines = [
        format!("nats.user_password = '{SECRET}'"),
        format!("nats.user_password = ['{SECRET}']"),
        format!("nats.user_password = '{SECRET}"),
        format!("nats.user_name = 'u'\nnats.user_password = \"{SECRET}\\u0001\""),
        format!("cluster.peers = ['nats://u:{SECRET}@h:1']"),
        format!("cluster.listen = 'u:{SECRET}@h:1'"),
        format!("nats.urls = ['nats://u:{SECRET}@h:0']"),
        format!("snapshot.webdav.url = 'https://h/?secret={SECRET}'"),
        format!("snapshot.sftp.url = 'sftp://u:{SECRET}@h'"),
        format!("snapshot.s3.secret = '{SECRET}'"),
        format!("user_passwort = '{SECRET}'"),
    ];
    for line in lines {
        let said = said(&line);
        assert!(!said.is_empty() && !said.contains(SECRET), "{line}\n{said}");
    }
}

#[test]
fn files_that_cannot_be_read_are_said_to_be_so() {
    let missing = load(Some(Path::new("/nowhere/node.toml")), &environment(), &[]).unwrap_err().to_string();
    assert!(
        missing.contains("/nowhere/node.toml: error: cannot be read") && missing.contains("--config"),
        "{missing}"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    std::fs::write(&file, b"db_path = 'a'\nnode_id = '\xff'\n").unwrap();
    let said = load(Some(&file), &environment(), &[]).unwrap_err().to_string();
    assert!(said.contains("node.toml:2: error: not valid UTF-8"), "{said}");
}

#[test]
fn problems_are_plain_objects_for_programs() {
    let invalid = load_text("publish = 1\n").unwrap_err();
    let json = serde_json::to_string(&invalid.problems).unwrap();
    let expected = "{\"severity\":\"error\",\"file\":\"node.toml\",\"line\":1,\
                    \"message\":\"`publish`: expected true or false, found a whole number\",\
                    \"hint\":\"for example: publish = true\"}";
    assert!(json.contains(expected), "{json}");
    let problem = judge(None, &environment(), &[]).unwrap_err().problems.remove(0);
    assert!(serde_json::to_string(&problem).unwrap().starts_with("{\"severity\":\"error\",\"message\":"));
}

#[test]
fn the_database_of_a_wrong_configuration_is_known_when_it_is_certain() {
    let database = |text: &str| load_text(text).unwrap_err().db_path;
    let missing = "db_path = '/data/app.db'\nnats.user_name = 'u'\nnats.user_password_file = '/nowhere'";
    assert_eq!(database(missing).as_deref(), Some(Path::new("/data/app.db")));
    assert_eq!(database("db_path = '/data/app.db'\nnode_id = [1"), None, "the rest may name another one");
    assert_eq!(database("node_id = 1"), None);
}
